r"""Degrees of freedom known by where they sit, not by how ranks number them.

Every degree of freedom of a Lagrange space is a point in a cell; its P1 weights at the vertices of
the cell do not depend on which cell, rank or orientation it is seen from. With a random 64-bit mark
for each vertex, the weighted sum of marks is a key, equal on any number of ranks.
"""

from __future__ import annotations

import math
from typing import Any

from flows.periodic import PeriodicMesh, places

import basix
import numpy as np
import numpy.typing as npt
from dolfinx import fem
from mpi4py import MPI

__all__ = ["fingerprint", "keys", "marks", "mix", "noise", "recognise"]

Keys = npt.NDArray[np.uint64]


def mix(x: npt.ArrayLike) -> Keys:
    """Random bits from a counter: the output function of the generator SplitMix64.

    The counter-based generators of NumPy give streams, not a number for each of many counters.
    """
    z = np.atleast_1d(x).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def marks(mesh: Any, numbers: Any) -> Keys:
    """Random bits for each local node of a mesh, from a number for each.

    Nodes that a periodic mesh makes one get the same: their place stands in for the number.
    """
    return _at_places(mesh) if isinstance(mesh, PeriodicMesh) else mix(numbers)


def _at_places(mesh: Any) -> Keys:
    bits = (places(mesh) + 0.0).view(np.uint64)  # + 0.0: minus zero has other bits
    return mix(mix(mix(bits[:, 0]) + bits[:, 1]) + bits[:, 2])


def corners(mesh: Any) -> Any:
    """The geometry nodes at the vertices of each local cell."""
    return mesh.geometry.dofmaps[0][:, : len(basix.geometry(_shape(mesh)))]


def fingerprint(mesh: Any, marks: Keys) -> int:
    """One number for all cells of a mesh, whatever their order and that of their vertices."""
    owned = mesh.topology.index_map(mesh.topology.dim).size_local
    local = mix(marks[corners(mesh)[:owned]].sum(axis=1)).sum(keepdims=True)
    mesh.comm.Allreduce(MPI.IN_PLACE, local, MPI.SUM)
    return int(local[0])


def keys(V: fem.FunctionSpace, marks: Keys) -> Keys:
    """A key for each local degree of freedom (each block of one), ghosts included.

    Args:
        V: A scalar or blocked Lagrange space, continuous or not.
        marks: Random bits for each local geometry node.

    Raises:
        ValueError: on every rank, for other spaces.
    """
    element = _lagrange(V)
    nodes = corners(V.mesh)
    vertices = basix.create_element(
        basix.ElementFamily.P, element.cell_type, 1, basix.LagrangeVariant.equispaced
    )
    table: Any = vertices.tabulate(0, element.points)
    weights = np.rint(2**20 * table[0, :, :, 0]).astype(np.int64)
    # Odd multipliers lose no bits; vertices of weight zero must not count.
    factors = np.where(weights == 0, np.uint64(0), mix(weights.view(np.uint64)) | np.uint64(1))
    seen = marks[nodes]
    of_cell = seen @ factors.T
    if element.discontinuous:
        of_cell += mix(seen.sum(axis=1))[:, None]
    index_map, dofs = V.dofmap.index_map, V.dofmap.list
    found = np.zeros(index_map.size_local + index_map.num_ghosts, dtype=np.uint64)
    found[dofs] = of_cell
    if V.mesh.comm.allreduce(not np.array_equal(found[dofs], of_cell), MPI.LOR):
        raise ValueError(
            "Degrees of freedom shared by cells without common vertices have no place."
        )
    return found


def _lagrange(V: fem.FunctionSpace) -> Any:
    try:
        element = V.element.basix_element
    except RuntimeError:
        element = None
    if V.component() or element is None:
        raise ValueError("A mixed space or a part of one: use a tuple of functions instead.")
    if element.family != basix.ElementFamily.P or not element.interpolation_is_identity:
        raise ValueError(
            f"Degrees of freedom of {V.ufl_element()} are not point values: use a Lagrange space."
        )
    return element


def _shape(mesh: Any) -> Any:
    return basix.CellType[mesh.topology.cell_name()]


def recognise(mesh: Any, built: Any, x: Any, ids: Any) -> npt.NDArray[np.int64] | None:
    """Find the local nodes of a mesh among all nodes of another partition of it.

    Args:
        mesh: The mesh.
        built: Coordinates of its local nodes when it was built.
        x: Coordinates of all nodes, when they were built.
        ids: Their numbers in the input of that mesh.

    Returns:
        The place of each local node, or ``None`` on all ranks if they are not all there.
    """
    tolerance = 1e-9 * np.ptp(x, axis=0).max()
    # The numbers of the input serve if it was the same; they alone tell coincident nodes apart.
    order = np.argsort(ids)
    mine = mesh.geometry.input_global_indices
    near = order[np.searchsorted(ids, mine, sorter=order).clip(max=ids.size - 1)]
    same = np.abs(x[near] - built).max(initial=0) <= tolerance
    if mesh.comm.allreduce(same, MPI.LAND):
        return np.asarray(near)
    from scipy.spatial import cKDTree  # slow to import, and seldom needed

    distance, near = cKDTree(x).query(built, k=[1, 2])
    same = (distance[:, 0] <= tolerance).all() and (distance[:, 1] > tolerance).all()
    if mesh.geometry.index_map().size_global == len(x) and mesh.comm.allreduce(same, MPI.LAND):
        return np.asarray(near[:, 0])
    return None


def noise(u: fem.Function, amplitude: float, seed: int = 0) -> None:
    r"""Add uniform noise in $[-a, a]$ to the nodal values of a function.

    The same noise on any number of ranks: each value depends on the coordinates of the vertices
    around it, the component and the seed alone.

    Args:
        u: A function of a Lagrange space, of any shape; its values are changed.
        amplitude: The bound $a$, in the units of ``u``.
        seed: Another seed gives other noise.

    Raises:
        ValueError: on every rank, for an amplitude that is not finite, or another space.
    """
    if not math.isfinite(amplitude):
        raise ValueError(f"amplitude = {amplitude!r}: give a finite number.")
    V = u.function_space
    salt = mix(mix(seed % 2**64) + np.arange(V.dofmap.bs, dtype=np.uint64))
    random = mix(keys(V, _at_places(V.mesh))[:, None] + salt) >> np.uint64(11)
    u.x.array[:] += amplitude * (2.0 * 2.0**-53 * random.ravel() - 1.0)
