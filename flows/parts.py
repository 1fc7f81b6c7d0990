"""The connected parts of a moving surface, measured: size, curvature, cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flows.components import components
from flows.surface import Surface

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

__all__ = ["Part", "Parts"]

ROUND = 70.0
r"""Largest mean of $H^2$ times $A$ of a round part: that is $16 \pi$ on a sphere, $4 \pi^2$ on a
circle with $A = L^2$, and $4 \pi^2 R/r$ on a thin ring."""

type Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """A connected component of a surface or curve, equal on all ranks.

    Attributes:
        dim: 2 for a surface, 1 for a curve.
        size: Area, or length.
        bend: Mean square of the mean curvature.
        curvature: Mean curvature, with its sign, where it is largest in absolute value.
        peak: That point.
        centre: Centre of mass.
        width: Largest product of curvature and size of a cell.
        angle: Smallest angle in degrees; 90 for a curve.
    """

    dim: int
    size: float
    bend: float
    curvature: float
    peak: tuple[float, ...]
    centre: tuple[float, ...]
    width: float
    angle: float

    @property
    def round(self) -> bool:
        """Whether it is like a sphere, or a circle."""
        return bool(self.bend * self.size ** (2 / self.dim) < ROUND)

    @property
    def whole(self) -> bool:
        """Whether it curls up everywhere alike."""
        return self.bend > 0.3 * self.curvature**2


class Parts:
    """The connected components of a surface, found once.

    Args:
        surface: The surface.

    Attributes:
        count: How many there are.
    """

    def __init__(self, surface: Surface) -> None:
        self.surface = surface
        topology = surface.mesh.topology
        self._dim, self._owned = topology.dim, topology.index_maps(topology.dim)[0].size_local
        self._labels, self.count = components(surface.mesh)
        nodes = surface.curvature.function_space.dofmap.list[: self._owned]
        self._nodes = nodes[:, : self._dim + 1]

    def measure(self) -> list[Part]:
        """The parts as they are now, by the curvature that the flow last found; collective."""
        comm, label, dim = self.surface.mesh.comm, self._labels[: self._owned], self._dim
        corners, cells = self.surface.corners()[: self._owned], self.surface.cells
        # Where cells have vanished there is no curvature.
        H = np.nan_to_num(self.surface.curvature.x.array[self._nodes])
        if cells is None:
            size = np.linalg.norm(self.surface.cell_normals()[: self._owned], axis=1)
            angles = _angles(corners, size)
        else:
            size, angles = cells.measure().sizes, cells.angles()
        weights = np.array([np.ones_like(size), (H**2).mean(axis=1), *corners.mean(axis=1).T])
        sums = np.array([np.bincount(label, w * size, self.count) for w in weights])
        comm.Allreduce(MPI.IN_PLACE, sums)
        top, extremes = np.abs(H).max(axis=1), np.zeros((2, self.count))
        np.maximum.at(extremes[0], label, top * (2 * size) ** (1 / dim))
        np.maximum.at(extremes[1], label, 90 - angles)
        comm.Allreduce(MPI.IN_PLACE, extremes, MPI.MAX)
        peaks = np.empty((comm.size, self.count, 4))
        comm.Allgather(_peaks(H, corners, top, label, self.count), peaks)
        peaks = peaks[np.abs(peaks[:, :, 0]).argmax(axis=0), np.arange(self.count)]
        rows = zip(sums.T, peaks.tolist(), extremes.T.tolist(), strict=True)
        return [
            Part(dim, float(s[0]), float(s[1] / s[0]), k, tuple(x), _point(s), width, 90 - sharp)
            for s, (k, *x), (width, sharp) in rows
        ]


def _angles(corners: Floats, size: Floats) -> Floats:
    """Smallest angles in degrees of triangles; 90 for intervals."""
    if corners.shape[1] == 2:
        return np.full(len(corners), 90.0)
    sides = np.sort(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2), axis=1)
    # It lies between the two longest sides, and its sine is twice the area over their product.
    sine = 2 * size / np.maximum(sides[:, 1] * sides[:, 2], 1e-300)
    return np.asarray(np.degrees(np.arcsin(np.clip(sine, 0, 1))))


def _peaks(H: Floats, corners: Floats, top: Floats, label: Any, count: int) -> Floats:
    """Largest mean curvature of each part on this rank, and its place."""
    peaks = np.zeros((count, 4))
    cell, best = np.full(count, -1), np.zeros(count)
    np.maximum.at(best, label, top)
    largest = np.flatnonzero(top == best[label])
    cell[label[largest]] = largest  # the last one stays
    for c in np.flatnonzero(cell >= 0):
        vertex = np.abs(H[cell[c]]).argmax()
        peaks[c] = [H[cell[c], vertex], *corners[cell[c], vertex]]
    return peaks


def _point(sums: Floats) -> tuple[float, ...]:
    return tuple((sums[2:] / sums[0]).tolist())
