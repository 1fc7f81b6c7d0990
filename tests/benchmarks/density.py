"""Density flows: one unknown a vertex against both fields with a factorisation, side by side.

    [mpirun -n 2] python tests/benchmarks/density.py [--vertices 1e4 1e5 1e6] [--both 1.1e5]

The porous medium equation (m = 2, Barenblatt's solution), the Fokker-Planck equation of a double
well by its nonlinear and by its linear step, and one JKO step of the porous medium equation, on
right-angled triangles. Newton to 1e-9. Both solvers take the same steps in turn; seconds are per
step, after one step to warm up. The factorisation of both fields runs up to ``--both`` vertices.
"""

import flows  # isort: split

import argparse
import time
from typing import Any

from flows import choose
from flows.forms import integrate
from flows.scharfetter_gummel import free_energy

import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI


def barenblatt(x: Any) -> Any:
    """Barenblatt's solution for m = 2 in the plane at t = 0.1."""
    return np.maximum(0.1 - (x[0] ** 2 + x[1] ** 2) / 16 / 0.1**0.5, 0) / 0.1**0.5


def hump(x: Any) -> Any:
    """All mass in the left well."""
    return np.exp(-8 * ((x[0] + 1) ** 2 + x[1] ** 2)) + 1e-3


def square(vertices: float) -> fem.Function:
    """A density on the square (-2, 2)^2."""
    h = 4 / (vertices**0.5 - 1)
    domain = flows.mesh.rectangle((-2, -2), (2, 2), h=h)
    return fem.Function(fem.functionspace(domain, ("Lagrange", 1)), name="rho")


def gas(vertices: float, scheme: Any, name: str) -> Any:
    """The porous medium equation."""
    rho = square(vertices)
    rho.interpolate(barenblatt)
    E = flows.energy.internal(rho, 2)
    return flows.GradientFlow(E, rho, flows.Wasserstein(), scheme=scheme, name=name)


def well(vertices: float, scheme: Any, name: str) -> Any:
    """The Fokker-Planck equation of a double well."""
    rho = square(vertices)
    rho.interpolate(hump)
    x = ufl.SpatialCoordinate(rho.function_space.mesh)
    V = (x[0] ** 2 - 1) ** 2 + x[1] ** 2
    if scheme == "linear":
        flow = flows.fokker_planck(rho.function_space, V, beta=2.0, name=name)
        flow.state.x.array[:] = rho.x.array
        return flow
    E = free_energy(rho, V, 2.0)
    return flows.GradientFlow(E, rho, flows.Wasserstein(), scheme=scheme, name=name)


CASES = {
    "porous medium": (gas, None, 5e-3),
    "Fokker-Planck": (well, None, 5e-3),
    "Fokker-Planck, linear": (well, "linear", 5e-3),
    "porous medium, JKO": (gas, flows.JKO(), 5e-3),
}


def pair(case: str, vertices: float, both: bool) -> list[Any]:
    """The flow by its own solver, and by a factorisation of both fields."""
    make, scheme, _ = CASES[case]
    made = [make(vertices, scheme, "fast")]
    if both and scheme != "linear":
        nodal, condensed = choose.NodalSolver.suits, choose.Condensation.suits
        choose.NodalSolver.suits = choose.Condensation.suits = staticmethod(lambda *_: None)
        made.append(make(vertices, scheme, "both"))
        choose.NodalSolver.suits, choose.Condensation.suits = map(staticmethod, (nodal, condensed))
    return made


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vertices", type=float, nargs="+", default=[1e4, 1e5, 1e6])
    parser.add_argument("--both", type=float, default=1.1e5, help="largest factorisation")
    parser.add_argument("--steps", type=int, default=3)
    options, _ = parser.parse_known_args()
    comm = MPI.COMM_WORLD
    if comm.rank == 0:
        print(f"{comm.size} ranks")
        print(
            "case                    vertices   s/step  Newton  Krylov  both fields   ratio  "
            "mass drift  energies differ"
        )
    for case, (*_, tau) in CASES.items():
        for vertices in options.vertices:
            flows_ = pair(case, vertices, vertices <= options.both)
            masses = [fem.form(flows.diagnostics.mass(flow.state)) for flow in flows_]
            before = [integrate(form) for form in masses]
            spent: list[list[float]] = [[] for _ in flows_]
            newton = krylov = 0
            for step in range(options.steps + 1):
                for i, flow in enumerate(flows_):
                    start = time.perf_counter()
                    report = flow.step(tau)
                    if step:
                        spent[i].append(time.perf_counter() - start)
                    if step and not i:
                        newton += report.iterations
                        krylov += flow.solver.snes.getLinearSolveIterations()
            fast, *slow = (float(np.median(s)) for s in spent)
            drift = max(abs(integrate(m) / b - 1) for m, b in zip(masses, before, strict=True))
            gap = abs(flows_[0].energy() / flows_[-1].energy() - 1)
            size = flows_[0].state.function_space.dofmap.index_map.size_global
            if comm.rank == 0:
                other = f"{slow[0]:11.3f} {slow[0] / fast:8.2f}" if slow else 20 * " "
                print(
                    f"{case:22s} {size:9d} {fast:8.3f} {newton / options.steps:7.1f} "
                    f"{krylov / options.steps:7.1f} {other} {drift:11.1e} "
                    + (f"{gap:12.1e}" if slow else ""),
                    flush=True,
                )


if __name__ == "__main__":
    main()
