r"""Singularities of moving surfaces, seen before the mesh breaks.

Under mean curvature flow a neck of radius $r$ closes like a cylinder, $r^2 = 2(T - t)$, so that
$1/H^2$ falls at the rate 2, or up to three times as fast where it is short or is the hole of a
ring, while the rest of the surface stays as it is. A part that shrinks to a round point is a
sphere, where the rate is 1 {cite}`huisken1984`, and a thin ring is a cylinder everywhere. The tip
of a body that gets shorter curves more and more, too, but there the rate is below 1: a single large
curvature is no evidence of a pinch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from flows.flow import Event
from flows.parts import Part, Parts
from flows.surface import Surface

import numpy as np

__all__ = ["Watch"]

VANISHED = 1e-3
"""A part with this fraction of its first area, or squared length, is gone."""

NEAR = 0.01
"""A singularity is announced when it is so near, as a fraction of the time of the run."""

LEVEL = 1.2
"""Factor between two levels of curvature whose times are kept."""


class Watch:
    r"""Looks at the curvature of each connected component of a surface after each step.

    Args:
        surface: The surface; its mean curvature must be up to date at each look.
        power: Time scales like this power of length: 2 for mean curvature flow, 4 for surface
            diffusion and Willmore flow.
        t: The time.
        before: The watch on the mesh that the flow has left; parts are known by their size.
    """

    def __init__(self, surface: Surface, power: int, t: float, before: Watch | None = None) -> None:
        self.power, self._dim = power, surface.mesh.topology.dim
        self._parts, self._time = Parts(surface), math.nan
        self.count, self.seen = self._parts.count, list[Part]()
        parts = self.parts(t)
        self._start = [part.size for part in parts]
        self._least = [abs(part.curvature) for part in parts]
        self._last, self._fall = list(self._least), [0.0] * self.count
        self._looked = t
        self._levels: list[list[tuple[float, float]]] = [[] for _ in parts]
        self._angle, self._warned, self._born = min(part.angle for part in parts), False, t
        if before is not None:
            self._inherit(before)

    def _inherit(self, before: Watch) -> None:
        self._born = before._born
        known = np.log([part.size for part in before.seen])
        for c, part in enumerate(self.seen):
            twin = int(np.argmin(np.abs(known - math.log(part.size))))
            self._start[c], self._least[c] = before._start[twin], before._least[twin]
            self._fall[c] = before._fall[twin]
            self._levels[c] = list(before._levels[twin])

    # -- what there is to see ------------------------------------------------------------------
    def parts(self, t: float) -> list[Part]:
        """The parts as they are at time ``t``; collective."""
        if t != self._time:
            self._time, self.seen = t, self._parts.measure()
        return self.seen

    def left(self, t: float, growth: float = 0.0) -> float:
        r"""Time left for the part that ends first, by the rate at which $1/H^p$ falls at its peak.

        Args:
            t: The time.
            growth: Parts whose curvature has not grown by this factor have all time.
        """
        times = [math.inf]
        for c, part in enumerate(self.parts(t)):
            if self.growth(c) >= growth:
                rate, square = self._fall_rate(c, t), part.curvature**2
                if rate < 0.3 and self._dim == 1 and not part.round:
                    continue  # curves become round before they vanish
                if rate <= 0:
                    # A peak that melts is a sharp edge, which says little of the rest: a neck
                    # that is hidden by it is below the largest curvature and above the mean one.
                    square = math.sqrt(part.bend * square)
                # A hole closes at up to four times the rate of a sphere.
                law = 1.0 if part.round and self._dim == 2 else 2.0
                rate = min(max(rate, law), 4.0)
                times.append(max(square, 1e-300) ** (-self.power / 2) / rate)
        return min(times)

    def _fall_rate(self, c: int, t: float) -> float:
        r"""The rate at which $1/H^p$ has fallen since the last look."""
        if t <= self._looked:
            return self._fall[c]
        k, last = abs(self.seen[c].curvature), self._last[c]
        if min(k, last) <= 0:
            return 0.0
        return float((last**-self.power - k**-self.power) / (t - self._looked))

    def growth(self, c: int) -> float:
        """Largest curvature of a part over the least that it was in the run."""
        return abs(self.seen[c].curvature) / max(self._least[c], 1e-300)

    def look(self, t: float) -> tuple[list[Event], list[int]]:
        """Events at time ``t``, and the labels of the parts that are gone; collective."""
        events, gone = [], []
        parts = self.parts(t)
        if t > self._looked:
            self._fall = [self._fall_rate(c, t) for c in range(self.count)]
            self._last = [abs(part.curvature) for part in parts]
            self._looked = t
        for c, part in enumerate(parts):
            self._remember(c, t, abs(part.curvature))
            if self._vanishes(c, part, t):
                gone.append(c)
                events.append(self._extinction(c, part, t))
            elif self._closes(c, part, t):
                events.append(self._pinch(c, part, t))
            elif self._reach(c, part) > 1000 and self.growth(c) > 10:
                events.append(self._degenerate(part, t, final=True))
        if len(gone) < self.count:
            events = [_passing(e) if e.kind == "extinction" else e for e in events]
        # A neck stretches its cells: that is no fault of the mesh.
        c, worst = min(enumerate(self.seen), key=lambda pair: pair[1].angle)
        if self._ugly(worst) and self.growth(c) < 2 and not self._warned:
            self._warned = True
            events.append(self._degenerate(worst, t, final=False))
        return events, gone

    def despair(self, t: float) -> Event | None:
        """What explains that no step succeeds, by the same signs, less strictly; collective."""
        self.parts(t)
        c = max(range(self.count), key=self.growth)
        part = self.seen[c]
        if self._blurred:
            return self._degenerate(min(self.seen, key=lambda p: p.angle), t, final=True)
        small = part.size < self._start[c] / 2
        if small and self.growth(c) > 1.5 and (part.round or part.whole):
            return self._extinction(c, part, t)
        if self.growth(c) > 2 and self._steady(c, 1.0, 8.0):
            return self._pinch(c, part, t)
        return self._degenerate(part, t, final=True) if part.angle < 10 else None

    # -- how it is judged ----------------------------------------------------------------------
    def _remember(self, c: int, t: float, k: float) -> None:
        """Keep the last times at which the curvature rose above each level."""
        levels = self._levels[c]
        while levels and levels[-1][1] >= k:
            levels.pop()
        if not levels or k > LEVEL * levels[-1][1]:
            levels.append((t, k))
        self._least[c] = min(self._least[c], k)

    def _rate(self, c: int, low: float = 0.5, high: float = 1.0) -> float:
        r"""The rate at which $1/H^p$ falls between ``low`` and ``high`` times the curvature now.

        Zero if the curvature was not that low yet.
        """
        k = abs(self.seen[c].curvature)
        marks = [*self._levels[c], (self._time, k)]
        early = [mark for mark in marks if mark[1] <= low * k]
        (t1, k1) = [mark for mark in marks if mark[1] <= high * k][-1] if early else (0.0, k)
        if not early or t1 <= early[-1][0]:
            return 0.0
        t0, k0 = early[-1]
        return float((k0**-self.power - k1**-self.power) / (t1 - t0))

    def _steady(self, c: int, low: float, high: float) -> bool:
        """Whether the curvature grows as that of a neck does.

        Nobody knows the rate of other flows than mean curvature flow; but it must not slow down.
        """
        if self.power == 2:
            return low < self._rate(c) < high
        return self._rate(c) > self._rate(c, 0.25, 0.5) / 2 > 0

    def _reach(self, c: int, part: Part) -> float:
        """The curvature, times the radius of a sphere of the size that the part had at first."""
        return abs(part.curvature) * float(np.sqrt(self._start[c] ** (2 / self._dim) / 12))

    def _ugly(self, part: Part) -> bool:
        return part.angle < min(5.0, self._angle / 2)

    @property
    def _blurred(self) -> bool:
        """Whether the mesh began with needles, whose curvature is no evidence of anything."""
        return self._angle < 5

    def _near(self, c: int, part: Part, t: float) -> bool:
        """Whether hardly any time is left, or little and the mesh is at its limits."""
        left = 0.5 / max(abs(part.curvature), 1e-300) ** self.power / max(t - self._born, 1e-300)
        strained = self._ugly(part) or part.width > 1
        return self.growth(c) > 3 and left < (NEAR if strained else NEAR / 10)

    def _vanishes(self, c: int, part: Part, t: float) -> bool:
        if (part.size / self._start[c]) ** (2 / self._dim) < VANISHED:
            return True
        ring = part.whole and not part.round
        return ring and self._near(c, part, t) and self._steady(c, 1.0, 6.0)

    def _closes(self, c: int, part: Part, t: float) -> bool:
        if self._blurred or part.round or part.whole or not self._near(c, part, t):
            return False
        return self._steady(c, 1.4, 6.0)

    # -- what is said --------------------------------------------------------------------------
    def _extinction(self, c: int, part: Part, t: float) -> Event:
        sphere = part.round and self._dim == 2
        left = (1.0 if sphere else 0.5) / part.bend if self.power == 2 else 0.0
        what = "the surface" if self._dim == 2 else "the curve"
        if self.count > 1:
            what = f"one of {self.count} parts"
        words = (
            f"{what} shrinks to a {'point' if part.round else 'circle'} near "
            f"{_text(part.centre)} at about t = {t + left:.5g} (seen at t = {t:.5g}, when "
            f"{part.size:.3g} of {self._start[c]:.3g} was left)"
        )
        return Event("extinction", t, part.centre, words, t + left)

    def _pinch(self, c: int, part: Part, t: float) -> Event:
        left = abs(part.curvature) ** -self.power / max(self._rate(c), 1e-300)
        kind, what = ("pinch", "a neck pinches off")
        if part.curvature < 0:
            kind, what = "hole", "a hole closes"
        if self._dim == 1:
            kind, what = "cusp", "the curve forms a cusp"
        words = (
            f"{what} near {_text(part.peak)} at about t = {t + left:.5g} (seen at t = {t:.5g}, "
            f"at a mean curvature of {part.curvature:.3g})"
        )
        return Event(kind, t, part.peak, words, t + left)

    def _degenerate(self, part: Part, t: float, *, final: bool) -> Event:
        words = (
            f"the mesh degenerates near {_text(part.peak)} at t = {t:.5g}: smallest angle "
            f"{part.angle:.2g} degrees, largest mean curvature {abs(part.curvature):.3g}; mesh the "
            "surface anew, when it is read (h=...) or by flow.remesh(), or begin with smaller cells"
        )
        return Event("degenerate mesh", t, part.peak, words, final=final)

    # -- what a resumed run must know ----------------------------------------------------------
    def memory(self) -> dict[str, Any]:
        """Numbers and lists of numbers."""
        return {
            "start": list(self._start),
            "least": list(self._least),
            "last": list(self._last),
            "fall": list(self._fall),
            "looked": self._looked,
            "levels": [x for c, marks in enumerate(self._levels) for m in marks for x in (c, *m)],
            "angle": self._angle,
            "warned": float(self._warned),
            "born": self._born,
        }

    def restore(self, memory: Mapping[str, Any]) -> None:
        """Continue from what :meth:`memory` returned."""
        self._time = math.nan
        self._start, self._least = list(memory["start"]), list(memory["least"])
        self._last, self._fall = list(memory["last"]), list(memory["fall"])
        self._looked = float(memory["looked"])
        self._levels = [[] for _ in range(self.count)]
        for c, t, k in np.reshape(memory["levels"], (-1, 3)).tolist():
            self._levels[int(c)].append((t, k))
        self._angle, self._warned = float(memory["angle"]), bool(memory["warned"])
        self._born = float(memory["born"])


def _passing(event: Event) -> Event:
    return replace(event, words=f"{event}; the rest goes on", final=False)


def _text(point: Sequence[float]) -> str:
    return "(" + ", ".join(f"{v:.3g}" for v in np.round(point, 3) + 0.0) + ")"
