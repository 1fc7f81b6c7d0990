"""A gradient flow from its three choices: state, energy, metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dolfinx
import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI
from ufl.algorithms import expand_derivatives

from flows.flow import Flow, StepReport
from flows.forms import depends_on, fix_quadrature, integrate, polynomial_degree, substitute, zero
from flows.metric import Metric
from flows.saddle import Elimination
from flows.scheme import AVF, MinimizingMovement, Scheme, Stencil
from flows.solver import SolveFailed, Solver

__all__ = ["GradientFlow"]

ROUNDING = 1e-12
"""Relative size of the rise in energy that is taken for rounding."""


@dataclass(frozen=True)
class _Block:
    """States that share one metric, with what one step knows of them.

    ``force`` is minus the chemical potential of the step for a dual metric; a primal metric has
    none. ``place`` is the expression at which the metric is frozen.
    """

    metric: Metric
    states: tuple[fem.Function, ...]
    potentials: tuple[fem.Function, ...] = ()
    rates: tuple[fem.Function, ...] = ()

    def all(self, functions: Sequence[Any]) -> Any:
        """One function as itself, several as a tuple: what a metric expects."""
        return functions[0] if len(functions) == 1 else tuple(functions)


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
        auxiliary: Functions without a metric, in which the energy is stationary.
        source: Linear form, added to the equation: tested as the metric's rate is, i.e.
            $w \dot u = -DE + f$ for ``L2`` and $\dot u = \nabla\cdot(m\nabla\mu) + f$ for
            ``HMinus1``. It may depend on the state (a drift). One per function of a tuple.
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
        auxiliary: Sequence[fem.Function] = (),
        source: Any = None,
        time: fem.Constant | None = None,
        on_time: Callable[[float], None] | None = None,
        petsc_options: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(state, name=name or "flow", bcs=bcs, time=time, on_time=on_time)
        self.auxiliary = tuple(auxiliary)
        self._moves = time is not None or on_time is not None
        _check_bcs(self.bcs, [*self.states, *self.auxiliary])
        energy = fix_quadrature(_functional(energy), [*self.states, *self.auxiliary])
        degree = polynomial_degree(energy, [*self.states, *self.auxiliary])
        if degree == 0:
            raise ValueError("The energy does not depend on the state: write it in the same Function.")
        scheme = scheme or MinimizingMovement()
        self.scheme = scheme.exact_for(degree) if isinstance(scheme, AVF) else scheme
        self._exact = degree < np.inf
        self.order = self.scheme.order
        self.functional = energy
        self._energy = fem.form(energy)
        self._scale = 0.0
        self._build(energy, metric, source, petsc_options)
        self._settled: list[np.ndarray] | None = None
        self._settler = self._auxiliary_solver(energy, petsc_options) if self.auxiliary else None

    # -- building the step problem -------------------------------------------------------------
    def _build(self, energy: ufl.Form, metric: Any, source: Any, options: Any) -> None:
        constant = lambda: fem.Constant(self.mesh, dolfinx.default_scalar_type(1.0))  # noqa: E731
        self._tau, self._effective = constant(), constant()
        steps = self.scheme.steps
        twin = lambda: tuple(fem.Function(u.function_space) for u in self.states)  # noqa: E731
        self._past, self._past_tau, self._past_movement = (twin() if steps > 1 else ()), 0.0, 0.0
        self._base = twin() if steps > 1 else self._old
        self._frozen = twin() if steps > 1 else self._old
        self._blocks = [self._block(m, us) for m, us in _pairs(metric, self.states)]
        self._aux_old = tuple(a.copy() for a in self.auxiliary)

        phi = self._metric_terms()
        now, old = [*self.states, *self.auxiliary], [*self._old, *self._aux_old]
        place = {u: self.scheme.place(u, v) for u, v in zip(self.states, self._old, strict=True)}
        sources = _per_state(source, self.states)
        residual = []
        for u, block in self._with_block():
            f = self.scheme.gradient(_vary(energy, u), now, old) + _vary(phi["step"], u)
            if block.metric.primal and sources[u] is not None:
                f -= substitute(sources[u], place)
            residual.append(f)
        residual += [self.scheme.gradient(_vary(energy, a), now, old) for a in self.auxiliary]
        work = ufl.Form([])
        for block in self._blocks:
            for u, mu in zip(block.states, block.potentials, strict=False):
                f = _vary(phi["step"], mu)
                if sources[u] is not None:
                    load = _retest(substitute(sources[u], place), mu.function_space)
                    f += self._effective * load
                    work += self._effective * ufl.action(load, mu)
                residual.append(f)
        for u, v in zip(self.states, self._old, strict=True):
            if sources[u] is not None and not self._dual(u):
                work += substitute(_retest(sources[u], u.function_space, u - v), place)
        self._potentials = tuple(mu for block in self._blocks for mu in block.potentials)
        self._movement = _compiled(phi["movement"])
        self._dissipation = _compiled(phi["dissipation"])
        self._work = _compiled(work)
        fields = [*now, *self._potentials]
        drift = any(s is not None and depends_on(s, u) for s in sources.values() for u in self.states)
        primal = not self._potentials and not self.auxiliary
        self.solver = self._step_solver(residual, fields, options, primal and not drift, not drift)

    def _step_solver(
        self, residual: Any, fields: Any, options: Any, definite: bool, symmetric: bool
    ) -> Solver:
        return Solver(
            residual,
            fields,
            self.bcs,
            prefix=f"{self.name}_",
            options=options,
            definite=definite,
            symmetric=symmetric,
            moving=self.moving,
            preconditioner=Elimination.suits(fields, self._potentials, self.bcs, options),
        )

    def _block(self, metric: Metric, states: tuple[fem.Function, ...]) -> _Block:
        if metric.primal:
            return _Block(metric, states)
        # A clone of the space: boundary conditions on the state must not reach its potential.
        spaces = [u.function_space.clone() for u in states]
        suffix = ["" if len(self.states) == 1 else f"_{u.name}" for u in states]
        potentials = [fem.Function(V, name=f"mu{s}") for V, s in zip(spaces, suffix, strict=True)]
        return _Block(metric, states, tuple(potentials), tuple(fem.Function(V) for V in spaces))

    def _metric_terms(self) -> dict[str, ufl.Form]:
        """The metric's part of the step functional, of the movement and of the dissipation."""
        tau, effective = self._tau, self._effective
        terms = {"step": ufl.Form([]), "movement": ufl.Form([]), "dissipation": ufl.Form([])}
        frozen = {
            u: self.scheme.frozen(u, w) for u, w in zip(self.states, self._frozen, strict=True)
        }
        self._metric_varies = False
        offset = {u: b for u, b in zip(self.states, self._base, strict=True)}
        old = {u: v for u, v in zip(self.states, self._old, strict=True)}
        for block in self._blocks:
            probe = [ufl.Coefficient(u.function_space) for u in block.states]
            metric, direction = block.metric, block.all(probe)
            psi = (metric.psi if metric.primal else metric.psi_star)(direction)
            psi = fix_quadrature(_functional(psi), probe)
            self._metric_varies |= any(depends_on(psi, u) for u in self.states)
            psi = substitute(psi, frozen)
            # d/ds psi(s p) at s = 1: the product of the force with the rate.
            slope = expand_derivatives(sum((ufl.derivative(psi, p, p) for p in probe), ufl.Form([])))
            if metric.primal:
                step = {p: (u - offset[u]) / effective for p, u in zip(probe, block.states)}
                rate = {p: (u - old[u]) / tau for p, u in zip(probe, block.states)}
                terms["step"] += effective * substitute(psi, step)
                terms["movement"] += tau * substitute(psi, rate)
                terms["dissipation"] += tau * substitute(slope, rate)
            else:
                force = {p: -mu for p, mu in zip(probe, block.potentials)}
                rate = dict(zip(probe, block.rates, strict=True))
                change = [u - offset[u] for u in block.states]
                pairing = metric.pairing(block.all(block.potentials), block.all(change))
                terms["step"] -= pairing + effective * substitute(psi, force)
                terms["movement"] += tau * (substitute(slope, rate) - substitute(psi, rate))
                terms["dissipation"] += tau * substitute(slope, rate)
        return terms

    def _with_block(self) -> list[tuple[fem.Function, _Block]]:
        return [(u, block) for block in self._blocks for u in block.states]

    def _dual(self, u: fem.Function) -> bool:
        return next(block for v, block in self._with_block() if v is u).potentials != ()

    def _auxiliary_solver(self, energy: ufl.Form, options: Any) -> Solver:
        residual = [_vary(energy, a) for a in self.auxiliary]
        return Solver(
            residual,
            self.auxiliary,
            self.bcs,
            prefix=f"{self.name}_auxiliary_",
            symmetric=True,
        )

    # -- what the flow knows -------------------------------------------------------------------
    def energy(self) -> float:
        """The energy of the present state."""
        self.settle()
        return integrate(self._energy)

    @property
    def potentials(self) -> tuple[fem.Function, ...]:
        r"""The chemical potentials $\mu = DE(u)$ of the last step, one per state of dual metrics."""
        return self._potentials

    @property
    def fields(self) -> tuple[fem.Function, ...]:
        return (*self.states, *self.auxiliary, *self._potentials)

    def memory(self) -> dict[str, Any]:
        kept = super().memory()
        for label, functions in (
            ("auxiliary", self.auxiliary),
            ("potential", self._potentials),
            ("past", self._past),
            ("rate", [r for block in self._blocks for r in block.rates] if self._past else ()),
        ):
            kept |= {f"{label}_{i}": f for i, f in enumerate(functions)}
        kept["past_tau"] = self._past_tau
        kept["past_movement"] = self._past_movement
        return kept

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        super().restore(snapshot)
        self._past_tau = float(snapshot["past_tau"])
        self._past_movement = float(snapshot["past_movement"])
        self._settled = None

    def settle(self) -> None:
        """Give the state its boundary values and the auxiliary fields their stationary values."""
        self._apply_bcs()
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
        stencil = self._prepare(tau)
        if self._moves:
            self._set_time(t_data)
        before = integrate(self._energy)
        if self._moves:
            self._set_time(t_new)
            self._apply_bcs()
            self._set_time(t_data)
        self._check_energy(before)
        report = self._solve(t_new, tau, before, stencil)
        self._keep_past(tau, report.movement)
        if self._moves:
            self._set_time(t_new)
        if self._settler is not None:
            self._settled = [u.x.array.copy() for u in self.states]
        return report

    def _solve(self, t: float, tau: float, before: float, stencil: Stencil) -> StepReport:
        """Solve from the old state; if that finds no certified point, from another start."""
        start = [f.x.array.copy() for f in self.solver.fields] if not self.solver.linear else []
        rates = [(r, r.x.array.copy()) for block in self._blocks for r in block.rates]
        try:
            return self._attempt(t, tau, before, stencil)
        except SolveFailed:
            if self.solver.linear:
                raise
        for f, values in zip(self.solver.fields, start, strict=True):
            f.x.array[:] = values
        for rate, values in rates:
            rate.x.array[:] = values
        # The functional of a much shorter step is convex: its minimiser leads into the right valley.
        effective = float(self._effective.value)
        self._effective.value = effective / 10
        self.solver.solve()
        self._effective.value = effective
        return self._attempt(t, tau, before, stencil)

    def _attempt(self, t: float, tau: float, before: float, stencil: Stencil) -> StepReport:
        iterations = self.solver.solve()
        self._find_rates(stencil)
        movement = integrate(self._movement)
        self._commit()
        after = integrate(self._energy)
        defect, allowed = self._certificate(before, after, movement, stencil)
        self._judge(defect, allowed, before, after)
        return StepReport(t, tau, after, movement, defect, iterations)

    def _commit(self) -> None:
        """Called when the new state is found, before its energy is taken."""

    def _prepare(self, tau: float) -> Stencil:
        """Copy the old state and set the data of the step problem."""
        self._remember_old()
        for old, a in zip(self._aux_old, self.auxiliary, strict=True):
            old.x.array[:] = a.x.array
        stencil = self.scheme.stencil(tau / self._past_tau if self._past_tau else None)
        self._tau.value, self._effective.value = tau, tau / stencil.alpha
        if self._past:
            for target, (a, b) in ((self._base, stencil.base), (self._frozen, stencil.frozen)):
                for f, u, past in zip(target, self._old, self._past, strict=True):
                    f.x.array[:] = a * u.x.array + b * past.x.array
        return stencil

    def _find_rates(self, stencil: Stencil) -> None:
        r"""The forces that produce the rate $(u_{k+1} - u_k)/\tau$; linear in it."""
        carry = -stencil.frozen[1] / (1 - stencil.frozen[1]) if self._past else 0.0
        for block in self._blocks:
            for rate, mu in zip(block.rates, block.potentials, strict=True):
                rate.x.array[:] = (carry * rate.x.array - mu.x.array) / stencil.alpha

    def _certificate(
        self, before: float, after: float, movement: float, stencil: Stencil
    ) -> tuple[float, float]:
        """The defect of the scheme's energy law and what rounding allows."""
        change = after - before - (integrate(self._work) if self._work else 0.0)
        change -= self._boundary_work()
        allowed = ROUNDING * (abs(before) + abs(after)) + 1e-15 * self._scale
        if isinstance(self.scheme, AVF):
            if not self._exact:
                return change, allowed
            defect = change + integrate(self._dissipation)
            return defect, allowed
        if self.scheme.steps == 1 or stencil.alpha == 1.0:
            return change + movement, allowed
        if self._metric_varies:
            return change, allowed
        ratio = -stencil.frozen[1]
        return change + movement / 2 - ratio / (1 + ratio) * self._past_movement, allowed

    def _judge(self, defect: float, allowed: float, before: float, after: float) -> None:
        if not np.isfinite(after):
            raise SolveFailed("the energy of the new state is not a number")
        identity = isinstance(self.scheme, AVF) and self._exact
        excess = abs(defect) if identity else defect
        if excess <= allowed or excess <= allowed + self._slack():
            return
        raise SolveFailed(
            f"the energy law of {type(self.scheme).__name__} is broken by {defect:.3g} "
            f"(energy {before:.9g} -> {after:.9g})"
        )

    def _slack(self) -> float:
        """|<residual, change>| of the solve, which the energy law cannot see through."""
        changes = [u.x.array - v.x.array for u, v in zip(self.states, self._old, strict=True)]
        changes += [a.x.array - b.x.array for a, b in zip(self.auxiliary, self._aux_old, strict=True)]
        changes += [mu.x.array for mu in self._potentials]
        local = 0.0
        for r, change, rows in zip(self.solver.residuals(), changes, self.solver.fixed, strict=True):
            r[rows] = 0.0
            local += float(np.abs(r) @ np.abs(change[: r.size]))
        return float(self.mesh.comm.allreduce(local))

    def _boundary_work(self) -> float:
        """Work of the reactions at boundary values that moved."""
        if not self._moves or not self.bcs:
            return 0.0
        local = 0.0
        for r, u, v, rows in zip(
            self.solver.residuals(), self.states, self._old, self.solver.fixed, strict=False
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
        for past, old in zip(self._past, self._old, strict=False):
            past.x.array[:] = old.x.array
        self._past_tau = tau if self._past else 0.0

    def _recover(self) -> None:
        # The past of a step that failed is not smooth: multi-step schemes start anew.
        self._past_tau = 0.0


def _functional(form: Any) -> ufl.Form:
    if not isinstance(form, ufl.Form) or form.arguments():
        raise ValueError(
            "An energy (or psi, psi*) must be a UFL form without test functions, such as "
            f"0.5*inner(grad(u), grad(u))*dx; got {type(form).__name__}."
        )
    return form


def _check_bcs(bcs: Sequence[fem.DirichletBC], fields: Sequence[fem.Function]) -> None:
    """Each condition must mean one field."""
    for bc in bcs:
        owners = [f.name for f in fields if f.function_space.contains(bc.function_space)]
        if len(owners) != 1:
            raise ValueError(
                f"A Dirichlet condition applies to {len(owners)} of the fields {owners}: make it on "
                "the function space of one field, and give each field a space of its own "
                "(V.clone())."
            )


def _pairs(metric: Any, states: tuple[fem.Function, ...]) -> list[tuple[Metric, Any]]:
    """Which metric rules which states."""
    metrics = metric if isinstance(metric, tuple) else (metric,)
    if not all(isinstance(m, Metric) for m in metrics):
        raise ValueError("metric must be a metric such as flows.L2(), or a tuple of them.")
    if not isinstance(metric, tuple):
        return [(metric, states)]
    if len(metrics) != len(states):
        raise ValueError(f"{len(states)} states need as many metrics; got {len(metrics)}.")
    return [(m, (u,)) for m, u in zip(metrics, states, strict=True)]


def _per_state(source: Any, states: tuple[fem.Function, ...]) -> dict[fem.Function, Any]:
    sources = source if isinstance(source, (tuple, list)) else (source,) if source else ()
    if sources and len(sources) != len(states):
        raise ValueError(f"{len(states)} states need as many sources (None for none).")
    return dict(zip(states, sources or (None,) * len(states), strict=True))


def _vary(form: ufl.Form, field: fem.Function) -> ufl.Form:
    return expand_derivatives(ufl.derivative(form, field, ufl.TestFunction(field.function_space)))


def _retest(form: ufl.Form, space: Any, test: Any = None) -> ufl.Form:
    """The linear form with another test function, or with an expression in its place."""
    (argument,) = form.arguments()
    return ufl.replace(form, {argument: ufl.TestFunction(space) if test is None else test})


def _compiled(form: ufl.Form) -> Any:
    return None if zero(form) else fem.form(form)
