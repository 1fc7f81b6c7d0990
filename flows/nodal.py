r"""The step of a density by one unknown per vertex: the potential is eliminated node by node.

With lumped pairings and an energy without gradients the potential of a density is a function of
its value at the same node, $\mu_i = f_i(\rho) / m_i$ with $f = DE$. What remains is the equation of
continuity $r(\rho, \mu) = 0$ in the coordinate $s$ of $\rho = R(s)$, whose Jacobian

$$ \frac{\partial r}{\partial \rho}\, \mathrm{diag}(R') +
   \frac{\partial r}{\partial \mu}\, \mathrm{diag}\Big(\frac{f'}{m} R'\Big) $$

has the pattern of the mesh: half the unknowns of the saddle problem, and none of its fill.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, override

from flows.coordinate import Coordinate
from flows.forms import VERTEX, assembled, compiled, lumpable, nodal
from flows.functional import StepFunctional
from flows.matrix import Matrix
from flows.options import convective
from flows.solver import Solver, linearised

import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem import petsc as fempetsc
from mpi4py import MPI
from petsc4py import PETSc

__all__ = ["NodalSolver"]


NEWTON = {
    "snes_linesearch_type": "bt",
    "snes_max_it": 50,
    "snes_divergence_tolerance": 1e30,  # residuals of empty regions are near rounding
}


class NodalSolver(Solver):
    """Newton's method for the densities of a step, their potentials eliminated.

    Args:
        step: The step functional.
        prefix: Prefix of the PETSc options.
        options: The user's options.
        coordinates: Variables in which some of the densities are sought.
    """

    def __init__(
        self,
        step: StepFunctional,
        *,
        prefix: str,
        options: Mapping[str, Any] | None = None,
        coordinates: Mapping[fem.Function, Coordinate] | None = None,
    ) -> None:
        PETSc.garbage_cleanup(step.states[0].function_space.mesh.comm)
        self.states, self.potentials = list(step.states), list(step.potentials)
        self.fields = [*self.states, *self.potentials]
        self.sought = self.states
        self.unknown = self.states if len(self.states) > 1 else self.states[0]
        self.comm = self.states[0].function_space.mesh.comm
        self.bcs, self.preconditioner, self.moving, self.linear = [], None, False, False
        self._entries: list[Any] = []
        self.coordinates = dict(coordinates or {})
        self.fixed = [np.zeros(0, dtype=np.int32)] * len(self.fields)
        n = len(self.states)
        self._derive(step.residual[:n], step.residual[n:])
        spaces = [u.function_space for u in self.states]
        self.b, self.x = fempetsc.create_vector(spaces), fempetsc.create_vector(spaces)
        self._open_snes(prefix, NEWTON | convective(spaces), options or {}, None)

    def _derive(self, forces: Sequence[ufl.Form], continuity: Sequence[ufl.Form]) -> None:
        """Compile the forms, and find the lumped masses."""
        ones = {u: fem.Function(u.function_space) for u in self.fields}
        for one in ones.values():
            one.x.array[:] = 1.0
        pairs = list(zip(forces, self.states, self.potentials, strict=True))
        free = [ufl.replace(force, {mu: ufl.as_ufl(0)}) for force, _, mu in pairs]
        self._forces = compiled(free)
        self._bends = compiled(
            [
                ufl.algorithms.expand_derivatives(ufl.derivative(f, u, ones[u]))
                for f, u in zip(free, self.states, strict=True)
            ]
        )
        self._mass = [
            assembled(compiled(-ufl.derivative(force, mu, ones[mu])), mu.function_space)
            for force, _, mu in pairs
        ]
        self._loads = [fem.create_vector(u.function_space) for u in self.states]
        single = len(self.states) == 1
        self.F = compiled(continuity[0] if single else list(continuity))
        blocks = [[(linearised(r, u), linearised(r, mu)) for _, u, mu in pairs] for r in continuity]
        blocks = [
            [_same_pattern(*pair, u) for u, pair in zip(self.states, row, strict=True)]
            for row in blocks
        ]
        first = [[a for a, _ in row] for row in blocks]
        second = [[b for _, b in row] for row in blocks]
        self._by_density = Matrix(compiled(first[0][0] if single else first))
        self._by_potential = Matrix(compiled(second[0][0] if single else second))
        self.A = self._by_density.petsc

    @staticmethod
    def suits(step: StepFunctional, bcs: Sequence[Any], options: Any) -> bool:
        """Whether the potentials of a step can be eliminated node by node."""
        states, potentials = step.states, step.potentials
        if (
            step.kept
            or step.auxiliary
            or bcs
            or len(states) != len(potentials)
            or step.scheme.varied
        ):
            return False
        if not all(lumpable(u) and u.function_space.dofmap.bs == 1 for u in states):
            return False
        if {"ksp_type", "pc_type"} & {*(options or {})} == {"fieldsplit"}:
            return False
        for i, row in enumerate(step.residual[: len(states)]):
            fields = [*states, *potentials]
            entries = {f: linearised(row, f) for f in fields}
            mine = {states[i], potentials[i]}
            if any(not e.empty() and f not in mine for f, e in entries.items()):
                return False
            if not all(nodal(entries[f]) for f in mine):
                return False
        return True

    # -- one solve -----------------------------------------------------------------------------
    @override
    def _spread(self, x: PETSc.Vec) -> None:
        super()._spread(x)
        parts = zip(self.potentials, self._forces, self._mass, self._loads, strict=True)
        for mu, force, mass, load in parts:
            mu.x.array[:] = assembled(force, mu.function_space, load) / mass

    @override
    def _jacobian(self, snes: Any, x: PETSc.Vec, A: PETSc.Mat, P: PETSc.Mat) -> None:
        by_density, by_potential = self._slopes(x), x.duplicate()
        n, start = [u.function_space.dofmap.index_map.size_local for u in self.states], 0
        for i, bend in enumerate(self._bends):
            here = slice(start, start + n[i])
            curvature = assembled(bend, self.states[i].function_space, self._loads[i])[: n[i]]
            scale = by_density.array[here] / self._mass[i][: n[i]]
            by_potential.array[here] = curvature * scale
            start += n[i]
        for matrix, scale in ((self._by_density, by_density), (self._by_potential, by_potential)):
            matrix.assemble()
            matrix.petsc.diagonalScale(None, scale)
        A.axpy(1.0, self._by_potential.petsc, PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
        if self._open:
            self._choose(A, by_density)

    def _choose(self, A: PETSc.Mat, slopes: PETSc.Vec) -> None:
        """Incomplete factors where the mass dominates a column, multigrid where diffusion does."""
        mass = np.concatenate(
            [
                m[: u.function_space.dofmap.index_map.size_local]
                for m, u in zip(self._mass, self.states, strict=True)
            ]
        )
        shares = np.abs(mass * slopes.array / A.getDiagonal().array)
        share = float(np.quantile(shares, 0.25)) if shares.size else 1.0
        pc = self.ksp.pc
        wanted = "bjacobi" if self.comm.allreduce(share, MPI.MIN) > 0.005 else "gamg"
        if pc.getType() != wanted:
            pc.setType(wanted)
            pc.setFromOptions()

    @override
    def residuals(self) -> list[np.ndarray]:
        """Owned entries of the residual of each field; the potentials are exact."""
        self.assemble_residual(self.b)
        sizes = [u.function_space.dofmap.index_map.size_local for u in self.states]
        forces = [np.zeros(n) for n in sizes]
        return [*forces, *np.split(self.b.array.copy(), np.cumsum(sizes)[:-1])]


def _same_pattern(a: ufl.Form, b: ufl.Form, u: fem.Function) -> tuple[ufl.Form, ufl.Form]:
    """Two bilinear forms, with zeros where only one of them is empty."""
    if a.empty() == b.empty():
        return a, b
    full = b if a.empty() else a
    nothing = fem.Constant(u.function_space.mesh, 0.0)
    zeros = nothing * ufl.inner(*full.arguments()) * ufl.dx(metadata=VERTEX)
    return (zeros, b) if a.empty() else (a, zeros)
