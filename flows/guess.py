"""First iterates: the states of a smooth flow tell where the next one will be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import override

from flows.coordinate import Coordinate
from flows.functional import StepFunctional
from flows.solver import SolveFailed, Solver

import numpy as np
from dolfinx import fem
from mpi4py import MPI

__all__ = ["Guess", "GuessingSolver"]


class Guess:
    r"""The polynomial through the last states, at the time of the next one.

    Args:
        fields: What is to be guessed.
        state: The first of the fields is a state: a guess is made only where it still has ...
        old: ... the values that it had when the step began.
        order: Degree of the polynomial.
        positive: Whether no value is guessed below zero, and below what it was.
    """

    def __init__(
        self,
        fields: Sequence[fem.Function],
        old: fem.Function,
        *,
        order: int = 2,
        positive: bool = False,
    ) -> None:
        self.fields, self.old, self.order, self.positive = list(fields), old, order, positive
        self._past: list[list[np.ndarray]] = []
        self._steps: list[float] = []

    def forget(self) -> None:
        """Drop the past: a resumed run has none."""
        self._past, self._steps = [], []

    def make(
        self, tau: float, coordinates: Mapping[fem.Function, Coordinate] | None = None
    ) -> bool:
        """Put the guess for a step of size ``tau`` into the fields, if there is one.

        Args:
            tau: The step.
            coordinates: Variables in which some of the fields are polynomials in time.

        Returns:
            Whether there is one; equal on all ranks.
        """
        first = self.fields[0].x.array
        begun = np.array_equal(first, self.old.x.array)
        again = begun and bool(self._past) and np.array_equal(first, self._past[-1][0])
        standing = self.old.function_space.mesh.comm.allreduce(begun + again, MPI.MIN)
        if not standing:
            return False
        if standing == 2:
            self._steps[-1] = tau
        else:
            self._keep(tau)
        if len(self._past) < 2:
            return False
        weights = self._weights(tau)
        for i, f in enumerate(self.fields):
            coordinate = (coordinates or {}).get(f)
            known = [values[i] for values in self._past]
            if coordinate is not None:
                known = [coordinate.inverse(coordinate.inside(u)) for u in known]
            s = np.sum([w * u for w, u in zip(weights, known, strict=True)], axis=0)
            f.x.array[:] = s if coordinate is None else coordinate.value(s)
            if self.positive:
                least = np.minimum(self._past[-1][i], 0.0)
                np.maximum(f.x.array, least, out=f.x.array)
        return True

    def _keep(self, tau: float) -> None:
        recycled = self._past.pop(0) if len(self._past) > self.order else None
        if recycled is None:
            recycled = [np.empty_like(f.x.array) for f in self.fields]
        else:
            self._steps.pop(0)
        for kept, f in zip(recycled, self.fields, strict=True):
            kept[:] = f.x.array
        self._past.append(recycled)
        self._steps.append(tau)

    def _weights(self, tau: float) -> list[float]:
        """Lagrange's weights of the states at the end of a step of size ``tau``."""
        times = np.concatenate([[0.0], np.cumsum(self._steps)])
        known, t = times[:-1], times[-1]
        return [float(np.prod([(t - s) / (r - s) for s in known if s != r])) for r in known]


class GuessingSolver(Solver):
    """Newton's method from guesses; from the old state where one leads nowhere."""

    _least = 0.0

    def _expect(
        self,
        step: StepFunctional,
        fields: Sequence[fem.Function],
        masses: Sequence[np.ndarray],
        *,
        positive: bool = False,
        exact: bool = True,
    ) -> None:
        """Guess fields of a step from now on.

        Args:
            step: The step.
            fields: What to guess, states first.
            masses: Lumped masses of the states, owned entries.
            positive: Whether the fields are densities.
            exact: Whether what is conserved is exact at any tolerance; else nothing is guessed, and
                Newton's method goes on until it is small.
        """
        self._step, self._masses, self._least = step, masses, self.snes.atol
        self._exact = exact
        self._guess = Guess(fields, step.old[0], positive=positive)

    @override
    def fit(self, means: Mapping[fem.Function, float], tolerance: float) -> None:
        super().fit(means, tolerance)
        self._least = self.snes.atol

    @override
    def forget(self) -> None:
        super().forget()
        self._guess.forget()

    @override
    def solve(self) -> int:
        before, krylov = [f.x.array.copy() for f in self._guess.fields], self.ksp.atol
        tau = float(self._step.tau.value)
        if not self._exact or not self._guess.make(tau, self.coordinates):
            return super().solve()
        if not self.options.given("snes_atol"):
            # Without a guess the first residual would be this large: it says what is small.
            self.snes.atol = max(self._least, self.snes.rtol * self._change())
        if not self.options.given("ksp_atol"):
            self.ksp.atol = 0.3 * self.snes.atol  # no iteration for what nobody asks
        try:
            return super().solve()
        except SolveFailed:
            for f, values in zip(self._guess.fields, before, strict=True):
                f.x.array[:] = values
            self._guess.forget()
        finally:
            self.snes.atol, self.ksp.atol = self._least, krylov
        return super().solve()

    def _change(self) -> float:
        """Norm of the change of the states, weighted by their masses."""
        local = 0.0
        for u, v, mass in zip(self._step.states, self._step.old, self._masses, strict=True):
            local += float(np.sum((mass * (u.x.array - v.x.array)[: mass.size]) ** 2))
        return float(np.sqrt(self.comm.allreduce(local)))
