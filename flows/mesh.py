r"""Meshes: read from any file, or built.

Everything here takes `comm` and returns a mesh that is distributed over it, with one layer of
ghost cells, the same on any number of ranks. `h` is the length of an edge. Closed surfaces in
space and closed curves in the plane look outward, as `orientation` promises; surfaces with an edge
are oriented alike everywhere. With `order=2` cells are curved: quadratic, all nodes on the shape.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows import cad
from flows.curved import of_order
from flows.formats import (
    SURFACES,
    VTK,
    Arrays,
    clean,
    count,
    distribute,
    load,
    one_or_two,
    positive,
)
from flows.level_surface import genus_two
from flows.open_shapes import hemisphere, tube
from flows.orientation import closed, orientation
from flows.periodic import PeriodicMesh, periodic_box, shared
from flows.ranks import on_root
from flows.remesh import remeshed
from flows.shapes import bumpy_sphere, circle, dumbbell, ellipsoid, from_arrays, sphere, torus

import dolfinx.mesh as dmesh
import numpy as np
import numpy.typing as npt
from dolfinx.io.gmsh import MeshData
from dolfinx.mesh import CellType, Mesh
from mpi4py import MPI

__all__ = [
    "PeriodicMesh",
    "ball",
    "box",
    "bumpy_sphere",
    "circle",
    "closed",
    "disk",
    "dumbbell",
    "ellipsoid",
    "from_arrays",
    "genus_two",
    "hemisphere",
    "interval",
    "orientation",
    "read",
    "read_data",
    "rectangle",
    "sphere",
    "torus",
    "tube",
]

_FORMATS = cad.GEOMETRY | SURFACES | VTK | {".msh", ".xdmf"}

type Floats = npt.NDArray[np.float64]
type Integers = npt.NDArray[np.int64]


def read(
    path: str | Path,
    *,
    h: float | None = None,
    dim: int | None = None,
    gdim: int | None = None,
    order: int | None = None,
    parameters: Mapping[str, float] | None = None,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> Mesh[Any]:
    r"""Read a mesh from any file.

    * `.geo`, `.step`, `.stp`, `.brep`: geometry, meshed on the fly by Gmsh;
    * `.msh` through Gmsh, `.xdmf` through DOLFINx, `.stl .obj .ply .vtk .vtp .vtu` through meshio,
      or PyVista where that does not know a version of VTK, such as the one of DOLFINx.
      Duplicate points of surfaces are merged, unused points dropped.

    Args:
        path: The file.
        h: Edge length, the same everywhere. Without it a `.geo` file is meshed at the sizes that
            it states, a CAD body at 1/30 of its diagonal. A surface mesh with it is meshed anew
            by Gmsh, which makes a good triangulation of any watertight STL; edges sharper than 40
            degrees and the boundary stay where they are, and so does the topology.
        dim: Dimension of the cells; the default is the highest that the file holds. For geometry,
            one less gives the boundary: `dim=2` is the closed surface of a solid.
        gdim: Dimension of space; the default drops trailing coordinates that vanish.
        order: Degree of the cells; the default is that of the file, or 1. With 2, the midside nodes
            of geometry lie on it; those of a surface meshed anew lie on the old triangles; those
            of a mesh of degree 1 taken as it is halve its straight edges, which changes nothing but
            the degree. In simplices that would fold, edges stay straight.
        parameters: New values for names that a `.geo` file declares by `DefineConstant`.
        comm: Communicator of the mesh.

    Returns:
        The mesh. Its tags come with `read_data`.

    Raises:
        OSError: On every rank, if there is no such file.
        ValueError: On every rank, if the file does not hold what is asked for, or cannot be
            meshed, for example because `h` is too large for a thin part of it.
    """
    return read_data(
        path, h=h, dim=dim, gdim=gdim, order=order, parameters=parameters, comm=comm
    ).mesh


def read_data(
    path: str | Path,
    *,
    h: float | None = None,
    dim: int | None = None,
    gdim: int | None = None,
    order: int | None = None,
    parameters: Mapping[str, float] | None = None,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> MeshData:
    """Read a mesh with its tags; the arguments are those of `read`.

    Returns:
        `mesh`, `cell_tags`, `facet_tags`, `physical_groups`, ... as DOLFINx names them. Tags are
        the physical groups of `.geo` and `.msh` files (cells in none of them form the group
        "rest"), the first array of integers on the cells of `.vtk`, `.vtp` and `.vtu` files, and
        the `MeshTags` of `.xdmf` files (cells without a tag get 0). A surface meshed anew has none.
    """
    path, suffix = Path(path), Path(path).suffix.lower()
    if suffix not in _FORMATS:
        known = " ".join(sorted(_FORMATS))
        raise ValueError(f"{path} has an unknown mesh format; known are {known}")
    if h is not None:
        positive(h=h)
    one_or_two(order)
    if parameters and suffix != ".geo":
        raise ValueError(f"only .geo files have parameters, {path} has none")
    on_root(comm, lambda: path.open("rb").close())

    if suffix in cad.GEOMETRY or (suffix == ".msh" and h is None):
        return cad.mesh_with_gmsh(
            lambda gmsh: cad.from_file(gmsh, path, parameters or {}),
            name=str(path),
            h=h,
            dim=dim,
            gdim=gdim,
            order=order,
            meshed=suffix == ".msh",
            comm=comm,
        )

    def arrays() -> Arrays:
        file = clean(path, *load(path), dim, gdim)
        if h is not None:
            return remeshed(file, str(path), h=h, order=order)
        return of_order(file, order or file.cells.degree)

    return distribute(on_root(comm, arrays), comm)


def interval(
    start: float = 0.0,
    stop: float = 1.0,
    *,
    h: float = 0.1,
    periodic: bool = False,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> Mesh[Any]:
    """The interval from `start` to `stop`; `periodic=True` makes its two ends one point."""
    if periodic:
        return periodic_box([start], [stop], h=h, cell=CellType.interval, periodic=True, comm=comm)
    positive(h=h, length=stop - start)
    return dmesh.create_interval(comm, count(stop - start, h), [start, stop])


def rectangle(
    lower: Sequence[float] = (0.0, 0.0),
    upper: Sequence[float] = (1.0, 1.0),
    *,
    h: float = 0.1,
    cell: CellType = CellType.triangle,
    periodic: bool | Sequence[bool] = False,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> Mesh[Any]:
    """The rectangle between two corners, of triangles or quadrilaterals.

    `periodic=True` makes opposite sides one, `periodic=(True, False)` the left and the right alone:
    see :class:`PeriodicMesh`.
    """
    if any(shared(periodic, 2)):
        return periodic_box(lower, upper, h=h, cell=cell, periodic=periodic, comm=comm)
    sides = np.subtract(upper, lower)
    positive(h=h, width=sides[0], height=sides[1])
    return dmesh.create_rectangle(comm, [lower, upper], [count(a, h) for a in sides], cell)


def box(
    lower: Sequence[float] = (0.0, 0.0, 0.0),
    upper: Sequence[float] = (1.0, 1.0, 1.0),
    *,
    h: float = 0.1,
    cell: CellType = CellType.tetrahedron,
    periodic: bool | Sequence[bool] = False,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> Mesh[Any]:
    """The box between two corners, of tetrahedra or hexahedra.

    `periodic=True` makes opposite sides one, `periodic=(True, True, False)` those of the first two
    directions alone: see :class:`PeriodicMesh`.
    """
    if any(shared(periodic, 3)):
        return periodic_box(lower, upper, h=h, cell=cell, periodic=periodic, comm=comm)
    sides = np.subtract(upper, lower)
    positive(h=h, width=sides[0], depth=sides[1], height=sides[2])
    return dmesh.create_box(comm, [lower, upper], [count(a, h) for a in sides], cell)


def disk(
    radius: float = 1.0, *, h: float = 0.1, order: int = 1, comm: MPI.Comm = MPI.COMM_WORLD
) -> Mesh[Any]:
    """The disk around the origin, by Gmsh; `order=2` curves the cells at its edge."""
    positive(h=h, radius=radius)
    return cad.shape(
        "the disk", lambda occ: occ.addDisk(0, 0, 0, radius, radius), h=h, order=order, comm=comm
    )


def ball(
    radius: float = 1.0, *, h: float = 0.2, order: int = 1, comm: MPI.Comm = MPI.COMM_WORLD
) -> Mesh[Any]:
    """The solid ball around the origin, by Gmsh; `order=2` curves the cells at its surface."""
    positive(h=h, radius=radius)
    return cad.shape(
        "the ball", lambda occ: occ.addSphere(0, 0, 0, radius), h=h, order=order, comm=comm
    )
