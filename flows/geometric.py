"""The named flows of surfaces and maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flows.bending import WillmoreFlow
from flows.conformal import RicciFlow
from flows.curvature import NormalL2, SurfaceFlow
from flows.diffusion import SurfaceDiffusionFlow
from flows.harmonic import MapFlow
from flows.maps import Target
from flows.smooth import SmoothFlow

from dolfinx import fem
from dolfinx import mesh as dmesh

__all__ = ["harmonic_map", "mean_curvature", "ricci", "surface_diffusion", "willmore"]


def harmonic_map(
    domain: Any, target: Target, *, energy: Callable[[Any], Any] | None = None, **options: Any
) -> MapFlow:
    r"""Harmonic map heat flow: the Dirichlet energy of maps into a hypersurface $N$.

    $$ E(u) = \tfrac12 \int |\nabla u|^2, \quad u(x) \in N, \qquad
       \dot u = \Delta u + |\nabla u|^2 u \;\text{for}\; N = S^k $$

    The flow of {cite}`eells1964`. From surfaces into spheres it may blow up in finite time
    {cite}`chang1992`: a bubble leaves with its energy, which is an event of the run, and the rest
    goes on. The map is constant until its values are set; they are taken to the target.

    Args:
        domain: Mesh of simplices (an interval, a body, a closed surface), or its P1 vector space.
        target: ``flows.maps.Sphere(2)``, ``Torus(R, r)``, ``LevelSet(d)``, ...
        energy: Another energy, called with the map: a UFL form of degree 2 in it, such as
            ``lambda u: inner(A*grad(u), grad(u))*dx``.
        options: Passed on to :class:`flows.harmonic.MapFlow`: ``scheme``, ``bcs``,
            ``petsc_options``, ``name``.
    """
    if not isinstance(target, Target):
        raise ValueError(f"target = {target!r}: give flows.maps.Sphere(2), Torus(R, r), ...")
    if isinstance(domain, dmesh.Mesh):
        domain = fem.functionspace(domain, ("Lagrange", 1, (target.dim,)))
    if not isinstance(domain, fem.FunctionSpace):
        raise ValueError(f"Give a DOLFINx mesh or function space, not {type(domain).__name__}.")
    u = fem.Function(domain, name="u")
    u.x.array[:] = 1.0
    form = None if energy is None else energy(u)
    return MapFlow(u, target, energy=form, **{"name": "harmonic_map"} | options)


def mean_curvature(mesh: Any, **options: Any) -> SurfaceFlow | SmoothFlow:
    r"""Mean curvature flow: the area of a surface in the $L^2$ metric of normal velocities.

    $$ V = -H, \qquad V = \bar H - H \;\text{with}\; \texttt{constraints=[flows.Volume()]} $$

    A sphere shrinks by $R^2 = R_0^2 - 4t$, a closed plane curve loses area at the rate $2\pi$;
    convex bodies become round and vanish {cite}`huisken1984`. On flat cells a step is a minimizing
    movement that goes through to the singularity; on curved cells the flow is of second order in
    time, and meant for surfaces that stay smooth (:class:`flows.smooth.SmoothFlow`).

    Args:
        mesh: A surface of triangles in space, or a polygon in the plane; closed, unless ``edges``
            are given. It moves in place. With ``order=2`` its cells are curved.
        options: Passed on to :class:`flows.curvature.SurfaceFlow`: ``edges``, ``tangential``,
            ``constraints``, ``remesh``, ``petsc_options``, ``name``.
    """
    options = {"name": "mean_curvature"} | options
    if mesh.geometry.cmaps[0].degree == 1:
        return SurfaceFlow(mesh, NormalL2, **options)
    if flat := {*options} - {"name", "petsc_options"}:
        raise ValueError(f"{', '.join(sorted(flat))}: only for flat cells, a mesh of degree 1.")
    return SmoothFlow(mesh, **options)


def ricci(mesh: Any, **options: Any) -> RicciFlow:
    r"""Ricci flow of a surface: the metric $e^{2u} g_0$ flows to one of constant curvature.

    $$ \dot u = \bar K - K, \qquad K = e^{-2u} (K_0 - \Delta u), \qquad
       \bar K = \frac{2\pi\chi}{A} $$

    It is the flow of the Liouville energy in the $L^2$ metric of $e^{2u} g_0$, its area $A$ kept.
    The limit exists whatever the genus {cite}`hamilton1988,chow1991`, and so every surface has a
    metric of constant curvature. Near it a mode of the Laplacian with the eigenvalue $\lambda$
    decays at the rate $\lambda - 2 \bar K$: on the unit sphere $l(l+1) - 2$. Times scale with the
    area.

    The surface itself stays as it is, only lengths on it change: plot ``flow.curvature`` or ``u``.
    ``flows.Relax(1.0, growth=4)`` finds the limit in a few steps.

    Args:
        mesh: A closed, connected surface of flat triangles, of any genus.
        options: Passed on to :class:`flows.conformal.RicciFlow`: ``petsc_options``, ``name``.
    """
    return RicciFlow(mesh, **{"name": "ricci"} | options)


def surface_diffusion(mesh: Any, **options: Any) -> SurfaceDiffusionFlow:
    r"""Surface diffusion: the area of a surface in the $H^{-1}$ metric of normal velocities.

    $$ V = \Delta_\Gamma H $$

    The equation of {cite}`mullins1957`: the area falls, the enclosed volume stays, exactly. Modes
    of degree $l$ on the unit sphere decay at the rate $(l-1) l (l+1) (l+2)$. Times scale with the
    fourth power of lengths.

    Args:
        mesh: A closed surface of flat triangles, or a closed polygon; it moves in place.
        options: Passed on to :class:`flows.diffusion.SurfaceDiffusionFlow`.
    """
    return SurfaceDiffusionFlow(mesh, **{"name": "surface_diffusion"} | options)


def willmore(mesh: Any, **options: Any) -> WillmoreFlow:
    r"""Willmore and Helfrich flow: bending energy in the $L^2$ metric of normal velocities.

    $$ E = \tfrac12 \int_\Gamma (H - C_0)^2 $$

    Spheres have $8\pi$ and the Clifford torus $4\pi^2$, both at $C_0 = 0$. The spontaneous
    curvature $C_0$ is positive if the membrane bulges outward: with 1 a sphere obeys
    $\dot R = (2 - R)/R^2$.
    (In terms of $\kappa = -H$ the energy is $\frac12 \int (\kappa - c_0)^2$ with $c_0 = -C_0$.)

    Args:
        mesh: A closed surface of curved triangles, ``order=2``; it moves in place.
        options: Passed on to :class:`flows.bending.WillmoreFlow`: ``spontaneous_curvature``;
            ``area`` and ``volume`` to keep (``True``), or to set (a number, a function of time).
    """
    return WillmoreFlow(mesh, **{"name": "willmore"} | options)
