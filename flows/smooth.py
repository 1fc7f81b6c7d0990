r"""Mean curvature flow of smooth surfaces, to second order in time on curved cells.

The normal and the mean curvature are unknowns of their own, moved by the equations that the flow
gives them {cite}`kovacs2019`: along the path of a point that moves by $\dot x = -H\nu$,

$$ \dot\nu = \Delta_\Gamma \nu + |\nabla_\Gamma \nu|^2 \nu, \qquad
   \dot H = \Delta_\Gamma H + |\nabla_\Gamma \nu|^2 H. $$
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, override

from flows.flow import StepReport
from flows.forms import assembled, compiled, integrate
from flows.matrix import Matrix
from flows.options import Options
from flows.scheme import BDF2, Stencil
from flows.solver import SolveFailed
from flows.surface import Surface
from flows.watched import Watched

import dolfinx
import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem
from mpi4py import MPI
from petsc4py import PETSc
from ufl import dx, grad, inner

__all__ = ["SmoothFlow"]

RULE = {"quadrature_degree": 6}

PIECES = {
    "triangle": [[0, 5, 4], [5, 1, 3], [4, 3, 2], [3, 4, 5]],
    "interval": [[0, 2], [2, 1]],
}
"""Straight pieces of a curved cell, by the numbers of its nodes."""

type Floats = npt.NDArray[np.float64]


class SmoothFlow(Watched):
    r"""Mean curvature flow of a smooth closed surface or plane curve of degree 2.

    $$ V = -H $$

    One step solves, on the surface extrapolated to the new time, for the normal and the curvature
    $u = (\nu, H)$,

    $$ \int \dot u\, \eta + \int \nabla u : \nabla \eta
       = \int |\nabla \tilde\nu|^2\, \tilde u\, \eta \quad\text{for all } \eta, \qquad
       \dot x = -H \nu \;\text{at the nodes,} $$

    with rates by backward differences of order 2 with variable steps {cite}`kovacs2019`. The first
    step, and one that more than doubles, is extrapolated implicit Euler, of order 2 too. The scheme
    is no minimizing movement; a step is accepted if the area falls, no cell turns over, and the
    normal that was carried along still is one. Points move along the normal: a flow that pinches
    or deforms its mesh much wants flat cells and :class:`flows.curvature.SurfaceFlow`.

    Args:
        mesh: A closed surface of curved triangles or a closed curve of curved intervals, of
            degree 2.
        petsc_options: Options of the linear solver, without prefix.
        name: Name of the flow, and prefix of its PETSc options.

    Attributes:
        surface: The surface; ``surface.normal`` and ``surface.curvature`` are those of the scheme.

    Raises:
        ValueError: on every rank, for a mesh that is not of degree 2, or is open.
    """

    order = 2
    moving = True

    def __init__(
        self,
        mesh: Any,
        *,
        petsc_options: Mapping[str, Any] | None = None,
        name: str = "smooth",
    ) -> None:
        self.surface = Surface(mesh)
        projection = self.surface.projection
        if projection is None:
            raise ValueError("SmoothFlow wants curved cells: give a mesh of degree 2.")
        super().__init__(self.surface.position, name=name)
        self._x = self.surface.position
        V = self._x.function_space
        U = fem.functionspace(mesh, ("Lagrange", 2, (mesh.geometry.dim + 1,)))
        self._shape = fem.Function(U, name="normal_and_H")
        self._past = (fem.Function(V), fem.Function(U))
        self._past_tau = 0.0
        self._scheme = BDF2()
        self.solver = _Heat(self._shape, Options(f"{name}_", CG, {}, petsc_options or {}))
        self._projection, self._known = projection, np.zeros(0)
        self._old = fem.Function(V)
        change = self._x - self._old
        self._squared = compiled(inner(change, change) / 2 * dx(metadata=RULE))
        slope = ufl.div(self.surface.normal) * ufl.TestFunction(
            self.surface.curvature.function_space
        )
        self._divergence = compiled(slope * dx(metadata=RULE))
        self.settle()

    @override
    @property
    def fields(self) -> tuple[fem.Function, ...]:
        """The mean curvature ``H``; the mesh itself shows the state."""
        return (self.surface.curvature,)

    @override
    def energy(self) -> float:
        """Area of the surface, or length of the curve."""
        self.settle()
        return self.surface.area

    @override
    def error_constant(self, ratio: float) -> float:
        return self._scheme.error_constant(ratio)

    @override
    def memory(self) -> dict[str, Any]:
        self.settle()
        kept = super().memory() | {"shape": self._shape, "past_tau": self._past_tau}
        return kept | {f"past_{i}": past for i, past in enumerate(self._past)}

    @override
    def restore(self, snapshot: Mapping[str, Any]) -> None:
        self._known = self._x.x.array.copy()  # whatever they are, the points are replaced
        super().restore(snapshot)
        self._past_tau = float(snapshot["past_tau"])
        self._show()

    @override
    def forget(self) -> None:
        """Nothing is kept from step to step but :meth:`memory`."""

    @override
    def settle(self) -> None:
        """Take normal and curvature from the surface, if its points are not those of the flow."""
        same = np.array_equal(self._known, self._x.x.array)
        if self.mesh.comm.allreduce(same, MPI.LAND):
            return
        self.surface.move()
        self.surface.refresh()
        Q = self.surface.curvature.function_space
        H = self._projection.solve(assembled(self._divergence, Q)[:, None])
        normal = self.surface.normal.x.array.reshape(len(H), -1)
        self._shape.x.array[:] = np.column_stack([normal, H]).ravel()
        self._past_tau = 0.0
        self._show()

    def _show(self) -> None:
        """Let the surface stand where the state is, with the normal and curvature of the scheme."""
        values = self._rows(self._shape)
        self.surface.move()
        self.surface.normal.x.array[:] = values[:, :-1].ravel()
        self.surface.curvature.x.array[:] = values[:, -1]
        self._known = self._x.x.array.copy()

    def _rows(self, u: fem.Function) -> Floats:
        return np.asarray(u.x.array.reshape(len(self.surface.curvature.x.array), -1))

    # -- one step ------------------------------------------------------------------------------
    @override
    def _advance(self, tau: float) -> StepReport:
        self.settle()
        before, faces = self.surface.area, self._faces()
        now = (self._x.x.array.copy(), self._shape.x.array.copy())
        stencil = self._scheme.stencil(tau / self._past_tau if self._past_tau else None)
        if stencil.ratio:
            past = (self._past[0].x.array, self._past[1].x.array)
            iterations = self._move(tau, stencil, now, past)
        else:
            iterations = self._start(tau, now)
        for kept, values in zip(self._past, now, strict=True):
            kept.x.array[:] = values
        self._past_tau = tau
        self._old.x.array[:] = now[0]
        self._show()
        after = self.surface.area
        self._judge(before, after, faces)
        movement = integrate(self._squared) / tau
        return StepReport(self.time + tau, tau, after, movement, after - before, iterations)

    def _start(self, tau: float, now: tuple[Floats, Floats]) -> int:
        """Two Euler steps of half the size, extrapolated by one of the whole: order 2."""
        euler = Stencil()
        iterations = self._move(tau, euler, now, now)
        whole = (self._x.x.array.copy(), self._shape.x.array.copy())
        iterations += self._move(tau / 2, euler, now, now)
        half = (self._x.x.array.copy(), self._shape.x.array.copy())
        iterations += self._move(tau / 2, euler, half, half)
        self._x.x.array[:] = 2 * self._x.x.array - whole[0]
        self._shape.x.array[:] = 2 * self._shape.x.array - whole[1]
        return iterations

    def _move(
        self,
        tau: float,
        stencil: Stencil,
        now: tuple[Floats, Floats],
        past: tuple[Floats, Floats],
    ) -> int:
        """One implicit step on the extrapolated surface; state and shape become the new ones."""
        base, extrapolated = (
            [a * u + b * v for u, v in zip(now, past, strict=True)]
            for a, b in (stencil.base, stencil.frozen)
        )
        self._x.x.array[:] = extrapolated[0]
        self.surface.move()
        iterations = int(self.solver.solve(tau / stencil.alpha, base[1], extrapolated[1]))
        shape = self._rows(self._shape)
        velocity = -shape[:, -1:] * shape[:, :-1]
        self._x.x.array[:] = base[0] + tau / stencil.alpha * velocity.ravel()
        return iterations

    def _faces(self) -> Floats:
        """Area vectors of the straight pieces of the cells, outward."""
        mesh, surface = self.mesh, self.surface
        x = mesh.geometry.x[mesh.geometry.dofmaps[0]]
        corners = x[:, PIECES[mesh.topology.cell_name()]]
        edges = corners[:, :, 1:] - corners[:, :, :1]
        if edges.shape[2] == 1:
            faces = edges[:, :, 0, [1, 0]] * [-1.0, 1.0]
        else:
            faces = np.cross(edges[:, :, 0], edges[:, :, 1]) / 2
        return np.asarray(faces * surface.sign.x.array[:, None, None])

    def _judge(self, before: float, after: float, old: Floats) -> None:
        new, cells = self._faces(), self.surface.position.function_space.dofmap.list
        dim = self.mesh.geometry.dim
        normals = self._rows(self.surface.normal)[cells].mean(axis=1)
        turned = int(np.count_nonzero((old * new).sum(axis=2) <= 0))
        strayed = int(np.count_nonzero((normals[:, None] * new[:, :, :dim]).sum(axis=2) <= 0))
        turned, strayed = (int(self.mesh.comm.allreduce(n)) for n in (turned, strayed))
        if not after < 1.5 * before:
            raise SolveFailed("the surface breaks up; its mesh may be too coarse for its curvature")
        if turned:
            raise SolveFailed("a cell of the surface turns over: a neck or a hole may be closing")
        if strayed:
            raise SolveFailed("the normal of the scheme has left the surface; refine the mesh")
        if after < 0.5 * before:
            raise SolveFailed(f"the surface shrinks away, area {before:.3g} -> {after:.3g}")
        if after > before * (1 + 1e-12):
            raise SolveFailed(f"the area rises, {before:.9g} -> {after:.9g}")


CG = {"ksp_type": "cg", "pc_type": "jacobi", "ksp_rtol": 1e-10, "ksp_max_it": 2000}


class _Heat:
    r"""Solves for the shape of the surface after a step, component by component.

    $$ (u - b)/\tau - \Delta_\Gamma u = |\nabla\tilde\nu|^2\, \tilde u $$

    Args:
        u: The unknown: the components of the normal, and the curvature.
        options: Options of PETSc.
    """

    def __init__(self, u: fem.Function, options: Options) -> None:
        U, mesh = u.function_space, u.function_space.mesh
        dim = mesh.geometry.dim
        self._u, self._options = u, options
        self._inverse = fem.Constant(mesh, dolfinx.default_scalar_type(1.0))
        self._base = fem.Function(U)
        Q = fem.functionspace(mesh, ("Lagrange", 2))
        p, q, e = ufl.TrialFunction(Q), ufl.TestFunction(Q), ufl.TestFunction(U)
        a = (self._inverse * p * q + inner(grad(p), grad(q))) * dx(metadata=RULE)
        normal = ufl.as_vector([u[i] for i in range(dim)])
        bend = inner(grad(normal), grad(normal))
        load = inner(self._inverse * self._base + bend * u, e) * dx(metadata=RULE)
        self._matrix, self._load = Matrix(compiled(a)), compiled(load)
        self._b = fem.create_vector(U)
        A = self._matrix.petsc
        A.setOption(PETSc.Mat.Option.SPD, True)
        self._right, self._left = A.createVecs()
        self.ksp = PETSc.KSP().create(mesh.comm)
        self.ksp.setOptionsPrefix(options.prefix)
        self.ksp.setInitialGuessNonzero(True)
        self.ksp.setOperators(A)
        with options():
            self.ksp.setFromOptions()

    def solve(self, tau: float, base: Floats, guess: Floats) -> int:
        r"""Solve on the present surface; returns the iterations of the slowest component.

        Args:
            tau: The effective step.
            base: Values of $b$.
            guess: Values of $\tilde u$, and the first iterate.
        """
        u = self._u
        self._inverse.value = 1 / tau
        self._base.x.array[:], u.x.array[:] = base, guess
        self._matrix.assemble()
        self.ksp.setOperators(self._matrix.petsc)
        width = u.function_space.dofmap.bs
        load = assembled(self._load, u.function_space, self._b).reshape(-1, width)
        values, iterations = u.x.array.reshape(-1, width), 0
        n = u.function_space.dofmap.index_map.size_local
        for k in range(width):
            self._right.array[:], self._left.array[:] = values[:n, k], load[:n, k]
            with self._options():
                self.ksp.solve(self._left, self._right)
            if self.ksp.getConvergedReason() < 0:
                raise SolveFailed("the linear solver does not converge")
            values[:n, k] = self._right.array_r
            iterations = max(iterations, int(self.ksp.getIterationNumber()))
        u.x.scatter_forward()
        return iterations
