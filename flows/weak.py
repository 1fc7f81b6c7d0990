"""Any evolution equation by its weak form, with the same step and the same runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flows.flow import Flow, StepReport
from flows.solver import Solver

import ufl
from dolfinx import fem

__all__ = ["WeakFlow"]


class WeakFlow(Flow):
    r"""A flow given by the residual of one time step, without energy or metric.

    $$ F(u, u_k, \tau; v) = 0 \quad\text{for all test functions } v. $$

    Args:
        residual: Linear form in a test function of the state's space (one per function of a
            tuple), written with the state, ``previous`` and ``tau``.
        state: Function, or tuple of functions.
        previous: The function(s) that stand for the old state in the residual.
        tau: The constant that stands for the time step in the residual.
        bcs: Dirichlet conditions.
        time: Constant set to the new time before each step.
        on_time: Called with the new time, to refresh boundary data.
        petsc_options: Options of the solver, without prefix.
        name: Name of the flow, and prefix of its PETSc options.

    Raises:
        ValueError: on every rank, for a residual that is not linear in a test function.
    """

    def __init__(
        self,
        residual: ufl.Form | Sequence[ufl.Form],
        state: fem.Function | tuple[fem.Function, ...],
        *,
        previous: fem.Function | tuple[fem.Function, ...],
        tau: fem.Constant,
        bcs: Sequence[fem.DirichletBC] = (),
        time: fem.Constant | None = None,
        on_time: Callable[[float], None] | None = None,
        petsc_options: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(state, name=name or "weak", bcs=bcs, time=time, on_time=on_time)
        residuals: list[Any] = list(residual) if isinstance(residual, (tuple, list)) else [residual]
        if len(residuals) != len(self.states) or any(len(r.arguments()) != 1 for r in residuals):
            raise ValueError(
                "WeakFlow needs one residual form with one TestFunction for each state function."
            )
        self._old = previous if isinstance(previous, tuple) else (previous,)
        self._tau = tau
        self.solver = Solver(
            residuals, self.states, self.bcs, prefix=f"{self.name}_", options=petsc_options
        )

    def energy(self) -> float:
        """Not a number: a weak form has no energy."""
        return math.nan

    def _advance(self, tau: float) -> StepReport:
        self.settle()
        for old, u in zip(self._old, self.states, strict=True):
            old.x.array[:] = u.x.array
        self._tau.value = tau
        self._set_time(self.time + tau)
        self._apply_bcs()
        iterations = self.solver.solve()
        return StepReport(self.time + tau, tau, math.nan, math.nan, math.nan, iterations)
