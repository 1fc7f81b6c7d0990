"""Run a flow: steps accepted or taken back, observers called, a history kept."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.control import Control, Pace, as_control
from flows.flow import Event, Flow, StepFailed, StepReport

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

__all__ = ["Finished", "History", "Run", "evolve"]

log = logging.getLogger("flows")

COLUMNS = ("t", "tau", "energy", "movement", "defect", "iterations")


class Finished(Exception):
    """Raised by an observer to end a run politely."""


class History(Mapping[str, npt.NDArray[np.float64]]):
    """Columns of a run, one row for the start and one for each accepted step.

    ``t``, ``tau``, ``energy``, ``movement``, ``defect``, ``iterations`` and every functional that a
    ``Recorder`` wrote; arrays, equal on all ranks.

    Attributes:
        events: What happened on the way, :class:`flows.Event`: singularities, parts that vanished,
            new meshes. Those before a resumed checkpoint are not repeated.
    """

    def __init__(self) -> None:
        self._columns: dict[str, list[float]] = {name: [] for name in COLUMNS}
        self._recorders: list[Mapping[str, Sequence[float]]] = []
        self.events: list[Event] = []

    @property
    def event(self) -> Event | None:
        """The event that ended the run, or ``None``."""
        return next((event for event in self.events if event.final), None)

    def append(self, report: StepReport) -> None:
        """Add the row of an accepted step."""
        for name in COLUMNS:
            self._columns[name].append(float(getattr(report, name)))

    @property
    def steps(self) -> int:
        """Accepted steps since the start, those before a resumed checkpoint included."""
        return max(len(self._columns["t"]) - 1, 0)

    def latest(self) -> dict[str, float]:
        """The last row of the own columns."""
        return {name: values[-1] for name, values in self._columns.items()}

    def attach(self, columns: Mapping[str, Sequence[float]]) -> None:
        """Show the growing columns of a recorder beside the own ones."""
        self._recorders.append(columns)

    def _all(self) -> dict[str, Sequence[float]]:
        merged: dict[str, Sequence[float]] = {}
        for columns in self._recorders:
            merged |= columns
        return merged | self._columns

    def __getitem__(self, name: str) -> npt.NDArray[np.float64]:
        return np.array(self._all()[name], dtype=np.float64)

    def __iter__(self) -> Any:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def memory(self) -> dict[str, list[float]]:
        """The own columns, for a checkpoint."""
        return {name: list(values) for name, values in self._columns.items()}

    def restore(self, memory: Mapping[str, Sequence[float]]) -> None:
        """Continue from what :meth:`memory` returned."""
        self._columns = {name: [float(v) for v in memory[name]] for name in COLUMNS}


@dataclass
class Run:
    """What an observer may know of the run when it is opened.

    Attributes:
        flow: The flow.
        until: Final time (infinite if the run ends by the number of steps).
        steps: Largest number of steps of this call, or ``None``.
        pace: The step control of this run.
        history: The history so far.
        resumed: The time of the checkpoint that the run continues from, or ``None``.
    """

    flow: Flow
    until: float
    steps: int | None
    pace: Pace
    history: History
    resumed: float | None = None
    targets: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._mesh = self.flow.mesh

    def follow(self, control: Control) -> None:
        """If the flow has left its mesh, start the pace anew, with the step it has."""
        if self.flow.mesh is not self._mesh:
            tau, self.pace, self._mesh = self.pace.tau, control.start(self.flow), self.flow.mesh
            self.pace.tau = min(tau, self.pace.tau)

    def memory(self) -> dict[str, Any]:
        """Everything a checkpoint must hold: functions by reference, floats, lists of floats."""
        kept = {f"flow.{k}": v for k, v in self.flow.memory().items()}
        kept |= {f"pace.{k}": v for k, v in self.pace.memory().items()}
        return kept | {f"history.{k}": v for k, v in self.history.memory().items()}

    def restore(self, memory: Mapping[str, Any], control: Control) -> None:
        """Continue from what :meth:`memory` returned, functions given as local arrays."""
        parts: dict[str, dict[str, Any]] = {"flow": {}, "pace": {}, "history": {}}
        for key, value in memory.items():
            part, _, name = key.partition(".")
            parts[part][name] = value
        self.flow.restore(parts["flow"])
        self.resumed = self.flow.time
        # A saved flow has no pace, and one of another control does not fit: then it starts anew.
        if parts["pace"].keys() == self.pace.memory().keys():
            self.pace.restore(parts["pace"])
        else:
            self.pace = control.start(self.flow)
        if parts["history"]:
            self.history.restore(parts["history"])


def evolve(
    flow: Flow,
    until: float | None = None,
    tau: float | Control | None = None,
    *,
    steps: int | None = None,
    times: Iterable[float] = (),
    observers: Sequence[Callable[[Any], Any]] = (),
    resume: str | Path | None = None,
) -> History:
    """Evolve a flow in time.

    The run lands exactly on ``until``, on ``times`` and on the times of the observers. Observers
    are called at the start and after each accepted step, never after a rejected one, and are
    closed whatever happens.

    Args:
        flow: The flow; it continues from its present state and time.
        until: Final time.
        tau: Time step: a number, :class:`flows.Fixed` or :class:`flows.Adaptive`.
        steps: Largest number of accepted steps.
        times: Further times to land on.
        observers: Callables ``observer(flow)``.
        resume: Path of a checkpoint to continue from.

    Returns:
        The history of the run.

    Raises:
        ValueError: on every rank, for a time or step that makes no sense.
        StepFailed: on every rank, when a step fails below the smallest tau and no event explains
            it; its ``history``, the state and all files are complete up to the last good step.
    """
    if tau is None:
        raise ValueError(
            "evolve needs a time step: tau=NUMBER, Fixed(...), Adaptive(...) or Relax(...)."
        )
    control = as_control(tau)
    if until is None and steps is None:
        raise ValueError("evolve needs an end: until=TIME, steps=NUMBER, or both.")
    if steps is not None and (not isinstance(steps, int) or steps < 0):
        raise ValueError(f"steps = {steps!r}: give a number of steps, 0 or more.")
    end = math.inf if until is None else float(until)
    if resume is not None:
        from flows.checkpoint import follow, read  # a leaf: only a resumed run needs it

        follow(resume, flow)
    run = Run(flow, end, steps, control.start(flow), History())
    if resume is not None:
        run.restore(read(resume, run.memory(), flow.mesh, flow.built), control)
    if math.isnan(end) or end < flow.time:
        raise ValueError(f"until = {end} lies before the time of the flow, {flow.time}.")
    wanted = [*times, *(t for o in observers for t in getattr(o, "times", ()))]
    run.targets = sorted({float(t) for t in wanted if flow.time < t < end} | {end})
    for observer in observers:
        run.history.attach(getattr(observer, "columns", {}))
    try:
        _call(flow, [getattr(o, "open", None) for o in observers], run)
        if not run.history["t"].size:
            run.history.append(StepReport(flow.time, 0.0, flow.energy(), 0.0, 0.0, 0))
        finished = _call(flow, observers, flow)
        taken = 0
        while not finished and flow.time < end and (steps is None or taken < steps):
            run.history.append(_accepted_step(run, control))
            taken += 1
            # Before the observers look: files and checkpoints hold what the run goes on with.
            finished = _announce(run, flow.review(), observers)
            run.follow(control)
            finished = _call(flow, observers, flow) or finished
    except StepFailed as failure:
        event = flow.despair(failure)
        if event is None:
            failure.history = run.history
            raise
        _announce(run, [event], observers)
    finally:
        _call(flow, [getattr(o, "close", None) for o in observers])
    return run.history


def _accepted_step(run: Run, control: Control) -> StepReport:
    """Try steps until one is accepted."""
    run.follow(control)  # an observer may have changed the mesh, too
    flow, pace = run.flow, run.pace
    while True:
        tau, target = _landing(flow.time, pace.tau, run.targets)
        flow.expect((run.until - flow.time) / tau if math.isfinite(run.until) else 0.0)
        before, report = flow.snapshot(), flow.report
        try:
            new = flow.step(tau)
        except StepFailed as failure:
            pace.cut(tau)
            log.info("%s", failure)
            if pace.tau < control.smallest:
                raise StepFailed(
                    f"{flow.name}: no step from t = {flow.time:.6g} succeeds, down to tau = "
                    f"{tau:.3g}. Last reason: {failure.__cause__}. Look at the last good state: "
                    "a finer mesh, a smoother start or another solver may help."
                ) from failure
            continue
        if target is not None:
            flow.time = target
        if pace.accepts(flow, tau):
            return StepReport(flow.time, *(getattr(new, c) for c in COLUMNS[1:]))
        flow.restore(before)
        flow.report = report
        if pace.tau < control.smallest:
            raise StepFailed(
                f"{flow.name}: at t = {flow.time:.6g} the error stays above its tolerance down to "
                f"tau = {tau:.3g}. Loosen Adaptive(tolerance=...) or smooth the initial state."
            )


def _announce(run: Run, events: Sequence[Event], observers: Sequence[Any]) -> bool:
    """Log and keep events.

    Returns:
        Whether one of them ends the run.
    """
    if events:
        _call(run.flow, [getattr(o, "interrupt", None) for o in observers])
    for event in events:
        if run.flow.mesh.comm.rank == 0:
            log.warning("%s: %s", run.flow.name, event)
        run.history.events.append(event)
    return any(event.final for event in events)


def _landing(t: float, tau: float, targets: Sequence[float]) -> tuple[float, float | None]:
    """The step that respects the next target: its size, and the target if it lands there."""
    target = next((s for s in targets if s > t), math.inf)
    left = target - t
    if left > 2 * tau or math.isinf(target):
        return tau, None
    if left > tau * (1 + 1e-9):
        # Neither a tiny last step nor a changed constant step: halve only what tau allows.
        return (tau, None) if left > 1.5 * tau else (left / 2, None)
    # A constant step stays the same number: matrices are kept by its value.
    return (tau if left > tau * (1 - 1e-9) else left), target


def _call(flow: Flow, callables: Sequence[Any], *args: Any) -> bool:
    """Call all; if one ends the run or fails on any rank, all ranks learn of it.

    Returns:
        Whether one of them raised :class:`Finished`.
    """
    error: BaseException | None = None
    finished = False
    for call in callables:
        try:
            if call is not None:
                call(*args)
        except Finished:
            finished = True
        except Exception as failure:
            error = error or failure
    state = flow.mesh.comm.allreduce(2 if error else int(finished), MPI.MAX)
    if error is not None:
        raise error
    if state == 2:
        raise RuntimeError("An observer failed on another rank; its message stands there.")
    return bool(state)
