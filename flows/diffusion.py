r"""Surface diffusion: the area of a surface in the $H^{-1}$ metric of its normal velocities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, override

from flows.boundary import Edge
from flows.constraint import Volume
from flows.curvature import SurfaceFlow
from flows.flow import StepReport
from flows.forms import assembled, compiled
from flows.functional import Block, StepFunctional
from flows.metric import Metric
from flows.scheme import Stencil
from flows.solver import SolveFailed, Solver
from flows.surface import LUMPED, Surface
from flows.surface_saddle import SurfaceSaddle
from flows.watched import Remesh

import numpy as np
import ufl
from dolfinx import fem
from ufl import dx, grad, inner

__all__ = ["NormalHMinus1", "SurfaceDiffusionFlow"]


@dataclass(frozen=True, eq=False)
class NormalHMinus1(Metric):
    r"""The $H^{-1}$ metric of normal velocities on a surface of flat cells.

    $$ \psi^*(\xi) = \tfrac12 \int_\Gamma |\nabla_\Gamma \xi|^2, \qquad
       \langle \xi, V \rangle = \sum_i m_i\, \xi_i\, V_i \cdot w_i $$

    Material moves along the surface, none is made; tangential motion of the nodes is free. With the
    Dirichlet energy of the immersion it gives the scheme of {cite}`barrett2008`, whose nodes slide
    so that the mesh stays good, and whose potential is the mean curvature.

    Args:
        surface: The surface; its normals are those of the old surface in a step.
    """

    surface: Surface

    @override
    def psi_star(self, force: Any, state: Any) -> ufl.Form:
        return 0.5 * inner(grad(force), grad(force)) * dx

    @override
    def pairing(self, force: Any, rate: Any) -> ufl.Form:
        return inner(force, inner(rate, self.surface.normal)) * LUMPED


class _NormalStep(StepFunctional):
    """The step of an immersion whose potential, the mean curvature, is a scalar."""

    def _make_blocks(self, metric: Any) -> list[Block]:
        H = metric.surface.curvature
        return [Block(metric, self.states, (H,), (fem.Function(H.function_space),), 0)]

    def _metric_terms(self, block: Block, held: dict[Any, Any]) -> tuple[ufl.Form, ...]:
        (X,), (old,), (H,), (rate,) = block.states, self.old, block.potentials, block.rates
        pairing, psi_star = block.metric.pairing(H, X - old), block.metric.psi_star
        movement = self.tau * psi_star(rate, X)
        return -1 * pairing - self.tau * psi_star(H, X), movement, 2 * movement


class SurfaceDiffusionFlow(SurfaceFlow):
    r"""Surface diffusion of a closed surface or curve, by minimizing movements.

    $$ X_{k+1} = \operatorname*{argmin}_{X,\, s}\; \tfrac12 \int_{\Gamma_k} |\nabla X|^2
       + \frac{1}{2\tau} \big\| (X - \mathrm{id}) \cdot w - s\, |w|^2 \big\|_{H^{-1}}^2
       \quad\text{with}\quad V(X) = V_0 $$

    The step of {cite}`barrett2008` keeps the enclosed volume to first order in the displacement,
    and is the first iterate for this problem. What it misses, second order in the displacement, is
    made up by a displacement $s w$ of all nodes, which the metric does not see. So the volume is
    exact, and the certificate $A_{k+1} + d^2/(2\tau) \le A_k$ is that of a minimizing movement.
    Unlike the implicit normals of {cite}`bao2021`, it costs one linear system.

    Args:
        mesh: A surface of flat triangles, or a polygon; closed, unless ``edges`` are given.
        edges: Where the boundary may go, ``FixedEdge`` and ``PlaneEdge``; no material crosses it.
        remesh: When to mesh the surface anew; never by default.
        petsc_options: Options of the solver, without prefix.
        name: Name of the flow, and prefix of its PETSc options.

    Raises:
        ValueError: on every rank, for a mesh that is open, curved or not of simplices.
    """

    def __init__(
        self,
        mesh: Any,
        *,
        edges: Edge | Sequence[Edge] = (),
        remesh: Remesh | None = None,
        petsc_options: Mapping[str, Any] | None = None,
        name: str = "surface_diffusion",
    ) -> None:
        super().__init__(
            mesh,
            NormalHMinus1,
            edges=edges,
            remesh=remesh,
            petsc_options=petsc_options,
            name=name,
        )
        self._cones = self._make_cones()
        self._parts = fem.create_vector(self.surface.sign.function_space)
        self._volume = self._enclosed()
        self._lift = np.zeros_like(self.states[0].x.array)

    @override
    def _make_step(self, metric: Any, source: Any) -> StepFunctional:
        return _NormalStep(self.functional, self.states, (), metric, self.scheme, source)

    @override
    def _make_solver(self, coordinates: Any, densities: bool, options: Any) -> Solver:
        prefix, options, step = f"{self.name}_", options or {}, self._step
        if not self.bcs and SurfaceSaddle.suits(self.surface, prefix, options):
            return SurfaceSaddle(self.surface, step, prefix=prefix, options=options)
        return Solver(
            step.residual,
            step.fields,
            self.bcs,
            prefix=prefix,
            options=options,
            symmetric=True,
            moving=True,
        )

    def _make_cones(self) -> fem.Form:
        """The volume below each cell of the new surface, over the old mesh."""
        q = ufl.TestFunction(self.surface.sign.function_space)
        integrals = Volume(self.surface).functional(self.states).integrals()
        return compiled(ufl.Form([i.reconstruct(integrand=i.integrand() * q) for i in integrals]))

    def _enclosed(self) -> float:
        """The volume that the state encloses; summed in pairs, exact where plain sums are not."""
        space = self.surface.sign.function_space
        parts = assembled(self._cones, space, self._parts)
        owned = parts[: space.dofmap.index_map.size_local]
        sums = np.array([owned.sum(), np.abs(owned).sum()])
        volume, size = self.mesh.comm.allreduce(sums)
        self._rounding = 1e-15 * float(size)
        return float(volume)

    @override
    def memory(self) -> dict[str, Any]:
        return super().memory() | {"volume": self._volume}

    @override
    def restore(self, snapshot: Mapping[str, Any]) -> None:
        super().restore(snapshot)
        self._volume = float(snapshot["volume"])
        # The curvature is the first iterate of the next step: not that of the mesh anew.
        self.surface.curvature.x.array[:] = snapshot["potential_0"]

    @override
    def _solve(self, t: float, tau: float, before: float, stencil: Stencil) -> StepReport:
        present = self._enclosed()
        if abs(present - self._volume) > 1e-9 * abs(present):
            self._volume = present  # the user has put the surface elsewhere
        return super()._solve(t, tau, before, stencil)

    @override
    def _complete(self) -> None:
        """Add the displacement along the normals that the volume asks for."""
        X, gap = self.states[0].x.array, self._enclosed() - self._volume
        lift, slope = self._normal_lift()
        while abs(gap) > self._rounding:
            step = gap / slope
            X -= step * lift
            last, gap = gap, self._enclosed() - self._volume
            if abs(gap) > 0.5 * abs(last):
                break
            slope = (last - gap) / step
        if abs(gap) > 100 * self._rounding:
            raise SolveFailed("no displacement along the normals gives the surface its volume")

    def _normal_lift(self) -> tuple[np.ndarray, float]:
        r"""The displacement $w$ of the free nodes, and the slope $\int |w|^2$ of the volume."""
        surface, dim = self.surface, self.mesh.geometry.dim
        self._lift[:] = surface.normal.x.array
        for bc in self.bcs:
            self._lift[bc.dof_indices()[0]] = 0.0
        weights = surface.mass.x.array * (self._lift.reshape(-1, dim) ** 2).sum(axis=1)
        return self._lift, float(self.mesh.comm.allreduce(weights[: surface.owned].sum()))
