"""What the next step of a flow will do, judged by the last two."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Extrapolation"]

type Floats = npt.NDArray[np.float64]


class Extrapolation:
    r"""Changes of steps of any sizes, expected from their rates: an error of order $\tau^3$.

    $$ d \approx \tau \Big( v_k + \frac{\tau + \tau_k}{\tau_k + \tau_{k-1}} (v_k - v_{k-1}) \Big),
       \qquad v_k = d_k / \tau_k $$
    """

    def __init__(self) -> None:
        self._past: list[tuple[Floats, float]] = []

    def expect(self, tau: float) -> Floats | float:
        """The change in a step of size ``tau``; zero while nothing is known."""
        if not self._past:
            return 0.0
        (v, last), *before = self._past
        if not before:
            return tau * v
        ((u, first),) = before
        return tau * (v + (tau + last) / (last + first) * (v - u))

    def keep(self, change: Floats, tau: float) -> None:
        """Take the change in a step that was made."""
        self._past = [(change / tau, tau), *self._past[:1]]

    def clear(self) -> None:
        """Know nothing."""
        self._past = []
