r"""The step of mean curvature flow at scale: matrices from one pass over the cells, short solves.

With the stiffness $K$, the lumped masses $m_i$ and the normals $w_i$ of the old surface, the step
for the displacement $d$ is $A d = -K X$ with

$$ A = K \otimes I + \mathrm{diag}\Big(\frac{m_i}{\tau}\, w_i w_i^T\Big) \qquad\text{or}\qquad
   A = \Big(K + \mathrm{diag}\,\frac{m_i}{\tau}\Big) \otimes I $$

where tangential motion is free or costs as much as normal motion. Steps resemble one another: the
velocities of the last two steps, extrapolated, leave a residual of second order in $\tau$, and
conjugate gradients a few iterations. So no preconditioner pays that has to be set up, and no
product but that of $K$ with all components at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, override

from flows.extrapolation import Extrapolation
from flows.flat import Stiffness
from flows.functional import StepFunctional
from flows.options import Options
from flows.solver import Solver
from flows.surface import Surface

import numpy as np
import numpy.typing as npt
from mpi4py import MPI
from petsc4py import PETSc

__all__ = ["CurvatureSolver"]

OPTIONS = {
    "ksp_type": "cg",
    "ksp_norm_type": "natural",  # it costs nothing
    "ksp_rtol": 1e-6,
    "ksp_max_it": 400,
    "pc_type": "python",
}

type Floats = npt.NDArray[np.float64]


class NodeBlocks:
    """The matrix of the step and its node by node inverse, contexts for PETSc's type ``python``.

    Vectors hold one component after the other.

    Args:
        surface: The surface.
        stiffness: Its stiffness matrix.
        costly: Whether tangential motion costs as much as normal motion.
    """

    def __init__(self, surface: Surface, stiffness: PETSc.Mat, *, costly: bool) -> None:
        self._surface, self._stiffness, self._costly = surface, stiffness, costly
        n, dim = surface.owned, surface.mesh.geometry.dim
        self.shape = dim, n
        self._given = PETSc.Mat().createDense(((n, None), (None, dim)), comm=stiffness.comm)
        self._given.setUp()
        self._given.assemble()
        self._result = stiffness.matMult(self._given)
        self._diagonal = stiffness.createVecLeft()
        self.w = np.zeros(self.shape)

    def refresh(self, inverse: float) -> None:
        """Take the present surface, and the inverse of the step."""
        surface, (dim, n) = self._surface, self.shape
        self._stiffness.getDiagonal(self._diagonal)
        k = self._diagonal.array_r
        self.c = c = inverse * surface.mass.x.array[:n]
        if self._costly:
            self._inverse = 1 / (k + c)
            return
        self.w[:] = surface.normal.x.array.reshape(-1, dim)[:n].T
        self._inverse = 1 / k
        squares = np.einsum("ij,ij->j", self.w, self.w)
        self._normal = c / (k * (k + c * squares))

    def forces(self, x: Floats) -> Floats:
        """Minus the product of the stiffness with each component."""
        return np.asarray(-self._stiff(x))

    def product(self, x: Floats, out: Floats) -> None:
        """Product with the matrix."""
        if self._costly:
            np.multiply(self.c, x, out=out)
        else:
            np.multiply(self.c * np.einsum("ij,ij->j", self.w, x), self.w, out=out)
        out += self._stiff(x)

    def _stiff(self, x: Floats) -> Floats:
        self._given.getDenseArray().T[:] = x
        self._stiffness.matMult(self._given, result=self._result)
        return np.asarray(self._result.getDenseArray().T)

    def mult(self, A: PETSc.Mat, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """Product with the matrix."""
        self.product(x.array_r.reshape(self.shape), y.array.reshape(self.shape))

    def apply(self, pc: PETSc.PC, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """Product with the inverse of the block of each node."""
        r, z = x.array_r.reshape(self.shape), y.array.reshape(self.shape)
        np.multiply(r, self._inverse, out=z)
        if not self._costly:
            z -= (self._normal * np.einsum("ij,ij->j", self.w, r)) * self.w


class CurvatureSolver(Solver):
    """Solver of a step of mean curvature flow by conjugate gradients from extrapolated velocities.

    Where they do not converge the general solver takes the step, and the next few.

    Args:
        surface: The surface.
        step: The step; its field is the immersion.
        costly: Whether tangential motion costs as much as normal motion.
        prefix: Prefix of the PETSc options.
        options: The user's options.
    """

    def __init__(
        self,
        surface: Surface,
        step: StepFunctional,
        *,
        costly: bool,
        prefix: str,
        options: Mapping[str, Any],
    ) -> None:
        super().__init__(
            step.residual,
            step.fields,
            prefix=prefix,
            options=options,
            definite=True,
            moving=True,
            kept=step.kept,
        )
        assert surface.cells is not None
        self._surface, self._cells, self._tau = surface, surface.cells, step.tau
        self._stiffness = Stiffness(self._cells)
        self.blocks = NodeBlocks(surface, self._stiffness.petsc, costly=costly)
        size = int(np.prod(self.blocks.shape))
        self._matrix = PETSc.Mat().createPython(((size, None),) * 2, self.blocks, comm=self.comm)
        self._matrix.setUp()
        self._right, self._left = self._matrix.createVecs()
        self._past = Extrapolation()
        self._pause = 0
        self._lent = Options(prefix, OPTIONS, options)
        self.outer = PETSc.KSP().create(self.comm)
        self.outer.setOptionsPrefix(prefix)
        self.outer.setOperators(self._matrix)
        with self._lent():
            self.outer.setFromOptions()
        self.outer.pc.setPythonContext(self.blocks)
        self._rtol = self.outer.getTolerances()[0]

    @staticmethod
    def suits(surface: Surface, prefix: str, options: Mapping[str, Any]) -> bool:
        """Whether the solver is the fastest way: a surface, and no other asked for."""
        asked = any(
            key in options or PETSc.Options(prefix).hasName(key) for key in ("ksp_type", "pc_type")
        )
        return surface.mesh.topology.dim == 2 and not asked

    @override
    def solve(self) -> int:
        if self._pause:
            self._pause -= 1
        elif self._iterate():
            return 1
        else:
            self._past.clear()
            self._pause = 10
        return super().solve()

    def _iterate(self) -> bool:
        """Solve from the extrapolated displacement; returns whether that converged."""
        (X,), tau, blocks = self.fields, float(self._tau.value), self.blocks
        dim, n = blocks.shape
        x = X.x.array.reshape(-1, dim)[:n].T
        self._stiffness.assemble()
        blocks.refresh(1 / tau)
        old = np.ascontiguousarray(x)
        forces = blocks.forces(old)
        change = self._correct(old, forces, self._past.expect(tau) + np.zeros_like(old))
        if change is None:
            self._put(old)
            return False
        self._put(old + change)
        self._past.keep(change, tau)
        return True

    def _put(self, x: Floats) -> None:
        """Give the field the values of the owned nodes."""
        (X,), (dim, n) = self.fields, self.blocks.shape
        X.x.array.reshape(-1, dim)[:n] = x.T
        X.x.scatter_forward()

    def _correct(self, old: Floats, forces: Floats, change: Floats) -> Floats | None:
        """The displacement, from a guess; ``None`` where iterations do not converge."""
        left = self._left_of(forces, change)
        whole, rest = self._norms(forces, left)
        if rest > whole:  # the state is not where the last step has left it
            change, left, rest = np.zeros_like(forces), forces, whole
        if rest == 0:
            return change
        found = self._solve(left, self._rtol * whole / rest)
        return None if found is None else change + found

    def _left_of(self, forces: Floats, change: Floats) -> Floats:
        """What a displacement leaves of the forces."""
        left = np.empty_like(forces)
        self.blocks.product(change, left)
        return np.subtract(forces, left, out=left)

    def _solve(self, left: Floats, rtol: float) -> Floats | None:
        """The displacement that balances forces; ``None`` where iterations do not converge."""
        self.outer.setTolerances(rtol=min(0.5, rtol))
        self._left.array[:] = left.ravel()
        with self._lent():
            self.outer.solve(self._left, self._right)
        if self.outer.getConvergedReason() < 0:
            return None
        return np.asarray(self._right.array_r.reshape(left.shape))

    def _norms(self, *arrays: Floats) -> Floats:
        squares = np.array([np.vdot(a, a) for a in arrays])
        return np.asarray(np.sqrt(self.comm.allreduce(squares, MPI.SUM)))

    @override
    def forget(self) -> None:
        super().forget()
        self._past.clear()
        self._pause = 0
