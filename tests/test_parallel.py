"""The same answer on any number of ranks: each rank computes it alone, all compute it together."""

import flows
from flows.mesh import rectangle, sphere

import numpy as np
import pytest
from dolfinx import fem
from mpi4py import MPI
from tools import comm, waves

TIGHT = {"snes_rtol": 1e-13, "snes_atol": 1e-13, "ksp_rtol": 1e-12}


def frame(V):
    """A condition on the sides x = 0 and x = 1."""
    g = fem.Function(V)
    g.interpolate(waves(5))
    ends = fem.locate_dofs_geometrical(V, lambda x: np.isclose(x[0] * (1 - x[0]), 0))
    return [fem.dirichletbc(g, ends)]


def square(build, **options):
    """A named flow on a square, from a smooth start."""

    def made(on):
        V = fem.functionspace(rectangle(h=1 / 10, comm=on), ("Lagrange", 1))
        flow = build(V, petsc_options=TIGHT, **options)
        flow.state.interpolate(waves(4, mean=0.1))
        return flow

    return made


def framed(V, **options):
    return flows.graph_area(V, bcs=frame(V), **options)


FLOWS = {
    "heat": (square(flows.heat), 1e-2),
    "heat by BDF2": (square(flows.heat, scheme=flows.BDF2()), 1e-2),
    "Allen-Cahn": (square(flows.allen_cahn, eps=0.1), 2e-3),
    "Cahn-Hilliard": (square(flows.cahn_hilliard, eps=0.1, scheme=flows.AVF()), 2e-4),
    "graph area": (square(framed), 2e-2),
    "mean curvature": (lambda on: flows.mean_curvature(sphere(refinements=2, comm=on)), 5e-3),
}


@pytest.mark.three_ranks
@pytest.mark.parametrize("case", FLOWS.values(), ids=FLOWS.keys())
def test_energies_do_not_depend_on_the_number_of_ranks(case):
    build, tau = case
    alone = flows.evolve(build(MPI.COMM_SELF), tau=tau, steps=8)
    together = flows.evolve(build(comm), tau=tau, steps=8)
    assert np.array_equal(alone["t"], together["t"])
    assert np.abs(together["energy"] / alone["energy"] - 1).max() < 1e-9
    assert np.abs(together["movement"][1:] / alone["movement"][1:] - 1).max() < 1e-6
    assert len(set(comm.allgather(tuple(together["energy"])))) == 1


def test_an_adaptive_run_takes_the_same_steps_on_any_number_of_ranks():
    build = square(flows.allen_cahn, eps=0.1)
    alone, together = (
        flows.evolve(build(on), until=0.02, tau=flows.Adaptive(1e-3))
        for on in (MPI.COMM_SELF, comm)
    )
    assert alone["t"].size == together["t"].size
    assert abs(together["energy"][-1] / alone["energy"][-1] - 1) < 1e-2 * 1e-3
