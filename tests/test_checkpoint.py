import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import flows
from flows import checkpoint

import dolfinx.mesh
import numpy as np
import pytest
from dolfinx import fem
from dolfinx.mesh import CellType
from mpi4py import MPI

comm = MPI.COMM_WORLD
TAU = 1e-3


def square(world=comm, n=8, cell=CellType.triangle):
    return dolfinx.mesh.create_unit_square(world, n, n, cell)


def make(name, scheme=None, world=comm):
    build = {
        "heat": lambda V: flows.heat(V, scheme=scheme),
        "allen_cahn": lambda V: flows.allen_cahn(V, eps=0.2, scheme=scheme),
        "cahn_hilliard": lambda V: flows.cahn_hilliard(V, eps=0.2, scheme=scheme),
    }
    flow = build[name](fem.functionspace(square(world), ("Lagrange", 1)))
    flow.state.interpolate(lambda x: 0.5 * np.cos(np.pi * x[0]) * np.cos(2 * np.pi * x[1]))
    flows.noise(flow.state, 0.2, seed=1)
    return flow


def distance(u, v):
    """The largest difference of nodal values of functions on the same mesh and ranks."""
    local = float(np.max(np.abs(u.x.array - v.x.array), initial=0.0))
    return u.function_space.mesh.comm.allreduce(local, MPI.MAX)


class Holder:
    """A flow reduced to what a checkpoint sees."""

    name = "holder"

    def __init__(self, *functions):
        self.functions = functions
        self.mesh = functions[0].function_space.mesh
        self.built = self.mesh.geometry.x.copy()
        self.restored = None

    def memory(self):
        kept = {f"u_{i}": u for i, u in enumerate(self.functions)}
        return kept | {"time": 0.1 + 0.2, "list": [1.0, np.nan, 1 / 3], "empty": []}

    def restore(self, memory):
        self.restored = memory
        for i, u in enumerate(self.functions):
            u.x.array[:] = memory[f"u_{i}"]

    def forget(self):
        pass


# -- values ----------------------------------------------------------------------------------------
def cube(world, cell):
    return dolfinx.mesh.create_unit_cube(world, 2, 3, 2, cell)


def refined(world):
    domain = square(world, 4)
    domain.topology.create_entities(1)
    return dolfinx.mesh.refine(domain)[0]


def skin(world):
    domain = cube(world, CellType.tetrahedron)
    domain.topology.create_connectivity(2, 3)
    facets = dolfinx.mesh.exterior_facet_indices(domain.topology)
    return dolfinx.mesh.create_submesh(domain, 2, facets)[0]


MESHES = {
    "interval": lambda world: dolfinx.mesh.create_unit_interval(world, 9),
    "triangles": square,
    "quadrilaterals": lambda world: square(world, 3, CellType.quadrilateral),
    "tetrahedra": lambda world: cube(world, CellType.tetrahedron),
    "hexahedra": lambda world: cube(world, CellType.hexahedron),
    # The numbers of cells and nodes of these depend on the number of ranks.
    "refined": refined,
    "skin": skin,
}
ELEMENTS = [("Lagrange", 1), ("Lagrange", 2, (2,)), ("Lagrange", 4), ("DG", 0), ("DG", 2)]


def field(world, mesh):
    """Functions that no symmetry can hide: noise, the same on any number of ranks."""
    domain = MESHES[mesh](world)
    functions = [fem.Function(fem.functionspace(domain, e)) for e in ELEMENTS]
    for seed, u in enumerate(functions):
        flows.noise(u, 1.0, seed)
    return functions


@pytest.mark.three_ranks
@pytest.mark.parametrize("mesh", MESHES)
def test_values_are_exact_from_any_number_of_ranks_to_any_other(tmp, mesh):
    # All ranks write together and each reads alone; then each writes alone and all read together.
    for label, writers, readers in (
        ("many", comm, MPI.COMM_SELF),
        (f"one_{comm.rank}", MPI.COMM_SELF, comm),
    ):
        flows.save(tmp / f"{label}.h5", Holder(*field(writers, mesh)))
        comm.Barrier()
        path = tmp / ("many.h5" if label == "many" else "one_0.h5")
        exact = field(readers, mesh)
        copies = [fem.Function(u.function_space) for u in exact]
        holder = Holder(*copies)
        flows.load(path, holder)
        for u, v in zip(exact, copies, strict=True):
            assert np.array_equal(u.x.array, v.x.array)
        assert holder.restored["time"] == 0.1 + 0.2
        assert np.array_equal(holder.restored["list"], [1.0, np.nan, 1 / 3], equal_nan=True)
        assert holder.restored["empty"] == []


def test_a_moved_mesh_gets_its_coordinates_back(tmp):
    def built():
        return Holder(fem.Function(fem.functionspace(square(), ("Lagrange", 1))))

    first, second = built(), built()
    x = first.mesh.geometry.x
    x[:, 0] += 0.3 * np.sin(x[:, 1])
    flows.save(tmp / "moved.h5", first)
    flows.load(tmp / "moved.h5", second)
    assert np.array_equal(second.mesh.geometry.x, x)


# -- runs ------------------------------------------------------------------------------------------
CASES = [
    ("heat", flows.MinimizingMovement, flows.Fixed(TAU)),
    ("heat", flows.BDF2, flows.Adaptive(TAU, tolerance=1e-3)),
    ("heat", flows.AVF, flows.Fixed(TAU)),
    ("allen_cahn", flows.MinimizingMovement, flows.Adaptive(TAU, tolerance=1e-3)),
    ("allen_cahn", flows.BDF2, flows.Fixed(TAU)),
    ("allen_cahn", flows.AVF, flows.Adaptive(TAU, tolerance=1e-3)),
    ("cahn_hilliard", flows.MinimizingMovement, flows.Fixed(1e-5)),
    ("cahn_hilliard", flows.BDF2, flows.Adaptive(1e-5, tolerance=1e-3)),
    ("cahn_hilliard", flows.AVF, flows.Fixed(1e-5)),
]


@pytest.mark.parametrize(
    ("name", "scheme", "control"), CASES, ids=lambda x: getattr(x, "__name__", None)
)
def test_a_resumed_run_is_the_run_that_was_never_interrupted(tmp, name, scheme, control):
    path = tmp / "run.h5"
    whole, cut, resumed = (make(name, scheme()) for _ in range(3))
    watch = lambda label: [flows.Checkpoint(tmp / f"{label}.h5", every=3)]
    history = flows.evolve(whole, steps=8, tau=control, observers=watch("whole"))
    flows.evolve(cut, steps=3, tau=control, observers=watch("run"))
    again = flows.evolve(resumed, steps=5, tau=control, observers=watch("again"), resume=path)
    assert resumed.time == pytest.approx(whole.time, rel=1e-12)
    assert distance(resumed.state, whole.state) < 1e-12
    for column in ("t", "tau", "energy", "movement"):
        assert again[column] == pytest.approx(history[column], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("scheme", [flows.MinimizingMovement, flows.BDF2, flows.AVF])
def test_a_run_goes_on_with_another_number_of_ranks(tmp, scheme):
    for name, tau in (("heat", TAU), ("allen_cahn", TAU), ("cahn_hilliard", 1e-5)):
        path = tmp / f"{name}.h5"
        flow = make(name, scheme())
        history = flows.evolve(flow, steps=6, tau=tau, observers=[flows.Checkpoint(path, every=3)])
        flows.evolve(make(name, scheme()), steps=3, tau=tau, observers=[flows.Checkpoint(path)])
        alone = make(name, scheme(), MPI.COMM_SELF)
        again = flows.evolve(alone, steps=3, tau=tau, resume=path)
        assert again["energy"] == pytest.approx(history["energy"], rel=1e-9)
        assert again["t"] == pytest.approx(history["t"], rel=1e-12)


def test_a_moving_surface_goes_on_with_another_number_of_ranks(tmp):
    from flows.mesh import sphere

    path, watch = tmp / "sphere.h5", [flows.Checkpoint(tmp / "sphere.h5", times=[0.02])]
    whole, alone = (flows.mean_curvature(sphere(h=0.6, comm=c)) for c in (comm, MPI.COMM_SELF))
    flows.evolve(flows.mean_curvature(sphere(h=0.6)), until=0.02, tau=0.01, observers=watch)
    history = flows.evolve(whole, until=0.04, tau=0.01)
    again = flows.evolve(alone, until=0.04, tau=0.01, resume=path)
    assert again["energy"] == pytest.approx(history["energy"], rel=1e-8)
    radius = [flow.mesh.comm.allreduce(np.abs(flow.mesh.geometry.x).max(), MPI.MAX)
              for flow in (whole, alone)]  # fmt: skip
    assert radius[0] == pytest.approx(radius[1], rel=1e-8)


def test_another_control_starts_anew_from_a_checkpoint(tmp):
    flows.evolve(make("heat"), steps=2, tau=TAU, observers=[flows.Checkpoint(tmp / "u.h5")])
    history = flows.evolve(make("heat"), steps=2, tau=TAU / 4, resume=tmp / "u.h5")
    assert history["tau"] == pytest.approx([0, TAU, TAU, TAU / 4, TAU / 4])
    control = flows.Adaptive(TAU / 8)
    history = flows.evolve(make("heat"), steps=1, tau=control, resume=tmp / "u.h5")
    assert history["tau"][-1] == pytest.approx(TAU / 8)


def test_a_saved_flow_can_be_loaded_and_resumed(tmp):
    flow, other = make("heat", flows.BDF2()), make("heat", flows.BDF2())
    flows.evolve(flow, steps=2, tau=TAU)
    flows.save(tmp / "u.h5", flow)
    flows.load(tmp / "u.h5", other)
    assert other.time == flow.time
    assert distance(other.state, flow.state) == 0
    history = flows.evolve(make("heat", flows.BDF2()), steps=1, tau=TAU, resume=tmp / "u.h5")
    assert history["t"] == pytest.approx([2 * TAU, 3 * TAU])
    flow.step(TAU)
    assert history["energy"][-1] == pytest.approx(flow.energy(), rel=1e-12)


# -- files -----------------------------------------------------------------------------------------
def test_the_last_few_checkpoints_are_kept(tmp):
    watch = [flows.Checkpoint(tmp / "c" / "u.h5", every=2, keep=3)]
    flows.evolve(make("heat"), steps=9, tau=TAU, observers=watch)
    comm.Barrier()
    assert sorted(p.name for p in (tmp / "c").iterdir()) == ["u.1.h5", "u.2.h5", "u.h5"]
    for name, steps in (("u.h5", 9), ("u.1.h5", 8), ("u.2.h5", 6)):
        flow = make("heat")
        flows.load(tmp / "c" / name, flow)
        assert flow.time == pytest.approx(steps * TAU)


def test_a_failed_write_leaves_the_old_checkpoint(tmp, monkeypatch):
    flow = make("heat")
    path = tmp / "u.h5"
    flows.save(path, flow)
    flow.step(TAU)

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint, "put", fail)
    with pytest.raises(OSError, match="disk full"):
        flows.save(path, flow)
    monkeypatch.undo()
    other = make("heat")
    flows.load(path, other)
    assert other.time == 0


def broken(path, kind):
    if comm.rank == 0:
        data = path.read_bytes()
        text = b"not a checkpoint, but a text that is long enough to be read as one, or so it seems"
        path.write_bytes({"cut": data[: len(data) // 2], "text": text, "empty": b""}[kind])
    comm.Barrier()


@pytest.mark.parametrize("kind", ["cut", "text", "empty"])
def test_a_damaged_file_is_refused_on_every_rank(tmp, kind):
    flows.save(tmp / "u.h5", make("heat"))
    broken(tmp / "u.h5", kind)
    with pytest.raises(ValueError, match="is damaged, or no HDF5 file; take another"):
        flows.load(tmp / "u.h5", make("heat"))


def other_mesh():
    return flows.heat(dolfinx.mesh.create_rectangle(comm, [(0, 0), (1, 1.5)], (8, 8)))


def other_cells():
    left = dolfinx.mesh.DiagonalType.left
    return flows.heat(dolfinx.mesh.create_unit_square(comm, 8, 8, diagonal=left))


def other_element():
    return flows.heat(fem.functionspace(square(), ("Lagrange", 2)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (other_mesh, "was written on another mesh"),
        (other_cells, "was written on another mesh"),
        (lambda: flows.heat(square(n=9)), "was written on another mesh"),
        (other_element, "another kind of flow, named 'heat': 'flow.state_0' does not fit"),
        (lambda: make("heat", flows.BDF2()), "'flow.past_0' does not fit"),
    ],
)
def test_a_checkpoint_of_another_mesh_or_flow_is_refused_on_every_rank(tmp, build, message):
    flows.save(tmp / "u.h5", make("heat"))
    flow = build()
    before = flow.mesh.geometry.x.copy()
    with pytest.raises(ValueError, match=message):
        flows.load(tmp / "u.h5", flow)
    assert np.array_equal(flow.mesh.geometry.x, before)


def test_a_missing_file_is_refused_on_every_rank(tmp):
    with pytest.raises(OSError, match=r"Cannot read .*no\.h5: No such file"):
        flows.evolve(make("heat"), steps=1, tau=TAU, resume=tmp / "no.h5")


def test_functions_without_point_values_are_refused_before_any_work(tmp):
    V = fem.functionspace(square(), ("N1curl", 1))
    u = fem.Function(V, name="u")
    flow = flows.GradientFlow(flows.energy.dirichlet(u), u, flows.L2())
    with pytest.raises(ValueError, match="not point values: use a Lagrange space"):
        flows.evolve(flow, steps=1, tau=TAU, observers=[flows.Checkpoint(tmp / "u.h5")])
    assert flow.time == 0


# -- killed ----------------------------------------------------------------------------------------
SCRIPT = """
import os, signal, sys
import flows
import numpy as np
from dolfinx import mesh
from mpi4py import MPI

folder, stop, resume = sys.argv[1], int(sys.argv[2]), sys.argv[3] or None

def kill(flow):
    if flow.time > (stop - 0.5) * 1e-5:
        os.kill(os.getpid(), signal.SIGKILL)

domain = mesh.create_unit_square(MPI.COMM_WORLD, 8, 8)
flow = flows.cahn_hilliard(domain, eps=0.2, scheme=flows.BDF2())
flows.noise(flow.state, 0.5, seed=1)
watch = [flows.Recorder(f"{folder}/run.csv"), flows.Checkpoint(f"{folder}/run.h5", every=3), kill]
flows.evolve(flow, until=1e-4, tau=1e-5, observers=watch, resume=resume)
"""


def run(tmp, ranks, folder, stop=1000, resume=""):
    script = tmp / "run.py"
    script.write_text(textwrap.dedent(SCRIPT))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [shutil.which("mpirun", path=path), "-n", str(ranks)] if ranks > 1 else []
    command += [sys.executable, str(script), folder, str(stop), str(resume)]
    # The processes start an MPI world of their own, even if this one was started by mpirun.
    env = {
        k: v for k, v in os.environ.items() if not k.startswith(("PMI", "HYDRA", "OMPI", "PRTE"))
    }
    return subprocess.run(command, cwd=tmp, env=env, check=False, capture_output=True, text=True)


def energies(path):
    return np.loadtxt(path, delimiter=",", skiprows=1)[:, 2]


@pytest.mark.serial
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp):
    done = run(tmp, 1, "whole")
    assert done.returncode == 0, done.stderr
    expected = energies(tmp / "whole" / "run.csv")
    assert len(expected) == 11
    for before, after, tolerance in ((1, (1,), 1e-12), (2, (1, 3), 1e-9)):
        folder = f"cut_{before}"
        killed = run(tmp, before, folder, stop=8)
        assert killed.returncode != 0
        if before == 1:
            assert killed.returncode == -signal.SIGKILL
        shutil.copytree(tmp / folder, tmp / "kept", dirs_exist_ok=True)
        for ranks in after:
            shutil.copytree(tmp / "kept", tmp / folder, dirs_exist_ok=True)
            done = run(tmp, ranks, folder, resume=f"{folder}/run.h5")
            assert done.returncode == 0, done.stderr
            assert energies(tmp / folder / "run.csv") == pytest.approx(expected, rel=tolerance)
