r"""Surfaces meshed anew.

A flow by curvature stretches and crowds the cells that it carries along. Here Mmg
{cite}`dapogny2014` triangulates the surface again, on one process: it is rarely done, and so the
new mesh does not depend on the number of ranks.
"""

import signal
from threading import current_thread, main_thread
from typing import Any

from flows.closest import closest
from flows.components import connected, gathered
from flows.formats import Arrays, Block, distribute, positive
from flows.orientation import outward
from flows.ranks import on_root
from flows.triangulation import (
    SIDES,
    area_vectors,
    edges_of,
    least_angle,
    normals,
    topology,
    unit,
)

import numpy as np
import numpy.typing as npt
from dolfinx.mesh import Mesh

__all__ = ["remesh", "triangulated"]

# Smallest angle in degrees: what is worth another pass, and what only a surface that folds has.
_GOOD_ANGLE, _LEAST_ANGLE = 20.0, 5.0
# A boundary that turns by more degrees has a corner.
_CORNER = 30.0

type Floats = npt.NDArray[np.float64]
type Integers = npt.NDArray[np.int64]
type Booleans = npt.NDArray[np.bool_]


def remesh(mesh: Mesh[Any], h: float | None = None, *, order: int | None = None) -> Mesh[Any]:
    r"""The same surface with new triangles.

    $$ h_i = \min\Big(h, \frac{1}{2 k_i}\Big) $$

    is the length of an edge near node $i$, where the largest curvature is $k_i$: a neck has at
    least twelve edges around it. Without `h` there are about as many triangles as before, small
    where they were small: their area is the mean of that of the old ones around the node.

    The nodes of straight triangles lie on a smooth interpolation of the old ones: area and volume
    change by $O(h^2)$. The nodes of curved triangles lie on the old surface, which they meet to
    $O(h^3)$. Sharp edges are rounded; the boundary and its corners are kept.

    Args:
        mesh: Triangles of degree 1 or 2 in space, closed or with a boundary, of any number of
            components; collective.
        h: Length of an edge.
        order: Degree of the new triangles, 1 or 2; the default is that of the old ones.

    Returns:
        A mesh on the same communicator, without tags. Closed components look outward.

    Raises:
        ValueError: On every rank, if the mesh is of another kind, or too damaged: it branches, has
            only one side, folds, or would get another topology.
    """
    kind, degree = mesh.topology.cell_name(), mesh.geometry.cmaps[0].degree
    if (kind, mesh.geometry.dim) != ("triangle", 3) or degree > 2:
        raise ValueError(
            "only triangles of degree 1 or 2 in space can be meshed anew, not cells "
            f"'{kind}' of degree {degree} in dimension {mesh.geometry.dim}"
        )
    if h is not None:
        positive(h=h)
    if order not in (None, 1, 2):
        raise ValueError(f"the order of the geometry is 1 or 2, not {order}")
    old = gathered(mesh)
    new = on_root(mesh.comm, lambda: _anew(old, h, order or degree))
    return distribute(new, mesh.comm).mesh


def _anew(old: Arrays | None, h: float | None, order: int) -> Arrays:
    """New triangles for one component after the other."""
    assert old is not None  # rank 0 has it
    nodes, degree = old.cells.nodes, old.cells.degree
    if not np.isfinite(old.points).all():
        raise ValueError("a node of the surface is not finite; go back to the last good state")
    outward(nodes[:, :3], old.points, closed=False)  # refuses what branches or has only one side
    label = connected(nodes, len(old.points))[nodes[:, 0]]
    points, cells, count = [], [], 0
    for k in range(label.max() + 1):
        used, own = np.unique(nodes[label == k], return_inverse=True)
        part = Arrays(old.points[used], Block("triangle", degree, own))
        try:
            x, new = _triangulated(part, h)
            if order == 2:
                x, new = _curved(part, x, new)
        except (RuntimeError, np.linalg.LinAlgError) as error:
            raise ValueError(
                f"a component of {len(own)} triangles cannot be meshed anew ({error}); give a "
                "smaller h, go back to an earlier state, or drop it if it vanishes"
            ) from error
        points.append(x)
        cells.append(new + count)
        count += len(x)
    return Arrays(np.concatenate(points), Block("triangle", order, np.concatenate(cells)))


def _triangulated(old: Arrays, h: float | None) -> tuple[Floats, Integers]:
    """Straight triangles: from the corners, then put on the old surface if that is curved."""
    used, corners = np.unique(old.cells.nodes[:, :3], return_inverse=True)
    points = old.points[used]
    x, cells = new = triangulated(points, corners, _sizes(points, corners, h))
    if least_angle(x, cells) < _GOOD_ANGLE:
        again = triangulated(x, cells, _spacing(x, cells))
        x, cells = max(new, again, key=lambda mesh: least_angle(*mesh))
    if topology(cells) != topology(corners):
        raise RuntimeError("its topology would change")
    edges, _, count = edges_of(cells)
    rim = np.isin(np.arange(len(x)), edges[count == 1])
    x = _onto(old, x, rim) if old.cells.degree == 2 else _into_planes(points, corners, x, rim)
    angle = least_angle(x, cells)
    if not angle > _LEAST_ANGLE:
        raise RuntimeError(f"an angle of {angle:.1f} degrees would be left, so it seems to fold")
    return x, cells


def _curved(old: Arrays, x: Floats, cells: Integers) -> tuple[Floats, Integers]:
    """Triangles of degree 2: with a node for each edge."""
    edges, number, count = edges_of(cells)
    a, b = x[edges[:, 0]], x[edges[:, 1]]
    middle = (a + b) / 2
    if old.cells.degree == 2:
        middle = _onto(old, middle, count == 1)
    else:
        # An arc with the normals n and m at its ends rises above its chord by (b - a).(m - n) / 8.
        n, m = (normals(x, cells)[edges[:, i]] for i in (0, 1))
        rise = np.sum((b - a) * (m - n), axis=1) / 8 * (count == 2)
        middle += rise[:, None] * unit(n + m)
    return np.concatenate([x, middle]), np.column_stack([cells, len(x) + number])


def _sizes(x: Floats, cells: Integers, h: float | None) -> Floats:
    """Length of the new edges at each node."""
    edges, normal = edges_of(cells)[0], normals(x, cells)
    bend, length = (np.linalg.norm(v[edges[:, 1]] - v[edges[:, 0]], axis=1) for v in (normal, x))
    radius = np.full(len(x), np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        np.fmin.at(radius, edges, (length / bend)[:, None])
    size = _spacing(x, cells) if h is None else np.full(len(x), min(h, np.ptp(x, axis=0).max()))
    # Cells that have collapsed say nothing about the size of new ones.
    return np.maximum(np.minimum(size, radius / 2), 0.02 * size.mean())


def _spacing(x: Floats, cells: Integers) -> Floats:
    """Side of an equilateral triangle with the mean area of the cells at each node."""
    at, area = cells.ravel(), np.linalg.norm(area_vectors(x, cells), axis=1)
    return np.asarray(2 / 3**0.25 * np.sqrt(np.bincount(at, np.repeat(area, 3)) / np.bincount(at)))


def triangulated(x: Floats, cells: Integers, size: Floats) -> tuple[Floats, Integers]:
    """New triangles by Mmg.

    Args:
        x: Nodes, shape (nodes, 3).
        cells: Triangles; smooth, but for corners of the boundary.
        size: Length of the new edges at each node.

    Returns:
        The new nodes, on a smooth interpolation of the old ones, and triangles.
    """
    try:
        import mmgpy
    except ImportError as error:
        raise ImportError("meshing anew needs Mmg: pip install 'gradient-flows[mesh]'") from error
    mesh = mmgpy.MmgMeshS(np.ascontiguousarray(x), cells.astype(np.int32))
    mesh["metric"] = size[:, None]
    kept = _corners(x, cells).astype(np.int32)
    mesh.set_corners(kept)
    mesh.set_required_vertices(kept)
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    try:
        # The sizes know the curvature already: a Hausdorff distance that refines nothing.
        mesh.remesh(hausd=0.3 * float(np.median(size)), hgrad=1.3, angle=0, verbose=-1)
    finally:
        # Mmg takes the signals, and an interrupt would end the run at once for ever after.
        if current_thread() is main_thread():
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler or signal.SIG_DFL)
    return mesh.get_vertices(), mesh.get_triangles().astype(np.int64)


def _onto(old: Arrays, x: Floats, rim: Booleans) -> Floats:
    """The nearest points of a curved surface, and of its boundary for those on the rim."""
    y = x.copy()
    y[~rim] = closest(x[~rim], old)
    if rim.any():
        nodes = old.cells.nodes
        _, number, count = edges_of(nodes[:, :3])
        cell, side = np.nonzero(count[number] == 1)
        curve = np.column_stack([nodes[cell[:, None], SIDES[side]], nodes[cell, 3 + side]])
        y[rim] = closest(x[rim], Arrays(old.points, Block("interval", 2, curve)))
    return y


def _into_planes(points: Floats, corners: Integers, x: Floats, rim: Booleans) -> Floats:
    """Nodes of a boundary that was flat, to rounding, are put into its plane again."""
    from scipy.spatial import cKDTree  # slow to import: only where there is a surface

    edges, _, count = edges_of(corners)
    old, new = np.unique(edges[count == 1]), np.flatnonzero(rim)
    if new.size == 0:
        return x
    loop = connected(edges[count == 1], len(points))[old]
    near = loop[cKDTree(points[old]).query(x[new])[1]]
    for k in np.unique(loop):
        centre = points[old[loop == k]].mean(axis=0)
        y, at = points[old[loop == k]] - centre, new[near == k]
        normal = np.linalg.svd(y, full_matrices=False)[2][-1]
        if np.abs(y @ normal).max() < 1e-10 * np.abs(y).max():
            x[at] -= np.outer((x[at] - centre) @ normal, normal)
    return x


def _corners(x: Floats, cells: Integers) -> Integers:
    """Nodes where the boundary turns."""
    edges, _, count = edges_of(cells)
    a, b = edges[count == 1].T
    away, sum_of_two = unit(x[b] - x[a]), np.zeros_like(x)
    np.add.at(sum_of_two, a, away)
    np.add.at(sum_of_two, b, -away)
    turn = 2 * np.arcsin(np.minimum(np.linalg.norm(sum_of_two, axis=1) / 2, 1))
    return np.flatnonzero(turn > np.radians(_CORNER))
