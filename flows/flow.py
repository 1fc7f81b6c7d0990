"""What all flows share: a state that makes accepted steps, or none at all."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.conditions import conditions_by_space
from flows.report import solver_report
from flows.solver import SolveFailed

import numpy as np
from dolfinx import fem
from mpi4py import MPI

__all__ = ["Event", "Flow", "StepFailed", "StepReport"]


@dataclass(frozen=True)
class StepReport:
    r"""What an accepted step did.

    Attributes:
        t: Time after the step.
        tau: Size of the step.
        energy: Energy after the step.
        movement: $d(u_{k+1}, u_k)^2 / (2\tau)$, the price of the step in its metric.
        defect: Left-hand side of the certificate of the scheme; not positive up to rounding.
        iterations: Newton iterations.
    """

    t: float
    tau: float
    energy: float
    movement: float
    defect: float
    iterations: int


@dataclass(frozen=True)
class Event:
    """Something that happens to a flow once: a singularity, the end of a part, a new mesh.

    Attributes:
        kind: What happened, in a word or two.
        t: Time at which it was announced.
        place: Where, a point.
        words: One sentence for the user.
        estimate: Estimated time of the event itself; not a number where there is none.
        final: Whether the flow cannot go on.
    """

    kind: str
    t: float
    place: tuple[float, ...]
    words: str
    estimate: float = math.nan
    final: bool = True

    def __str__(self) -> str:
        return self.words


class StepFailed(RuntimeError):
    """A step was not accepted; the flow stands where it stood before.

    Attributes:
        history: Set by :func:`flows.evolve`: everything up to the last good step.
    """

    history: Any = None


class Flow(ABC):
    """A state that evolves by steps.

    Attributes:
        state: The state, a function or a tuple of functions; the user may overwrite its values.
        time: The time reached.
        name: Prefix of the PETSc options, and the title of files and pictures.
        report: Report of the last accepted step, or ``None``.
        built: Coordinates of the local nodes of the mesh when the flow was made: checkpoints know
            the nodes of a moving mesh by them.
    """

    order: int = 1

    def __init__(
        self,
        state: fem.Function | tuple[fem.Function, ...],
        *,
        name: str,
        bcs: Sequence[fem.DirichletBC] = (),
        time: fem.Constant | None = None,
        on_time: Callable[[float], None] | None = None,
    ) -> None:
        self.state = state
        self.states = state if isinstance(state, tuple) else (state,)
        _check_states(self.states)
        self.name = name
        self.bcs = list(bcs)
        self.report: StepReport | None = None
        self._clock = time
        self._on_time = on_time
        self.time = 0.0 if time is None else float(time.value)
        self._set_time(self.time)
        self.built = self.mesh.geometry.x.copy()
        self.solver: Any

    # -- what a flow must say ------------------------------------------------------------------
    @abstractmethod
    def energy(self) -> float:
        """The energy of the present state; ``nan`` for a flow without one."""

    @abstractmethod
    def _advance(self, tau: float) -> StepReport:
        """Move the state by one step; raise :class:`SolveFailed` if that cannot be certified."""

    def settle(self) -> None:
        """Give the state its boundary values, and what else its energy asks for."""
        self._apply_bcs()

    # -- what every flow has -------------------------------------------------------------------
    @property
    def mesh(self) -> Any:
        """The mesh of the state."""
        return self.states[0].function_space.mesh

    @property
    def fields(self) -> tuple[fem.Function, ...]:
        """The functions worth a file or a picture, states first."""
        return self.states

    def step(self, tau: float) -> StepReport:
        """Take one step of size ``tau``.

        Returns:
            The report of the step.

        Raises:
            ValueError: on every rank, if ``tau`` or the state is not a finite number.
            StepFailed: on every rank, if the step fails; state and time are what they were.
        """
        tau = float(tau)
        if not (math.isfinite(tau) and tau > 0):
            raise ValueError(f"tau = {tau!r}: a step needs a positive, finite size.")
        self._check_finite()
        before = self.snapshot()
        try:
            self.report = self._advance(tau)
        except SolveFailed as failure:
            self.restore(before)
            self._recover()
            raise StepFailed(
                f"{self.name}: the step of size {tau:.3g} from t = {self.time:.6g} failed: "
                f"{failure}. Try a smaller tau."
            ) from failure
        except BaseException:
            self.restore(before)
            raise
        self.time = self.report.t
        return self.report

    def error_constant(self, ratio: float) -> float:
        r"""The $C$ of the local error $-C\, \tau^{p+1} u^{(p+1)}$; that of implicit Euler here.

        Args:
            ratio: The step over the last step.
        """
        return 1 / 2

    def memory(self) -> dict[str, Any]:
        """Everything that the next step depends on: functions, by reference, and floats."""
        kept: dict[str, Any] = {"time": self.time}
        kept |= {f"state_{i}": u for i, u in enumerate(self.states)}
        return kept

    def snapshot(self) -> dict[str, Any]:
        """A copy of :meth:`memory`, with the local values of functions as arrays."""
        return {
            key: value.x.array.copy() if isinstance(value, fem.Function) else value
            for key, value in self.memory().items()
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go back to a :meth:`snapshot`, or to values read from a checkpoint."""
        for key, value in self.memory().items():
            if isinstance(value, fem.Function) and key in snapshot:
                value.x.array[:] = snapshot[key]
        self.time = float(snapshot["time"])
        self._set_time(self.time)

    def review(self) -> list[Event]:
        """Look at an accepted step; called once after each by :func:`flows.evolve`.

        A flow may put itself on another mesh here, and then says so by an event; one that is final
        ends the run.
        """
        return []

    def despair(self, failure: StepFailed) -> Event | None:
        """Whether an event explains that no step succeeds, down to the smallest."""
        return None

    def limit(self, tolerance: float) -> float:
        """Largest sensible step from the present state; asked by :class:`flows.Adaptive`.

        Args:
            tolerance: The relative error that a step may make.
        """
        return math.inf

    def expect(self, steps: float) -> None:
        """Hear how many steps of the coming size the run may have left; solvers choose by it."""

    def solver_report(self) -> str:
        """Which solver the steps have at present, and why, in words; ask after the first step."""
        return solver_report(self)

    def forget(self) -> None:
        """Drop kept matrices and warm starts, so that a resumed run takes the same steps."""
        self.solver.forget()

    def _recover(self) -> None:
        """Called after a failed step, when the old state is back."""

    def _set_time(self, t: float) -> None:
        if self._clock is not None:
            self._clock.value = t
        if self._on_time is not None:
            self._on_time(t)

    def _apply_bcs(self) -> None:
        """Put the boundary values of the present time into the state."""
        spaces = [u.function_space for u in self.states]
        for u, own in zip(self.states, conditions_by_space(spaces, self.bcs), strict=True):
            _set(u, own)

    def _check_finite(self) -> None:
        bad = any(not np.isfinite(u.x.array).all() for u in self.states)
        if self.mesh.comm.allreduce(bad, MPI.LOR):
            raise ValueError(
                f"{self.name}: the state at t = {self.time:.6g} holds NaN or infinite values; "
                "set its values before the first step."
            )


def _set(u: fem.Function, bcs: Sequence[fem.DirichletBC]) -> None:
    for bc in bcs:
        bc.set(u.x.array)
    u.x.scatter_forward()


def _check_states(states: Sequence[Any]) -> None:
    if not states or not all(isinstance(u, fem.Function) for u in states):
        kinds = ", ".join(type(u).__name__ for u in states)
        raise ValueError(f"The state must be one dolfinx.fem.Function or several, not {kinds}.")
    if len({id(u.function_space.mesh) for u in states}) > 1:
        raise ValueError("All functions of the state must live on one mesh.")
