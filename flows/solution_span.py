"""Solutions of a step in the span of those of the last steps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

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
        size: Local size of the solutions.
        comm: Ranks that share them.
    """

    def __init__(self, size: int, comm: MPI.Comm) -> None:
        self._size, self._comm = size, comm
        self._known, self._differences = 0, np.zeros((0, 0))

    def expect(
        self, forces: Floats, product: Callable[[Floats, Floats], None]
    ) -> tuple[Floats, Floats]:
        """The solution, and what it leaves of the forces; zero while nothing is known.

        Args:
            forces: The $f$.
            product: Writes the product of $A$ with its first argument into its second.
        """
        f, k = forces.ravel(), self._known
        if not k:
            return np.zeros_like(forces), forces.copy()
        d, images = self._differences[:k], self._images[: k + 1]
        for v, image in zip(d, images, strict=False):
            product(v, image)
        images[k] = f
        sums = self._comm.allreduce(d @ images.T, MPI.SUM)
        scale = np.sqrt(np.maximum(sums.diagonal(), 1e-300))
        gram, right = sums[:, :k] / np.outer(scale, scale), sums[:, k] / scale
        weights = np.linalg.lstsq(gram, right, rcond=1e-12)[0] / scale
        left = f - weights @ images[:k]
        return (weights @ d).reshape(forces.shape), left.reshape(forces.shape)

    def keep(self, velocity: Floats) -> None:
        """Take the velocity in a step that was made."""
        if not self._differences.size:
            self._differences = np.zeros((DEPTH, self._size))
            self._images = np.zeros((DEPTH + 1, self._size))
        new = velocity.ravel()
        for k in range(min(self._known + 1, DEPTH)):
            new, self._differences[k] = new - self._differences[k], new
        self._known = min(self._known + 1, DEPTH)

    def clear(self) -> None:
        """Know nothing."""
        self._known = 0
        self._differences[:] = 0.0
