r"""Flows of maps: harmonic map heat flow and its relatives, by steps in the tangent plane.

A step looks for a rate that is tangent to the target at the nodes, which is a linear problem
{cite}`alouges1997,bartels2005`, and then takes each nodal value to its closest point of the target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, override

from flows.bubbles import Bubbles
from flows.energy import dirichlet
from flows.flow import Event, Flow, StepReport
from flows.forms import compiled, fix_quadrature, integrate, lumpable, polynomial_degree
from flows.functional import as_functional
from flows.maps import Floats, Target
from flows.scheme import BDF2, MinimizingMovement, Scheme, Stencil
from flows.solver import SolveFailed
from flows.tangent import TangentSolver

import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI

__all__ = ["MapFlow"]

ROUNDING = 1e-12
"""Relative size of the rise in energy that is taken for rounding."""


class MapFlow(Flow):
    r"""The flow of a map into a hypersurface $N$, for an energy that is quadratic in the map.

    $$ \dot u = -P(u)\, DE(u), \qquad u(x) \in N, \qquad P = I - n \otimes n $$

    With lumped masses a step finds the rate $v$, tangent to $N$ at the nodes, from

    $$ (v, w)_h + \sigma\, D^2E(v, w) = -DE(b)(w) \quad\text{for all}\; w \perp n(\tilde u), $$

    and takes each nodal value to the closest point of the target, $u_{k+1} = \pi_N(b + \sigma v)$:
    maps lie in $N$ to rounding.

    * ``MinimizingMovement()``: $b = \tilde u = u_k$, $\sigma = \tau$. Before the projection
      $E(u_k + \tau v) + \tau |v|_h^2 + \tau^2 D^2E(v, v)/2 = E(u_k)$, exactly, and for spheres and
      the Dirichlet energy the projection lowers it further where no dihedral angle of the mesh is
      obtuse {cite}`bartels2005`. Certificate:
      $E(u_{k+1}) + |u_{k+1} - u_k|_h^2/(2\tau) \le E(u_k)$.
    * ``BDF2()``: backward differences with variable steps, the tangent plane at the extrapolated
      map {cite}`akrivis2024`; of order 2 in time, under :class:`flows.Adaptive` too. Certificate:
      the energy falls. A step that would raise it is taken as a minimizing movement, and cut if
      that raises it, too.

    Args:
        state: The map: P1 on simplices, a vector of ``target.dim`` components. Values that are put
            into it are taken to the target before the next step.
        target: Where it has its values, see :mod:`flows.maps`.
        energy: Energy, a polynomial of degree 2 in the map; by default the Dirichlet energy.
        scheme: ``flows.BDF2()``, the default, or ``flows.MinimizingMovement()``.
        bcs: Dirichlet conditions for whole values, which lie in the target.
        petsc_options: Options of the linear solver, without prefix.
        name: Name of the flow, and prefix of its PETSc options.

    Raises:
        ValueError: on every rank, for a state, energy or condition that does not fit the target.
    """

    def __init__(
        self,
        state: fem.Function,
        target: Target,
        *,
        energy: ufl.Form | None = None,
        scheme: Scheme | None = None,
        bcs: Sequence[fem.DirichletBC] = (),
        petsc_options: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(state, name=name or "map", bcs=bcs)
        self.scheme = BDF2() if scheme is None else scheme
        self._check(state, target)
        self.order = self.scheme.order
        V = state.function_space
        self.target = target.at(V)
        self.functional = _quadratic(dirichlet(state) if energy is None else energy, state)
        self._energy = compiled(self.functional)
        self.solver = TangentSolver(
            self.functional, state, self.bcs, prefix=f"{self.name}_", options=petsc_options
        )
        self._check_conditions()
        self._u, self._past = state, fem.Function(V)
        self._past_tau = 0.0
        self._known = self._held = self._normals = np.zeros(0)
        self._bubbles = Bubbles(V, target.quantum if energy is None else np.nan)

    def _check(self, u: fem.Function, target: Target) -> None:
        if not isinstance(target, Target):
            raise ValueError(
                f"target = {target!r}: give flows.maps.Sphere(2), Torus(R, r), LevelSet(d), ..."
            )
        if not isinstance(self.scheme, (BDF2, MinimizingMovement)):
            raise ValueError("Maps go by flows.BDF2() or flows.MinimizingMovement().")
        if not lumpable(u) or tuple(u.function_space.value_shape) != (target.dim,):
            raise ValueError(
                f"Maps into this target are P1 functions on simplices with {target.dim} "
                f'components: functionspace(mesh, ("Lagrange", 1, ({target.dim},))).'
            )

    def _check_conditions(self) -> None:
        fixed, bs = self.solver.fixed, self._dim
        whole = np.unique(fixed // bs).size * bs == fixed.size
        if not self.mesh.comm.allreduce(whole, MPI.LAND):
            raise ValueError(
                "Dirichlet conditions of a map fix all components of a value, or none."
            )

    # -- what the flow knows -------------------------------------------------------------------
    @property
    def _dim(self) -> int:
        return int(self.states[0].function_space.dofmap.bs)

    @override
    def energy(self) -> float:
        """The energy of the present map."""
        self.settle()
        return integrate(self._energy)

    @override
    def error_constant(self, ratio: float) -> float:
        return self.scheme.error_constant(ratio)

    @override
    def memory(self) -> dict[str, Any]:
        kept = super().memory() | {"past": self._past, "past_tau": self._past_tau}
        return kept | {f"bubble_{key}": value for key, value in self._bubbles.memory().items()}

    @override
    def restore(self, snapshot: Mapping[str, Any]) -> None:
        super().restore(snapshot)
        self._past_tau = float(snapshot["past_tau"])
        self._bubbles.restore(
            {k.removeprefix("bubble_"): v for k, v in snapshot.items() if k.startswith("bubble_")}
        )
        self._know()

    @override
    def review(self) -> list[Event]:
        if self.report is None:
            return []
        return self._bubbles.look(self.time, self.report.energy, self._normals)

    @override
    def settle(self) -> None:
        """Give the map its boundary values, and take its values to the target, if any are new.

        Raises:
            ValueError: on every rank, if a value has no closest point, or if boundary values do not
                lie in the target.
        """
        pairs = ((self._known, self._u.x.array), (self._held, self._boundary()))
        if self.mesh.comm.allreduce(all(np.array_equal(*pair) for pair in pairs), MPI.LAND):
            return
        self._apply_bcs()
        values = self._values(self._u)
        projected = self.target.project(values)
        self._check_values(values, projected)
        values[:] = projected
        self._u.x.scatter_forward()
        self._past_tau = 0.0
        self._bubbles.forget()
        self._know()

    def _check_values(self, values: Floats, projected: Floats) -> None:
        comm, gap = self.mesh.comm, np.abs(projected - values)
        if comm.allreduce(not np.isfinite(projected).all(), MPI.LOR):
            raise ValueError(
                f"{self.name}: a value of the map at t = {self.time:.6g} has no closest point in "
                "the target, as zero has none in a sphere; set other values."
            )
        fixed = gap.ravel()[self.solver.fixed]
        if comm.allreduce(float(fixed.max(initial=0.0)), MPI.MAX) > 1e-6:
            raise ValueError(f"{self.name}: the boundary values do not lie in the target.")

    def _know(self) -> None:
        """The state is settled as it is."""
        self._known, self._held = self._u.x.array.copy(), self._boundary()
        self._normals = self.target.normal(self._values(self._u))

    def _boundary(self) -> Floats:
        """The boundary values as the conditions give them, zero elsewhere."""
        held = np.zeros_like(self._u.x.array)
        for bc in self.bcs:
            bc.set(held)
        return np.asarray(held)

    def _values(self, u: fem.Function) -> Floats:
        """The values at the local nodes, one in each row: a view."""
        return np.asarray(u.x.array.reshape(-1, self._dim))

    # -- one step ------------------------------------------------------------------------------
    @override
    def _advance(self, tau: float) -> StepReport:
        self.settle()
        before, now = integrate(self._energy), self._values(self._u).copy()
        self._bubbles.begin(before, self._normals)
        stencil = self.scheme.stencil(tau / self._past_tau if self._past_tau else None)
        try:
            report = self._attempt(tau, stencil, before, now)
        except SolveFailed:
            if not stencil.ratio:
                raise
            # A minimizing movement into a sphere cannot raise the energy where no angle is obtuse.
            report = self._attempt(tau, Stencil(), before, now)
        self._past.x.array[:] = now.ravel()
        self._past_tau = tau
        self._know()
        return report

    def _attempt(self, tau: float, stencil: Stencil, before: float, now: Floats) -> StepReport:
        """Move from the values ``now``; judge the energy."""
        past, values = self._values(self._past), self._values(self._u)
        base, ahead = (a * now + b * past for a, b in (stencil.base, stencil.frozen))
        guess = (now - past) / self._past_tau if self._past_tau else np.zeros_like(now)
        sigma = tau / stencil.alpha
        rate = self.solver.solve(sigma, base, self._planes(ahead), guess)
        values[:] = base
        values[: len(rate)] += sigma * rate
        self._u.x.scatter_forward()
        values[:] = self.target.project(values)
        self._u.x.scatter_forward()
        movement = self._squared(values - now) / (2 * tau)
        after = integrate(self._energy)
        defect = after - before + (0.0 if stencil.ratio else movement)
        if not np.isfinite(after):
            raise SolveFailed("a value of the map has no closest point in the target")
        if defect > ROUNDING * (abs(before) + abs(after)):
            raise SolveFailed(
                f"the energy law is broken by {defect:.3g} (energy {before:.9g} -> {after:.9g})"
            )
        return StepReport(self.time + tau, tau, after, movement, defect, 1)

    def _planes(self, ahead: Floats) -> Floats:
        """Normals at the extrapolated map, or those of the map where the two hardly agree."""
        normals = self.target.normal(ahead)
        with np.errstate(invalid="ignore"):
            near = (normals * self._normals).sum(axis=1, keepdims=True) > 0.5
        return np.where(near, normals, self._normals)

    def _squared(self, change: Floats) -> float:
        n = self._u.function_space.dofmap.index_map.size_local
        local = float(self.solver.mass[:n] @ (change[:n] ** 2).sum(axis=1))
        return float(self.mesh.comm.allreduce(local))

    @override
    def _recover(self) -> None:
        # The past of a step that failed is not smooth: begin anew.
        self._past_tau = 0.0


def _quadratic(energy: Any, u: fem.Function) -> ufl.Form:
    """The energy with its quadrature fixed, if it is one that a step can take."""
    fixed = fix_quadrature(as_functional(energy), [u])
    degree = polynomial_degree(fixed, [u])
    if degree != 2:
        raise ValueError(
            f"The energy of a map must be quadratic in it, such as inner(A*grad(u), grad(u))*dx; "
            f"this one is {'no polynomial' if degree == np.inf else f'of degree {degree:g}'}."
        )
    return fixed
