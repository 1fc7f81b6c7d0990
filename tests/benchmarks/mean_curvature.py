"""Mean curvature flow of an ellipsoid: iterations, time and mesh quality by size.

    python tests/benchmarks/mean_curvature.py [--refinements 5 6 7] [--steps 5] [--tau 1e-3]
    mpirun -n 2 python tests/benchmarks/mean_curvature.py

Four schemes: flat cells, flat cells that move along normals, flat cells of fixed volume, and the
smooth mode on curved cells, two refinements coarser. Times are those of the process per step, of
the slowest rank, after a first step that builds everything; compare them within one run.
"""

import flows  # isort: split

import argparse
import time
from typing import Any

from flows.curvature_solver import CurvatureSolver
from flows.smooth import SmoothFlow
from flows.tangential import NormalOnly

import numpy as np
from mpi4py import MPI

comm = MPI.COMM_WORLD
AXES = (1.0, 1.0, 1.5)


def flat(refinements: int) -> Any:
    """The parametric scheme on flat triangles."""
    return flows.mean_curvature(flows.mesh.ellipsoid(AXES, refinements=refinements))


def normal(refinements: int) -> Any:
    """The same without tangential motion, the scheme of Dziuk."""
    mesh = flows.mesh.ellipsoid(AXES, refinements=refinements)
    return flows.mean_curvature(mesh, tangential=NormalOnly())


def kept(refinements: int) -> Any:
    """The same at fixed volume."""
    mesh = flows.mesh.ellipsoid(AXES, refinements=refinements)
    return flows.mean_curvature(mesh, constraints=[flows.Volume()])


def smooth(refinements: int) -> Any:
    """The smooth mode, of order 2 in time."""
    return SmoothFlow(flows.mesh.ellipsoid(AXES, refinements=refinements - 2, order=2))


def measure(name: str, flow: Any, tau: float, steps: int) -> None:
    """Take steps and print a line."""
    cells = flow.mesh.topology.index_map(2).size_global
    first, volume = flow.step(tau), flow.surface.volume
    start, iterations = time.process_time(), []
    for _ in range(steps):
        report = flow.step(tau)
        linear = isinstance(flow.solver, CurvatureSolver)
        iterations.append(flow.solver.outer.getIterationNumber() if linear else report.iterations)
    spent = comm.allreduce((time.process_time() - start) / steps, MPI.MAX)
    quality, drift = flow.surface.quality(), flow.surface.volume / volume - 1
    if comm.rank == 0:
        note = f"volume drift {drift:.0e}, {report.iterations} Newton" if name == "kept" else ""
        print(
            f"{name:6} {cells:7} triangles: {spent:6.3f} s/step, {np.mean(iterations):4.1f} "
            f"iterations, area {first.energy:.4f} -> {report.energy:.4f}, "
            f"angle {quality.angle:.1f} {note}",
            flush=True,
        )


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, add_help=False)
    options.add_argument("--refinements", type=int, nargs="+", default=[5, 6, 7])
    options.add_argument("--steps", type=int, default=5)
    options.add_argument("--tau", type=float, default=1e-3)
    args = options.parse_known_args()[0]
    for k in args.refinements:
        for scheme in (flat, normal, kept, smooth):
            measure(scheme.__name__, scheme(k), args.tau, args.steps)
