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
        self._comm, self._known = comm, 0
        self._differences, self._images = np.zeros((DEPTH, size)), np.zeros((DEPTH + 1, size))
        self._found, self._left = np.zeros(size), np.zeros(size)

    def expect(
        self, forces: Floats, product: Callable[[Floats, Floats], None]
    ) -> tuple[Floats, Floats]:
        """The solution, and what it leaves of the forces; zero while nothing is known.

        The arrays that are returned serve again in the next step: the caller may change them.

        Args:
            forces: The $f$.
            product: Writes the product of $A$ with its first argument into its second.
        """
        k, found, left = self._known, self._found, self._left
        found[:], left[:] = 0.0, forces.ravel()
        if k:
            d, images = self._differences[:k], self._images[: k + 1]
            for v, image in zip(d, images, strict=False):
                product(v, image)
            images[k] = left
            weights = self._weights(d @ images.T)
            np.dot(weights, d, out=found)
            np.dot(weights, images[:k], out=images[k])
            left -= images[k]
        return found.reshape(forces.shape), left.reshape(forces.shape)

    def _weights(self, sums: Floats) -> Floats:
        """Weights of the differences, from their products with images and forces on this rank."""
        self._comm.Allreduce(MPI.IN_PLACE, sums)
        scale = np.sqrt(np.maximum(sums.diagonal(), 1e-300))
        gram, right = sums[:, :-1] / np.outer(scale, scale), sums[:, -1] / scale
        return np.asarray(np.linalg.lstsq(gram, right, rcond=1e-12)[0] / scale)

    def keep(self, change: Floats, tau: float) -> None:
        """Take the solution of a step that was made."""
        new, other = self._images[:2]
        np.divide(change.ravel(), tau, out=new)
        self._known = min(self._known + 1, DEPTH)
        for k in range(self._known):
            np.subtract(new, self._differences[k], out=other)
            self._differences[k] = new
            new, other = other, new

    def clear(self) -> None:
        """Know nothing."""
        self._known = 0
