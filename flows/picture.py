r"""Pictures: what a flow looks like, and how its energy falls.

PyVista draws the geometry off-screen, matplotlib sets it on the page. The owned cells of all ranks
are gathered on rank 0 under their global numbers, so the picture is the one a single rank makes;
an error on rank 0 is raised on every rank.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from flows.look import CLAY, EM, HEIGHT, INK, LINES, RC, SUFFIXES, WIDTH, Film, Look
from flows.ranks import on_root
from flows.scene import (
    Panel,
    camera,
    colour,
    comm_of,
    gather,
    layers,
    render,
    series,
    skin,
    snapshot,
    things,
)

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

__all__ = ["Look", "Reel", "animate", "curves", "plot", "snapshot"]

type Image = npt.NDArray[np.uint8]
type PathLike = str | os.PathLike[str]


def plot(what: Any, path: PathLike | None = None, **look: Any) -> Image | None:
    r"""Draw one picture; collective.

    Fields in the plane are seen from above, on surfaces and in volumes from a corner; vectors are
    arrows, functions of one variable are graphs.

    Args:
        what: A flow, a Function, a mesh, a PyVista data set, what :func:`snapshot` kept, or a
            sequence of them for panels side by side. A :class:`History`, or a dict of them by
            label, goes to :func:`curves`.
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
    return _picture(what, Film(Look(**look)), path)


def curves(
    history: Mapping[str, Any],
    path: PathLike | None = None,
    *,
    columns: Sequence[str] = ("energy",),
    x: str = "t",
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
        x: Name of the column that they are drawn against.
        log: The logarithmic axes: ``"x"``, ``"y"`` or ``"xy"``.
        title: Text above the picture.
        size: Width and height in pixels.
        background: A colour of matplotlib.
        comm: Whose rank 0 draws; the histories are equal on all ranks.

    Returns:
        The image on rank 0, an array (height, width, 3); None on other ranks.
    """
    histories = {"": history} if x in history else history
    for h in histories.values():
        if missing := {x, *columns} - set(h):
            raise ValueError(f"No column {min(missing)!r}: choose among {', '.join(h)}.")
    size = size or (1000, 260 + 380 * len(columns))

    def paint(figure: Any) -> None:
        all_axes = figure.subplots(len(columns), sharex=True, squeeze=False)[:, 0]
        for axes, column in zip(all_axes, columns, strict=True):
            for ink, (label, h) in zip(LINES * len(histories), histories.items(), strict=False):
                dots = "o" if len(h[x]) < 12 else None
                axes.plot(h[x], h[column], color=ink, label=label, marker=dots, markersize=9)
            axes.set(ylabel=column)
            for axis in log:  # the start, t = 0, is left out and not drawn as a flat line
                getattr(axes, f"set_{axis}scale")("log", nonpositive="mask")
            axes.grid(color=CLAY, linewidth=0.8)
        all_axes[-1].set_xlabel("time $t$" if x == "t" else x)
        all_axes[0].set_title(title)
        if "" not in histories:
            all_axes[0].legend()

    def draw() -> Image:
        return _page(size, _em(size), background, paint, path, layout="constrained")

    on_root(comm, lambda: _ready(path))
    return on_root(comm, draw)


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
        self._film, self._frames = Film(Look(**look)), list[Any]()
        self._video = on_root(comm, self._open)

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
        self._film.frames += 1
        on_root(self.comm, lambda: self._add(image))

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
        on_root(self.comm, self._finish)

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
    recorded = Path(frames)

    def read_and_write() -> None:
        with Reel(path, fps=fps, comm=MPI.COMM_SELF, **look) as reel:
            for frame in series(recorded, reel._film.look.field):
                reel.append(frame)

    on_root(comm, read_and_write)


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


def _picture(what: Any, film: Film, path: PathLike | None) -> Image | None:
    shown = list(things(what, film.look.field))
    if not shown:
        raise ValueError("There is nothing to plot: give a flow, a Function or a mesh.")
    comms = [c for x, _ in shown if (c := comm_of(x))]
    comm = max(comms, key=lambda c: c.size, default=MPI.COMM_SELF)
    on_root(comm, lambda: _ready(path))
    panels = [gather(x, title) for x, title in shown]
    return on_root(comm, lambda: _compose([p for p in panels if p], film, path))


def _compose(panels: Sequence[Panel], film: Film, path: PathLike | None) -> Image:
    """Set the panels in rows, with their titles and colour bars."""
    look, titles = film.look, film.look.title
    columns = -(-len(panels) // max(look.rows, 1))
    rows = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    colour(panels, film)
    frames = ["all" if look.share else i for i, _ in enumerate(panels)]
    for i, (panel, frame) in enumerate(zip(panels, frames, strict=True)):
        # A body that shrinks must not be seen from another side: the first panel decides.
        panel.camera = film.cameras.setdefault((frame, panel.flat), camera(panel, look))
        if look.spin and not panel.flat:
            panel.camera = film.turned(panel.camera)
        panel.lit = not panel.flat or bool(look.warp)
        panel.layers = [] if panel.line else layers(panel, look)
        x = np.vstack([data.points for data, _ in panel.layers] or [np.eye(3)]) @ panel.camera.T
        film.grow(("box", frame), x.min(axis=0), x.max(axis=0))
        last = any(panel is row[-1] for row in rows) or not (look.share or look.clim)
        panel.bar = look.bar and last and bool(panel.name) and not panel.line
        if titles is not None:
            panel.title = titles if isinstance(titles, str) else [*titles, *[""] * i][i]
    for panel, frame in zip(panels, frames, strict=True):
        panel.box = film.ranges["box", frame]
    film.size = film.size or look.size or _natural_size(rows)
    em = _em(film.size) if look.size else EM

    def paint(figure: Any) -> None:
        width, y = film.size or (0.0, 0.0)
        margins = [_margins(row, em) for row in rows]
        units = [_unit(row, width, em) for row in rows]
        stretch = (y - em - sum(top for _, top in margins)) / sum(units)
        for row, (strips, top), unit in zip(rows, margins, units, strict=True):
            x, y = em, y - top - unit * stretch
            for panel, strip in zip(row, strips, strict=True):
                box = np.array((x, y, unit * panel.aspect, unit * stretch))
                _paint_panel(figure, panel, box, em, look.background)
                x += unit * panel.aspect + strip

    return _page(film.size, em, look.background, paint, path)


def _margins(row: Sequence[Panel], em: float) -> tuple[list[float], float]:
    """What stands right of each panel of a row, and above all of them."""
    top = 2.6 if any(p.title for p in row) else 1
    return [(6 if p.bar else 1) * em for p in row], top * em


def _unit(row: Sequence[Panel], width: float, em: float) -> float:
    """The width that is left for a panel of aspect one."""
    return float(width - em - sum(_margins(row, em)[0])) / sum(p.aspect for p in row)


def _natural_size(rows: Sequence[Sequence[Panel]]) -> tuple[int, int]:
    """A page without voids around the panels; even, as films want it."""
    widths = []
    for row in rows:
        aspects = sum(p.aspect for p in row)
        widths.append(min(HEIGHT * aspects, WIDTH) + EM + sum(_margins(row, EM)[0]))
    width = max(widths)
    height = EM + sum(_unit(row, width, EM) + _margins(row, EM)[1] for row in rows)
    return 2 * round(width / 2), 2 * round(height / 2)


def _em(size: tuple[int, int]) -> float:
    return float(np.sqrt(size[0] * size[1]) / 36)


def _paint_panel(figure: Any, panel: Panel, box: Any, em: float, background: str) -> None:
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
    scene = render(panel, (2 * round(w), 2 * round(h)), background)
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
            axes.set_title(panel.label, pad=em, loc="left")


def _paint_line(axes: Any, panel: Panel) -> None:
    """A function of one variable; a gap after each cell keeps jumps open."""
    lines = skin(panel.grid)
    nodes = lines.lines.reshape(lines.n_cells, -1)[:, 1:]
    gap = np.full((lines.n_cells, 1), np.nan)
    x = np.hstack([lines.points[nodes, 0], gap]).ravel()
    values = lines[panel.name].reshape(lines.n_points, -1) if panel.name else np.zeros((len(x), 1))
    for i, component in enumerate(values.T):
        axes.plot(x, np.hstack([component[nodes], gap]).ravel(), color=LINES[i % len(LINES)])
    if panel.clim:
        axes.set_ylim(np.array(panel.clim) + np.array((-0.05, 0.05)) * np.ptp(panel.clim))
    axes.set(xlabel="$x$", ylabel=panel.label)


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
