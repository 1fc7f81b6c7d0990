"""The connected parts of a moving surface, measured: size, curvature, cells."""

from __future__ import annotations

from dataclasses import dataclass

from flows.components import components
from flows.kernels import Kernels
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
        mesh, self._dim = surface.mesh, surface.mesh.topology.dim
        owned = mesh.topology.index_map(self._dim).size_local
        labels, self.count = components(mesh)
        self._labels = np.ascontiguousarray(labels[:owned])
        self._points = np.ascontiguousarray(mesh.geometry.dofmaps[0][:owned])
        self._nodes = np.ascontiguousarray(surface.curvature.function_space.dofmap.list[:owned])
        self._kernels = Kernels(mesh.comm, "surface.c")

    def measure(self) -> list[Part]:
        """The parts as they are now, by the curvature that the flow last found; collective."""
        comm, dim = self.surface.mesh.comm, self._dim
        sums, extremes, peaks = (np.zeros((self.count, k)) for k in (5, 2, 4))
        self._survey(sums, extremes, peaks)
        comm.Allreduce(MPI.IN_PLACE, sums)
        comm.Allreduce(MPI.IN_PLACE, extremes, MPI.MAX)
        everywhere = np.empty((comm.size, self.count, 4))
        comm.Allgather(peaks, everywhere)
        highest = np.abs(everywhere[:, :, 0]).argmax(axis=0)
        peaks = everywhere[highest, np.arange(self.count)]
        angles = np.degrees(np.arctan2(1.0, extremes[:, 1]))
        rows = zip(sums, peaks.tolist(), extremes[:, 0].tolist(), angles.tolist(), strict=True)
        return [
            Part(dim, float(s[0]), float(s[1] / s[0]), k, tuple(x), _point(s), width, angle)
            for s, (k, *x), width, angle in rows
        ]

    def _survey(self, *found: Floats) -> None:
        """Sums, extremes and peaks of the parts on this rank."""
        points, nodes, x = self._points, self._nodes, self.surface.mesh.geometry.x
        # Where cells have vanished there is no curvature.
        H = np.nan_to_num(self.surface.curvature.x.array)
        at_points, at_nodes = (points.shape[1], points, x), (nodes.shape[1], nodes, H)
        counts = len(points), self._dim + 1
        self._kernels("survey", *counts, *at_points, *at_nodes, self._labels, *found)


def _point(sums: Floats) -> tuple[float, ...]:
    return tuple((sums[2:] / sums[0]).tolist())
