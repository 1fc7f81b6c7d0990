"""A gradient flow from its three choices: state, energy, metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, override

from flows.choose import choose
from flows.conditions import check_conditions
from flows.constraint import Constraint
from flows.coordinate import Coordinate
from flows.density import Densities, at_nodes
from flows.flow import Flow, StepReport
from flows.forms import fix_quadrature, polynomial_degree, variation, zero
from flows.functional import StepFunctional, as_functional
from flows.functionals import Functional, Values
from flows.metric import Metric, conserved, per_state, preferred
from flows.scheme import AVF, JKO, ImplicitEuler, Scheme, Stencil
from flows.search import Search
from flows.solver import SolveFailed, Solver
from flows.stochastic import WhiteNoise, driven

import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI

__all__ = ["GradientFlow"]

ROUNDING = 1e-12
"""Relative size of the rise in energy that is taken for rounding."""


class GradientFlow(Flow):
    r"""The flow of an energy in a metric.

    $$ \dot u = D_\xi \psi^*(u; -DE(u)) $$

    One step is a stationary point of one functional, see :mod:`flows.scheme`, differentiated by
    UFL, and is accepted only with the certificate of its scheme: the energy has fallen by what the
    scheme's theorem says. With sources or moving boundary values the certificate is the energy
    balance including their work.

    Args:
        energy: Scalar UFL form in the state.
        state: Function, or tuple of functions on one mesh; scalar, vector or tensor.
        metric: Metric of the state, or a tuple of one metric per function of the state.
        scheme: Time discretisation.
        bcs: Dirichlet conditions on the state (or on auxiliary fields).
        constraints: Functionals of the state to keep, such as ``flows.MeanValue()``.
        auxiliary: Functions without a metric, in which the energy is stationary.
        source: Linear form, added to the equation: tested as the metric's rate is, i.e.
            $w \dot u = -DE + f$ for ``L2`` and $\dot u = \nabla\cdot(m\nabla\mu) + f$ for
            ``HMinus1``. It may depend on the state (a drift). One per function of a tuple.
        noise: Noise that is added to the source, :class:`flows.WhiteNoise`; one per function of a
            tuple. Its work is part of the energy balance.
        time: Constant that the energy, the source or the boundary values read; set before each
            step to the new time (to the midpoint for ``AVF``, boundary values excepted).
        on_time: Called with the time after ``time`` is set, to refresh boundary data.
        petsc_options: Options of the solver, without prefix; the command line wins over them.
        name: Name of the flow, and prefix ``<name>_`` of its PETSc options.

    Raises:
        ValueError: on every rank, for an energy or a metric that does not fit the state.
    """

    functional: ufl.Form
    """The energy, with its quadrature fixed."""

    moving = False
    """Whether the mesh moves with the state."""

    def __init__(
        self,
        energy: ufl.Form,
        state: fem.Function | tuple[fem.Function, ...],
        metric: Metric | tuple[Metric, ...],
        *,
        scheme: Scheme | None = None,
        bcs: Sequence[fem.DirichletBC] = (),
        constraints: Sequence[Constraint] = (),
        auxiliary: Sequence[fem.Function] = (),
        source: Any = None,
        noise: WhiteNoise | Sequence[WhiteNoise | None] | None = None,
        time: fem.Constant | None = None,
        on_time: Callable[[float], None] | None = None,
        petsc_options: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(state, name=name or "flow", bcs=bcs, time=time, on_time=on_time)
        self.auxiliary = tuple(auxiliary)
        self._moves = time is not None or on_time is not None
        check_conditions(self.bcs, [*self.states, *self.auxiliary])
        given = as_functional(energy)
        metrics = per_state(metric, self.states)
        energy, lumped, coordinates = at_nodes(given, self.states, metrics)
        energy = fix_quadrature(energy, [*self.states, *self.auxiliary])
        degree = polynomial_degree(energy, [*self.states, *self.auxiliary])
        if degree == 0:
            raise ValueError("The energy does not depend on the state: use the same Function.")
        scheme = scheme or preferred(metrics)
        self.scheme = scheme.exact_for(degree) if isinstance(scheme, AVF) else scheme
        self.order = self.scheme.order
        self.functional = energy
        self._scale = 0.0
        self._constraints = [*constraints, *conserved(metrics)]
        if noise is not None and self.scheme.steps > 1:
            raise ValueError("Noise needs a scheme of one step, such as flows.AVF(): not BDF2.")
        source, self._noise = driven(source, noise, self.states, f"{self.name}_")
        self._step = self._make_step(metric, source)
        step = self._step
        self._work = None if zero(step.work) else Functional(step.work)
        self._lawful = self.scheme.lawful(degree, self._step.varies)
        self._past_tau = self._past_movement = 0.0
        self.solver = self._make_solver(coordinates, lumped, petsc_options)
        self.values = self.solver.values or Values(
            Functional(energy, kept=not self.moving),
            Functional(step.movement),
            Functional(step.dissipation),
        )
        self._densities = self._make_densities() if lumped else None
        easier = self._make_starter(given, metric, source) if self.scheme.varied else None
        self._search = Search(self._step, self.solver, self._densities, easier)
        self._settled: list[np.ndarray] | None = None
        self._settler = self._auxiliary_solver() if self.auxiliary else None

    def _make_step(self, metric: Any, source: Any) -> StepFunctional:
        return StepFunctional(
            self.functional,
            self.states,
            self.auxiliary,
            metric,
            self.scheme,
            source,
            self._constraints,
        )

    def _make_densities(self) -> Densities:
        conserved = not self.bcs and len(self.potentials) == len(self.states)
        gains = self._step.gains() if conserved else []
        return Densities(self.states, self._step.base, gains)

    def _make_starter(self, energy: ufl.Form, metric: Any, source: Any) -> GradientFlow:
        """The same flow by a scheme whose steps are easier to find."""
        return GradientFlow(
            energy,
            self.state,
            metric,
            scheme=JKO() if self._step.path else ImplicitEuler(),
            bcs=self.bcs,
            constraints=self._constraints,
            auxiliary=self.auxiliary,
            source=source,
            name=f"{self.name}_starter",
        )

    def _make_solver(
        self, coordinates: Mapping[fem.Function, Coordinate], densities: bool, options: Any
    ) -> Solver:
        return choose(
            self._step,
            self.bcs,
            prefix=f"{self.name}_",
            options=options,
            densities=densities,
            coordinates=coordinates,
            moving=self.moving,
        )

    def _auxiliary_solver(self) -> Solver:
        return Solver(
            [variation(self.functional, a) for a in self.auxiliary],
            self.auxiliary,
            self.bcs,
            prefix=f"{self.name}_auxiliary_",
            symmetric=True,
        )

    # -- what the flow knows -------------------------------------------------------------------
    def energy(self) -> float:
        """The energy of the present state."""
        self.settle()
        return self._value()

    def _value(self) -> float:
        """The energy, with the boundary values and auxiliary fields as they are."""
        return self.values.energy()

    @property
    def potentials(self) -> tuple[fem.Function, ...]:
        r"""Chemical potentials $\mu = DE(u)$ of the last step, one per state of a dual metric."""
        return self._step.potentials

    @override
    @property
    def fields(self) -> tuple[fem.Function, ...]:
        return (*self.states, *self.auxiliary, *self.potentials)

    @override
    def error_constant(self, ratio: float) -> float:
        return self.scheme.error_constant(ratio)

    @override
    def memory(self) -> dict[str, Any]:
        kept = super().memory()
        for label, functions in (
            ("auxiliary", self.auxiliary),
            ("potential", self.potentials),
            ("past", self._step.past),
            ("rate", self._rates() if self._step.past else ()),
        ):
            kept |= {f"{label}_{i}": f for i, f in enumerate(functions)}
        kept["past_tau"] = self._past_tau
        kept["past_movement"] = self._past_movement
        return kept

    def _rates(self) -> list[fem.Function]:
        return [rate for block in self._step.blocks for rate in block.rates]

    @override
    def restore(self, snapshot: Mapping[str, Any]) -> None:
        super().restore(snapshot)
        self._past_tau = float(snapshot["past_tau"])
        self._past_movement = float(snapshot["past_movement"])
        self._settled = None

    def settle(self) -> None:
        """Give the state its boundary values and the auxiliary fields their stationary values."""
        super().settle()
        if self._settler is None:
            return
        same = self._settled is not None and all(
            np.array_equal(kept, u.x.array)
            for kept, u in zip(self._settled, self.states, strict=True)
        )
        if not self.mesh.comm.allreduce(same, MPI.LAND):
            self._settler.solve()
            self._settled = [u.x.array.copy() for u in self.states]

    # -- one step ------------------------------------------------------------------------------
    def _advance(self, tau: float) -> StepReport:
        self.settle()
        t_new, t_data = self.time + tau, self.scheme.time(self.time, tau)
        stencil = self._step.prepare(tau, self._past_tau)
        if self._moves:
            self._set_time(t_data)
        before = self._value()
        if self._moves:
            self._set_time(t_new)
            self._apply_bcs()
            self._set_time(t_data)
        self._check_energy(before)
        for noise in self._noise:
            noise.draw(self.time, tau)
        self._search.begin()
        report = self._solve(t_new, tau, before, stencil)
        self._keep_past(tau, report.movement)
        if self._moves:
            self._set_time(t_new)
        if self._settler is not None:
            self._settled = [u.x.array.copy() for u in self.states]
        return report

    def _solve(self, t: float, tau: float, before: float, stencil: Stencil) -> StepReport:
        """Solve from the old state; if that finds no certified point, from another start."""
        try:
            return self._attempt(self._search.first, t, tau, before, stencil)
        except SolveFailed:
            if self.solver.linear:
                raise
        return self._attempt(self._search.second, t, tau, before, stencil)

    def _attempt(
        self, find: Callable[[], int], t: float, tau: float, before: float, stencil: Stencil
    ) -> StepReport:
        iterations = find()
        self._step.find_rates(stencil)
        if self._densities is not None:
            self._densities.conserve()
        movement = self.values.movement()
        self._commit()
        after = self._value()
        defect, allowed = self._certificate(before, after, movement, stencil)
        self._judge(defect, allowed, before, after)
        return StepReport(t, tau, after, movement, defect, iterations)

    def _commit(self) -> None:
        """Called when the new state is found, before its energy is taken."""

    def _certificate(
        self, before: float, after: float, movement: float, stencil: Stencil
    ) -> tuple[float, float]:
        """The defect of the scheme's energy law and what rounding allows."""
        change = after - before - (self._work() if self._work else 0.0)
        change -= self._boundary_work()
        allowed = ROUNDING * (abs(before) + abs(after)) + 1e-15 * self._scale
        if not self._lawful:
            return change, allowed
        dissipation = self.values.dissipation() if self.scheme.identity else 0.0
        past, ratio = self._past_movement, stencil.ratio
        return self.scheme.defect(change, movement, dissipation, past, ratio), allowed

    def _judge(self, defect: float, allowed: float, before: float, after: float) -> None:
        if not np.isfinite(after):
            raise SolveFailed("the energy of the new state is not a number")
        if self._densities is not None:
            self._judge_densities(after - before, allowed)
        excess = abs(defect) if self._lawful and self.scheme.identity else defect
        # What the solve left explains a little, never a rise of its own.
        if excess <= allowed or (
            excess <= 1e-6 * (abs(before) + abs(after)) and excess <= allowed + self._slack()
        ):
            return
        raise SolveFailed(
            f"the energy law of {type(self.scheme).__name__} is broken by {defect:.3g} "
            f"(energy {before:.9g} -> {after:.9g})"
        )

    def _judge_densities(self, change: float, allowed: float) -> None:
        """Where densities are negative the metric is, too, and its energy law proves nothing."""
        if self._densities is None or not self._densities.sound():
            raise SolveFailed("a density is negative")
        steady = self._work is None and not self._moves
        if steady and change > allowed and change > allowed + self._slack():
            raise SolveFailed(f"the energy rises by {change:.3g}")

    def _slack(self) -> float:
        """|<residual, change>| of the solve, which the energy law cannot see through."""
        old = self._step.old + self._step.old_auxiliary
        changes = [f.x.array - g.x.array for f, g in zip(self._step.fields, old, strict=False)]
        changes += [f.x.array for f in self._step.fields[len(old) :]]
        local = 0.0
        rows = self.solver.fixed
        for r, change, fixed in zip(self.solver.residuals(), changes, rows, strict=True):
            r[fixed] = 0.0
            local += float(np.abs(r) @ np.abs(change[: r.size]))
        return float(self.mesh.comm.allreduce(local))

    def _boundary_work(self) -> float:
        """Work of the reactions at boundary values that moved."""
        if not self._moves or not self.bcs:
            return 0.0
        local = 0.0
        for r, u, v, rows in zip(
            self.solver.residuals(), self.states, self._step.old, self.solver.fixed, strict=False
        ):
            local += float(r[rows] @ (u.x.array - v.x.array)[: r.size][rows])
        return float(self.mesh.comm.allreduce(local))

    def _check_energy(self, energy: float) -> None:
        if not np.isfinite(energy):
            raise ValueError(
                f"{self.name}: the energy of the state at t = {self.time:.6g} is {energy}; "
                "set an initial state in the domain of the energy."
            )
        self._scale = max(self._scale, abs(energy))

    def _keep_past(self, tau: float, movement: float) -> None:
        self._past_movement = movement
        for past, old in zip(self._step.past, self._step.old, strict=False):
            past.x.array[:] = old.x.array
        self._past_tau = tau if self._step.past else 0.0

    @override
    def expect(self, steps: float) -> None:
        self.solver.expect(steps)

    def _recover(self) -> None:
        # The past of a step that failed is not smooth: multi-step schemes start anew.
        self._past_tau = 0.0
