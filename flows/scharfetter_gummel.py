r"""The linear Fokker-Planck equation, by one factorisation for all steps.

$$ \dot\rho = \nabla\cdot\big(\beta^{-1} \nabla\rho + \rho \nabla V\big) $$

is the flow of $\int V \rho + \beta^{-1} \rho \log \rho$ in the Wasserstein metric. Where the mesh
is Delaunay, the mobility of {cite}`scharfetter1969` on its edges makes the implicit step linear,
and in the ratio $g = \rho / \pi$ to the Gibbs weight $\pi = e^{-\beta V}$ symmetric and definite:

$$ \langle \pi g - \rho_k, \eta \rangle_h + \tau \sum_{ij} \frac{a_{ij} \pi_{ij}}{\beta}
   (g_i - g_j)(\eta_i - \eta_j) = 0. $$

Densities stay positive, the interpolated Gibbs state does not move, and the free energy falls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, override

from flows import energy
from flows.constraint import Kept
from flows.coordinate import TINY
from flows.forms import VERTEX
from flows.functional import StepFunctional
from flows.metric import Wasserstein
from flows.mobility import edge_weights, symmetric_scharfetter_gummel
from flows.movement import GradientFlow
from flows.options import preset
from flows.scheme import ImplicitEuler, Stencil
from flows.solver import Solver

import dolfinx
import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI

__all__ = ["LinearFokkerPlanck"]

STEEPEST = 500.0
"""Largest range of beta V whose Gibbs weights are still numbers, with their products."""


class LinearFokkerPlanck(GradientFlow):
    """The Fokker-Planck equation by linear steps; made by :func:`flows.fokker_planck`.

    Args:
        rho: The density, a P1 function.
        potential: Nodal values of the potential, a function of the same space.
        beta: Inverse temperature.
        petsc_options: Options of the solver, without prefix.
        name: Name of the flow, and prefix of its PETSc options.
    """

    def __init__(
        self,
        rho: fem.Function,
        potential: fem.Function,
        beta: float,
        *,
        petsc_options: Mapping[str, Any] | None = None,
        name: str = "fokker_planck",
    ) -> None:
        self.potential, self.beta = potential, beta
        super().__init__(
            free_energy(rho, potential, beta),
            rho,
            Wasserstein(),
            petsc_options=petsc_options,
            name=name,
        )

    def general(self) -> GradientFlow:
        """The same flow of the same density, stated like any other."""
        rho = self.states[0]
        E = free_energy(rho, self.potential, self.beta)
        return GradientFlow(E, rho, Wasserstein(), name=self.name)

    @staticmethod
    def suits(potential: fem.Function, beta: float) -> bool:
        """Whether all edges of the mesh conduct, and the weights of the potential are numbers."""
        V = potential.function_space
        low = V.mesh.comm.allreduce(float(potential.x.array.min(initial=np.inf)), MPI.MIN)
        high = V.mesh.comm.allreduce(float(potential.x.array.max(initial=-np.inf)), MPI.MAX)
        return beta * (high - low) < STEEPEST and edge_weights(V).negative == 0

    @override
    def _make_step(self, metric: Any, source: Any) -> StepFunctional:
        self._linear = _Step(self.states[0], self.potential, self.beta)
        return self._linear

    @override
    def _make_solver(self, coordinates: Any, lumped: bool, options: Any) -> Solver:
        # The diagonal is as small as the Gibbs weights: no pivot may be taken for zero, and
        # incomplete factors want it to be one.
        space = self.states[0].function_space
        krylov = preset([space], True, True, linear=True, moving=False)["ksp_type"] == "cg"
        scaled = {"ksp_diagonal_scale": True, "ksp_diagonal_scale_fix": True}
        mine = scaled if krylov else {"pc_factor_zeropivot": TINY}
        return Solver(
            self._step.residual,
            [self._linear.ratio],
            prefix=f"{self.name}_",
            options=mine | dict(options or {}),
            definite=True,
        )

    @override
    def _slack(self) -> float:
        (row,) = self.solver.residuals()
        local = float(np.abs(row) @ np.abs(self.potentials[0].x.array[: row.size]))
        return float(self.mesh.comm.allreduce(local))


class _Step(StepFunctional):
    """The linear step in the ratio of the density to the Gibbs weight."""

    def __init__(self, rho: fem.Function, potential: fem.Function, beta: float) -> None:
        V, mesh = rho.function_space, rho.function_space.mesh
        vertex = ufl.dx(metadata=VERTEX)
        self.states, self.auxiliary, self.past = (rho,), (), ()
        self.scheme = ImplicitEuler()
        self.tau = fem.Constant(mesh, dolfinx.default_scalar_type(1.0))
        self.effective = self.tau
        self.old = (fem.Function(V, name=rho.name),)
        self.old_auxiliary = ()
        self.base = self.frozen = self.old
        self.blocks = []
        self.potentials = (fem.Function(V.clone(), name="mu"),)
        self.fields = (rho, *self.potentials)
        self.kept = Kept((), self.states)
        self.varies, self.convex, self.conservative = True, False, False
        self.drift, self.path = False, []
        self._beta = beta
        # Measured from its minimum the potential has weights of size one.
        self._potential = fem.Function(V)
        low = mesh.comm.allreduce(float(potential.x.array.min(initial=np.inf)), MPI.MIN)
        self._potential.x.array[:] = potential.x.array - low
        self._low = low
        self.weight = fem.Function(V, name="weight")
        self.weight.x.array[:] = np.exp(-beta * self._potential.x.array)
        self.ratio = fem.Function(V, name="ratio")
        test = ufl.TestFunction(V)

        def flux(eta: Any) -> ufl.Form:
            return symmetric_scharfetter_gummel(self.ratio, eta, self._potential, beta)

        change = self.weight * self.ratio - self.old[0]
        self.residual = [change * test * vertex + self.tau * flux(test)]
        self.dissipation = self.tau * flux(self.potentials[0])
        self.movement = 0.5 * self.dissipation
        self.work = ufl.Form([])

    @override
    def prepare(self, tau: float, past_tau: float) -> Stencil:
        self.tau.value = tau
        self.old[0].x.array[:] = self.states[0].x.array
        self.ratio.x.array[:] = self.states[0].x.array / self.weight.x.array
        return Stencil()

    @override
    def gains(self) -> list[ufl.Form]:
        return [(self.old[0] - self.states[0]) * ufl.dx(metadata=VERTEX)]

    @override
    def find_rates(self, stencil: Stencil) -> None:
        """The density and its potential, from their ratio to the Gibbs weight."""
        rho, mu = self.fields
        rho.x.array[:] = self.weight.x.array * self.ratio.x.array
        logs = np.log(np.maximum(rho.x.array, TINY))
        mu.x.array[:] = self._low + self._potential.x.array + (logs + 1) / self._beta


def free_energy(rho: Any, potential: Any, beta: float) -> ufl.Form:
    r"""The free energy $\int V \rho + \beta^{-1} \rho \log \rho$."""
    E = float(1 / beta) * energy.entropy(rho)
    free = isinstance(potential, (int, float)) and potential == 0
    return E if free else E + energy.potential(rho, potential)
