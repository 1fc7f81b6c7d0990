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
from flows.conditions import fixed_entries
from flows.constraint import Kept
from flows.coordinate import TINY
from flows.density import TOLERANCE
from flows.forms import VERTEX, assembled, compiled
from flows.functional import StepFunctional
from flows.functionals import Values
from flows.metric import Wasserstein
from flows.mobility import edge_weights, symmetric_scharfetter_gummel
from flows.movement import GradientFlow
from flows.options import preset
from flows.quadratic import QuadraticForm
from flows.scheme import ImplicitEuler, Stencil
from flows.solver import Solver, linearised

import dolfinx
import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem
from dolfinx.fem import petsc as fempetsc
from mpi4py import MPI
from petsc4py import PETSc

__all__ = ["LinearFokkerPlanck"]

type Floats = npt.NDArray[np.float64]

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
        return _RatioSolver(self._linear, prefix=f"{self.name}_", options=options)

    @override
    def _slack(self) -> float:
        (row,) = self.solver.residuals()
        local = float(np.abs(row) @ np.abs(self.potentials[0].x.array[: row.size]))
        return float(self.mesh.comm.allreduce(local))


class _Step(StepFunctional):
    """The linear step in the ratio of the density to the Gibbs weight."""

    def __init__(self, rho: fem.Function, potential: fem.Function, beta: float) -> None:
        V, mesh = rho.function_space, rho.function_space.mesh
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

        self.flux = symmetric_scharfetter_gummel(self.ratio, test, self._potential, beta)
        self.work = ufl.Form([])

    @override
    def prepare(self, tau: float, past_tau: float) -> Stencil:
        self.tau.value = tau
        self.old[0].x.array[:] = self.states[0].x.array
        self.ratio.x.array[:] = self.states[0].x.array / self.weight.x.array
        return Stencil()

    @override
    def gains(self) -> list[ufl.Form]:
        return []  # the solver gives the density its mass

    @override
    def find_rates(self, stencil: Stencil) -> None:
        """The density and its potential, from their ratio to the Gibbs weight."""
        rho, mu = self.fields
        rho.x.array[:] = self.weight.x.array * self.ratio.x.array
        mu.x.array[:] = self.density_of_energy(np.maximum(rho.x.array, TINY)) + 1 / self._beta

    def density_of_energy(self, rho: Floats) -> Floats:
        r"""The free energy for each particle, $V + \beta^{-1} \log \rho$, at local nodes."""
        potential = self._low + self._potential.x.array[: rho.size]
        return np.asarray(potential + np.log(np.where(rho == 0, TINY, rho)) / self._beta)


class _RatioSolver(Solver):
    """One linear system a step for the ratio of a density to its Gibbs weight.

    Args:
        step: The step.
        prefix: Prefix of the PETSc options.
        options: The user's options.
    """

    def __init__(self, step: _Step, *, prefix: str, options: Mapping[str, Any] | None) -> None:
        (u,) = self.fields = self.sought = [step.ratio]
        self.unknown, self.bcs, self._step, V = u, [], step, u.function_space
        self.comm = V.mesh.comm
        PETSc.garbage_cleanup(self.comm)
        self.moving, self.linear, self.preconditioner, self.coordinates = False, True, None, {}
        self.fixed = fixed_entries([V], [])
        self._flux = QuadraticForm(linearised(step.flux, u), V)
        self._flux.update()
        self._entries = [self._flux.matrix]
        self.A = self._flux.petsc.duplicate()
        self.A.setOption(PETSc.Mat.Option.SYMMETRIC, True)
        self.b, self.x = fempetsc.create_vector(V), fempetsc.create_vector(V)
        form = compiled(ufl.TestFunction(V) * ufl.dx(metadata=VERTEX))
        self._mass = assembled(form, V)[: self.b.getLocalSize()].copy()
        self._tau = 0.0
        chosen = preset([V], True, True, linear=True, moving=False)
        # The diagonal is as small as the Gibbs weights: no pivot may be taken for zero, and
        # incomplete factors want it to be one.
        krylov = chosen["ksp_type"] == "cg"
        scaled = {"ksp_diagonal_scale": True, "ksp_diagonal_scale_fix": True}
        mine = scaled if krylov else {"pc_factor_zeropivot": TINY}
        self._open_snes(prefix, chosen | mine, options or {}, None)
        self.values = Values(self._energy, self._movement, lambda: 2 * self._movement())

    def _owned(self, u: fem.Function) -> Floats:
        return np.asarray(u.x.array[: self._mass.size])

    def _fluxes(self) -> Floats:
        """Fluxes out of the nodes; none where the ratio is everywhere the same."""
        g = self._owned(self._step.ratio)
        low = self.comm.allreduce(float(g.min(initial=np.inf)), MPI.MIN)
        return self._flux.product(g - low)

    def _energy(self) -> float:
        rho = self._owned(self._step.states[0])
        local = float((self._mass * rho) @ self._step.density_of_energy(rho))
        return float(self.comm.allreduce(local))

    def _movement(self) -> float:
        mu, tau = self._owned(self._step.potentials[0]), float(self._step.tau.value)
        return float(self.comm.allreduce(float(mu @ self._fluxes()))) * tau / 2

    @override
    def assemble_residual(self, b: PETSc.Vec) -> None:
        step = self._step
        weight, g, old = (self._owned(f) for f in (step.weight, step.ratio, step.old[0]))
        b.array[:] = float(step.tau.value) * self._fluxes() + self._mass * (weight * g - old)

    @override
    def _jacobian(self, snes: Any, x: PETSc.Vec, A: PETSc.Mat, P: PETSc.Mat) -> None:
        tau = float(self._step.tau.value)
        if tau == self._tau:
            return
        self._tau = tau
        self._flux.petsc.copy(A, structure=PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
        A.scale(tau)
        diagonal = A.getDiagonal()
        diagonal.array[:] += self._mass * self._owned(self._step.weight)
        A.setDiagonal(diagonal)
        if self._open:
            self._choose_preconditioner(A)

    @override
    def solve(self) -> int:
        iterations = super().solve()
        self._balance()
        return iterations

    def _balance(self) -> None:
        """Give the density its mass, and no sign that iterations have left it."""
        step = self._step
        weight, g, old = (self._owned(f) for f in (step.weight, step.ratio, step.old[0]))
        low, high = -g.min(initial=np.inf), g.max(initial=-np.inf)
        low, high = (self.comm.allreduce(float(value), MPI.MAX) for value in (low, high))
        if 0 < low < TOLERANCE * high:
            np.maximum(step.ratio.x.array, 0.0, out=step.ratio.x.array)
        due, total = (self.comm.allreduce(float(self._mass @ rho)) for rho in (old, weight * g))
        if np.isfinite(total) and due > 0 and total > 0:
            step.ratio.x.array[:] *= due / total

    @override
    def forget(self) -> None:
        self._tau = 0.0
        super().forget()


def free_energy(rho: Any, potential: Any, beta: float) -> ufl.Form:
    r"""The free energy $\int V \rho + \beta^{-1} \rho \log \rho$."""
    E = float(1 / beta) * energy.entropy(rho)
    free = isinstance(potential, (int, float)) and potential == 0
    return E if free else E + energy.potential(rho, potential)
