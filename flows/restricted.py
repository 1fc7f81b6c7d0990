r"""Newton's method along a constraint, where matrices are definite, though they are not across it.

The system bordered by the slope $w$ of a functional is solved by conjugate gradients in the tangent
space $w \cdot x = 0$. A definite matrix $P$ near $J$ preconditions them, bordered likewise,

$$ z = P^{-1} r - \frac{w \cdot P^{-1} r}{w \cdot P^{-1} w}\, P^{-1} w, $$

so that they never leave it {cite}`gould2001`. $P$ is the matrix of an earlier step, without the
curvature of the constraint where that is concave.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, override
from weakref import ref

from flows.forms import compiled
from flows.functional import StepFunctional
from flows.matrix import Matrix
from flows.options import direct, nested_dissection
from flows.solver import Solver, linearised

import dolfinx
import ufl
from dolfinx import fem
from petsc4py import PETSc

__all__ = ["Restricted"]

MANY = 12
"""Conjugate gradients after which the factors of a new matrix are worth their price."""


class Restricted(Solver):
    """Newton's method for one field under one constraint.

    Args:
        step: The step.
        prefix: Prefix of the PETSc options for $P$; those of the conjugate gradients begin with
            ``<prefix>tangent_``.
        options: The user's options.
    """

    def __init__(
        self, step: StepFunctional, *, prefix: str, options: Mapping[str, Any] | None = None
    ) -> None:
        mesh = step.states[0].function_space.mesh
        self._effective, self._factored_for = step.effective, 0.0
        (self._multiplier,) = step.kept.multipliers
        self._convex = fem.Constant(mesh, dolfinx.default_scalar_type(0.0))
        jacobian = linearised(step.residual[0], step.states[0])
        self._definite = Matrix(compiled(ufl.replace(jacobian, {self._multiplier: self._convex})))
        self._slope, self._answer = self._definite.petsc.createVecs()
        self._residuum = self._slope.duplicate()
        alone = mesh.comm.size == 1
        chosen = nested_dissection() if alone else direct(symmetric=True)
        chosen |= {"pc_factor_mat_solver_type": "petsc"} if alone else {}
        nodes = step.states[0].function_space.dofmap.index_map.size_global
        # Close to a steady state the residual is rounding, and cannot fall by any factor.
        extra = {"tangent_ksp_rtol": 1e-3, "snes_atol": 1e-14 * nodes**0.5}
        super().__init__(
            step.residual,
            step.fields,
            prefix=prefix,
            options=chosen | extra | dict(options or {}),
            definite=True,
            kept=step.kept,
        )

    @override
    def _snes(self, prefix: str, preconditioner: Any) -> PETSc.SNES:
        snes = super()._snes(prefix, preconditioner)
        self._cg = PETSc.KSP().create(self.comm)
        self._cg.setOptionsPrefix(f"{prefix}tangent_")
        self._cg.setType("cg")
        self._cg.setTolerances(max_it=100)
        self._cg.pc.setType("python")
        self._cg.pc.setPythonContext(_Tangent(self))
        with self.options():
            self._cg.setFromOptions()
        outer = PETSc.KSP().create(self.comm)
        outer.setType("python")
        outer.setPythonContext(_Bordered(self))
        outer.pc.setType("none")
        snes.setKSP(outer)
        return snes

    @override
    def solve(self) -> int:
        # The gap of the constraint is left at the square of the last increment.
        self._collect(self.x)
        return self._newton()

    @override
    def forget(self) -> None:
        super().forget()
        self._factored_for = 0.0

    def _begin(self) -> None:
        """The slope of the constraint; factors of a new matrix where the old ones serve no more."""
        assert self.kept is not None
        if float(self._effective.value) != self._factored_for:
            self._convex.value = max(0.0, float(self._multiplier.value))
            self._definite.assemble()
            self.ksp.setOperators(self._definite.petsc)
            self._factored_for = float(self._effective.value)
        self._place(self.kept.slopes()[0], self._slope)
        self.ksp.solve(self._slope, self._answer)
        self._across = self._slope.dot(self._answer)

    def project(self, r: PETSc.Vec, z: PETSc.Vec) -> None:
        """Precondition a residual, and stay tangent."""
        self.ksp.solve(r, z)
        z.axpy(-self._slope.dot(z) / self._across, self._answer)

    def border(self, outer: PETSc.KSP, b: PETSc.Vec, y: PETSc.Vec) -> None:
        """Solve the bordered system; the multiplier takes its part of the step at once."""
        assert self.kept is not None
        A = outer.getOperators()[0]
        self._begin()
        gap = float(self.kept.gaps()[0]) / self._across
        A.mult(self._answer, self._residuum)
        self._residuum.aypx(-gap, b)
        self._cg.setOperators(A)
        self._cg.solve(self._residuum, y)
        reason = self._cg.getConvergedReason()
        if reason == PETSc.KSP.ConvergedReason.DIVERGED_INDEFINITE_MAT:
            # Far from a minimum the majorant, whose constraint is linear, leads downhill.
            self.project(self._residuum, y)
            reason = PETSc.KSP.ConvergedReason.CONVERGED_ITS
        y.axpy(gap, self._answer)
        A.mult(y, self._residuum)
        self._residuum.aypx(-1.0, b)
        self._multiplier.value -= self._answer.dot(self._residuum) / self._across
        outer.setConvergedReason(reason)
        if self._cg.getIterationNumber() > MANY:
            self._factored_for = 0.0


class _Tangent:
    """The preconditioner, a context for PC type ``python``; a cycle through PETSc would stay."""

    def __init__(self, solver: Restricted) -> None:
        self._solver = ref(solver)

    def apply(self, _: PETSc.PC, r: PETSc.Vec, z: PETSc.Vec) -> None:
        solver = self._solver()
        assert solver is not None
        solver.project(r, z)


class _Bordered:
    """The solver of bordered systems, a context for KSP type ``python``."""

    def __init__(self, solver: Restricted) -> None:
        self._solver = ref(solver)

    def solve(self, outer: PETSc.KSP, b: PETSc.Vec, y: PETSc.Vec) -> None:
        solver = self._solver()
        assert solver is not None
        solver.border(outer, b, y)
