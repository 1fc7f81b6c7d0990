"""Mean curvature flow with libigl, the scheme of Dziuk: the matrices of each surface, then a solve.

Positions are solved for with conjugate gradients of scipy, from the old ones, or with CHOLMOD,
whose symbolic factors serve all steps.
"""

from collections.abc import Callable
from typing import Any

import igl
import numpy as np
import problems
from scipy import sparse
from scipy.sparse import linalg


def conjugate_gradients() -> Callable[[Any, np.ndarray, np.ndarray], np.ndarray]:
    def solve(A: Any, b: np.ndarray, guess: np.ndarray) -> np.ndarray:
        M = sparse.diags_array(1 / A.diagonal())
        columns = [
            linalg.cg(A, b[:, i], x0=guess[:, i], rtol=problems.TOLERANCE, M=M)[0] for i in range(3)
        ]
        return np.column_stack(columns)

    return solve


def cholmod() -> Callable[[Any, np.ndarray, np.ndarray], np.ndarray]:
    from sksparse.cholmod import analyze

    factors: list[Any] = []

    def solve(A: Any, b: np.ndarray, guess: np.ndarray) -> np.ndarray:
        if not factors:
            factors.append(analyze(A.tocsc()))
        factors[0].cholesky_inplace(A.tocsc())
        return factors[0](b)

    return solve


SOLVERS = {f.__name__: f for f in (conjugate_gradients, cholmod)}


def mean_curvature(n: int, tau: float, steps: int, solver: str) -> dict[str, Any]:
    x, triangles = problems.sphere(n)
    clock = problems.Clock()
    with clock():
        solve = SOLVERS[solver]()
        for _ in range(steps):
            M = igl.massmatrix(x, triangles, igl.MASSMATRIX_TYPE_BARYCENTRIC)
            x = solve(M - tau * igl.cotmatrix(x, triangles), M @ x, x)
    return {"seconds": clock.seconds, "sample": [np.linalg.norm(x, axis=1).mean()]}


if __name__ == "__main__":
    problems.answer({"mean_curvature": mean_curvature})
