"""Solutions of a step in the span of those of the last steps."""

from __future__ import annotations

from flows.node_blocks import NodeBlocks

import numpy as np
import numpy.typing as npt

__all__ = ["SolutionSpan"]

DEPTH = 3
"""More differences are rounding, and what tolerances have left."""

type Floats = npt.NDArray[np.float64]


class SolutionSpan:
    r"""The solution of $A d = f$ as far as the solutions of the last steps know it.

    $$ d \approx \operatorname*{argmin} \tfrac12 d \cdot A d - f \cdot d \quad\text{over}\quad
       \operatorname{span}\{v,\; \delta v,\; \delta^2 v\} $$

    with the backward differences of the last velocities $v$. Extrapolation with fixed weights lies
    in the same space, but multiplies what the tolerance of solves has left by seven; these weights
    weigh one error against the other.

    Args:
        blocks: The system of the step.
    """

    def __init__(self, blocks: NodeBlocks) -> None:
        self._blocks, self._known = blocks, 0
        self._fields = blocks.field(3 * (DEPTH + 1))
        self.fields = self._fields.array.reshape(-1, 3, DEPTH + 1)
        self._d, self._x = blocks.kernels.given(self.fields, blocks.change)

    def expect(self, positions: Floats) -> bool:
        """Find forces, and put the solution into ``change`` as far as it is known; collective.

        Args:
            positions: Those of the owned nodes, shape (nodes, 3).

        Returns:
            Whether anything is known.
        """
        blocks, k, weights = self._blocks, self._known, np.zeros(DEPTH)
        self.fields[: blocks.owned, :, DEPTH] = positions
        blocks.share(self._fields)
        sums = blocks.expect(self._d)
        if not k:
            return False
        weights[:k] = _weights(sums[:k, :k], -sums[:k, DEPTH])
        blocks.kernels("blend", len(self.fields), weights, self._d, self._x)
        blocks.left.stateIncrease()  # PETSc has seen zeros there
        return True

    def keep(self, tau: float) -> None:
        """Take the solution of a step that was made."""
        blocks = self._blocks
        blocks.kernels("follow", blocks.owned, 1 / tau, self._x, self._d)
        self._known = min(self._known + 1, DEPTH)

    def clear(self) -> None:
        """Know nothing."""
        self._known = 0


def _weights(gram: Floats, right: Floats) -> Floats:
    """Weights of the differences; a difference that is rounding has none."""
    scale = np.sqrt(np.maximum(gram.diagonal(), 1e-300))
    values, modes = np.linalg.eigh(gram / np.outer(scale, scale))
    kept = values > 1e-12 * values[-1]
    modes, values = modes[:, kept] / scale[:, None], values[kept]
    return np.asarray(modes @ (right @ modes / values))
