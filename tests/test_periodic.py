import flows
from flows.checkpoint import read, write
from flows.nodal import NodalSolver
from flows.periodic import places

import numpy as np
import pytest
import ufl
from dolfinx import fem
from dolfinx.mesh import CellType, exterior_facet_indices
from mpi4py import MPI
from tools import area, order, total

comm = MPI.COMM_WORLD
square = flows.mesh.rectangle


def torus(dim, n, world=comm):
    """The unit torus with n cells along each side."""
    build = (flows.mesh.interval, square, flows.mesh.box)[dim - 1]
    return build(h=1 / n, periodic=True, comm=world)


def owned(mesh, dim):
    mesh.topology.create_entities(dim)
    return mesh.topology.index_map(dim).size_global


def facets(mesh):
    """Number of facets at which the domain ends."""
    dim = mesh.topology.dim
    mesh.topology.create_connectivity(dim - 1, dim)
    return comm.allreduce(exterior_facet_indices(mesh.topology).size)


def on_lattice(u, n):
    """Values of a P1 function on the n x n torus by the numbers of its nodes, on all ranks."""
    mesh, values = u.function_space.mesh, np.full((n, n), -np.inf)
    at = np.rint(n * places(mesh)[mesh.geometry.dofmaps[0]]).astype(int)
    values[at[..., 0], at[..., 1]] = u.x.array[u.function_space.dofmap.list]
    return np.max(comm.allgather(values), axis=0)


def wave(x):
    return np.cos(2 * np.pi * (x[0] + x[1])) + 0.5 * np.sin(4 * np.pi * x[0] + 1)


@pytest.mark.three_ranks
@pytest.mark.parametrize(
    ("build", "cell", "entities"),
    [
        (lambda **k: flows.mesh.interval(**k), {}, (5, 5)),
        (square, {}, (25, 75, 50)),
        (square, {"cell": CellType.quadrilateral}, (25, 50, 25)),
        (flows.mesh.box, {}, (125, 875, 1500, 750)),
        (flows.mesh.box, {"cell": CellType.hexahedron}, (125, 375, 375, 125)),
    ],
)
def test_box_without_ends_is_a_torus(build, cell, entities):
    mesh = build(h=0.2, periodic=True, comm=comm, **cell)
    assert tuple(owned(mesh, dim) for dim in range(mesh.topology.dim + 1)) == entities
    assert facets(mesh) == 0
    assert area(mesh) == pytest.approx(1, abs=1e-12)
    assert (mesh.period == 1).all()


def test_strip_ends_in_one_direction_alone():
    mesh = square((0, -1), (2, 1), h=0.25, periodic=(True, False))
    assert facets(mesh) == 16
    assert owned(mesh, 0) == 8 * 9
    assert mesh.period.tolist() == [2, np.inf]
    assert mesh.shortest([1.5, 1.5]).tolist() == [-0.5, 1.5]


def test_strip_takes_boundary_values_where_it_ends():
    V = fem.functionspace(square(h=0.1, periodic=(True, False)), ("Lagrange", 1))
    ends = fem.locate_dofs_geometrical(V, lambda x: np.isclose(np.abs(x[1] - 0.5), 0.5))
    values = fem.Function(V)
    values.interpolate(lambda x: x[1])
    flow = flows.heat(V, scheme=flows.AVF(), bcs=[fem.dirichletbc(values, ends)])
    flow.state.interpolate(lambda x: x[1] + 0.1 * np.sin(np.pi * x[1]) * np.cos(2 * np.pi * x[0]))
    flows.evolve(flow, until=0.5, tau=0.025)
    assert flow.state.x.array == pytest.approx(values.x.array, abs=1e-4)
    assert V.dofmap.index_map.size_global == 110


def test_periodic_direction_has_three_cells_at_least():
    mesh = square(h=1.0, periodic=True)
    assert owned(mesh, 2) == 18
    assert facets(mesh) == 0


@pytest.mark.parametrize(("dim", "sizes"), [(1, (16, 32, 64)), (2, (12, 24, 48)), (3, (9, 12, 16))])
def test_heat_decays_like_its_eigenfunction_with_order_two(dim, sizes):
    k, errors = (1, 1, 0)[:dim], []
    for n in sizes:
        flow = flows.heat(torus(dim, n), scheme=flows.AVF())
        x = ufl.SpatialCoordinate(flow.mesh)
        flow.state.interpolate(lambda x: np.cos(2 * np.pi * sum(x[i] for i in range(dim) if k[i])))
        rate, until = 4 * np.pi**2 * sum(k), 0.01
        flows.evolve(flow, until=until, tau=until / n * 3)
        exact = np.exp(-rate * until) * ufl.cos(
            2 * np.pi * sum(a * b for a, b in zip(k, x, strict=True))
        )
        errors.append(total((flow.state - exact) ** 2 * ufl.dx(degree=4)) ** 0.5)
    assert order([1 / n for n in sizes], errors) == pytest.approx(2, abs=0.15)


def test_translated_data_give_the_translated_solution():
    n, steps, values = 24, (5, 17), []
    for shift in np.array([(0, 0), steps]) / n:
        flow = flows.allen_cahn(torus(2, n), eps=0.1, petsc_options={"snes_rtol": 1e-13})
        flow.state.interpolate(lambda x, s=shift: wave(x - np.append(s, 0)[:, None]))
        flows.evolve(flow, until=0.01, tau=2.5e-3)
        values.append(on_lattice(flow.state, n))
    assert np.abs(values[0]).max() > 0.5
    assert values[1] == pytest.approx(np.roll(values[0], steps, axis=(0, 1)), abs=1e-11)


def test_cahn_hilliard_keeps_the_mass_of_a_periodic_square():
    flow = flows.cahn_hilliard(torus(2, 16), eps=0.08)
    flow.state.x.array[:] = 0.3
    flows.noise(flow.state, 0.1, seed=2)
    before = total(flow.state * ufl.dx)
    history = flows.evolve(flow, until=1e-3, tau=2e-4)
    assert total(flow.state * ufl.dx) == pytest.approx(before, rel=1e-12)
    assert (np.diff(history["energy"]) < 0).all()


def test_density_spreads_over_a_circle_and_none_is_lost():
    flow = flows.porous_medium(torus(1, 32), 2.0)
    flow.state.interpolate(lambda x: 1 + 0.9 * np.cos(2 * np.pi * (x[0] - 0.01)))
    before = total(flow.state * ufl.dx)
    history = flows.evolve(flow, until=0.15, tau=0.01)
    assert isinstance(flow.solver, NodalSolver)
    assert total(flow.state * ufl.dx) == pytest.approx(before, rel=1e-12)
    assert flow.state.x.array == pytest.approx(before, rel=1e-3)
    assert (np.diff(history["energy"]) < 0).all()


def test_energies_are_the_same_on_any_number_of_ranks():
    energies = []
    for world in (comm, MPI.COMM_SELF):
        flow = flows.allen_cahn(torus(2, 24, world), eps=0.1)
        flows.noise(flow.state, 0.5, seed=4)
        history = flows.evolve(flow, until=0.01, tau=2e-3)
        energies.append(history["energy"])
    assert energies[0] == pytest.approx(energies[1], rel=1e-9)
    assert energies[0][0] > 2 * energies[0][-1]


@pytest.mark.parametrize("element", [("Lagrange", 2), ("DG", 1), ("Lagrange", 1, (2,))])
def test_checkpoint_goes_to_another_number_of_ranks(element, tmp):
    def made(world):
        return fem.Function(fem.functionspace(square(h=0.2, periodic=True, comm=world), element))

    if comm.rank == 0:
        alone = made(MPI.COMM_SELF)
        flows.noise(alone, 1.0, seed=5)
        write(tmp / "alone.h5", {"u": alone}, alone.function_space.mesh)
    comm.Barrier()
    u, expected = made(comm), made(comm)
    flows.noise(expected, 1.0, seed=5)
    u.x.array[:] = read(tmp / "alone.h5", {"u": u}, u.function_space.mesh)["u"]
    assert comm.allreduce(np.abs(u.x.array - expected.x.array).max(), MPI.MAX) == 0
    write(tmp / "all.h5", {"u": u}, u.function_space.mesh)
    if comm.rank == 0:
        again = read(tmp / "all.h5", {"u": alone}, alone.function_space.mesh)["u"]
        assert np.array_equal(again, alone.x.array)
    comm.Barrier()


def test_files_and_pictures_show_each_cell_at_its_place(tmp):
    import pyvista

    space = fem.functionspace(square((0, 0), (2, 1), h=0.125, periodic=True), ("Lagrange", 2))
    flow = flows.heat(space)
    flow.state.interpolate(lambda x: np.cos(np.pi * x[0]) * np.sin(2 * np.pi * x[1]))
    files = [flows.Writer(tmp / f"u{suffix}") for suffix in (".pvd", ".bp")]
    flows.evolve(flow, until=1e-4, tau=1e-4, observers=files)
    (shot,) = flows.snapshot(flow)
    grids = []
    if comm.rank == 0:
        frame = pyvista.PVDReader(tmp / "u.pvd").read().combine()
        mine = np.flatnonzero(frame.cell_data["vtkGhostType"] == 0)
        grids = [(frame.extract_cells(mine), "u"), (shot.panel.grid, "value")]
    found = [(grid.compute_cell_sizes()["Area"], grid.points, grid[name]) for grid, name in grids]
    for sizes, points, values in comm.bcast(found):
        assert sizes == pytest.approx(np.full(256, 1 / 128), rel=1e-6)
        expected = np.cos(np.pi * points[:, 0]) * np.sin(2 * np.pi * points[:, 1])
        assert values == pytest.approx(expected, abs=0.01)


def test_vtkhdf_holds_the_nodes_of_the_box(tmp):
    import h5py

    flow = flows.heat(torus(2, 8), scheme=flows.AVF())
    flow.state.x.array[:] = 1.0
    flows.evolve(flow, until=1e-3, tau=1e-3, observers=[flows.Writer(tmp / "u.vtkhdf")])
    if comm.rank == 0:
        with h5py.File(tmp / "u.vtkhdf") as file:
            points = file["VTKHDF/Points"][:]
        assert len(np.unique(points.round(9), axis=0)) == 81
    comm.Barrier()


@pytest.mark.parametrize("wrong", [(True,), (True, False, True)])
def test_directions_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValueError, match="one for each of 2 directions"):
        square(periodic=wrong)


def test_cells_of_another_dimension_are_refused():
    with pytest.raises(ValueError, match="do not fill a box of dimension 2"):
        square(cell=CellType.tetrahedron, periodic=True)


def test_what_has_no_meaning_on_a_torus_is_refused():
    with pytest.raises(ValueError, match="periodic=False"):
        flows.aggregation(torus(1, 8), strength=1.0)
    rho = fem.Function(fem.functionspace(torus(1, 8), ("Lagrange", 1)))
    for measure in (flows.transport.wasserstein_1d, lambda a, _: flows.diagnostics.moments(a)):
        with pytest.raises(ValueError, match="periodic=False"):
            measure(rho, rho)
