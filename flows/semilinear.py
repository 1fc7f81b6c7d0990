r"""The step of an energy with a quadratic part, which matrices serve in every iteration.

With $E(u) = \frac12 u \cdot K u + R(u)$ and the metric $\frac12 \dot u \cdot G \dot u$ a step of
each scheme is, with $v$ the old state and $b$ the base point,

$$ \theta K u + \tfrac1{\hat\tau} G u + DR(u)
   = f - (1 - \theta) K v + \tfrac1{\hat\tau} G b, \qquad
   \theta = 1 \text{ or } \tfrac12 \text{ (AVF)}. $$

Only $DR$ and $D^2 R$ are assembled in an iteration: values of a function at points, as a rule,
without its gradient and without the old state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, override

from flows.forms import everywhere, polynomial_degree, quadratic_part, variation, zero
from flows.functional import StepFunctional
from flows.functionals import Functional, Inputs, Values
from flows.quadratic import constant_metric, matrices, metric_of
from flows.solver import Solver, linearised

import numpy as np
import numpy.typing as npt
from dolfinx import fem
from petsc4py import PETSc

__all__ = ["SemilinearSolver"]

RTOL = 1e-8
"""Where Newton's method ends, relative to the residual of the old state, that of the whole step."""

FORCING = 1e-2
"""How exact linear solves are: a Jacobian contracts little more where it is kept."""

OVERLAPPING = {
    "ksp_type": "fcg",  # the preconditioner is not quite symmetric
    "ksp_fcg_mmax": 5,
    "ksp_fcg_nprealloc": 5,
    "pc_asm_overlap": 2,
}
"""Factors that are nearly exact lose most of that where they stop at the borders of ranks."""

SAME = PETSc.Mat.Structure.SAME_NONZERO_PATTERN

type Floats = npt.NDArray[np.float64]


class SemilinearSolver(Solver):
    """Newton's method where energy and metric have constant matrices but for a nonlinear rest.

    Args:
        step: The step functional.
        bcs: Dirichlet conditions.
        prefix: Prefix of the PETSc options.
        options: The user's options.
    """

    def __init__(
        self,
        step: StepFunctional,
        bcs: Sequence[fem.DirichletBC] = (),
        *,
        prefix: str,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        (u,), (old,) = step.states, step.old
        quadratic, rest = quadratic_part(step.energy, u)
        residual = step.scheme.gradient(rest, u, [u], [old]) - step.loads[0]
        super().__init__(
            [residual],
            [u],
            bcs,
            prefix=prefix,
            options=options,
            definite=step.convex,
            symmetric=step.conservative,
        )
        self._forms = matrices(step, quadratic, like=self._entries[0])
        self._step, self._theta = step, float(step.scheme.place(1.0, 0.0))
        self._both = self._forms[0].petsc.duplicate()
        self._inner = self._both.duplicate() if self.bcs else self._both
        self._tau = 0.0
        self._given, self._work, self._force = (self.b.duplicate() for _ in range(3))
        self._read = Inputs([residual], self.comm)
        self._inputs = Inputs([step.energy], self.comm)
        self._rest, self._value = Functional(rest), 0.0
        self.values = Values(self._energy, self._movement, lambda: 2 * self._movement())

    @staticmethod
    def suits(step: StepFunctional) -> bool:
        """Whether a part of the step is quadratic, and the whole not: in one scalar field."""
        if not constant_metric(step) or step.states[0].function_space.dofmap.index_map_bs > 1:
            return False
        (u,), (psi, _) = step.states, metric_of(step)
        quadratic, rest = quadratic_part(step.energy, u)
        # Integrals over all cells: then all matrices have one pattern.
        patterns = all(map(everywhere, psi.integrals())) and any(map(everywhere, rest.integrals()))
        inside = all(i.integral_type() in ("cell", "exterior_facet") for i in rest.integrals())
        bent = polynomial_degree(rest, [u]) > 2 and not zero(linearised(variation(rest, u), u))
        return patterns and inside and bent and not zero(quadratic)

    @override
    def _open_snes(self, prefix: str, chosen: Mapping[str, Any], *others: Any) -> None:
        mine: dict[str, Any] = {"snes_rtol": RTOL}
        if "ksp_rtol" in chosen:
            mine["ksp_rtol"] = FORCING
        if self.comm.size > 1 and chosen.get("sub_pc_factor_levels"):
            mine |= OVERLAPPING
        super()._open_snes(prefix, {**chosen, **mine}, *others)
        if self.options.given("ksp_type"):
            self.options.drop("pc_asm_overlap")  # most methods want what is symmetric

    # -- what a step costs ---------------------------------------------------------------------
    def _energy(self) -> float:
        if self._inputs.changed():
            quadratic = self._forms[0].value(self._owned(self.fields[0]))
            self._value = quadratic + self._rest()
        return self._value

    def _movement(self) -> float:
        (u,), (v,) = self.fields, self._step.old
        change = self._owned(u) - self._owned(v)
        return self._forms[1].value(change) / float(self._step.tau.value)

    def _owned(self, u: fem.Function) -> Floats:
        return np.asarray(u.x.array[: self.b.getLocalSize()])

    # -- one solve -----------------------------------------------------------------------------
    @override
    def solve(self) -> int:
        self._prepare()
        return super().solve()

    def _prepare(self) -> None:
        """Bring to the present data what stays the same in a step: the matrix, the old state."""
        K, G = self._forms
        step, tau = self._step, float(self._step.effective.value)
        if any([form.update() for form in self._forms]) or tau != self._tau:
            self._tau = tau
            K.petsc.copy(self._both, structure=SAME)
            self._both.scale(self._theta)
            self._both.axpy(1 / tau, G.petsc, structure=SAME)
            if self.bcs:
                self._both.copy(self._inner, structure=SAME)
                (rows,) = self.fixed
                self._inner.zeroRowsColumns(rows + self.A.getOwnershipRange()[0], 0.0)
            if self._lag:
                self._lag.forget()
        v, base = self._owned(step.old[0]), self._owned(step.base[0])
        self._given.array[:] = G.product(base / -tau)
        if self._theta < 1:
            self._given.array[:] += K.product((1 - self._theta) * v)

    @override
    def assemble_residual(self, b: PETSc.Vec) -> None:
        if self._read.changed():  # a step begins where the last one has ended
            super().assemble_residual(self._force)
        self._work.array[:] = self._owned(self.fields[0])
        self._both.multAdd(self._work, self._given, b)
        b.axpy(1.0, self._force)

    @override
    def _fill(self) -> bool:
        changed = super()._fill()
        if changed:
            self.A.axpy(1.0, self._inner, structure=SAME)
        return changed

    @override
    def residuals(self) -> list[Floats]:
        self._prepare()
        return super().residuals()

    @override
    def forget(self) -> None:
        super().forget()
        self._inputs.forget()
        self._read.forget()
        self._tau = 0.0
