r"""Curved cells: a node in the middle of each edge, put where the surface is.

A cell of degree 2 is the image of the reference cell under
$x(\xi) = \sum_i x_i \varphi_i(\xi)$ with the six quadratic shape functions of a triangle (three of
an interval, ten of a tetrahedron), so it meets a smooth surface to third order in $h$. Everything
here is about arrays on one process.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flows.formats import CORNERS, Arrays, Block, distribute, one_or_two
from flows.ranks import on_root

import basix
import numpy as np
import numpy.typing as npt
from basix import ElementFamily, LagrangeVariant
from dolfinx.geometry import (
    bb_tree,
    compute_closest_entity,
    compute_distance_gjk,
    create_midpoint_tree,
)
from dolfinx.mesh import CellType, Mesh
from mpi4py import MPI

__all__ = ["built", "mesh_of", "midsides", "nearest", "of_order", "straightened"]

# Shrinking the area element further than to this fraction makes a cell useless for computing.
_FLATTENED = 0.2

type Floats = npt.NDArray[np.float64]
type Integers = npt.NDArray[np.int64]


def built(
    make: Callable[[], tuple[Floats, Integers]],
    onto: Callable[[Floats], Floats] | None = None,
    cell: CellType = CellType.triangle,
    *,
    order: int = 1,
    comm: MPI.Comm,
) -> Mesh[Any]:
    """Mesh on all ranks from what rank 0 makes.

    Args:
        make: Gives points, in any coordinates, and straight cells.
        onto: Maps points, midside nodes too, to where they are in space.
        cell: Type of the cells.
        order: Degree of the cells, 1 or 2.
        comm: Communicator of the mesh.
    """
    one_or_two(order)

    def arrays() -> Arrays:
        points, cells = make()
        made = of_order(Arrays(points, Block(cell.name, 1, cells)), order)
        return made if onto is None else replace(made, points=onto(made.points))

    return mesh_of(arrays, comm)


def mesh_of(make: Callable[[], Arrays], comm: MPI.Comm) -> Mesh[Any]:
    """Mesh on all ranks from the arrays that rank 0 makes."""
    return distribute(on_root(comm, make), comm).mesh


def of_order(arrays: Arrays, order: int) -> Arrays:
    """The same mesh with cells of degree 1 or 2: straight ones, whose new nodes lie halfway."""
    if order == arrays.cells.degree:
        return arrays
    return _quadratic(arrays) if order == 2 else _linear(arrays)


def midsides(cells: Block) -> Integers:
    """The nodes that are no corners."""
    return np.unique(cells.nodes[:, CORNERS[cells.cell] :])


def nearest(points: Floats, arrays: Arrays) -> Floats:
    """The points of a surface or a curve that are nearest to given ones, by DOLFINx.

    Args:
        points: Shape (points, 3).
        arrays: Triangles or intervals of degree 1 in space.
    """
    mesh, dim = distribute(arrays, MPI.COMM_SELF).mesh, arrays.cells.dim
    cells, x = mesh.geometry.dofmaps[0], mesh.geometry.x
    centres = create_midpoint_tree(mesh, dim, np.arange(len(cells), dtype=np.int32))
    closest = compute_closest_entity(bb_tree(mesh, dim), centres, mesh, points)
    pairs = zip(points, x[cells[closest]], strict=True)
    return np.array([p + compute_distance_gjk(cell, p) for p, cell in pairs])


def straightened(points: Floats, cells: Block) -> Floats:
    """Coordinates with straight edges in the cells of degree 2 that fold, or nearly.

    Where an edge is long compared with the radius of curvature, a node on the surface may turn a
    part of the cell inside out. Its edges become chords, and so on in the neighbours until no cell
    is folded; those of straight simplices never are.
    """
    corners = CORNERS[cells.cell]
    ends = np.nonzero(_between(cells.cell)[corners:])[1].reshape(-1, 2)
    chords = points.copy()
    chords[cells.nodes[:, corners:]] = points[cells.nodes[:, ends]].mean(axis=2)
    straight = np.zeros((len(points), 1), dtype=bool)
    while True:
        x = np.where(straight, chords, points)
        folded = cells.nodes[_least_dilation(x[cells.nodes], cells.cell) < _FLATTENED, corners:]
        if straight[folded].all():
            return x
        straight[folded] = True


def _least_dilation(x: Floats, cell: str) -> Floats:
    r"""Least $\det(F^T J) / \det(F^T F)$ in each cell, $F$ the Jacobian of its straight corners.

    This is the area element along the flat normal, over that of the flat cell.

    Args:
        x: Nodes of simplices of degree 2, shape (cells, nodes, gdim).
        cell: Their type.
    """
    kind = basix.CellType[cell]
    lattice = basix.create_lattice(kind, 3, basix.LatticeType.equispaced, True)
    slopes = _lagrange(cell, 2).tabulate(1, lattice)[1:, :, :, 0]
    flat = np.swapaxes(x[:, 1 : len(slopes) + 1] - x[:, :1], 1, 2)
    product = np.einsum("cie,dqn,cni->cqed", flat, slopes, x, optimize=True)
    metric = np.einsum("cie,cid->ced", flat, flat)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.min(np.linalg.det(product) / np.linalg.det(metric)[:, None], axis=1))


def _quadratic(arrays: Arrays) -> Arrays:
    blocks = [block for block in (arrays.cells, arrays.facets) if block is not None]
    rules = [_between(block.cell) for block in blocks]
    width = max(int(rule.sum(axis=1).max()) for rule in rules)
    keys, sizes = [], []
    for block, rule in zip(blocks, rules, strict=True):
        # A node is known by the corners that it is halfway between, from any cell that has it.
        key = np.sort(np.where(rule, block.nodes[:, None], -1), axis=2)
        short = max(0, width - key.shape[2])
        key = np.pad(key, ((0, 0), (0, 0), (short, 0)), constant_values=-1)[:, :, -width:]
        keys.append(key.reshape(-1, width))
        sizes.append(key.shape[:2])
    unique, number = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
    among = (unique >= 0)[:, :, None]
    points = np.sum(np.where(among, arrays.points[unique], 0.0), axis=1) / among.sum(axis=1)
    parts = np.split(number.ravel(), np.cumsum([rows * nodes for rows, nodes in sizes])[:-1])
    made = [
        replace(block, degree=2, nodes=part.reshape(size).astype(np.int64))
        for block, part, size in zip(blocks, parts, sizes, strict=True)
    ]
    return Arrays(points, made[0], *made[1:])


def _linear(arrays: Arrays) -> Arrays:
    def cut(block: Block) -> Block:
        nodes = block.nodes[:, : CORNERS[block.cell]]
        return replace(block, degree=1, nodes=np.searchsorted(used, nodes))

    used = np.unique(arrays.cells.nodes[:, : CORNERS[arrays.cells.cell]])
    facets = None if arrays.facets is None else cut(arrays.facets)
    return Arrays(arrays.points[used], cut(arrays.cells), facets)


def _between(cell: str) -> npt.NDArray[np.bool_]:
    """Which corners each node of degree 2 is halfway between, shape (nodes, corners)."""
    hats = _lagrange(cell, 1).tabulate(0, _lagrange(cell, 2).points)[0, :, :, 0]
    return np.asarray(hats > 1e-9)


def _lagrange(cell: str, degree: int) -> Any:
    variant = LagrangeVariant.equispaced
    return basix.create_element(ElementFamily.P, basix.CellType[cell], degree, variant)
