r"""Which way is out: orientation of closed surfaces in space and closed curves in the plane.

DOLFINx takes the normal of a cell from the order of its vertices,

$$ \nu_h = \frac{J_0 \times J_1}{|J_0 \times J_1|} \;\text{(surfaces)}, \qquad
\nu_h = \frac{(-J_y, J_x)}{|J|} \;\text{(curves: the left of the cell)}, $$

so a mesh whose cells disagree gives no error, only a wrong flow. Here the cells are made to agree
and to look outward.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from dolfinx.mesh import Mesh, exterior_facet_indices
from mpi4py import MPI

__all__ = ["closed", "orientation", "outward"]

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
    cavity looks into the body. The cells are gathered on rank 0: a check for the start of a run,
    not for every step.

    Args:
        mesh: A surface in space or a curve in the plane, on any number of ranks.
        open: Whether a boundary is allowed; the cells of such a component agree with each other.

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
    cell_map, nodes = mesh.topology.index_map(tdim), geometry.index_map()
    corners = geometry.dofmaps[0][: cell_map.size_local, : len(_corners(mesh))]
    parts = comm.gather(
        (
            nodes.local_to_global(corners.ravel()).reshape(corners.shape),
            geometry.x[: nodes.size_local, :gdim],
            cell_map.local_to_global(np.arange(len(geometry.dofmaps[0]), dtype=np.int32)),
        )
    )
    problem, signs = "", None
    if parts is not None:
        cells, points, numbers = zip(*parts, strict=True)
        try:
            # Owned cells are numbered rank after rank, which is the order of the gather.
            sign = outward(np.concatenate(cells), np.concatenate(points), closed=not open)
            signs = [sign[i] for i in numbers]
        except ValueError as error:
            problem = str(error)
    problem = comm.bcast(problem)
    if problem:
        raise ValueError(problem)
    return np.asarray(comm.scatter(signs), dtype=np.float64)


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
    name, facets = ("curve", "points") if around.shape[1] == 2 else ("surface", "edges")
    cell, facet, sense = _facets(around)
    count = np.bincount(facet)
    if np.any(count > 2):
        raise ValueError(
            f"the {name} branches: {np.sum(count > 2)} {facets} have more than two cells; "
            "keep one closed sheet"
        )
    if closed and np.any(count < 2):
        raise ValueError(
            f"the {name} is open: {np.sum(count < 2)} of {count.size} {facets} have only one "
            "cell; close it, or merge duplicate points"
        )

    by_facet = np.argsort(facet, kind="stable")
    first, second = by_facet[count[facet[by_facet]] == 2].reshape(-1, 2).T
    same, a, b, n = sense[first] == sense[second], cell[first], cell[second], len(cells)
    rows, columns = np.r_[a, a + n], np.r_[b + n * same, b + n * ~same]
    from scipy.sparse import coo_array  # slow to import: only where there is a surface
    from scipy.sparse.csgraph import connected_components

    cover = coo_array((np.ones(rows.size, dtype=np.int8), (rows, columns)), shape=(2 * n, 2 * n))
    kept, turned = connected_components(cover, directed=False)[1].reshape(2, n)
    if np.any(kept == turned):
        raise ValueError(f"the {name} has only one side, so it has no outward normal")
    sign = np.where(kept < turned, 1.0, -1.0)

    component = np.unique(np.minimum(kept, turned), return_inverse=True)[1]
    volume = np.bincount(component, sign * _cones(points[around] - points.mean(axis=0)))
    volume[component[cell[count[facet] == 1]]] = 0.0
    return np.asarray(sign * np.where(volume < 0, -1.0, 1.0)[component], dtype=np.float64)


def _corners(mesh: Mesh[Any]) -> list[int]:
    return {"interval": _AROUND[2], "triangle": _AROUND[3], "quadrilateral": _AROUND[4]}[
        mesh.topology.cell_type.name
    ]


def _facets(around: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...]:
    """Cell, facet and sense of each side of each cell, from the cycles of vertices."""
    cell = np.repeat(np.arange(len(around)), around.shape[1])
    start = around.ravel()
    if around.shape[1] == 2:
        key, sense = start, np.tile([False, True], len(around))
    else:
        end = np.roll(around, -1, axis=1).ravel()
        key = np.minimum(start, end).astype(np.int64) * (int(start.max()) + 1)
        key += np.maximum(start, end)
        sense = start < end
    return cell, np.unique(key, return_inverse=True)[1], sense


def _cones(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Signed volume of the cone from the origin over each cell with corners x, up to a factor."""
    if x.shape[1] == 2:
        # The normal is to the left, so a curve whose left is outside runs clockwise.
        return np.asarray(x[:, 1, 0] * x[:, 0, 1] - x[:, 0, 0] * x[:, 1, 1])
    volume = np.einsum("ci,ci->c", x[:, 0], np.cross(x[:, 1], x[:, 2]))
    if x.shape[1] == 4:
        volume += np.einsum("ci,ci->c", x[:, 0], np.cross(x[:, 2], x[:, 3]))
    return np.asarray(volume)
