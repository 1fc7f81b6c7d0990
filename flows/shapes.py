r"""Closed surfaces and curves with exact nodes, and a surface that is a periodic strip."""

from collections.abc import Callable, Sequence
from typing import Any

from flows.formats import Arrays, Block, count, distribute, merged, positive, proper
from flows.ranks import on_root

import numpy as np
import numpy.typing as npt
from dolfinx import fem
from dolfinx.mesh import CellType, Mesh
from mpi4py import MPI

__all__ = [
    "circle",
    "dumbbell",
    "ellipsoid",
    "from_arrays",
    "periodic_strip",
    "sphere",
    "torus",
]

type Floats = npt.NDArray[np.float64]
type Integers = npt.NDArray[np.int64]


def from_arrays(
    points: npt.ArrayLike,
    cells: npt.ArrayLike,
    *,
    cell: CellType = CellType.triangle,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> Mesh[Any]:
    """Mesh from the points and cells of rank 0; those of other ranks are ignored.

    Args:
        points: Coordinates, shape (points, gdim).
        cells: Corners of each cell, in the order of DOLFINx.
        cell: Type of the cells.
        comm: Communicator of the mesh.

    Raises:
        ValueError: On every rank, if the arrays are no mesh.
    """

    def checked() -> tuple[Floats, Integers]:
        x, nodes = np.asarray(points, dtype=np.float64), np.asarray(cells, dtype=np.int64)
        if nodes.size == 0 or nodes.min() < 0 or nodes.max() >= len(x) or not np.isfinite(x).all():
            raise ValueError("there are no cells, or a point of a cell is missing or not finite")
        if len(proper(nodes)) < len(nodes):
            raise ValueError("a cell repeats a point, or another cell")
        return x, nodes

    return _build(checked, comm, cell)


def circle(
    radius: float = 1.0, *, n: int | None = None, h: float = 0.1, comm: MPI.Comm = MPI.COMM_WORLD
) -> Mesh[Any]:
    """The circle around the origin of the plane: a closed curve of `n` (else by `h`) intervals."""
    positive(h=h, radius=radius)
    n = max(3, count(2 * np.pi * radius, h)) if n is None else n
    if n < 3:
        raise ValueError(f"the number of intervals n must be at least 3, not {n}")

    def polygon() -> tuple[Floats, Integers]:
        t, i = 2 * np.pi * np.arange(n) / n, np.arange(n)
        return radius * np.column_stack([np.cos(t), np.sin(t)]), np.column_stack([i, (i + 1) % n])

    return _build(polygon, comm, CellType.interval)


def sphere(
    radius: float = 1.0,
    *,
    refinements: int = 3,
    h: float | None = None,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> Mesh[Any]:
    r"""The sphere around the origin, triangulated like an icosahedron, nodes on the sphere.

    Args:
        radius: Its radius.
        refinements: $k$ gives $20 \cdot 4^k$ triangles.
        h: Longest edge, instead of `refinements`.
        comm: Communicator of the mesh.
    """
    positive(radius=radius)
    return ellipsoid((radius, radius, radius), refinements=refinements, h=h, comm=comm)


def ellipsoid(
    axes: Sequence[float] = (1.0, 1.0, 1.5),
    *,
    refinements: int = 3,
    h: float | None = None,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> Mesh[Any]:
    """The ellipsoid around the origin: the sphere, stretched to three half axes."""
    positive(axis=min(axes))
    n = _frequency(max(axes), h, refinements)

    def stretched() -> tuple[Floats, Integers]:
        points, cells = _icosphere(n)
        return points * np.asarray(axes), cells

    return _build(stretched, comm)


def torus(
    R: float = 1.0, r: float = 0.5, *, h: float = 0.1, comm: MPI.Comm = MPI.COMM_WORLD
) -> Mesh[Any]:
    r"""The torus around the z axis, structured: $(\sqrt{x^2 + y^2} - R)^2 + z^2 = r^2$.

    In isothermal coordinates, $\tan(\theta/2) = \sqrt{(R+r)/(R-r)} \tan(\psi/2)$, the torus is a
    flat rectangle, so a lattice of equilateral triangles there stays nearly equilateral on the
    surface. Their size follows the distance to the axis: `h` at distance $R$.

    Args:
        R: Radius of the centre line.
        r: Radius of the tube, below R.
        h: Edge length.
        comm: Communicator of the mesh.
    """
    positive(h=h, r=r, difference_of_radii=R - r)
    n = max(6, count(2 * np.pi * R, h))
    # Each row of the lattice is shifted by half a cell, so an even number of rows closes.
    rows = 2 * max(2, round(r / np.sqrt(R * R - r * r) * n / np.sqrt(3)))

    def lattice() -> tuple[Floats, Integers]:
        i, j = (a.ravel() for a in np.meshgrid(np.arange(n), np.arange(rows), indexing="ij"))
        phi, psi = 2 * np.pi * (i + j / 2) / n, 2 * np.pi * j / rows
        theta = 2 * np.arctan2(np.sqrt(R + r) * np.sin(psi / 2), np.sqrt(R - r) * np.cos(psi / 2))
        rho = R + r * np.cos(theta)
        points = np.column_stack([rho * np.cos(phi), rho * np.sin(phi), r * np.sin(theta)])

        def at(i: Integers, j: Integers) -> Integers:
            # One turn around the tube moves a row by half its number of cells.
            return np.asarray((i + j // rows * (rows // 2)) % n * rows + j % rows)

        up = [at(i, j), at(i + 1, j), at(i, j + 1)]
        down = [at(i + 1, j), at(i + 1, j + 1), at(i, j + 1)]
        return points, np.concatenate([np.column_stack(up), np.column_stack(down)])

    return _build(lattice, comm)


def dumbbell(neck: float = 0.2, *, h: float = 0.1, comm: MPI.Comm = MPI.COMM_WORLD) -> Mesh[Any]:
    r"""The dumbbell $(x, a y, a z)$ over the unit sphere, $a = (1 - b) x^2 + b$, $b$ = `neck`.

    Under mean curvature flow it pinches at t = 0.02644 for b = 0.2, and shrinks to a round point
    at about t = 0.091 for b = 0.4.

    Args:
        neck: Radius of the neck, up to 1.
        h: Longest edge on the sphere.
        comm: Communicator of the mesh.
    """
    positive(h=h, neck=neck)

    def pinched() -> tuple[Floats, Integers]:
        points, cells = _icosphere(_frequency(1.0, h, 0))
        points[:, 1:] *= (1 - neck) * points[:, :1] ** 2 + neck
        return points, cells

    return _build(pinched, comm)


def periodic_strip(
    length: float = 1.0,
    width: float = 1.0,
    *,
    h: float = 0.1,
    cell: CellType = CellType.triangle,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> tuple[Mesh[Any], fem.Function[Any]]:
    r"""The strip $[0, L) \times [0, W]$, periodic in x, and the coordinates (x, y) on it.

    It is the side of a prism whose base is a regular polygon with circumference L: each cell is
    flat and as large as in the plane, so a form on this mesh is the form on the periodic strip.

    Args:
        length: Period $L$.
        width: Width $W$.
        h: Edge length.
        cell: Triangles or quadrilaterals.
        comm: Communicator of the mesh.

    Returns:
        The mesh, a surface in space, and its flat coordinates: a discontinuous function of degree
        1 with two components, where x does not jump back inside the last cell.
    """
    positive(h=h, length=length, width=width)
    n, rows = max(3, count(length, h)), count(width, h)
    step = length / n

    def prism() -> tuple[Floats, Integers]:
        i, j = (a.ravel() for a in np.meshgrid(np.arange(n), np.arange(rows + 1), indexing="ij"))
        radius, angle = step / (2 * np.sin(np.pi / n)), 2 * np.pi * i / n
        y = width * j / rows
        points = np.column_stack([radius * np.cos(angle), radius * np.sin(angle), y])
        here = np.flatnonzero(j < rows)
        right = (here + rows + 1) % len(points)
        corners = np.column_stack([here, right, here + 1, right + 1])
        if cell == CellType.triangle:
            corners = corners[:, [0, 1, 3, 0, 3, 2]].reshape(-1, 3)
        return points, corners

    mesh = _build(prism, comm, cell)
    flat = fem.functionspace(mesh, ("Discontinuous Lagrange", 1, (2,)))
    dofs, at = flat.dofmap.list, flat.tabulate_dof_coordinates()
    sides = n * np.mod(np.arctan2(at[:, 1], at[:, 0]), 2 * np.pi) / (2 * np.pi)
    side = np.rint(sides)[dofs] % n
    # In a cell across the seam, the corners at angle zero are at x = L.
    side[(side == 0) & (side.max(axis=1, keepdims=True) == n - 1)] = n
    coordinates = fem.Function(flat, name="coordinates")
    values = coordinates.x.array.reshape(-1, 2)
    values[dofs, 0], values[dofs, 1] = step * side, at[dofs, 2]
    return mesh, coordinates


def _build(
    make: Callable[[], tuple[Floats, Integers]],
    comm: MPI.Comm,
    cell: CellType = CellType.triangle,
) -> Mesh[Any]:
    """Mesh from the points and cells that rank 0 makes."""

    def arrays() -> Arrays:
        points, cells = make()
        return Arrays(points, Block(cell.name, 1, cells))

    return distribute(on_root(comm, arrays), comm).mesh


def _icosphere(n: int) -> tuple[Floats, Integers]:
    """The unit sphere with each side of an icosahedron cut into n: 20 n^2 triangles."""
    golden = (1 + np.sqrt(5)) / 2
    corners = np.array([[0, s, t * golden] for s in (-1, 1) for t in (-1, 1)])
    corners = np.concatenate([np.roll(corners, k, axis=1) for k in range(3)])
    corners /= np.linalg.norm(corners[0])
    from scipy.spatial import ConvexHull  # slow to import

    faces = corners[ConvexHull(corners).simplices]

    i, j = (a.ravel() for a in np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij"))
    inside = i + j <= n
    number = np.cumsum(inside).reshape(n + 1, n + 1) - 1
    i, j = i[inside], j[inside]
    # Weights of the great circle between two corners keep the edges nearly equal.
    weights = np.sin(np.arctan(2) / n * np.column_stack([n - i - j, i, j]))
    points = np.einsum("pk,fkx->fpx", weights, faces).reshape(-1, 3)
    points /= np.linalg.norm(points, axis=1, keepdims=True)

    a, b = (i[i + j < n], j[i + j < n])
    up = np.column_stack([number[a, b], number[a + 1, b], number[a, b + 1]])
    a, b = (i[i + j < n - 1], j[i + j < n - 1])
    down = np.column_stack([number[a + 1, b], number[a + 1, b + 1], number[a, b + 1]])
    face = np.concatenate([up, down])
    cells = (face[None] + i.size * np.arange(20)[:, None, None]).reshape(-1, 3)
    first, cells = np.unique(merged(points)[cells], return_inverse=True)
    return points[first], cells.reshape(-1, 3)


def _frequency(radius: float, h: float | None, refinements: int) -> int:
    if h is None:
        return int(2**refinements)
    positive(h=h)
    return max(1, int(np.ceil(np.arctan(2) * radius / h)))
