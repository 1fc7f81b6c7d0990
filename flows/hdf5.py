"""Arrays in HDF5 files by PETSc, on any number of ranks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

__all__ = ["everywhere", "opened", "put", "readable", "some"]


@contextmanager
def opened(path: Path, mode: str, comm: MPI.Comm) -> Iterator[PETSc.Viewer]:
    """An open file; ``mode`` is ``"r"`` or ``"w"``."""
    viewer = PETSc.Viewer().createHDF5(str(path), mode, comm)
    try:
        yield viewer
    finally:
        viewer.destroy()


def put(viewer: Any, name: str, values: Any) -> None:
    """Write an array, this rank's part of it; integers below 2**53 are exact."""
    array = np.ascontiguousarray(values, dtype=np.float64).ravel()
    vec = PETSc.Vec().createWithArray(array, comm=viewer.comm)
    vec.setName(name)
    vec.view(viewer)
    vec.destroy()


def readable(path: Path) -> None:
    """Refuse on one rank what HDF5 would complain about at length on all."""
    try:
        with path.open("rb") as file:
            head = file.read(48)
    except OSError as error:
        raise OSError(f"Cannot read {path}: {error.strerror}.") from error
    # The superblock of HDF5: the length of a complete file, at a place that its version tells.
    old = head[8:9] in (b"\x00", b"\x01")
    start = 40 + 4 * head[8] if old and len(head) == 48 else 28
    length = int.from_bytes(head[start : start + 8], "little")
    if head[:8] != b"\x89HDF\r\n\x1a\n" or path.stat().st_size < length:
        raise ValueError(f"{path} is damaged, or no HDF5 file; take another.")


def _vec(viewer: Any, name: str) -> PETSc.Vec:
    vec = PETSc.Vec().create(viewer.comm)
    vec.setName(name)
    vec.load(viewer)
    return vec


def everywhere(viewer: Any, name: str) -> Any:
    """A whole array, on every rank."""
    vec = _vec(viewer, name)
    scatter, everything = PETSc.Scatter.toAll(vec)
    return _scattered(scatter, vec, everything)


def some(viewer: Any, name: str, rows: Any) -> Any:
    """The given entries of an array, other ones on each rank."""
    vec = _vec(viewer, name)
    here = PETSc.IS().createGeneral(rows.astype(PETSc.IntType), comm=MPI.COMM_SELF)
    values = PETSc.Vec().createSeq(rows.size)
    scatter = PETSc.Scatter().create(vec, here, values, None)
    here.destroy()
    return _scattered(scatter, vec, values)


def _scattered(scatter: Any, vec: Any, target: Any) -> Any:
    scatter.scatter(vec, target)
    values = target.array.copy()
    for thing in (scatter, vec, target):
        thing.destroy()
    return values
