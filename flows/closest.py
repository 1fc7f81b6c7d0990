r"""Nearest points of curved surfaces and curves in space.

In a cell $x(\xi) = \sum_i x_i \varphi_i(\xi)$ the point nearest to $p$ is found by the method of
Gauss and Newton, held inside the cell,

$$ \delta\xi = (J J^T)^{-1} J (p - x), \qquad J_a = \partial x / \partial \xi_a. $$
"""

from typing import Any

from flows.formats import Arrays

import basix
import basix.ufl
import numpy as np
import numpy.typing as npt

__all__ = ["closest"]

type Floats = npt.NDArray[np.float64]

# A cell is found by points inside it, of which it has ten if it is a triangle and five if it is an
# interval; so many of them that are nearest are tried.
_SAMPLES, _TRIED = 6, 8


def closest(p: Floats, surface: Arrays) -> Floats:
    """The points of a surface or a curve that are nearest to given ones.

    Where cells are so stretched that the nearest one is missed, a point of a near one is returned:
    it lies on the surface all the same.

    Args:
        p: Shape (points, 3).
        surface: Triangles or intervals of degree 1 or 2 in space, on this process.
    """
    cells = surface.cells
    nodes, kind = surface.points[cells.nodes], basix.CellType[cells.cell]
    element = basix.ufl.element("Lagrange", cells.cell, cells.degree)
    inside = basix.create_lattice(kind, _SAMPLES, basix.LatticeType.equispaced, False)
    lattice = np.asarray(inside, dtype=np.float64)
    shapes: Any = element.tabulate(0, lattice)
    samples = np.einsum("sn,cnd->csd", shapes[0], nodes).reshape(-1, 3)
    from scipy.spatial import cKDTree  # slow to import: only where there is a surface

    near = cKDTree(samples).query(p, min(_TRIED, len(samples)))[1].T
    x, left = np.full_like(p, np.inf), np.arange(len(p))
    for cell, start in zip(*np.divmod(near, len(lattice)), strict=True):
        foot, inner = _foot(element, nodes[cell[left]], lattice[start[left]], p[left])
        nearer = _distance(foot, p[left]) < _distance(x[left], p[left])
        x[left[nearer]] = foot[nearer]
        # Where the foot is on an edge, the next cell may have a nearer one.
        left = left[~inner]
        if left.size == 0:
            break
    return x


def _foot(
    element: Any, nodes: Floats, xi: Floats, p: Floats
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The nearest points of one cell each, and whether they are inside."""
    for _ in range(30):
        x, *tangents = np.einsum("apn,pnd->apd", element.tabulate(1, xi), nodes)
        J = np.stack(tangents, axis=1)
        step = np.linalg.solve(J @ np.swapaxes(J, 1, 2), J @ (p - x)[:, :, None])[:, :, 0]
        weights = np.column_stack([1 - np.sum(xi + step, axis=1), xi + step]).clip(0)
        weights /= np.sum(weights, axis=1, keepdims=True)
        change, xi = np.abs(weights[:, 1:] - xi).max(), weights[:, 1:]
        if change < 1e-10:
            break
    x = np.einsum("pn,pnd->pd", element.tabulate(0, xi)[0], nodes)
    return x, np.all(weights > 0, axis=1)


def _distance(a: Floats, b: Floats) -> Floats:
    return np.asarray(np.linalg.norm(a - b, axis=1))
