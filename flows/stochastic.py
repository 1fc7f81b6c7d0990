r"""Noise that drives a flow: one path for each seed, at any steps and on any number of ranks.

$$ w\, du = -\frac{\delta E}{\delta u}\, dt + \sigma\, dW $$

Each degree of freedom has a Brownian motion of its own, a function of its place, the seed and the
time. It is known at powers of two, and in between it is found by halving: given its values at two
times it is normal halfway between them {cite}`li2020`. Nothing of the path is stored: steps that
are retried or resumed find it again, and so do steps of another size. A step draws some forty
normal numbers for each degree of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flows.dofs import Keys, mix, noise
from flows.forms import VERTEX, assembled, compiled, lumpable
from flows.solver import Solver

import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem
from ufl import dx, grad, inner

__all__ = ["Brownian", "Forcing", "WhiteNoise", "driven"]

type Values = npt.NDArray[np.float64]

CELL = {"quadrature_degree": 2}

RESOLUTION = 2.0**-40
"""Below this part of the time a path is straight."""


@dataclass(frozen=True, eq=False)
class WhiteNoise:
    r"""White noise in space and time, or noise of a given length of correlation.

    $$ \int_t^{t + \tau}\!\!\int \sigma\, \varphi_i\, dW \approx
       \sigma \sqrt{\tau m_i}\; N_i, \qquad m_i = \int \varphi_i, $$

    with independent normal numbers $N_i$: the load of the nodes of P1 elements, mass lumped. In the
    metric ``L2(w)`` with $\sigma^2 = 2 w / \beta$ the flow samples the Gibbs measure
    $e^{-\beta E}$; with ``AVF`` exactly so, at any step, if the energy is quadratic.

    Conserved noise is a random flux, $\sigma \nabla\cdot dW$ with a white vector field $W$: mass is
    constant to rounding. It is the noise of ``HMinus1(m)``, with $\sigma^2 = 2 m / \beta$ for the
    Gibbs measure: the equation of {cite}`cook1970`.

    White noise is too rough for the heat equation in more than one dimension: the variance of its
    values grows like $\log 1/h$ in the plane, like $1/h$ in space, and nonlinear equations have no
    limit as the mesh is refined. Give a correlation there: then the noise is
    $(1 - \ell^2 \Delta)^{-1}\, \sigma\, dW$, one more linear solve a step. In the plane its values
    have the variance $\sigma^2 / (4 \pi \ell^2)$ per unit of time {cite}`lindgren2011`.

    Args:
        sigma: Strength $\sigma$, not negative.
        seed: Another seed gives another path.
        correlation: Length $\ell$; none by default.
        conserved: Whether it is the divergence of a random flux.

    Raises:
        ValueError: for numbers that are negative or not finite.
    """

    sigma: float
    seed: int = 0
    correlation: float | None = None
    conserved: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < math.inf:
            raise ValueError(f"sigma = {self.sigma}: give a finite number, 0 or more.")
        if self.correlation is not None and not 0 < self.correlation < math.inf:
            raise ValueError(f"correlation = {self.correlation}: give a positive length, or None.")


class Brownian:
    """Independent Brownian motions from time zero on, one for each key.

    Args:
        keys: Random bits, 64 for each.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._last: tuple[float, Values] = (0.0, np.zeros(keys.size))

    def increment(self, t: float, tau: float) -> Values:
        """What the motions gain from ``t`` to ``t + tau``."""
        time, before = self._last
        if time != t:
            before = self.at(t)
        self._last = (t + tau, self.at(t + tau))
        return self._last[1] - before

    def at(self, t: float) -> Values:
        """The motions at a time."""
        low, high = 0.0, 1.0
        start, end = np.zeros(self._keys.size), self._normal(high)
        while high < t:
            low, high, start = high, 2 * high, end
            end = start + math.sqrt(high - low) * self._normal(high)
        while high - low > RESOLUTION * high:
            half = (low + high) / 2
            middle = (start + end) / 2 + math.sqrt(high - low) / 2 * self._normal(half)
            if t == half:
                return middle
            if t < half:
                high, end = half, middle
            else:
                low, start = half, middle
        share = (t - low) / (high - low)
        return (1 - share) * start + share * end

    def _normal(self, time: float) -> Values:
        """Normal numbers that belong to a time of the dyadic tree."""
        bits = mix(self._keys + mix(np.array([time]).view(np.uint64))) >> np.uint64(11)
        from scipy.special import ndtri  # slow to import: only where there is noise

        return np.asarray(ndtri(2.0**-53 * (bits + 0.5)))


class Forcing:
    """The load of a noise on one state.

    Args:
        noise: The noise.
        u: The state.
        prefix: Prefix of the PETSc options of its smoother.

    Attributes:
        source: Linear form of the load; :meth:`draw` sets what it reads.

    Raises:
        ValueError: on every rank, for a state that is not of P1 elements.
    """

    def __init__(self, noise: WhiteNoise, u: fem.Function, prefix: str) -> None:
        if not lumpable(u):
            raise ValueError(
                "White noise lumps the mass: give a state of P1 elements, "
                "fem.functionspace(domain, ('Lagrange', 1))."
            )
        V = u.function_space
        v = ufl.TestFunction(V)
        rule: Any = VERTEX
        if noise.conserved:
            # Constant in cells: loads of P1 elements then have the stiffness for covariance.
            shape = (*u.ufl_shape, V.mesh.geometry.dim)
            self._white = fem.Function(fem.functionspace(V.mesh, ("DG", 0, shape)), name="noise")
            white, rule = -inner(self._white, grad(v)) * dx(metadata=CELL), CELL
        else:
            self._white = fem.Function(V, name="noise")
            white = inner(self._white, v) * dx(metadata=VERTEX)
        W = self._white.function_space
        self._white.x.array[:] = 1.0
        mass = inner(self._white, ufl.TestFunction(W)) * dx(metadata=rule)
        self._scale = noise.sigma / np.sqrt(assembled(compiled(mass), W))
        self._paths = Brownian(_keys(W, noise.seed))
        self._smoother: Solver | None = None
        self.source = white
        if noise.correlation is not None:
            smooth = fem.Function(V, name="noise")
            screened = inner(smooth, v) + noise.correlation**2 * inner(grad(smooth), grad(v))
            self._smoother = Solver(
                [screened * dx - white], [smooth], prefix=f"{prefix}noise_", definite=True
            )
            self.source = inner(smooth, v) * dx

    def draw(self, t: float, tau: float) -> None:
        """Set the noise of the step from ``t`` to ``t + tau``.

        Raises:
            ValueError: on every rank, before time zero.
        """
        if t < 0:
            raise ValueError(f"t = {t}: the paths of a noise begin at time zero.")
        self._white.x.array[:] = self._scale * self._paths.increment(t, tau) / tau
        if self._smoother is not None:
            self._smoother.solve()


def _keys(V: fem.FunctionSpace, seed: int) -> Keys:
    """Random bits for each degree of freedom, by its place: those of its uniform noise."""
    uniform = fem.Function(V)
    noise(uniform, 1.0, seed)
    return mix(uniform.x.array.view(np.uint64))


def driven(
    source: Any, noises: Any, states: Sequence[fem.Function], prefix: str
) -> tuple[Any, list[Forcing]]:
    """Add the loads of noises to the sources of a flow.

    Args:
        source: Linear form, one per state, or ``None``.
        noises: A noise, one per state, or ``None``.
        states: The states.
        prefix: Prefix of the PETSc options.

    Returns:
        The sources, and what must draw before each step.
    """
    if noises is None:
        return source, []
    given = tuple(noises) if isinstance(noises, (tuple, list)) else (noises,)
    if len(given) != len(states):
        raise ValueError(f"{len(states)} states need as many noises (None for none).")
    sources = list(source) if isinstance(source, (tuple, list)) else [source] * len(states)
    forcings = []
    for i, (u, noise_) in enumerate(zip(states, given, strict=True)):
        if noise_ is not None:
            forcing = Forcing(noise_, u, prefix)
            forcings.append(forcing)
            sources[i] = forcing.source if sources[i] is None else sources[i] + forcing.source
    return tuple(sources), forcings
