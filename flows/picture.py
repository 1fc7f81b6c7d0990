r"""Pictures: what a flow looks like, and how its energy falls.

PyVista draws the geometry off-screen, matplotlib sets it on the page. The owned cells of all ranks
are gathered on rank 0 under their global numbers, so the picture is the one a single rank makes;
an error on rank 0 is raised on every rank.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import basix.ufl
import numpy as np
import numpy.typing as npt
from basix import ElementFamily, LagrangeVariant
from dolfinx import fem
from dolfinx.mesh import Mesh
from dolfinx.plot import vtk_mesh
from mpi4py import MPI

__all__ = ["Look", "Reel", "animate", "curves", "plot"]

type Image = npt.NDArray[np.uint8]
type PathLike = str | os.PathLike[str]

# The house style. Both colour maps are monotone in lightness (the diverging one in each arm), so
# that they survive print and colour blindness.
DIVERGING = "#123f7a #2b6cab #6fa9d0 #bcd8e8 #f7f4f0 #f0c9b1 #de9070 #bf5240 #8c1f2c"
SEQUENTIAL = "#f4f6ee #cfe5d5 #93cfc3 #4fb0b5 #2f8aa8 #2f6396 #303d75 #1d1b45"
LINES = ("#1f5f9e", "#c8553d", "#2f9c8f", "#e0a030", "#7a5195", "#5b6770")
INK, CLAY = "#22262b", "#dfe5ec"
CLOTH = {"ambient": 0.42, "diffuse": 0.62, "specular": 0.12, "specular_power": 15}
LIGHTS = {(-1.0, 1.4, 1.6): 0.75, (1.6, 0.3, 1.2): 0.3, (0.3, 1.0, -1.5): 0.3}  # key, fill, back
EM, HEIGHT, WIDTH = 22, 680, 1600  # pixels: the text, the largest height and width of all panels
RC = {"mathtext.fontset": "cm", "axes.formatter.use_mathtext": True, "axes.linewidth": 0.8,
      "axes.formatter.limits": (-3, 4), "axes.spines.top": False, "axes.spines.right": False,
      "figure.constrained_layout.w_pad": 0.2, "figure.constrained_layout.h_pad": 0.2,
      "legend.frameon": False, "lines.linewidth": 2.5, "lines.solid_capstyle": "round"}  # fmt: skip
SUFFIXES = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".tif", ".tiff", ".webp")
# Cells that DOLFINx calls Lagrange and that are linear: (VTK type, nodes) -> type without curves.
LINEAR = {(68, 2): 3, (69, 3): 5, (70, 4): 9, (71, 4): 10, (72, 8): 12}
VIEWS = {"xy": (0, 0, 1), "xz": (0, -1, 0), "yz": (1, 0, 0), "iso": (1, -1, 0.8)}


@dataclass(frozen=True)
class Look:
    r"""The options of a picture, given by keyword to :func:`plot`, :class:`Reel`, :func:`animate`.

    Attributes:
        field: Name of the field in `flow.fields`; by default the states are drawn.
        cmap: A colour map of matplotlib; by default diverging about 0 for signed fields.
        clim: Lowest and highest value of the colours, for all panels.
        share: One range of colours for all panels.
        edges: Draw the cells; by default only those of a mesh without a field.
        warp: Draw a scalar in the plane as a graph, raised by this factor or a pleasing one.
        contours: Number of level lines (of level surfaces in volumes).
        clip: Cut a corner out of a volume, to look inside.
        view: ``"xy"``, ``"xz"``, ``"yz"``, ``"iso"``, or the direction towards the eye.
        title: One for each panel, or one for all; by default the name and the time of a flow.
        size: Width and height in pixels; by default a page without voids.
        background: A colour of matplotlib; the text is white on a dark one.
        bar: Draw the colour bar.
    """

    field: str | None = None
    cmap: Any = None
    clim: tuple[float, float] | None = None
    share: bool = False
    edges: bool | None = None
    warp: bool | float = False
    contours: int = 0
    clip: bool = True
    view: str | Sequence[float] | None = None
    title: str | Sequence[str] | None = None
    size: tuple[int, int] | None = None
    background: str = "white"
    bar: bool = True


@dataclass
class _Film:
    """What the frames of a film share: a look, a size, and ranges that only grow."""

    look: Look
    size: tuple[int, int] | None = None
    ranges: dict[Any, Any] = field(default_factory=dict)

    def grow(self, key: Any, low: Any, high: Any) -> Any:
        old = self.ranges.get(key, (low, high))
        self.ranges[key] = np.array([np.fmin(low, old[0]), np.fmax(high, old[1])])
        return self.ranges[key]


def plot(what: Any, path: PathLike | None = None, **look: Any) -> Image | None:
    r"""Draw one picture; collective.

    Fields in the plane are seen from above, on surfaces and in volumes from a corner; vectors are
    arrows, functions of one variable are graphs.

    Args:
        what: A flow, a Function, a mesh, a PyVista data set, or a sequence of them for panels side
            by side. A :class:`History`, or a dict of them by label, goes to :func:`curves`.
        path: Where to write: png, jpg, pdf, svg, tif or webp.
        look: The options, see :class:`Look`.

    Returns:
        The image on rank 0, an array (height, width, 3); None on other ranks.

    Raises:
        OSError: The path cannot be written; on every rank, before any work.
        ValueError: There is nothing to draw, or an option is unknown.
        ImportError: PyVista or matplotlib is missing.
    """
    if isinstance(what, Mapping):
        return curves(what, path, **look)
    return _picture(what, _Film(Look(**look)), path)


def curves(
    history: Mapping[str, Any],
    path: PathLike | None = None,
    *,
    columns: Sequence[str] = ("energy",),
    log: str = "",
    title: str = "",
    size: tuple[int, int] | None = None,
    background: str = "white",
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> Image | None:
    r"""Draw columns of a :class:`History` against time, one above the other.

    Args:
        history: Columns by name, or a dict of histories by label to compare them.
        path: Where to write: png, jpg, pdf, svg, tif or webp.
        columns: Names of columns.
        log: The logarithmic axes: ``"x"``, ``"y"`` or ``"xy"``.
        title: Text above the picture.
        size: Width and height in pixels.
        background: A colour of matplotlib.
        comm: Whose rank 0 draws; the histories are equal on all ranks.

    Returns:
        The image on rank 0, an array (height, width, 3); None on other ranks.
    """
    histories = {"": history} if "t" in history else history
    for h in histories.values():
        if missing := {"t", *columns} - set(h):
            raise ValueError(f"No column {min(missing)!r}: choose among {', '.join(h)}.")
    size = size or (1000, 260 + 380 * len(columns))

    def paint(figure: Any) -> None:
        all_axes = figure.subplots(len(columns), sharex=True, squeeze=False)[:, 0]
        for axes, column in zip(all_axes, columns, strict=True):
            for colour, (label, h) in zip(LINES * len(histories), histories.items(), strict=False):
                axes.plot(h["t"], h[column], color=colour, label=label)
            axes.set(ylabel=column, **{f"{x}scale": "log" for x in log})
            axes.grid(color=CLAY, linewidth=0.8)
        all_axes[-1].set_xlabel("time $t$")
        all_axes[0].set_title(title)
        if "" not in histories:
            all_axes[0].legend()

    def draw() -> Image:
        return _page(size, _em(size), background, paint, path, layout="constrained")

    _on_root(comm, lambda: _ready(path))
    return _on_root(comm, draw)


class Reel:
    r"""A film written frame by frame; collective.

    Every frame has the size of the first; the range of the colours and the camera's frame only
    grow, so that what shrinks is seen to shrink.

    Args:
        path: A ``.gif`` (of at most 800 pixels, unless a size is given) or ``.mp4`` file.
        fps: Frames per second.
        comm: The communicator of what is drawn.
        look: The options, see :class:`Look`.
    """

    def __init__(
        self, path: PathLike, *, fps: float = 12, comm: MPI.Comm = MPI.COMM_WORLD, **look: Any
    ) -> None:
        self.path, self.fps, self.comm = Path(path), fps, comm
        self._film, self._frames = _Film(Look(**look)), list[Any]()
        self._video = _on_root(comm, self._open)

    def _open(self) -> Any:
        _ready(self.path, (".gif", ".mp4"))
        if self.path.suffix.lower() == ".gif":
            return None
        import_module("imageio_ffmpeg")  # imageio itself notices only at the end that it is missing
        return import_module("imageio.v2").get_writer(self.path, fps=self.fps, macro_block_size=2)

    def append(self, what: Any) -> None:
        """Add a frame: an image, the path of one, or anything that :func:`plot` draws."""
        ready = isinstance(what, np.ndarray | str | os.PathLike)
        image = what if ready else _picture(what, self._film, None)
        _on_root(self.comm, lambda: self._add(image))

    def _add(self, image: Any) -> None:
        from PIL import Image

        frame = Image.fromarray(image) if isinstance(image, np.ndarray) else Image.open(image)
        frame = frame.convert("RGB")
        if self._video:
            self._video.append_data(np.asarray(frame))
            return
        if self._film.look.size is None:
            frame.thumbnail((800, 800))
        # A palette for each frame, and dithering: 256 colours show steps in smooth shading.
        self._frames.append(frame.quantize(palette=frame.quantize(256)))

    def close(self) -> None:
        """Finish the file."""
        _on_root(self.comm, self._finish)

    def _finish(self) -> None:
        if self._video:
            self._video.close()
        elif self._frames:
            options = {"duration": round(1000 / self.fps), "loop": 0, "save_all": True}
            self._frames[0].save(self.path, append_images=self._frames[1:], **options)
        self._video, self._frames = None, []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def animate(
    frames: PathLike | Iterable[Any],
    path: PathLike,
    *,
    fps: float = 12,
    comm: MPI.Comm = MPI.COMM_WORLD,
    **look: Any,
) -> None:
    r"""Make a film; collective.

    Args:
        frames: A ``.pvd`` series as :class:`Writer` leaves it, or an iterable of images, of paths
            of images, or of anything that :func:`plot` draws (so a generator may step a flow and
            yield it).
        path: A ``.gif`` or ``.mp4`` file.
        fps: Frames per second.
        comm: The communicator of what is drawn.
        look: The options, see :class:`Look`.
    """
    if not isinstance(frames, str | os.PathLike):
        with Reel(path, fps=fps, comm=comm, **look) as reel:
            for frame in frames:
                reel.append(frame)
        return
    series = Path(frames)

    def read_and_write() -> None:
        with Reel(path, fps=fps, comm=MPI.COMM_SELF, **look) as reel:
            for frame in _series(series, reel._film.look.field):
                reel.append(frame)

    _on_root(comm, read_and_write)


# --- from every rank to rank 0 --------------------------------------------------------------------


def _on_root[T](comm: MPI.Comm, job: Callable[[], T]) -> T | None:
    """Run `job` on rank 0 and raise its error on every rank."""
    result, failure, cause = None, None, None
    if comm.rank == 0:
        try:
            result = job()
        except Exception as error:
            kinds = (OSError, ImportError, ValueError, RuntimeError)
            message = str(error) or repr(error)
            if isinstance(error, ModuleNotFoundError):
                message = f"{error.name} is missing: pip install gradient-flows[plot]."
            failure = next((k for k in kinds if isinstance(error, k)), RuntimeError)(message)
            cause = error
    failure = comm.bcast(failure)
    if failure is not None:
        raise failure from cause
    return result


def _ready(path: PathLike | None, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Refuse before any work what would fail after it."""
    import_module("matplotlib"), import_module("pyvista")
    if path is None:
        return
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"Cannot write {path}: choose a suffix among {', '.join(suffixes)}.")
    if not os.access(path if path.exists() else path.parent, os.W_OK) or path.is_dir():
        raise OSError(f"Cannot write {path}: choose a file in a folder that exists and is yours.")


def _picture(what: Any, film: _Film, path: PathLike | None) -> Image | None:
    things = list(_things(what, film.look.field))
    if not things:
        raise ValueError("There is nothing to plot: give a flow, a Function or a mesh.")
    comm = max(
        (_mesh(x).comm for x, _ in things if _mesh(x)), key=lambda c: c.size, default=MPI.COMM_SELF
    )
    _on_root(comm, lambda: _ready(path))
    panels = [_gather(x, title) for x, title in things]
    return _on_root(comm, lambda: _compose([p for p in panels if p], film, path))


def _things(what: Any, name: str | None) -> Iterator[tuple[Any, str]]:
    """The meshes, Functions and data sets in what the user gave, with their titles."""
    if hasattr(what, "state"):
        title = ", ".join(filter(None, (getattr(what, "name", None), f"$t = {what.time:.4g}$")))
        yield from ((x, title) for x in _shown(what, name))
    elif isinstance(what, list | tuple):
        for item in what:
            yield from _things(item, name)
    elif hasattr(what, "point_data"):
        yield what, "".join(f"$t = {t:.4g}$" for t in what.field_data.get("TimeValue", ()))
    elif isinstance(what, fem.Function | Mesh):
        yield what, ""
    else:
        raise ValueError(f"Cannot plot a {type(what).__name__}: give a flow, a Function or a mesh.")


def _shown(flow: Any, name: str | None) -> Sequence[Any]:
    """The states of a flow; where the state is the shape itself, the first field on the shape."""
    states = flow.state if isinstance(flow.state, tuple) else (flow.state,)
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


def _mesh(thing: Any) -> Any:
    """The mesh of a mesh or a Function; a PyVista data set has none."""
    thing = getattr(thing, "function_space", thing)
    return getattr(thing, "mesh", thing) if isinstance(thing, Mesh | fem.FunctionSpace) else None


def _drawable(u: fem.Function) -> fem.Function:
    """`u` in a space that VTK can draw: Lagrange with the equispaced nodes that VTK assumes."""
    V = u.function_space
    if V.component():
        return _drawable(u.collapse())
    element = V.ufl_element().basix_element
    if element.family == ElementFamily.P and element.degree in (1, 2):
        return u
    equispaced = basix.ufl.element(
        "Lagrange", V.mesh.basix_cell(), max(1, element.degree), LagrangeVariant.equispaced,
        shape=tuple(V.value_shape), discontinuous=element.discontinuous,
    )  # fmt: skip
    v = fem.Function(fem.functionspace(V.mesh, equispaced), name=u.name)
    v.interpolate(u)
    return v


def _gather(thing: Any, title: str) -> "_Panel | None":
    """The panel of a mesh, a Function or a data set, on rank 0."""
    if (mesh := _mesh(thing)) is None:
        return _Panel(thing.cast_to_unstructured_grid(), title, thing.active_scalars_name or "")
    tabulate: Any = vtk_mesh  # overloaded at run time, unknown to the type checker
    owned = np.arange(mesh.topology.index_map(mesh.topology.dim).size_local, dtype=np.int32)
    if thing is mesh:
        numbering, values = mesh.geometry.index_map(), np.empty((0, 1))
        cells, types, x = tabulate(mesh, mesh.topology.dim, owned)
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
        return _Panel(grid, title)
    if values.shape[1] > 3:  # a tensor shows its norm
        values = np.linalg.norm(values, axis=1, keepdims=True)
    grid["value"] = values if values.shape[1] > 1 else values[:, 0]
    return _Panel(grid, title, "value", "" if thing.name == "f" else thing.name)


def _series(path: Path, name: str | None) -> Iterator[Any]:
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


# --- from data to layers --------------------------------------------------------------------------

type Layers = list[tuple[Any, dict[str, Any]]]


@dataclass
class _Panel:
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
        self.values: Any = np.asarray(self.grid[self.name]) if self.name else None
        self.arrows = self.values is not None and self.values.ndim > 1 and not self.line

    @property
    def aspect(self) -> float:
        width, height, _ = np.ptp(self.box, axis=0)
        return 1.5 if self.line else float(np.clip(width / (height or width), 0.4, 8.0))

    @property
    def style(self) -> dict[str, Any]:
        if not self.name:
            return {"color": CLAY if self.dim > 1 else LINES[0]}
        return {"scalars": self.name, "cmap": self.cmap, "clim": self.clim}


def _colour(panels: Sequence[_Panel], film: _Film) -> None:
    """Give each panel its range and map: diverging and symmetric where the sign matters."""
    from matplotlib.colors import LinearSegmentedColormap

    look, coloured = film.look, [p for p in panels if p.values is not None]
    keys = ["all" if look.share else i for i, _ in enumerate(coloured)]
    for key, panel in zip(keys, coloured, strict=True):
        size = np.linalg.norm(panel.values, axis=1) if panel.arrows else panel.values
        film.grow(key, np.nanmin(size), np.nanmax(size))
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


def _camera(panel: _Panel, look: Look) -> Any:
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


def _layers(panel: _Panel, look: Look) -> Layers:
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
                (_surface(grid), {"color": CLAY, "opacity": 0.1}),
            ]
        if look.clip:
            grid, edges = _without_corner(grid, eye), _without_corner(edges, eye)
    surface = _surface(grid)
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


def _surface(grid: Any) -> Any:
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


def _contours(surface: Any, panel: _Panel, look: Look) -> Layers:
    low, high = panel.clim or (0, 1)
    levels = np.linspace(low, high, look.contours + 2)[1:-1]
    contours = surface.contour(levels, scalars=panel.name)
    style = panel.style if panel.dim == 3 else {"color": INK, "line_width": 2}
    return [(contours, style)] if contours.n_points else []


def _arrows(panel: _Panel) -> Layers:
    """Some hundred arrows, evenly spread, on the pale domain."""
    import pyvista

    spacing = 0.03 if panel.flat else 0.045  # of the diagonal
    cloud = pyvista.PolyData(panel.grid.points)
    cloud["vector"] = np.pad(panel.values, ((0, 0), (0, 3 - panel.values.shape[1])))
    cloud["length"] = np.linalg.norm(cloud["vector"], axis=1)
    arrow = pyvista.Arrow(start=(-0.5, 0, 0), tip_length=0.35, tip_radius=0.14, shaft_radius=0.045)
    factor = 1.5 * spacing * panel.grid.length / (cloud["length"].max() or 1.0)
    glyphs = cloud.glyph(
        orient="vector", scale="length", factor=factor, geom=arrow, tolerance=spacing
    )
    pale = {"color": CLAY, "opacity": 0.35 if panel.flat or panel.dim == 3 else 1.0}
    return [(glyphs, {**panel.style, "scalars": "length"}), (_surface(panel.grid), pale)]


# --- from layers to the page ----------------------------------------------------------------------


def _compose(panels: Sequence[_Panel], film: _Film, path: PathLike | None) -> Image:
    """Set the panels in one row, with their titles and colour bars."""
    look, titles = film.look, film.look.title
    _colour(panels, film)
    for i, panel in enumerate(panels):
        panel.camera = _camera(panel, look)
        panel.lit = not panel.flat or bool(look.warp)
        panel.layers = [] if panel.line else _layers(panel, look)
        x = np.vstack([data.points for data, _ in panel.layers] or [np.eye(3)]) @ panel.camera.T
        panel.box = film.grow(("box", i), x.min(axis=0), x.max(axis=0))
        last = panel is panels[-1] or not (look.share or look.clim)
        panel.bar = look.bar and last and bool(panel.name) and not panel.line
        if titles is not None:
            panel.title = titles if isinstance(titles, str) else [*titles, *[""] * i][i]
    film.size = film.size or look.size or _natural_size(panels)
    em = _em(film.size) if look.size else EM

    def paint(figure: Any) -> None:
        strips, top = _margins(panels, em)
        width, height = film.size or (0, 0)
        unit, x = (width - em - sum(strips)) / sum(p.aspect for p in panels), em
        for panel, strip in zip(panels, strips, strict=True):
            box = np.array((x, em, unit * panel.aspect, height - em - top))
            _paint_panel(figure, panel, box, em, look.background)
            x += unit * panel.aspect + strip

    return _page(film.size, em, look.background, paint, path)


def _margins(panels: Sequence[_Panel], em: float) -> tuple[list[float], float]:
    """What stands right of each panel, and above all of them."""
    top = 2.6 if any(p.title for p in panels) else 1
    return [(6 if p.bar else 1) * em for p in panels], top * em


def _natural_size(panels: Sequence[_Panel]) -> tuple[int, int]:
    """A page without voids around the panels; even, as films want it."""
    aspects, (strips, top) = sum(p.aspect for p in panels), _margins(panels, EM)
    height = min(HEIGHT, WIDTH / aspects)
    width = height * aspects + EM + sum(strips)
    return 2 * round(width / 2), 2 * round((height + EM + top) / 2)


def _em(size: tuple[int, int]) -> float:
    return float(np.sqrt(size[0] * size[1]) / 36)


def _paint_panel(figure: Any, panel: _Panel, box: Any, em: float, background: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.ticker import MaxNLocator

    (x, y, w, h), page = box, np.tile(figure.bbox.size, 2)
    figure.text((x + w / 2) / page[0], (y + h + 0.8 * em) / page[1], panel.title, ha="center")
    if panel.line:
        inside = np.array((4.4, 2.5, -4.4, -2.5)) * em
        _paint_line(figure.add_axes((box + inside) / page), panel)
        return
    axes = figure.add_axes(box / page)
    axes.set_axis_off()
    scene = _render(panel, (2 * round(w), 2 * round(h)), background)
    axes.imshow(scene, aspect="auto", interpolation="antialiased")
    if panel.bar:
        axes = figure.add_axes(np.array((x + w + em, y + 0.16 * h, 0.6 * em, 0.68 * h)) / page)
        colours = ScalarMappable(Normalize(*(panel.clim or (0, 1))), panel.cmap)
        bar = figure.colorbar(colours, cax=axes, ticks=MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        bar.outline.set_visible(False)
        axes.tick_params(length=0, pad=0.3 * em)
        if len(panel.label) > 8:
            bar.set_label(panel.label)
        else:
            axes.set_title(panel.label, pad=0.6 * em, loc="left")


def _paint_line(axes: Any, panel: _Panel) -> None:
    """A function of one variable; a gap after each cell keeps jumps open."""
    lines = _surface(panel.grid)
    nodes = lines.lines.reshape(lines.n_cells, -1)[:, 1:]
    gap = np.full((lines.n_cells, 1), np.nan)
    x = np.hstack([lines.points[nodes, 0], gap]).ravel()
    values = lines[panel.name].reshape(lines.n_points, -1) if panel.name else np.zeros((len(x), 1))
    for i, component in enumerate(values.T):
        axes.plot(x, np.hstack([component[nodes], gap]).ravel(), color=LINES[i % len(LINES)])
    if panel.clim:
        axes.set_ylim(np.array(panel.clim) + np.array((-0.05, 0.05)) * np.ptp(panel.clim))
    axes.set(xlabel="$x$", ylabel=panel.label)


def _render(panel: _Panel, pixels: tuple[int, int], background: str) -> Image:
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


def _page(
    size: tuple[int, int],
    em: float,
    background: str,
    paint: Callable[[Any], None],
    path: PathLike | None,
    **options: Any,
) -> Image:
    """A matplotlib page of exactly `size` pixels, without pyplot and its global state."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure

    ink = INK if np.dot(to_rgb(background), (0.3, 0.6, 0.1)) > 0.4 else "white"
    parts = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor")
    style: Any = RC | dict.fromkeys(parts, ink) | {"font.size": em, "axes.facecolor": background}
    with mpl.rc_context(style):
        inches = size[0] / 72, size[1] / 72  # so that points are pixels
        figure = Figure(inches, dpi=72, facecolor=background, **options)
        canvas: Any = FigureCanvasAgg(figure)
        paint(figure)
        if path is not None:
            figure.savefig(path, dpi=72)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()
