r"""The step of mean curvature flow at scale: matrices from one pass over the cells, short solves.

With the stiffness $K$, the lumped masses $m_i$ and the normals $w_i$ of the old surface, the step
for the displacement $d$ is $A d = -K X$ with

$$ A = K \otimes I + \mathrm{diag}\Big(\frac{m_i}{\tau}\, w_i w_i^T\Big) \qquad\text{or}\qquad
   A = \Big(K + \mathrm{diag}\,\frac{m_i}{\tau}\Big) \otimes I $$

where tangential motion is free or costs as much as normal motion. Steps resemble one another: the
velocities of the last three span the next one up to a residual of third order in $\tau$, and leave
conjugate gradients a few iterations. So no preconditioner pays that has to be set up, and no
product but that of $K$ with all components at once. The tolerance of solves stays a hundred times
below what a step of implicit Euler has for an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, override

from flows.flat import Stiffness
from flows.functional import StepFunctional
from flows.options import Options
from flows.solution_span import SolutionSpan
from flows.solver import Solver
from flows.surface import Surface

import numpy as np
import numpy.typing as npt
from dolfinx.la import vector
from mpi4py import MPI
from petsc4py import PETSc

__all__ = ["CurvatureSolver"]

OPTIONS = {
    "ksp_type": "cg",
    "ksp_norm_type": "natural",  # it costs nothing
    "ksp_rtol": 1e-5,
    "ksp_max_it": 400,
    "pc_type": "python",
}

type Floats = npt.NDArray[np.float64]


class NodeBlocks:
    """The matrix of the step and its node by node inverse, contexts for PETSc's type ``python``.

    Args:
        surface: The surface.
        stiffness: Its stiffness matrix.
        costly: Whether tangential motion costs as much as normal motion.
    """

    def __init__(self, surface: Surface, stiffness: Stiffness, *, costly: bool) -> None:
        assert surface.cells is not None
        self._surface, self._stiffness = surface, stiffness
        self._kernels, n = surface.cells.kernels, surface.owned
        self.shape = n, 3
        self._ghosted: Any = None
        if surface.mesh.comm.size > 1:
            self._ghosted = vector(stiffness.rows.index_map(1), 3)
        self._zero, self._forces = np.zeros(n), np.zeros(self.shape)
        self.c, self._inverse, self._normal = np.zeros(n), np.zeros(n), np.zeros(n)
        self.w = None if costly else surface.normal.x.array

    def refresh(self, inverse: float) -> None:
        """Take the present surface, and the inverse of the step."""
        values, mass = self._stiffness.values, self._surface.mass.x.array
        given = values, self._stiffness.diagonal, inverse, mass, self.w
        found = self.c, self._inverse, self._normal
        self._kernels("invert", self.shape[0], *given, *found)

    def forces(self, x: Floats) -> Floats:
        """Minus the product of the stiffness with each component, until the next call."""
        self._multiply(self._zero, None, x, self._forces)
        return np.negative(self._forces, out=self._forces)

    def product(self, x: Floats, y: Floats) -> None:
        """Product with the matrix."""
        self._multiply(self.c, self.w, x, y)

    def _multiply(self, c: Floats, w: Floats | None, x: Floats, y: Floats) -> None:
        stiffness, n = self._stiffness, self.shape[0]
        if self._ghosted is not None:
            self._ghosted.array[: 3 * n] = x.ravel()
            self._ghosted.scatter_forward()
            x = self._ghosted.array
        matrix = stiffness.starts, stiffness.columns, stiffness.values
        self._kernels("multiply", n, *matrix, c, w, x, y)

    def mult(self, A: PETSc.Mat, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """Product with the matrix."""
        self.product(x.array_r, y.array)

    def apply(self, pc: PETSc.PC, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """Product with the inverse of the block of each node."""
        inverse = self._inverse, self._normal
        self._kernels("divide", self.shape[0], *inverse, self.w, x.array_r, y.array)


class CurvatureSolver(Solver):
    """Solver of a step of mean curvature flow by conjugate gradients from extrapolated velocities.

    Where they do not converge the general solver takes the step, and the next few.

    Args:
        surface: The surface.
        step: The step; its field is the immersion.
        costly: Whether tangential motion costs as much as normal motion.
        prefix: Prefix of the PETSc options.
        options: The user's options.

    Attributes:
        general: Whether the general solver took the last step.
    """

    defaults: Mapping[str, Any] = OPTIONS
    _built = False

    def __init__(
        self,
        surface: Surface,
        step: StepFunctional,
        *,
        costly: bool,
        prefix: str,
        options: Mapping[str, Any],
    ) -> None:
        given: Any = {"prefix": prefix, "options": options, "kept": step.kept}
        self._make_general = partial(
            super().__init__, step.residual, step.fields, definite=True, moving=True, **given
        )
        self.fields, self.kept, self.comm = list(step.fields), step.kept, surface.mesh.comm
        self.linear, self.coordinates, self.general = True, {}, False
        PETSc.garbage_cleanup(self.comm)  # solvers of flows that are gone
        assert surface.cells is not None
        self._surface, self._cells, self._tau = surface, surface.cells, step.tau
        self._stiffness = Stiffness(self._cells)
        self.blocks = NodeBlocks(surface, self._stiffness, costly=costly)
        self._old = np.zeros(self.blocks.shape)
        size = self._old.size
        self._matrix = PETSc.Mat().createPython(((size, None),) * 2, self.blocks, comm=self.comm)
        self._matrix.setUp()
        self._right, self._left = self._matrix.createVecs()
        self._past = SolutionSpan(size, self.comm)
        self._pause = 0
        self._lent = Options(prefix, self.defaults, options)
        self.outer = PETSc.KSP().create(self.comm)
        self.outer.setOptionsPrefix(prefix)
        self.outer.setOperators(self._matrix)
        with self._lent():
            self.outer.setFromOptions()
        self.outer.pc.setPythonContext(self.blocks)
        self._rtol = self.outer.getTolerances()[0]

    def __getattr__(self, name: str) -> Any:
        """What the general solver has: it is made when something asks for it, which is seldom."""
        if name.startswith("_") or self._built:
            raise AttributeError(f"{type(self).__name__} has no {name!r}")
        self._build()
        return getattr(self, name)

    def _build(self) -> None:
        """Make the general solver; collective."""
        if not self._built:
            self._built = True
            self._make_general()

    @staticmethod
    def suits(surface: Surface, prefix: str, options: Mapping[str, Any]) -> bool:
        """Whether the solver is the fastest way: a surface, and no other asked for."""
        asked = any(
            key in options or PETSc.Options(prefix).hasName(key) for key in ("ksp_type", "pc_type")
        )
        return surface.mesh.topology.dim == 2 and not asked

    @override
    def solve(self) -> int:
        self.general = bool(self._pause) or not self._iterate()
        if not self.general:
            return 1
        self._unlearn()
        self._pause = self._pause - 1 if self._pause else 10
        self._build()
        return super().solve()

    def _iterate(self) -> bool:
        """Solve from the extrapolated displacement; returns whether that converged."""
        (X,), tau, blocks = self.fields, float(self._tau.value), self.blocks
        self._stiffness.assemble()
        blocks.refresh(1 / tau)
        old = self._old
        old[:] = X.x.array[: old.size].reshape(old.shape)
        change = self._correct(old, blocks.forces(old))
        if change is None:
            self._put(old)
            return False
        self._past.keep(change, tau)
        self._put(np.add(old, change, out=change))
        return True

    def _put(self, x: Floats) -> None:
        """Give the field the values of the owned nodes."""
        (X,) = self.fields
        X.x.array[: x.size] = x.ravel()
        X.x.scatter_forward()

    def _correct(self, old: Floats, forces: Floats) -> Floats | None:
        """The displacement from the old positions; ``None`` where iterations do not converge."""
        change, left = self._past.expect(forces, self.blocks.product)
        whole, rest = self._norms(forces, left)
        if rest > whole:  # the state is not where the last step has left it
            change[:], left, rest = 0.0, forces, whole
        if rest == 0:
            return change
        found = self._solve(left, self._rtol * whole / rest)
        return None if found is None else np.add(change, found, out=change)

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
        self.comm.Allreduce(MPI.IN_PLACE, squares)
        return np.sqrt(squares)

    @override
    def forget(self) -> None:
        if self._built:
            super().forget()
        self._unlearn()
        self._pause = 0

    def _unlearn(self) -> None:
        """Know nothing of earlier steps."""
        self._past.clear()
