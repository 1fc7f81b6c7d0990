"""Flows of quadratic energies: all is said by two matrices."""

import flows
from flows import AVF, BDF2, L2, GradientFlow, MinimizingMovement
from flows.quadratic import QuadraticSolver

import numpy as np
import pytest
import ufl
from dolfinx import fem
from dolfinx.mesh import exterior_facet_indices
from ufl import dx, grad, inner

from tests.tools import same_steps

SCHEMES = [MinimizingMovement(), AVF(), BDF2()]


def flow_with_everything(scheme):
    """A vector field with a linear part in its energy, a source, a weight, moving boundaries."""
    domain = flows.mesh.rectangle(h=1 / 6)
    V = fem.functionspace(domain, ("Lagrange", 2, (2,)))
    u, x = fem.Function(V, name="u"), ufl.SpatialCoordinate(domain)
    u.interpolate(lambda x: np.stack([1 + x[0] * x[1], np.cos(3 * x[0])]))
    t, edge = fem.Constant(domain, 0.0), fem.Function(V)
    domain.topology.create_connectivity(1, 2)
    facets = exterior_facet_indices(domain.topology)
    dofs = fem.locate_dofs_topological(V, 1, facets)

    def at(time):
        edge.interpolate(lambda x: np.stack([1 + x[0] * x[1] + time, np.cos(3 * x[0])]))

    at(0.0)
    E = (inner(grad(u), grad(u)) / 2 + (u[0] - x[1]) ** 2) * dx + u[1] ** 2 * ufl.ds
    load = inner(ufl.as_vector([ufl.sin(t), x[0]]), ufl.TestFunction(V)) * dx
    return GradientFlow(
        E,
        u,
        L2(1 + x[0]),
        scheme=scheme,
        source=load,
        bcs=[fem.dirichletbc(edge, dofs)],
        time=t,
        on_time=at,
    )


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: type(s).__name__)
def test_matrices_say_what_forms_say(scheme, monkeypatch):
    quick = flow_with_everything(scheme)
    assert isinstance(quick.solver, QuadraticSolver)
    monkeypatch.setattr(QuadraticSolver, "suits", lambda _: False)
    general = flow_with_everything(scheme)
    assert not isinstance(general.solver, QuadraticSolver)
    same_steps(quick, general, rel=1e-9, abs=1e-12, atol=1e-11)


def test_a_metric_of_the_state_is_not_constant():
    V = fem.functionspace(flows.mesh.rectangle(h=1 / 4), ("Lagrange", 1))
    u = fem.Function(V)
    E = inner(grad(u), grad(u)) / 2 * dx
    for flow in (
        GradientFlow(E, u, L2(1 + u**2)),
        GradientFlow(E + u**4 * dx, u, L2()),
        GradientFlow(E, u, flows.Dissipation(lambda r: (r**2 + r**4) * dx)),
    ):
        assert not isinstance(flow.solver, QuadraticSolver)


def heat(h=1 / 80):
    """More unknowns than a direct solver gets by default."""
    flow = flows.heat(flows.mesh.rectangle(h=h))
    flow.state.interpolate(lambda x: 1e3 + np.cos(3 * np.pi * x[0]) * np.cos(2 * np.pi * x[1]))
    return flow


def test_the_energy_of_a_field_that_is_nearly_constant_is_exact():
    flow = heat()
    flow.state.x.array[:] = 1e3 + 1e-3 * (flow.state.x.array - 1e3)
    by_cells = fem.assemble_scalar(fem.form(flow.functional))
    by_cells = flow.mesh.comm.allreduce(by_cells)
    assert flow.energy() == pytest.approx(by_cells, rel=1e-6)
    for _ in range(10):
        flow.step(0.01)


def test_the_mean_is_exact_however_few_the_iterations():
    V = fem.functionspace(flows.mesh.rectangle(h=1 / 60), ("Lagrange", 1, (2,)))
    x, u = ufl.SpatialCoordinate(V.mesh), fem.Function(V)
    u.interpolate(lambda x: np.stack([2 + np.cos(3 * x[0]), x[1]]))
    weight, gain = 1 + x[0], ufl.as_vector([x[1], 2.0])
    flow = GradientFlow(
        inner(grad(u), grad(u)) / 2 * dx,
        u,
        L2(weight),
        source=inner(gain, ufl.TestFunction(V)) * dx,
        petsc_options={"ksp_rtol": 1e-2},
    )
    assert flow.values is flow.solver.values
    forms = [fem.form(f * dx(V.mesh)) for f in (weight * u[0], weight * u[1], gain[0], gain[1])]
    total = lambda: np.array([V.mesh.comm.allreduce(fem.assemble_scalar(f)) for f in forms])
    before = total()
    for _ in range(3):
        flow.step(0.01)
    assert np.allclose(total()[:2], before[:2] + 0.03 * before[2:], rtol=1e-13, atol=0)


def test_iterations_agree_with_factors_and_forget_what_they_learned():
    iterative, direct = heat(), heat()
    assert iterative.solver.ksp.getType() == "cg"
    for _ in range(8):
        iterative.step(1e-3)
    iterative.forget()
    resumed = heat()
    resumed.restore(iterative.snapshot())
    for flow in (iterative, resumed):
        for _ in range(4):
            flow.step(1e-3)
    assert np.array_equal(iterative.state.x.array, resumed.state.x.array)
    direct.step(1e-3)
    direct.solver._excess = 1e9  # as if iterations had cost that much
    for _ in range(11):
        direct.step(1e-3)
    alone = flow.mesh.comm.size == 1
    assert (direct.solver.ksp.getType() == "preonly") == alone
    assert np.allclose(direct.state.x.array, iterative.state.x.array, rtol=0, atol=1e-8)


def test_what_is_expected_decides_for_factors():
    long, short = heat(), heat()
    for flow, steps in ((short, 11), (long, 2000)):
        flows.noise(flow.state, 1.0, seed=1)
        flows.evolve(flow, until=steps * 0.01, tau=0.01, steps=11)
    assert short.solver.ksp.getType() == "cg"
    assert (long.solver.ksp.getType() == "preonly") == (long.mesh.comm.size == 1)


def test_a_report_says_what_solves_the_steps_and_why():
    flow = heat()
    flow.step(1e-3)
    report = flow.solver_report()
    assert "heat: linear steps for 6561 unknowns" in report
    assert "conjugate gradients to 1e-07" in report
    assert "incomplete Cholesky factors" in report
    chosen = flows.heat(flows.mesh.rectangle(h=1 / 8), petsc_options={"pc_type": "jacobi"})
    chosen.step(1e-3)
    assert "the diagonal, since the options say so" in chosen.solver_report()
    small = flows.allen_cahn(flows.mesh.rectangle(h=1 / 8), eps=0.1)
    small.step(1e-3)
    assert "nonlinear steps" in small.solver_report()
    assert "factors" in small.solver_report()
