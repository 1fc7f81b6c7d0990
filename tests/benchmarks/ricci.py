"""Ricci flow: time of one step, and how constant the curvature becomes.

python tests/benchmarks/ricci.py [--dofs 25000 100000] [--steps 5]
mpirun -n 2 python tests/benchmarks/ricci.py
"""

import flows  # isort: split

import argparse
import time
from typing import Any

import numpy as np
from mpi4py import MPI

comm = MPI.COMM_WORLD


def surface(kind: str, dofs: float) -> Any:
    """A surface with about so many nodes."""
    if kind == "sphere":
        return flows.mesh.bumpy_sphere(h=1.1071 / round((dofs / 10) ** 0.5))
    area = 4 * np.pi**2 * 0.5
    return flows.mesh.torus(1.0, 0.5, h=1.07 * (area / dofs) ** 0.5)


def spread(flow: Any) -> float:
    """Largest minus least curvature."""
    K = flow.curvature.x.array
    return float(comm.allreduce(K.max(), MPI.MAX) - comm.allreduce(K.min(), MPI.MIN))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dofs", type=float, nargs="+", default=[25e3, 1e5])
    parser.add_argument("--steps", type=int, default=5)
    options, _ = parser.parse_known_args()
    if comm.rank == 0:
        print("surface     dofs  tau  s/step  Newton  first spread  last spread")
    for kind in ("sphere", "torus"):
        for dofs in options.dofs:
            domain = surface(kind, dofs)
            for tau in (0.1, 10.0):
                flow = flows.ricci(domain)
                first = spread(flow)
                flow.step(tau)
                start = time.perf_counter()
                newton = [flow.step(tau).iterations for _ in range(options.steps)]
                seconds = (time.perf_counter() - start) / options.steps
                size = flow.state.function_space.dofmap.index_map.size_global
                last = spread(flow)
                if comm.rank == 0:
                    print(
                        f"{kind:8s} {size:7d} {tau:4.1f} {seconds:7.3f} {np.mean(newton):7.1f} "
                        f"{first:13.3g} {last:12.3g}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
