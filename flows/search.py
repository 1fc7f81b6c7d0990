"""Where Newton's method begins: at the old state, or where it finds the step more easily."""

from __future__ import annotations

from typing import Any

from flows.density import EMPTY, Densities
from flows.functional import StepFunctional
from flows.nodal import NodalSolver
from flows.solver import SolveFailed, Solver

import numpy as np
from dolfinx import fem

__all__ = ["Search"]


class Search:
    """Finds the stationary point of a step.

    Args:
        step: The step.
        solver: Its solver.
        densities: The states, if they are densities.
        easier: A flow of the same state whose steps are found more easily, to begin at.
    """

    def __init__(
        self,
        step: StepFunctional,
        solver: Solver,
        densities: Densities | None,
        easier: Any = None,
    ) -> None:
        self.step, self.solver, self.densities, self.easier = step, solver, densities, easier
        self._origin: list[tuple[fem.Function, np.ndarray]] = []

    def begin(self) -> None:
        """A new step: its data are set."""
        if self.densities is not None:
            self.densities.fit(self.solver)
        self.step.kept.take()
        if self.easier is not None:
            self._follow(self.easier)
        if not self.solver.linear:
            rates = [rate for block in self.step.blocks for rate in block.rates]
            changing = (*self.solver.fields, *rates)
            self._origin = [(f, f.x.array.copy()) for f in changing]

    def first(self) -> int:
        """Solve from the old state; returns the Newton iterations."""
        bounded = self._bounded()
        if bounded is not None and self.easier is None and bounded.empty():
            bounded.level(self.step.potentials)
        return self._newton()

    def second(self) -> int:
        """Solve from another start, after the first attempt has failed."""
        for f, values in self._origin:
            f.x.array[:] = values
        bounded = self._bounded()
        if bounded is not None:
            bounded.level(self.step.potentials)
            # Without a drop in it the potential of an empty region may fall without end.
            with bounded.filled(EMPTY):
                return self._newton()
        if self.densities is not None and isinstance(self.solver, NodalSolver):
            self.densities.from_level(self.solver)
        else:
            self._approach()
        return self._newton()

    def _bounded(self) -> Densities | None:
        """The densities, if the energy ends where they do."""
        return self.densities if self.solver.coordinates else None

    def _newton(self) -> int:
        if self.step.path and self.densities is not None:
            with self.densities.filled(EMPTY):
                return self.densities.along_barrier(self.step.barrier, self.solver)
        return self.solver.solve()

    def _approach(self) -> None:
        """The functional of a much shorter step is convex: it leads to the right valley."""
        effective = float(self.step.effective.value)
        self.step.effective.value = effective / 10
        try:
            self.solver.solve()
        finally:
            self.step.effective.value = effective

    def _follow(self, flow: Any) -> None:
        """Take the step of another flow, certified or not."""
        flow._step.prepare(float(self.step.tau.value), 0.0)
        flow._search.begin()
        try:
            flow._search.first()
        except SolveFailed:
            flow._search.second()
        for mine, theirs in zip(self.step.potentials, flow.potentials, strict=True):
            mine.x.array[:] = theirs.x.array
        self.step.spread()
