"""The cases in NGSolve, as its tutorials write them.

Forms are assembled by NGSolve, factors are kept while the matrix stays; a step solves for the
increment, as the tutorial on time-dependent problems does.
"""

from typing import Any

import numpy as np
import problems
from netgen import meshing
from ngsolve import (
    H1,
    TRIG,
    BilinearForm,
    GridFunction,
    IntegrationRule,
    Mesh,
    Preconditioner,
    VectorH1,
    ds,
    dx,
    grad,
)
from ngsolve.krylovspace import CGSolver

NEWTON = 1e-8
"""Residual at which Newton's method ends, relative to that of the old state."""


def mesh(points: np.ndarray, cells: np.ndarray) -> Any:
    """A mesh from arrays; of triangles, or of tetrahedra with their boundary."""
    dim = cells.shape[1] - 1
    built = meshing.Mesh(dim=points.shape[1])
    built.AddPoints(points)
    if points.shape[1] == 3:
        built.Add(meshing.FaceDescriptor(surfnr=1, domin=1, bc=1))
    else:
        built.SetMaterial(1, "all")
    built.AddElements(dim=dim, index=1, data=cells.astype(np.int32), base=0)
    return Mesh(built)


def jacobi(A: Any, pre: Any, r: Any, u: Any) -> Any:
    """Solve for the increment of `u`, to a residual that is small beside `A u`."""
    b, w = r.CreateVector(), r.CreateVector()
    b.data = A * u
    w.data = pre * b
    size = problems.TOLERANCE * np.sqrt(w.InnerProduct(b))
    return CGSolver(A, pre, atol=size, maxiter=2000) * r


def heat(n: int, dim: int, tau: float, steps: int, solver: str) -> dict[str, Any]:
    points, cells = problems.box(n, dim)
    V = H1(mesh(points, cells), order=1)
    (phi, psi), u, clock = V.TnT(), GridFunction(V), problems.Clock()
    u.vec.FV().NumPy()[:] = problems.bump(points.T)
    with clock():
        K = BilinearForm(grad(phi) * grad(psi) * dx, symmetric=True).Assemble()
        A = BilinearForm(phi * psi * dx + tau * grad(phi) * grad(psi) * dx, symmetric=True)
        pre = Preconditioner(A, "local")
        A.Assemble()
        if solver != "jacobi":
            inverse = A.mat.Inverse(V.FreeDofs(), inverse=solver)
        r = u.vec.CreateVector()
        for _ in range(steps):
            r.data = -tau * (K.mat * u.vec)
            u.vec.data += jacobi(A.mat, pre, r, u.vec) if solver == "jacobi" else inverse * r
    return {"seconds": clock.seconds, "sample": problems.sample(points, u.vec.FV().NumPy())}


def allen_cahn(n: int, tau: float, steps: int, eps: float) -> dict[str, Any]:
    points, cells = problems.box(n, 2)
    V = H1(mesh(points, cells), order=1)
    (phi, psi), u, clock = V.TnT(), GridFunction(V), problems.Clock()
    u.vec.FV().NumPy()[:] = problems.phases(points.T)
    # Quadrature is exact for the cubic term, as it is in flows.
    cubic = (phi**3 / eps * psi).Compile(realcompile=True, wait=True) * dx(bonus_intorder=2)
    N = BilinearForm(V, symmetric=True)
    N += cubic
    with clock():
        M = BilinearForm(phi * psi * dx, symmetric=True).Assemble().mat
        K = BilinearForm(grad(phi) * grad(psi) * dx, symmetric=True).Assemble().mat
        linear = M.CreateMatrix()
        linear.AsVector().data = (eps / tau - 1 / eps) * M.AsVector() + eps * K.AsVector()
        A = linear.CreateMatrix()
        old, r = u.vec.CreateVector(), u.vec.CreateVector()
        for _ in range(steps):
            old.data = (eps / tau) * (M * u.vec)
            first = 0.0
            while True:
                N.Apply(u.vec, r)
                r.data += linear * u.vec - old
                first = first or r.Norm()
                if r.Norm() <= NEWTON * first:
                    break
                N.AssembleLinearization(u.vec)
                A.AsVector().data = linear.AsVector() + N.mat.AsVector()
                pre = A.CreateSmoother(V.FreeDofs())
                u.vec.data -= CGSolver(A, pre, tol=1e-3, maxiter=2000) * r
    return {"seconds": clock.seconds, "sample": problems.sample(points, u.vec.FV().NumPy())}


def cahn_hilliard(n: int, tau: float, steps: int, eps: float) -> dict[str, Any]:
    points, cells = problems.box(n, 2)
    scalar = H1(mesh(points, cells), order=1)
    V = scalar * scalar
    ((u, mu), (w, v)), state, old = V.TnT(), GridFunction(V), GridFunction(V)
    state.components[0].vec.FV().NumPy()[:] = problems.phases(points.T)
    A = BilinearForm(V, symmetric=True)
    A += ((u - old.components[0]) * v + tau * grad(mu) * grad(v)).Compile() * dx
    A += (mu * w - eps * grad(u) * grad(w) + u / eps * w).Compile() * dx
    A += (-(u**3) / eps * w).Compile(realcompile=True, wait=True) * dx(bonus_intorder=2)
    clock = problems.Clock()
    with clock():
        newton(A, state, old, steps, "sparsecholesky")
    return {
        "seconds": clock.seconds,
        "sample": problems.sample(points, state.components[0].vec.FV().NumPy()),
    }


def porous_medium(n: int, tau: float, steps: int) -> dict[str, Any]:
    points, cells = problems.box(n, 2, 4.0)
    V = H1(mesh(points, cells), order=1)
    (u, v), state, old = V.TnT(), GridFunction(V), GridFunction(V)
    state.vec.FV().NumPy()[:] = problems.barenblatt(points.T, 0.1)
    vertices = IntegrationRule(points=[(0, 0), (1, 0), (0, 1)], weights=3 * [1 / 6])
    A = BilinearForm(V)
    A += ((u - old) * v).Compile(realcompile=True, wait=True) * dx(intrules={TRIG: vertices})
    A += (2 * tau * u * grad(u) * grad(v)).Compile(realcompile=True, wait=True) * dx
    clock = problems.Clock()
    with clock():
        newton(A, state, old, steps, "umfpack")
    return {
        "seconds": clock.seconds,
        "sample": problems.sample(points, state.vec.FV().NumPy(), 4.0),
    }


def newton(A: Any, state: Any, old: Any, steps: int, direct: str) -> None:
    """Steps of Newton's method with a direct solver, whose symbolic factors serve all of them."""
    r, inverse = state.vec.CreateVector(), None
    for _ in range(steps):
        old.vec.data = state.vec
        first = 0.0
        while True:
            A.Apply(state.vec, r)
            first = first or r.Norm()
            if r.Norm() <= NEWTON * first:
                break
            A.AssembleLinearization(state.vec)
            if inverse is None:
                inverse = A.mat.Inverse(A.space.FreeDofs(), inverse=direct)
            else:
                inverse.Update()
            state.vec.data -= inverse * r


def mean_curvature(n: int, tau: float, steps: int) -> dict[str, Any]:
    points, triangles = problems.sphere(n)
    surface = mesh(points, triangles)
    V, moved = H1(surface, order=1), GridFunction(VectorH1(surface, order=1))
    (phi, psi), clock = V.TnT(), problems.Clock()
    with clock():
        a = phi.Trace() * psi.Trace() * ds
        k = grad(phi).Trace() * grad(psi).Trace() * ds
        M, A = BilinearForm(a, symmetric=True), BilinearForm(a + tau * k, symmetric=True)
        pre = Preconditioner(A, "local")
        x = [GridFunction(V) for _ in range(3)]
        for component, values in zip(x, points.T, strict=True):
            component.vec.FV().NumPy()[:] = values
        surface.SetDeformation(moved)
        r = x[0].vec.CreateVector()
        for _ in range(steps):
            M.Assemble()
            A.Assemble()
            for component, start, part in zip(x, points.T, moved.components, strict=True):
                r.data = M.mat * component.vec - A.mat * component.vec
                component.vec.data += jacobi(A.mat, pre, r, component.vec)
                part.vec.FV().NumPy()[:] = component.vec.FV().NumPy() - start
    radii = np.linalg.norm([component.vec.FV().NumPy() for component in x], axis=0)
    return {"seconds": clock.seconds, "sample": [radii.mean()]}


CASES = (heat, allen_cahn, cahn_hilliard, porous_medium, mean_curvature)

if __name__ == "__main__":
    problems.answer({case.__name__: case for case in CASES})
