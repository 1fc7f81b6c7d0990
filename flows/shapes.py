r"""Closed surfaces and curves with exact nodes, straight or curved.

Corners are placed on a sphere, a circle or a torus of angles; with `order=2` edges are halved
there, too; then all nodes are mapped onto the shape. So midside nodes lie on it as exactly as
corners do, in the middle of their arc.
"""

from collections.abc import Sequence
from typing import Any

from flows.cad import shape
from flows.curved import built, mesh_of
from flows.formats import Arrays, Block, count, degrees, merged, positive, proper

import numpy as np
import numpy.typing as npt
from dolfinx.mesh import CellType, Mesh
from mpi4py import MPI

__all__ = ["bumpy_sphere", "circle", "dumbbell", "ellipsoid", "from_arrays", "sphere", "torus"]

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
        cells: Nodes of each cell, in the order of DOLFINx. Six for a triangle, three for an
            interval, and so on, make curved cells of degree 2: corners first, then, of a triangle,
            the middle of the edges opposite to the corners 0, 1, 2.
        cell: Type of the cells.
        comm: Communicator of the mesh.

    Raises:
        ValueError: On every rank, if the arrays are no mesh.
    """

    def checked() -> Arrays:
        x, nodes = np.asarray(points, dtype=np.float64), np.asarray(cells, dtype=np.int64)
        if nodes.size == 0 or nodes.min() < 0 or nodes.max() >= len(x) or not np.isfinite(x).all():
            raise ValueError("there are no cells, or a point of a cell is missing or not finite")
        known = degrees(cell.name)
        if nodes.shape[-1] not in known:
            raise ValueError(f"a cell of type {cell.name} has {' or '.join(map(str, known))} nodes")
        if len(proper(nodes)) < len(nodes):
            raise ValueError("a cell repeats a point, or another cell")
        return Arrays(x, Block(cell.name, known[nodes.shape[-1]], nodes))

    return mesh_of(checked, comm)


def circle(
    radius: float = 1.0,
    *,
    n: int | None = None,
    h: float = 0.1,
    order: int = 1,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> Mesh[Any]:
    """The circle around the origin of the plane: a closed curve of `n` (else by `h`) intervals.

    Args:
        radius: Its radius.
        n: Number of intervals.
        h: Their length, if `n` is not given.
        order: 2 gives arcs of parabolas instead of chords.
        comm: Communicator of the mesh.
    """
    positive(h=h, radius=radius)
    n = max(3, count(2 * np.pi * radius, h)) if n is None else n
    if n < 3:
        raise ValueError(f"the number of intervals n must be at least 3, not {n}")

    def polygon() -> tuple[Floats, Integers]:
        t, i = 2 * np.pi * np.arange(n) / n, np.arange(n)
        return np.column_stack([np.cos(t), np.sin(t)]), np.column_stack([i, (i + 1) % n])

    return built(polygon, lambda p: radius * _unit(p), CellType.interval, order=order, comm=comm)


def sphere(
    radius: float = 1.0,
    *,
    refinements: int = 3,
    h: float | None = None,
    order: int = 1,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> Mesh[Any]:
    r"""The sphere around the origin, triangulated like an icosahedron, nodes on the sphere.

    Args:
        radius: Its radius.
        refinements: $k$ gives $20 \cdot 4^k$ triangles.
        h: Longest edge, instead of `refinements`.
        order: Degree of the cells; 2 curves them.
        comm: Communicator of the mesh.
    """
    positive(radius=radius)
    axes = (radius, radius, radius)
    return ellipsoid(axes, refinements=refinements, h=h, order=order, comm=comm)


def ellipsoid(
    axes: Sequence[float] = (1.0, 1.0, 1.5),
    *,
    refinements: int = 3,
    h: float | None = None,
    order: int = 1,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> Mesh[Any]:
    """The ellipsoid around the origin: the sphere, stretched to three half axes.

    Args:
        axes: Its half axes.
        refinements: As for :func:`sphere`.
        h: Longest edge on the sphere around it, instead of `refinements`.
        order: Degree of the cells; 2 curves them.
        comm: Communicator of the mesh.
    """
    positive(axis=min(axes))
    n, scale = _frequency(max(axes), h, refinements), np.asarray(axes)
    return built(lambda: _icosphere(n), lambda p: _unit(p) * scale, order=order, comm=comm)


def torus(
    R: float = 1.0,
    r: float = 0.5,
    *,
    h: float = 0.1,
    order: int = 1,
    structured: bool = True,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> Mesh[Any]:
    r"""The torus around the z axis: $(\sqrt{x^2 + y^2} - R)^2 + z^2 = r^2$.

    In isothermal coordinates, $\tan(\theta/2) = \sqrt{(R+r)/(R-r)} \tan(\psi/2)$, the torus is a
    flat rectangle, so a lattice of equilateral triangles there stays nearly equilateral on the
    surface. Their size follows the distance to the axis: `h` at distance $R$.

    Args:
        R: Radius of the centre line.
        r: Radius of the tube, below R.
        h: Edge length.
        order: Degree of the cells; 2 curves them, with midside nodes on the torus.
        structured: Whether to take that lattice, where six triangles meet at each node. If not,
            Gmsh makes triangles of the same size everywhere.
        comm: Communicator of the mesh.
    """
    positive(h=h, r=r, difference_of_radii=R - r)
    if not structured:
        return shape(
            "the torus",
            lambda occ: occ.addTorus(0, 0, 0, R, r),
            h=h,
            order=order,
            dim=2,
            comm=comm,
        )
    n = max(6, count(2 * np.pi * R, h))
    # Each row of the lattice is shifted by half a cell, so an even number of rows closes.
    rows = 2 * max(2, round(r / np.sqrt(R * R - r * r) * n / np.sqrt(3)))

    def lattice() -> tuple[Floats, Integers]:
        i, j = (a.ravel() for a in np.meshgrid(np.arange(n), np.arange(rows), indexing="ij"))
        phi, psi = 2 * np.pi * (i + j / 2) / n, 2 * np.pi * j / rows
        points = np.column_stack([np.cos(phi), np.sin(phi), np.cos(psi), np.sin(psi)])

        def at(i: Integers, j: Integers) -> Integers:
            # One turn around the tube moves a row by half its number of cells.
            return np.asarray((i + j // rows * (rows // 2)) % n * rows + j % rows)

        up = [at(i, j), at(i + 1, j), at(i, j + 1)]
        down = [at(i + 1, j), at(i + 1, j + 1), at(i, j + 1)]
        return points, np.concatenate([np.column_stack(up), np.column_stack(down)])

    def onto(circles: Floats) -> Floats:
        x, y, u, v = circles.T
        phi, psi = np.arctan2(y, x), np.arctan2(v, u)
        theta = 2 * np.arctan2(np.sqrt(R + r) * np.sin(psi / 2), np.sqrt(R - r) * np.cos(psi / 2))
        rho = R + r * np.cos(theta)
        return np.column_stack([rho * np.cos(phi), rho * np.sin(phi), r * np.sin(theta)])

    return built(lattice, onto, order=order, comm=comm)


def dumbbell(
    neck: float = 0.2, *, h: float = 0.1, order: int = 1, comm: MPI.Comm = MPI.COMM_WORLD
) -> Mesh[Any]:
    r"""The dumbbell $(x, a y, a z)$ over the unit sphere, $a = (1 - b) x^2 + b$, $b$ = `neck`.

    Under mean curvature flow it pinches at t = 0.02644 for b = 0.2, and shrinks to a round point
    at about t = 0.091 for b = 0.4.

    Args:
        neck: Radius of the neck, up to 1.
        h: Longest edge on the sphere.
        order: Degree of the cells; 2 curves them.
        comm: Communicator of the mesh.
    """
    positive(h=h, neck=neck)

    def pinched(points: Floats) -> Floats:
        p = _unit(points)
        p[:, 1:] *= (1 - neck) * p[:, :1] ** 2 + neck
        return p

    n = _frequency(1.0, h, 0)
    return built(lambda: _icosphere(n), pinched, order=order, comm=comm)


def bumpy_sphere(
    amplitude: float = 0.2, *, h: float = 0.1, order: int = 1, comm: MPI.Comm = MPI.COMM_WORLD
) -> Mesh[Any]:
    r"""The unit sphere with bumps and dents and no symmetry, curved both ways.

    $$ r = 1 + a\, \big(\sin(3x + 1) \cos 2y + \cos(3z + 0.7) \sin(2xy + x)\big) $$

    Args:
        amplitude: Their height $a$, between 0 and 0.3.
        h: Longest edge on the sphere.
        order: Degree of the cells; 2 curves them.
        comm: Communicator of the mesh.
    """
    positive(h=h)
    if not 0 <= amplitude <= 0.3:
        raise ValueError(f"amplitude = {amplitude}: give a number between 0 and 0.3")

    def uneven(points: Floats) -> Floats:
        p = _unit(points)
        x, y, z = p.T
        bumps = np.sin(3 * x + 1) * np.cos(2 * y) + np.cos(3 * z + 0.7) * np.sin(2 * x * y + x)
        return np.asarray(p * (1 + amplitude * bumps)[:, None])

    n = _frequency(1.0, h, 0)
    return built(lambda: _icosphere(n), uneven, order=order, comm=comm)


def _unit(points: Floats) -> Floats:
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True))


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
    points = _unit(points)

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
