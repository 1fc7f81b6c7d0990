"""Whether a curved surface is embedded: no fold in a cell, no face that touches another."""

from __future__ import annotations

from typing import Any

from flows.surface import Surface

import basix
import numpy as np
import numpy.typing as npt
from mpi4py import MPI

__all__ = ["Embedding"]

type Floats = npt.NDArray[np.float64]

NEIGHBOURS = 6
OPPOSED = -0.3
"""Cosine of the angle between normals beyond which faces look at each other."""


class Embedding:
    """Looks for folds and contacts.

    The cells are gathered on every rank once, 24 numbers for each node. Each look for contacts
    gathers the nodes, 48 bytes each, and sorts them into a tree: 0.1 s for 30 000 nodes.

    Args:
        surface: A surface of degree 2.
    """

    def __init__(self, surface: Surface) -> None:
        from scipy.sparse import csr_array  # slow to import

        self.surface = surface
        mesh, V = surface.mesh, surface.position.function_space
        owned = mesh.topology.index_map(2).size_local
        cells = V.dofmap.index_map.local_to_global(V.dofmap.list[:owned].ravel())
        parts = mesh.comm.allgather(cells.reshape(-1, 6))
        around = np.concatenate(parts)
        rows = np.repeat(np.arange(len(around)), 6)
        shape = (len(around), V.dofmap.index_map.size_global)
        member = csr_array((np.ones(rows.size, np.float32), (rows, around.ravel())), shape=shape)
        self._adjacent = csr_array(member.T @ member)
        element: Any = basix.create_element(
            basix.ElementFamily.P,
            basix.CellType.triangle,
            2,
            basix.LagrangeVariant.equispaced,
        )
        self._slopes = element.tabulate(1, element.points)[1:, :, :, 0]

    def folded(self) -> bool:
        """Whether the normal of a cell turns by a right angle in it; equal on all ranks."""
        x = self.surface.mesh.geometry.x[self.surface.mesh.geometry.dofmaps[0]]
        slopes: Any = np.einsum("api,cix->acpx", self._slopes, x)
        flat = self.surface.cell_normals()[:, None]
        worst = bool(np.any((np.cross(*slopes) * flat).sum(axis=2) <= 0))
        return bool(self.surface.mesh.comm.allreduce(worst, MPI.LOR))

    def contact(self) -> Floats | None:
        """A node that an opposite face has come as close to as the neighbours on its own face.

        Faces are opposite if their normals are opposed and no way of three cells leads from one to
        the other, as it does around a sharp rim.

        Returns:
            The place of the closest contact, equal on all ranks, or ``None``.
        """
        from scipy.spatial import cKDTree  # slow to import

        surface, comm = self.surface, self.surface.mesh.comm
        fields = (surface.position, surface.normal)
        own = np.hstack([u.x.array.reshape(-1, 3)[: surface.owned] for u in fields])
        nodes = np.concatenate(comm.allgather(own))
        near: Any = min(NEIGHBOURS + 1, len(nodes))
        distances, near = cKDTree(nodes[:, :3]).query(own[:, :3], k=near)
        cosines = np.einsum("ix,ijx->ij", own[:, 3:], nodes[near, 3:])
        i, j = np.nonzero(cosines < OPPOSED)
        start = surface.position.function_space.dofmap.index_map.local_range[0]
        apart = self._apart(start + i, near[i, j])
        i, gaps = i[apart], distances[i, j][apart]
        mine: tuple[float, Floats | None] = (np.inf, None)
        if gaps.size:
            mine = (float(gaps.min()), own[i[gaps.argmin()], :3])
        place: Floats | None = min(comm.allgather(mine), key=lambda pair: pair[0])[1]
        return place

    def _apart(self, one: Any, other: Any) -> Any:
        """Whether more than three cells lie between the nodes of each pair."""
        from scipy.sparse import csr_array

        ways = self._adjacent[one] @ self._adjacent @ self._adjacent
        ends = (np.ones(len(one)), (np.arange(len(one)), other))
        return ways.multiply(csr_array(ends, shape=ways.shape)).sum(axis=1) == 0
