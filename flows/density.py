r"""What densities need in a step: a variable that keeps them positive, a start, exact mass."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from flows.coordinate import Coordinate, Positive, guard, natural
from flows.forms import VERTEX, assembled, compiled, integrate, lump, lumpable
from flows.metric import Metric
from flows.mobility import EdgeWeights, Upwind, edge_weights
from flows.solver import Solver

import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI

__all__ = ["EMPTY", "Densities", "at_nodes"]

log = logging.getLogger("flows")

EMPTY = 1e-12
"""Share of the mean density that is too small to tell from an empty region."""

BARRIERS = (1e-1, 2e-2, 4e-3, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 0.0)
"""Heights of the barrier at zero in the solves that lead to a path of several pieces."""

UNDERSHOOT = 1e-2
"""Largest negative density of an accepted step, relative to the largest density."""

TOLERANCE = 1e-9
"""Negative densities below this share of the largest are what Newton's method leaves undone."""

PRECISION = 1e-12
"""Residual of continuity, relative to the masses of the nodes, at which Newton's method is done."""


def at_nodes(
    energy: ufl.Form, states: Sequence[fem.Function], metrics: Sequence[Metric]
) -> tuple[ufl.Form, bool, dict[fem.Function, Coordinate]]:
    """Take an energy by the vertex rule, where the metrics of its densities ask for that.

    Args:
        energy: The energy as it was stated.
        states: The states.
        metrics: The metric of each.

    Returns:
        The energy, whether all states are such densities, and the variables in which they are to
        be sought because the energy, or the metric, ends at zero.
    """
    pairs = list(zip(states, metrics, strict=True))
    lumped = [u for u, m in pairs if m.lumped and lumpable(u)]
    if lumped != list(states):
        return energy, False, {}
    for u, m in pairs:
        if isinstance(getattr(m, "mobility", None), Upwind):
            _warn(u, edge_weights(u.function_space))
    coordinates = {
        u: c or Positive() for u, m in pairs if (c := natural(energy, u)) is not None or m.positive
    }
    return lump(guard(energy, lumped), lumped), True, coordinates


def _warn(u: fem.Function, weights: EdgeWeights) -> None:
    if weights.negative and u.function_space.mesh.comm.rank == 0:
        log.warning(
            "%d of %d edge weights of the mesh are negative (the worst %.1e of the largest): the "
            "mobility Upwind cannot keep signs there, and steps may fail; take Cell.",
            *weights,
        )


class Densities:
    """The densities of a step: P1 functions under the vertex rule.

    Args:
        states: The densities.
        data: The functions from which the step sets out, one per density.
        gains: Functionals of what each density has yet to gain; none where mass is not its own.
    """

    def __init__(
        self,
        states: Sequence[fem.Function],
        data: Sequence[fem.Function],
        gains: Sequence[ufl.Form] = (),
    ) -> None:
        self.states, self.data = list(states), list(data)
        self._gains = [compiled(gain) for gain in gains]
        self.comm = states[0].function_space.mesh.comm
        self.masses = []
        for V in (u.function_space for u in states):
            form = compiled(ufl.TestFunction(V) * ufl.dx(metadata=VERTEX))
            self.masses.append(assembled(form, V)[: V.dofmap.index_map.size_local])
        self._means: list[float] = []

    def fit(self, solver: Solver) -> None:
        """Tell the solver what size the densities of this step have."""
        local = []
        for mass, v in zip(self.masses, self.data, strict=True):
            weighted = mass * v.x.array[: mass.size]
            local.append([mass.sum(), weighted.sum(), weighted @ weighted])
        sums = np.empty((len(local), 3))
        self.comm.Allreduce(np.array(local), sums, MPI.SUM)
        means = sums[:, 1] / sums[:, 0]
        # A species that is nowhere yet will be of the size of the others.
        self._means = [float(mean) if mean > 0 else float(means.max()) for mean in means]
        sizes = dict(zip(self.states, self._means, strict=True))
        solver.fit(sizes, PRECISION * float(np.sqrt(sums[:, 2].sum())))

    @contextmanager
    def filled(self, share: float) -> Iterator[None]:
        """Lend the data a share of their mean density."""
        given = [v.x.array.copy() for v in self.data]
        try:
            for v, values, mean in zip(self.data, given, self._means, strict=True):
                v.x.array[:] = (1 - share) * values + share * mean
            yield
        finally:
            for v, values in zip(self.data, given, strict=True):
                v.x.array[:] = values

    def along_barrier(self, barrier: fem.Constant, solver: Solver) -> int:
        """Solve behind a barrier that falls; returns the Newton iterations of the last solve."""
        its = 0
        for height in BARRIERS:
            barrier.value = height * max(self._means)
            its = solver.solve()
        return its

    def empty(self) -> bool:
        """Whether the data vanish somewhere."""
        local = any(v.x.array.min(initial=np.inf) <= 0 for v in self.data)
        return bool(self.comm.allreduce(local, MPI.LOR))

    def level(self, potentials: Sequence[fem.Function]) -> None:
        """Make the densities the same everywhere: from there Newton's method comes down safely."""
        for u, mean in zip(self.states, self._means, strict=True):
            u.x.array[:] = mean
        for mu in potentials:
            mu.x.array[:] = 0.0

    def from_level(self, solver: Solver) -> None:
        """Solve from densities that are the same everywhere, in a variable that stays positive.

        A gas without a barrier at zero is sought as it is, which costs less where that succeeds.
        """
        means = zip(self.states, self._means, strict=True)
        solver.coordinates = {u: Positive().fitted(mean) for u, mean in means}
        self.level(())
        try:
            solver.solve()
        finally:
            solver.coordinates = {}

    def sound(self) -> bool:
        """Whether the densities are, but for a small undershoot of a gas, not negative."""
        return all(low >= -UNDERSHOOT * high for low, high in map(self._range, self.states))

    def _range(self, u: fem.Function) -> tuple[float, float]:
        local = np.array([-u.x.array.min(initial=np.inf), u.x.array.max(initial=-np.inf)])
        both = np.empty(2)
        self.comm.Allreduce(local, both, MPI.MAX)
        return -float(both[0]), float(both[1])

    def conserve(self) -> None:
        """Give densities the mass that continuity says, and no sign that Newton left them."""
        # Without gains mass is not its own to keep.
        for u, mass, gain in zip(self.states, self.masses, self._gains, strict=False):
            due = self._total(mass, u) + integrate(gain)
            low, high = self._range(u)
            if -TOLERANCE * high < low < 0:
                u.x.array[:] = np.maximum(u.x.array, 0.0)
            total = self._total(mass, u)
            if np.isfinite(due) and due > 0 and total > 0:
                u.x.array[:] *= due / total

    def _total(self, mass: np.ndarray, u: fem.Function) -> float:
        return float(self.comm.allreduce(float(mass @ u.x.array[: mass.size])))
