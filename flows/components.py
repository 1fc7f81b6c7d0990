r"""Connected components of a mesh, and the mesh without some of them."""

from collections.abc import Collection
from typing import Any

from flows.formats import Arrays, Block, distribute
from flows.pairs import joined

import numpy as np
import numpy.typing as npt
from dolfinx.la import vector
from dolfinx.mesh import Mesh
from mpi4py import MPI

__all__ = ["components", "connected", "gathered", "without"]

type Integers = npt.NDArray[np.int64]
type Booleans = npt.NDArray[np.bool_]


def components(mesh: Mesh[Any]) -> tuple[Integers, int]:
    """Connected components: cells that share a node belong together.

    They are found on all ranks at once, without gathering cells, and numbered by the first of their
    nodes in the input of the mesh: alike on any number of ranks.

    Args:
        mesh: Any mesh; collective.

    Returns:
        The component of each local cell, owned cells first, then ghosts; how many there are.
    """
    comm, nodes, cells = mesh.comm, mesh.geometry.index_map(), mesh.geometry.dofmaps[0]
    part = connected(cells, len(mesh.geometry.x))
    count = int(part.max(initial=-1)) + 1
    part += comm.scan(count) - count
    owner = vector(nodes, dtype=np.int64)
    owner.array[:] = part
    owner.scatter_forward()
    # What this rank and the owner of a node call the component of the node is the same one.
    pairs = np.unique(np.column_stack([part, owner.array])[nodes.size_local :], axis=0)
    part = connected(np.concatenate(comm.allgather(pairs)), comm.allreduce(count))[part]

    first = np.full(comm.allreduce(int(part.max(initial=-1)), MPI.MAX) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, part, mesh.geometry.input_global_indices)
    comm.Allreduce(MPI.IN_PLACE, first, MPI.MIN)
    return np.argsort(np.argsort(first))[part[cells[:, 0]]], first.size


def without(mesh: Mesh[Any], drop: Collection[int] | Booleans) -> Mesh[Any]:
    """The mesh less some of its components; the nodes that stay keep their places bit for bit.

    Args:
        mesh: Any mesh of degree 1 or 2; collective.
        drop: Labels of :func:`components`, the same on all ranks, or a boolean for each local cell.

    Returns:
        A mesh on the same communicator, distributed again, without tags.

    Raises:
        ValueError: On every rank, if there is no such component or nothing is left.
    """
    if isinstance(drop, np.ndarray) and drop.dtype == bool:
        gone = drop
    else:
        labels, count = components(mesh)
        unknown = sorted(set(drop) - set(range(count)))
        if unknown:
            raise ValueError(f"there is no component {unknown[0]}: {count} are numbered from 0")
        gone = np.isin(labels, list(drop))
    owned = mesh.topology.index_map(mesh.topology.dim).size_local
    if mesh.comm.allreduce(int(np.count_nonzero(~gone[:owned]))) == 0:
        raise ValueError("nothing is left of the mesh: keep at least one component")
    return distribute(gathered(mesh, ~gone), mesh.comm).mesh


def connected(groups: npt.NDArray[np.integer[Any]], count: int) -> Integers:
    """The component of each of `count` nodes, if those in each row of `groups` hang together."""
    a, b = np.repeat(groups[:, 0], groups.shape[1] - 1), groups[:, 1:].ravel()
    return joined(a, b, np.ones(a.size, dtype=bool), count)[1]


def gathered(mesh: Mesh[Any], kept: Booleans | None = None) -> Arrays | None:
    """Cells and their nodes on rank 0, in the order of the input: alike on any number of ranks.

    Args:
        mesh: Any mesh of degree 1 or 2; collective.
        kept: Which local cells; the default is all.
    """
    topology, geometry = mesh.topology, mesh.geometry
    names, owned = geometry.input_global_indices, geometry.index_map().size_local
    mine = np.arange(topology.index_map(topology.dim).size_local)
    mine = mine if kept is None else mine[kept[: mine.size]]
    parts = mesh.comm.gather(
        (
            names[:owned],
            geometry.x[:owned, : geometry.dim],
            names[geometry.dofmaps[0][mine]],
            topology.original_cell_index[mine],
        )
    )
    if parts is None:
        return None
    names, points, cells, numbers = (np.concatenate(part) for part in zip(*parts, strict=True))
    used, cells = np.unique(cells[np.argsort(numbers)], return_inverse=True)
    by_name = np.argsort(names)
    points = points[by_name[np.searchsorted(names, used, sorter=by_name)]]
    return Arrays(points, Block(topology.cell_name(), geometry.cmaps[0].degree, cells))
