"""The cases in scikit-fem, with CHOLMOD, pyamg or scipy's conjugate gradients.

Matrices come from `asm`, systems are solved as its examples do: factors are kept while the matrix
stays, iterations start at the old solution.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import problems
import skfem
from scipy import sparse
from scipy.sparse import linalg
from skfem.helpers import dot, grad
from skfem.models.poisson import laplace, mass
from skfem.utils import build_pc_diag


def mesh(n: int, dim: int, side: float = 1.0) -> Any:
    points, cells = problems.box(n, dim, side)
    kind, element = {
        2: (skfem.MeshTri, skfem.ElementTriP1()),
        3: (skfem.MeshTet, skfem.ElementTetP1()),
    }[dim]
    return kind(points.T.copy(), cells.T.copy()), element


def cholmod(A: Any) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Sparse Cholesky factors, in the order that CHOLMOD finds best."""
    from sksparse.cholmod import cholesky

    factor = cholesky(A.tocsc())
    return lambda b, guess: factor(b)


def superlu(A: Any) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    factor = linalg.splu(A.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    return lambda b, guess: factor.solve(b)


def jacobi(A: Any) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Conjugate gradients, preconditioned by the diagonal."""
    return _cg(A, build_pc_diag(A))


def amg(A: Any) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Conjugate gradients, preconditioned by smoothed aggregation of pyamg."""
    import pyamg

    return _cg(A, pyamg.smoothed_aggregation_solver(A.tocsr()).aspreconditioner())


def _cg(A: Any, M: Any) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def solve(b: np.ndarray, guess: np.ndarray) -> np.ndarray:
        x, failed = linalg.cg(A, b, x0=guess, rtol=problems.TOLERANCE, M=M)
        assert not failed, "conjugate gradients have not converged"
        return x

    return solve


SOLVERS = {f.__name__: f for f in (cholmod, superlu, jacobi, amg)}


def heat(n: int, dim: int, tau: float, steps: int, solver: str) -> dict[str, Any]:
    domain, element = mesh(n, dim)
    u, clock = problems.bump(domain.p), problems.Clock()
    with clock():
        basis = skfem.Basis(domain, element)
        K, M = skfem.asm(laplace, basis), skfem.asm(mass, basis)
        solve = SOLVERS[solver](M + tau * K)
        for _ in range(steps):
            u = solve(M @ u, u)
    return {"seconds": clock.seconds, "sample": problems.sample(domain.p.T, u)}


def porous_medium(n: int, tau: float, steps: int, solver: str) -> dict[str, Any]:
    domain, element = mesh(n, 2, 4.0)
    u, clock = problems.barenblatt(domain.p, 0.1), problems.Clock()

    @skfem.BilinearForm
    def slope(phi: Any, psi: Any, w: Any) -> Any:
        flux = w.u.value * grad(phi) + phi * w.u.grad
        return 2 * tau * dot(flux, grad(psi))

    @skfem.LinearForm
    def flux(psi: Any, w: Any) -> Any:
        return 2 * tau * dot(w.u.value * w.u.grad, grad(psi))

    with clock():
        basis = skfem.Basis(domain, element)
        lumped = skfem.asm(mass, basis).sum(axis=0).A1
        for _ in range(steps):
            old, first = u.copy(), 0.0
            while True:
                r = lumped * (u - old) + flux.assemble(basis, u=u)
                first = first or np.linalg.norm(r)
                if np.linalg.norm(r) <= 1e-8 * first:
                    break
                A = slope.assemble(basis, u=u) + sparse.diags_array(lumped)
                u = u - SOLVERS[solver](A)(r, None)
    return {"seconds": clock.seconds, "sample": problems.sample(domain.p.T, u, 4.0)}


if __name__ == "__main__":
    problems.answer({case.__name__: case for case in (heat, porous_medium)})
