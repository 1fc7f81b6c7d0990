r"""Which way is out: orientation of closed surfaces in space and closed curves in the plane.

DOLFINx takes the normal of a cell from the order of its vertices,

$$ \nu_h = \frac{J_0 \times J_1}{|J_0 \times J_1|} \;\text{(surfaces)}, \qquad
\nu_h = \frac{(-J_y, J_x)}{|J|} \;\text{(curves: the left of the cell)}, $$

so a mesh whose cells disagree gives no error, only a wrong flow. Here the cells are made to agree
and to look outward.
"""

from itertools import pairwise
from typing import Any

from flows.ranks import on_root

import numpy as np
import numpy.typing as npt
from dolfinx import fem
from dolfinx.mesh import Mesh, exterior_facet_indices
from mpi4py import MPI

__all__ = ["closed", "orientation", "outward"]

_TAG = 733  # of the messages that ask who shares a node

# The way around a cell with so many vertices; a quadrilateral is numbered like a tensor product.
_AROUND = {2: [0, 1], 3: [0, 1, 2], 4: [0, 1, 3, 2]}


def closed(mesh: Mesh[Any]) -> bool:
    """Whether the mesh has no boundary: no facet belongs to one cell only.

    Args:
        mesh: Any mesh; collective.

    Returns:
        The same answer on every rank.
    """
    tdim = mesh.topology.dim
    mesh.topology.create_connectivity(tdim - 1, tdim)
    return int(mesh.comm.allreduce(exterior_facet_indices(mesh.topology).size, MPI.SUM)) == 0


def orientation(mesh: Mesh[Any], *, open: bool = False) -> npt.NDArray[np.float64]:
    r"""Signs $s_K = \pm 1$ that make $s_K \nu_h$ the outward normal.

    Each connected component is oriented by the region that it encloses itself, so the wall of a
    cavity looks into the body. Each rank orients its own cells; rank 0 sees the facets between
    ranks alone.

    Args:
        mesh: A surface in space or a curve in the plane, on any number of ranks.
        open: Whether a boundary is allowed; the cells of such a component agree with each other,
            and most of them are left as they are.

    Returns:
        One sign for each local cell, owned cells first, then ghosts.

    Raises:
        ValueError: On every rank, if the mesh is open, branches, or has only one side.
    """
    comm, geometry = mesh.comm, mesh.geometry
    tdim, gdim = mesh.topology.dim, geometry.dim
    if (tdim, gdim) not in ((2, 3), (1, 2)):
        raise ValueError(
            "an orientation needs a surface in space or a curve in the plane, not a mesh of "
            f"dimension {tdim} in {gdim}D; read the boundary of a body with dim={gdim - 1}"
        )
    around = geometry.dofmaps[0][: mesh.topology.index_map(tdim).size_local, _corners(mesh)]
    numbers = geometry.index_map().local_to_global(around.ravel()).reshape(around.shape)
    sides = _Sides(numbers, _shared(geometry.index_map())[around])
    parts = comm.gather((sides.outer(), sides.parts))
    joined = on_root(comm, lambda: _joined(parts, sides.name, closed=not open))
    turn, component, rim = comm.scatter(joined)

    signs = fem.Function(fem.functionspace(mesh, ("DG", 0)))
    owned = signs.x.array[: len(around)]
    owned[:] = sides.sign * turn[sides.part]
    weights = np.zeros((2, comm.allreduce(int(component.max(initial=-1)), MPI.MAX) + 1))
    points = geometry.x[:, :gdim] - comm.allreduce(
        geometry.x[:, :gdim].sum(axis=0)
    ) / comm.allreduce(len(geometry.x))
    of_cell = component[sides.part]
    for row, weight in zip(weights, (_cones(points[around]), np.ones(len(around))), strict=True):
        row[:] = np.bincount(of_cell, owned * weight, minlength=weights.shape[1])
    comm.Allreduce(MPI.IN_PLACE, weights)
    owned *= _outward(weights, rim)[of_cell]
    signs.x.scatter_forward()
    return np.asarray(signs.x.array)


def outward(
    cells: npt.NDArray[np.integer[Any]],
    points: npt.NDArray[np.floating[Any]],
    *,
    closed: bool = True,
) -> npt.NDArray[np.float64]:
    r"""Signs of cells given as arrays on one process; the mathematics of :func:`orientation`.

    Two cells agree if they run through their common facet in opposite senses. The double cover of
    a surface has two copies of each cell, of either sense, and joins the copies that agree. Above
    a component that can be oriented it falls apart into two sheets, which are the two
    orientations; the enclosed volume $\frac13 \int x \cdot \nu > 0$ tells the outward one.

    Args:
        cells: Vertices of each cell in the order of DOLFINx, shape (cells, 2 or 3 or 4).
        points: Coordinates, shape (points, 2 or 3).
        closed: Whether a boundary is an error; if not, components with a boundary only agree.

    Returns:
        One sign for each cell.

    Raises:
        ValueError: If the cells are open, branch, or have only one side.
    """
    around = cells[:, _AROUND[cells.shape[1]]]
    sides = _Sides(around, np.zeros(around.shape, dtype=bool))
    ((turn, component, rim),) = _joined([(sides.outer(), sides.parts)], sides.name, closed=closed)
    sign = sides.sign * turn[sides.part]
    of_cell = component[sides.part]
    height = _cones(points[around] - points.mean(axis=0))
    weights = np.array([np.bincount(of_cell, sign * height), np.bincount(of_cell, sign)])
    return np.asarray(sign * _outward(weights, rim)[of_cell], dtype=np.float64)


class _Sides:
    """The cells of one process, joined where they meet.

    Args:
        around: Vertices of each cell, in the order of a walk around it.
        shared: Which of them other processes have, too.

    Attributes:
        sign: Signs that make the cells of each part agree.
        part: Number of the part of each cell.
        parts: Number of parts; negative if one of them has only one side.
    """

    def __init__(self, around: npt.NDArray[Any], shared: npt.NDArray[np.bool_]) -> None:
        self.name = "curve" if around.shape[1] == 2 else "surface"
        self._cell, self._key, self._sense, rim = _facets(around, shared)
        keys, facet, self._count = np.unique(self._key, return_inverse=True, return_counts=True)
        self._count = self._count[facet]
        order = np.argsort(facet, kind="stable")
        first, second = order[self._count[order] == 2].reshape(-1, 2).T
        same = self._sense[first] == self._sense[second]
        self.sign, self.part, twisted = _double_cover(
            self._cell[first], self._cell[second], ~same, len(around)
        )
        self.parts = -1 if twisted else int(self.part.max(initial=-1)) + 1
        self._facets = keys.size
        self._outer = (self._count == 1) | (self._count > 2) | rim

    def outer(self) -> tuple[Any, ...]:
        """What other processes must know: facets that they may have, and how many there are."""
        at = np.flatnonzero(self._outer)
        cell = self._cell[at]
        sense = self._sense[at] == (self.sign[cell] > 0)
        return self._key[at], sense, self.part[cell], self._facets


def _joined(parts: Any, name: str, *, closed: bool) -> list[tuple[Any, ...]]:
    """For each process: signs of its parts, the component of each, components with a boundary."""
    facets = "points" if name == "curve" else "edges"
    outers, numbers = zip(*parts, strict=True)
    start = np.append(0, np.cumsum(np.abs(numbers)))
    keys, senses, places = (np.concatenate([o[k] for o in outers]) for k in range(3))
    part = places + np.repeat(start[:-1], [len(o[0]) for o in outers])
    distinct, facet, count = np.unique(keys, return_inverse=True, return_counts=True)
    if np.any(count > 2):
        raise ValueError(
            f"the {name} branches: {np.sum(count > 2)} {facets} have more than two cells; "
            "keep one closed sheet"
        )
    lonely = int(np.sum(count == 1))
    if closed and lonely:
        every = sum(o[3] for o in outers) - sum(len(set(o[0])) for o in outers) + distinct.size
        raise ValueError(
            f"the {name} is open: {lonely} of {every} {facets} have only one "
            "cell; close it, or merge duplicate points"
        )
    order = np.argsort(facet, kind="stable")
    first, second = order[count[facet[order]] == 2].reshape(-1, 2).T
    agree = senses[first] != senses[second]
    sign, component, twisted = _double_cover(part[first], part[second], agree, start[-1])
    if twisted or min(numbers) < 0:
        raise ValueError(f"the {name} has only one side, so it has no outward normal")
    rim = np.zeros(component.max(initial=-1) + 1, dtype=bool)
    rim[component[part[count[facet] == 1]]] = True
    return [(sign[a:b], component[a:b], rim) for a, b in pairwise(start)]


def _double_cover(
    a: npt.NDArray[Any], b: npt.NDArray[Any], agree: npt.NDArray[np.bool_], n: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], bool]:
    """Signs and component of n things joined in pairs, and whether one of them is twisted."""
    from scipy.sparse import coo_array  # slow to import: only where there is a surface
    from scipy.sparse.csgraph import connected_components

    if n == 0:
        return np.ones(0), np.zeros(0, dtype=np.int64), False
    rows, columns = np.r_[a, a + n], np.r_[b + n * ~agree, b + n * agree]
    ones = np.ones(rows.size, dtype=np.int8)
    cover = coo_array((ones, (rows, columns)), shape=(2 * n, 2 * n))
    kept, turned = connected_components(cover, directed=False)[1].reshape(2, n)
    sign = np.where(kept < turned, 1.0, -1.0)
    component = np.unique(np.minimum(kept, turned), return_inverse=True)[1]
    return sign, component.astype(np.int64), bool(np.any(kept == turned))


def _outward(weights: npt.NDArray[np.float64], rim: npt.NDArray[np.bool_]) -> Any:
    """Sign of each component: by its volume, or by its cells where it has a boundary."""
    volume, cells = weights
    return np.where(np.where(rim, cells, volume) < 0, -1.0, 1.0)


def _shared(nodes: Any) -> npt.NDArray[np.bool_]:
    """Which local nodes other ranks have, too."""
    shared = np.zeros(nodes.size_local + nodes.num_ghosts, dtype=bool)
    shared[nodes.size_local :] = True
    shared[: nodes.size_local] = (
        np.diff(nodes.index_to_dest_ranks(_TAG).offsets)[: nodes.size_local] > 0
    )
    return shared


def _corners(mesh: Mesh[Any]) -> list[int]:
    return {"interval": _AROUND[2], "triangle": _AROUND[3], "quadrilateral": _AROUND[4]}[
        mesh.topology.cell_type.name
    ]


def _facets(
    around: npt.NDArray[Any], shared: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[Any], ...]:
    """Cell, key, sense of each side of each cell, and whether other processes may have it."""
    cell = np.repeat(np.arange(len(around)), around.shape[1])
    start = around.ravel().astype(np.int64)
    if around.shape[1] == 2:
        return cell, start, np.tile([False, True], len(around)), shared.ravel()
    end = np.roll(around, -1, axis=1).ravel().astype(np.int64)
    # Global numbers stay below 2^31: a pair of them is one number of 64 bits.
    key = np.minimum(start, end) << 32 | np.maximum(start, end)
    return cell, key, start < end, (shared & np.roll(shared, -1, axis=1)).ravel()


def _cones(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Signed volume of the cone from the origin over each cell with corners x, up to a factor."""
    if x.shape[1] == 2:
        # The normal is to the left, so a curve whose left is outside runs clockwise.
        return np.asarray(x[:, 1, 0] * x[:, 0, 1] - x[:, 0, 0] * x[:, 1, 1])
    volume = np.einsum("ci,ci->c", x[:, 0], np.cross(x[:, 1], x[:, 2]))
    if x.shape[1] == 4:
        volume += np.einsum("ci,ci->c", x[:, 0], np.cross(x[:, 2], x[:, 3]))
    return np.asarray(volume)
