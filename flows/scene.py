"""From functions on every rank to what PyVista draws on rank 0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flows.look import (
    CLAY,
    CLOTH,
    DIVERGING,
    INK,
    LIGHTS,
    LINEAR,
    LINES,
    SEQUENTIAL,
    VIEWS,
    Film,
    Look,
)
from flows.periodic import carry, opened

import basix.ufl
import numpy as np
from basix import ElementFamily, LagrangeVariant
from dolfinx import fem
from dolfinx.mesh import Mesh
from dolfinx.plot import vtk_mesh
from mpi4py import MPI

__all__ = [
    "Panel",
    "Snapshot",
    "camera",
    "colour",
    "comm_of",
    "gather",
    "layers",
    "mesh_of",
    "render",
    "series",
    "skin",
    "snapshot",
    "things",
]

type Layers = list[tuple[Any, dict[str, Any]]]


@dataclass
class Panel:
    """A PyVista data set, the name of the field on it, and how it is seen."""

    grid: Any
    title: str
    name: str = ""
    label: str = ""
    clim: tuple[float, float] | None = None
    cmap: Any = None
    camera: Any = None  # the rows right, up, towards the eye
    box: Any = None  # lowest and highest coordinates in these
    layers: Layers = field(default_factory=list)
    bar: bool = False
    lit: bool = False

    def __post_init__(self) -> None:
        if self.name in self.grid.cell_data:
            self.grid = self.grid.separate_cells().cell_data_to_point_data()
        if straight := LINEAR.get((self.grid.celltypes[0], self.grid.cells[0])):
            linear = type(self.grid)(
                self.grid.cells, np.full(self.grid.n_cells, straight), self.grid.points
            )
            linear.copy_attributes(self.grid)
            self.grid = linear
        x, y, z = np.ptp(self.grid.points, axis=0)
        self.dim = self.grid.get_cell(0).dimension
        self.flat, self.line = z <= 1e-9 * (x + y), self.dim == 1 and y + z <= 1e-9 * x
        values: Any = np.asarray(self.grid[self.name]) if self.name else None
        self.values = self.shade = values
        self.arrows = values is not None and values.ndim > 1 and not self.line
        if self.arrows:
            self.shade = np.linalg.norm(values, axis=1)
            if np.ptp(self.shade) < 1e-6 * self.shade.max():  # directions: lengths say nothing
                self.shade = values[:, -1]
                self.label = f"${self.label}_{values.shape[1]}$"

    @property
    def aspect(self) -> float:
        """Width over height."""
        width, height, _ = np.ptp(self.box, axis=0)
        return 1.5 if self.line else float(np.clip(width / (height or width), 0.4, 8.0))

    @property
    def style(self) -> dict[str, Any]:
        """How PyVista colours the field, or the bare mesh."""
        if not self.name:
            return {"color": CLAY if self.dim > 1 else LINES[0]}
        return {"scalars": self.name, "cmap": self.cmap, "clim": self.clim}


@dataclass(frozen=True)
class Snapshot:
    """What something looked like when :func:`flows.snapshot` was called."""

    comm: MPI.Comm
    panel: Panel | None


def colour(panels: Sequence[Panel], film: Film) -> None:
    """Give each panel its range and map: diverging and symmetric where the sign matters."""
    from matplotlib.colors import LinearSegmentedColormap

    look, coloured = film.look, [p for p in panels if p.values is not None]
    keys = ["all" if look.share else i for i, _ in enumerate(coloured)]
    for key, panel in zip(keys, coloured, strict=True):
        film.grow(key, np.nanmin(panel.shade), np.nanmax(panel.shade))
    for key, panel in zip(keys, coloured, strict=True):
        low, high = look.clim or film.ranges[key]
        signed = low < 0 < high and min(-low, high) > 0.05 * max(-low, high)
        if signed and not panel.line and not look.clim:
            low, high = min(low, -high), max(-low, high)
        elif high - low <= 1e-8 * max(abs(low), abs(high)):  # a constant, up to rounding
            low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
        colours = (DIVERGING if signed else SEQUENTIAL).split()
        panel.clim = low, high
        panel.cmap = look.cmap or LinearSegmentedColormap.from_list("flows", colours)


def camera(panel: Panel, look: Look) -> Any:
    """The orthonormal rows right, up, towards the eye."""
    x, y, _ = np.ptp(panel.grid.points, axis=0)
    view: Any = look.view
    if view is None and panel.flat and not look.warp:
        view = "xy"
    elif view is None:  # the longer side lies across the picture; a cube is seen by all ranks alike
        view = (0.55, -1, 0.5) if x >= 0.99 * y else (1, -0.55, 0.5)
    if isinstance(view, str) and view not in VIEWS:
        raise ValueError(f"Unknown view {view!r}: choose among {', '.join(VIEWS)}, or a direction.")
    eye = np.array(VIEWS.get(view) if isinstance(view, str) else view, dtype=float)
    right = np.cross((0, 1, 0) if np.allclose(eye[:2], 0) else (0, 0, 1), eye)
    right, eye = right / np.linalg.norm(right), eye / np.linalg.norm(eye)
    return np.array([right, np.cross(eye, right), eye])


def layers(panel: Panel, look: Look) -> Layers:
    """The data sets to draw with their properties."""
    grid, eye = panel.grid, panel.camera[2]
    if panel.arrows:
        return _arrows(panel)
    # A shift towards the eye puts the edges before the surface and is not seen.
    edges = grid.extract_all_edges().translate(2e-3 * grid.length * eye)
    if panel.dim == 3 and panel.name:
        grid = grid if _is_linear(grid) else grid.tessellate(max_n_subdivide=1)
        if look.contours:
            return [
                *_contours(grid, panel, look),
                (skin(grid), {"color": CLAY, "opacity": 0.1}),
            ]
        if look.clip:
            grid, edges = _without_corner(grid, eye), _without_corner(edges, eye)
    surface = skin(grid)
    if panel.dim == 1:
        surface = surface.strip().tube(radius=0.005 * grid.length, n_sides=24)
    if look.warp and panel.name:
        factor = 0.35 * grid.length / (np.ptp(panel.values) or 1.0)
        raised = {"factor": factor if look.warp is True else look.warp, "normal": (0, 0, 1)}
        surface, edges = (x.warp_by_scalar(panel.name, **raised) for x in (surface, edges))
    layers = [(surface, panel.style)]
    if look.edges or (look.edges is None and not panel.name and panel.dim > 1):
        layers.append((edges, {"color": INK, "opacity": 0.45, "line_width": 1.3}))
    return layers + (_contours(surface, panel, look) if look.contours and panel.name else [])


def _is_linear(grid: Any) -> bool:
    return bool(np.isin(getattr(grid, "celltypes", 5), (3, 5, 9, 10, 12)).all())


def skin(grid: Any) -> Any:
    """The boundary of a volume, or the surface itself; curved cells are cut into flat ones."""
    if _is_linear(grid):
        return grid.extract_surface(algorithm="geometry")
    cuts = 3 if grid.n_cells < 5000 else 2
    return grid.extract_surface(algorithm="dataset_surface", nonlinear_subdivision=cuts)


def _without_corner(grid: Any, eye: Any) -> Any:
    """Cut out the octant next to the eye."""
    low, high = np.reshape(grid.bounds, (3, 2)).T
    octant = np.sort([(low + high) / 2, np.where(eye > 0, high, low) + eye * grid.length], axis=0)
    return grid.clip_box(octant.T.ravel(), invert=True, merge_points=False)


def _contours(surface: Any, panel: Panel, look: Look) -> Layers:
    low, high = panel.clim or (0, 1)
    levels = np.linspace(low, high, look.contours + 2)[1:-1]
    contours = surface.contour(levels, scalars=panel.name)
    style = panel.style if panel.dim == 3 else {"color": INK, "line_width": 2}
    return [(contours, style)] if contours.n_points else []


def _arrows(panel: Panel) -> Layers:
    """Some hundred arrows, evenly spread, on the pale domain."""
    import pyvista

    spacing = 0.03 if panel.flat else 0.045  # of the diagonal
    cloud = pyvista.PolyData(panel.grid.points)
    cloud["vector"] = np.pad(panel.values, ((0, 0), (0, 3 - panel.values.shape[1])))
    cloud["length"] = np.linalg.norm(cloud["vector"], axis=1)
    cloud["shade"] = panel.shade
    arrow = pyvista.Arrow(start=(-0.5, 0, 0), tip_length=0.35, tip_radius=0.14, shaft_radius=0.045)
    factor = 1.5 * spacing * panel.grid.length / (cloud["length"].max() or 1.0)
    glyphs = cloud.glyph(
        orient="vector", scale="length", factor=factor, geom=arrow, tolerance=spacing
    )
    pale = {"color": CLAY, "opacity": 0.35 if panel.flat or panel.dim == 3 else 1.0}
    return [(glyphs, {**panel.style, "scalars": "shade"}), (skin(panel.grid), pale)]


def snapshot(what: Any, field: str | None = None) -> list[Snapshot]:
    r"""Keep what :func:`flows.plot` would draw now, to draw it later beside others; collective.

    Args:
        what: A flow, a Function or a mesh. It may move and change afterwards.
        field: Name of the field in `flow.fields`; by default the states are kept.

    Returns:
        One snapshot for each panel, for :func:`flows.plot`.
    """
    return [
        Snapshot(comm_of(x) or MPI.COMM_SELF, gather(x, title)) for x, title in things(what, field)
    ]


def things(what: Any, name: str | None) -> Iterator[tuple[Any, str]]:
    """The meshes, Functions and data sets in what the user gave, with their titles."""
    if hasattr(what, "state"):
        title = ", ".join(filter(None, (getattr(what, "name", None), f"$t = {what.time:.4g}$")))
        yield from ((x, title) for x in _shown(what, name))
    elif isinstance(what, list | tuple):
        for item in what:
            yield from things(item, name)
    elif hasattr(what, "point_data"):
        yield what, "".join(f"$t = {t:.4g}$" for t in what.field_data.get("TimeValue", ()))
    elif isinstance(what, fem.Function | Mesh | Snapshot):
        yield what, ""
    else:
        raise ValueError(f"Cannot plot a {type(what).__name__}: give a flow, a Function or a mesh.")


def _shown(flow: Any, name: str | None) -> Sequence[Any]:
    """The states of a flow; where the state is the shape itself, the first field on the shape."""
    state = getattr(flow, "shown", flow.state)
    states = state if isinstance(state, tuple) else (state,)
    fields = tuple(getattr(flow, "fields", ())) or states
    if name is not None:
        chosen = [u for u in fields if u.name == name]
        if not chosen:
            names = ", ".join(u.name for u in fields)
            raise ValueError(f"The flow has no field {name!r}: choose among {names}.")
        return chosen
    shown = [u for u in states if not _is_shape(u)]
    return shown or [u for u in fields if not _is_shape(u)][:1] or [flow.mesh]


def _is_shape(u: fem.Function) -> bool:
    """Whether `u` is the immersion of its mesh."""
    V, gdim = u.function_space, u.function_space.mesh.geometry.dim
    if V.mesh.topology.dim == gdim or tuple(V.value_shape) != (gdim,):
        return False
    x = V.tabulate_dof_coordinates()[:, :gdim].ravel()
    same = x.size == u.x.array.size and np.allclose(x, u.x.array, atol=1e-10)
    return bool(V.mesh.comm.allreduce(same, op=MPI.LAND))


def mesh_of(thing: Any) -> Any:
    """The mesh of a mesh or a Function; a PyVista data set has none."""
    thing = getattr(thing, "function_space", thing)
    return getattr(thing, "mesh", thing) if isinstance(thing, Mesh | fem.FunctionSpace) else None


def comm_of(thing: Any) -> MPI.Comm | None:
    """The ranks that hold parts of a thing; a PyVista data set has none."""
    return getattr(thing if isinstance(thing, Snapshot) else mesh_of(thing), "comm", None)


def _drawable(u: fem.Function) -> fem.Function:
    """`u` in a space that VTK can draw: Lagrange with the equispaced nodes that VTK assumes."""
    V = u.function_space
    if V.component():
        return _drawable(u.collapse())
    element = V.ufl_element().basix_element
    mesh, ready = opened(V.mesh), element.family == ElementFamily.P and element.degree in (1, 2)
    if ready and mesh is V.mesh:
        return u
    equispaced = basix.ufl.element(
        "Lagrange", mesh.basix_cell(), max(1, element.degree), LagrangeVariant.equispaced,
        shape=tuple(V.value_shape), discontinuous=element.discontinuous,
    )  # fmt: skip
    v = fem.Function(fem.functionspace(mesh, equispaced), name=u.name)
    carry(u, v)
    return v


def gather(thing: Any, title: str) -> Panel | None:
    """The panel of a mesh, a Function, a data set or a snapshot, on rank 0."""
    if isinstance(thing, Snapshot):
        return thing.panel and replace(thing.panel)
    if (mesh := mesh_of(thing)) is None:
        name = thing.active_scalars_name or ""
        label = "" if name == "value" else name
        return Panel(thing.cast_to_unstructured_grid(), title, name, label)
    tabulate: Any = vtk_mesh  # overloaded at run time, unknown to the type checker
    owned = np.arange(mesh.topology.index_map(mesh.topology.dim).size_local, dtype=np.int32)
    if thing is mesh:
        numbering, values = mesh.geometry.index_map(), np.empty((0, 1))
        cells, types, x = tabulate(opened(mesh), mesh.topology.dim, owned)
    else:
        V = (u := _drawable(thing)).function_space
        numbering, values = V.dofmap.index_map, np.real(u.x.array).reshape(-1, V.dofmap.bs)
        cells, types, x = tabulate(V, owned)
    cells = cells.reshape(-1, max(cells.size // max(types.size, 1), 1)).astype(np.int64)
    cells[:, 1:] = numbering.local_to_global(cells[:, 1:].ravel()).reshape(cells[:, 1:].shape)
    n = numbering.size_local
    pieces = mesh.comm.gather((cells.ravel(), types, x[:n], values[:n]))
    if pieces is None:
        return None
    import pyvista

    *arrays, values = (np.concatenate(p) for p in zip(*pieces, strict=True))
    grid = pyvista.UnstructuredGrid(*arrays)
    if thing is mesh:
        return Panel(grid, title)
    if values.shape[1] > 3:  # a tensor shows its norm
        values = np.linalg.norm(values, axis=1, keepdims=True)
    grid["value"] = values if values.shape[1] > 1 else values[:, 0]
    return Panel(grid, title, "value", "" if thing.name == "f" else thing.name)


def series(path: Path, name: str | None) -> Iterator[Any]:
    """The frames of a series, as data sets without the ghosts that parallel runs write."""
    if path.suffix != ".pvd" or not path.is_file():
        raise OSError(f"Cannot read {path}: give the .pvd file of a series.")
    import pyvista

    reader = pyvista.PVDReader(path)
    for time in reader.time_values:
        reader.set_active_time_value(time)
        grid = reader.read().combine()
        if "vtkGhostType" in grid.cell_data:
            grid = grid.extract_cells(grid.cell_data["vtkGhostType"] == 0)
        grid.field_data["TimeValue"] = [time]
        fields = {**grid.cell_data, **grid.point_data}
        shape = [n for n in fields if np.array_equal(fields[n], grid.points)]
        names = [n for n in fields if not n.startswith("vtk") and n not in shape]
        if name and name not in names:
            raise ValueError(f"The series has no field {name!r}: choose among {', '.join(names)}.")
        grid.set_active_scalars(name or next(iter(names), None))
        yield grid


def render(panel: Panel, pixels: tuple[int, int], background: str) -> Any:
    """The layers of a panel in parallel projection, its box filling the image."""
    import pyvista

    kind: Any = pyvista.Plotter
    theme = pyvista.themes.DocumentTheme()  # not the user's
    theme.anti_aliasing = None  # twice the pixels are enough, and four times as fast
    with pyvista.vtk_verbosity("off"):  # no word about the missing X server
        plotter = kind(
            off_screen=True, notebook=False, window_size=[*pixels], lighting="none", theme=theme
        )
        try:
            plotter.set_background(background)
            for place, intensity in LIGHTS.items():
                light = {"position": place, "intensity": intensity, "light_type": "camera light"}
                plotter.add_light(pyvista.Light(**light))
            for data, style in panel.layers:
                _add_layer(plotter, data, style, panel.lit)
            size = np.ptp(panel.box, axis=0)
            focus = panel.box.mean(axis=0) @ panel.camera
            eye = focus + 3 * np.linalg.norm(size) * panel.camera[2]
            plotter.camera_position = [eye, focus, panel.camera[1]]
            plotter.enable_parallel_projection()
            plotter.parallel_scale = 0.505 * max(size[1], size[0] * pixels[1] / pixels[0])
            plotter.reset_camera_clipping_range()
            return np.asarray(plotter.screenshot(return_img=True))
        finally:
            plotter.close()


def _add_layer(plotter: Any, data: Any, style: dict[str, Any], lit: bool) -> None:
    """Cloth only where there is light: without it the colours must be those of the bar."""
    if lit:
        style = CLOTH | style
    if lit and data.n_cells and data.get_cell(0).dimension == 2:
        style = {"smooth_shading": True, "split_sharp_edges": True} | style
    plotter.add_mesh(data, lighting=lit, show_scalar_bar=False, **style)
