"""Choice of the time step: accept or reject, and how far to go next."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, override

import numpy as np
from dolfinx import fem
from mpi4py import MPI

__all__ = ["Adaptive", "Control", "Fixed", "Relax", "as_control"]


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} = {value!r}: give a positive, finite number.")


class Control(ABC):
    """A rule for the time step; :meth:`start` gives the state of the rule in one run."""

    smallest: float

    @abstractmethod
    def start(self, flow: Any) -> Pace:
        """The moving part of the rule, for one run of ``flow``."""


class Pace(ABC):
    """The time step of one run.

    Attributes:
        tau: The step to try next.
    """

    tau: float

    def accepts(self, flow: Any, tau: float) -> bool:
        """Judge the step of size ``tau`` that ``flow`` just took, and set the next ``tau``."""
        return True

    @abstractmethod
    def cut(self, tau: float) -> None:
        """A step of size ``tau`` failed: ask for a smaller one."""

    def memory(self) -> dict[str, Any]:
        """What a resumed run must know: floats and functions."""
        return {"tau": self.tau}

    def restore(self, memory: dict[str, Any]) -> None:
        """Continue from what :meth:`memory` returned."""
        self.tau = float(memory["tau"])


@dataclass(frozen=True)
class Fixed(Control):
    """A constant time step; after a failed step it is halved, then doubled back.

    Args:
        tau: The time step.
        smallest: Below it a run gives up; by default ``tau / 2**20``.
    """

    tau: float
    smallest: float = 0.0

    def __post_init__(self) -> None:
        _positive(tau=self.tau)
        if not self.smallest:
            object.__setattr__(self, "smallest", self.tau / 2**20)

    @override
    def start(self, flow: Any) -> Pace:
        return _FixedPace(self)


class _FixedPace(Pace):
    def __init__(self, rule: Fixed) -> None:
        self.rule = rule
        self.tau = rule.tau

    def accepts(self, flow: Any, tau: float) -> bool:
        # A step cut short by a landing says nothing: only a full step earns a doubling.
        if tau >= self.tau:
            self.tau = min(self.rule.tau, 2 * self.tau)
        return True

    def cut(self, tau: float) -> None:
        self.tau = tau / 2

    def restore(self, memory: dict[str, Any]) -> None:
        # A resumed run may ask for smaller steps.
        self.tau = min(float(memory["tau"]), self.rule.tau)


@dataclass(frozen=True)
class Adaptive(Control):
    r"""A time step chosen from the local error, with rejection.

    The local error is estimated by the distance of the new state from the polynomial through the
    last ``order + 1`` states, in the maximum norm over degrees of freedom, relative to the largest
    value seen in the run. The next step is $0.9\,(\text{tolerance}/\text{error})^{1/(p+1)}$ times
    this one, within the limits, those that the flow itself sets near a singularity included
    (:meth:`flows.flow.Flow.limit`); a step whose error exceeds twice the tolerance is taken back.

    Args:
        first: The first time step.
        tolerance: Local error per step, relative.
        smallest: Below it a run gives up; by default ``first * 1e-9``.
        largest: Upper limit.
        growth: Largest factor from one step to the next.
        shrink: Smallest factor, and the factor after a failed step.
    """

    first: float
    tolerance: float = field(default=1e-3, kw_only=True)
    smallest: float = field(default=0.0, kw_only=True)
    largest: float = field(default=math.inf, kw_only=True)
    growth: float = field(default=2.0, kw_only=True)
    shrink: float = field(default=0.4, kw_only=True)

    def __post_init__(self) -> None:
        _positive(first=self.first, tolerance=self.tolerance)
        if not self.smallest:
            object.__setattr__(self, "smallest", self.first * 1e-9)
        if not (self.growth > 1 > self.shrink > 0 and self.smallest <= self.first <= self.largest):
            raise ValueError(
                "Adaptive needs shrink < 1 < growth and smallest <= first <= largest: "
                f"got shrink {self.shrink}, growth {self.growth}, smallest {self.smallest}, "
                f"first {self.first}, largest {self.largest}."
            )

    @override
    def start(self, flow: Any) -> Pace:
        return _AdaptivePace(self, flow)


class _AdaptivePace(Pace):
    def __init__(self, rule: Adaptive, flow: Any) -> None:
        self.rule = rule
        self.tau = min(rule.first, flow.limit(rule.tolerance))
        self.order = flow.order
        self.scale = 0.0
        self.times: list[float] = []
        # The past is kept in functions so that a checkpoint can write it.
        self.past = [
            tuple(fem.Function(u.function_space) for u in flow.states)
            for _ in range(self.order + 1)
        ]
        self._remember(flow)

    def _remember(self, flow: Any) -> None:
        if len(self.times) == len(self.past):
            self.past.append(self.past.pop(0))
            self.times.pop(0)
        for kept, u in zip(self.past[len(self.times)], flow.states, strict=True):
            kept.x.array[:] = u.x.array
        self.times.append(flow.time)
        self.scale = max(
            self.scale, 1e-300, _largest(flow.mesh.comm, [u.x.array for u in flow.states])
        )

    def accepts(self, flow: Any, tau: float) -> bool:
        if len(self.times) < 2:
            self._remember(flow)
            return True
        error = self._error(flow, tau)
        order = min(self.order, len(self.times) - 1)
        factor = 0.9 * (self.rule.tolerance / max(error, 1e-300)) ** (1 / (order + 1))
        factor = min(max(factor, self.rule.shrink), self.rule.growth)
        accepted = error <= 2 * self.rule.tolerance
        if accepted:
            self._remember(flow)
            # A step that hardly grows stays: a linear flow keeps its matrix for it.
            factor = 1.0 if 1.0 < factor < 1.2 else factor
            # A step cut short by a landing must not shorten those after it.
            self.tau = max(self.tau, tau * factor) if tau < self.tau else tau * factor
        else:
            self.tau = tau * min(factor, 0.9)
        self.tau = min(self.tau, self.rule.largest, flow.limit(self.rule.tolerance))
        return accepted

    def _error(self, flow: Any, tau: float) -> float:
        used = min(len(self.times), self.order + 1)
        times, past = self.times[-used:], self.past[len(self.times) - used : len(self.times)]
        weights = _extrapolation(times, flow.time)
        gaps = [
            sum((w * p[i].x.array for w, p in zip(weights, past, strict=True)), -u.x.array)
            for i, u in enumerate(flow.states)
        ]
        # The scheme errs by C tau^(p+1) to one side of the solution, the extrapolation by a known
        # multiple of the same derivative to the other: the gap between them is the sum. While the
        # past is short the estimate of order 1 serves.
        full = used == self.order + 1
        ratio = tau / (times[-1] - times[-2])
        constant = flow.error_constant(ratio) if full else 1 / 2
        reach = math.prod((flow.time - t) / tau for t in times) / math.factorial(used)
        return float(constant / (constant + reach)) * _largest(flow.mesh.comm, gaps) / self.scale

    def cut(self, tau: float) -> None:
        self.tau = tau * self.rule.shrink

    def memory(self) -> dict[str, Any]:
        kept: dict[str, Any] = {"tau": self.tau, "scale": self.scale, "known": len(self.times)}
        for k in range(len(self.past)):
            kept[f"time_{k}"] = self.times[k] if k < len(self.times) else 0.0
            kept |= {f"past_{k}_{i}": p for i, p in enumerate(self.past[k])}
        return kept

    def restore(self, memory: dict[str, Any]) -> None:
        self.tau, self.scale = float(memory["tau"]), float(memory["scale"])
        self.times = [float(memory[f"time_{k}"]) for k in range(int(memory["known"]))]
        for k, past in enumerate(self.past):
            for i, kept in enumerate(past):
                kept.x.array[:] = memory[f"past_{k}_{i}"]


@dataclass(frozen=True)
class Relax(Control):
    """On the way to a steady state: steps as long as Newton's method allows.

    Accuracy in time is not asked for: a step that took few iterations is followed by a longer one.

    Args:
        first: The first time step.
        largest: Upper limit.
        smallest: Below it a run gives up; by default ``first * 1e-9``.
        few: A step that took so many Newton iterations or fewer earns a longer one ...
        many: ... and one that took so many or more a shorter one.
        growth: Factor after few iterations.
        shrink: Factor after many.
        cut: Factor after a failed step.
    """

    first: float
    largest: float = field(default=math.inf, kw_only=True)
    smallest: float = field(default=0.0, kw_only=True)
    few: int = field(default=5, kw_only=True)
    many: int = field(default=7, kw_only=True)
    growth: float = field(default=1.5, kw_only=True)
    shrink: float = field(default=0.7, kw_only=True)
    cut: float = field(default=0.4, kw_only=True)

    def __post_init__(self) -> None:
        _positive(first=self.first)
        if not self.smallest:
            object.__setattr__(self, "smallest", self.first * 1e-9)
        if not (self.growth >= 1 >= self.shrink > 0 and 0 < self.cut < 1 and self.few < self.many):
            raise ValueError(
                "Relax needs shrink <= 1 <= growth, 0 < cut < 1 and few < many: got shrink "
                f"{self.shrink}, growth {self.growth}, cut {self.cut}, few {self.few}, many "
                f"{self.many}."
            )
        if not 0 < self.smallest <= self.first <= self.largest:
            raise ValueError(
                "Relax needs 0 < smallest <= first <= largest: got smallest "
                f"{self.smallest}, first {self.first}, largest {self.largest}."
            )

    @override
    def start(self, flow: Any) -> Pace:
        return _RelaxPace(self)


class _RelaxPace(Pace):
    def __init__(self, rule: Relax) -> None:
        self.rule = rule
        self.tau = rule.first

    def accepts(self, flow: Any, tau: float) -> bool:
        rule, iterations = self.rule, flow.report.iterations
        factor = 1.0
        if iterations <= rule.few:
            factor = rule.growth
        elif iterations >= rule.many:
            factor = rule.shrink
        # A step cut short by a landing must not shorten those after it.
        grown = tau * factor if tau >= self.tau or factor < 1 else max(self.tau, tau * factor)
        self.tau = min(grown, rule.largest)
        return True

    def cut(self, tau: float) -> None:
        self.tau = tau * self.rule.cut

    def restore(self, memory: dict[str, Any]) -> None:
        self.tau = min(float(memory["tau"]), self.rule.largest)


def _extrapolation(times: Sequence[float], t: float) -> list[float]:
    """Lagrange weights at ``t`` of the polynomial through ``times``."""
    return [
        math.prod((t - b) / (a - b) for j, b in enumerate(times) if j != i)
        for i, a in enumerate(times)
    ]


def _largest(comm: MPI.Comm, arrays: Sequence[Any]) -> float:
    local = max((float(np.max(np.abs(a), initial=0.0)) for a in arrays), default=0.0)
    return float(comm.allreduce(local, MPI.MAX))


def as_control(tau: float | Control) -> Control:
    """A number is a fixed step."""
    if isinstance(tau, Control):
        return tau
    if not isinstance(tau, (int, float, np.number)):
        raise ValueError(
            f"tau = {tau!r}: give a positive number, Fixed(...), Adaptive(...) or Relax(...)."
        )
    return Fixed(float(tau))
