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
from flows.cover import covering, on_cells, pointwise
from flows.forms import VERTEX, assembled, compiled, lumpable, nodal, substitute
from flows.functional import StepFunctional
from flows.guess import GuessingSolver
from flows.matrix import Matrix
from flows.options import convective
from flows.solver import linearised
from flows.tables import FluxTables
from flows.vectors import LinearForms

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


class NodalSolver(GuessingSolver):
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
        self._owned = [u.function_space.dofmap.index_map.size_local for u in self.states]
        n = len(self.states)
        self._derive_potentials(step.residual[:n])
        self._tables = FluxTables.of(step)
        if self._tables is None:
            self._derive_continuity(step.residual[n:])
        else:
            self.A = self._tables.matrix
        spaces = [u.function_space for u in self.states]
        self.b, self.x = fempetsc.create_vector(spaces), fempetsc.create_vector(spaces)
        self._places = {u: np.empty_like(u.x.array) for u in self.states}
        self._slope, self._bend, self._diagonal = (self.x.duplicate() for _ in range(3))
        alone = len(self.states) == 1
        # The mass of one density is made exact afterwards; what reactions keep, Newton must keep.
        limits = NEWTON | ({"snes_rtol": 1e-8} if alone else {})
        self._open_snes(prefix, limits | convective(spaces), options or {}, None)
        masses = [m[:k] for m, k in zip(self._mass, self._owned, strict=True)]
        self._expect(step, self.states, masses, positive=True, exact=alone)

    def _derive_potentials(self, forces: Sequence[ufl.Form]) -> None:
        """Compile the forces and their slopes, and find the lumped masses."""
        ones = {u: fem.Function(u.function_space) for u in self.fields}
        for one in ones.values():
            one.x.array[:] = 1.0
        pairs = list(zip(forces, self.states, self.potentials, strict=True))
        free = [substitute(force, {mu: ufl.as_ufl(0)}) for force, _, mu in pairs]
        bends = [
            ufl.algorithms.expand_derivatives(ufl.derivative(f, u, ones[u]))
            for f, u in zip(free, self.states, strict=True)
        ]
        masses = [
            ufl.algorithms.expand_derivatives(-ufl.derivative(force, mu, ones[mu]))
            for force, _, mu in pairs
        ]
        self._mass = [
            assembled(compiled(mass), u.function_space)
            for mass, u in zip(masses, self.states, strict=True)
        ]
        # What is a function of the point is as well told by a few cells.
        few = [[f, b, m] for f, b, m in zip(free, bends, masses, strict=True)]
        few = [
            [on_cells(f, covering(u.function_space)) for f in row]
            if all(pointwise(f) for f in row)
            else row
            for u, row in zip(self.states, few, strict=True)
        ]
        self._forces = compiled([row[0] for row in few])
        self._bends = compiled([row[1] for row in few])
        self._weights = [
            assembled(compiled(row[2]), u.function_space)
            for row, u in zip(few, self.states, strict=True)
        ]
        self._loads = [fem.create_vector(u.function_space) for u in self.states]

    def _derive_continuity(self, continuity: Sequence[ufl.Form]) -> None:
        """Compile the equations of continuity and their derivatives."""
        pairs = list(zip(self.states, self.potentials, strict=True))
        single = len(pairs) == 1
        self.F = LinearForms(continuity, self.states)
        blocks = [[(linearised(r, u), linearised(r, mu)) for u, mu in pairs] for r in continuity]
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
    def solve(self) -> int:
        if self._tables is not None:
            self._tables.begin()
        return super().solve()

    @override
    def _spread(self, x: PETSc.Vec) -> None:
        x.ghostUpdate(PETSc.InsertMode.INSERT, PETSc.ScatterMode.FORWARD)
        fempetsc.assign(x, self.unknown)
        for u, coordinate in self.coordinates.items():
            self._places[u][:] = u.x.array
            u.x.array[:] = coordinate.value(u.x.array)
        parts = zip(self.potentials, self._forces, self._weights, self._loads, strict=True)
        for mu, force, mass, load in parts:
            mu.x.array[:] = assembled(force, mu.function_space, load) / mass

    @override
    def assemble_residual(self, b: PETSc.Vec) -> None:
        if self._tables is None:
            super().assemble_residual(b)
        else:
            b.array[:] = self._tables.residual()

    @override
    def _jacobian(self, snes: Any, x: PETSc.Vec, A: PETSc.Mat, P: PETSc.Mat) -> None:
        slopes, bends = [], []
        for i, u in enumerate(self.states):
            curvature = assembled(self._bends[i], u.function_space, self._loads[i])
            coordinate = self.coordinates.get(u)
            slope = np.ones_like(curvature)
            if coordinate is not None:
                slope[:] = coordinate.slope(self._places[u])
            slopes.append(slope)
            bends.append(slope * curvature / self._weights[i])
        _fill(self._slope, slopes, self._owned)
        if self._tables is not None:
            self._tables.jacobian(slopes[0], bends[0])
        else:
            _fill(self._bend, bends, self._owned)
            self._by_density.assemble()
            self._by_potential.assemble()
            A.diagonalScale(None, self._slope)
            self._by_potential.petsc.diagonalScale(None, self._bend)
            A.axpy(1.0, self._by_potential.petsc, PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
        if self._open:
            self._choose(A, self._slope)

    def _choose(self, A: PETSc.Mat, slopes: PETSc.Vec) -> None:
        """Incomplete factors where the mass dominates a column, multigrid where diffusion does."""
        A.getDiagonal(self._diagonal)
        mass = np.concatenate([m[:n] for m, n in zip(self._mass, self._owned, strict=True)])
        shares = np.abs(mass * slopes.array / self._diagonal.array)
        share = float(np.quantile(shares, 0.25)) if shares.size else 1.0
        pc = self.ksp.pc
        wanted = "bjacobi" if self.comm.allreduce(share, MPI.MIN) > 0.005 else "gamg"
        if pc.getType() != wanted:
            pc.setType(wanted)
            pc.setFromOptions()

    @override
    def residuals(self) -> list[np.ndarray]:
        """Owned entries of the residual of each field; the potentials are exact."""
        if self._tables is not None:
            self._tables.begin()
        self.assemble_residual(self.b)
        forces = [np.zeros(n) for n in self._owned]
        return [*forces, *np.split(self.b.array.copy(), np.cumsum(self._owned)[:-1])]


def _fill(vector: PETSc.Vec, parts: Sequence[np.ndarray], owned: Sequence[int]) -> None:
    """Put the owned values of all fields into one vector."""
    vector.array[:] = np.concatenate([part[:n] for part, n in zip(parts, owned, strict=True)])


def _same_pattern(a: ufl.Form, b: ufl.Form, u: fem.Function) -> tuple[ufl.Form, ufl.Form]:
    """Two bilinear forms, with zeros where only one of them is empty."""
    if a.empty() == b.empty():
        return a, b
    full = b if a.empty() else a
    nothing = fem.Constant(u.function_space.mesh, 0.0)
    zeros = nothing * ufl.inner(*full.arguments()) * ufl.dx(metadata=VERTEX)
    return (zeros, b) if a.empty() else (a, zeros)
