r"""Reaction-diffusion systems with detailed balance as gradient flows.

$$ \dot c_i = \nabla\cdot(D_i \nabla c_i) + \sum_r (\beta_{ri} - \alpha_{ri})\, k_r
   \Big(\prod_j (c_j/c_j^*)^{\alpha_{rj}} - \prod_j (c_j/c_j^*)^{\beta_{rj}}\Big) $$

is the flow of the free energy $\sum_i \int c_i \log(c_i/c_i^*) - c_i + c_i^*$ in the metric

$$ \psi^*(c; \xi) = \sum_i \tfrac12 \int D_i c_i |\nabla \xi_i|^2 + \sum_r \tfrac12 \int k_r
   \Lambda_r(c)\, \big((\beta_r - \alpha_r)\cdot\xi\big)^2 $$

with the logarithmic mean $\Lambda_r$ of the two products {cite}`mielke2011`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from flows.forms import VERTEX
from flows.metric import Onsager
from flows.mobility import Cell, log_mean

import ufl
from dolfinx import fem

__all__ = ["Reaction", "free_energy", "kinetics"]


@dataclass(frozen=True)
class Reaction:
    """A reversible reaction: ``Reaction({"A": 1, "B": 1}, {"C": 1}, rate=2.0)`` is A + B <-> C.

    Args:
        educts: How many particles of each species it takes.
        products: How many it gives.
        rate: Speed $k$ of both directions at equilibrium, a positive number or expression.
    """

    educts: Mapping[str, int]
    products: Mapping[str, int]
    rate: Any = 1.0

    def order(self, species: str) -> int:
        """Particles of a species that one reaction makes."""
        return self.products.get(species, 0) - self.educts.get(species, 0)


def free_energy(c: Sequence[fem.Function], equilibrium: Sequence[Any]) -> ufl.Form:
    r"""The relative entropy $\sum_i \int c_i \log(c_i / c_i^*) - c_i + c_i^*$."""
    terms = (
        (u * ufl.ln(u) - u * ufl.ln(star) - u + star) * ufl.dx
        for u, star in zip(c, equilibrium, strict=True)
    )
    return sum(terms, ufl.Form([]))


def kinetics(
    c: Sequence[fem.Function],
    reactions: Sequence[Reaction],
    diffusivity: Sequence[Any],
    equilibrium: Sequence[Any],
) -> Onsager:
    """The metric of a network.

    Args:
        c: The concentrations; the reactions know them by their names.
        reactions: The reactions.
        diffusivity: One per species.
        equilibrium: Concentrations in detailed balance, one per species.
    """
    share = {u.name: u / star for u, star in zip(c, equilibrium, strict=True)}

    def product(particles: Mapping[str, int]) -> Any:
        return prod((share[name] ** n for name, n in particles.items()), start=ufl.as_ufl(1.0))

    def psi_star(force: Any) -> ufl.Form:
        forces = dict(zip(share, force, strict=True))
        total = sum(
            (Cell(D)(u, f) for D, u, f in zip(diffusivity, c, force, strict=True)), ufl.Form([])
        )
        for r in reactions:
            drive = sum(r.order(name) * f for name, f in forces.items())
            mean = log_mean(product(r.educts), product(r.products))
            total += 0.5 * r.rate * mean * drive**2 * ufl.dx(metadata=VERTEX)
        return total

    return Onsager(psi_star, lumped=True)
