"""Bending flows reach the Clifford torus, the sphere and the vesicles of least energy.

    python tests/benchmarks/willmore.py [--only torus ellipsoid vesicles sphere] [--large]

Exact energies are 4 pi^2 and 8 pi; those of vesicles, E / 8 pi by reduced volume, come from an
axisymmetric minimisation with 16 Fourier coefficients. Each line: nodes, steps, error of the
energy, its largest rise in the last ten steps (before them vesicles are on the way to their
volume), the largest defect of the certificate, the smallest angle of the cells, seconds of
processor time for a step.
"""

import flows  # isort: split

import argparse
import time
from typing import Any

from flows.bending import WillmoreFlow
from flows.surface import Surface

import numpy as np
from mpi4py import MPI

comm = MPI.COMM_WORLD
PI = np.pi

VESICLES = {
    # Reduced volume, E / 8 pi, polar half axis of the ellipsoid to start from.
    "discocyte": (0.6, 1.955680, 0.258),
    "discocyte, .65": (0.65, 1.826233, 0.29),
    "prolate, .7": (0.7, 1.643270, 3.0),
    "prolate, .8": (0.8, 1.387440, 2.3),
    "prolate, .9": (0.9, 1.189644, 1.8),
    "prolate, .95": (0.95, 1.095565, 1.5),
}


def run(name: str, flow: WillmoreFlow, until: float, first: float, exact: float) -> float:
    """Relax a flow and print what came out; returns the relative error of the energy."""
    start = time.process_time()
    history = flows.evolve(flow, until, flows.Relax(first, largest=1.0))
    spent = (time.process_time() - start) / history.steps
    energy = history["energy"]
    error = float(energy[-1] / exact - 1)
    nodes = flow.state.function_space.dofmap.index_map.size_global
    angle = flow.surface.quality().angle
    if comm.rank == 0:
        print(
            f"{name:22s} {nodes:6d} nodes {history.steps:3d} steps  error {error:+.2e}  rise "
            f"{np.diff(energy[-11:]).max():+.1e}  defect {history['defect'].max():+.1e}  "
            f"{angle:4.1f} deg  {spent:.3f} s",
            flush=True,
        )
    return error


def order(errors: list[float], ratio: float = 2.0) -> None:
    """Print the order between meshes that are ``ratio`` apart."""
    rates = np.log(np.abs(np.array(errors[:-1]) / errors[1:])) / np.log(ratio)
    if comm.rank == 0:
        print("  orders", *np.round(rates, 2), flush=True)


def torus(large: bool) -> None:
    """The unstructured torus R = 1, r = 1/2, and what it is after twenty times as long."""
    errors = []
    for h in (0.23, 0.115, 0.0575)[: 3 if large else 2]:
        mesh = flows.mesh.torus(1.0, 0.5, h=h, order=2, structured=False)
        flow = flows.willmore(mesh)
        errors.append(run("torus", flow, 5.0, 1e-3, 4 * PI**2))
        if h == 0.23:
            run("  until t = 100", flow, 100.0, 1.0, 4 * PI**2)
    order(errors)


def ellipsoid(large: bool) -> None:
    """The ellipsoid (1, 1, 2) becomes a sphere."""
    errors = []
    for refinements in (1, 2, 3, 4)[: 4 if large else 3]:
        mesh = flows.mesh.ellipsoid((1, 1, 2), refinements=refinements, order=2)
        errors.append(run("ellipsoid", flows.willmore(mesh), 3.0, 1e-3, 8 * PI))
    order(errors)


def vesicles(large: bool) -> None:
    """Area and volume kept; the error of both is printed below."""
    for name, (v, exact, axis) in VESICLES.items():
        errors = []
        for refinements in (2, 3, 4) if large and v == 0.6 else (2, 3):
            mesh = flows.mesh.ellipsoid((1, 1, axis), refinements=refinements, order=2)
            area = Surface(mesh).area
            targets = np.array([area, v * area**1.5 / (6 * PI**0.5)])
            flow = flows.willmore(mesh, area=targets[0], volume=targets[1])
            errors.append(run(name, flow, 1.0, 1e-5, 8 * PI * exact))
        off = np.array([flow.surface.area, flow.surface.volume]) / targets - 1
        order(errors)
        if comm.rank == 0:
            print(f"  area and volume off by {off[0]:.1e} and {off[1]:.1e}", flush=True)


def sphere(large: bool) -> None:
    """R' = (2 - R) / R^2 from R = 1 to t = 0.2 by spontaneous curvature 1: order 1 in tau."""
    exact = 1.1571083
    for refinements in (2, 3):
        errors = []
        for steps in (10, 20, 40):
            mesh = flows.mesh.sphere(refinements=refinements, order=2)
            flow: Any = flows.willmore(mesh, spontaneous_curvature=1.0)
            flows.evolve(flow, 0.2, 0.2 / steps)
            r = np.linalg.norm(flow.mesh.geometry.x, axis=1)
            errors.append(comm.allreduce(float(np.abs(r - exact).max()), MPI.MAX))
        if comm.rank == 0:
            print(f"sphere, {refinements} refinements: errors of the radius", errors, flush=True)
        order(errors)


if __name__ == "__main__":
    cases = {f.__name__: f for f in (torus, ellipsoid, vesicles, sphere)}
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--only", nargs="+", choices=cases, default=list(cases))
    options.add_argument("--large", action="store_true", help="one more mesh of each")
    args = options.parse_known_args()[0]
    for name in args.only:
        cases[name](args.large)
