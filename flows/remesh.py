r"""A new triangulation of the surface that an old one stands for, by Gmsh on one process."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import pi, radians
from typing import Any

from flows.cad import blaming, empty_model, imported, same_size, set_options
from flows.curved import midsides, nearest, of_order, straightened
from flows.formats import Arrays, Block, proper, triangles

import numpy as np
import numpy.typing as npt

__all__ = ["remeshed"]

_SHARP = radians(40)
# Gmsh 4.15 loops for ever on a tetrahedron, and on two that share an edge.
_FEWEST = 12

type Floats = npt.NDArray[np.float64]
type Integers = npt.NDArray[np.int64]


def remeshed(arrays: Arrays, name: str, *, h: float, order: int | None = None) -> Arrays:
    """Triangles of size h. Edges sharper than 40 degrees, and the boundary, stay where they are.

    Args:
        arrays: Flat triangles or quadrilaterals.
        name: What to call them in messages.
        h: Edge length.
        order: Degree of the cells. Midside nodes of degree 2 go to the nearest points of the old
            surface, or of its sharp edges and its boundary.

    Raises:
        ValueError: If Gmsh fails, or changes the topology.
    """
    cells, gdim = triangles(arrays.cells), arrays.points.shape[1]
    if (cells.cell, cells.degree) != ("triangle", 1):
        raise ValueError(f"{name} cannot be meshed: h remeshes flat triangles or quadrilaterals")
    points = np.pad(arrays.points, ((0, 0), (0, 3 - gdim)))
    old = _quartered(Arrays(points, replace(cells, values=None)))
    with blaming(name):
        new = of_order(_triangulated(old, h), order or 1)
        if order == 2:
            new = replace(new, points=straightened(_onto(old, new), new.cells))
    return Arrays(np.ascontiguousarray(new.points[:, :gdim]), new.cells)


def _quartered(old: Arrays) -> Arrays:
    """The same surface with components of few triangles cut into more."""
    from scipy.sparse import coo_array  # slow to import
    from scipy.sparse.csgraph import connected_components

    points, nodes = old.points, old.cells.nodes
    pairs = (
        np.ones(2 * len(nodes), dtype=np.int8),
        (nodes[:, [0, 1]].ravel(), nodes[:, 1:].ravel()),
    )
    component = connected_components(coo_array(pairs, shape=(len(points),) * 2))[1][nodes[:, 0]]
    few = (np.bincount(component) < _FEWEST)[component]
    if not few.any():
        return old
    halved = of_order(Arrays(points, old.cells[few]), 2)
    parts = halved.cells.nodes[:, [[0, 5, 4], [5, 1, 3], [4, 3, 2], [3, 4, 5]]].reshape(-1, 3)
    cells = replace(old.cells, nodes=np.concatenate([nodes[~few], parts + len(points)]))
    return _quartered(Arrays(np.concatenate([points, halved.points]), cells))


def _triangulated(old: Arrays, h: float) -> Arrays:
    """Triangles of size h; the facets are their edges on curves where patches of Gmsh meet."""
    wanted = _characteristic(old.cells.nodes)
    # Curves between patches that get few nodes may be glued to each other; then they get more.
    for least in (3, 5, 9):
        with _surface(old, patches=True) as gmsh:
            mesh = gmsh.model.mesh
            mesh.createGeometry()
            same_size(gmsh, h)
            set_options(gmsh, {"Mesh.MinimumCurveNodes": least})
            mesh.generate(2)
            tags, points, _ = mesh.getNodes()
            nodes, edges = (_elements(mesh, kind) for kind in (2, 1))
        if _characteristic(nodes) == wanted and len(proper(nodes)) == len(nodes):
            used = np.unique(nodes)
            at = np.argsort(tags)[np.searchsorted(np.sort(tags), used)]
            facets = Block("interval", 1, np.searchsorted(used, edges))
            cells = Block("triangle", 1, np.searchsorted(used, nodes))
            return Arrays(points.reshape(-1, 3)[at], cells, facets)
    raise ValueError(
        f"edges of {h:.4g} change its topology; take a smaller h, or repair edges of the surface "
        "that have more than two cells"
    )


def _onto(old: Arrays, new: Arrays) -> Floats:
    """The points of a mesh of degree 2 with its midside nodes put on the old surface."""
    assert new.facets is not None
    points, middle = new.points.copy(), midsides(new.cells)
    points[middle] = nearest(points[middle], old)
    with _surface(old, patches=False) as gmsh:
        sharp = _elements(gmsh.model.mesh, 1) - 1
    if len(sharp):
        curves = Arrays(old.points, Block("interval", 1, sharp))
        edges = new.facets.nodes
        x = new.points[edges]
        foot = nearest(x.reshape(-1, 3), curves).reshape(x.shape)
        near = 1e-9 * np.ptp(old.points, axis=0).max()
        on = np.all(np.linalg.norm(foot - x, axis=2)[:, :2] < near, axis=1)
        points[edges[on, 2]] = foot[on, 2]
    return points


@contextmanager
def _surface(old: Arrays, *, patches: bool) -> Iterator[Any]:
    """Gmsh with a triangulation, cut at its sharp edges, and into patches that it can flatten."""
    gmsh = imported()
    with empty_model(gmsh):
        surface, mesh = gmsh.model.addDiscreteEntity(2), gmsh.model.mesh
        mesh.addNodes(2, surface, np.arange(1, len(old.points) + 1), old.points.ravel())
        mesh.addElementsByType(surface, 2, [], old.cells.nodes.ravel() + 1)
        mesh.classifySurfaces(_SHARP, True, patches, pi)
        yield gmsh


def _elements(mesh: Any, kind: int) -> Integers:
    """Nodes of all triangles (kind 2) or intervals (kind 1)."""
    return np.asarray(mesh.getElementsByType(kind)[1].reshape(-1, kind + 1), dtype=np.int64)


def _characteristic(nodes: Integers) -> int:
    """Euler characteristic of triangles: that of a sphere is 2, of a torus 0."""
    edges = np.sort(nodes[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    return len(np.unique(nodes)) - len(np.unique(edges, axis=0)) + len(nodes)
