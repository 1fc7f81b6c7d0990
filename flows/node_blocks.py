r"""The system of a step of mean curvature flow: its matrix, and conjugate gradients.

$$ A = K \otimes I + \mathrm{diag}\Big(\frac{m_i}{\tau}\, w_i w_i^T\Big) \qquad\text{or}\qquad
   A = \Big(K + \mathrm{diag}\,\frac{m_i}{\tau}\Big) \otimes I $$

with the stiffness $K$, the lumped masses $m_i$ and the normals $w_i$ of a surface, where tangential
motion is free or costs as much as normal motion.

Memory bounds these iterations, not arithmetic: each of them goes three times through its vectors,
and no preconditioned residual is stored.
"""

from __future__ import annotations

from typing import Any

from flows.flat import Stiffness
from flows.kernels import Kernels
from flows.surface import Surface

import numpy as np
import numpy.typing as npt
from dolfinx.la import vector
from mpi4py import MPI
from petsc4py import PETSc

__all__ = ["NodeBlocks"]

type Floats = npt.NDArray[np.float64]


class NodeBlocks:
    """Conjugate gradients with the inverse of the block of each node.

    A context for PETSc's matrices and solvers of type ``python``; the solver reads ``right`` and
    writes ``left``.

    Args:
        surface: The surface.
        stiffness: Its stiffness matrix.
        costly: Whether tangential motion costs as much as normal motion.

    Attributes:
        owned: Number of nodes that this rank owns; they come first.
        forces: The $f$ of $A d = f$, owned nodes.
        change: The $d$, local nodes.
        right: The forces, for PETSc.
        left: The owned part of the solution, for PETSc.
    """

    def __init__(self, surface: Surface, stiffness: Stiffness, *, costly: bool) -> None:
        self._stiffness, self.comm = stiffness, surface.mesh.comm
        self.kernels = Kernels(self.comm, "node_blocks.c")
        self.owned = n = surface.owned
        self._change, self._search = self.field(3), self.field(3)
        self.change = self._change.array.reshape(-1, 3)
        self.forces, rest, image = np.zeros((3, n, 3))
        self.right, self.left = (
            PETSc.Vec().createWithArray(a.ravel(), comm=self.comm)
            for a in (self.forces, self.change[:n])
        )
        w, (c, g, h) = None if costly else surface.normal.x.array, np.zeros((3, n))
        K = stiffness.starts, stiffness.columns, stiffness.values
        given = self.kernels.given
        self._A, self._M = given(*K, c, w), given(w, g, h)
        vectors = self.forces, self.change, rest, self._search.array, image
        self._f, self._x, self._r, self._p, self._q = given(*vectors)
        diagonal, mass = (stiffness.values, stiffness.diagonal), (surface.mass.x.array, w)
        self._blocks = given(*diagonal), given(*mass, c, g, h)

    def field(self, width: int) -> Any:
        """A vector of local nodes, with the ghosts that products ask for."""
        return vector(self._stiffness.rows.index_map(1), width)

    def share(self, field: Any) -> None:
        """Bring the ghosts of a field up to date; collective."""
        if self.comm.size > 1:  # also where there is nothing to send this would take time
            field.scatter_forward()

    def total(self, sums: Any) -> Floats:
        """Sums over all ranks."""
        sums = np.atleast_1d(sums)
        if self.comm.size > 1:
            self.comm.Allreduce(MPI.IN_PLACE, sums)
        return np.asarray(sums)

    def refresh(self, inverse: float) -> None:
        """Take the present surface, and the inverse of the step."""
        diagonal, mass = self._blocks
        self.kernels("invert", self.owned, *diagonal, inverse, *mass)

    def expect(self, fields: Any) -> Floats:
        r"""Find the forces, and what they say of solutions in the span of fields; collective.

        Args:
            fields: Fields $d_a$ and the positions $X$, in this order for each component; shape
                (local nodes, 3, 4).

        Returns:
            The products $d_a \cdot A d_b$ and, in the last column, $d_a \cdot K X$.
        """
        sums = np.zeros((3, 4))
        self.kernels("expect", self.owned, *self._A, fields, self._f, sums)
        return self.total(sums)

    def product(self, x: Floats, y: Floats) -> None:
        """Product with the matrix, of owned nodes; collective."""
        self._search.array[: x.size] = x.ravel()
        self._multiply(y)

    def _multiply(self, y: Any) -> float:
        """Product with the search direction; returns the curvature along it on this rank."""
        self.share(self._search)
        return float(self.kernels("multiply", self.owned, *self._A, self._p, y))

    def mult(self, A: PETSc.Mat, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """Product with the matrix, for PETSc."""
        self.product(x.array_r, y.array)

    def solve(self, ksp: PETSc.KSP, b: PETSc.Vec, x: PETSc.Vec) -> None:
        """Solve for the forces, for PETSc; a guess that is worse than none is dropped.

        Norms are those of residuals in the inverse of the blocks, and relative to that of the
        forces.
        """
        whole, rest = self._begin(guess=ksp.getInitialGuessNonzero())
        if not rest <= whole:
            self.change[:] = 0.0
            whole, rest = self._begin(guess=False)
        steps, reason = 0, ksp.callConvergenceTest(0, whole**0.5)
        ksp.monitor(0, rest**0.5)
        while rest and not reason:
            if steps == ksp.max_it:
                reason = PETSc.KSP.ConvergedReason.DIVERGED_MAX_IT
                break
            steps += 1
            rest, reason = self._descend(ksp, steps, rest)
        x.stateIncrease()  # PETSc would take it for the zeros that it has put there
        ksp.setIterationNumber(steps)
        ksp.setResidualNorm(rest**0.5)
        ksp.setConvergedReason(reason or PETSc.KSP.ConvergedReason.CONVERGED_ATOL)

    def _begin(self, *, guess: bool) -> tuple[float, float]:
        """The first residual and direction; squares of the norms of forces and residual."""
        x, sums = self._x if guess else None, np.zeros(2)
        given = *self._A, *self._M[1:], self._f, x
        self.kernels("begin", self.owned, *given, self._r, self._p, sums)
        whole, rest = self.total(sums)
        return float(whole), float(rest)

    def _descend(self, ksp: PETSc.KSP, steps: int, rest: float) -> tuple[float, int]:
        """Go as far as the energy falls, and turn; the square of the norm, and why to stop."""
        n, total = self.owned, self.total
        scale = rest / float(total(self._multiply(self._q))[0])
        left = total(self.kernels("descend", n, scale, self._q, *self._M, self._r))
        now = abs(float(left[0]))  # zero but for rounding may be negative
        reason = ksp.callConvergenceTest(steps, now**0.5)
        ksp.monitor(steps, now**0.5)
        r = None if reason else self._r
        self.kernels("proceed", n, scale, now / rest, *self._M, r, self._p, self._x)
        return now, reason
