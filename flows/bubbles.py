r"""Singularities of maps, seen by how far a map turns from one node to the next.

A harmonic map heat flow from a surface may concentrate: a harmonic sphere forms at a point, shrinks
to nothing in finite time, and takes a quantum of energy with it, $4\pi$ for maps into the sphere
{cite}`struwe1985,chang1992`. On a mesh the gradient then grows until neighbours are antipodal,
which on squares of side $h$, cut in two, is $|\nabla u_h| = 2\sqrt2/h$, and no more. When the
bubble has left, what remains is smooth and flows on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from flows.flow import Event
from flows.maps import Floats

import numpy as np
from dolfinx import fem

__all__ = ["Bubbles"]

RESOLVED, SINGULAR, GONE = 0.4, 0.7, 0.25
"""Turns from node to node: up to the first a map is resolved, from the second on it is not, and a
singularity has left when the turn has fallen below the third."""


class Bubbles:
    """Looks at a map after each step.

    Args:
        V: The space of the map.
        quantum: The energy that a bubble takes away, if there are bubbles.
    """

    def __init__(self, V: fem.FunctionSpace, quantum: float) -> None:
        mesh = V.mesh
        self._comm, self._dim, self._quantum = mesh.comm, mesh.topology.dim, quantum
        cells = V.dofmap.list[: mesh.topology.index_map(self._dim).size_local]
        pairs = np.transpose(np.triu_indices(cells.shape[1], 1))
        self._edges = np.unique(np.sort(cells[:, pairs].reshape(-1, 2), axis=1), axis=0)
        self._x = V.tabulate_dof_coordinates()
        self._calm = self._peak = self._when = 0.0
        self._where = [0.0] * 3
        self._begun = False

    def turn(self, normals: Floats) -> tuple[float, list[float]]:
        r"""The largest $|n_i - n_j|/2$ of neighbours: the sine of half the angle, 1 if antipodal.

        Args:
            normals: Normals of the target at the local values of the map.

        Returns:
            That number, and where it is; equal on all ranks.
        """
        first, second = self._edges.T
        squares = ((normals[first] - normals[second]) ** 2).sum(axis=1)
        mine = (-1.0, [0.0] * 3)
        if squares.size:
            k = int(squares.argmax())
            # One end, not the middle: in a periodic box the two may sit at opposite sides.
            mine = float(squares[k]), max(self._x[self._edges[k]].tolist())
        largest, place = max(self._comm.allgather(mine))
        return math.sqrt(largest) / 2, place

    def begin(self, energy: float, normals: Floats) -> None:
        """Begin with a new map, if that is not done; what it does not resolve is no event.

        Args:
            energy: Its energy.
            normals: Normals of the target at its local values.
        """
        if not self._begun:
            resolved = self.turn(normals)[0] < SINGULAR
            self._calm, self._peak = energy if resolved else math.nan, 0.0
            self._begun = True

    def forget(self) -> None:
        """Another map is to come."""
        self._begun = False

    def look(self, t: float, energy: float, normals: Floats) -> list[Event]:
        """What has happened in a step; collective.

        Args:
            t: Time after the step.
            energy: Energy after it.
            normals: Normals of the target at the local values of the map after it.
        """
        turn, place = self.turn(normals)
        if turn > self._peak:
            self._peak, self._when, self._where = turn, t, place
        singular = self._peak > SINGULAR
        if turn > (GONE if singular else RESOLVED):
            return []
        known = singular and not math.isnan(self._calm)
        events = [self._event(t, self._calm - energy)] if known else []
        self._calm, self._peak = energy, 0.0
        return events

    def _event(self, t: float, lost: float) -> Event:
        where = "(" + ", ".join(f"{x:.3g}" for x in np.round(self._where, 3) + 0.0) + ")"
        bubble = self._dim == 2 and lost > self._quantum / 2
        words = (
            f"a {'bubble' if bubble else 'singularity'} near {where} has left the mesh at about "
            f"t = {self._when:.5g} (seen at t = {t:.5g}): with it went an energy of {lost:.4g}"
        )
        if bubble:
            words += f", {lost / self._quantum:.3g} of the quantum {self._quantum:.5g}"
        kind = "bubble" if bubble else "singularity"
        return Event(kind, t, tuple(self._where), words, self._when, final=False)

    # -- what a resumed run must know ----------------------------------------------------------
    def memory(self) -> dict[str, Any]:
        """Numbers and a list of numbers."""
        numbers = {"calm": self._calm, "peak": self._peak, "when": self._when}
        return numbers | {"where": list(self._where), "begun": float(self._begun)}

    def restore(self, memory: Mapping[str, Any]) -> None:
        """Continue from what :meth:`memory` returned."""
        self._calm, self._peak, self._when = (float(memory[k]) for k in ("calm", "peak", "when"))
        self._where, self._begun = list(memory["where"]), bool(memory["begun"])
