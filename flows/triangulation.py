r"""Triangles in space as arrays of points and cells: normals, edges, angles, topology."""

import numpy as np
import numpy.typing as npt

__all__ = ["SIDES", "area_vectors", "edges_of", "least_angle", "normals", "topology", "unit"]

SIDES = np.array([[1, 2], [0, 2], [0, 1]])
"""Edges of a triangle, in the order of DOLFINx."""

type Floats = npt.NDArray[np.float64]
type Integers = npt.NDArray[np.int64]


def area_vectors(x: Floats, cells: Integers) -> Floats:
    """Normals of the triangles, as long as their areas."""
    a, b, c = np.swapaxes(x[cells], 0, 1)
    return np.asarray(np.cross(b - a, c - a) / 2)


def normals(x: Floats, cells: Integers) -> Floats:
    """Unit normals at the nodes."""
    vectors = area_vectors(x, cells).T
    return unit(np.column_stack([np.bincount(cells.ravel(), np.repeat(v, 3)) for v in vectors]))


def unit(v: Floats) -> Floats:
    """Vectors of length 1 in the same directions; zero stays zero."""
    return np.asarray(v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-300))


def edges_of(cells: Integers) -> tuple[Integers, Integers, Integers]:
    """The two nodes of each edge, the three edges of each triangle, the triangles at each edge."""
    both = np.sort(cells[:, SIDES], axis=2).reshape(-1, 2)
    edges, number, count = np.unique(both, axis=0, return_inverse=True, return_counts=True)
    return edges, number.reshape(-1, 3), count


def topology(cells: Integers) -> tuple[int, bool, bool]:
    """Euler characteristic; whether there is a boundary, and an edge where the surface branches."""
    edges, _, count = edges_of(cells)
    characteristic = len(np.unique(cells)) - len(edges) + len(cells)
    return characteristic, bool(np.any(count == 1)), bool(np.any(count > 2))


def least_angle(x: Floats, cells: Integers) -> float:
    """Smallest angle of the triangles, in degrees."""
    corners = x[cells]
    a, b = (np.roll(corners, shift, axis=1) - corners for shift in (-1, 1))
    sines, cosines = np.linalg.norm(np.cross(a, b), axis=2), np.sum(a * b, axis=2)
    return float(np.degrees(np.arctan2(sines, cosines).min()))
