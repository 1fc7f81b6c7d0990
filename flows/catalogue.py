"""The named flows: each is an energy line and a metric."""

from __future__ import annotations

from typing import Any

from flows import energy
from flows.fokker_planck import LinearFokkerPlanck, free_energy
from flows.forms import lumpable
from flows.metric import L2, HMinus1, Wasserstein
from flows.movement import GradientFlow
from flows.surface import NormalL2, SurfaceFlow

import ufl
from dolfinx import fem, mesh

__all__ = [
    "allen_cahn",
    "cahn_hilliard",
    "fokker_planck",
    "graph_area",
    "heat",
    "mean_curvature",
]


def _state(domain: Any, name: str = "u") -> fem.Function:
    if isinstance(domain, mesh.Mesh):
        domain = fem.functionspace(domain, ("Lagrange", 1))
    if not isinstance(domain, fem.FunctionSpace):
        raise ValueError(f"Give a DOLFINx mesh or function space, not {type(domain).__name__}.")
    return fem.Function(domain, name=name)


def heat(domain: Any, *, conductivity: Any = 1.0, **options: Any) -> GradientFlow:
    r"""Heat equation: the Dirichlet energy in the flat metric.

    $$ \dot u = \nabla\cdot(k \nabla u) $$

    Args:
        domain: Mesh (P1) or function space.
        conductivity: Positive number or UFL expression $k$; lengths squared over times.
        options: Passed on to :class:`flows.GradientFlow`.
    """
    u = _state(domain)
    return GradientFlow(energy.dirichlet(u, conductivity), u, L2(), **{"name": "heat"} | options)


def allen_cahn(domain: Any, *, eps: float, **options: Any) -> GradientFlow:
    r"""Allen-Cahn equation: the Ginzburg-Landau energy in the metric ``L2(weight=eps)``.

    $$ \varepsilon\, \dot u = \varepsilon \Delta u - \varepsilon^{-1} (u^3 - u) $$

    The equation of {cite}`allen1979`. Interfaces move by their mean curvature, $V = -H$, in the
    time of the equation, up to $O(\varepsilon^2)$: a circle obeys $R^2 = R_0^2 - 2t$.

    Args:
        domain: Mesh (P1) or function space; cells of size ``eps / 4`` (P1) or ``eps`` (P2).
        eps: Width of the interface.
        options: Passed on to :class:`flows.GradientFlow`.
    """
    u = _state(domain)
    return GradientFlow(
        energy.ginzburg_landau(u, eps), u, L2(eps), **{"name": "allen_cahn"} | options
    )


def cahn_hilliard(domain: Any, *, eps: float, mobility: Any = 1.0, **options: Any) -> GradientFlow:
    r"""Cahn-Hilliard equation: the Ginzburg-Landau energy in the $H^{-1}$ metric.

    $$ \dot u = \nabla\cdot(m \nabla \mu), \qquad
       \mu = -\varepsilon \Delta u + \varepsilon^{-1} (u^3 - u) $$

    The equation of {cite}`cahn1958`: the mean of $u$ is conserved, exactly.

    Args:
        domain: Mesh (P1) or function space.
        eps: Width of the interface.
        mobility: Non-negative number or UFL expression $m$.
        options: Passed on to :class:`flows.GradientFlow`.
    """
    u = _state(domain)
    E = energy.ginzburg_landau(u, eps)
    return GradientFlow(E, u, HMinus1(mobility), **{"name": "cahn_hilliard"} | options)


def fokker_planck(
    domain: Any, potential: Any = 0.0, *, beta: float = 1.0, **options: Any
) -> GradientFlow:
    r"""Fokker-Planck equation: the free energy in the Wasserstein metric.

    $$ \dot\rho = \nabla\cdot\big(\beta^{-1} \nabla\rho + \rho \nabla V\big), \qquad
       E = \int V \rho + \beta^{-1} \rho \log \rho $$

    The walls reflect; densities end in the Gibbs state $e^{-\beta V}$ {cite}`risken1989`. On Delaunay
    meshes the steps are linear, with one factorisation for all of one size
    (:class:`flows.fokker_planck.LinearFokkerPlanck`); elsewhere, and with options that need it, they
    are those of the flow in general.

    Args:
        domain: Mesh or scalar P1 space.
        potential: UFL expression of the point, or a number.
        beta: Inverse temperature, positive.
        options: Passed on to :class:`flows.GradientFlow`.

    Raises:
        ValueError: on every rank, for a temperature that is not positive.
    """
    if not beta > 0:
        raise ValueError(f"beta = {beta}: the inverse temperature is positive.")
    rho = _state(domain, "rho")
    options = {"name": "fokker_planck"} | options
    if lumpable(rho) and not {*options} - {"name", "petsc_options"}:
        V = fem.Function(rho.function_space, name="V")
        V.interpolate(
            fem.Expression(ufl.as_ufl(potential), V.function_space.element.interpolation_points)
        )
        if LinearFokkerPlanck.suits(V, beta):
            return LinearFokkerPlanck(rho, V, beta, **options)
    return GradientFlow(free_energy(rho, potential, beta), rho, Wasserstein(), **options)


def graph_area(domain: Any, *, flat: bool = False, **options: Any) -> GradientFlow:
    r"""Flow of the area of a graph, in one of two metrics.

    $$ \frac{\dot u}{Q} = \nabla\cdot\frac{\nabla u}{Q} \quad\text{(mean curvature flow)}, \qquad
       \dot u = \nabla\cdot\frac{\nabla u}{Q} \quad\text{(flat)}, \qquad
       Q = \sqrt{1 + |\nabla u|^2}. $$

    The $L^2$ metric of normal velocities on the graph has the weight $1/Q$; only in it does the
    surface move by its mean curvature. Both flows end in the same minimal surface.

    Args:
        domain: Mesh (P1) or function space.
        flat: Take the flat metric instead of the geometric one.
        options: Passed on to :class:`flows.GradientFlow`; give ``bcs`` for a fixed frame.
    """
    u = _state(domain)
    metric = L2() if flat else L2(1 / ufl.sqrt(1 + ufl.inner(ufl.grad(u), ufl.grad(u))))
    return GradientFlow(energy.graph_area(u), u, metric, **{"name": "graph_area"} | options)


def mean_curvature(mesh: Any, **options: Any) -> SurfaceFlow:
    r"""Mean curvature flow: the area of a surface in the $L^2$ metric of normal velocities.

    $$ V = -H $$

    A sphere shrinks by $R^2 = R_0^2 - 4t$, a closed plane curve loses area at the rate $2\pi$;
    convex bodies become round and vanish {cite}`huisken1984`.

    Args:
        mesh: A closed surface of triangles in space, or a closed polygon of intervals in the
            plane; it moves in place.
        options: Passed on to :class:`flows.surface.SurfaceFlow`.
    """
    return SurfaceFlow(mesh, NormalL2, **{"name": "mean_curvature"} | options)
