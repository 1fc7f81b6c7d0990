"""Surfaces meshed anew: angles, area, volume and time.

    python tests/benchmarks/surface_remesh.py

Surfaces that mean curvature flow has stretched, shapes that begin so, a noisy sphere like a scan, a
nut that is coarse and sharp, a sphere of curved triangles; last a body that is meshed anew eight
times on its way to a pinch.
"""

import flows  # isort: split

import time
from typing import Any

from flows.curved import of_order
from flows.formats import Arrays, Block, distribute
from flows.mesh import dumbbell, ellipsoid, read, sphere, torus
from flows.surface_remesh import remesh
from flows.triangulation import least_angle

import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI
from pyvista import examples


def flowed(mesh: Any, until: float) -> Any:
    """The mesh after mean curvature flow."""
    flow = flows.mean_curvature(mesh, name=f"flow{until}")
    flows.evolve(flow, until=until, tau=2.5e-4)
    return flow.mesh


def noisy() -> Any:
    """A sphere with noise of a sixth of an edge."""
    mesh = sphere(refinements=5)
    mesh.geometry.x[:] += 6e-3 * np.random.default_rng(0).standard_normal(mesh.geometry.x.shape)
    return mesh


def curved() -> Any:
    """The unit sphere of 11 520 stretched triangles of degree 2."""
    mesh = sphere(h=1.1072 / 24)
    x, cells = mesh.geometry.x.copy(), mesh.geometry.dofmaps[0].astype(np.int64)
    x[:, 0] += 0.45 * np.sin(2 * x[:, 0])
    arrays = of_order(Arrays(x, Block("triangle", 1, cells)), 2)
    points = arrays.points / np.linalg.norm(arrays.points, axis=1, keepdims=True)
    return distribute(Arrays(points, arrays.cells), MPI.COMM_WORLD).mesh


def measured(mesh: Any) -> tuple[int, float, float, float]:
    """Triangles, smallest angle, area, volume."""
    dx = ufl.dx(domain=mesh, metadata={"quadrature_degree": 6})
    outward = ufl.inner(ufl.SpatialCoordinate(mesh), ufl.CellNormal(mesh)) / 3
    area, volume = (fem.assemble_scalar(fem.form(f * dx)) for f in (1, outward))
    cells = mesh.geometry.dofmaps[0][:, :3]
    return len(cells), least_angle(mesh.geometry.x, cells), area, volume


def row(name: str, mesh: Any, h: float | None = None) -> Any:
    """One line of the table."""
    start = time.perf_counter()
    new = remesh(mesh, h)
    seconds = time.perf_counter() - start
    (n, angle, area, volume), (m, good, *new_size) = measured(mesh), measured(new)
    da, dv = new_size[0] / area - 1, new_size[1] / volume - 1
    sizes = f"{n:6d} -> {m:6d} {angle:6.1f} -> {good:4.1f} {da:+9.1e} {dv:+9.1e}"
    print(f"{name:32s} {sizes} {seconds:6.2f}", flush=True)
    return new


def main() -> None:
    """The table."""
    print(f"{'':32s} {'triangles':>16s} {'least angle':>14s} {'area':>9s} {'volume':>9s}  seconds")
    row("dumbbell at t = 0.0255", flowed(dumbbell(h=0.06), 0.0255))
    row("torus of r = 0.7 at t = 0.09", flowed(torus(r=0.7), 0.09))
    row("ellipsoid 1:1:4 at t = 0.1", flowed(ellipsoid((1, 1, 4), h=0.2), 0.1))
    row("ellipsoid 1:1:4", ellipsoid((1, 1, 4), h=0.2))
    row("ellipsoid 1:1:4, uniform", ellipsoid((1, 1, 4), h=0.2), 0.1)
    row("noisy sphere", noisy())
    row("nut", read(examples.nutfile))
    row("sphere of degree 2", curved())
    mesh = dumbbell(h=0.06)
    for t, dt in ((0.02, 0.02), (0.024, 4e-3), (0.025, 1e-3), (0.0255, 5e-4), (0.026, 5e-4)):
        mesh = row(f"dumbbell, again at t = {t}", flowed(mesh, dt))


if __name__ == "__main__":
    main()
