"""The Fokker-Planck equation in FiPy: finite volumes, implicit in time, exponential fluxes.

    $$ \\dot\\rho = \\nabla\\cdot(\\nabla\\rho + \\rho \\nabla V) $$

The centres of its cells are the nodes of the other meshes.
"""

from typing import Any

import fipy
import numpy as np
import problems


def fokker_planck(n: int, tau: float, steps: int, solver: str) -> dict[str, Any]:
    h = 4 / n
    mesh = fipy.Grid2D(nx=n + 1, ny=n + 1, dx=h, dy=h) + np.full((2, 1), -h / 2)
    x = mesh.cellCenters.value
    V = fipy.CellVariable(mesh=mesh, value=problems.well(x))
    rho, clock = fipy.CellVariable(mesh=mesh, value=problems.hump(x), hasOld=True), problems.Clock()
    solvers = {
        "lu": lambda: fipy.LinearLUSolver(),
        "bicgstab": lambda: fipy.LinearBicgstabSolver(tolerance=problems.TOLERANCE),
        "gmres": lambda: fipy.LinearGMRESSolver(tolerance=problems.TOLERANCE),
    }
    with clock():
        terms = fipy.DiffusionTerm(1.0) + fipy.ExponentialConvectionTerm(V.faceGrad)
        equation, linear = fipy.TransientTerm() == terms, solvers[solver]()
        for _ in range(steps):
            rho.updateOld()
            equation.solve(var=rho, dt=tau, solver=linear)
    return {"seconds": clock.seconds, "sample": problems.sample(x.T, rho.value, 4.0)}


if __name__ == "__main__":
    problems.answer({"fokker_planck": fokker_planck})
