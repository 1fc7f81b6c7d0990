r"""Geometry: CAD files, parametric `.geo` files and surfaces without one, meshed by Gmsh."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import pi, radians
from pathlib import Path
from re import search
from typing import Any

from flows.formats import Arrays, flat, ghosted, triangles
from flows.orientation import outward
from flows.ranks import on_root

import numpy as np
from dolfinx.io.gmsh import MeshData, model_to_mesh
from mpi4py import MPI

__all__ = ["GEOMETRY", "from_arrays", "from_file", "mesh_with_gmsh"]

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
    gmsh = on_root(comm, _gmsh)
    with _model(gmsh):
        space = on_root(comm, lambda: _fill(gmsh, build, name, h, dim, gdim, order, meshed))
        model = None if gmsh is None else gmsh.model
        return model_to_mesh(model, comm, 0, gdim=comm.bcast(space), partitioner=ghosted())


def from_file(gmsh: Any, path: Path, parameters: Mapping[str, float]) -> None:
    """Add what a file holds, with new values for names that it declares by `DefineConstant`."""
    for name in parameters:
        if not search(rf"\b{name}\b", path.read_text()):
            raise ValueError(f"{path} has no parameter {name!r}")
    for name, value in parameters.items():
        gmsh.parser.setNumber(name, [value])
    # An exception halfway through would leave the rest of the text to the next file that is read.
    _set(gmsh, {"General.AbortOnError": 0})
    gmsh.logger.start()
    try:
        gmsh.merge(str(path))
        errors = [text for text in gmsh.logger.get() if text.startswith("Error")]
    finally:
        gmsh.logger.stop()
        _set(gmsh, {"General.AbortOnError": 2})
    if errors:
        raise ValueError(errors[0].removeprefix("Error: "))
    if path.suffix.lower() in _BODIES:
        # They say nothing of sizes, and what Gmsh takes then is coarse.
        box = np.reshape(gmsh.model.getBoundingBox(-1, -1), (2, 3))
        _set(gmsh, {"Mesh.MeshSizeMax": float(np.linalg.norm(box[1] - box[0])) / 30})


def from_arrays(gmsh: Any, arrays: Arrays | None) -> None:
    """Add the surface that a triangulation stands for, to be meshed anew."""
    assert arrays is not None  # rank 0 has them
    cells, points = triangles(arrays.cells), arrays.points
    if (cells.cell, cells.degree) != ("triangle", 1):
        raise ValueError("h remeshes surfaces of flat triangles or quadrilaterals only")
    xyz = np.zeros((len(points), 3))
    xyz[:, : points.shape[1]] = points
    surface, mesh = gmsh.model.addDiscreteEntity(2), gmsh.model.mesh
    mesh.addNodes(2, surface, np.arange(1, len(xyz) + 1), xyz.ravel())
    mesh.addElementsByType(surface, 2, [], cells.nodes.ravel() + 1)
    # Edges sharper than 40 degrees stay edges of the new mesh.
    mesh.classifySurfaces(radians(40), True, True, pi)
    mesh.createGeometry()


def _set(gmsh: Any, options: Mapping[str, float]) -> None:
    for name, value in options.items():
        gmsh.option.setNumber(name, value)


def _gmsh() -> Any:
    try:
        import gmsh
    except ImportError as error:
        raise ImportError("meshing needs Gmsh: pip install 'gradient-flows[mesh]'") from error
    return gmsh


@contextmanager
def _model(gmsh: Any) -> Iterator[None]:
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
        _set(gmsh, {"General.AbortOnError": 2, "General.Terminal": 0})
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
            _set(gmsh, before)


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
    try:
        build(gmsh)
        top = model.getDimension()
        if not model.getEntities(top):
            raise ValueError("it is empty or broken")
        dim = top if dim is None else dim
        if not max(1, top - 1) <= dim <= top:
            raise ValueError(f"it has dimension {top}, so dim is {top} or {top - 1}, not {dim}")
        if not meshed:
            if h is not None:
                _set(gmsh, _UNIFORM | {"Mesh.MeshSizeMin": h, "Mesh.MeshSizeMax": h})
            model.mesh.generate(dim)
        if order is not None:
            model.mesh.setOrder(order)
        _select(model, dim, top)
        return _tidy(model, dim, gdim)
    except OSError:
        raise
    except Exception as error:
        # Gmsh raises nothing but Exception.
        raise ValueError(f"{name} cannot be meshed: {error}") from error


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
