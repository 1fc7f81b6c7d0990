r"""Metrics: how expensive a rate of change is, as plain UFL.

A metric is a dissipation potential $\psi(u; \dot u)$, or its convex dual $\psi^*(u; \xi)$, and
turns an energy into the equation

$$ \dot u = D_\xi \psi^*(u, -DE(u)). $$

Weights and mobilities may depend on the state: write them in the state function itself; the time
discretisation decides at which state they are frozen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, override

from flows.constraint import MeanValue
from flows.coordinate import log
from flows.forms import VERTEX, lumpable, mass_measure
from flows.mobility import Cell
from flows.scheme import ImplicitEuler, MinimizingMovement, Scheme

import ufl
from ufl import grad, inner, sqrt

__all__ = [
    "KL",
    "L2",
    "Dissipation",
    "FisherRao",
    "HMinus1",
    "Metric",
    "Onsager",
    "Wasserstein",
    "conserved",
    "per_state",
    "preferred",
]

_NODES = ufl.dx(metadata=VERTEX)


def _each(fields: Any) -> Sequence[Any]:
    return fields if isinstance(fields, (tuple, list)) else (fields,)


def _half(weight: Any, fields: Any, measure: ufl.Measure) -> ufl.Form:
    return sum((0.5 * weight * inner(f, f) * measure for f in _each(fields)), ufl.Form([]))


class Metric(ABC):
    """A dissipation potential on the rates of one state, or of a tuple of states.

    Metrics add: ``A + B`` is the metric with the dual potential ``psi*_A + psi*_B``, in which both
    mechanisms act at once.
    """

    primal: bool = False
    """Whether ``psi`` is explicit, so that a step minimises over the state alone."""

    measure: ufl.Measure = ufl.dx
    """Measure of the pairing of forces with rates; a vertex rule lumps it."""

    positive: bool = False
    """Whether states are positive, whatever the energy."""

    conserve: bool = False
    """Whether the mass of each state is kept by a constraint."""

    lumped: bool = False
    """Whether P1 states are paired, and their energies taken where they can, by the vertex rule."""

    scheme: Scheme = MinimizingMovement()
    """The time discretisation that suits the metric best."""

    def psi(self, rate: Any, state: Any) -> ufl.Form:
        """Dissipation potential of a rate at a state (functions, or tuples of them)."""
        raise ValueError(f"{type(self).__name__} has no explicit psi; its step uses psi*.")

    @abstractmethod
    def psi_star(self, force: Any, state: Any) -> ufl.Form:
        """Dual dissipation potential of a force at a state (functions, or tuples of them)."""

    def divergence(self, new: Any, old: Any) -> ufl.Form | None:
        r"""Half the squared distance $d^2/2$ of two states, where it has a closed form.

        A minimizing movement then takes it instead of $\tau^2 \psi((u - v)/\tau)$.
        """
        return None

    def pairing(self, force: Any, rate: Any) -> ufl.Form:
        """The product of forces and rates."""
        pairs = zip(_each(force), _each(rate), strict=True)
        if self.lumped and all(lumpable(f) for f in _each(force)):
            return sum((inner(f, r) * _NODES for f, r in pairs), ufl.Form([]))
        return sum((inner(f, r) * mass_measure(self.measure, f) for f, r in pairs), ufl.Form([]))

    def __add__(self, other: Metric) -> Metric:
        if not isinstance(other, Metric):
            return NotImplemented
        return _Sum(self, other)


@dataclass(frozen=True, eq=False)
class _Sum(Metric):
    first: Metric
    second: Metric

    def psi_star(self, force: Any, state: Any) -> ufl.Form:
        return self.first.psi_star(force, state) + self.second.psi_star(force, state)

    def __post_init__(self) -> None:
        # The discretisation of one metric leads; L2 follows any other, and FisherRao all but L2.
        first = isinstance(self.second, L2) or not isinstance(self.first, (L2, FisherRao))
        main = self.first if first else self.second
        for name in ("measure", "lumped", "scheme"):
            object.__setattr__(self, name, getattr(main, name))
        object.__setattr__(self, "conserve", self.first.conserve or self.second.conserve)


@dataclass(frozen=True, eq=False)
class L2(Metric):
    r"""The $L^2$ metric, flat or weighted.

    $$ \psi(u; \dot u) = \tfrac12 \int w(u)\, |\dot u|^2, \qquad
       w(u)\, \dot u = -\frac{\delta E}{\delta u}. $$

    Args:
        weight: Positive number or UFL expression, possibly of the state. With ``1/Q``,
            $Q = \sqrt{1 + |\nabla u|^2}$, graph area flows by its true mean curvature.
        measure: Where and by which quadrature rule it is integrated.
    """

    weight: Any = 1.0
    measure: ufl.Measure = ufl.dx
    primal = True

    @override
    def psi(self, rate: Any, state: Any) -> ufl.Form:
        return _half(self.weight, rate, self.measure)

    @override
    def psi_star(self, force: Any, state: Any) -> ufl.Form:
        return _half(1 / self.weight, force, self.measure)


@dataclass(frozen=True, eq=False)
class HMinus1(Metric):
    r"""The $H^{-1}$ metric with a mobility: mass is moved, never made.

    $$ \psi^*(u; \xi) = \tfrac12 \int m(u)\, |\nabla \xi|^2, \qquad
       \dot u = \nabla\!\cdot\!\Big(m(u)\, \nabla \frac{\delta E}{\delta u}\Big), \quad
       m\, \partial_n \frac{\delta E}{\delta u} = 0 \text{ on the boundary}. $$

    Args:
        mobility: Non-negative number, matrix or UFL expression, possibly of the state.
        measure: Measure of the pairing of $\xi$ with rates.
    """

    mobility: Any = 1.0
    measure: ufl.Measure = ufl.dx

    @override
    def psi_star(self, force: Any, state: Any) -> ufl.Form:
        terms = (0.5 * inner(self._flux(grad(f)), grad(f)) * ufl.dx for f in _each(force))
        return sum(terms, ufl.Form([]))

    def _flux(self, gradient: Any) -> Any:
        matrix = len(getattr(self.mobility, "ufl_shape", ())) == 2
        return ufl.dot(gradient, self.mobility) if matrix else self.mobility * gradient


@dataclass(frozen=True, eq=False)
class Wasserstein(Metric):
    r"""The metric of optimal transport: mass is moved, at the price of its kinetic energy.

    $$ \psi^*(\rho; \xi) = \tfrac12 \int \rho\, |\nabla \xi|^2, \qquad
       \dot\rho = \nabla\cdot\Big(\rho\, \nabla \frac{\delta E}{\delta \rho}\Big), \quad
       \rho\, \partial_n \frac{\delta E}{\delta \rho} = 0 \text{ on the boundary}. $$

    With the entropy it is the heat equation {cite}`jordan1998`, with a potential the Fokker-Planck
    equation, with $\rho^m/(m-1)$ the porous medium equation {cite}`otto2001`. Mass is exact; a
    density stays positive if the energy has infinite slope at zero.

    Args:
        mobility: Maps (density, force) to the form $\psi^*$; by default that of
            :class:`flows.mobility.Cell`, positive on every mesh. :class:`flows.mobility.Upwind`
            keeps signs on Delaunay meshes.
    """

    mobility: Callable[[Any, Any], ufl.Form] = field(default_factory=Cell)
    lumped = True
    scheme = ImplicitEuler()

    @override
    def psi_star(self, force: Any, state: Any) -> ufl.Form:
        pairs = zip(_each(state), _each(force), strict=True)
        return sum((self.mobility(u, f) for u, f in pairs), ufl.Form([]))


@dataclass(frozen=True, eq=False)
class FisherRao(Metric):
    r"""The metric of Fisher and Rao, or Hellinger: mass is made where it is, in proportion.

    $$ \psi^*(\rho; \xi) = \tfrac12 \int \rho\, \xi^2, \qquad
       \dot\rho = -\rho\, \frac{\delta E}{\delta \rho}, \qquad
       d(\rho, \sigma)^2 = 4 \int \big(\sqrt\rho - \sqrt\sigma\big)^2. $$

    A minimizing movement takes the distance itself. Added to :class:`Wasserstein` it is the
    Hellinger-Kantorovich (Wasserstein-Fisher-Rao) metric {cite}`liero2018`, in which mass is moved
    and made.

    Args:
        conserve: Keep the mass: the rates are $-\rho\, (\delta E/\delta\rho - \lambda)$, those of
            replicators, on the sphere of densities of one mass.
    """

    conserve: bool = False
    lumped = True
    primal = True
    positive = True

    @override
    def psi(self, rate: Any, state: Any) -> ufl.Form:
        terms = zip(_each(rate), _each(state), strict=True)
        return sum((0.5 * f**2 / u * _NODES for f, u in terms), ufl.Form([]))

    @override
    def psi_star(self, force: Any, state: Any) -> ufl.Form:
        terms = zip(_each(force), _each(state), strict=True)
        return sum((0.5 * u * f**2 * _NODES for f, u in terms), ufl.Form([]))

    @override
    def divergence(self, new: Any, old: Any) -> ufl.Form | None:
        terms = zip(_each(new), _each(old), strict=True)
        # Expanded, so that nothing is divided by the root of an empty node.
        return sum((2 * (u + v - 2 * sqrt(u) * sqrt(v)) * _NODES for u, v in terms), ufl.Form([]))


@dataclass(frozen=True, eq=False)
class KL(FisherRao):
    r"""The relative entropy in the place of half a squared distance: entropic mirror descent.

    $$ \rho_{k+1} = \operatorname*{argmin}_\rho\; E(\rho) + \frac1\tau
       \int \rho \log\frac{\rho}{\rho_k} - \rho + \rho_k, \qquad
       \rho_{k+1} = \rho_k \exp\Big(-\tau \frac{\delta E}{\delta\rho}(\rho_{k+1})\Big). $$

    It is the metric :class:`FisherRao` to leading order, with steps that are explicit in the
    logarithm {cite}`beck2003`. The column ``movement`` of a history is the relative entropy over
    $\tau$.

    Args:
        conserve: Keep the mass, as mirror descent on probabilities does.
    """

    @override
    def divergence(self, new: Any, old: Any) -> ufl.Form | None:
        terms = zip(_each(new), _each(old), strict=True)
        return sum(((u * (log(u) - log(v)) - u + v) * _NODES for u, v in terms), ufl.Form([]))


@dataclass(frozen=True, eq=False)
class Onsager(Metric):
    r"""A metric by its dual dissipation potential, the user's own form.

    $$ \langle \dot u, \eta \rangle = D_\xi \psi^*(u; \xi)[\eta], \qquad \xi = -DE(u), $$

    in the form of {cite}`onsager1931`.

    Args:
        dual: Maps the force (a function in the space of the state, or a tuple of them) to the form
            $\psi^*$: convex in the force, zero at zero. It may contain the state.
        measure: Measure of the pairing of forces with rates.
        lumped: Whether P1 states are densities: paired, and their energies taken, by the vertex
            rule, and kept positive where the energy asks for it.
    """

    dual: Callable[[Any], ufl.Form]
    measure: ufl.Measure = ufl.dx
    lumped: bool = False

    @override
    def psi_star(self, force: Any, state: Any) -> ufl.Form:
        return self.dual(force)


@dataclass(frozen=True, eq=False)
class Dissipation(Metric):
    r"""A metric by its dissipation potential, the user's own form.

    $$ D_{\dot u} \psi(u; \dot u) = -DE(u). $$

    Args:
        potential: Maps the rate (a function in the space of the state, or a tuple of them) to the
            form $\psi$: convex in the rate, zero at zero. It may contain the state.
    """

    potential: Callable[[Any], ufl.Form]
    primal = True

    @override
    def psi(self, rate: Any, state: Any) -> ufl.Form:
        return self.potential(rate)

    @override
    def psi_star(self, force: Any, state: Any) -> ufl.Form:
        raise ValueError(
            "A Dissipation cannot be added to another metric: its psi* is not explicit; "
            "state it as Onsager(psi_star)."
        )


def per_state(metric: Any, states: Sequence[Any]) -> list[Metric]:
    """The metric of each state.

    Raises:
        ValueError: for what is no metric, or for a tuple of another length than the states'.
    """
    several = isinstance(metric, tuple)
    metrics = list(metric) if several else [metric] * len(states)
    if not all(isinstance(m, Metric) for m in metrics):
        raise ValueError("metric must be a metric such as flows.L2(), or a tuple of them.")
    if len(metrics) != len(states):
        raise ValueError(f"{len(states)} states need as many metrics; got {len(metrics)}.")
    return metrics


def preferred(metrics: Sequence[Metric]) -> Scheme:
    """The scheme of the first metric that prefers another than the minimizing movement."""
    return next(
        (m.scheme for m in metrics if m.scheme != MinimizingMovement()), MinimizingMovement()
    )


def conserved(metrics: Sequence[Metric]) -> list[MeanValue]:
    """The constraints that metrics bring along."""
    return [MeanValue(i, lumped=True) for i, m in enumerate(metrics) if m.conserve]
