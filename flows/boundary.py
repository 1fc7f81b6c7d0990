"""Where the edge of a surface may go."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, override

from flows.surface import Surface

import numpy as np
import numpy.typing as npt
from dolfinx import fem
from dolfinx.mesh import exterior_facet_indices
from mpi4py import MPI

__all__ = ["Edge", "FixedEdge", "PlaneEdge", "reflect"]

type Marker = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.bool_]]


class Edge(ABC):
    """A rule for the boundary of a surface, or for a part of it."""

    where: Marker | None

    @abstractmethod
    def conditions(self, surface: Surface) -> list[fem.DirichletBC]:
        """Conditions on the immersion; they hold what they fix at its own value."""

    def planes(self, surface: Surface) -> tuple[int, float, float] | None:
        """The axis of the planes in which this part slides, and the least and largest of them."""
        return None

    def mirrored(self, surface: Surface) -> npt.NDArray[np.int32]:
        """Entries of the normals at the edge that vanish if the surface goes on by reflection."""
        return np.zeros(0, dtype=np.int32)

    def _dofs(self, surface: Surface, space: Any) -> Any:
        """Degrees of freedom of the immersion, or of a component of it, on this part."""
        mesh = surface.mesh
        dim = mesh.topology.dim
        mesh.topology.create_connectivity(dim - 1, dim)
        facets = exterior_facet_indices(mesh.topology)
        dofs = fem.locate_dofs_topological(space, dim - 1, facets)
        if self.where is not None:
            at = surface.position.function_space.tabulate_dof_coordinates()
            # Degrees of freedom of a component count single numbers, those of a vector nodes.
            width = mesh.geometry.dim if space is not surface.position.function_space else 1
            dofs = dofs[np.asarray(self.where(at[dofs // width].T), dtype=bool)]
        if mesh.comm.allreduce(len(dofs), MPI.SUM) == 0:
            raise ValueError(
                f"{type(self).__name__}: no point of the surface's edge is there; look at `where` "
                "and at the mesh (a closed surface has no edge)."
            )
        return dofs


@dataclass(frozen=True)
class FixedEdge(Edge):
    """The boundary stays where it is, as a soap film on a wire.

    Args:
        where: Marker of a part of the boundary, a function of coordinates of shape (3, points), as
            DOLFINx takes it; the whole boundary by default.
    """

    where: Marker | None = None

    @override
    def conditions(self, surface: Surface) -> list[fem.DirichletBC]:
        X = surface.position
        # The value of the condition is the immersion itself: wherever the user puts it, it stays.
        return [fem.dirichletbc(X, self._dofs(surface, X.function_space))]


@dataclass(frozen=True)
class PlaneEdge(Edge):
    r"""The boundary slides in planes $x_i = \text{const}$, which the surface meets at right angles.

    The natural condition of the area: the conormal is the normal of the plane. The flow is then
    half of the flow of the surface with its mirror image, cell by cell.

    Args:
        axis: The $i$ of the planes: 0, 1 or 2.
        where: Marker of a part of the boundary; the whole of it by default.
    """

    axis: int
    where: Marker | None = None

    @override
    def conditions(self, surface: Surface) -> list[fem.DirichletBC]:
        return [fem.dirichletbc(surface.position.sub(self.axis), self.mirrored(surface))]

    @override
    def mirrored(self, surface: Surface) -> npt.NDArray[np.int32]:
        if self.axis not in range(surface.mesh.geometry.dim):
            raise ValueError(f"axis = {self.axis}: give the number of a coordinate.")
        component = surface.position.function_space.sub(self.axis)
        return np.asarray(self._dofs(surface, component), dtype=np.int32)

    @override
    def planes(self, surface: Surface) -> tuple[int, float, float]:
        comm, at = surface.mesh.comm, surface.position.x.array[self.mirrored(surface)]
        least = comm.allreduce(float(at.min(initial=np.inf)), MPI.MIN)
        return self.axis, least, comm.allreduce(float(at.max(initial=-np.inf)), MPI.MAX)


def reflect(surface: Surface, edges: Sequence[Edge]) -> None:
    r"""Continue a surface by reflection where its edges slide in planes, and close it there.

    $$ |\Omega| = \int_\Gamma F \cdot \nu, \qquad F_i = a_i (x_i - c_i), \quad
       \textstyle\sum_i a_i = 1. $$

    No flux goes through the planes $x_i = c_i$, nor through any plane across an axis with
    $a_i = 0$: that closes a surface between two parallel planes.

    Args:
        surface: The surface: normals at the edge, volume and signs are repaired.
        edges: Its edges.
    """
    surface.mirrored = np.unique(np.concatenate([edge.mirrored(surface) for edge in edges]))
    sliding = [found for edge in edges if (found := edge.planes(surface)) is not None]
    weights, centre = np.ones(surface.mesh.geometry.dim), surface.centre.value
    size = surface.area ** (1 / surface.mesh.topology.dim)
    for axis in range(len(weights)):
        places = [place for i, *pair in sliding if i == axis for place in pair]
        if places:
            centre[axis] = places[0]
            weights[axis] = max(places) - min(places) < 1e-9 * size
    with np.errstate(invalid="ignore"):
        surface.flux.value[:] = weights / weights.sum()
    if len(sliding) == len(edges) and surface.volume < 0:
        surface.sign.x.array[:] *= -1
    surface.refresh()
