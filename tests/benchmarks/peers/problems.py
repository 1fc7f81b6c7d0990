"""What the workers share: meshes as arrays, initial values, samples, the clock, the answer.

Nothing here needs more than numpy and scipy: each code runs in its own environment.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations, permutations
from typing import Any

import numpy as np
from scipy.spatial import ConvexHull, cKDTree

TOLERANCE = 1e-8
"""Relative residual at which linear iterations of the peers stop."""


class Clock:
    """CPU seconds of this process, where it runs."""

    seconds = 0.0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds += time.process_time() - start


def answer(cases: dict[str, Callable[..., dict[str, Any]]]) -> None:
    """Run the case of the command line, `CASE '{"n": 64, ...}'`, and print what it returns."""
    name, options = sys.argv[1], json.loads(sys.argv[2])
    result = cases[name](**options)
    print(json.dumps({k: np.asarray(v).tolist() for k, v in result.items()}))


def box(n: int, dim: int, side: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """The cube from the origin, n cells along each axis, cut into simplices as Kuhn does.

    There is one simplex for each order in which to go along the axes to the opposite corner.
    """
    axes = np.stack(np.meshgrid(*dim * [np.arange(n + 1)], indexing="ij"), axis=-1)
    strides = (n + 1) ** np.arange(dim)[::-1]
    low = axes[dim * (slice(n),)].reshape(-1, dim) @ strides
    simplices = []
    for order in permutations(range(dim)):
        nodes = low[:, None] + np.cumsum([0, *strides[list(order)]])
        if np.linalg.det(np.eye(dim)[list(order)]) < 0:
            nodes[:, :2] = nodes[:, 1::-1]
        simplices.append(nodes)
    return axes.reshape(-1, dim) * (side / n), np.concatenate(simplices)


def sphere(n: int) -> tuple[np.ndarray, np.ndarray]:
    """The unit sphere with 20 n^2 triangles, outward: an icosahedron with divided faces."""
    golden = (1 + np.sqrt(5)) / 2
    signs = [(0, a, b * golden) for a in (1, -1) for b in (1, -1)]
    corners = np.array([np.roll(p, k) for p in signs for k in range(3)])
    i, j = (a.ravel() for a in np.meshgrid(*2 * [np.arange(n + 1)]))
    weights = np.stack([n - i - j, i, j], axis=-1)[i + j <= n] / n
    threes = (np.array(three) for three in combinations(corners, 3))
    faces = [f for f in threes if np.isclose(np.linalg.norm(f - np.roll(f, 1, 0), axis=1), 2).all()]
    points = np.concatenate([weights @ face for face in faces])
    points = np.unique(points.round(9), axis=0)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    triangles = ConvexHull(points).simplices.astype(np.int64)
    inward = np.linalg.det(points[triangles]) < 0
    triangles[inward] = triangles[inward][:, [0, 2, 1]]
    return points, triangles


def bump(x: np.ndarray) -> np.ndarray:
    """Initial values of the heat equation: waves and a bump. Columns of `x` are points."""
    waves = np.prod([np.cos((k + 2) * np.pi * xi) for k, xi in enumerate(x)], axis=0)
    return waves + np.exp(-50 * sum((xi - 0.3) ** 2 for xi in x))


def phases(x: np.ndarray) -> np.ndarray:
    """Initial values of the phase fields: drops and holes."""
    return 0.9 * np.cos(4 * np.pi * x[0]) * np.cos(2 * np.pi * x[1])


def texture(x: np.ndarray) -> np.ndarray:
    """Initial values of a map into the sphere."""
    tilt, turn = 2 * np.cos(np.pi * x[0]) * np.cos(np.pi * x[1]), np.pi * x[0]
    return np.stack([np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt)])


def well(x: np.ndarray) -> np.ndarray:
    """A potential with two wells, on the square of side 4; walls are out of reach."""
    return ((x[0] - 2) ** 2 - 1) ** 2 + 2 * (x[1] - 2) ** 2


def hump(x: np.ndarray) -> np.ndarray:
    """A density in the left well."""
    return np.exp(-4 * ((x[0] - 1) ** 2 + (x[1] - 2) ** 2))


def barenblatt(x: np.ndarray, t: float) -> np.ndarray:
    """Barenblatt's solution of the porous medium equation with m = 2, around (2, 2)."""
    squares = (x[0] - 2) ** 2 + (x[1] - 2) ** 2
    return np.maximum(0.1 - squares / (16 * t**0.5), 0) / t**0.5


def sample(points: np.ndarray, values: np.ndarray, side: float = 1.0) -> np.ndarray:
    """Values at a coarse lattice of nodes: what solutions are compared by. Rows are points."""
    dim = points.shape[1]
    lattice = np.stack(np.meshgrid(*dim * [np.linspace(0, side, 9)], indexing="ij"), axis=-1)
    distance, at = cKDTree(points).query(lattice.reshape(-1, dim))
    assert distance.max() < 1e-9 * side, "the lattice is not one of nodes"
    return values[at]
