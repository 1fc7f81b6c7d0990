"""Where the edge of a surface may go."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, override

from flows.surface import Surface

import numpy as np
import numpy.typing as npt
from dolfinx import fem
from dolfinx.mesh import exterior_facet_indices
from mpi4py import MPI

__all__ = ["Edge", "FixedEdge", "PlaneEdge"]

type Marker = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.bool_]]


class Edge(ABC):
    """A rule for the boundary of a surface, or for a part of it."""

    where: Marker | None

    @abstractmethod
    def conditions(self, surface: Surface) -> list[fem.DirichletBC]:
        """Conditions on the immersion; they hold what they fix at its own value."""

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

    The natural condition of the area: the conormal is the normal of the plane.

    Args:
        axis: The $i$ of the planes: 0, 1 or 2.
        where: Marker of a part of the boundary; the whole of it by default.
    """

    axis: int
    where: Marker | None = None

    @override
    def conditions(self, surface: Surface) -> list[fem.DirichletBC]:
        X = surface.position
        if self.axis not in range(surface.mesh.geometry.dim):
            raise ValueError(f"axis = {self.axis}: give the number of a coordinate.")
        component = X.function_space.sub(self.axis)
        return [fem.dirichletbc(X.sub(self.axis), self._dofs(surface, component))]
