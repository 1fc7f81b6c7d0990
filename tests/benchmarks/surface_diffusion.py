"""Surface diffusion at scale: iterations, seconds a step, volume and mesh.

    python tests/benchmarks/surface_diffusion.py [--refinements 5 6 7] [--steps 5] [--tau 1e-3]
        [--axes 2 1 1] [--direct] [--round]
    mpirun -n 2 python tests/benchmarks/surface_diffusion.py

An ellipsoid of 20 * 4^k triangles flows for some steps; ``--direct`` compares with MUMPS, and
``--round`` follows the first size until it is a sphere. Seconds are those of the clock and, where
others use the machine, of the processor.
"""

import flows  # isort: split

import argparse
import math
import time
from typing import Any

from flows.diffusion import SurfaceDiffusionFlow
from flows.mesh import ellipsoid
from flows.surface_saddle import SurfaceSaddle

import numpy as np
from mpi4py import MPI

DIRECT = {"ksp_type": "preonly", "pc_type": "cholesky", "pc_factor_mat_solver_type": "mumps"}


def say(*words: Any) -> None:
    """Print once."""
    if MPI.COMM_WORLD.rank == 0:
        print(*words, flush=True)


def enclosed(flow: SurfaceDiffusionFlow) -> float:
    """Volume from the corners, summed without rounding."""
    flow.surface.move()
    x = flow.surface.corners()[: flow.mesh.topology.index_map(2).size_local]
    cones = np.einsum("ij,ij->i", x[:, 0], np.cross(x[:, 1], x[:, 2])) / 6
    signs = flow.surface.sign.x.array[: len(x)]
    return math.fsum(np.concatenate(flow.mesh.comm.allgather(signs * cones)))


def measure(refinements: int, options: argparse.Namespace, solver: dict[str, Any]) -> None:
    """One row: the first step builds the hierarchies, the others keep their interpolation."""
    flow = SurfaceDiffusionFlow(
        ellipsoid(tuple(options.axes), refinements=refinements), petsc_options=solver
    )
    volume, area, iterations, clock, processor = enclosed(flow), flow.energy(), [], [], []
    for _ in range(options.steps):
        start = time.perf_counter(), time.process_time()
        report = flow.step(options.tau)
        clock.append(time.perf_counter() - start[0])
        processor.append(time.process_time() - start[1])
        its = (
            flow.solver.outer.getIterationNumber() if isinstance(flow.solver, SurfaceSaddle) else 1
        )
        iterations.append(its)
        if not report.energy + report.movement <= area:
            raise SystemExit("the energy law is broken")
        area = report.energy
    quality, cells = flow.surface.quality(), flow.mesh.topology.index_map(2).size_global
    say(
        f"{cells:8d} {options.tau:8.1e} {'MUMPS' if solver else 'blocks':>7s} "
        f"{iterations[0]:4d} {np.mean(iterations[1:]):6.1f} {clock[0]:8.2f} "
        f"{np.median(clock[1:]):8.2f} {np.median(processor[1:]):8.2f} "
        f"{abs(enclosed(flow) / volume - 1):8.1e} {quality.ratio:6.2f} {quality.angle:6.1f}"
    )


def settle(refinements: int, axes: list[float]) -> None:
    """Follow an ellipsoid until it is a sphere."""
    flow = SurfaceDiffusionFlow(ellipsoid(tuple(axes), refinements=refinements))
    volume = enclosed(flow)
    history = flows.evolve(flow, until=3.0, tau=flows.Adaptive(1e-4))
    sphere = 4 * np.pi * np.cbrt(3 * volume / (4 * np.pi)) ** 2
    say(
        f"until t = 3: {history.steps} steps, area over that of the sphere "
        f"{history['energy'][-1] / sphere:.6f}, monotone {np.all(np.diff(history['energy']) < 0)}, "
        f"largest defect {history['defect'][1:].max():.1e}, "
        f"volume {enclosed(flow) / volume - 1:.1e}, {flow.surface.quality()}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--refinements", type=int, nargs="+", default=[5, 6, 7])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--tau", type=float, default=1e-3)
    parser.add_argument("--axes", type=float, nargs=3, default=[2.0, 1.0, 1.0])
    parser.add_argument("--direct", action="store_true")
    parser.add_argument("--round", action="store_true")
    options, _ = parser.parse_known_args()
    say(f"{MPI.COMM_WORLD.size} rank(s)")
    say("triangles      tau  solver iterations     first   s/step  cpu/step   volume  ratio  angle")
    for refinements in options.refinements:
        measure(refinements, options, {})
        if options.direct:
            measure(refinements, options, DIRECT)
    if options.round:
        settle(options.refinements[0], options.axes)


if __name__ == "__main__":
    main()
