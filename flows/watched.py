"""What flows of surfaces share: they see their singularities, and may go on on another mesh."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, override

from flows.components import without
from flows.flow import Event, Flow, StepFailed
from flows.singularity import Watch
from flows.surface import Surface
from flows.surface_remesh import remesh

__all__ = ["Remesh", "Watched"]


@dataclass(frozen=True)
class Remesh:
    """Mesh a surface anew when its cells have become bad.

    Args:
        angle: Smallest angle in degrees below which that is done.
        h: Edge length of the new mesh; by default that of the old one.
    """

    angle: float = 10.0
    h: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.angle < 30:
            raise ValueError(f"angle = {self.angle}: give degrees between 0 and 30.")
        if self.h is not None and not (math.isfinite(self.h) and self.h > 0):
            raise ValueError(f"h = {self.h}: give a positive length.")


class Watched(Flow):
    r"""A flow of a surface or curve, put before another class of flow.

    After each step its curvature is looked at, see :mod:`flows.singularity`: a neck that pinches, a
    hole that closes, and the end of the last part are final events; a part that shrinks away
    while others are left is taken out of the mesh, and the rest goes on.

    Attributes:
        surface: The surface.
        power: Time scales like this power of length.
        remeshing: When to mesh anew, or ``None``.
        adopted: How often the flow has left its mesh for another.
    """

    surface: Surface
    power = 2
    remeshing: Remesh | None = None
    adopted = 0
    _refused = math.inf
    _watch: Watch | None = None
    _made: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *given: Any, **options: Any) -> Self:
        """Keep what the flow is made of, so that it can be made again on another mesh."""
        flow = super().__new__(cls)
        flow._made = (given[1:], {k: v for k, v in options.items() if k != "mesh"})
        return flow

    @property
    def watch(self) -> Watch:
        """The watch on the present mesh."""
        if self._watch is None:
            self._watch = Watch(self.surface, self.power, self.time)
        return self._watch

    @override
    def limit(self, tolerance: float) -> float:
        r"""A small part of the time left.

        $$ \tau \le \max(10\, \text{tolerance}, 0.005)\; (T - t), \qquad
           T - t \approx \frac{1}{c H^2} $$

        with the largest $H^2$ (while sharp edges melt, the geometric mean of it and the mean one),
        and the observed $c$, at least 1 where a part is round and else 2, as for a cylinder. Linear
        steps of this size reach the singularity late by a factor of $1 + 7.5\, \text{tolerance}$,
        or by half a percent.
        Where the volume is kept, or time scales like the fourth power of length, smooth surfaces do
        not end, and the limit waits until the curvature has grown.
        """
        free = self.power == 2 and not getattr(self, "_constraints", ())
        part = max(math.pow(10 * tolerance, 1 / self.order), 0.005)
        return part * self.watch.left(self.time, growth=0.0 if free else 1.5)

    @override
    def review(self) -> list[Event]:
        events, gone = self.watch.look(self.time)
        if any(event.final for event in events):
            return events
        if gone:
            self.adopt(without(self.mesh, gone))
        rule = self.remeshing
        if rule is not None and self.surface.quality().angle < min(rule.angle, self._refused / 2):
            events = [event for event in events if event.kind != "degenerate mesh"]
            events.append(self._remeshed(rule.h))
        return events

    def _remeshed(self, h: float | None) -> Event:
        """A new mesh, or else the reason why the old one stays until its angles have halved."""
        try:
            return self.remesh(h)
        except ValueError as error:
            self._refused = self.surface.quality().angle
            words = f"at t = {self.time:.5g} the old mesh stays: {error}"
            return Event(
                "degenerate mesh", self.time, self.watch.seen[0].centre, words, final=False
            )

    @override
    def despair(self, failure: StepFailed) -> Event | None:
        return self.watch.despair(self.time)

    def remesh(self, h: float | None = None) -> Event:
        """Mesh the surface anew and go on there; collective.

        Args:
            h: Edge length; by default that of the present mesh.

        Returns:
            An event that says what changed.
        """
        before, old = self.energy(), self.surface
        quality, volume = old.quality(), old.volume if old.closed else math.nan
        self.adopt(remesh(self.mesh, h=h, order=old.degree))
        now, new = self.energy(), self.surface
        kept = f", volume by {new.volume - volume:.3g}" if new.closed else ""
        words = (
            f"a new mesh at t = {self.time:.5g}: smallest angle {quality.angle:.3g} -> "
            f"{new.quality().angle:.3g} degrees; the energy changes by {now - before:.3g}{kept}"
        )
        place = self.watch.seen[0].centre
        return Event("new mesh", self.time, place, words, final=False)

    def adopt(self, mesh: Any) -> None:
        """Go on on another mesh of the surface; time, name, report and options stay.

        ``flow.mesh``, ``flow.state``, ``flow.surface`` and ``flow.fields`` are new objects then.

        Args:
            mesh: The mesh.
        """
        given, options = self._made
        time, report, rule, watch = self.time, self.report, self.remeshing, self._watch
        type(self).__init__(self, mesh, *given, **options)
        self.time, self.report, self.remeshing = time, report, rule
        self.adopted += 1
        self._refused = math.inf
        self._watch = None if watch is None else Watch(self.surface, self.power, time, watch)

    @override
    def memory(self) -> dict[str, Any]:
        kept = super().memory() | {"adopted": float(self.adopted), "refused": self._refused}
        return kept | {f"watch_{key}": value for key, value in self.watch.memory().items()}

    @override
    def restore(self, snapshot: Mapping[str, Any]) -> None:
        super().restore(snapshot)
        self.adopted, self._refused = int(snapshot["adopted"]), float(snapshot["refused"])
        self.watch.restore(
            {k.removeprefix("watch_"): v for k, v in snapshot.items() if k.startswith("watch_")}
        )
