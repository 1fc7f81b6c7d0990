"""A step costs a rank what its own part of the mesh costs: nothing is gathered."""

import tracemalloc

import flows

import basix.ufl
import numpy as np
import pytest
import ufl
from dolfinx import graph
from dolfinx.mesh import CellType, create_mesh, create_unit_square
from mpi4py import MPI

comm = MPI.COMM_WORLD


def lopsided(comm, parts, types, cells):
    """All but a sliver of the mesh goes to the last rank."""
    count = len(cells[0]) // 3
    targets = np.full(count, parts - 1, dtype=np.int32)
    few = count // 400
    targets[: few * (parts - 1)] = np.arange(few * (parts - 1)) // few
    return graph.adjacencylist(targets, np.arange(count + 1, dtype=np.int32))._cpp_object


def square(n=130):
    return create_unit_square(comm, n, n, CellType.triangle, partitioner=lopsided)


def sphere():
    whole = flows.mesh.sphere(h=0.025, comm=MPI.COMM_SELF)
    x, cells = whole.geometry.x, whole.geometry.dofmaps[0].astype(np.int64)
    if comm.rank:
        x, cells = x[:0], cells[:0]
    element = basix.ufl.element("Lagrange", "triangle", 1, shape=(3,))
    return create_mesh(comm, cells, ufl.Mesh(element), x, partitioner=lopsided)


def started(flow):
    wave = [lambda x: 0.5 + 0.3 * np.cos(3 * x[0]) * np.cos(2 * x[1] + x[2])]
    flow.state.interpolate(wave[0])
    return flow


FLOWS = {
    "heat": lambda: (started(flows.heat(square())), 1e-3),
    "Allen-Cahn": lambda: (started(flows.allen_cahn(square(), eps=0.1)), 1e-3),
    "Cahn-Hilliard": lambda: (started(flows.cahn_hilliard(square(), eps=0.1)), 1e-5),
    "porous medium": lambda: (started(flows.porous_medium(square(), m=2)), 1e-3),
    "mean curvature": lambda: (flows.mean_curvature(sphere()), 1e-3),
    "surface diffusion": lambda: (flows.surface_diffusion(sphere()), 1e-5),
}


@pytest.mark.parametrize("case", FLOWS)
def test_a_rank_handles_no_more_than_its_part_of_the_mesh(case):
    flow, tau = FLOWS[case]()
    flow.step(tau)
    V = flow.state.function_space
    everything = 8 * V.dofmap.index_map.size_global  # bytes of one number a node
    tracemalloc.start()
    for _ in range(2):
        flow.step(tau)
        flow.review()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    if comm.rank < comm.size - 1:
        assert V.dofmap.index_map.size_local < everything / 8 / 20
        assert peak < everything, f"{peak} bytes on rank {comm.rank}"
