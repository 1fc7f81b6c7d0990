r"""The step functional: energy, metric and scheme made into one stationarity problem.

$$ \Phi(u, \mu) = E(u) - \langle \mu, u - b \rangle - \hat\tau\, \psi^*(w; -\mu)
   \qquad\text{or}\qquad \Phi(u) = E(u) + \hat\tau\, \psi\big(w; (u - b) / \hat\tau\big) $$

with the base point $b$, the effective step $\hat\tau$ and the frozen point $w$ of the scheme.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flows.constraint import Constraint, Kept
from flows.forms import VERTEX, depends_on, fix_quadrature, substitute, variation
from flows.metric import Metric
from flows.scheme import JKO, MinimizingMovement, Scheme, Stencil

import dolfinx
import ufl
from dolfinx import fem
from ufl.algorithms import expand_derivatives

__all__ = ["StepFunctional", "as_functional"]


@dataclass(frozen=True, eq=False)
class Block:
    r"""States that share one metric.

    Attributes:
        metric: The metric.
        states: Its states.
        potentials: Their chemical potentials, if the metric is given by its dual.
        rates: The forces that produce the rate $(u - u_k)/\tau$; minus the potentials in
            a one-step scheme.
        index: Number of the first state in the tuple of all.
    """

    metric: Metric
    states: tuple[fem.Function, ...]
    potentials: tuple[fem.Function, ...]
    rates: tuple[fem.Function, ...]
    index: int

    def potential(self, probe: Sequence[Any]) -> ufl.Form:
        r"""The metric's $\psi$, or $\psi^*$, at probes for the rates, or for the forces."""
        psi = self.metric.psi if self.metric.primal else self.metric.psi_star
        return fix_quadrature(as_functional(psi(_one(probe), _one(self.states))), probe)


class StepFunctional:
    r"""The forms of one step, and the data that they read.

    Args:
        energy: Functional of the states and of the auxiliary fields, with fixed quadrature.
        states: The states.
        auxiliary: Fields without a metric.
        metric: A metric, or one per state.
        scheme: The time discretisation.
        source: Linear form, or one per state.
        constraints: Functionals of the states to keep.

    Attributes:
        fields: The unknowns: states, auxiliary fields, potentials.
        residual: One linear form per unknown.
        movement: Functional $d^2/(2\tau)$.
        dissipation: Functional $\langle \text{force}, u - u_k \rangle$ of the metric.
        work: Functional of the work of the sources in the step.
        varies: Whether the metric depends on the state.
        convex: Whether the problem is a minimisation over the states alone.
        drift: Whether a source depends on the state.
        energy: The energy.
        loads: The sources that are forces, one per state.
        apart: Whether a divergence stands for the squared distance.
        conservative: Whether the residual is the derivative of a functional.
    """

    def __init__(
        self,
        energy: ufl.Form,
        states: tuple[fem.Function, ...],
        auxiliary: tuple[fem.Function, ...],
        metric: Metric | tuple[Metric, ...],
        scheme: Scheme,
        source: Any,
        constraints: Sequence[Constraint] = (),
    ) -> None:
        mesh = states[0].function_space.mesh
        self.states, self.auxiliary, self.scheme = states, auxiliary, scheme
        self.tau = fem.Constant(mesh, dolfinx.default_scalar_type(1.0))
        self.effective = fem.Constant(mesh, dolfinx.default_scalar_type(1.0))
        self.old = _twins(states)
        self.old_auxiliary = _twins(auxiliary)
        several = scheme.steps > 1
        self.past = _twins(states) if several else ()
        self.base = _twins(states) if several else self.old
        self.frozen = _twins(states) if several else self.old
        self.blocks = self._make_blocks(metric)
        self.potentials = tuple(mu for block in self.blocks for mu in block.potentials)
        self.barrier = fem.Constant(mesh, dolfinx.default_scalar_type(0.0))
        self.path = self._make_path()
        between = tuple(f for stage in self.path for f in stage)
        self.fields = (*states, *auxiliary, *between, *self.potentials)
        self.varies = self.apart = False
        self.energy = energy
        self.loads = [ufl.Form([]) for _ in states]
        self.kept = Kept(constraints, states)
        sources = _per_state(source, states)
        self._derive(energy, sources)
        self.drift = any(s is not None and depends_on(s, u) for s in sources for u in states)
        follows = self.varies and scheme.implicit and not scheme.varied
        self.conservative = not self.drift and not follows
        self.convex = self.conservative and self.fields == states

    def prepare(self, tau: float, past_tau: float) -> Stencil:
        """Take the present state as the old one, and set the data of a step of size ``tau``."""
        for old, u in zip(self.old + self.old_auxiliary, self.fields, strict=False):
            old.x.array[:] = u.x.array
        stencil = self.scheme.stencil(tau / past_tau if past_tau else None)
        self.tau.value, self.effective.value = tau, tau / stencil.alpha
        if self.past:
            for target, (a, b) in ((self.base, stencil.base), (self.frozen, stencil.frozen)):
                for f, v, past in zip(target, self.old, self.past, strict=True):
                    f.x.array[:] = a * v.x.array + b * past.x.array
        return stencil

    def find_rates(self, stencil: Stencil) -> None:
        """The forces of the rates: linear in them, so a recursion over the steps of the scheme."""
        carry = stencil.ratio / (1 + stencil.ratio)
        for block in self.blocks:
            for rate, mu in zip(block.rates, block.potentials, strict=True):
                rate.x.array[:] = (carry * rate.x.array - mu.x.array) / stencil.alpha

    def _make_blocks(self, metric: Any) -> list[Block]:
        blocks: list[Block] = []
        for m, states in _pairs(metric, self.states):
            potentials, rates = [], []
            if not m.primal:
                for u in states:
                    # A clone of the space: conditions on the state must not reach its potential.
                    V = u.function_space.clone()
                    name = "mu" if len(self.states) == 1 else f"mu_{u.name}"
                    potentials.append(fem.Function(V, name=name))
                    rates.append(fem.Function(V))
            index = sum(len(block.states) for block in blocks)
            blocks.append(Block(m, states, tuple(potentials), tuple(rates), index))
        return blocks

    def _derive(self, energy: ufl.Form, sources: Sequence[ufl.Form | None]) -> None:
        """Residual of every field; the metric's part of it is derived with its state held fixed."""
        states, old = self.states, self.old
        # Placeholders for the state inside the metric, replaced after the derivatives are taken.
        held = {u: ufl.Coefficient(u.function_space) for u in states}
        point = {
            held[u]: self.scheme.frozen(u, w) for u, w in zip(states, self.frozen, strict=True)
        }
        place = {u: self.scheme.place(u, v) for u, v in zip(states, old, strict=True)}
        step = movement = dissipation = work = ufl.Form([])
        for block in self.blocks:
            terms = self._metric_terms(block, held)
            step, movement, dissipation = (
                step + terms[0],
                movement + terms[1],
                dissipation + terms[2],
            )
        self.movement, self.dissipation = (substitute(f, point) for f in (movement, dissipation))
        if self.scheme.varied:
            step = substitute(step, point)

        now, then = [*states, *self.auxiliary], [*old, *self.old_auxiliary]
        slopes = [self.scheme.gradient(energy, f, now, then) for f in now]
        slopes += [ufl.Form([])] * (len(self.fields) - len(now))
        residual = [
            slope + substitute(variation(step, f), point)
            for slope, f in zip(slopes, self.fields, strict=True)
        ]
        if self.kept:
            for i, u in enumerate(states):
                residual[i] += variation(self.kept.term(), u)
        duals = {
            block.states[i]: mu for block in self.blocks for i, mu in enumerate(block.potentials)
        }
        for i, (u, load) in enumerate(zip(states, sources, strict=True)):
            if load is None:
                continue
            load = substitute(load, place)
            if u in duals:  # a rate, in the row of the potential
                mu = duals[u]
                load = self.effective * _retest(load, ufl.TestFunction(mu.function_space))
                residual[self.fields.index(mu)] += load
                work += ufl.action(load, mu)
            else:  # a force, in the row of the state
                self.loads[i] = _retest(load, ufl.TestFunction(u.function_space))
                residual[i] -= self.loads[i]
                work += _retest(load, u - old[i])
        self.residual, self.work = residual, work

    def _metric_terms(self, block: Block, held: dict[Any, Any]) -> tuple[ufl.Form, ...]:
        """The metric in the step functional, the movement and the dissipation."""
        tau, effective, metric = self.tau, self.effective, block.metric
        probe = [ufl.Coefficient(u.function_space) for u in block.states]
        psi = block.potential(probe)
        self.varies |= any(depends_on(psi, u) for u in self.states)
        psi = substitute(psi, held)
        # d/ds psi(s p) at s = 1: the product of the force with the rate.
        slope = expand_derivatives(sum((ufl.derivative(psi, p, p) for p in probe), ufl.Form([])))
        here = slice(block.index, block.index + len(block.states))
        changes = [u - b for u, b in zip(block.states, self.base[here], strict=True)]
        if metric.primal:
            rates = [(u - v) / tau for u, v in zip(block.states, self.old[here], strict=True)]
            rate = dict(zip(probe, rates, strict=True))
            apart = self._divergence(block, here)
            if apart is not None:
                self.apart = True
                step, movement = apart
                return step, movement, 2 * movement
            effective_rate = {p: c / effective for p, c in zip(probe, changes, strict=True)}
            step = effective * substitute(psi, effective_rate)
            return step, tau * substitute(psi, rate), tau * substitute(slope, rate)
        if self.path:
            return self._along_path(block, psi, probe, held)
        force = {p: -mu for p, mu in zip(probe, block.potentials, strict=True)}
        rate = dict(zip(probe, block.rates, strict=True))
        pairing = metric.pairing(_one(block.potentials), _one(changes))
        step = -1 * pairing - effective * substitute(psi, force)
        dissipation = tau * substitute(slope, rate)
        return step, dissipation - tau * substitute(psi, rate), dissipation

    def _make_path(self) -> list[tuple[fem.Function, ...]]:
        """Densities and potentials between the old state and the new one, stage by stage."""
        if not isinstance(self.scheme, JKO) or self.scheme.inner == 1:
            return []
        if self.auxiliary or len(self.blocks) > 1 or len(self.potentials) != len(self.states):
            raise ValueError("JKO with inner steps is for densities that share one dual metric.")
        stages = range(1, self.scheme.inner)
        return [
            tuple(
                fem.Function(f.function_space.clone(), name=f"{f.name}_{j}")
                for f in (*self.states, *self.potentials)
            )
            for j in stages
        ]

    def _along_path(
        self, block: Block, psi: ufl.Form, probe: Sequence[Any], held: dict[Any, Any]
    ) -> tuple[ufl.Form, ...]:
        """The metric of a path of several pieces, with a barrier that keeps it positive."""
        n, pieces = len(block.states), len(self.path) + 1
        densities = [self.base, *(stage[:n] for stage in self.path), block.states]
        potentials = [*(stage[n:] for stage in self.path), block.potentials]
        step = movement = ufl.Form([])
        for old, new, mu in zip(densities[:-1], densities[1:], potentials, strict=True):
            here = {p: -m for p, m in zip(probe, mu, strict=True)}
            here |= {held[u]: r for u, r in zip(block.states, new, strict=True)}
            cost = self.effective / pieces * substitute(psi, here)
            change = _one([r - o for r, o in zip(new, old, strict=True)])
            step += -1 * block.metric.pairing(_one(mu), change) - cost
            movement += cost
        for stage in self.path:
            for r in stage[:n]:
                step -= self.barrier * ufl.ln(r) * ufl.dx(metadata=VERTEX)
        return step, movement, 2 * movement

    def spread(self) -> None:
        """Begin on the straight line from the old state to the present one."""
        n = len(self.states)
        for j, stage in enumerate(self.path, start=1):
            share = j / (len(self.path) + 1)
            for r, v, u in zip(stage[:n], self.base, self.states, strict=True):
                r.x.array[:] = (1 - share) * v.x.array + share * u.x.array
            for between, mu in zip(stage[n:], self.potentials, strict=True):
                between.x.array[:] = mu.x.array

    def gains(self) -> list[ufl.Form]:
        """What each state with a potential has yet to gain, its continuity tested by one.

        Fluxes vanish in it by themselves, and so does their rounding.
        """
        one = fem.Constant(self.states[0].function_space.mesh, dolfinx.default_scalar_type(1.0))
        total: list[ufl.Form] = []
        for k, mu in enumerate(self.potentials):
            rows = [stage[len(self.states) + k] for stage in self.path] + [mu]
            forms = [self.residual[self.fields.index(row)] for row in rows]
            total.append(sum((expand_derivatives(_retest(f, one)) for f in forms), ufl.Form([])))
        return total

    def _divergence(self, block: Block, here: slice) -> tuple[ufl.Form, ufl.Form] | None:
        """Divergences from the base point over the step, and from the old state over tau."""
        if not isinstance(self.scheme, MinimizingMovement):
            return None
        states = _one(block.states)
        apart = block.metric.divergence(states, _one(self.old[here]))
        return None if apart is None else (1 / self.effective * apart, 1 / self.tau * apart)


def as_functional(form: Any) -> ufl.Form:
    """The form, if it is a functional.

    Raises:
        ValueError: if it is not.
    """
    if not isinstance(form, ufl.Form) or form.arguments():
        raise ValueError(
            "An energy (or psi, psi*) must be a UFL form without test functions, such as "
            f"0.5*inner(grad(u), grad(u))*dx; got {type(form).__name__}."
        )
    return form


def _twins(functions: Sequence[fem.Function]) -> tuple[fem.Function, ...]:
    return tuple(fem.Function(f.function_space, name=f.name) for f in functions)


def _one(functions: Sequence[Any]) -> Any:
    """One function as itself, several as a tuple: what a metric expects."""
    return functions[0] if len(functions) == 1 else tuple(functions)


def _pairs(metric: Any, states: tuple[fem.Function, ...]) -> list[tuple[Metric, Any]]:
    """Which metric rules which states."""
    if not isinstance(metric, tuple):
        return [(metric, states)]
    return [(m, (u,)) for m, u in zip(metric, states, strict=True)]


def _per_state(source: Any, states: tuple[fem.Function, ...]) -> Sequence[ufl.Form | None]:
    sources = tuple(source) if isinstance(source, (tuple, list)) else (source,)
    if source is None:
        return (None,) * len(states)
    if len(sources) != len(states):
        raise ValueError(f"{len(states)} states need as many sources (None for none).")
    if any(s is not None and len(s.arguments()) != 1 for s in sources):
        raise ValueError("A source must be a linear form with one TestFunction, such as f*v*dx.")
    return sources


def _retest(form: ufl.Form, test: Any) -> ufl.Form:
    """The linear form with an expression in the place of its test function."""
    (argument,) = form.arguments()
    return ufl.replace(form, {argument: test})
