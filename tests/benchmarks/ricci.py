"""Ricci flow: time of one step, and how constant the curvature becomes in steps of one size.

python tests/benchmarks/ricci.py [--dofs 6500 10000 26000 102000] [--steps 30] [--tau 1 10]
mpirun -n 2 python tests/benchmarks/ricci.py

The spread of the curvature is relative to that of a round sphere of the same area, 4 pi / A. Asked
for in 30 steps is 1e-4 on spheres, and 1e-6 on the others. Machines differ: the time of a step is
also given in Cholesky factorisations, by MUMPS, of stiffness and mass on the same mesh.
"""

import flows  # isort: split

import argparse
import time
from typing import Any

import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem import petsc as fempetsc
from mpi4py import MPI
from petsc4py import PETSc

comm = MPI.COMM_WORLD


def surface(kind: str, dofs: float) -> Any:
    """A surface with about so many nodes."""
    if kind == "sphere":
        return flows.mesh.bumpy_sphere(h=1.1071 / round((dofs / 10) ** 0.5))
    if kind == "two holes":
        return flows.mesh.genus_two(h=2.36 / dofs**0.5)
    area = 4 * np.pi**2 * 0.5
    return flows.mesh.torus(1.0, 0.5, h=1.07 * (area / dofs) ** 0.5)


def spread(flow: Any) -> float:
    """Largest minus least curvature, relative to that of a round sphere."""
    K = flow.curvature.x.array
    gap = comm.allreduce(K.max(), MPI.MAX) - comm.allreduce(K.min(), MPI.MIN)
    return float(gap * flow.area / (4 * np.pi))


def factorisation(V: Any, times: int = 3) -> float:
    """Least time of a factorisation of stiffness and mass, the symbolic part included."""
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    form = (ufl.inner(ufl.grad(u), ufl.grad(v)) + ufl.inner(u, v)) * ufl.dx
    A = fempetsc.assemble_matrix(fem.form(form))
    A.assemble()
    A.setOption(PETSc.Mat.Option.SPD, True)
    seconds = []
    for _ in range(times):
        solver = PETSc.KSP().create(comm)
        solver.setOperators(A)
        solver.setType("preonly")
        solver.pc.setType("cholesky")
        solver.pc.setFactorSolverType("mumps")
        comm.barrier()
        start = time.process_time()
        solver.setUp()
        seconds.append(time.process_time() - start)
        solver.destroy()
    return float(comm.allreduce(min(seconds), MPI.MAX))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dofs", type=float, nargs="+", default=[6.5e3, 1e4, 2.6e4, 1.02e5])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--tau", type=float, nargs="+", default=[1.0, 10.0])
    parser.add_argument("--surfaces", nargs="+", default=["sphere", "torus", "two holes"])
    options, _ = parser.parse_known_args()
    if comm.rank == 0:
        print("surface      dofs   tau  s/step  factorisations  Newton  first spread  last spread")
    for kind in options.surfaces:
        for dofs in options.dofs:
            domain = surface(kind, dofs)
            for tau in options.tau:
                flow = flows.ricci(domain)
                first, seconds, newton = spread(flow), [], []
                for _ in range(options.steps):
                    start = time.process_time()
                    newton.append(flow.step(tau).iterations)
                    seconds.append(time.process_time() - start)
                V = flow.state.function_space
                size, unit, last = V.dofmap.index_map.size_global, factorisation(V), spread(flow)
                mean = comm.allreduce(np.mean(seconds), MPI.MAX)
                if comm.rank == 0:
                    print(
                        f"{kind:9s} {size:7d} {tau:5.1f} {mean:7.3f} {mean / unit:15.2f} "
                        f"{np.mean(newton):7.1f} {first:13.3g} {last:12.2e}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
