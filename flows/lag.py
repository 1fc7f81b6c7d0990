"""Jacobians that serve as long as Newton's method contracts fast with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["Lag"]


class Lag:
    """Decides, by the norms of the residuals, when a Jacobian is made anew.

    An iteration with an old Jacobian costs a residual and a solve, less than half of one that
    assembles and factors: it pays where it brings more than a digit. Between steps a Jacobian is
    kept if its last iterations did, and the constants, the step size among them, are what they
    were.

    Args:
        limit: Largest ratio of successive residuals at which a Jacobian is kept.
        constants: What the Jacobian reads besides functions.

    Attributes:
        anew: Whether constants have changed since the Jacobian before the present one.
    """

    def __init__(self, limit: float, constants: Sequence[Any]) -> None:
        self.limit = limit
        self._constants = list(constants)
        self.forget()

    def forget(self) -> None:
        """Make the next Jacobian anew."""
        self.anew = True
        self._worst, self._norm = np.inf, 0.0
        self._seen: list[np.ndarray] | None = None

    def keeps(self, iteration: int, norm: float) -> bool:
        """Whether the Jacobian serves for one more iteration; equal on all ranks.

        Args:
            iteration: Number of the iteration in its solve.
            norm: The residual that it begins with.
        """
        now = [np.array(c.value) for c in self._constants]
        same = self._seen is not None and all(map(np.array_equal, now, self._seen))
        rate = norm / self._norm if iteration and self._norm else 0.0
        self._worst, self._norm = max(self._worst, rate) if iteration else self._worst, norm
        if same and self._worst < self.limit:
            return True
        self._worst, self._seen, self.anew = 0.0, now, not same
        return False
