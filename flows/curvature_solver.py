r"""The step of mean curvature flow at scale: matrices from one pass over the cells, short solves.

With the stiffness $K$ of the old surface and its positions $X$, the step for the displacement $d$
is $A d = -K X$, with the matrix of :mod:`flows.node_blocks`. Steps resemble one another: the
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
from flows.node_blocks import NodeBlocks
from flows.options import Options
from flows.solution_span import SolutionSpan
from flows.solver import Solver
from flows.surface import Surface

import numpy as np
import numpy.typing as npt
from petsc4py import PETSc

__all__ = ["CurvatureSolver"]

OPTIONS = {
    "ksp_type": "python",
    "ksp_converged_use_initial_residual_norm": True,  # NodeBlocks says what it is
    "ksp_rtol": 5e-6,
    "ksp_max_it": 1000,  # the first step of a fine mesh has no guess
    "pc_type": "none",
}

type Floats = npt.NDArray[np.float64]


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
        size = 3 * self.blocks.owned
        matrix = PETSc.Mat().createPython(((size, None),) * 2, self.blocks, comm=self.comm)
        matrix.setUp()
        self._past, self._pause = SolutionSpan(self.blocks), 0
        self.outer = PETSc.KSP().create(self.comm)
        self.outer.setOptionsPrefix(prefix)
        self.outer.setOperators(matrix)
        with Options(prefix, self.defaults, options)():
            self.outer.setFromOptions()
        self.outer.setPythonContext(self.blocks)
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
        (X,) = self.fields
        self._stiffness.assemble()
        self.blocks.refresh(1 / float(self._tau.value))
        converged = self._displace(X.x.array[: 3 * self.blocks.owned].reshape(-1, 3))
        X.x.scatter_forward()
        return converged

    def _displace(self, positions: Floats) -> bool:
        """Move the owned nodes, unless iterations do not converge; returns whether they do."""
        blocks = self.blocks
        self.outer.setInitialGuessNonzero(self._past.expect(positions))
        self.outer.solve(blocks.right, blocks.left)
        converged = bool(self.outer.getConvergedReason() > 0)
        if converged:
            self._past.keep(float(self._tau.value))
            positions += blocks.change[: blocks.owned]
        return converged

    @override
    def forget(self) -> None:
        if self._built:
            super().forget()
        self._unlearn()
        self._pause = 0

    def _unlearn(self) -> None:
        """Know nothing of earlier steps."""
        self._past.clear()
