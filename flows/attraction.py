r"""Particles that are drawn to each other by springs: the interaction by moments.

With the kernel $W(z) = \tfrac k2 |z|^2$ the energy of interaction is known from two moments,

$$ \tfrac12 \iint W(x - y)\, \rho(x)\, \rho(y) = \tfrac k2 \Big( m \int |x|^2 \rho - |M|^2 \Big),
   \qquad m = \int \rho, \quad M = \int x \rho. $$

Its second part is concave. A step takes the tangent at the old centre in its place, which lies
above it and touches it there: what lowers that energy lowers the true one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, override

from flows.flow import StepReport
from flows.forms import VERTEX, compiled, integrate
from flows.metric import Wasserstein
from flows.movement import GradientFlow
from flows.periodic import refuse
from flows.scharfetter_gummel import free_energy

import dolfinx
import numpy as np
import ufl
from dolfinx import fem
from ufl import dx, inner

__all__ = ["QuadraticAttraction"]


class QuadraticAttraction(GradientFlow):
    """Diffusion with springs between all particles; made by :func:`flows.aggregation`.

    Args:
        rho: The density.
        potential: UFL expression of the point.
        beta: Inverse temperature.
        strength: Strength $k$ of the springs.
        options: Passed on to :class:`flows.GradientFlow`.
    """

    def __init__(
        self, rho: fem.Function, potential: Any, beta: float, strength: Any, **options: Any
    ) -> None:
        mesh = rho.function_space.mesh
        refuse(mesh, "Springs between all particles do not know which way round to go")
        x, vertex = ufl.SpatialCoordinate(mesh), dx(metadata=VERTEX)
        number = dolfinx.default_scalar_type
        self.mass = fem.Constant(mesh, number(0.0))
        self.first = fem.Constant(mesh, np.zeros(mesh.geometry.dim, dtype=number))
        size = integrate(compiled(ufl.classes.IntValue(1) * dx(mesh)))
        self._moments = [compiled(f * vertex) for f in (rho, *(xi * rho for xi in x))]
        springs = (0.5 * self.mass * inner(x, x) - inner(self.first, x)) * rho
        constant = 0.5 / size * inner(self.first, self.first)
        E = free_energy(rho, potential, beta) + strength * springs * dx + strength * constant * dx
        super().__init__(E, rho, Wasserstein(), **options)

    @override
    def settle(self) -> None:
        super().settle()
        self.mass.value, *self.first.value[:] = map(integrate, self._moments)

    @override
    def _advance(self, tau: float) -> StepReport:
        report = super()._advance(tau)
        self.settle()
        return replace(report, energy=self.values.energy())
