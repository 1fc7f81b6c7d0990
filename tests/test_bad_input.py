"""What makes no sense is refused on every rank, in one sentence, before any work is done."""

import flows
from flows import L2, GradientFlow
from flows.mesh import circle, from_arrays, interval, rectangle, sphere

import numpy as np
import pytest
import ufl
from dolfinx import fem
from dolfinx.mesh import CellType
from mpi4py import MPI
from tools import comm, waves
from ufl import TestFunction, dx, grad, inner

V = fem.functionspace(interval(h=0.25), ("Lagrange", 1))
W = fem.functionspace(interval(h=0.5), ("Lagrange", 1))


def refused(words, action, kind=ValueError):
    """All ranks refuse with the same words, and none waits for another."""
    with pytest.raises(kind, match=words) as error:
        action()
    assert len(set(comm.allgather(str(error.value)))) == 1
    comm.Barrier()


@pytest.fixture
def flow():
    made = flows.heat(V)
    made.state.interpolate(waves(1))
    return made


def test_a_step_that_is_no_step(flow):
    for tau in (0.0, -1.0, float("nan"), float("inf")):
        refused("a step needs a positive, finite size", lambda tau=tau: flow.step(tau))
        refused("give a positive, finite number", lambda tau=tau: flows.evolve(flow, 1.0, tau))


def test_a_state_that_holds_nan_on_one_rank(flow):
    if comm.rank == comm.size - 1:
        flow.state.x.array[0] = np.nan
    refused("holds NaN or infinite values; set its values", lambda: flow.step(0.1))


def test_a_state_outside_the_domain_of_its_energy():
    u = fem.Function(V)
    flow = GradientFlow(ufl.sqrt(u) * dx, u, L2())
    u.x.array[:] = -1.0
    refused("set an initial state in the domain of the energy", lambda: flow.step(0.1))


def test_an_energy_that_is_none():
    u, v = fem.Function(V), TestFunction(V)
    for form in (u * v * dx, inner(grad(u), grad(u)), 1.0, None):
        refused(
            "must be a UFL form without test functions", lambda f=form: GradientFlow(f, u, L2())
        )
    refused(
        "does not depend on the state", lambda: GradientFlow(fem.Function(V) ** 2 * dx, u, L2())
    )


def test_a_state_that_is_none():
    u = fem.Function(V)
    for state in (TestFunction(V), "u", u.x.array, ()):
        refused("The state must be one dolfinx", lambda s=state: GradientFlow(u**2 * dx, s, L2()))
    pair = (u, fem.Function(W))
    refused("must live on one mesh", lambda: GradientFlow(u**2 * dx, pair, L2()))


def test_a_metric_that_does_not_fit():
    u, v = fem.Function(V), fem.Function(V.clone())
    E = (u**2 + v**2) * dx
    refused("metric must be a metric such as flows.L2", lambda: GradientFlow(E, u, "L2"))
    refused("2 states need as many metrics; got 1", lambda: GradientFlow(E, (u, v), (L2(),)))
    refused("metric must be a metric", lambda: GradientFlow(E, (u, v), (L2(), L2)))


def test_a_source_that_does_not_fit():
    u, v = fem.Function(V), fem.Function(V.clone())
    E, load = (u**2 + v**2) * dx, TestFunction(V) * dx
    refused("2 states need as many sources", lambda: GradientFlow(E, (u, v), L2(), source=(load,)))
    refused("must be a linear form", lambda: GradientFlow(u**2 * dx, u, L2(), source=u * dx))


def test_a_condition_on_no_field_or_on_two():
    u, v = fem.Function(V), fem.Function(V)
    bc = fem.dirichletbc(0.0, np.array([0], dtype=np.int32), V)
    foreign = fem.dirichletbc(0.0, np.array([0], dtype=np.int32), W)
    refused("applies to 0 of the fields", lambda: flows.heat(V, bcs=[foreign]))
    refused(
        "applies to 2 of the fields.*a space of its own",
        lambda: GradientFlow((u**2 + v**2) * dx, (u, v), L2(), bcs=[bc]),
    )


def test_a_flow_on_something_else_than_a_mesh():
    refused("Give a DOLFINx mesh or function space, not str", lambda: flows.heat("disk.msh"))


def test_a_surface_that_is_open_or_branches():
    whole = sphere(refinements=1, comm=MPI.COMM_SELF)
    points, cells = whole.geometry.x, whole.geometry.dofmaps[0]
    refused("the surface is open", lambda: flows.mean_curvature(from_arrays(points, cells[1:])))
    arc = from_arrays([[0, 0], [1, 0], [1, 1]], [[0, 1], [1, 2]], cell=CellType.interval)
    refused("the curve is open", lambda: flows.mean_curvature(arc))
    wing = np.vstack([cells, [*cells[0][:2], len(points)]])
    branching = from_arrays(np.vstack([points, [[3.0, 0, 0]]]), wing)
    refused(r"the surface (branches|is open)", lambda: flows.mean_curvature(branching))


def test_a_surface_of_the_wrong_dimension():
    for mesh in (rectangle(h=0.5), interval(h=0.5)):
        refused("triangles in space or of", lambda m=mesh: flows.mean_curvature(m))


def test_a_band_with_one_side():
    n = 12
    t = 2 * np.pi * np.arange(n) / n
    edges = [1 + s * 0.3 * np.cos(t / 2) for s in (-1, 1)]
    points = np.concatenate(
        [
            np.column_stack([r * np.cos(t), r * np.sin(t), s * 0.3 * np.sin(t / 2)])
            for r, s in zip(edges, (-1, 1), strict=True)
        ]
    )
    i = np.arange(n)
    low, high = np.append(i, n), np.append(i + n, 0)  # after one turn the edges change places
    cells = np.concatenate(
        [
            np.column_stack([low[:-1], low[1:], high[:-1]]),
            np.column_stack([low[1:], high[1:], high[:-1]]),
        ]
    )
    refused("open|one side", lambda: flows.mean_curvature(from_arrays(points, cells)))


def test_meshes_that_are_none(tmp):
    refused("unknown mesh format", lambda: flows.mesh.read(tmp / "part.docx"))
    refused("part.stl", lambda: flows.mesh.read(tmp / "part.stl"), OSError)
    refused("positive", lambda: sphere(-1.0))
    refused("positive", lambda: circle(h=0.0))


def test_runs_that_are_none(flow):
    refused("needs a time step", lambda: flows.evolve(flow, 1.0))
    refused("needs an end", lambda: flows.evolve(flow, tau=0.1))
    refused("lies before the time of the flow", lambda: flows.evolve(flow, -1.0, 0.1))
    refused("give a positive number, Fixed", lambda: flows.evolve(flow, 1.0, "fast"))


def test_files_that_cannot_be_written(flow, tmp):
    nowhere = tmp / "missing.pvd" / "deeper.pvd"
    if comm.rank == 0:
        (tmp / "missing.pvd").touch()
    comm.Barrier()
    start = flow.state.x.array.copy()
    with pytest.raises((OSError, RuntimeError)):
        flows.evolve(flow, 0.1, 0.01, observers=[flows.Writer(nowhere)])
    assert np.array_equal(flow.state.x.array, start)
    assert flow.time == 0
