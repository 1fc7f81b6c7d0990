r"""Which way is out: orientation of closed surfaces in space and closed curves in the plane.

DOLFINx takes the normal of a cell from the order of its vertices,

$$ \nu_h = \frac{J_0 \times J_1}{|J_0 \times J_1|} \;\text{(surfaces)}, \qquad
\nu_h = \frac{(-J_y, J_x)}{|J|} \;\text{(curves: the left of the cell)}, $$

so a mesh whose cells disagree gives no error, only a wrong flow. Here the cells are made to agree
and to look outward.

Two cells agree if they run through their common facet in opposite senses. Pairs of cells are joined
one by one, with the sign between them; a surface has only one side if some pair contradicts others.
The enclosed volume $\frac13 \int x \cdot \nu > 0$ tells the outward orientation of a component.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from flows.pairs import facets, joined
from flows.ranks import on_root

import numpy as np
import numpy.typing as npt
from dolfinx.la import vector
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
    sides = _Sides(around, _shared(geometry.index_map()))
    parts = comm.gather((sides.outer(geometry.index_map().local_to_global), sides.parts))
    joined = on_root(comm, lambda: _joined(parts, sides.name, closed=not open))
    turn, component, rim = comm.scatter(joined)

    signs = vector(mesh.topology.index_map(tdim))
    owned = signs.array[: len(around)]
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
    signs.scatter_forward()
    return np.asarray(signs.array)


def outward(
    cells: npt.NDArray[np.integer[Any]],
    points: npt.NDArray[np.floating[Any]],
    *,
    closed: bool = True,
) -> npt.NDArray[np.float64]:
    r"""Signs of cells given as arrays on one process; the mathematics of :func:`orientation`.

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
    sides = _Sides(around, np.zeros(len(points), dtype=bool))
    outer = sides.outer(lambda nodes: nodes)
    ((turn, component, rim),) = _joined([(outer, sides.parts)], sides.name, closed=closed)
    sign = sides.sign * turn[sides.part]
    of_cell = component[sides.part]
    height = _cones(points[around] - points.mean(axis=0))
    weights = np.array([np.bincount(of_cell, sign * height), np.bincount(of_cell, sign)])
    return np.asarray(sign * _outward(weights, rim)[of_cell], dtype=np.float64)


class _Sides:
    """The cells of one process, joined where they meet.

    Args:
        around: Vertices of each cell, in the order of a walk around it.
        shared: Which vertices other processes have, too.

    Attributes:
        sign: Signs that make the cells of each part agree.
        part: Number of the part of each cell.
        parts: Number of parts; negative if one of them has only one side.
    """

    def __init__(self, around: npt.NDArray[Any], shared: npt.NDArray[np.bool_]) -> None:
        cells, corners = around.shape
        self.name = "curve" if corners == 2 else "surface"
        self._around = around
        self._end = around if corners == 2 else np.roll(around, -1, axis=1)
        first, count, self._facets = facets(around)
        second = np.flatnonzero((count == 2) & (first != np.arange(first.size)))
        first = first[second]
        # Opposite senses agree: one begins where the other ends.
        start, back = around.ravel(), np.arange(around.size) % 2
        agree = start[second] != start[first] if corners > 2 else back[second] != back[first]
        pairs = second // corners, first // corners
        self.sign, self.part, twisted = joined(*pairs, agree, cells)
        self.parts = -1 if twisted else int(self.part.max(initial=-1)) + 1
        outer = count != 2
        if shared.any():
            outer |= (shared[around] & shared[self._end]).ravel()
        self._outer = np.flatnonzero(outer)

    def outer(self, number: Callable[[Any], Any]) -> tuple[Any, ...]:
        """What other processes must know: facets that they may have, and how many there are.

        Args:
            number: Gives vertices the numbers that all processes know.
        """
        at, corners = self._outer, self._around.shape[1]
        start, end = (number(nodes.ravel()[at]) for nodes in (self._around, self._end))
        sense = start < end if corners > 2 else at % 2 == 1
        # Global numbers stay below 2^31: a pair of them is one number of 64 bits.
        key = np.minimum(start, end).astype(np.int64) << 32 | np.maximum(start, end)
        cell = at // corners
        return key, sense == (self.sign[cell] > 0), self.part[cell], self._facets


def _joined(parts: Any, name: str, *, closed: bool) -> list[tuple[Any, ...]]:
    """For each process: signs of its parts, the component of each, components with a boundary."""
    sides = "points" if name == "curve" else "edges"
    outers, numbers = zip(*parts, strict=True)
    start = np.append(0, np.cumsum(np.abs(numbers)))
    keys, senses, places = (np.concatenate([o[k] for o in outers]) for k in range(3))
    part = places + np.repeat(start[:-1], [len(o[0]) for o in outers])
    distinct, facet, count = np.unique(keys, return_inverse=True, return_counts=True)
    if np.any(count > 2):
        raise ValueError(
            f"the {name} branches: {np.sum(count > 2)} {sides} have more than two cells; "
            "keep one closed sheet"
        )
    lonely = int(np.sum(count == 1))
    if closed and lonely:
        every = sum(o[3] for o in outers) - sum(len(set(o[0])) for o in outers) + distinct.size
        raise ValueError(
            f"the {name} is open: {lonely} of {every} {sides} have only one "
            "cell; close it, or merge duplicate points"
        )
    order = np.argsort(facet, kind="stable")
    first, second = order[count[facet[order]] == 2].reshape(-1, 2).T
    agree = senses[first] != senses[second]
    sign, component, twisted = joined(part[first], part[second], agree, start[-1])
    if twisted or min(numbers) < 0:
        raise ValueError(f"the {name} has only one side, so it has no outward normal")
    rim = np.zeros(component.max(initial=-1) + 1, dtype=bool)
    rim[component[part[count[facet] == 1]]] = True
    return [(sign[a:b], component[a:b], rim) for a, b in pairwise(start)]


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


def _cones(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Signed volume of the cone from the origin over each cell with corners x, up to a factor."""
    if x.shape[1] == 2:
        # The normal is to the left, so a curve whose left is outside runs clockwise.
        return np.asarray(x[:, 1, 0] * x[:, 0, 1] - x[:, 0, 0] * x[:, 1, 1])
    volume = np.einsum("ci,ci->c", x[:, 0], np.cross(x[:, 1], x[:, 2]))
    if x.shape[1] == 4:
        volume += np.einsum("ci,ci->c", x[:, 0], np.cross(x[:, 2], x[:, 3]))
    return np.asarray(volume)
