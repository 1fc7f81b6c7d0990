r"""Newton's method for a surface whose nodes move along their normals.

$$ X = X_k + \sum_i u_i w_i \varphi_i $$

One unknown $u_i$ for each node beside the dual variable y. The reduction is by nodes: a product
$u\,w$ of functions would let tangential residuals into the equation for $u$. With the matrix $P$
from $(u, y)$ to $(X, y)$ a step solves $P^T J P\, d = -P^T F$, symmetric and indefinite, bordered
by the slopes of the constraints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flows.dual import BendingStep
from flows.forms import assembled
from flows.options import Options, direct
from flows.solver import SolveFailed

import numpy as np
import numpy.typing as npt
from dolfinx.fem import petsc as fempetsc
from mpi4py import MPI
from petsc4py import PETSc

__all__ = ["NormalNewton"]

type Floats = npt.NDArray[np.float64]


class NormalNewton:
    """Stationary points of a :class:`BendingStep` along the nodal normals.

    A factorisation serves as long as the iteration contracts fast with it.

    Args:
        step: The functional.
        prefix: Prefix of the PETSc options.
        options: The user's options.
    """

    tolerance = 1e-8
    """Largest error of a node that may be left, in roots of the area."""

    def __init__(self, step: BendingStep, prefix: str, options: Mapping[str, Any]) -> None:
        self.step = step
        surface = step.surface
        V, comm = surface.position.function_space, surface.mesh.comm
        self.comm = comm
        self._fields = (surface.position, step.y)
        self._spaces = [u.function_space for u in self._fields]
        self._residuals = list(zip(step.residual, self._spaces, strict=True))
        self._full = fempetsc.create_matrix(step.jacobian)
        self._nodes = V.dofmap.index_map.size_local
        self._pattern, self._normals = self._make_reduction(V.dofmap.index_map)
        self._reduced: PETSc.Mat | None = None
        self._b, self._x = (self._normals.createVecRight() for _ in range(2))
        self._work = self._normals.createVecLeft()
        self.options = Options(prefix, direct(symmetric=True), options)
        self.ksp = PETSc.KSP().create(comm)
        self.ksp.setOptionsPrefix(prefix)
        with self.options():
            self.ksp.setFromOptions()

    def forget(self) -> None:
        """Drop the factorisation and its analysis."""
        self.ksp.reset()

    def solve(self, targets: Sequence[float | None]) -> int:
        """Find the stationary point near the present position and dual variable.

        Args:
            targets: Area and volume to reach; ``None`` leaves one free.

        Returns:
            The number of iterations.

        Raises:
            SolveFailed: on every rank.
        """
        kept = [k for k, target in enumerate(targets) if target is not None]
        goal = np.array([targets[k] for k in kept])
        scale = self.step.sizes()[0] ** 0.5
        self._take_normals()
        before, fresh = 0.0, True
        for iteration in range(1, 13):
            gaps = self.step.sizes()[kept] - goal
            if fresh:
                self._factor()
            way = self._increment(kept, gaps) / scale
            if not way < 0.3:
                raise SolveFailed(f"Newton's method leaps, by {way:.2g} of the size of the surface")
            rate = way / before if before else 0.5
            left = way * rate / max(1 - rate, 0.1)
            if left < self.tolerance and np.all(np.abs(gaps) < 1e-9 * np.abs(goal)):
                return iteration
            if iteration > 5 and rate > 0.5:
                break
            # An iteration with old factors costs a tenth of one with new ones.
            slow = rate > 0.3 or way * rate**3 > 10 * self.tolerance
            fresh, before = slow and before > 0, way
        raise SolveFailed("Newton's method stagnates")

    def _increment(self, kept: Sequence[int], gaps: Floats) -> float:
        """One bordered solve, applied; returns the longest way of a node."""
        self._solve([assembled(form, V) for form, V in self._residuals])
        d = -self._x.array
        borders, answers = [], []
        for k in kept:
            borders.append(self._solve([assembled(self.step.slopes[k], self._spaces[0])]))
            answers.append(self._x.array.copy())
        if kept:
            dots = np.array([[g @ z for z in (*answers, d)] for g in borders])
            dots = self.comm.allreduce(dots, MPI.SUM)
            if not np.isfinite(dots).all():
                raise SolveFailed("the linear solve gave no numbers")
            shifts = np.linalg.solve(dots[:, :-1], gaps + dots[:, -1])
            for k, shift, z in zip(kept, shifts, answers, strict=True):
                d -= shift * z
                self.step.multipliers[k].value += shift
        return self._add(d.reshape(-1, 4))

    def _add(self, d: Floats) -> float:
        X, y = self._fields
        n = self._nodes
        normal = self.step.surface.normal.x.array.reshape(-1, 3)[:n]
        X.x.array.reshape(-1, 3)[:n] += d[:, :1] * normal
        y.x.array.reshape(-1, 3)[:n] += d[:, 1:]
        for u in self._fields:
            u.x.scatter_forward()
        return float(self.comm.allreduce(np.abs(d[:, 0]).max(initial=0.0), MPI.MAX))

    def _solve(self, blocks: Sequence[Floats]) -> Floats:
        """Solve with the reduced matrix for a full right-hand side; returns the reduced one."""
        n = 3 * self._nodes
        self._work.array[:] = 0.0
        for k, block in enumerate(blocks):
            self._work.array[k * n : (k + 1) * n] = block[:n]
        self._normals.multTranspose(self._work, self._b)
        self.ksp.solve(self._b, self._x)
        if self.ksp.getConvergedReason() < 0:
            raise SolveFailed(f"the linear solve failed ({self.ksp.getConvergedReason()})")
        return np.array(self._b.array_r)

    def _factor(self) -> None:
        self._full.zeroEntries()
        fempetsc.assemble_matrix(self._full, self.step.jacobian)
        self._full.assemble()
        self._reduced = self._full.ptap(self._normals, result=self._reduced)
        self._reduced.setOption(PETSc.Mat.Option.SYMMETRIC, True)
        self.ksp.setOperators(self._reduced)
        with self.options():
            self.ksp.setUp()

    def _take_normals(self) -> None:
        n = self._nodes
        values = np.ones((2, n, 3))
        values[0] = self.step.surface.normal.x.array.reshape(-1, 3)[:n]
        self._normals.setValuesCSR(*self._pattern, values.ravel())
        self._normals.assemble()

    def _make_reduction(self, index_map: Any) -> tuple[tuple[Any, Any], PETSc.Mat]:
        """The matrix P: one entry in each row; the four unknowns of a node stand together."""
        n = self._nodes
        first = 4 * np.arange(*index_map.local_range)[:, None]
        columns = np.concatenate([first + np.zeros(3, dtype=int), first + np.arange(1, 4)]).ravel()
        csr = np.arange(6 * n + 1).astype(PETSc.IntType), columns.astype(PETSc.IntType)
        sizes = [(n * size, index_map.size_global * size) for size in (6, 4)]
        matrix = PETSc.Mat().createAIJ(sizes, csr=(*csr, np.ones(6 * n)), comm=self.comm)
        return csr, matrix
