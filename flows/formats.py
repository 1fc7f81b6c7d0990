r"""Points and cells: from files to arrays on rank 0, and from there to a distributed mesh."""

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from re import search
from typing import Any
from xml.etree import ElementTree as ET

from flows.orientation import outward
from flows.ranks import on_root

import basix.ufl
import dolfinx.cpp as cpp
import numpy as np
import numpy.typing as npt
from dolfinx.graph import adjacencylist
from dolfinx.io import XDMFFile, distribute_entity_data
from dolfinx.io.gmsh import MeshData
from dolfinx.mesh import (
    CellType,
    GhostMode,
    create_cell_partitioner,
    create_mesh,
    entities_to_geometry,
    meshtags_from_entities,
)
from mpi4py import MPI

__all__ = ["Arrays", "Block", "clean", "distribute", "flat", "load", "merged"]

DIMENSION = {"interval": 1, "triangle": 2, "quadrilateral": 2, "tetrahedron": 3, "hexahedron": 3}
CORNERS = {"interval": 2, "triangle": 3, "quadrilateral": 4, "tetrahedron": 4, "hexahedron": 8}
SURFACES = {".stl", ".obj", ".ply"}
VTK = {".vtk", ".vtp", ".vtu"}

# Cell and degree by the name in meshio.
_MESHIO = {
    "line": ("interval", 1),
    "line3": ("interval", 2),
    "triangle": ("triangle", 1),
    "triangle6": ("triangle", 2),
    "quad": ("quadrilateral", 1),
    "quad9": ("quadrilateral", 2),
    "tetra": ("tetrahedron", 1),
    "tetra10": ("tetrahedron", 2),
    "hexahedron": ("hexahedron", 1),
    "hexahedron27": ("hexahedron", 2),
}

# Cells of any degree by the same.
_LAGRANGE = {
    "VTK_LAGRANGE_CURVE": "interval",
    "VTK_LAGRANGE_TRIANGLE": "triangle",
    "VTK_LAGRANGE_QUADRILATERAL": "quadrilateral",
    "VTK_LAGRANGE_TETRAHEDRON": "tetrahedron",
    "VTK_LAGRANGE_HEXAHEDRON": "hexahedron",
}

# The nodes of a cell as seen from the other side.
_TURNED = {
    ("interval", 1): [1, 0],
    ("interval", 2): [1, 0, 2],
    ("triangle", 1): [0, 2, 1],
    ("triangle", 2): [0, 2, 1, 3, 5, 4],
    ("quadrilateral", 1): [0, 2, 1, 3],
    ("quadrilateral", 2): [0, 2, 1, 3, 5, 4, 7, 6, 8],
}


@dataclass(frozen=True)
class Block:
    """Cells of one kind, their nodes in the order of DOLFINx, with one tag each or none."""

    cell: str
    degree: int
    nodes: npt.NDArray[np.int64]
    values: npt.NDArray[np.int32] | None = None

    @property
    def dim(self) -> int:
        """Dimension of the cells."""
        return DIMENSION[self.cell]

    def __getitem__(self, rows: Any) -> "Block":
        """Some of the cells."""
        values = None if self.values is None else self.values[rows]
        return replace(self, nodes=self.nodes[rows], values=values)


@dataclass(frozen=True)
class Arrays:
    """A mesh on one process: coordinates of shape (points, gdim), cells, tagged facets if any."""

    points: npt.NDArray[np.float64]
    cells: Block
    facets: Block | None = None

    def empty(self) -> "Arrays":
        """What the other ranks contribute: the kinds alone."""
        return Arrays(self.points[:0], self.cells[:0], self.facets and self.facets[:0])


def ghosted() -> Any:
    """Partitioner that adds ghosts, so that integrals over interior facets work on any rank."""
    create: Any = create_cell_partitioner
    # Two cells to a facet: more, or no bound, costs quadratic time in DOLFINx 0.11.
    return create(GhostMode.shared_facet, 2)


def distribute(arrays: Arrays | None, comm: MPI.Comm) -> MeshData:
    """Mesh and tags on all ranks from the arrays of rank 0; closed surfaces are turned outward."""
    arrays = on_root(comm, lambda: None if arrays is None else _turn_outward(arrays))
    like = comm.bcast(None if arrays is None else arrays.empty())
    arrays = like if arrays is None else arrays
    cells, gdim = arrays.cells, arrays.points.shape[1]
    element: Any = basix.ufl.element("Lagrange", cells.cell, cells.degree, shape=(gdim,))
    mesh = create_mesh(comm, cells.nodes, element, arrays.points, ghosted())

    tags: list[Any] = [None, None]
    for codim, block in enumerate((cells, arrays.facets)):
        if block is not None and block.values is not None:
            dim = cells.dim - codim
            mesh.topology.create_connectivity(dim, cells.dim)
            local, values = distribute_entity_data(mesh, dim, block.nodes, block.values)
            tags[codim] = meshtags_from_entities(mesh, dim, adjacencylist(local), values)
            tags[codim].name = ("cell_tags", "facet_tags")[codim]
    return MeshData(mesh, tags[0], tags[1], None, None, {})


def _turn_outward(arrays: Arrays) -> Arrays:
    cells, points = arrays.cells, arrays.points
    if cells.dim != points.shape[1] - 1:
        return arrays
    corners, turned = CORNERS[cells.cell], _TURNED[cells.cell, cells.degree]
    try:
        inward = outward(cells.nodes[:, :corners], points, closed=False) < 0
    except ValueError:
        # A surface without an outside is still a mesh; a flow that needs one says so at its start.
        return arrays
    nodes = np.where(inward[:, None], cells.nodes[:, turned], cells.nodes)
    return replace(arrays, cells=replace(cells, nodes=nodes))


def load(path: Path) -> tuple[npt.NDArray[np.float64], list[Block]]:
    """Points and blocks of cells of a file that holds a mesh."""
    read = _load_xdmf if path.suffix.lower() == ".xdmf" else _load_meshio
    try:
        # meshio prints, and leaves the interpreter, where it meets an error.
        with (
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
            np.errstate(all="ignore"),
        ):
            return read(path)
    except (ImportError, OSError):
        raise
    except (Exception, SystemExit) as error:
        why = "" if isinstance(error, SystemExit) else f" ({error})"
        raise ValueError(f"{path} cannot be read as {path.suffix}; is it complete?{why}") from error


def clean(
    path: Path,
    points: npt.NDArray[np.float64],
    blocks: list[Block],
    dim: int | None = None,
    gdim: int | None = None,
) -> Arrays:
    """The cells of dimension `dim` (default: the highest) and their tagged facets, tidied up.

    Duplicate points of surfaces are merged, unused points and cells that collapse or repeat are
    dropped, quadrilaterals among triangles are cut in two.
    """
    present = {block.dim for block in blocks if len(block.nodes)}
    if not present:
        raise ValueError(f"{path} holds no cells")
    dim = max(present) if dim is None else dim
    if dim not in present:
        raise ValueError(f"{path} holds no cells of dimension {dim}, only of {sorted(present)}")
    cells = _joined(path, [b for b in blocks if b.dim == dim])
    tagged = [b for b in blocks if b.dim == dim - 1 and b.values is not None]
    facets = _joined(path, tagged) if tagged else None

    used = np.unique(cells.nodes)
    if gdim is None:
        gdim = flat(points[used], dim)
    new = np.arange(len(points))
    if dim < gdim or path.suffix.lower() in SURFACES:
        new[used] = used[merged(points[used])]
    cells = replace(cells, nodes=new[cells.nodes])
    cells = cells[proper(cells.nodes)]
    used = np.unique(cells.nodes)
    if facets is not None:
        facets = replace(facets, nodes=new[facets.nodes])
        facets = facets[np.all(np.isin(facets.nodes, used), axis=1)]
        facets = replace(facets, nodes=np.searchsorted(used, facets.nodes))
    cells = replace(cells, nodes=np.searchsorted(used, cells.nodes))
    return Arrays(np.ascontiguousarray(points[used, :gdim]), cells, facets)


def flat(points: npt.NDArray[np.float64], tdim: int) -> int:
    """Smallest dimension of space, not below `tdim`, whose further coordinates vanish."""
    gdim, size = points.shape[1], np.ptp(points, axis=0).max()
    while gdim > tdim and np.all(np.abs(points[:, gdim - 1]) <= 1e-12 * size):
        gdim -= 1
    return int(gdim)


def merged(points: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """For each point, the first one at the same place."""
    near = 1e-9 * np.ptp(points, axis=0).max()
    from scipy.sparse import coo_array  # slow to import: only where a file is read
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    a, b = cKDTree(points).query_pairs(near, output_type="ndarray").T
    pairs = coo_array((np.ones(a.size, dtype=np.int8), (a, b)), shape=(len(points),) * 2)
    group = connected_components(pairs, directed=False)[1]
    return np.asarray(np.unique(group, return_index=True)[1][group], dtype=np.int64)


def proper(cells: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Which cells have distinct nodes and come for the first time; others can crash DOLFINx."""
    ordered = np.sort(cells, axis=1)
    first = np.zeros(len(cells), dtype=bool)
    first[np.unique(ordered, axis=0, return_index=True)[1]] = True
    return np.flatnonzero(first & np.all(np.diff(ordered, axis=1) > 0, axis=1))


def _joined(path: Path, blocks: list[Block]) -> Block:
    """One block from all, which must be of one kind."""
    kinds = {(b.cell, b.degree) for b in blocks}
    if kinds == {("triangle", 1), ("quadrilateral", 1)}:
        blocks = [triangles(b) for b in blocks]
    elif len(kinds) > 1:
        names = ", ".join(sorted(f"{cell} of degree {degree}" for cell, degree in kinds))
        raise ValueError(f"{path} mixes cells of several kinds ({names}); keep one kind")
    values = [b.values for b in blocks if b.values is not None]
    return Block(
        blocks[0].cell,
        blocks[0].degree,
        np.concatenate([b.nodes for b in blocks]),
        np.concatenate(values) if len(values) == len(blocks) else None,
    )


def triangles(block: Block) -> Block:
    """Each quadrilateral cut into two triangles."""
    if (block.cell, block.degree) != ("quadrilateral", 1):
        return block
    values = None if block.values is None else np.repeat(block.values, 2)
    return Block("triangle", 1, block.nodes[:, [0, 1, 3, 0, 3, 2]].reshape(-1, 3), values)


def _meshio(path: Path) -> Any:
    try:
        import meshio
    except ImportError as error:
        raise ImportError(
            f"{path.suffix} files need meshio: pip install 'gradient-flows[mesh]'"
        ) from error
    try:
        return meshio.read(path)
    except (Exception, SystemExit):
        # meshio knows neither polygons nor the newer versions of these formats, such as that of
        # DOLFINx; VTK itself does.
        with path.open("rb") as file:
            if path.suffix.lower() not in VTK or not search(
                rb"VTKFile|# vtk DataF", file.read(200)
            ):
                raise
    import pyvista

    return pyvista.to_meshio(pyvista.read(path))


def _load_meshio(path: Path) -> tuple[npt.NDArray[np.float64], list[Block]]:
    mesh = _meshio(path)
    kept = [i for i, block in enumerate(mesh.cells) if block.type != "vertex"]
    values: dict[int, Any] = {}
    for data in mesh.cell_data.values():
        if all(np.issubdtype(data[i].dtype, np.integer) and data[i].ndim == 1 for i in kept):
            values = {i: data[i].astype(np.int32) for i in kept}
            break
    blocks = []
    for i in kept:
        kind, nodes = mesh.cells[i].type, np.asarray(mesh.cells[i].data, dtype=np.int64)
        if kind in _LAGRANGE and nodes.shape[1] in (known := degrees(_LAGRANGE[kind])):
            cell, degree = _LAGRANGE[kind], known[nodes.shape[1]]
        elif kind in _MESHIO:
            cell, degree = _MESHIO[kind]
        else:
            raise ValueError(f"cells of the kind {kind!r} are not supported")
        order = cpp.io.perm_vtk(getattr(CellType, cell), nodes.shape[1])
        blocks.append(Block(cell, degree, nodes[:, order], values.get(i)))
    points = np.asarray(mesh.points, dtype=np.float64)
    return points, blocks


def _load_xdmf(path: Path) -> tuple[npt.NDArray[np.float64], list[Block]]:
    # DOLFINx rather than meshio: its own HDF5 reads the heavy data, and it knows its own tags.
    text = path.read_text()
    grids = [g for g in ET.fromstring(text).iter("Grid") if g.find("Topology") is not None]
    if not grids:
        return np.empty((0, 3)), []
    encoding = XDMFFile.Encoding.HDF5 if 'Format="HDF' in text else XDMFFile.Encoding.ASCII
    with XDMFFile(MPI.COMM_SELF, path, "r", encoding=encoding) as file:
        mesh = file.read_mesh(name=grids[0].get("Name", ""))
        tdim, kind = mesh.topology.dim, mesh.topology.cell_type
        for dim in (tdim - 1, tdim):
            mesh.topology.create_connectivity(dim, tdim)
        tags = [
            file.read_meshtags(mesh, grid.get("Name", ""), attribute_name=attribute.get("Name"))
            for grid in grids
            for attribute in grid.findall("Attribute[@Center='Cell']")
            if _holds_tags(grid, attribute)
        ]
    # Back to the numbering of the file, so that more data of it can be read onto the mesh.
    names, degree = mesh.geometry.input_global_indices, mesh.geometry.cmaps[0].degree
    points = np.zeros((names.max() + 1, 3))
    points[names] = mesh.geometry.x
    cells = names[mesh.geometry.dofmaps[0]][np.argsort(mesh.topology.original_cell_index)]
    blocks = [Block(kind.name, degree, cells)]
    for tag in tags:
        if tag.dim == tdim and blocks[0].values is None:
            values = np.zeros(len(cells), dtype=np.int32)
            values[mesh.topology.original_cell_index[tag.indices]] = tag.values
            blocks[0] = replace(blocks[0], values=values)
        elif tag.dim == tdim - 1 and tdim > 1 and len(blocks) == 1:
            nodes = names[entities_to_geometry(mesh, tdim - 1, tag.indices)]
            facet = cpp.mesh.cell_entity_type(kind, tdim - 1, 0).name
            blocks.append(Block(facet, degree, nodes, tag.values))
    return points, blocks


def _holds_tags(grid: ET.Element, attribute: ET.Element) -> bool:
    """Whether the values are integers: as DOLFINx names its tags, or as the file states."""
    data = attribute.find("DataItem")
    stated = "" if data is None else data.get("DataType", data.get("NumberType", ""))
    return stated in ("Int", "UInt") or attribute.get("Name") == grid.get("Name")


def count(length: float, h: float) -> int:
    """How many edges of about h a length has."""
    return max(1, round(float(length) / h))


def positive(**sizes: float) -> None:
    """Refuse a size that is not positive."""
    for name, size in sizes.items():
        if not size > 0:
            raise ValueError(f"{name.replace('_', ' ')} must be positive, not {size}")


def degrees(cell: str) -> dict[int, int]:
    """The degree of cells by their number of nodes."""
    known = (1, 2) if cell in CORNERS else ()
    return {basix.ufl.element("Lagrange", cell, degree).dim: degree for degree in known}


def one_or_two(order: int | None) -> None:
    """Refuse an order of the geometry that there is not."""
    if order not in (None, 1, 2):
        raise ValueError(f"the order of the geometry is 1 or 2, not {order}")
