r"""Observers: what a run writes, shows, and when it stops.

An observer is any callable ``observer(flow)``. Those here look every so many accepted steps, or at
given times, on which the run then lands; and once more at the end, whatever ended the run.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, override

from flows import checkpoint
from flows.evolution import COLUMNS, Finished, Run
from flows.ranks import make_way, on_root

from mpi4py import MPI

__all__ = ["Checkpoint", "Movie", "Observer", "Picture", "Progress", "Stop", "numbers"]


class Observer:
    """Looks at a flow every ``every`` accepted steps, at ``times``, and at the end.

    Subclasses say what that means by :meth:`start`, :meth:`observe` and :meth:`finish`. Without
    :func:`flows.evolve` the first call starts, and the user calls :meth:`close`.

    Args:
        every: Number of steps from one look to the next, counted from the start of the run that a
            checkpoint continues; 1 if no times are given.
        times: Times to look at.

    Raises:
        ValueError: for a number of steps below 1, or a time that is not finite.
    """

    def __init__(self, *, every: int | None = None, times: Iterable[float] = ()) -> None:
        self.times = tuple(sorted(float(t) for t in times))
        if every is not None and (not isinstance(every, int) or every < 1):
            raise ValueError(f"every = {every!r}: give a number of steps, 1 or more.")
        if not all(math.isfinite(t) for t in self.times):
            raise ValueError(f"times = {self.times}: give finite numbers.")
        self.every = every if every is not None else 0 if self.times else 1
        self.flow: Any = None
        self.run: Run | None = None
        self._calls, self._met, self._seen = 0, False, math.nan

    def open(self, run: Run) -> None:
        """Called by :func:`flows.evolve` before the first step."""
        self.run = run
        same = self.flow is run.flow and self._seen == run.flow.time
        self._open(run.flow, run.flow.time if same else run.resumed)

    def _open(self, flow: Any, since: float | None) -> None:
        self.flow, self._calls, self._met = flow, 0, False
        self.start(flow, since)

    def __call__(self, flow: Any) -> None:
        """Look at the flow, if it is time to."""
        if self.flow is None:
            self._open(flow, None)
        self._met = True
        if self.due():
            self._look()
        self._calls += 1

    def _look(self) -> None:
        self._seen = self.flow.time  # before, so that what fails is not tried again at the end
        self.observe(self.flow)

    def close(self) -> None:
        """Look once more if the last good state was not seen yet, and finish."""
        try:
            if self._met and self._seen != self.flow.time:
                self._look()
        finally:
            if self.flow is not None:
                self.finish()
            self._met = False

    @property
    def steps(self) -> int:
        """Accepted steps so far."""
        return self.run.history.steps if self.run is not None else self._calls

    def due(self) -> bool:
        """Whether to look at the present state."""
        t = self.flow.time
        if self.every and self.steps % self.every == 0:
            return True
        return any(abs(t - s) <= 1e-12 * max(1.0, abs(s)) for s in self.times)

    def start(self, flow: Any, since: float | None) -> None:
        """Open files; ``since`` is the time from which a series goes on, or ``None``."""

    def observe(self, flow: Any) -> None:
        """Look at the flow."""

    def interrupt(self) -> None:
        """Called before something else is written on the terminal."""

    def finish(self) -> None:
        """Close files."""


class Progress(Observer):
    """One live line on the terminal of rank 0: time, step, energy, iterations and the time left.

    Quiet where standard error is not a terminal.
    """

    def __init__(self) -> None:
        super().__init__()
        self._began = self._shown = 0.0
        self._from, self._steps = 0.0, 0

    @override
    def start(self, flow: Any, since: float | None) -> None:
        self._live = flow.mesh.comm.rank == 0 and sys.stderr.isatty()
        self._began, self._shown = time.monotonic(), 0.0
        self._from, self._steps = flow.time, self.steps

    @override
    def observe(self, flow: Any) -> None:
        now = time.monotonic()
        if self._live and (now - self._shown > 0.1 or self._part() >= 1):
            self._shown = now
            self._print(self.line(now - self._began))

    def _print(self, line: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r{line[:width]:<{width}}")
        sys.stderr.flush()

    def _part(self) -> float:
        """Part of the run that is done; 0 if nobody knows."""
        if self.run is None:
            return 0.0
        parts = [0.0]
        if math.isfinite(self.run.until) and self.run.until > self._from:
            parts.append((self.flow.time - self._from) / (self.run.until - self._from))
        if self.run.steps:
            parts.append((self.steps - self._steps) / self.run.steps)
        return min(max(parts), 1.0)

    def line(self, elapsed: float) -> str:
        """The line after so many seconds."""
        now, part = numbers(self.run, self.flow), self._part()
        left = f", {_clock(elapsed * (1 - part) / part)} left" if 0 < part < 1 else ""
        return (
            f"{self.flow.name} {100 * part:3.0f} % [{'=' * int(10 * part):<10}] "
            f"t = {now['t']:.4g}, tau = {now['tau']:.2g}, energy = {now['energy']:.6g}, "
            f"{now['iterations']:.0f} iterations{left}"
        )

    @override
    def interrupt(self) -> None:
        if self._live and self._shown:
            self._print(self.line(time.monotonic() - self._began))
            sys.stderr.write("\n")

    @override
    def finish(self) -> None:
        self.interrupt()


class Picture(Observer):
    """Draws pictures during a run, see :func:`flows.plot`.

    Args:
        path: The file. With ``{n}`` (the number of steps) or ``{t}`` (the time) in its name, as in
            ``"frame_{n:05d}.png"``, each picture has a file of its own; otherwise the one file
            always shows the present state.
        every: Steps from one picture to the next.
        times: Times of pictures.
        look: Options of :func:`flows.plot`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        every: int | None = None,
        times: Iterable[float] = (),
        **look: Any,
    ) -> None:
        super().__init__(every=every, times=times)
        self.path, self._look_options = str(path), look

    @override
    def start(self, flow: Any, since: float | None) -> None:
        on_root(flow.mesh.comm, lambda: make_way(Path(self.path)))

    @override
    def observe(self, flow: Any) -> None:
        from flows.picture import plot

        path = Path(self.path.format(n=self.steps, t=flow.time))
        # The suffix says the format, so the unfinished file keeps it.
        part = path.with_name(f".part.{path.name}")
        plot(flow, part, **self._look_options)
        on_root(flow.mesh.comm, lambda: os.replace(part, path))


class Movie(Observer):
    """Films a run, see :func:`flows.animate`; a resumed run films on from its checkpoint.

    Args:
        path: A ``.gif`` or ``.mp4`` file.
        every: Steps from one frame to the next.
        times: Times of frames.
        fps: Frames per second.
        look: Options of :func:`flows.plot`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        every: int | None = None,
        times: Iterable[float] = (),
        fps: float = 12,
        **look: Any,
    ) -> None:
        super().__init__(every=every, times=times)
        self.path, self._look_options = Path(path), look | {"fps": fps}
        self._reel: Any = None

    @override
    def start(self, flow: Any, since: float | None) -> None:
        from flows.picture import Reel

        on_root(flow.mesh.comm, lambda: make_way(self.path))
        self._reel = Reel(self.path, comm=flow.mesh.comm, **self._look_options)

    @override
    def observe(self, flow: Any) -> None:
        self._reel.append(flow)

    @override
    def finish(self) -> None:
        if self._reel is not None:
            self._reel.close()


class Stop(Observer):
    """Ends a run as soon as a condition holds on any rank.

    Args:
        condition: Function of the flow that says whether to stop.
        every: Steps from one question to the next.
    """

    def __init__(self, condition: Callable[[Any], bool], *, every: int | None = None) -> None:
        super().__init__(every=every)
        self.condition = condition

    @override
    def observe(self, flow: Any) -> None:
        if flow.mesh.comm.allreduce(bool(self.condition(flow)), MPI.LOR):
            raise Finished

    @override
    def close(self) -> None:
        """Nothing is left to stop."""


class Checkpoint(Observer):
    """Writes checkpoints to continue from: ``flows.evolve(..., resume=path)``.

    A file is complete or the one before it is still there. The flow then drops what the file does
    not hold (matrices, warm starts), so that a run continued from it takes the very same steps.

    Args:
        path: The file of the newest checkpoint.
        every: Steps from one checkpoint to the next.
        times: Times of checkpoints.
        keep: How many to keep; older ones have a number in their name: ``run.1.h5``.

    Raises:
        OSError: on every rank when the run starts, if the file cannot be written.
        ValueError: on every rank when the run starts, if a function is not of a Lagrange space.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        every: int | None = None,
        times: Iterable[float] = (),
        keep: int = 1,
    ) -> None:
        super().__init__(every=every, times=times)
        if not isinstance(keep, int) or keep < 1:
            raise ValueError(f"keep = {keep!r}: give a number of checkpoints, 1 or more.")
        self.path, self.keep = Path(path), keep

    @override
    def start(self, flow: Any, since: float | None) -> None:
        checkpoint.check(self.path, self._memory(flow), flow.mesh)

    def _memory(self, flow: Any) -> dict[str, Any]:
        if self.run is not None:
            return self.run.memory()
        return {f"flow.{key}": value for key, value in flow.memory().items()}

    @override
    def observe(self, flow: Any) -> None:
        if self.keep > 1:
            on_root(flow.mesh.comm, self._shift)
        checkpoint.write(self.path, self._memory(flow), flow.mesh, flow.built, flow.name)
        flow.forget()

    def _shift(self) -> None:
        """Give the older files their next names; the newest keeps its own until it is replaced."""
        for k in range(self.keep - 2, 0, -1):
            if self._older(k).exists():
                os.replace(self._older(k), self._older(k + 1))
        if self.path.exists():
            self._older(1).unlink(missing_ok=True)
            try:
                os.link(self.path, self._older(1))
            except OSError:  # a file system without links
                shutil.copyfile(self.path, self._older(1))

    def _older(self, k: int) -> Path:
        return self.path.with_name(f"{self.path.stem}.{k}{self.path.suffix}")


def _clock(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def numbers(run: Run | None, flow: Any) -> dict[str, float]:
    """The last step, as the history or the flow reports it."""
    if run is not None:
        return run.history.latest()
    if flow.report is not None:
        return {c: float(getattr(flow.report, c)) for c in COLUMNS}
    return dict.fromkeys(COLUMNS, 0.0) | {"t": flow.time, "energy": flow.energy()}
