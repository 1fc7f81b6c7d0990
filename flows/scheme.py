r"""Time discretisations of a gradient flow.

Every scheme is the same step problem with other data: from a base point $b$, with an effective
step $\hat\tau$ and the metric frozen at $w$, find the stationary point $u$ of

$$ \Phi(u, \mu) = E(u) - \langle \mu, u - b \rangle - \hat\tau\, \psi^*(w; -\mu)
   \qquad\text{or}\qquad \Phi(u) = E(u) + \hat\tau\, \psi\big(w; (u - b) / \hat\tau\big), $$

where a discrete gradient may stand for $DE$.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, override

from flows.forms import depends_on, same_quadrature, substitute, variation

import numpy as np
import ufl

__all__ = [
    "AVF",
    "BDF2",
    "JKO",
    "ConvexSplitting",
    "ImplicitEuler",
    "MinimizingMovement",
    "Scheme",
    "Stencil",
]


@dataclass(frozen=True)
class Stencil:
    """Coefficients of one step of a scheme.

    Attributes:
        alpha: The effective step is ``tau / alpha``.
        base: Weights of the last state and the one before in the base point.
        frozen: Weights of the last state and the one before where the metric is frozen.
        ratio: The step over the last step, if the step uses the last one; else 0.
    """

    alpha: float = 1.0
    base: tuple[float, float] = (1.0, 0.0)
    frozen: tuple[float, float] = (1.0, 0.0)
    ratio: float = 0.0


class Scheme(ABC):
    """A time discretisation.

    Attributes:
        order: Order of convergence in the time step.
        steps: Number of past states that a step needs.
        identity: Whether its energy law is an identity, not an inequality.
        implicit: Whether the metric is taken at a point that depends on the new state.
        varied: Whether the metric is differentiated in the state, too: then the whole step is a
            minimisation.
    """

    order: int = 1
    steps: int = 1
    identity: bool = False
    implicit: bool = False
    varied: bool = False

    def stencil(self, ratio: float | None) -> Stencil:
        """Coefficients for ``tau = ratio * (last tau)``; ``None`` when there is no last step."""
        return Stencil()

    def gradient(self, energy: ufl.Form, f: Any, u: Sequence[Any], v: Sequence[Any]) -> ufl.Form:
        """What stands for the first variation of an energy in the field ``f``.

        Args:
            energy: The energy.
            f: One of the fields.
            u: All fields, at the new state.
            v: All fields, at the old one.
        """
        return variation(energy, f)

    def place(self, u: Any, v: Any) -> Any:
        """Where sources are evaluated."""
        return u

    def frozen(self, u: Any, v: Any) -> Any:
        """Where the metric is frozen, as an expression; ``v`` is the scheme's frozen point."""
        return v

    def time(self, t: float, tau: float) -> float:
        """The time at which sources and moving energies are evaluated."""
        return t + tau

    def lawful(self, degree: float, varies: bool) -> bool:
        """Whether the scheme has an energy law; without one the energy must fall, no more.

        Args:
            degree: Degree of the energy as a polynomial in the state.
            varies: Whether the metric depends on the state.
        """
        return True

    def defect(
        self, change: float, movement: float, dissipation: float, past: float, ratio: float
    ) -> float:
        r"""Left-hand side of the energy law: not positive, or zero for an identity.

        Args:
            change: Change of the energy less the work of sources and boundary values.
            movement: $d^2/(2\tau)$ of the step.
            dissipation: $d^2/\tau$ of the step, if the law is an identity.
            past: Movement of the step before.
            ratio: The ``ratio`` of the step's stencil.
        """
        return change + movement

    @abstractmethod
    def error_constant(self, ratio: float) -> float:
        r"""The number $C$ of the local error $-C\, \tau^{p+1} u^{(p+1)}$."""


@dataclass(frozen=True)
class MinimizingMovement(Scheme):
    r"""De Giorgi's minimizing movement: implicit Euler, with the metric frozen at the old state.

    $$ u_{k+1} = \operatorname*{argmin}_u\; E(u) + \frac{1}{2\tau} d_{u_k}(u, u_k)^2. $$

    Order 1 in time. Certificate: $E(u_{k+1}) + d^2/(2\tau) \le E(u_k)$ for every step that finds
    the minimiser {cite}`ambrosio2008`.
    """

    @override
    def error_constant(self, ratio: float) -> float:
        return 1 / 2


@dataclass(frozen=True)
class ImplicitEuler(Scheme):
    r"""Implicit Euler: everything, the metric too, at the new state.

    $$ \frac{u_{k+1} - u_k}{\tau} = D_\xi \psi^*\big(u_{k+1}; -DE(u_{k+1})\big). $$

    Order 1 in time. Certificate: $E(u_{k+1}) + d^2/(2\tau) \le E(u_k)$, with the distance in the
    metric at $u_{k+1}$; it holds for convex energies, and for others when $\tau$ is small.
    """

    implicit = True

    @override
    def frozen(self, u: Any, v: Any) -> Any:
        return u

    @override
    def error_constant(self, ratio: float) -> float:
        return 1 / 2


@dataclass(frozen=True)
class JKO(ImplicitEuler):
    r"""The minimizing movement of Jordan, Kinderlehrer and Otto, its distance linearised.

    $$ u_{k+1} = \operatorname*{argmin}_u\; E(u) + \min\Big\{ \frac{\tau}{N} \sum_{j=1}^N
       \psi^*(u_j; \xi_j) : \; u_j - u_{j-1} = \frac{\tau}{N} D_\xi \psi^*(u_j; \xi_j),\;
       u_0 = u_k,\; u_N = u \Big\}. $$

    The distance of {cite}`jordan1998` is the length of a path {cite}`benamou2000`, of ``inner``
    pieces: one is the scheme of {cite}`cances2020`, whose error is below that of implicit Euler at
    nearly its price; more tend to the true distance, at first order in $1/N$, and cost as many
    densities and potentials each. Order 1 in time. Certificate:
    $E(u_{k+1}) + d^2/(2\tau) \le E(u_k)$.

    Args:
        inner: Number $N$ of pieces of the path.
    """

    inner: int = 1
    varied = True

    def __post_init__(self) -> None:
        if self.inner < 1:
            raise ValueError(f"inner = {self.inner}: a path has at least one piece.")


@dataclass(frozen=True)
class AVF(Scheme):
    r"""Average vector field: a discrete gradient, of order 2 in time.

    $$ \frac{u_{k+1} - u_k}{\tau} = D_\xi \psi^*\Big(\tfrac{u_k + u_{k+1}}2;
       -\int_0^1 DE\big(u_k + s (u_{k+1} - u_k)\big)\, ds \Big). $$

    Certificate: the identity $E(u_{k+1}) - E(u_k) = -d^2/\tau$ if the energy is a polynomial, which
    Gauss points in $s$ integrate exactly; otherwise the energy falls {cite}`mclachlan1999`.

    Args:
        points: Number of Gauss points; by default as many as a polynomial energy needs, else 4.
    """

    points: int | None = None
    order = 2
    identity = True
    implicit = True

    @override
    def gradient(self, energy: ufl.Form, f: Any, u: Sequence[Any], v: Sequence[Any]) -> ufl.Form:
        nodes, weights = np.polynomial.legendre.leggauss(self.points or 4)
        slope = variation(energy, f)
        return sum(
            (
                float(w / 2)
                * substitute(
                    slope,
                    {a: b + float((1 + s) / 2) * (a - b) for a, b in zip(u, v, strict=True)},
                )
                for s, w in zip(nodes, weights, strict=True)
            ),
            ufl.Form([]),
        )

    def exact_for(self, degree: float) -> AVF:
        """The same scheme with the points that an energy of this polynomial degree needs."""
        if self.points is not None or math.isinf(degree):
            return self
        return AVF(points=max(1, math.ceil(degree / 2)))

    @override
    def lawful(self, degree: float, varies: bool) -> bool:
        return degree <= 2 * (self.points or 4)

    @override
    def defect(
        self, change: float, movement: float, dissipation: float, past: float, ratio: float
    ) -> float:
        return change + dissipation

    @override
    def place(self, u: Any, v: Any) -> Any:
        return (u + v) / 2

    @override
    def frozen(self, u: Any, v: Any) -> Any:
        return (u + v) / 2

    @override
    def time(self, t: float, tau: float) -> float:
        return t + tau / 2

    @override
    def error_constant(self, ratio: float) -> float:
        return 1 / 12


@dataclass(frozen=True)
class BDF2(Scheme):
    r"""Backward differentiation with variable steps, of order 2 in time.

    With $\omega = \tau / \tau_{old} \le 2$ and $\alpha = (1 + 2\omega)/(1 + \omega)$ it is the
    minimizing movement of step $\tau/\alpha$ from the base point
    $b = ((1 + \omega) u_k - \frac{\omega^2}{1 + \omega} u_{k-1}) / \alpha$, with the metric frozen
    at the extrapolated state. The first step, a step after a rejection and a step that more than
    doubles are minimizing movements.

    Certificate, for a convex energy and a constant metric, $\delta_k = u_k - u_{k-1}$:
    $E(u_{k+1}) + |\delta_{k+1}|^2/(4\tau) \le
    E(u_k) + \frac{\omega}{2 + 2\omega} |\delta_k|^2/\tau_{old}$, the modified energy of
    {cite}`matthes2019` when the step is constant.
    """

    order = 2
    steps = 2

    @override
    def stencil(self, ratio: float | None) -> Stencil:
        if ratio is None or ratio > 2 * (1 + 1e-9):
            return Stencil()
        alpha = (1 + 2 * ratio) / (1 + ratio)
        past = -(ratio**2) / (1 + ratio)
        return Stencil(alpha, ((1 + ratio) / alpha, past / alpha), (1 + ratio, -ratio), ratio)

    @override
    def lawful(self, degree: float, varies: bool) -> bool:
        return not varies

    @override
    def defect(
        self, change: float, movement: float, dissipation: float, past: float, ratio: float
    ) -> float:
        if not ratio:
            return change + movement
        return change + movement / 2 - ratio / (1 + ratio) * past

    @override
    def error_constant(self, ratio: float) -> float:
        return (1 + ratio) ** 2 / (6 * ratio * (1 + 2 * ratio))


@dataclass(frozen=True, eq=False)
class ConvexSplitting(MinimizingMovement):
    r"""Implicit Euler with the concave part of the energy at the old state {cite}`eyre1998`.

    $$ u_{k+1} = \operatorname*{argmin}_u\; E(u) - C(u) + \langle DC(u_k), u \rangle
       + \frac{1}{2\tau} d_{u_k}(u, u_k)^2, \qquad E - C \text{ convex},\; C \text{ concave}. $$

    Order 1 in time. The step is a convex problem with one solution at every $\tau$. Certificate:
    $E(u_{k+1}) + d^2/(2\tau) \le E(u_k)$, unconditionally.

    Stability is not accuracy. With $C = -\frac{1}{2\varepsilon} \int u^2$ in the metric
    ``L2(eps)`` it is the Allen-Cahn equation in a slower time: its steps of size $\tau$ are
    minimizing movements of size $\tau / (1 + \tau / \varepsilon^2)$ {cite}`xu2019`. A circle that
    shrinks from radius 0.3 to 0.2236 is left too large by 8 % at $\tau = \varepsilon^2/4$, by 19 %
    at $\varepsilon^2$ and by 28 % at $4 \varepsilon^2$, where minimizing movements err by 0.2, 0.1
    and -0.5 %. Take it to reach a steady state, not to follow a motion.

    Args:
        concave: The concave part $C$, a UFL form in the state; for Ginzburg-Landau
            ``-u**2 / (2 * eps) * dx``.

    Raises:
        ValueError: for a concave part that is no functional of the state.
    """

    concave: ufl.Form

    def __post_init__(self) -> None:
        if not isinstance(self.concave, ufl.Form) or self.concave.arguments():
            raise ValueError("The concave part is a UFL form without test functions, as an energy.")

    @override
    def gradient(self, energy: ufl.Form, f: Any, u: Sequence[Any], v: Sequence[Any]) -> ufl.Form:
        if not any(depends_on(self.concave, field) for field in u):
            raise ValueError(
                "The concave part does not depend on the state: write it in the same Function."
            )
        slope = variation(same_quadrature(self.concave, energy), f)
        back = substitute(slope, dict(zip(u, v, strict=True)))
        return variation(energy, f) - slope + back
