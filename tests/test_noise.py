import flows
from flows.dofs import keys, mix

import dolfinx.mesh
import numpy as np
import pytest
from dolfinx import fem
from dolfinx.mesh import CellType
from mpi4py import MPI

comm = MPI.COMM_WORLD


def square(cell=CellType.triangle):
    return dolfinx.mesh.create_unit_square(comm, 5, 4, cell)


def refined():
    domain = square()
    domain.topology.create_entities(1)
    return dolfinx.mesh.refine(domain)[0]


def part(u):
    """Owned values, and weights that tell any two places apart."""
    V = u.function_space
    n = V.dofmap.index_map.size_local
    x = V.tabulate_dof_coordinates()[:n]
    return u.x.array.reshape(-1, V.dofmap.bs)[:n], (3 * x[:, 0] + x[:, 1] + 7 * x[:, 2])[:, None]


# The sums that one rank gives: they must be those of any number of ranks.
@pytest.mark.three_ranks
@pytest.mark.parametrize(
    ("domain", "element", "expected"),
    [
        (square, ("Lagrange", 1), (-0.55538390507, 2.84984327697)),
        (square, ("Lagrange", 3, (2,)), (0.34581935925, 10.43391112204)),
        (square, ("DG", 2), (2.49134555331, -7.77739678851)),
        (refined, ("Lagrange", 2), (-1.28460014466, 15.73185302686)),
        (lambda: square(CellType.quadrilateral), ("Lagrange", 2), (8.08413789291, 20.94983983191)),
    ],
)
def test_noise_is_the_same_on_any_number_of_ranks(domain, element, expected):
    u = fem.Function(fem.functionspace(domain(), element))
    flows.noise(u, 1.0, seed=3)
    values, weights = part(u)
    sums = comm.allreduce(np.array([values.sum(), (values * weights).sum()]))
    assert sums == pytest.approx(expected, abs=1e-10)


def test_noise_is_uniform_and_added_to_the_present_values():
    V = fem.functionspace(dolfinx.mesh.create_unit_square(comm, 60, 60), ("Lagrange", 1, (2,)))
    u = fem.Function(V)
    u.x.array[:] = 0.3
    flows.noise(u, 0.05, seed=1)
    values = np.concatenate(comm.allgather(part(u)[0]))
    assert np.abs(values - 0.3).max() <= 0.05
    assert values.mean() == pytest.approx(0.3, abs=2e-3)
    assert values.var() == pytest.approx(0.05**2 / 3, rel=0.05)
    assert abs(np.corrcoef(values.T)[0, 1]) < 0.05


def test_another_seed_gives_other_noise_and_ghosts_agree_with_their_owners():
    V = fem.functionspace(square(), ("Lagrange", 2))
    u, v, w = (fem.Function(V) for _ in range(3))
    for f, seed in ((u, 1), (v, 1), (w, -2)):
        flows.noise(f, 1.0, seed)
    assert np.array_equal(u.x.array, v.x.array)
    assert not np.isclose(u.x.array, w.x.array).any()
    v.x.scatter_forward()
    assert np.array_equal(u.x.array, v.x.array)


def test_keys_tell_all_degrees_of_freedom_apart():
    domain = dolfinx.mesh.create_unit_cube(comm, 6, 6, 6)
    marks = mix(
        domain.geometry.index_map().local_to_global(
            np.arange(len(domain.geometry.x), dtype=np.int32)
        )
    )
    for element in (("Lagrange", 1), ("Lagrange", 4), ("DG", 0), ("DG", 2)):
        V = fem.functionspace(domain, element)
        index_map = V.dofmap.index_map
        found = np.concatenate(comm.allgather(keys(V, marks)[: index_map.size_local]))
        assert np.unique(found).size == index_map.size_global


@pytest.mark.parametrize(
    ("element", "amplitude", "message"),
    [
        (("N1curl", 1), 1.0, "not point values: use a Lagrange space"),
        (("Lagrange", 1), np.nan, "amplitude = nan: give a finite number"),
    ],
)
def test_noise_refuses_what_it_cannot_do(element, amplitude, message):
    u = fem.Function(fem.functionspace(square(), element))
    with pytest.raises(ValueError, match=message):
        flows.noise(u, amplitude)
