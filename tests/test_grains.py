import flows
from flows.phases import PhaseSolver

import numpy as np
import pytest
import ufl
from dolfinx import fem
from mpi4py import MPI
from tools import total

comm = MPI.COMM_WORLD


def square(n=32, world=comm, periodic=True):
    return flows.mesh.rectangle(h=1 / n, periodic=periodic, comm=world)


def grown(mesh, n, eps, **options):
    flow = flows.grain_growth(mesh, n, eps=eps, **options)
    flows.voronoi(flow.state, seed=3)
    return flow


def test_flat_boundary_has_the_tension_and_the_profile_of_the_theory():
    eps, mesh = 0.05, flows.mesh.interval(-1, 1, h=0.01)
    flow = flows.grain_growth(mesh, 3, eps=eps)
    flow.state.interpolate(lambda x: np.array([x[0] < 0, x[0] >= 0, 0 * x[0] > 1], dtype=float))
    flows.evolve(flow, until=0.05, tau=0.5 * eps**2)
    assert flow.energy() == pytest.approx(np.sqrt(2) / 3, rel=3e-3)
    x = ufl.SpatialCoordinate(mesh)[0] + 0.005  # halfway between two nodes
    profile = (1 - ufl.tanh(x / (np.sqrt(2) * eps))) / 2
    exact = ufl.as_vector([profile, 1 - profile, 0])
    assert total((flow.state - exact) ** 2 * ufl.dx) ** 0.5 < 2e-3


def test_step_is_the_one_of_the_full_matrix():
    energies, states = [], []
    tight = {"snes_rtol": 1e-12}
    for options in (tight, tight | {"ksp_type": "preonly", "pc_type": "lu"}):
        flow = grown(flows.mesh.interval(h=0.02, periodic=True), 3, 0.1, petsc_options=options)
        assert isinstance(flow.solver, PhaseSolver) == ("pc_type" not in options)
        energies.append(flows.evolve(flow, until=0.02, tau=5e-3)["energy"])
        states.append(flow.state.x.array)
    assert energies[0] == pytest.approx(energies[1], rel=1e-11)
    assert states[0] == pytest.approx(states[1], abs=1e-9)


@pytest.mark.parametrize("scheme", [None, flows.BDF2()])
def test_steps_take_few_iterations_at_any_number_of_grains(scheme):
    flow = grown(square(32), 9, 1 / 12, scheme=scheme)
    history = flows.evolve(flow, until=0.025, tau=flows.Adaptive(1e-3))
    assert history["tau"].max() <= 0.9 / 12**2
    assert (np.diff(history["energy"]) < 0).all()
    assert history["iterations"][2:].max() <= 4
    assert flow.solver.snes.getLinearSolveIterations() <= 15 * history["iterations"][-1]


def eight_and_four(eps):
    """Half the rate at which octagons grow and squares shrink, over pi/3, in the tiling 4.8.8.

    An eighth of its cell: a quarter of two octagons and of two squares, mirrored at the sides.
    """
    flow = flows.grain_growth(flows.mesh.rectangle((0, 0), (0.5, 0.5), h=eps / 2), 3, eps=eps)
    half = np.sqrt(0.125) / (1 + np.sqrt(2))

    def tiles(x):
        a, b = (np.maximum(abs(x[0] - p), abs(x[1] - q)) for p, q in ((0.5, 0), (0, 0.5)))
        four = np.minimum(a, b) < half
        first = ~four & (x[0] + x[1] <= 0.5)
        return np.array([first, ~four & ~first, four], dtype=float)

    flow.state.interpolate(tiles)
    names = ("eight", "other", "four")
    sizes = {name: lambda flow, i=i: 4 * flow.sizes()[i] for i, name in enumerate(names)}
    history = flows.evolve(flow, 0.008, 0.8 * eps**2, observers=[flows.Recorder(**sizes)])
    late = history["t"] >= 0.003
    rates = [np.polyfit(history["t"][late], history[name][late], 1)[0] for name in names]
    return np.array([*rates[:2], rates[2] / 2]) / (np.pi / 3)


def test_grains_grow_and_shrink_by_the_law_of_von_neumann_and_mullins():
    widths = np.array([0.025, 0.0175])
    rates = np.array([eight_and_four(eps) for eps in widths])
    sharp = (rates[1] * widths[0] - rates[0] * widths[1]) / (widths[0] - widths[1])
    assert sharp == pytest.approx([2, 2, -2], rel=0.05)  # (8 - 6), (8 - 6), (4 - 6)
    excess = np.abs(rates).mean(axis=1) - 2
    assert excess[0] / excess[1] == pytest.approx(widths[0] / widths[1], rel=0.2)
    assert excess[1] < 0.15


def test_grain_counts_and_sizes_are_the_same_on_any_number_of_ranks():
    columns = {"grains": lambda flow: flow.count(), "largest": lambda flow: flow.sizes().max()}
    runs = []
    for world in (comm, MPI.COMM_SELF):
        flow = grown(square(32, world), 9, 0.08, petsc_options={"snes_rtol": 1e-11})
        assert flow.sizes().sum() == pytest.approx(1, abs=1e-12)
        runs.append(flows.evolve(flow, 0.06, 5e-3, observers=[flows.Recorder(**columns)]))
    assert (runs[0]["grains"] == runs[1]["grains"]).all()
    assert runs[0]["grains"][0] == 9 > runs[0]["grains"][-1]
    assert (np.diff(runs[0]["grains"]) <= 0).all()
    for name in ("energy", "largest"):
        assert runs[0][name] == pytest.approx(runs[1][name], rel=1e-9)


@pytest.mark.parametrize("periodic", [True, False])
def test_voronoi_cells_are_those_of_the_nearest_points(periodic):
    flow = flows.grain_growth(square(20, periodic=periodic), 3, eps=0.2)
    points = np.array([(0.05, 0.5), (0.45, 0.5), (0.7, 0.45)])
    flows.voronoi(flow.state, points=points)
    x = flow.state.function_space.tabulate_dof_coordinates()[:, :2]
    shifts = (-1, 0, 1) if periodic else (0,)
    images = [points + np.array([a, b]) for a in shifts for b in shifts]
    distances = np.min([np.linalg.norm(x[:, None] - p, axis=2) for p in images], axis=0)
    values = flow.state.x.array.reshape(-1, 3)
    assert (values.sum(axis=1) == 1).all()
    chosen = distances[np.arange(len(x)), values.argmax(axis=1)]
    assert chosen == pytest.approx(distances.min(axis=1), abs=1e-9)


def test_picture_tells_grains_and_boundaries_apart(tmp):
    flow = flows.grain_growth(square(32), 3, eps=0.06)
    flows.voronoi(flow.state, points=[(0.2, 0.2), (0.7, 0.3), (0.4, 0.8)])
    writer = flows.Writer(tmp / "grains.pvd", every=100)
    flows.evolve(flow, until=0.006, tau=1e-3, observers=[writer])
    (shot,) = flows.snapshot(flow)
    if comm.rank == 0:
        values = shot.panel.grid["value"]
        levels = np.rint(3 * values)
        inside = np.abs(3 * values - levels) < 0.03
        assert {3, 4, 5} <= set(levels[inside])
        assert 0.2 < values.min() < 0.7
        assert values.max() == pytest.approx(5 / 3, abs=0.01)
        assert (tmp / "grains.pvd").is_file()
    comm.Barrier()


def test_checkpoint_continues_grain_growth(tmp):
    flow = grown(square(16), 3, 0.15)
    flows.evolve(flow, until=0.02, tau=0.01)
    flows.save(tmp / "grains.h5", flow)
    flows.evolve(flow, until=0.05, tau=0.01)
    again = flows.grain_growth(square(16), 3, eps=0.15)
    flows.load(tmp / "grains.h5", again)
    flows.evolve(again, until=0.05, tau=0.01)
    assert again.state.x.array == pytest.approx(flow.state.x.array, abs=1e-12)
    assert again.time == flow.time


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 1, "eps": 0.1}, "two grains at least"),
        ({"n": 3, "eps": 0.0}, "a positive width"),
        ({"n": 3, "eps": np.nan}, "a positive width"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        flows.grain_growth(square(4), **arguments)


def test_domains_and_points_that_do_not_fit_are_refused():
    space = fem.functionspace(square(4), ("Lagrange", 1))
    with pytest.raises(ValueError, match="DOLFINx mesh"):
        flows.grain_growth(space, 3, eps=0.1)
    u = flows.grain_growth(square(4), 3, eps=0.2).state
    with pytest.raises(ValueError, match="one for each of the 3"):
        flows.voronoi(u, points=[(0, 0)])
