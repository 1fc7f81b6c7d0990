import io
import os
import signal
import subprocess
import sys
import textwrap

import flows
from flows.observe import Observer

import dolfinx.mesh
import numpy as np
import pytest
from dolfinx import fem
from mpi4py import MPI
from ufl import dx

comm = MPI.COMM_WORLD
TAU = 1e-3


def square(n=6):
    return dolfinx.mesh.create_unit_square(comm, n, n)


def heat(domain=None, **options):
    flow = flows.heat(square() if domain is None else domain, **options)
    flow.state.interpolate(lambda x: np.cos(np.pi * x[0]))
    return flow


class Log(Observer):
    def __init__(self, **when):
        super().__init__(**when)
        self.seen = []

    def observe(self, flow):
        self.seen.append(flow.time)


class Mover(flows.GradientFlow):
    """A heat flow on a mesh that is stretched at each step."""

    def step(self, tau):
        report = super().step(tau)
        self.mesh.geometry.x[:, 1] *= 1.5
        return report


def moving():
    u = fem.Function(fem.functionspace(square(), ("Lagrange", 1)), name="u")
    u.interpolate(lambda x: x[0])
    return Mover(flows.energy.dirichlet(u), u, flows.L2())


def frames(path):
    """Times, points and data of the frames of a series, from rank 0 to all."""
    result = None
    if comm.rank == 0:
        import pyvista

        reader = pyvista.PVDReader(path)
        result = []
        for t in reader.time_values:
            reader.set_active_time_value(t)
            grid = reader.read().combine()
            ghost = np.asarray(grid.cell_data.get("vtkGhostType", np.zeros(grid.n_cells)))
            grid = grid.extract_cells(np.flatnonzero(ghost == 0))
            data = {
                k: np.asarray(v) for k, v in (*grid.point_data.items(), *grid.cell_data.items())
            }
            result.append((t, np.asarray(grid.points), data, grid.n_cells))
    return comm.bcast(result)


# -- when observers look ---------------------------------------------------------------------------
def test_observers_look_every_few_steps_at_their_times_and_at_the_end():
    every, times, both = Log(every=3), Log(times=[0.0025]), Log(every=4, times=[0.0025])
    history = flows.evolve(heat(), steps=8, tau=TAU, observers=[every, times, both])
    t = history["t"]
    assert 0.0025 in t
    assert every.seen == [*t[[0, 3, 6]], t[8]]
    assert times.seen == [0.0025, t[8]]
    assert both.seen == sorted({*t[[0, 4, 8]], 0.0025})


def test_after_a_failed_run_the_last_good_state_is_seen_once():
    def fail(flow):
        if flow.time > 3.5 * TAU:
            raise RuntimeError("no more")

    log = Log(every=10)
    with pytest.raises(RuntimeError, match="no more"):
        flows.evolve(heat(), steps=8, tau=TAU, observers=[log, fail])
    assert log.seen == pytest.approx([0, 4 * TAU])


def test_observers_of_a_run_that_cannot_start_see_nothing(tmp):
    log = Log()
    with pytest.raises(OSError, match="it is a folder"):
        flows.evolve(heat(), steps=1, tau=TAU, observers=[log, flows.Recorder(tmp)])
    assert log.seen == []


def test_observers_work_in_a_loop_of_the_user(tmp):
    flow, writer, log = heat(), flows.Writer(tmp / "loop.pvd", every=2), Log(every=2)
    for _ in range(3):
        writer(flow)
        log(flow)
        flow.step(TAU)
    writer.close()
    log.close()
    assert log.seen == pytest.approx([0, 2 * TAU, 3 * TAU])
    assert [t for t, *_ in frames(tmp / "loop.pvd")] == pytest.approx(log.seen)


def test_stop_ends_the_run_if_the_condition_holds_on_any_rank():
    stop = flows.Stop(lambda flow: comm.rank == comm.size - 1 and flow.time > 2.5 * TAU)
    history = flows.evolve(heat(), until=1.0, tau=TAU, observers=[stop])
    assert history["t"][-1] == pytest.approx(3 * TAU)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Log(every=0), "every = 0: give a number of steps"),
        (lambda: Log(times=[np.inf]), "give finite numbers"),
        (lambda: flows.Writer("u.xdmf"), r"suffix must be \.pvd, \.bp or \.vtkhdf"),
        (lambda: flows.Recorder(mass=3), "give a scalar form or a function of the flow"),
        (lambda: flows.Recorder(energy=lambda flow: 0.0), "energy = "),
        (lambda: flows.Checkpoint("u.h5", keep=0), "keep = 0"),
    ],
)
def test_observers_refuse_what_makes_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# -- Writer ----------------------------------------------------------------------------------------
def test_pvd_holds_every_frame_with_its_time_points_and_values(tmp):
    flow = heat()
    path = tmp / "a" / "b" / "heat.pvd"
    history = flows.evolve(flow, steps=3, tau=TAU, observers=[flows.Writer(path)])
    series = frames(path)
    assert [t for t, *_ in series] == list(history["t"])
    assert all(
        len(np.unique(x.round(5), axis=0)) == 49 and cells == 72 for _, x, _, cells in series
    )
    _, x, data, _ = series[0]
    assert data["u"].ravel() == pytest.approx(np.cos(np.pi * x[:, 0]), abs=1e-6)


def test_pvd_takes_fields_of_any_degree_at_once(tmp):
    domain = square()
    spaces = [("Lagrange", 1), ("Lagrange", 2, (2,)), ("DG", 0), ("Lagrange", 3), ("DG", 1)]
    fields = [fem.Function(fem.functionspace(domain, e)) for e in spaces]
    for u in fields:
        u.interpolate(lambda x, bs=u.function_space.dofmap.bs: x[:2] if bs == 2 else x[0])
    fields[-1].name = "jump"
    for name, some in (("smooth", fields[:4]), ("jumps", fields[1:])):
        path = tmp / f"{name}.pvd"
        flows.evolve(heat(domain), steps=0, tau=TAU, observers=[flows.Writer(path, some)])
        ((_, x, data, cells),) = frames(path)
        # Cubics: 10 nodes in a cell, shared where the fields are continuous.
        assert cells == 72
        assert len(np.unique(x.round(5), axis=0)) == 19**2
        names = {"f_0", "f_1", "f_2", "f_3"} if name == "smooth" else {"f_0", "f_1", "f_2", "jump"}
        assert names <= data.keys()
        for label in names:
            values = data[label].reshape(-1, data[label].shape[-1] if data[label].ndim > 1 else 1)
            if len(values) == len(x):
                assert values[:, 0] == pytest.approx(x[:, 0], abs=1e-6)


def test_pvd_takes_a_mixed_function_apart(tmp):
    domain = square()
    import basix.ufl

    P1, P2 = (basix.ufl.element("Lagrange", "triangle", k) for k in (1, 2))
    w = fem.Function(fem.functionspace(domain, basix.ufl.mixed_element([P1, P2])), name="w")
    w.sub(1).interpolate(lambda x: x[0])
    flows.evolve(heat(domain), steps=0, tau=TAU, observers=[flows.Writer(tmp / "w.pvd", [w])])
    ((_, x, data, _),) = frames(tmp / "w.pvd")
    assert data["w_1"].ravel() == pytest.approx(x[:, 0], abs=1e-6)


def test_pvd_follows_a_moving_mesh(tmp):
    flows.evolve(moving(), steps=2, tau=TAU, observers=[flows.Writer(tmp / "move.pvd")])
    heights = [x[:, 1].max() for _, x, _, _ in frames(tmp / "move.pvd")]
    assert heights == pytest.approx([1, 1.5, 2.25])


def test_bp_completes_its_index_at_each_step_on_moving_meshes_too(tmp):
    sizes = []

    def look(flow):
        comm.Barrier()
        sizes.append((tmp / "move.bp" / "md.idx").stat().st_size)

    flow = moving()
    flows.evolve(flow, steps=2, tau=TAU, observers=[flows.Writer(tmp / "move.bp"), look])
    assert sizes == [128, 192, 256]  # 64 bytes each for the head and for each frame
    text = (tmp / "move.bp" / "md.0").read_bytes()
    assert text.count(b"geometry") >= 3
    assert b'<DataArray Name="u" />' in text


@pytest.mark.parametrize("element", [("Lagrange", 1), ("Lagrange", 1, (2,)), ("DG", 0)])
def test_vtkhdf_holds_one_field_of_a_mesh_that_stays(tmp, element):
    flow = heat()
    v = fem.Function(fem.functionspace(flow.mesh, element))
    v.interpolate(lambda x: x[:2] if len(element) == 3 else x[0])
    path = tmp / "v.vtkhdf"
    history = flows.evolve(flow, steps=2, tau=TAU, observers=[flows.Writer(path, [v])])
    if comm.rank == 0:
        from vtkmodules.util.numpy_support import vtk_to_numpy
        from vtkmodules.vtkIOHDF import vtkHDFReader

        reader = vtkHDFReader()
        reader.SetFileName(str(path))
        reader.Update()
        assert reader.GetNumberOfSteps() == 3
        for step, t in enumerate(history["t"]):
            reader.SetStep(step)
            reader.Update()
            grid = reader.GetOutputDataObject(0)
            assert reader.GetTimeValue() == t
            assert grid.GetNumberOfCells() == 72
            data = grid.GetCellData() if element[0] == "DG" else grid.GetPointData()
            values = vtk_to_numpy(data.GetArray("u")).reshape(-1, 3 if len(element) == 3 else 1)
            if element[0] != "DG":
                x = vtk_to_numpy(grid.GetPoints().GetData())
                assert values[:, 0] == pytest.approx(x[:, 0], abs=1e-6)


def test_vtkhdf_refuses_moving_meshes_and_several_fields(tmp):
    with pytest.raises(ValueError, match="needs a mesh that stays"):
        flows.evolve(moving(), steps=1, tau=TAU, observers=[flows.Writer(tmp / "m.vtkhdf")])
    flow = heat()
    writer = flows.Writer(tmp / "m.vtkhdf", [flow.state, flow.state])
    with pytest.raises(ValueError, match="holds one scalar or vector"):
        flows.evolve(flow, steps=1, tau=TAU, observers=[writer])


@pytest.mark.parametrize("name", ["u.pvd", "u.bp", "u.vtkhdf", "u.csv", "u.h5", "u.png", "u.gif"])
def test_a_path_that_cannot_be_written_is_refused_on_every_rank_before_any_work(tmp, name):
    (tmp / "file").write_text("")
    comm.Barrier()
    path = tmp / "file" / name
    kinds = {
        ".csv": flows.Recorder,
        ".h5": flows.Checkpoint,
        ".png": flows.Picture,
        ".gif": flows.Movie,
    }
    flow = heat()
    with pytest.raises(OSError, match="Cannot write"):
        flows.evolve(flow, 1.0, TAU, observers=[kinds.get(path.suffix, flows.Writer)(path)])
    assert flow.time == 0


@pytest.mark.serial
def test_a_killed_run_leaves_series_that_can_be_read(tmp):
    script = tmp / "run.py"
    script.write_text(
        textwrap.dedent("""
        import os, signal
        import flows
        from dolfinx import mesh
        from mpi4py import MPI

        def kill(flow):
            if flow.time > 2.5e-3:
                os.kill(os.getpid(), signal.SIGKILL)

        flow = flows.heat(mesh.create_unit_square(MPI.COMM_WORLD, 6, 6))
        writers = [flows.Writer("run.pvd"), flows.Writer("run.bp"), flows.Recorder("run.csv")]
        flows.evolve(flow, until=1.0, tau=1e-3, observers=[*writers, kill])
        """)
    )
    # The process starts an MPI world of its own, even if this one was started by mpirun.
    env = {
        k: v for k, v in os.environ.items() if not k.startswith(("PMI", "HYDRA", "OMPI", "PRTE"))
    }
    run = subprocess.run([sys.executable, script], cwd=tmp, env=env, check=False)
    assert run.returncode == -signal.SIGKILL
    assert [t for t, *_ in frames(tmp / "run.pvd")] == pytest.approx([0, 1e-3, 2e-3, 3e-3])
    assert (tmp / "run.bp" / "md.idx").stat().st_size == 64 * 5
    assert len((tmp / "run.csv").read_text().splitlines()) == 5


def test_a_resumed_run_goes_on_with_its_files(tmp):
    def watchers(folder):
        flow = heat()
        recorder = flows.Recorder(folder / "run.csv", mass=flow.state * dx)
        checkpoint = flows.Checkpoint(folder / "run.h5", times=[2 * TAU])
        return flow, [flows.Writer(folder / "run.pvd"), recorder, checkpoint]

    flow, full = watchers(tmp / "full")
    whole = flows.evolve(flow, until=5 * TAU, tau=TAU, observers=full)
    flow, first = watchers(tmp / "cut")
    flows.evolve(flow, until=2 * TAU, tau=TAU, observers=first)
    # The killed run had gone further than its checkpoint: those rows and frames must go.
    flow, second = watchers(tmp / "cut")
    flows.evolve(flow, until=4 * TAU, tau=TAU, observers=second[:2], resume=tmp / "cut" / "run.h5")
    flow, third = watchers(tmp / "cut")
    history = flows.evolve(flow, 5 * TAU, TAU, observers=third, resume=tmp / "cut" / "run.h5")
    comm.Barrier()
    assert history["mass"] == pytest.approx(whole["mass"], abs=1e-14)
    assert history["t"] == pytest.approx(whole["t"])
    texts = [(tmp / name / "run.csv").read_text().splitlines() for name in ("full", "cut")]
    assert len(texts[0]) == len(texts[1]) == 7
    times = [[t for t, *_ in frames(tmp / name / "run.pvd")] for name in ("full", "cut")]
    assert times[0] == pytest.approx(times[1])


def test_the_same_observers_go_on_in_a_second_run(tmp):
    flow, writer, recorder = heat(), flows.Writer(tmp / "u.pvd"), flows.Recorder(tmp / "u.csv")
    for end in (2 * TAU, 4 * TAU):
        flows.evolve(flow, until=end, tau=TAU, observers=[writer, recorder])
    assert [t for t, *_ in frames(tmp / "u.pvd")] == pytest.approx(TAU * np.arange(5))
    assert recorder.columns["t"] == pytest.approx(TAU * np.arange(5))


# -- Recorder, reaction ----------------------------------------------------------------------------
def test_recorder_writes_what_the_history_shows(tmp):
    flow = heat()
    count = flows.Recorder(tmp / "r.csv", mass=flow.state**2 * dx, rank=lambda flow: 3.5)
    history = flows.evolve(flow, steps=3, tau=TAU, observers=[count])
    comm.Barrier()
    head, *rows = (tmp / "r.csv").read_text().splitlines()
    assert head == "t,tau,energy,movement,defect,iterations,mass,rank"
    table = np.array([[float(x) for x in row.split(",")] for row in rows])
    for name, column in zip(head.split(","), table.T, strict=True):
        assert np.array_equal(column, history[name])
    assert history["mass"][0] == pytest.approx(0.5, rel=0.05)


def test_recorder_refuses_to_mix_columns(tmp):
    flow = heat()
    watchers = [flows.Recorder(tmp / "r.csv"), flows.Checkpoint(tmp / "r.h5")]
    flows.evolve(flow, steps=1, tau=TAU, observers=watchers)
    other = flows.Recorder(tmp / "r.csv", one=lambda flow: 1.0)
    with pytest.raises(ValueError, match="has other columns than this Recorder: rename the file"):
        flows.evolve(heat(), steps=1, tau=TAU, observers=[other], resume=tmp / "r.h5")


def walls(V):
    for value in (0.0, 1.0):
        dofs = fem.locate_dofs_geometrical(V, lambda x, at=value: np.isclose(x[0], at))
        yield fem.dirichletbc(dolfinx.default_scalar_type(value), dofs, V)


def test_reaction_is_the_heat_that_flows_through_a_slab():
    V = fem.functionspace(square(), ("Lagrange", 1))
    bcs = list(walls(V))
    flow = flows.heat(V, conductivity=3.0, bcs=bcs)
    sides = {"cold": flows.reaction(bcs[0]), "hot": flows.reaction(bcs[1])}
    recorder = flows.Recorder(mass=flow.state * dx, **sides)
    history = flows.evolve(flow, steps=5, tau=0.01, observers=[recorder])
    # Balance, at any time: what the walls give is what the slab gains.
    gain = np.diff(history["mass"]) / 0.01
    assert (history["cold"] + history["hot"])[1:] == pytest.approx(gain, abs=1e-10)
    history = flows.evolve(flow, steps=3, tau=1e7, observers=[flows.Recorder(**sides)])
    assert history["hot"][-1] == pytest.approx(3.0, abs=1e-10)
    assert history["cold"][-1] == pytest.approx(-3.0, abs=1e-10)


# -- Progress, Picture, Movie ----------------------------------------------------------------------
class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_shows_one_line_on_a_terminal_and_nothing_elsewhere(monkeypatch, tmp):
    terminal, pipe = Terminal(), io.StringIO()
    monkeypatch.setenv("COLUMNS", "120")
    for stream in (terminal, pipe):
        monkeypatch.setattr(sys, "stderr", stream)
        flows.evolve(heat(), until=4 * TAU, tau=TAU, observers=[flows.Progress()])
    monkeypatch.undo()
    assert pipe.getvalue() == ""
    shown = terminal.getvalue()
    if comm.rank > 0:
        assert shown == ""
    else:
        assert shown.count("\n") == 1
        assert "heat 100 % [==========] t = 0.004, tau = 0.001, energy = " in shown
        assert "1 iterations" in shown


def test_pictures_are_numbered_or_replaced(tmp):
    pictures = [flows.Picture(tmp / "p" / "{n:02d}.png", every=2), flows.Picture(tmp / "now.png")]
    flows.evolve(heat(), steps=3, tau=TAU, observers=pictures)
    comm.Barrier()
    assert sorted(p.name for p in (tmp / "p").iterdir()) == ["00.png", "02.png", "03.png"]
    assert (tmp / "now.png").stat().st_size > 1000


def test_movie_has_one_frame_for_each_look(tmp):
    from PIL import Image

    movie = flows.Movie(tmp / "heat.gif", every=2, size=(300, 240))
    flows.evolve(heat(), steps=4, tau=TAU, observers=[movie])
    comm.Barrier()
    with Image.open(tmp / "heat.gif") as image:
        assert image.n_frames == 3
