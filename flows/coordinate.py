r"""Coordinates: the variable in which Newton's method sees a density.

A density $u = R(s)$ is sought through $s$. Where the energy has infinite slope at the edge of its
domain, as $\rho \log \rho$ has at 0, no real $s$ leaves the domain: positivity needs no clipping.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, override

import numpy as np
import ufl
from dolfinx import fem
from ufl.algorithms.analysis import extract_type
from ufl.algorithms.map_integrands import map_integrand_dags
from ufl.corealg.multifunction import MultiFunction
from ufl.corealg.traversal import unique_pre_traversal

__all__ = ["TINY", "Bounded", "Coordinate", "Positive", "guard", "log", "natural"]


class Coordinate(ABC):
    """A change of variable $u = R(s)$, increasing, node by node."""

    @abstractmethod
    def value(self, s: np.ndarray) -> np.ndarray:
        """The densities R(s)."""

    @abstractmethod
    def slope(self, s: np.ndarray) -> np.ndarray:
        """The derivatives R'(s)."""

    @abstractmethod
    def inverse(self, u: np.ndarray) -> np.ndarray:
        """The coordinates of densities inside the domain."""

    @abstractmethod
    def inside(self, u: np.ndarray) -> np.ndarray:
        """The nearest densities at which Newton's method can start."""

    def fitted(self, mean: float) -> Coordinate:
        """The coordinate for densities of this mean."""
        return self


@dataclass(frozen=True)
class Positive(Coordinate):
    r"""Positive densities: the density itself, and its logarithm where it is small.

    $$ R(s) = s \ \text{for}\ s \ge c, \qquad R(s) = c\, e^{s/c - 1} \ \text{for}\ s < c $$

    The switch of {cite}`cances2016`: $\log R$ is linear where it is steep, $R$ where it is large.

    Args:
        scale: The density $c$ at which one variable gives way to the other.
        floor: Share of ``scale`` from which empty nodes start.
    """

    scale: float = 1.0
    floor: float = 1e-20

    @override
    def fitted(self, mean: float) -> Positive:
        return Positive(mean, self.floor) if mean > 0 else self

    @override
    def value(self, s: np.ndarray) -> np.ndarray:
        c = self.scale
        return np.asarray(np.where(s >= c, s, c * np.exp(np.minimum(s / c - 1, 0.0))))

    @override
    def slope(self, s: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(np.minimum(s / self.scale - 1, 0.0)))

    @override
    def inverse(self, u: np.ndarray) -> np.ndarray:
        c = self.scale
        return np.asarray(np.where(u >= c, u, c * (1 + np.log(np.minimum(u / c, 1.0)))))

    @override
    def inside(self, u: np.ndarray) -> np.ndarray:
        return np.asarray(np.maximum(u, self.floor * self.scale))


@dataclass(frozen=True)
class Bounded(Coordinate):
    r"""Densities between zero and a bound $b$: the density, and logarithms near both ends.

    $$ R(s) = s \ \text{for}\ c \le s \le b - c, \qquad R(s) = c\, e^{s/c - 1} \ \text{for}\ s < c,
       \qquad R(s) = b - R(b - s) \ \text{for}\ s > b - c $$

    Args:
        upper: The bound.
        share: Where the logarithms begin, $c$ over $b$, below 1/2.
        floor: Share of ``upper`` from which nodes at an end start.
    """

    upper: float = 1.0
    share: float = 0.3
    floor: float = 1e-12

    @property
    def _end(self) -> Positive:
        return Positive(self.share * self.upper)

    @override
    def value(self, s: np.ndarray) -> np.ndarray:
        low = s < self.upper / 2
        return np.where(low, self._end.value(s), self.upper - self._end.value(self.upper - s))

    @override
    def slope(self, s: np.ndarray) -> np.ndarray:
        return self._end.slope(np.minimum(s, self.upper - s))

    @override
    def inverse(self, u: np.ndarray) -> np.ndarray:
        low = u < self.upper / 2
        return np.where(low, self._end.inverse(u), self.upper - self._end.inverse(self.upper - u))

    @override
    def inside(self, u: np.ndarray) -> np.ndarray:
        gap = self.floor * self.upper
        return np.asarray(np.clip(u, gap, self.upper - gap))


def natural(energy: ufl.Form, state: fem.Function) -> Coordinate | None:
    r"""The coordinate that an energy asks for: it is singular where a logarithm or a root ends.

    ``ln(u)`` and ``u**m`` with $m < 1$ end at 0, ``ln(b - u)`` ends at $b$.
    """
    ends = {end for e in _singular(energy, state) for end in _ends(e, state)}
    upper = [b for b in ends if b > 0]
    if 0.0 not in ends:
        return None
    return Bounded(min(upper)) if upper else Positive()


def _singular(energy: ufl.Form, state: fem.Function) -> Iterator[Any]:
    """What stands in logarithms and in roots."""
    for integral in energy.integrals():
        for e in unique_pre_traversal(integral.integrand()):
            root = isinstance(e, ufl.classes.Power) and _below_one(e.ufl_operands[1])
            if root or isinstance(e, (ufl.classes.Ln, ufl.classes.Sqrt)):
                yield e.ufl_operands[0]


def _below_one(exponent: Any) -> bool:
    if isinstance(exponent, fem.Constant):
        return float(exponent.value) < 1
    return isinstance(exponent, ufl.classes.RealValue) and float(exponent) < 1


def _ends(e: Any, state: fem.Function) -> list[float]:
    """Zeros of an expression that is affine in the state, whatever stands beside it."""
    others: dict[Any, float] = {f: 1.0 for f in extract_type(e, ufl.classes.Coefficient)}
    others |= {c: float(np.ravel(c.value)[0]) for c in extract_type(e, ufl.classes.Constant)}
    try:
        at_0, at_1 = (float(e((0.0, 0.0, 0.0), others | {state: u})) for u in (0.0, 1.0))
    except (TypeError, ValueError, AttributeError, KeyError, RuntimeError, ZeroDivisionError):
        return []  # gradients stand in it
    return [-at_0 / (at_1 - at_0) + 0.0] if at_1 != at_0 else []


TINY = 1e-300


def log(u: Any) -> Any:
    """The logarithm of a density, finite where it vanishes: 0 log 0 = 0."""
    return ufl.ln(ufl.conditional(ufl.eq(u, 0.0), TINY, u))


class _Guard(MultiFunction):
    """Puts the smallest number in the place of zero under logarithms: 0 log 0 = 0."""

    def __init__(self, fields: Sequence[fem.Function]) -> None:
        super().__init__()
        self.fields = fields

    expr = MultiFunction.reuse_if_untouched

    def ln(self, o: Any, operand: Any) -> Any:
        if not any(f in self.fields for f in extract_type(operand, ufl.classes.Coefficient)):
            return self.reuse_if_untouched(o, operand)
        return log(operand)


def guard(form: ufl.Form, fields: Sequence[fem.Function]) -> ufl.Form:
    """The functional, finite where a density under a logarithm vanishes."""
    return map_integrand_dags(_Guard(fields), form)
