r"""Metrics of densities: what it costs to move mass, and to make it.

The densities are P1 functions, and what happens at a node is taken by the vertex rule: pairings are
lumped, and energies without gradients are sums over the nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, override

from flows.metric import Metric, _each
from flows.mobility import Cell
from flows.scheme import ImplicitEuler

import ufl

__all__ = ["Wasserstein"]


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
        mobility: Maps (density, force) to the form $\psi^*$; by default :class:`flows.mobility.Cell`,
            positive on every mesh. :class:`flows.mobility.Upwind` keeps signs on Delaunay meshes.
    """

    mobility: Callable[[Any, Any], ufl.Form] = field(default_factory=Cell)
    lumped = True
    scheme = ImplicitEuler()

    @override
    def psi_star(self, force: Any, state: Any) -> ufl.Form:
        pairs = zip(_each(state), _each(force), strict=True)
        return sum((self.mobility(u, f) for u, f in pairs), ufl.Form([]))
