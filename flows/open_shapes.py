r"""Surfaces with an edge, and one that is a periodic strip."""

from typing import Any

from flows.curved import built
from flows.formats import count, positive

import numpy as np
import numpy.typing as npt
from dolfinx.mesh import Mesh
from mpi4py import MPI

__all__ = ["hemisphere", "tube"]

type Floats = npt.NDArray[np.float64]
type Integers = npt.NDArray[np.int64]


def tube(
    radius: float = 1.0,
    height: float = 1.0,
    *,
    h: float = 0.1,
    order: int = 1,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> Mesh[Any]:
    r"""The side of a cylinder around the z axis, $x^2 + y^2 = r^2$, $|z| \le \ell/2$.

    It has two circles for an edge: a soap film between two rings, to be relaxed. Rows of triangles
    are shifted by half a cell, so that they are nearly equilateral; normals look away from the
    axis.

    Args:
        radius: Radius $r$ of the rings.
        height: Distance $\ell$ of the rings.
        h: Edge length.
        order: Degree of the cells; 2 curves them, with all nodes on the cylinder.
        comm: Communicator of the mesh.
    """
    positive(h=h, radius=radius, height=height)
    n, rows = max(3, count(2 * np.pi * radius, h)), count(height, np.sqrt(3) / 2 * h)

    def lattice() -> tuple[Floats, Integers]:
        i, j = (a.ravel() for a in np.meshgrid(np.arange(n), np.arange(rows + 1)))
        phi = 2 * np.pi * (i + j / 2) / n
        points = np.column_stack([np.cos(phi), np.sin(phi), height * (j / rows - 0.5)])
        i, j = i[:-n], j[:-n]
        here, right = j * n + i, j * n + (i + 1) % n
        up, down = [here, right, here + n], [right, right + n, here + n]
        return points, np.concatenate([np.column_stack(up), np.column_stack(down)])

    def onto(points: Floats) -> Floats:
        points[:, :2] *= radius / np.linalg.norm(points[:, :2], axis=1, keepdims=True)
        return points

    return built(lattice, onto, order=order, comm=comm)


def hemisphere(
    radius: float = 1.0, *, h: float = 0.1, order: int = 1, comm: MPI.Comm = MPI.COMM_WORLD
) -> Mesh[Any]:
    r"""The upper half of a sphere, $|x| = r$, $z \ge 0$, with its edge in the plane $z = 0$.

    Around the pole lie rings of 5, 10, 15, ... corners, $5 m^2$ triangles in all; the last ring is
    the equator. Normals look away from the origin.

    Args:
        radius: Radius $r$.
        h: Distance of the rings, about the length of an edge.
        order: Degree of the cells; 2 curves them, with all nodes on the sphere.
        comm: Communicator of the mesh.
    """
    positive(h=h, radius=radius)
    m = max(2, count(np.pi / 2 * radius, h))

    def rings() -> tuple[Floats, Integers]:
        ring = np.repeat(np.arange(m + 1), np.maximum(1, 5 * np.arange(m + 1)))
        first = np.searchsorted(ring, np.arange(m + 1))
        phi = 2 * np.pi * (np.arange(len(ring)) - first[ring]) / np.maximum(1, 5 * ring)
        # The latitude, not the distance from the pole: its sine is exactly zero on the equator.
        latitude = np.pi / 2 * (m - ring) / m
        rho = np.cos(latitude)
        points = np.column_stack([rho * np.cos(phi), rho * np.sin(phi), np.sin(latitude)])

        def at(k: Integers, sector: Integers, j: Integers) -> Integers:
            return np.asarray(first[k] + (sector * k + j) % np.maximum(1, 5 * k))

        k, s = np.repeat(np.arange(1, m + 1), 5), np.tile(np.arange(5), m)
        s, k, j = np.repeat(s, k), np.repeat(k, k), np.concatenate([np.arange(a) for a in k])
        up = np.column_stack([at(k, s, j), at(k, s, j + 1), at(k - 1, s, j)])
        k, s, j = k[j < k - 1], s[j < k - 1], j[j < k - 1]
        down = np.column_stack([at(k - 1, s, j), at(k, s, j + 1), at(k - 1, s, j + 1)])
        return points, np.concatenate([up, down])

    def onto(points: Floats) -> Floats:
        return np.asarray(radius * points / np.linalg.norm(points, axis=1, keepdims=True))

    return built(rings, onto, order=order, comm=comm)
