r"""Linear problems for rates that are tangent to a target, node by node.

For a quadratic energy with the matrix $K$, lumped masses $M$ and the block-diagonal matrix $B$ of
bases of the tangent planes at the nodes, a rate $v = Bx$ solves

$$ B^T (M + \sigma K) B\, x = -B^T DE(b). $$

One unknown per tangent direction and no multipliers: the matrix is symmetric and positive definite,
and the same rates come out as from the saddle problem with $v \cdot n = 0$ as a constraint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from flows.conditions import fixed_entries
from flows.forms import VERTEX, assembled, compiled
from flows.maps import Floats, tangents
from flows.options import Options
from flows.solver import SolveFailed

import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem import petsc as fempetsc
from mpi4py import MPI
from petsc4py import PETSc

__all__ = ["TangentSolver"]

CG = {
    "ksp_type": "cg",
    "ksp_rtol": 1e-10,
    "ksp_max_it": 2000,
    "sub_pc_type": "icc",
    "pc_gamg_threshold": 0.02,
    "mg_levels_ksp_type": "chebyshev",
    "mg_levels_pc_type": "pbjacobi",
}

STIFF = 3000.0
"""Largest diagonal of $M^{-1}(M + \\sigma K)$ that incomplete factors are quick for."""


class TangentSolver:
    """Solves for tangent rates.

    Args:
        energy: Energy, quadratic in ``u``.
        u: The map, P1.
        bcs: Dirichlet conditions: the rate vanishes there.
        prefix: Prefix of the PETSc options.
        options: The user's options.

    Attributes:
        mass: Lumped mass of each local node.
        ksp: The linear solver.
    """

    def __init__(
        self,
        energy: ufl.Form,
        u: fem.Function,
        bcs: Sequence[fem.DirichletBC],
        *,
        prefix: str,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        V = u.function_space
        self._u, self._V, self._load = u, V, fem.create_vector(V)
        self._owned, self._dim = V.dofmap.index_map.size_local, V.dofmap.bs
        force = ufl.derivative(energy, u)
        self._force = compiled(force)
        bend = ufl.algorithms.expand_derivatives(ufl.derivative(force, u))
        self._read = [*bend.constants(), *bend.coefficients()]
        self._bend, self._seen = compiled(bend), list[np.ndarray]()
        one = ufl.as_vector([1.0] * self._dim)
        shares = ufl.inner(one, ufl.TestFunction(V)) * ufl.dx(metadata=VERTEX)
        self.mass = assembled(compiled(shares), V)[:: self._dim].copy()
        self.fixed = fixed_entries([V], bcs)[0]
        self._sigma = math.nan
        self._basis = self._make_basis()
        self._make_matrices()
        self._options = Options(prefix, CG, options or {})
        self.ksp = PETSc.KSP().create(V.mesh.comm)
        self.ksp.setOptionsPrefix(prefix)
        self.ksp.setOperators(self._reduced)
        with self._options():
            self.ksp.setFromOptions()
        self.ksp.setInitialGuessNonzero(self.ksp.getType() != "preonly")

    # -- matrices ------------------------------------------------------------------------------
    def _make_basis(self) -> PETSc.Mat:
        """The matrix of the bases of the tangent planes: a block for each node."""
        n, m = self._owned, self._dim
        first = np.arange(*self._V.dofmap.index_map.local_range)[:, None, None]
        rows = np.broadcast_to(m * first + np.arange(m)[:, None], (n, m, m - 1))
        cols = np.broadcast_to((m - 1) * first + np.arange(m - 1), (n, m, m - 1))
        basis = PETSc.Mat().create(self._V.mesh.comm)
        basis.setSizes([(n * m, None), (n * (m - 1), None)])
        basis.setType("aij")
        basis.setPreallocationCOO(*(x.astype(PETSc.IntType).ravel() for x in (rows, cols)))
        basis.setValuesCOO(tangents(np.eye(m)[[-1] * n]).ravel())
        return basis

    def _make_matrices(self) -> None:
        """The matrices of the step, and the product of three of them, to be used again."""
        self._assemble()
        self._combine(1.0)
        self._reduced = self._matrix.PtAP(self._basis)
        self._reduced.setBlockSize(self._dim - 1)
        self._reduced.setOption(PETSc.Mat.Option.SPD, True)
        self._x, self._b = self._reduced.createVecs()

    def _assemble(self) -> None:
        """The stiffness without the zeros that components uncoupled leave in its blocks."""
        full = fempetsc.assemble_matrix(self._bend)
        full.assemble()
        self._seen = [np.array(_values(f)) for f in self._read]
        full.zeroRowsColumns(self._global(self.fixed), diag=0.0)
        start, cols, values = full.getValuesCSR()
        row = np.repeat(np.arange(start.size - 1), np.diff(start))
        largest = full.norm(PETSc.NormType.INFINITY)
        kept = (np.abs(values) > 1e-15 * largest) | (cols == row + full.getOwnershipRange()[0])
        start = np.concatenate([[0], np.cumsum(np.bincount(row[kept], minlength=start.size - 1))])
        size = (self._owned * self._dim, None)
        csr = (start.astype(PETSc.IntType), cols[kept], values[kept])
        self._stiffness = PETSc.Mat().createAIJ([size, size], csr=csr, comm=self._V.mesh.comm)
        full.destroy()
        self._matrix = self._stiffness.duplicate(copy=True)

    def _combine(self, sigma: float) -> None:
        self._stiffness.copy(self._matrix, PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
        self._matrix.scale(sigma)
        diagonal = self._matrix.getDiagonal()
        diagonal.array[:] += np.repeat(self.mass[: self._owned], self._dim)
        self._matrix.setDiagonal(diagonal)
        self._sigma = sigma

    def _global(self, entries: np.ndarray) -> Any:
        return (entries + self._V.dofmap.index_map.local_range[0] * self._dim).astype(PETSc.IntType)

    def _update(self, sigma: float) -> None:
        """Follow the step, and coefficients of the energy that have changed."""
        same = all(map(np.array_equal, self._seen, map(_values, self._read)))
        if not self._V.mesh.comm.allreduce(same, MPI.LAND):
            for matrix in (self._stiffness, self._matrix, self._reduced):
                matrix.destroy()
            self._make_matrices()
            self._sigma = math.nan
        if sigma != self._sigma:
            self._combine(sigma)
            self._choose()

    def _choose(self) -> None:
        """Incomplete factors where the mass dominates, multigrid where diffusion does."""
        if self._options.given("pc_type"):
            return
        stiff = self._matrix.getDiagonal().array / np.repeat(self.mass[: self._owned], self._dim)
        largest = self._V.mesh.comm.allreduce(float(stiff.max(initial=0.0)), MPI.MAX)
        wanted = "bjacobi" if largest < STIFF else "gamg"
        if self.ksp.pc.getType() != wanted:
            self.ksp.pc.setType(wanted)
            with self._options():
                self.ksp.pc.setFromOptions()

    # -- one solve -----------------------------------------------------------------------------
    def solve(self, sigma: float, base: Floats, normal: Floats, guess: Floats) -> Floats:
        r"""The tangent rate.

        Args:
            sigma: The effective step.
            base: Values of $b$ at the local nodes.
            normal: Unit normals of the tangent planes there.
            guess: A rate to begin with.

        Returns:
            Values of $v$ at the owned nodes.

        Raises:
            SolveFailed: on every rank, if the linear solver does not converge.
        """
        self._update(sigma)
        bases = tangents(normal[: self._owned])
        self._basis.setValuesCOO(bases.ravel())
        self._matrix.PtAP(self._basis, result=self._reduced)
        load = self._gradient(base)
        load[self.fixed] = 0.0
        self._b.array[:] = -np.einsum("nai,na->ni", bases, load.reshape(-1, self._dim)).ravel()
        self._x.array[:] = np.einsum("nai,na->ni", bases, guess[: self._owned]).ravel()
        with self._options():
            self.ksp.setOperators(self._reduced)
            self.ksp.solve(self._b, self._x)
        if self.ksp.getConvergedReason() < 0:
            raise SolveFailed(
                f"the linear solver does not converge in {self.ksp.getIterationNumber()} iterations"
            )
        x = self._x.array_r.reshape(-1, self._dim - 1)
        return np.asarray(np.einsum("nai,ni->na", bases, x))

    def _gradient(self, values: Floats) -> Floats:
        """DE at some values, its owned entries."""
        kept = self._u.x.array.copy()
        self._u.x.array[:] = values.ravel()
        load = assembled(self._force, self._V, self._load)[: self._owned * self._dim].copy()
        self._u.x.array[:] = kept
        return load

    def forget(self) -> None:
        """Drop the preconditioner: multigrid keeps its coarse levels from step to step."""
        self.ksp.reset()


def _values(read: Any) -> Any:
    return read.value if isinstance(read, fem.Constant) else read.x.array
