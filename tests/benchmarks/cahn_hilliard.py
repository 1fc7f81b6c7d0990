"""Cahn-Hilliard at scale: elimination of the state against a sparse factorisation, side by side.

    [mpirun -n 2] python tests/benchmarks/cahn_hilliard.py [--cells 100 173 316] [--tau 1.0]

Spinodal decomposition in the units of the first benchmark of PFHub (mobility 5, kappa 2, rho 5, a
square of side 200). Both solvers take the same steps in turn; seconds are per Newton iteration,
residual, matrix and solve; mass is conserved at any tolerance of the linear solver.
"""

import flows  # isort: split

import argparse
import time

from flows import saddle
from flows.forms import integrate

import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI
from ufl import dx, grad, inner

STEPS = 12


def spinodal(cells: int, solver: dict[str, str], name: str) -> flows.GradientFlow:
    """The flow from a smooth perturbation of the mixture; ``solver`` overrides the default."""
    domain = flows.mesh.rectangle(upper=(200, 200), h=200 / cells)
    u = fem.Function(fem.functionspace(domain, ("Lagrange", 1)), name="c")
    u.interpolate(
        lambda x: (
            0.5
            + 0.01 * np.cos(0.105 * x[0]) * np.cos(0.11 * x[1])
            + 0.01 * (np.cos(0.13 * x[0]) * np.cos(0.087 * x[1])) ** 2
        )
    )
    energy = (inner(grad(u), grad(u)) + 5 * (u - 0.3) ** 2 * (0.7 - u) ** 2) * dx
    return flows.GradientFlow(energy, u, flows.HMinus1(5.0), petsc_options=solver, name=name)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, nargs="+", default=[100, 173, 316])
    parser.add_argument("--tau", type=float, default=1.0)
    options, _ = parser.parse_known_args()
    comm = MPI.COMM_WORLD
    factorise = {"ksp_type": "preonly", "pc_type": "cholesky"}
    if comm.rank == 0:
        print(f"{comm.size} ranks, tau = {options.tau}")
        print(
            " vertices  elimination  factorisation  ratio  Krylov its  mass drift  energies differ"
        )
    for cells in options.cells:
        saddle.SMALL = 0  # the elimination on every mesh
        pair = [spinodal(cells, {}, "fast"), spinodal(cells, factorise, "direct")]
        mass = [fem.form(flow.state * ufl.dx) for flow in pair]
        start = [integrate(m) for m in mass]
        spent, inner_its = [[], []], 0
        for _ in range(STEPS):
            for i, flow in enumerate(pair):
                before = time.perf_counter()
                newton = flow.step(options.tau).iterations
                spent[i].append((time.perf_counter() - before) / newton)
                inner_its += 0 if i else flow.solver.snes.getLinearSolveIterations() / newton
        fast, slow = (float(np.median(s)) for s in spent)
        drift = max(abs(integrate(m) / s - 1) for m, s in zip(mass, start, strict=True))
        gap = abs(pair[0].energy() / pair[1].energy() - 1)
        if comm.rank == 0:
            print(
                f"{(cells + 1) ** 2:9d} {fast:10.3f} s {slow:12.3f} s {slow / fast:7.2f} "
                f"{inner_its / STEPS:10.1f} {drift:12.1e} {gap:12.1e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
