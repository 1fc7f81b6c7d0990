r"""Geometry: CAD files and parametric `.geo` files, meshed by Gmsh."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from re import search
from typing import Any

from flows.curved import straightened
from flows.formats import Block, flat, ghosted, one_or_two
from flows.orientation import outward
from flows.ranks import on_root

import numpy as np
from dolfinx.io.gmsh import MeshData, cell_perm_array, model_to_mesh
from dolfinx.mesh import CellType, Mesh
from mpi4py import MPI

__all__ = [
    "GEOMETRY",
    "blaming",
    "empty_model",
    "from_file",
    "imported",
    "mesh_with_gmsh",
    "same_size",
    "set_options",
    "shape",
]

GEOMETRY = {".geo", ".step", ".stp", ".brep"}
_BODIES = GEOMETRY - {".geo"}

# What Gmsh calls "the same size everywhere".
_UNIFORM = {
    "Mesh.MeshSizeFromPoints": 0,
    "Mesh.MeshSizeFromCurvature": 0,
    "Mesh.MeshSizeExtendFromBoundary": 0,
}
_OPTIONS = [
    "General.AbortOnError",
    "General.Terminal",
    "Mesh.MinimumCurveNodes",
    "Mesh.MeshSizeMin",
    "Mesh.MeshSizeMax",
    *_UNIFORM,
]


def mesh_with_gmsh(
    build: Callable[[Any], None],
    *,
    name: str,
    h: float | None = None,
    dim: int | None = None,
    gdim: int | None = None,
    order: int | None = None,
    meshed: bool = False,
    comm: MPI.Comm,
) -> MeshData:
    """Mesh, on all ranks, of the model that `build(gmsh)` makes on rank 0.

    Args:
        build: Adds geometry, or cells, to the empty current model of Gmsh.
        name: What to call it in messages.
        h: Edge length.
        dim: Dimension of the cells; one less than that of the geometry gives its boundary.
        gdim: Dimension of the space.
        order: Degree of the geometry.
        meshed: Whether `build` brings the cells along.
        comm: Communicator of the mesh.
    """
    one_or_two(order)
    gmsh = on_root(comm, imported)
    with empty_model(gmsh):
        space = on_root(comm, lambda: _fill(gmsh, build, name, h, dim, gdim, order, meshed))
        model = None if gmsh is None else gmsh.model
        return model_to_mesh(model, comm, 0, gdim=comm.bcast(space), partitioner=ghosted())


def shape(
    name: str,
    add: Callable[[Any], Any],
    *,
    h: float,
    order: int,
    dim: int | None = None,
    comm: MPI.Comm,
) -> Mesh[Any]:
    """Mesh of the shape that `add(gmsh.model.occ)` makes, or with `dim` of its boundary."""

    def build(gmsh: Any) -> None:
        add(gmsh.model.occ)
        gmsh.model.occ.synchronize()

    return mesh_with_gmsh(build, name=name, h=h, dim=dim, order=order, comm=comm).mesh


def from_file(gmsh: Any, path: Path, parameters: Mapping[str, float]) -> None:
    """Add what a file holds, with new values for names that it declares by `DefineConstant`."""
    for name in parameters:
        if not search(rf"\b{name}\b", path.read_text()):
            raise ValueError(f"{path} has no parameter {name!r}")
    for name, value in parameters.items():
        gmsh.parser.setNumber(name, [value])
    # An exception halfway through would leave the rest of the text to the next file that is read.
    set_options(gmsh, {"General.AbortOnError": 0})
    gmsh.logger.start()
    try:
        gmsh.merge(str(path))
        errors = [text for text in gmsh.logger.get() if text.startswith("Error")]
    finally:
        gmsh.logger.stop()
        set_options(gmsh, {"General.AbortOnError": 2})
    if errors:
        raise ValueError(errors[0].removeprefix("Error: "))
    if path.suffix.lower() in _BODIES:
        # They say nothing of sizes, and what Gmsh takes then is coarse.
        box = np.reshape(gmsh.model.getBoundingBox(-1, -1), (2, 3))
        set_options(gmsh, {"Mesh.MeshSizeMax": float(np.linalg.norm(box[1] - box[0])) / 30})


def set_options(gmsh: Any, options: Mapping[str, float]) -> None:
    """Numbers for the options of Gmsh; `empty_model` puts those in `_OPTIONS` back."""
    for name, value in options.items():
        gmsh.option.setNumber(name, value)


def same_size(gmsh: Any, h: float) -> None:
    """Edges of length h everywhere."""
    set_options(gmsh, _UNIFORM | {"Mesh.MeshSizeMin": h, "Mesh.MeshSizeMax": h})


@contextmanager
def blaming(name: str) -> Iterator[None]:
    """Errors of Gmsh, which raises nothing but Exception, with what they are about."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{name} cannot be meshed: {error}") from error


def imported() -> Any:
    """The module of Gmsh, which is optional."""
    try:
        import gmsh
    except ImportError as error:
        raise ImportError("meshing needs Gmsh: pip install 'gradient-flows[mesh]'") from error
    return gmsh


@contextmanager
def empty_model(gmsh: Any) -> Iterator[None]:
    """An empty model, on rank 0; a Gmsh that the caller has in use is left as it was."""
    if gmsh is None:
        yield
        return
    ours = not gmsh.isInitialized()
    if ours:
        gmsh.initialize(readConfigFiles=False, interruptible=False)
    before = {name: gmsh.option.getNumber(name) for name in _OPTIONS}
    current, variables = gmsh.model.getCurrent(), set(gmsh.parser.getNames())
    try:
        set_options(gmsh, {"General.AbortOnError": 2, "General.Terminal": 0})
        gmsh.model.add("flows")
        yield
    finally:
        gmsh.model.setCurrent("flows")
        gmsh.model.remove()
        if ours:
            gmsh.finalize()
        else:
            for name in set(gmsh.parser.getNames()) - variables:
                gmsh.parser.clear(name)
            gmsh.model.setCurrent(current)
            set_options(gmsh, before)


def _fill(
    gmsh: Any,
    build: Callable[[Any], None],
    name: str,
    h: float | None,
    dim: int | None,
    gdim: int | None,
    order: int | None,
    meshed: bool,
) -> int:
    """Build, mesh, tag and orient; the dimension of space."""
    model = gmsh.model
    with blaming(name):
        build(gmsh)
        top = _dimension(model, meshed)
        if top < 1:
            raise ValueError("it is empty or broken")
        dim = top if dim is None else dim
        if not max(1, top - 1) <= dim <= top:
            raise ValueError(f"it has dimension {top}, so dim is {top} or {top - 1}, not {dim}")
        if not meshed:
            if h is not None:
                same_size(gmsh, h)
            model.mesh.generate(dim)
        if order is not None:
            model.mesh.setOrder(order)
        if order == 2 and not meshed:
            _straighten(model.mesh, dim)
        _select(model, dim, top)
        return _tidy(model, dim, gdim)


def _dimension(model: Any, meshed: bool) -> int:
    """The highest dimension of the geometry, or of the cells: a file may hold bodies without."""
    entities = model.getEntities()
    if meshed:
        entities = [entity for entity in entities if len(model.mesh.getElementTypes(*entity))]
    return max((dim for dim, _ in entities), default=-1)


def _straighten(mesh: Any, dim: int) -> None:
    """Unfold the simplices that are too large for the curvature of the geometry."""
    kind, name = {1: (8, "interval"), 2: (9, "triangle"), 3: (11, "tetrahedron")}[dim]
    count = mesh.getElementProperties(kind)[3]
    nodes = mesh.getElementsByType(kind)[1].reshape(-1, count).astype(np.int64)
    nodes = nodes[:, cell_perm_array(getattr(CellType, name), count)]
    tags, x, _ = mesh.getNodes()
    points = np.zeros((int(tags.max()) + 1, 3))
    points[tags] = x.reshape(-1, 3)
    straight = straightened(points, Block(name, 2, nodes))
    for tag in np.flatnonzero(np.any(points != straight, axis=1)):
        mesh.setNode(tag, straight[tag], [])


def _select(model: Any, dim: int, top: int) -> None:
    """Leave the cells that are wanted, each in one physical group: `model_to_mesh` insists."""

    def tagged(d: int) -> list[int]:
        groups = model.getPhysicalGroups(d)
        return [int(t) for d, group in groups for t in model.getEntitiesForPhysicalGroup(d, group)]

    every = [tag for _, tag in model.getEntities(dim)]
    keep = tagged(dim) or every
    if len(keep) > len(set(keep)):
        raise ValueError("some cells lie in two physical groups; give each cell one")
    if dim < top:
        bodies = [(top, tag) for tag in tagged(top)] or model.getEntities(top)
        # Of a mesh without geometry the boundary may be unknown; then the tagged cells are it.
        keep = [tag for _, tag in model.getBoundary(bodies, oriented=False)] or keep
    # One by one, because to Gmsh no entities are all entities.
    for group in model.getPhysicalGroups():
        if group[0] > dim:
            model.removePhysicalGroups([group])
    for entity in [*model.getEntities(top), *((dim, tag) for tag in every)]:
        if entity[0] > dim or entity[1] not in keep:
            model.mesh.clear([entity])
    rest = sorted(set(keep) - set(tagged(dim)))
    if rest:
        model.addPhysicalGroup(dim, rest, name="rest")


def _tidy(model: Any, dim: int, gdim: int | None) -> int:
    """Number the points that the cells use first, turn closed surfaces; the dimension of space."""
    mesh = model.mesh
    kinds, tags, nodes = mesh.getElements(dim)
    if len(kinds) != 1:
        what = "no cells" if len(kinds) == 0 else "cells of several kinds"
        raise ValueError(f"it holds {what} of dimension {dim}")
    used, every = np.unique(nodes[0]), mesh.getNodes()[0]
    old = np.concatenate([used, np.setdiff1d(every, used)])
    mesh.renumberNodes(old, np.arange(1, old.size + 1))
    for group in model.getPhysicalGroups():
        # Entities that no cell touches, such as the centre of an arc, are not part of the mesh.
        if np.any(mesh.getNodesForPhysicalGroup(*group)[0] > used.size):
            model.removePhysicalGroups([group])

    numbers, points, _ = mesh.getNodes()
    points = points.reshape(-1, 3)[np.argsort(numbers)][: used.size]
    gdim = flat(points, dim) if gdim is None else gdim
    if dim == gdim - 1:
        name, _, _, count, _, corners = mesh.getElementProperties(kinds[0])
        nodes = mesh.getElements(dim)[2][0].reshape(-1, count).astype(np.int64) - 1
        corner = [0, 1, 3, 2] if name.startswith("Quad") else list(range(corners))
        try:
            sign = outward(nodes[:, corner], points[:, :gdim], closed=False)
            mesh.reverseElements(tags[0][sign < 0])
        except ValueError:
            # A surface without an outside is still a mesh; a flow that needs one says so.
            pass
    return gdim
