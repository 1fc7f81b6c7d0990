"""Which sides of cells are the same facet, and what hangs together in pairs."""

from __future__ import annotations

from functools import cache
from typing import Any

from flows.kernels import Kernels

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

__all__ = ["facets", "joined"]

type Integers = npt.NDArray[np.integer[Any]]


def facets(around: Integers) -> tuple[Integers, Integers, int]:
    """The facets of cells.

    Args:
        around: Vertices of each cell, in the order of a walk around it; the sides of a cell of two
            vertices are these.

    Returns:
        The first side that is the same facet as each side; how many sides are; how many facets.
    """
    around = np.ascontiguousarray(around, dtype=np.int32)
    first, chain = np.empty((2, around.size), dtype=np.int32)
    count = np.zeros(around.size, dtype=np.int32)
    heads = np.full(around.max(initial=-1) + 1, -1, dtype=np.int32)
    distinct = _kernels()("facets", *around.shape, around, heads, chain, first, count)
    return first, count[first], int(distinct)


def joined(
    a: Integers, b: Integers, agree: npt.NDArray[np.bool_], n: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], bool]:
    """Join n things in pairs that agree or not.

    Returns:
        Signs that make all agree, the component of each thing, and whether there are no such signs;
        the first thing of a component is positive, and components are numbered by it.
    """
    parent, sign = np.arange(n, dtype=np.int32), np.ones(n)
    component = np.zeros(n, dtype=np.int64)
    pairs = (np.ascontiguousarray(row, dtype=np.int32) for row in (a, b, agree))
    twisted = _kernels()("join", len(a), *pairs, n, parent, sign, component)
    return sign, component, bool(twisted)


@cache
def _kernels() -> Kernels:
    return Kernels(MPI.COMM_SELF, "pairs.c")
