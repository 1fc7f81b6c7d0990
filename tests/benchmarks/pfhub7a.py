r"""PFHub benchmark 7a: Allen-Cahn with a manufactured solution.

$$ \dot\eta = -4 \eta (\eta - 1)(\eta - \tfrac12) + \kappa \Delta\eta + S(x, y, t) $$

on $[0, 1) \times [0, 1/2]$, periodic in x, $\eta = 1$ at y = 0 and 0 at y = 1/2, up to t = 8. It is
the flow of $\int \frac\kappa2 |\nabla\eta|^2 + \eta^2 (\eta - 1)^2$ in $L^2$ with the source S that
makes a moving tanh front exact.

Run it for the whole table (minutes): python tests/benchmarks/pfhub7a.py
"""

from __future__ import annotations

import argparse
import time

import flows

import numpy as np
from dolfinx import default_scalar_type, fem
from mpi4py import MPI
from ufl import SpatialCoordinate, TestFunction, cos, cosh, dx, grad, inner, sin, tanh

KAPPA, A1, B1, A2, B2, C2 = 4e-4, 0.0075, 8 * np.pi, 0.03, 22 * np.pi, 0.0625 * np.pi
T = 8.0


def front(x, t):
    """Height of the front, and its derivatives alpha_t, alpha_x, alpha_xx."""
    steady, moving = A1 * t * sin(B1 * x), B2 * x + C2 * t
    return (
        0.25 + steady + A2 * sin(moving),
        A1 * sin(B1 * x) + A2 * C2 * cos(moving),
        A1 * t * B1 * cos(B1 * x) + A2 * B2 * cos(moving),
        -(B1**2) * steady - A2 * B2**2 * sin(moving),
    )


def solution(x, y, t):
    """The exact solution and its source."""
    alpha, alpha_t, alpha_x, alpha_xx = front(x, t)
    z = (y - alpha) / np.sqrt(2 * KAPPA)
    root = np.sqrt(KAPPA)
    source = np.sqrt(2) * (alpha_t - KAPPA * alpha_xx) - 2 * root * tanh(z) * alpha_x**2
    return (1 - tanh(z)) / 2, source / (4 * root * cosh(z) ** 2)


def solve(n, tau, *, degree=2, scheme=None, comm=MPI.COMM_WORLD):
    """L2 error at t = 8 on n cells per unit length, the number of unknowns, the history."""
    strip = flows.mesh.rectangle((0, 0), (1, 0.5), h=1 / n, periodic=(True, False), comm=comm)
    at = SpatialCoordinate(strip)
    V = fem.functionspace(strip, ("Lagrange", degree))
    u = fem.Function(V, name="eta")
    t = fem.Constant(strip, default_scalar_type(0.0))
    exact, source = solution(at[0], at[1], t)
    measure = dx(metadata={"quadrature_degree": 2 * degree + 2})

    def side(y, value):
        dofs = fem.locate_dofs_geometrical(V, lambda x: np.isclose(x[1], y))
        return fem.dirichletbc(default_scalar_type(value), dofs, V)

    flow = flows.GradientFlow(
        (0.5 * KAPPA * inner(grad(u), grad(u)) + u**2 * (u - 1) ** 2) * dx,
        u,
        flows.L2(),
        scheme=scheme or flows.AVF(),
        bcs=[side(0.0, 1.0), side(0.5, 0.0)],
        source=source * TestFunction(V) * measure,
        time=t,
        name="pfhub7a",
    )
    points = V.element.interpolation_points
    u.interpolate(fem.Expression(exact, points))
    history = flows.evolve(flow, until=T, tau=tau)
    t.value = T
    square = fem.assemble_scalar(
        fem.form((u - exact) ** 2 * dx(metadata={"quadrature_degree": 10}))
    )
    size = V.dofmap.index_map.size_global
    return float(np.sqrt(comm.allreduce(square))), size, history


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--finest", type=int, default=200, help="cells per unit length")
    arguments, _ = parser.parse_known_args()
    rows = [(2, n, 0.1, "AVF") for n in (25, 50, 100, 200, 400) if n <= arguments.finest]
    rows += [(1, n, 0.1, "AVF") for n in (50, 100, 200) if n <= arguments.finest]
    rows += [(2, 100, tau, "AVF") for tau in (1.0, 0.5, 0.05)]
    rows += [(2, 100, tau, "BDF2") for tau in (0.1, 0.05)]
    rows += [(2, 100, tau, "MinimizingMovement") for tau in (0.5, 0.25, 0.125)]
    if MPI.COMM_WORLD.rank == 0:
        print(
            f"{'element':8}{'h':>8}{'tau':>8}  {'scheme':20}{'unknowns':>9}{'L2 error':>11}{'s':>8}"
        )
    for degree, n, tau, scheme in rows:
        start = time.perf_counter()
        error, size, _ = solve(n, tau, degree=degree, scheme=getattr(flows, scheme)())
        spent = time.perf_counter() - start
        if MPI.COMM_WORLD.rank == 0:
            print(
                f"P{degree:<7}{f'1/{n}':>8}{tau:8g}  {scheme:20}{size:9}{error:11.2e}{spent:8.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
