r"""Flows of the area of a surface: metrics of its velocities, and the step of its immersion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, override

from flows.boundary import Edge, reflect
from flows.constraint import Constraint, Volume
from flows.curvature_solver import CurvatureSolver
from flows.energy import dirichlet
from flows.flow import StepReport
from flows.kept_curvature import KeptCurvatureSolver
from flows.metric import Metric
from flows.movement import ROUNDING, GradientFlow
from flows.scheme import Stencil
from flows.slip import Slip
from flows.solver import SolveFailed, Solver
from flows.surface import LUMPED, Surface
from flows.tangential import Free, Tangential
from flows.watched import Remesh, Watched

import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI
from ufl import inner

__all__ = ["NormalL2", "SurfaceFlow"]

FREE = Free()


@dataclass(frozen=True, eq=False)
class NormalL2(Metric):
    r"""The $L^2$ metric of normal velocities on a surface of flat cells.

    $$ \psi(V) = \tfrac12 \sum_i m_i (V_i \cdot w_i)^2 $$

    Tangential motion is free. With it the Dirichlet energy of the immersion, which is the area at
    the identity, gives the scheme of {cite}`barrett2008` with the curvature eliminated: nodes slide
    so that the mesh stays good.

    Args:
        surface: The surface; its normals are those of the old surface in a step.
        tangential: Whether tangential velocities cost as much as normal ones,
            $\psi = \frac12 \sum_i m_i |V_i|^2$: nodes then keep to the normals, and the scheme is
            that of {cite}`dziuk1991`.
    """

    surface: Surface
    tangential: bool = False
    primal = True

    @override
    def psi(self, rate: Any, state: Any) -> ufl.Form:
        if self.tangential:
            return 0.5 * inner(rate, rate) * LUMPED
        return 0.5 * inner(rate, self.surface.normal) ** 2 * LUMPED

    @override
    def psi_star(self, force: Any, state: Any) -> ufl.Form:
        raise ValueError("NormalL2 cannot be added to another metric: tangential rates are free.")


class SurfaceFlow(Watched, GradientFlow):
    r"""The flow of the area of a surface, by minimizing movements of its immersion.

    $$ X_{k+1} = \operatorname*{argmin}_X\; \tfrac12 \int_{\Gamma_k} |\nabla X|^2
       + \frac{1}{2\tau} d(X, \mathrm{id})^2. $$

    Up to a constant, the model energy lies above the area (length) of the new surface (curve) and
    equals it at the identity, so the certificate holds for it: $A_{k+1} + d^2/(2\tau) \le A_k$.

    Args:
        mesh: A surface of flat triangles or a polygon; closed, unless ``edges`` are given.
        metric: Maps the :class:`Surface` to a metric of its velocities.
        edges: Where the boundary may go, ``FixedEdge`` and ``PlaneEdge``.
        tangential: How nodes move along the surface, see :mod:`flows.tangential`.
        constraints: Functionals to keep, such as ``flows.Volume()``.
        remesh: When to mesh the surface anew; never by default.
        petsc_options: Options of the solver, without prefix.
        name: Name of the flow, and prefix of its PETSc options.
    """

    moving = True

    def __init__(
        self,
        mesh: Any,
        metric: Any = NormalL2,
        *,
        edges: Edge | Sequence[Edge] = (),
        tangential: Tangential = FREE,
        constraints: Sequence[Constraint] = (),
        remesh: Remesh | None = None,
        petsc_options: Mapping[str, Any] | None = None,
        name: str = "surface",
    ) -> None:
        self.remeshing = remesh
        self.power = 2 if metric is NormalL2 else 4
        edges = [edges] if isinstance(edges, Edge) else list(edges)
        self.surface = Surface(mesh, open=bool(edges))
        if self.surface.cells is None:
            raise ValueError("This flow moves flat cells: give a mesh of degree 1.")
        self._cells = self.surface.cells
        if edges:
            reflect(self.surface, edges)
        constraints = [
            replace(c, surface=self.surface) if isinstance(c, Volume) else c for c in constraints
        ]
        X = self.surface.position
        costly = {"tangential": True} if tangential.costly else {}
        self._metric: Metric = metric(self.surface, **costly)
        super().__init__(
            dirichlet(X),
            X,
            self._metric,
            bcs=[bc for edge in edges for bc in edge.conditions(self.surface)],
            constraints=constraints,
            petsc_options=petsc_options,
            name=name,
        )
        self._fresh = 0
        self._slip = tangential.slip(self.surface)
        self._area = np.inf
        self.surface.find_curvature()

    @property
    def fields(self) -> tuple[fem.Function, ...]:
        """The mean curvature ``H``; the mesh itself shows the state."""
        return (self.surface.curvature,)

    def settle(self) -> None:
        """Move the mesh to the state, and take its normals."""
        self.surface.move()
        self.surface.refresh()

    @override
    def restore(self, snapshot: Mapping[str, Any]) -> None:
        super().restore(snapshot)
        self.settle()
        self.surface.find_curvature()

    def energy(self) -> float:
        """Area of the surface, or length of the curve."""
        self.surface.move()
        return self.surface.area

    @override
    def _value(self) -> float:
        """The area that was measured last: in a step that of the present surface."""
        return float(self.mesh.comm.allreduce(self._cells.size))

    @override
    def _make_solver(self, coordinates: Any, densities: bool, options: Any) -> Solver:
        prefix, options, metric = f"{self.name}_", options or {}, self._metric
        general = self.bcs or not isinstance(metric, NormalL2)
        if not general and CurvatureSolver.suits(self.surface, prefix, options):
            costly = isinstance(metric, NormalL2) and metric.tangential
            solver = KeptCurvatureSolver if self._step.kept else CurvatureSolver
            return solver(self.surface, self._step, costly=costly, prefix=prefix, options=options)
        return super()._make_solver(coordinates, densities, options)

    @override
    def _advance(self, tau: float) -> StepReport:
        self.settle()
        if self._slip is not None:
            self._area = self.surface.area
            self._redistribute(self._slip, tau)
            self.settle()
        before = self._value()
        self._check_energy(before)
        stencil = self._step.prepare(tau, 0.0)
        self._search.begin()
        report = self._solve(self.time + tau, tau, before, stencil)
        self._judge_lag()
        return report

    @override
    def _attempt(
        self, find: Callable[[], int], t: float, tau: float, before: float, stencil: Stencil
    ) -> StepReport:
        iterations = find()
        self._step.find_rates(stencil)
        movement = self._distance(tau)
        self._complete()
        self._commit()
        after = self._value()
        defect, allowed = after - before + movement, ROUNDING * (before + after)
        self._judge(defect, allowed, before, after)
        return StepReport(t, tau, after, movement, defect, iterations)

    def _distance(self, tau: float) -> float:
        r"""The price $d^2/(2\tau)$ of the step, on the old surface."""
        if not isinstance(self._metric, NormalL2):
            return self.values.movement()
        self._find_curvature()
        surface, n = self.surface, self.surface.owned
        if self._metric.tangential:
            change = (self.states[0].x.array - self._step.old[0].x.array) / tau
            squares = np.square(change).reshape(-1, self.mesh.geometry.dim).sum(axis=1)
        else:
            squares = np.square(surface.curvature.x.array)  # normal velocities
        local = float(surface.mass.x.array[:n] @ squares[:n]) * tau / 2
        return float(self.mesh.comm.allreduce(local))

    def _judge_lag(self) -> None:
        """The multigrid of an earlier surface serves as long as it serves well."""
        if isinstance(self.solver, CurvatureSolver) and not self.solver.general:
            return
        if "snes_lag_preconditioner" not in self.solver.options or self.solver.factored:
            return
        iterations = int(self.solver.ksp.getIterationNumber())
        # Factors do not say by their iterations that they are those of another surface.
        if self.solver.ksp.getType() == "preonly" or (
            self._fresh and iterations > 1.2 * self._fresh + 1
        ):
            self.forget()
        elif not self._fresh:
            self._fresh = iterations

    @override
    def _recover(self) -> None:
        super()._recover()
        self.forget()  # a smaller step wants another preconditioner

    @override
    def forget(self) -> None:
        super().forget()
        self._fresh = 0

    def _redistribute(self, slip: Slip, tau: float) -> None:
        """Let the nodes slip as far as the area allows."""
        n, H = self.surface.owned, self.surface.find_curvature().x.array
        fall = tau * self.mesh.comm.allreduce(float(self.surface.mass.x.array[:n] @ H[:n] ** 2))
        slip.move()
        for _ in range(4):
            if self.surface.area <= self._area + fall / 2:
                return
            slip.cut(0.5)
        slip.undo()

    @override
    def _solve(self, t: float, tau: float, before: float, stencil: Stencil) -> StepReport:
        # A failed attempt has moved the mesh: there is no second one from here.
        return self._attempt(self._search.first, t, tau, before, stencil)

    def _commit(self) -> None:
        """Move the mesh to the new state, if no cell turns over or vanishes."""
        self.surface.move()
        if self.mesh.comm.allreduce(self._cells.measure().turned, MPI.SUM):
            raise SolveFailed("a cell of the surface turns over: a neck or a hole may be closing")

    def _complete(self) -> None:
        """Called with the new state on the old mesh, when the price of the step is known."""
        if not isinstance(self._metric, NormalL2):
            self._find_curvature()

    def _find_curvature(self) -> None:
        """Mean curvatures: minus the normal velocities, on the old mesh."""
        surface, X, old = self.surface, self.states[0].x.array, self._step.old[0].x.array
        w, H, dim = surface.normal.x.array, surface.curvature.x.array, self.mesh.geometry.dim
        self._cells.kernels("project", H.size, dim, w, old, X, 1 / float(self._step.tau.value), H)

    def _judge(self, defect: float, allowed: float, before: float, after: float) -> None:
        if after < 0.5 * before:
            raise SolveFailed(f"the surface shrinks away, area {before:.3g} -> {after:.3g}")
        if after > self._area:
            raise SolveFailed("the slip of the nodes adds more area than the step takes")
        super()._judge(defect, allowed, before, after)

    def _slack(self) -> float:
        return 0.0  # the residual belongs to the old surface, which is gone
