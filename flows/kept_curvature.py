r"""The step of mean curvature flow under constraints, such as a volume that is kept.

With the slopes $G' = w$ of the constraints at the new surface the step is

$$ A d = -K X - \lambda w(X + d), \qquad G(X + d) = G(X). $$

Constraints bend little in a step: iterations with the matrix $A$ of the free step, bordered by $w$,
converge fast, and need neither second derivatives nor another preconditioner.
"""

from __future__ import annotations

from typing import Any, override

from flows.curvature_solver import OPTIONS, CurvatureSolver
from flows.extrapolation import Extrapolation

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

__all__ = ["KeptCurvatureSolver"]

ITERATIONS = 20
"""Beyond that the general solver is faster."""

type Floats = npt.NDArray[np.float64]


class KeptCurvatureSolver(CurvatureSolver):
    """Solver of a step under constraints, from the displacements and multipliers of the last."""

    defaults = OPTIONS | {"ksp_rtol": 1e-6}
    _answers: list[Floats] = []

    def __init__(self, *surface_and_step: Any, **options: Any) -> None:
        super().__init__(*surface_and_step, **options)
        self._velocities = Extrapolation()

    @override
    def _displace(self, positions: Floats) -> bool:
        self._past.expect(positions)  # which finds the forces
        old = positions.copy()
        change = self._find(old, self.blocks.forces.copy())
        self._put(old if change is None else old + change)
        return change is not None

    def _find(self, old: Floats, forces: Floats) -> Floats | None:
        """The displacement under constraints; ``None`` where iterations do not converge."""
        assert self.kept is not None
        multipliers = np.array([float(m.value) for m in self.kept.multipliers])
        self._answers = self._answers or [np.zeros_like(forces) for _ in multipliers]
        change = self._velocities.expect(float(self._tau.value)) + np.zeros_like(forces)
        for _ in range(ITERATIONS):
            slopes = self._slopes_at(old + change)
            net = forces - np.tensordot(multipliers, slopes, 1)
            left = self._left_of(net, change)
            whole, rest = self._norms(net, left)
            gaps = self.kept.gaps()
            if rest <= self._rtol * whole:
                closed = self._close(old, change, slopes, gaps)
                if closed is not None:
                    self._velocities.keep(closed, float(self._tau.value))
                return closed
            if not np.isfinite(rest):
                return None
            found = self._solve(left, max(0.01, self._rtol * whole / rest))
            if found is None or not self._update_answers(slopes):
                return None
            steps = self._border(slopes, self._products(slopes, [found])[:, 0] + gaps)
            change = change + found - np.tensordot(steps, self._answers, 1)
            multipliers += steps
            for m, value in zip(self.kept.multipliers, multipliers, strict=True):
                m.value = value
        return None

    def _slopes_at(self, x: Floats) -> list[Floats]:
        """Slopes of the constraints where the owned nodes are at ``x``."""
        assert self.kept is not None
        self._put(x)
        return [np.array(w).reshape(x.shape) for (w,) in self.kept.slopes()]

    def _update_answers(self, slopes: list[Floats]) -> bool:
        """Displacements that the slopes, taken for forces, bring about."""
        for k, w in enumerate(slopes):
            left = self._left_of(w, self._answers[k])
            whole, rest = self._norms(w, left)
            if rest <= 0.01 * whole:
                continue
            found = self._solve(left, 0.01 * whole / rest)
            if found is None:
                return False
            self._answers[k] = self._answers[k] + found
        return True

    def _left_of(self, forces: Floats, change: Floats) -> Floats:
        """What a displacement leaves of the forces."""
        left = np.empty_like(forces)
        self.blocks.product(change, left)
        return np.subtract(forces, left, out=left)

    def _solve(self, left: Floats, rtol: float) -> Floats | None:
        """The displacement that balances forces; ``None`` where iterations do not converge."""
        blocks = self.blocks
        self.outer.setTolerances(rtol=min(0.5, rtol))
        blocks.forces[:] = left
        self.outer.solve(blocks.right, blocks.left)
        if self.outer.getConvergedReason() < 0:
            return None
        return np.array(blocks.change[: blocks.owned])

    def _norms(self, *arrays: Floats) -> Floats:
        return np.sqrt(self.blocks.total([np.vdot(a, a) for a in arrays]))

    def _put(self, x: Floats) -> None:
        """Give the field the values of the owned nodes."""
        (X,) = self.fields
        X.x.array[: x.size] = x.ravel()
        X.x.scatter_forward()

    def _border(self, slopes: list[Floats], right: Floats) -> Floats:
        return np.asarray(np.linalg.solve(self._products(slopes, self._answers), right))

    def _products(self, rows: list[Floats], columns: list[Floats]) -> Floats:
        local = np.array([[np.vdot(w, z) for z in columns] for w in rows])
        return np.asarray(self.comm.allreduce(local, MPI.SUM))

    def _close(
        self, old: Floats, change: Floats, slopes: list[Floats], gaps: Floats
    ) -> Floats | None:
        """Close the gaps of the constraints to rounding."""
        assert self.kept is not None
        for _ in range(5):
            if self.kept.satisfied():
                return change
            change = change - np.tensordot(self._border(slopes, gaps), self._answers, 1)
            self._put(old + change)
            gaps = self.kept.gaps()
        return change if self.kept.satisfied() else None

    @override
    def forget(self) -> None:
        super().forget()
        self._answers = []
        for m in self.kept.multipliers if self.kept else ():
            m.value = 0.0

    @override
    def _unlearn(self) -> None:
        self._velocities.clear()
