r"""Energies: functionals of the state that return plain UFL forms.

Any scalar UFL form in the state is an energy; these are the ones that the named flows share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ufl
from ufl import dx, grad, inner, ln, sqrt

__all__ = [
    "area",
    "dirichlet",
    "entropy",
    "ginzburg_landau",
    "grains",
    "graph_area",
    "interaction",
    "internal",
    "liouville",
    "potential",
]


def dirichlet(u: Any, conductivity: Any = 1.0, *, measure: ufl.Measure = dx) -> ufl.Form:
    r"""Dirichlet energy of a scalar, vector or tensor field.

    $$ E(u) = \tfrac12 \int k\, |\nabla u|^2. $$

    Args:
        u: The state.
        conductivity: Positive number or UFL expression $k$.
        measure: Where it is integrated.
    """
    return 0.5 * conductivity * inner(grad(u), grad(u)) * measure


def ginzburg_landau(u: Any, eps: Any, *, measure: ufl.Measure = dx) -> ufl.Form:
    r"""Ginzburg-Landau energy of a diffuse interface of width ``eps``.

    $$ E(u) = \int \frac{\varepsilon}{2} |\nabla u|^2 + \frac{(u^2 - 1)^2}{4 \varepsilon}. $$

    It tends to $\sigma = 2\sqrt2/3$ times the length (area) of the interface {cite}`modica1977`.

    Args:
        u: Scalar order parameter, with the pure phases at -1 and 1.
        eps: Width of the interface; the mesh must resolve it (P1: four cells per ``eps``).
        measure: Where it is integrated.
    """
    return (0.5 * eps * inner(grad(u), grad(u)) + (u**2 - 1) ** 2 / (4 * eps)) * measure


def grains(u: Any, eps: Any, *, measure: ufl.Measure = dx) -> ufl.Form:
    r"""Energy of grains: order parameters that exclude each other {cite}`fan1997`.

    $$ E(u) = \int \frac{\varepsilon}{2} |\nabla u|^2 + \varepsilon^{-1} \Big( \sum_i
       \frac{u_i^4}{4} - \frac{u_i^2}{2} + \frac32 \sum_{i < j} u_i^2 u_j^2 + \frac14 \Big). $$

    It tends to $\sqrt2/3$ times the length (area) of all boundaries.

    Args:
        u: Vector of order parameters, one of them 1 inside each grain and the others 0.
        eps: Width of the boundaries.
        measure: Where it is integrated.
    """
    s = inner(u, u)
    # The sum over pairs is (s^2 - sum u_i^4) / 2: work that grows like n, not like n^2.
    W = 0.75 * s**2 - 0.5 * sum(c**4 for c in u) - 0.5 * s + 0.25
    return (0.5 * eps * inner(grad(u), grad(u)) + W / eps) * measure


def graph_area(u: Any, *, measure: ufl.Measure = dx) -> ufl.Form:
    r"""Area of the graph of a scalar function.

    $$ E(u) = \int \sqrt{1 + |\nabla u|^2}. $$

    Args:
        u: Height over the domain.
        measure: Where it is integrated.
    """
    return sqrt(1 + inner(grad(u), grad(u))) * measure


def area(mesh: Any, *, metadata: Mapping[str, Any] | None = None) -> ufl.Form:
    r"""Area of a surface, or length of a curve, given by its mesh.

    $$ E(\Gamma) = \int_\Gamma 1. $$

    Args:
        mesh: The mesh.
        metadata: Quadrature; flat cells need none.
    """
    return ufl.classes.IntValue(1) * dx(mesh, metadata=dict(metadata or {}))


def entropy(rho: Any, *, maximum: Any = None, measure: ufl.Measure = dx) -> ufl.Form:
    r"""Entropy of a density, or that of particles that exclude each other.

    $$ E(\rho) = \int \rho \log \rho, \qquad
       E(\rho) = \int \rho \log \frac{\rho}{b} + (b - \rho) \log \frac{b - \rho}{b}. $$

    Args:
        rho: A density, non-negative.
        maximum: Bound $b$ of the density, if it has one: a positive number.
        measure: Where it is integrated.
    """
    if maximum is None:
        return rho * ln(rho) * measure
    return (rho * ln(rho) + (maximum - rho) * ln(maximum - rho) - maximum * ln(maximum)) * measure


def internal(rho: Any, m: float, *, measure: ufl.Measure = dx) -> ufl.Form:
    r"""Internal energy of a gas with the pressure $\rho^m$.

    $$ E(\rho) = \int \frac{\rho^m}{m - 1} $$

    Args:
        rho: A density, non-negative.
        m: Exponent, positive and not 1: slow diffusion above 1, fast diffusion below.
        measure: Where it is integrated.

    Raises:
        ValueError: for another exponent.
    """
    if m <= 0 or m == 1:
        raise ValueError(f"m = {m}: the exponent is positive and not 1 (for 1 take the entropy).")
    if m < 1:
        return rho**m / (m - 1) * measure
    # Even, so convex: what Newton's method meets below zero pushes it back.
    power = rho**m if m % 2 == 0 else abs(rho) ** m
    return power / (m - 1) * measure


def potential(rho: Any, V: Any, *, measure: ufl.Measure = dx) -> ufl.Form:
    r"""Potential energy of a density.

    $$ E(\rho) = \int V \rho $$

    Args:
        rho: A density.
        V: The potential, a UFL expression of the point.
        measure: Where it is integrated.
    """
    return V * rho * measure


def interaction(
    rho: Any, phi: Any, *, strength: Any = 1.0, length: Any = 1.0, measure: ufl.Measure = dx
) -> ufl.Form:
    r"""Energy of attraction by a screened Poisson kernel, with the field that carries it.

    $$ E(\rho) = -\frac{k}{2} \int \rho\, \varphi, \qquad
       -\ell^2 \Delta\varphi + \varphi = \rho, $$

    written as $k \int \tfrac12 (\ell^2 |\nabla\varphi|^2 + \varphi^2) - \rho \varphi$, which is
    stationary in $\varphi$: give the flow ``auxiliary=[phi]``.

    Args:
        rho: A density.
        phi: The field, a function of the same space.
        strength: Strength $k$: attraction if positive.
        length: Range $\ell$ of the kernel.
        measure: Where it is integrated.
    """
    field = 0.5 * (length**2 * inner(grad(phi), grad(phi)) + phi**2)
    return strength * (field - rho * phi) * measure


def liouville(u: Any, curvature: Any, *, measure: ufl.Measure = dx) -> ufl.Form:
    r"""Liouville energy of the conformal metric $e^{2u} g$ {cite}`osgood1988`.

    $$ E(u) = \int \tfrac12 |\nabla u|^2 + K u. $$

    Among metrics of one area its stationary points have constant curvature. The second term is
    taken by the vertex rule: the nodes of a triangulated surface are where its curvature is.

    Args:
        u: Logarithm of the conformal factor, P1.
        curvature: Gauss curvature $K$ of the metric $g$.
        measure: Where it is integrated.
    """
    nodes = measure(metadata={"quadrature_rule": "vertex", "quadrature_degree": 1})
    return 0.5 * inner(grad(u), grad(u)) * measure + curvature * u * nodes
