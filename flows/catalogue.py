"""The named flows of fields and densities: each is an energy line and a metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flows import energy
from flows.attraction import QuadraticAttraction
from flows.forms import lumpable
from flows.grains import GrainGrowth
from flows.metric import L2, HMinus1, Wasserstein
from flows.mobility import Upwind, edge_weights
from flows.movement import GradientFlow
from flows.reactions import Reaction, kinetics
from flows.reactions import free_energy as reactions_energy
from flows.scharfetter_gummel import LinearFokkerPlanck, free_energy
from flows.scheme import ImplicitEuler

import ufl
from dolfinx import fem, mesh

__all__ = [
    "aggregation",
    "allen_cahn",
    "cahn_hilliard",
    "fokker_planck",
    "grain_growth",
    "graph_area",
    "heat",
    "heat_entropy",
    "porous_medium",
    "reaction_diffusion",
    "thin_film",
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
    time of the equation, up to $O(\varepsilon^2)$: a circle obeys $R^2 = R_0^2 - 2t$. The domain
    may be a closed surface, and ``constraints=[flows.MeanValue()]`` keeps the volume.

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

    The equation of {cite}`cahn1958`: the mean of $u$ is conserved, exactly. The domain may be a
    closed surface. Take ``scheme=flows.AVF()`` and :class:`flows.Adaptive` steps for long runs.

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

    The walls reflect; densities end in the Gibbs state $e^{-\beta V}$ {cite}`risken1989`. On
    Delaunay meshes the steps are linear, with one factorisation for all of one size, see
    :class:`flows.scharfetter_gummel.LinearFokkerPlanck`; elsewhere, and with options that need it,
    they are those of the flow in general.

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
        if isinstance(potential, (int, float)):
            V.x.array[:] = potential
        else:
            points = V.function_space.element.interpolation_points
            V.interpolate(fem.Expression(potential, points))
        if LinearFokkerPlanck.suits(V, beta):
            return LinearFokkerPlanck(rho, V, beta, **options)
    return GradientFlow(free_energy(rho, potential, beta), rho, Wasserstein(), **options)


def heat_entropy(domain: Any, **options: Any) -> GradientFlow:
    r"""Heat equation: the entropy in the Wasserstein metric {cite}`jordan1998`.

    $$ \dot\rho = \Delta\rho, \qquad E = \int \rho \log \rho $$

    Args:
        domain: Mesh or scalar P1 space.
        options: Passed on to :class:`flows.GradientFlow`.
    """
    return fokker_planck(domain, **{"name": "heat_entropy"} | options)


def porous_medium(domain: Any, m: float, potential: Any = None, **options: Any) -> GradientFlow:
    r"""Porous medium equation: the internal energy in the Wasserstein metric {cite}`otto2001`.

    $$ \dot\rho = \Delta \rho^m + \nabla\cdot(\rho \nabla V), \qquad
       E = \int \frac{\rho^m}{m - 1} + V \rho $$

    Above $m = 1$ an empty region stays empty until the front comes {cite}`vazquez2007`; below it
    diffusion is fast. A potential may pull at an empty region: then mobilities are upwind, of first
    order, where the mesh is Delaunay. Elsewhere steps may fail and are cut; an entropy of small
    weight in the energy helps.

    Args:
        domain: Mesh or scalar P1 space.
        m: Exponent, positive and not 1.
        potential: UFL expression of the point; none by default.
        options: Passed on to :class:`flows.GradientFlow`.

    Raises:
        ValueError: for another exponent.
    """
    rho = _state(domain, "rho")
    E, metric = energy.internal(rho, m), Wasserstein()
    if potential is not None:
        E += energy.potential(rho, potential)
        if m > 1 and lumpable(rho) and edge_weights(rho.function_space).negative == 0:
            metric = Wasserstein(Upwind())
    return GradientFlow(E, rho, metric, **{"name": "porous_medium"} | options)


def aggregation(
    domain: Any,
    *,
    strength: Any,
    length: Any = None,
    potential: Any = 0.0,
    beta: float = 1.0,
    **options: Any,
) -> GradientFlow:
    r"""Diffusing particles that attract each other: a McKean-Vlasov equation {cite}`mckean1966`.

    $$ \dot\rho = \nabla\cdot\big(\beta^{-1} \nabla\rho + \rho \nabla (V - k \varphi)\big),
       \qquad -\ell^2 \Delta\varphi + \varphi = \rho $$

    The energy is :func:`flows.energy.interaction` with the free energy. Where the attraction wins
    the energy is not convex, and a step has a certificate only below the time of the collapse: take
    :class:`flows.Adaptive` steps. Without a length the particles are joined by springs,
    $-\varphi = \tfrac12 |\cdot|^2 * \rho$ (:mod:`flows.attraction`).

    Args:
        domain: Mesh or scalar P1 space.
        strength: Strength $k$ of the attraction, a number or a constant.
        length: Range $\ell$ of the kernel.
        potential: UFL expression of the point.
        beta: Inverse temperature, positive.
        options: Passed on to :class:`flows.GradientFlow`.
    """
    rho = _state(domain, "rho")
    options = {"name": "aggregation"} | options
    if length is None:
        return QuadraticAttraction(rho, potential, beta, strength, **options)
    phi = fem.Function(rho.function_space.clone(), name="phi")
    E = free_energy(rho, potential, beta)
    E += energy.interaction(rho, phi, strength=strength, length=length)
    return GradientFlow(E, rho, Wasserstein(), auxiliary=[phi], **options)


def thin_film(domain: Any, n: float = 3.0, **options: Any) -> GradientFlow:
    r"""Thin film equation: the Dirichlet energy, moved with the mobility of a viscous film.

    $$ \dot h = -\nabla\cdot(h^n \nabla \Delta h), \qquad E = \tfrac12 \int |\nabla h|^2 $$

    The equation of {cite}`bernis1990`. Volume is exact; positivity is that of the equation, not of
    the scheme.

    Args:
        domain: Mesh (P1) or function space.
        n: Exponent of the mobility: 3 without slip at the wall.
        options: Passed on to :class:`flows.GradientFlow`.
    """
    h = _state(domain, "h")
    mobility = ufl.max_value(h, 0.0) ** n
    return GradientFlow(
        energy.dirichlet(h), h, HMinus1(mobility), **{"name": "thin_film"} | options
    )


def reaction_diffusion(
    domain: Any,
    reactions: Sequence[Reaction],
    *,
    diffusivity: Mapping[str, Any],
    equilibrium: Mapping[str, Any] | None = None,
    **options: Any,
) -> GradientFlow:
    r"""Reacting and diffusing species with detailed balance {cite}`mielke2011`.

    $$ \dot c_i = \nabla\cdot(D_i \nabla c_i) + \sum_r (\beta_{ri} - \alpha_{ri})\, k_r
       \Big(\prod_j (c_j/c_j^*)^{\alpha_{rj}} - \prod_j (c_j/c_j^*)^{\beta_{rj}}\Big) $$

    What the reactions conserve is conserved, and concentrations stay positive. The state is the
    tuple of concentrations, in the order and with the names of ``diffusivity``; see
    :mod:`flows.reactions`.

    Args:
        domain: Mesh or scalar P1 space.
        reactions: The reactions, :class:`flows.reactions.Reaction`.
        diffusivity: Diffusivity $D_i$ of each species.
        equilibrium: Concentration $c_i^*$ of each species in detailed balance; 1 by default.
        options: Passed on to :class:`flows.GradientFlow`.

    Raises:
        ValueError: if a reaction names a species without diffusivity.
    """
    unknown = {s for r in reactions for s in (*r.educts, *r.products)} - {*diffusivity}
    if unknown:
        raise ValueError(f"No diffusivity is given for the species {sorted(unknown)}.")
    first = _state(domain, "c")
    c = tuple(fem.Function(first.function_space.clone(), name=name) for name in diffusivity)
    star = [(equilibrium or {}).get(name, 1.0) for name in diffusivity]
    metric = kinetics(c, reactions, list(diffusivity.values()), star)
    options = {"name": "reaction_diffusion"} | options
    scheme = options.pop("scheme", ImplicitEuler())
    return GradientFlow(reactions_energy(c, star), c, metric, scheme=scheme, **options)


def grain_growth(domain: Any, n: int, *, eps: float, **options: Any) -> GrainGrowth:
    r"""Growth of grains, the many-phase Allen-Cahn equation of {cite}`fan1997`.

    $$ \varepsilon\, \dot u_i = \varepsilon \Delta u_i - \varepsilon^{-1} \Big( u_i^3 - u_i
       + 3 u_i \sum_{j \ne i} u_j^2 \Big), \qquad i = 1, \dots, n $$

    Boundaries move by their mean curvature, $V = -H$, and meet at 120 degrees: a grain with $k$
    neighbours in the plane obeys $\dot A = \frac{\pi}{3} (k - 6)$ {cite}`mullins1956`, up to
    $O(\varepsilon / R)$ for grains of the size $R$: so much the junctions cost. Each grain has its
    own order parameter; :func:`flows.voronoi` makes them. Steps shorter than $\varepsilon^2$ are
    convex problems, and :class:`flows.Adaptive` stays below.

    Args:
        domain: Mesh, possibly periodic.
        n: Number of grains at the beginning, 2 at least.
        eps: Width of the boundaries; three cells at least.
        options: Passed on to :class:`flows.GradientFlow`.

    Raises:
        ValueError: on every rank, for another number of grains, or a width that is not positive.
    """
    if not isinstance(domain, mesh.Mesh):
        raise ValueError(f"Give a DOLFINx mesh, not {type(domain).__name__}.")
    if not (n >= 2 and eps > 0):
        raise ValueError(f"n = {n}, eps = {eps}: give two grains at least, and a positive width.")
    u = fem.Function(fem.functionspace(domain, ("Lagrange", 1, (n,))), name="u")
    return GrainGrowth(u, eps, **{"name": "grain_growth"} | options)


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
