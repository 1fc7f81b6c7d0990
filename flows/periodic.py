r"""Boxes whose opposite sides are one and the same: intervals, rectangles and boxes without ends.

The cells of a box are numbered twice: by the corners of the box, which say where they are, and by
those of the torus, where corners on opposite sides have one number, which say what they share. A
DOLFINx mesh holds both apart, as geometry and topology. So the gluing is done once, in the mesh:
spaces, forms, ghosts and solvers know nothing of it, and there is neither a boundary nor a
constraint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

from flows.formats import DIMENSION, count, ghosted, positive

import basix.ufl
import dolfinx.cpp as cpp
import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem
from dolfinx.mesh import CellType, Mesh, create_mesh
from mpi4py import MPI

__all__ = ["PeriodicMesh", "carry", "opened", "periodic_box", "places", "refuse", "shared"]

type Floats = npt.NDArray[np.float64]
type Integers = npt.NDArray[np.int64]


class PeriodicMesh(Mesh[Any]):
    """A mesh without ends in some directions; otherwise a mesh like any other.

    A function that is interpolated must be periodic itself: where sides meet, one of them decides.

    Attributes:
        period: Period in each direction; infinite in those with ends.
        places: For each local node, where it sits on the torus: nodes that are one and the same
            have the same place, bit for bit.
        opened: The same cells in the same order, not glued: files and pictures are made of it.
    """

    period: Floats
    places: Floats
    opened: Mesh[Any]

    def shortest(self, differences: npt.ArrayLike) -> Floats:
        """The shortest among the vectors that lead from one point to the images of another.

        Args:
            differences: Differences of coordinates, shape (..., gdim).
        """
        d = np.asarray(differences, dtype=np.float64)
        with np.errstate(invalid="ignore"):
            turns = np.where(np.isfinite(self.period), np.rint(d / self.period) * self.period, 0.0)
        return np.asarray(d - turns)


@dataclass(frozen=True)
class _Lattice:
    """A box cut into cubes, and these into simplices or not at all."""

    lower: Floats
    upper: Floats
    cubes: Integers
    corners: Integers
    """Corners of each cell of a cube, as steps from the first corner of that."""

    def cells(self, cells: Integers, shape: Integers) -> Integers:
        """Numbers of the corners of cells; beyond the last of ``shape`` nodes comes the first."""
        cube, part = np.divmod(cells, len(self.corners))
        at = np.stack(np.unravel_index(cube, tuple(self.cubes)), axis=-1)
        at = (at[:, None, :] + self.corners[part]) % shape
        return np.asarray(np.ravel_multi_index(tuple(np.moveaxis(at, -1, 0)), tuple(shape)))

    def points(self, nodes: Integers, shape: Integers, wrap: Any = False) -> Floats:
        """Coordinates of nodes by their numbers among ``shape`` nodes."""
        at = np.stack(np.unravel_index(nodes, tuple(shape)), axis=-1)
        at = np.where(wrap, at % self.cubes, at)
        return np.asarray(self.lower + (self.upper - self.lower) * (at / self.cubes))


def periodic_box(
    lower: Sequence[float],
    upper: Sequence[float],
    *,
    h: float,
    cell: CellType,
    periodic: bool | Sequence[bool],
    comm: MPI.Comm,
) -> PeriodicMesh:
    """A box of one, two or three dimensions, periodic in some directions.

    Args:
        lower: Its lower corner.
        upper: Its upper corner.
        h: Edge length. In a periodic direction there are at least three cells: with two, a cell
            would meet the other one twice.
        cell: Type of the cells.
        periodic: For each direction, or for all, whether its two ends are one.
        comm: Communicator of the mesh; each rank builds its part.

    Raises:
        ValueError: On every rank, if the directions are not as many as those of the box, or the
            cells are of another dimension.
    """
    sides = np.subtract(upper, lower).astype(np.float64)
    positive(h=h, **dict(zip(("width", "height", "depth"), sides, strict=False)))
    around = np.array(shared(periodic, sides.size))
    if DIMENSION.get(cell.name) != sides.size:
        raise ValueError(f"Cells of type {cell.name} do not fill a box of dimension {sides.size}.")
    cubes = np.array([count(side, h) for side in sides])
    cubes[around] = np.maximum(cubes[around], 3)
    lattice = _Lattice(
        np.array(lower, dtype=np.float64), np.array(upper, dtype=np.float64), cubes, _corners(cell)
    )
    glued = _glued(lattice, cubes + ~around, cell, comm)
    mesh = _placed(glued, lattice, cell)
    mesh.period = np.where(around, sides, np.inf)
    numbers = mesh.geometry.input_global_indices
    mesh.places = np.zeros((numbers.size, 3))
    mesh.places[:, : sides.size] = lattice.points(numbers, cubes + 1, around)
    return mesh


def _corners(cell: CellType) -> Integers:
    """How a cube is cut: along its diagonal (Kuhn), so that opposite sides are cut alike."""
    dim = cpp.mesh.cell_dim(cell)
    if cpp.mesh.is_simplex(cell):
        paths = permutations(range(dim))
        return np.array([[np.isin(range(dim), p[:k]) for k in range(dim + 1)] for p in paths], int)
    return np.array([[corner[::-1] for corner in product((0, 1), repeat=dim)]])


def _glued(lattice: _Lattice, shape: Integers, cell: CellType, comm: MPI.Comm) -> Mesh[Any]:
    """The cells as they hang together, distributed; the coordinates across a seam are wrong."""

    def mine(size: int) -> Integers:
        return np.arange(size * comm.rank // comm.size, size * (comm.rank + 1) // comm.size)

    cells = mine(int(lattice.cubes.prod()) * len(lattice.corners))
    x = lattice.points(mine(int(shape.prod())), shape)
    return create_mesh(comm, lattice.cells(cells, shape), _element(cell), x, ghosted())


def _element(cell: CellType) -> Any:
    return basix.ufl.element("Lagrange", cell.name, 1, shape=(cpp.mesh.cell_dim(cell),))


def _placed(glued: Mesh[Any], lattice: _Lattice, cell: CellType) -> PeriodicMesh:
    """The same cells, each at its place in the box."""
    comm, dim, topology = glued.comm, glued.topology.dim, glued.topology
    owned, names = topology.index_map(dim), topology.original_cell_index
    cells = lattice.cells(names, lattice.cubes + 1).astype(np.int64)
    # DOLFINx asks for the corners that other ranks may have, too, and takes more than these.
    mine = np.unique(cells[: owned.size_local])
    build: Any = cpp.mesh.create_topology
    loose = build(comm, [cell], [cells.ravel()], [names], [owned.owners], mine, 1)
    nodes = np.unique(cells)
    geometry = cpp.mesh.create_geometry(
        loose,
        [glued.geometry.cmaps[0]._cpp_object],
        nodes,
        cells.ravel(),
        lattice.points(nodes, lattice.cubes + 1).ravel(),
        dim,
    )
    meshes = [cpp.mesh.Mesh_float64(comm, t, geometry) for t in (topology._cpp_object, loose)]
    mesh = PeriodicMesh(meshes[0], ufl.Mesh(_element(cell)))
    mesh.opened = Mesh(meshes[1], ufl.Mesh(_element(cell)))
    return mesh


def shared(periodic: bool | Sequence[bool], dim: int) -> tuple[bool, ...]:
    """Whether each direction is periodic.

    Raises:
        ValueError: On every rank, if they are not as many as those of the box.
    """
    around = np.ravel(periodic).astype(bool).tolist()
    if np.ndim(periodic) == 0:
        return (around[0],) * dim
    if len(around) != dim:
        raise ValueError(
            f"periodic has {len(around)} entries: give one for each of {dim} directions, or one "
            "for all."
        )
    return tuple(around)


def opened(mesh: Any) -> Any:
    """The mesh to draw and write: a periodic one is cut open, others are what they are."""
    return mesh.opened if isinstance(mesh, PeriodicMesh) else mesh


def carry(u: fem.Function, out: fem.Function) -> None:
    """Interpolate ``u``, cell by cell if ``out`` lives on the mesh of ``u`` cut open."""
    if opened(u.function_space.mesh) is u.function_space.mesh:
        out.interpolate(u)
        return
    topology = u.function_space.mesh.topology
    cells = topology.index_map(topology.dim)
    every = np.arange(cells.size_local + cells.num_ghosts, dtype=np.int32)
    out.interpolate(u, cells0=every, cells1=every)


def places(mesh: Any) -> Floats:
    """Where each local node sits, shape (nodes, 3); on a torus, if the mesh is one."""
    found = mesh.places if isinstance(mesh, PeriodicMesh) else mesh.geometry.x
    return np.asarray(found)


def refuse(mesh: Any, what: str) -> None:
    """Refuse what has no meaning in a periodic box.

    Raises:
        ValueError: On every rank, if the mesh is one.
    """
    if isinstance(mesh, PeriodicMesh):
        raise ValueError(f"{what} in a periodic box: take one with ends, periodic=False.")
