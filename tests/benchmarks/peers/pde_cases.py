"""The porous medium equation in py-pde: finite differences, explicit in time, compiled by numba.

$$ u_t = \\Delta u^2 $$
"""

from typing import Any

import numpy as np
import pde
import problems

SOLVERS = {
    "euler": lambda equation, _: pde.EulerSolver(equation, backend="numba"),
    "runge_kutta": lambda equation, _: pde.RungeKuttaSolver(equation, backend="numba"),
    "adaptive": lambda equation, tau: pde.RungeKuttaSolver(
        equation, backend="numba", adaptive=True, tolerance=tau
    ),
}


def porous_medium_error(n: int, tau: float, until: float, solver: str) -> dict[str, Any]:
    """From t = 0.1; the mean of the error at the centres of the cells, times the area."""
    grid = pde.CartesianGrid([[0, 4], [0, 4]], n)
    x = np.moveaxis(grid.cell_coords, -1, 0)
    u = pde.ScalarField(grid, problems.barenblatt(x, 0.1))
    equation = pde.PDE({"u": "laplace(u**2)"}, bc={"derivative": 0})
    steps = SOLVERS[solver](equation, tau).make_stepper(u, dt=tau)
    steps(u.copy(), 0.0, 2 * tau)  # numba compiles
    end, clock = u.copy(), problems.Clock()
    with clock():
        steps(end, 0.0, until - 0.1)
    error = np.abs(end.data - problems.barenblatt(x, until)).mean() * 16
    return {"seconds": clock.seconds, "sample": [error]}


if __name__ == "__main__":
    problems.answer({"porous_medium_error": porous_medium_error})
