r"""Willmore and Helfrich flow: bending energy, by a slip and a minimizing movement."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

from flows.dual import BendingStep
from flows.embedding import Embedding
from flows.flow import Event, StepReport
from flows.reduction import NormalNewton
from flows.slip import Slip
from flows.solver import SolveFailed
from flows.surface import Surface
from flows.watched import Watched

import numpy as np
from dolfinx import fem
from mpi4py import MPI

__all__ = ["WillmoreFlow"]

log = logging.getLogger("flows")

type Target = bool | float | Callable[[float], float] | None

ROUNDING = 1e-12
"""Relative size of the rise in energy that is taken for rounding."""

REACH = 0.02
"""Largest relative change of area or volume in one step."""

RATE = 2000.0
"""The same in a unit of time, where the area is 1."""

LEAST = 0.05
"""Smallest part of the usual slip that is tried."""

ROUND = 1e-3
"""Distance of the reduced volume from 1 below which area and volume are one constraint."""


class WillmoreFlow(Watched):
    r"""The flow of the bending energy of a closed surface in the $L^2$ metric of normal velocities.

    $$ E(\Gamma) = \tfrac12 \int_\Gamma (H - C_0)^2, \qquad
       \psi(V) = \tfrac12 \int_\Gamma (V \cdot \nu)^2 $$

    The energy of Willmore {cite}`willmore1965`, and with $C_0$ and fixed area and volume that of
    membranes {cite}`canham1970,helfrich1973`: $8\pi$ for every sphere, $4\pi^2$ for the Clifford
    torus {cite}`marques2014`. Lengths are free: times scale with their fourth power, and energies
    do not scale at all where $C_0 = 0$.

    A step has two stages. First nodes slide along the surface, not far, towards equilateral cells
    (:class:`flows.slip.Slip`): $X_k \to X_s$. Then each node moves along its normal to a stationary
    point of

    $$ E(X) + \frac{1}{2\tau} \int_{\Gamma_s} ((X - X_s) \cdot \nu)^2 + \lambda_A A(X)
       + \lambda_V V(X), $$

    a minimizing movement, with the dual form of the energy (:mod:`flows.dual`). A step is accepted
    with the certificate $E_{k+1} + d^2/(2\tau) \le E_s$ (its gap is the ``defect``, the work of the
    multipliers included), and if $E_{k+1} \le E_k$. If the energy rises, the slip is cut, not the
    time step. While a target of area or volume moves the energy may rise.

    Args:
        mesh: A closed surface of curved triangles (``order=2``); it moves in place.
        spontaneous_curvature: $C_0$, an inverse length, positive if the membrane likes to bulge
            outward: $C_0 = 1$ prefers spheres of radius 2, which are reached by
            $\dot R = (2 - R)/R^2$.
        area: Area to keep: ``None`` leaves it free, ``True`` keeps the one at the first step, a
            number or a function of time sets it. What is far from it comes nearer step by step, by
            two percent and by $2000\,\tau/A^2$ at most.
        volume: Volume to keep, likewise. Near a sphere (reduced volume above 0.999) area and volume
            are one constraint, and the volume alone is kept.
        petsc_options: Options of the linear solver, without prefix.
        name: Name of the flow, and prefix of its PETSc options.

    Raises:
        ValueError: on every rank, for cells that are flat, folded or needles, a surface that is
            open, or an area and a volume that no surface has.
    """

    moving = True
    power = 4

    def __init__(
        self,
        mesh: Any,
        spontaneous_curvature: float = 0.0,
        area: Target = None,
        volume: Target = None,
        *,
        petsc_options: Mapping[str, Any] | None = None,
        name: str = "willmore",
    ) -> None:
        self.surface = Surface(mesh)
        super().__init__(self.surface.position, name=name)
        self._wanted = (area, volume)
        self._kept = [math.nan, math.nan]
        self._limit = 1.0
        self._warned = False
        self._embedding = Embedding(self.surface)
        self._slip = Slip(self.surface)
        self._bending = BendingStep(self.surface, -float(spontaneous_curvature))
        self.solver: Any = NormalNewton(self._bending, f"{name}_", petsc_options or {})
        self._known: np.ndarray | None = None
        self._value = math.nan
        self.settle()
        self._targets(self.time)

    @property
    def fields(self) -> tuple[fem.Function, ...]:
        """The mean curvature ``H``; the mesh itself shows the state."""
        return (self.surface.curvature,)

    def energy(self) -> float:
        """The bending energy."""
        self.settle()
        return self._value

    def settle(self) -> None:
        """Move the mesh to the state, and find its normals and its curvature."""
        known, now = self._known, self.surface.position.x.array
        moved = known is None or not np.array_equal(known, now)
        if self.mesh.comm.allreduce(moved, MPI.LOR):
            self.surface.move()
            self._check_cells()
            self._arrive()

    def memory(self) -> dict[str, Any]:
        """The position, the multipliers, the size of the slip, and what is kept."""
        names = ("tension", "pressure", "slip", "area", "volume")
        values = (*self._multipliers, self._limit, *self._kept)
        return super().memory() | dict(zip(names, values, strict=True))

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go back to a :meth:`snapshot`, or to values read from a checkpoint."""
        super().restore(snapshot)
        self._multipliers = [float(snapshot["tension"]), float(snapshot["pressure"])]
        self._limit = float(snapshot["slip"])
        self._kept = [float(snapshot["area"]), float(snapshot["volume"])]
        self._known = None
        self.settle()

    def review(self) -> list[Event]:
        """Also whether the surface touches itself: the flow cannot go on from there."""
        events = super().review()
        place = self._embedding.contact()
        if place is None:
            return events
        x, y, z = place
        words = (
            f"{self.name}: at t = {self.time:.6g} the surface comes into contact with itself near "
            f"({x:.3g}, {y:.3g}, {z:.3g}); nothing here keeps faces from crossing."
        )
        return [*events, Event("contact", self.time, (float(x), float(y), float(z)), words)]

    # -- one step --------------------------------------------------------------------------------
    def _advance(self, tau: float) -> StepReport:
        self.settle()
        before, multipliers, t = self._value, self._multipliers, self.time + tau
        targets = self._targets(t)
        targets, ramp = self._approach(targets, tau)
        self._known = None
        used = self._slip.move(self._slip.strength * self._limit)
        for factor in (1.0, 0.0) if self._limit <= LEAST else (1.0, 0.2, 0.0):
            self._slip.cut(factor)
            used *= factor
            self._multipliers = multipliers
            report = self._attempt(t, tau, targets)
            if ramp or report.energy <= before * (1 + ROUNDING):
                self._judge(report, ramp)
                self._limit = min(1.0, max(2 * used / self._slip.strength, LEAST))
                return report
        raise SolveFailed(f"the energy rises, {before:.10g} -> {report.energy:.10g}")

    def _attempt(self, t: float, tau: float, targets: list[float | None]) -> StepReport:
        """A minimizing movement from where the slip has put the nodes."""
        bending = self._bending
        start, sizes = bending.settle(), bending.sizes()
        bending.begin(tau)
        iterations = self.solver.solve(targets)
        price, work = bending.price(), self._multipliers @ (bending.sizes() - sizes)
        energy = self._arrive()
        if self._embedding.folded():
            raise SolveFailed("a cell of the surface folds")
        return StepReport(t, tau, energy, price, energy + price + float(work) - start, iterations)

    def _arrive(self) -> float:
        """Know the present position."""
        self._value = self._bending.settle()
        self._bending.set_curvature()
        self._known = self.surface.position.x.array.copy()
        return self._value

    def _judge(self, report: StepReport, ramp: bool) -> None:
        if not math.isfinite(report.energy):
            raise SolveFailed("the energy is no number")
        if not ramp and report.defect > ROUNDING * 2 * report.energy:
            raise SolveFailed(f"the stationary point lies uphill, by {report.defect:.3g}")
        angle = self.surface.quality().angle
        if angle < 8 and not self._warned:
            log.warning(
                "%s: at t = %.6g the smallest angle of a cell is %.1f degrees; a finer mesh, or "
                "one that fits the surface better, is more accurate.",
                self.name,
                report.t,
                angle,
            )
        self._warned = angle < 8

    # -- constraints -----------------------------------------------------------------------------
    @property
    def _multipliers(self) -> np.ndarray:
        return np.array([float(m.value) for m in self._bending.multipliers])

    @_multipliers.setter
    def _multipliers(self, values: Any) -> None:
        for multiplier, value in zip(self._bending.multipliers, values, strict=True):
            multiplier.value = value

    def _targets(self, t: float) -> list[float | None]:
        """Area and volume that a step to time ``t`` must reach."""
        targets: list[float | None] = []
        for k, wanted in enumerate(self._wanted):
            if wanted is True and math.isnan(self._kept[k]):
                self._kept[k] = float(self._bending.sizes()[k])
            if wanted is None or wanted is False:
                targets.append(None)
            elif wanted is True:
                targets.append(self._kept[k])
            else:
                targets.append(float(wanted(t) if callable(wanted) else wanted))
        return _possible(targets)

    def _approach(self, targets: list[float | None], tau: float) -> tuple[list[float | None], bool]:
        """What one step can reach of the targets, and whether they are away at all."""
        near: list[float | None] = []
        away, sizes = False, self._bending.sizes().tolist()
        # In proportion to the step, or the surface buckles however short the step is.
        reach = min(REACH, RATE * tau / sizes[0] ** 2)
        for size, goal in zip(sizes, targets, strict=True):
            if goal is None:
                near.append(None)
                continue
            away |= abs(goal / size - 1) > 1e-8
            near.append(min(max(goal, size * (1 - reach)), size * (1 + reach)))
        return near, away

    def _check_cells(self) -> None:
        angle = self.surface.quality().angle
        if angle < 5:
            raise ValueError(
                f"{self.name}: the smallest angle of a cell is {angle:.2g} degrees, too small for "
                "curvatures; mesh the surface with better cells."
            )
        if self._embedding.folded():
            raise ValueError(
                f"{self.name}: a cell is folded, its normal turns by a right angle; smooth the "
                "surface, or mesh it finer where it bends."
            )


def _possible(targets: list[float | None]) -> list[float | None]:
    """The targets, if a surface can have them; without the area near a sphere."""
    for name, target in zip(("area", "volume"), targets, strict=True):
        if target is not None and not (math.isfinite(target) and target > 0):
            raise ValueError(f"{name} = {target}: give a positive number.")
    area, volume = targets
    if area is None or volume is None:
        return targets
    reduced = 6 * math.sqrt(math.pi) * volume / area**1.5
    if reduced > 1 + 1e-9:
        raise ValueError(
            f"No surface of area {area:.6g} encloses the volume {volume:.6g}: a sphere of that "
            f"area encloses {volume / reduced:.6g}. Ask for less volume or more area."
        )
    return [None, volume] if reduced > 1 - ROUND else targets
