import sys
from types import SimpleNamespace

from flows.picture import Reel, animate, curves, plot, snapshot

import basix.ufl
import matplotlib as mpl
import numpy as np
import pytest
import pyvista
import ufl
from dolfinx import fem, io, mesh
from mpi4py import MPI
from PIL import Image, ImageSequence

comm = MPI.COMM_WORLD
SIZE = (320, 240)
KINDS = ("plane", "graph", "quadratic", "cellwise", "raviart_thomas", "vector", "volume", "levels",
         "interval", "curve", "surface", "mesh", "panels", "tensor", "mixed_degrees")  # fmt: skip


def square(comm=comm, n=8):
    return mesh.create_unit_square(comm, n, n)


def function(domain, f, element=("Lagrange", 1), name="u"):
    u = fem.Function(fem.functionspace(domain, element), name=name)
    u.interpolate(f)
    return u


def wave(x):
    return np.sin(5 * x[0]) * np.cos(4 * x[1])


def sphere(comm=comm, radius=1.0):
    """The boundary of a cube, blown up."""
    corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    cells = np.array([t for a, b, c, d in faces for t in ((a, b, c), (a, c, d))])
    for _ in range(2):  # cut every triangle into four
        a, b, c = (corners[cells[:, i]] for i in range(3))
        ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
        children = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
        soup = np.concatenate([np.stack(t, axis=1) for t in children]).reshape(-1, 3)
        corners, cells = np.unique(soup.round(9), axis=0, return_inverse=True)
        cells = cells.reshape(-1, 3)
    corners *= radius / np.linalg.norm(corners, axis=1, keepdims=True)
    element = ufl.Mesh(basix.ufl.element("Lagrange", "triangle", 1, shape=(3,)))
    mine = cells if comm.rank == 0 else cells[:0]
    return mesh.create_mesh(comm, mine, element, corners if comm.rank == 0 else corners[:0])


def circle(comm=comm, n=24):
    angle = 2 * np.pi * np.arange(n) / n
    x = np.stack([2 * np.cos(angle), np.sin(angle)], axis=1)
    cells = np.stack([np.arange(n), (np.arange(n) + 1) % n], axis=1)
    element = ufl.Mesh(basix.ufl.element("Lagrange", "interval", 1, shape=(2,)))
    k = slice(None) if comm.rank == 0 else slice(0)
    return mesh.create_mesh(comm, cells[k], element, x[k])


def subject(kind, comm=comm):
    """What to plot, and the options."""
    plane = square(comm)
    rotation = ("Lagrange", 1, (2,))
    match kind:
        case "plane":
            return function(plane, wave), {"contours": 3}
        case "graph":
            return function(plane, wave), {"warp": True, "edges": True}
        case "quadratic":
            return function(square(comm, 2), wave, ("Lagrange", 2)), {"edges": True}
        case "cellwise":
            return function(plane, wave, ("DG", 0)), {}
        case "raviart_thomas":
            return function(plane, lambda x: x[:2], ("RT", 1)), {}
        case "vector":
            return function(plane, lambda x: (0.5 - x[1], x[0] - 0.5), rotation), {}
        case "volume":
            return function(mesh.create_unit_cube(comm, 4, 4, 4), wave, ("Lagrange", 2)), {}
        case "levels":
            return function(mesh.create_unit_cube(comm, 4, 4, 4), wave), {"contours": 2}
        case "interval":
            return function(mesh.create_unit_interval(comm, 5), wave, ("Lagrange", 3)), {}
        case "curve":
            return function(circle(comm), lambda x: x[0]), {}
        case "surface":
            return function(sphere(comm), lambda x: x[2]), {}
        case "mesh":
            return sphere(comm), {}
        case "panels":
            u = function(plane, wave)
            return (u, plane, function(plane, lambda x: 2 * x[0])), {"share": True, "title": "abc"}
        case "tensor":
            return function(plane, lambda x: [x[0], x[1], x[0], x[1]], ("DG", 1, (2, 2))), {}
        case "mixed_degrees":
            element = basix.ufl.mixed_element(
                [basix.ufl.element("Lagrange", "triangle", k) for k in (1, 2)]
            )
            u = fem.Function(fem.functionspace(plane, element))
            u.sub(1).interpolate(wave)
            return [u.sub(1), u.sub(0)], {}


def flow(state, *others, name=None):
    return SimpleNamespace(
        state=state, fields=(state, *others), time=0.25, name=name,
        mesh=state.function_space.mesh, energy=lambda: 1.0,
    )  # fmt: skip


def far(a, b):
    """The mean distance of two pictures in units of 255, after a blur."""
    small = [np.asarray(Image.fromarray(i).reduce(4), dtype=float) for i in (a, b)]
    return np.abs(small[0] - small[1]).mean() / 255


def frames(path):
    """The frames of a film, and the milliseconds of each."""
    with Image.open(path) as film:
        images = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(film)]
        return np.array(images), film.info["duration"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_drawn_at_its_size(kind, tmp):
    what, options = subject(kind)
    image = plot(what, tmp / "a.png", size=SIZE, **options)
    if comm.rank > 0:
        assert image is None
        return
    assert image.shape == (*SIZE[::-1], 3)
    assert np.array_equal(np.asarray(Image.open(tmp / "a.png").convert("RGB")), image)
    drawn = np.abs(image.astype(int) - 255).max(axis=2) > 8
    rows, columns = np.nonzero(drawn)
    assert drawn.mean() > (0.02 if kind in ("interval", "curve") else 0.1)
    assert np.ptp(columns) > 0.6 * SIZE[0], "the picture fills its page"
    assert np.ptp(rows) > 0.25 * SIZE[1]
    assert image.std() > 10


@pytest.mark.parametrize("kind", ["plane", "cellwise", "volume", "interval", "curve", "surface"])
def test_the_picture_does_not_depend_on_the_number_of_ranks(kind):
    images = []
    for c in (comm, MPI.COMM_SELF):
        what, options = subject(kind, c)
        images.append(plot(what, size=SIZE, **options))
    if comm.rank == 0:
        assert far(*images) < 0.004


def test_colours_in_the_plane_are_those_of_the_bar():
    image = plot(function(square(), lambda x: 0 * x[0] + 1), clim=(-1, 1), size=SIZE, cmap="gray")
    blue = plot(function(square(), lambda x: 0 * x[0] - 1), clim=(-1, 1), size=SIZE)
    if comm.rank == 0:
        assert (image[120, 100] == 255).all()
        assert np.abs(blue[120, 100] - np.array((0x12, 0x3F, 0x7A))).max() <= 2


def test_signed_fields_are_symmetric_about_zero():
    image = plot(function(square(), lambda x: 3 * x[0] - 1), size=SIZE, bar=False)
    if comm.rank == 0:
        row = image[120].astype(int)
        zero = row[10 + round(300 / 3)]
        assert np.ptp(zero) < 25, "pale at 0"
        assert zero.min() > 220


def test_directions_are_coloured_by_their_last_component():
    turned = function(
        square(), lambda x: np.array([np.cos(3 * x[0]), np.sin(3 * x[0])]), ("Lagrange", 1, (2,))
    )
    longer = turned.copy()
    longer.x.array[:] *= 1 + 2 * (np.arange(longer.x.array.size) // 2 % 2)
    for u, label in ((turned, "$u_2$"), (longer, "u")):
        u.name = "u"
        (seen,) = snapshot(u)
        panel = seen.panel
        assert comm.allreduce(panel is not None) == 1
        if panel is not None:
            assert panel.label == label
            shades = panel.values[:, 1] if u is turned else np.linalg.norm(panel.values, axis=1)
            assert np.allclose(panel.shade, shades)


def test_a_quadratic_function_is_drawn_quadratic():
    coarse = plot(function(square(n=1), lambda x: x[0] ** 2, ("Lagrange", 2)), size=SIZE)
    fine = plot(function(square(n=32), lambda x: x[0] ** 2), size=SIZE)
    cubic = plot(function(square(n=1), lambda x: x[0] ** 2, ("Lagrange", 3)), size=SIZE)
    if comm.rank == 0:
        assert far(coarse, fine) < 0.004
        assert far(cubic, fine) < 0.004


def test_a_surface_flow_shows_its_curvature_not_its_position():
    domain = sphere()
    x = function(domain, lambda x: x, ("Lagrange", 1, (3,)), name="x")
    H = function(domain, lambda x: 2 + x[2], name="H")
    images = [plot(flow(x, H), size=SIZE, title=""), plot(H, size=SIZE)]
    bare = [plot(flow(x), size=SIZE, title=""), plot(domain, size=SIZE)]
    if comm.rank == 0:
        assert far(*images) == 0
        assert far(*bare) == 0


def test_a_flow_has_its_time_as_title_and_its_fields_by_name():
    u, mu = (function(square(), wave, name=n) for n in ("u", "mu"))
    titled, plain = plot(flow(u, mu, name="heat"), size=SIZE), plot(u, size=SIZE)
    chosen, same = plot(flow(u, mu), field="mu", size=SIZE, title=""), plot(mu, size=SIZE)
    if comm.rank == 0:
        assert far(titled, plain) > 0
        assert far(chosen, same) == 0
    with pytest.raises(ValueError, match="choose among u, mu"):
        plot(flow(u, mu), field="nu")


def test_drawing_leaves_no_trace_in_the_libraries():
    before = dict(mpl.rcParams), pyvista.global_theme.to_dict()
    plot(function(square(), wave), size=SIZE)
    assert (dict(mpl.rcParams), pyvista.global_theme.to_dict()) == before


def history(rate):
    t = np.linspace(0, 1, 30)
    return {"t": t, "energy": np.exp(-rate * t), "tau": np.full(30, 1 / 30)}


def test_curves_of_one_history_and_of_several(tmp):
    one = curves(history(3), tmp / "one.pdf", size=SIZE)
    both = {"a": history(3), "b": history(1)}
    two = curves(both, tmp / "two.png", columns=("energy", "tau"), log="y", size=SIZE)
    plotted = plot(history(3), size=SIZE)
    if comm.rank == 0:
        assert one.shape == two.shape == (*SIZE[::-1], 3)
        assert (tmp / "one.pdf").stat().st_size > 1000
        assert far(one, plotted) == 0
        assert one.std() > 10
    with pytest.raises(ValueError, match="No column 'mass'"):
        curves(history(3), columns=("mass",))


def test_a_film_keeps_its_size_and_its_scale(tmp):
    domain = sphere()
    x = domain.geometry.x.copy()

    def shrinking():
        for k in range(3):
            domain.geometry.x[:] = (1 - 0.3 * k) * x
            yield domain

    animate(shrinking(), tmp / "a.gif", size=SIZE, fps=10)
    if comm.rank == 0:
        film, duration = frames(tmp / "a.gif")
        assert (film.shape, duration) == ((3, *SIZE[::-1], 3), 100)
        area = (film.min(axis=3) < 235).sum(axis=(1, 2))
        assert np.allclose(area / area[0], [1, 0.49, 0.16], atol=0.05)


def test_a_series_of_files_becomes_a_film(tmp):
    u = function(square(), wave)
    with io.VTKFile(comm, tmp / "a.pvd", "w") as file:
        for k in range(3):
            file.write_function(u, 0.1 * k)
            u.x.array[:] *= 0.5
    animate(tmp / "a.pvd", tmp / "b.gif", size=SIZE)
    if comm.rank == 0:
        assert frames(tmp / "b.gif")[0].shape == (3, *SIZE[::-1], 3)
    with pytest.raises(ValueError, match="no field 'v': choose among u"):
        animate(tmp / "a.pvd", tmp / "b.gif", field="v")
    with pytest.raises(OSError, match="Cannot read"):
        animate(tmp / "missing.pvd", tmp / "b.gif")


def test_images_become_a_film(tmp):
    red = np.zeros((40, 60, 3), dtype=np.uint8)
    red[..., 0] = 255
    with Reel(tmp / "a.gif") as reel:
        reel.append(red)
        reel.append(255 - red)
    if comm.rank == 0:
        assert len(frames(tmp / "a.gif")[0]) == 2


def test_what_cannot_be_written_is_refused_on_every_rank(tmp):
    u = function(square(), wave)
    with pytest.raises(OSError, match="Cannot write"):
        plot(u, tmp / "no_folder" / "a.png")
    with pytest.raises(OSError, match="Cannot write"):
        animate([u], tmp / "no_folder" / "a.gif")
    with pytest.raises(OSError, match="Cannot write"):
        curves(history(1), tmp / "no_folder" / "a.png")
    with pytest.raises(ValueError, match="choose a suffix among"):
        plot(u, tmp / "a.docx")


def test_a_failure_on_the_root_is_raised_on_every_rank():
    u = function(square(), wave)
    with pytest.raises(ValueError, match="view"):
        plot(u, view="from the moon")
    with pytest.raises(ValueError, match="Cannot plot a str"):
        plot("u")
    with pytest.raises(ValueError, match="nothing to plot"):
        plot([])
    with pytest.raises(TypeError, match="colour"):
        plot(u, colour="red")


def test_a_missing_library_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvista", None)
    with pytest.raises(ImportError, match=r"pip install gradient-flows\[plot\]"):
        plot(function(square(), wave))


def test_a_snapshot_keeps_what_moves_on(tmp):
    surface = sphere()
    before = plot(surface)
    kept = snapshot(surface)
    surface.geometry.x[:, 2] *= 0.3
    moved, then = plot(surface), plot(kept, tmp / "then.png")
    if comm.rank == 0:
        assert np.array_equal(before, then)
        assert moved.shape != then.shape


def test_panels_stand_in_rows_of_one_scale():
    big, small = square(), square()
    small.geometry.x[:] *= 0.5
    look = {"bar": False, "edges": False}
    row = plot([big, small, small, big], share=True, **look)
    grid = plot([big, small, small, big], share=True, rows=2, **look)
    alone = plot([big, small], **look)
    if comm.rank == 0:
        assert row.shape[1] > 3 * row.shape[0]
        assert grid.shape[0] > 0.9 * grid.shape[1]
        shade = [np.mean(image[:, image.shape[1] // 2 :] < 250) for image in (alone, grid)]
        assert shade[1] < 0.8 * shade[0]


def test_curves_against_any_column(tmp):
    study = {"P1": {"h": [0.1, 0.05], "error": [1e-2, 2.5e-3]}}
    image = curves(study, tmp / "h.png", x="h", columns=["error"], log="xy")
    assert image is None or image.size
    with pytest.raises(ValueError, match="No column 't'"):
        curves(study, columns=["error"])
