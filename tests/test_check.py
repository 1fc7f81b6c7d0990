"""flows.check finds in words what would break a promise, and nothing else."""

import flows  # isort: split

import numpy as np
import pytest
import ufl
from dolfinx import fem, mesh
from mpi4py import MPI
from ufl import dx, inner


@pytest.fixture
def domain():
    return mesh.create_unit_square(MPI.COMM_WORLD, 8, 8)


@pytest.fixture
def u(domain):
    u = fem.Function(fem.functionspace(domain, ("Lagrange", 1)), name="u")
    u.interpolate(lambda x: np.cos(3 * x[0]) + x[1])
    return u


def complaints(flow):
    return [finding.words for finding in flows.check(flow) if not finding.ok]


@pytest.mark.parametrize("metric", [flows.L2(), flows.HMinus1(), flows.L2() + flows.HMinus1()])
def test_a_gradient_flow_on_a_delaunay_mesh_passes(u, metric):
    flow = flows.GradientFlow(flows.energy.ginzburg_landau(u, 0.2), u, metric)
    before = u.x.array.copy()
    assert complaints(flow) == []
    assert np.array_equal(u.x.array, before)


def test_a_surface_passes_and_says_what_it_encloses():
    flow = flows.mean_curvature(flows.mesh.sphere(refinements=2))
    findings = flows.check(flow)
    assert all(finding.ok for finding in findings)
    assert f"encloses {flow.surface.volume:.6g}" in findings[-1].words


def test_a_negative_weight_is_no_metric(u):
    flow = flows.GradientFlow(flows.energy.dirichlet(u), u, flows.L2(-1.0))
    (words,) = complaints(flow)
    assert "not positive" in words


def test_a_drift_is_no_gradient(u):
    v = ufl.TestFunction(u.function_space)
    flow = flows.GradientFlow(flows.energy.dirichlet(u), u, flows.L2(), source=-u.dx(0) * v * dx)
    (words,) = complaints(flow)
    assert "not symmetric" in words


def test_a_weak_form_is_told_from_a_gradient_flow(u):
    old, tau = fem.Function(u.function_space), fem.Constant(u.function_space.mesh, 1.0)
    v = ufl.TestFunction(u.function_space)
    heat = inner(u - old, v) * dx + tau * inner(ufl.grad(u), ufl.grad(v)) * dx
    assert complaints(flows.WeakFlow(heat, u, previous=old, tau=tau)) == []
    transport = inner(u - old, v) * dx + tau * u.dx(0) * v * dx
    (words,) = complaints(flows.WeakFlow(transport, u, previous=old, tau=tau))
    assert "not symmetric" in words


def test_an_energy_with_a_kink_at_the_state_is_found(domain, u):
    u.interpolate(lambda x: np.full_like(x[0], 0.5))
    flow = flows.GradientFlow(abs(u - 0.500001) * dx + u**2 * dx, u, flows.L2())
    assert any("derivative" in words for words in complaints(flow))


def test_obtuse_cells_are_counted(domain):
    domain.geometry.x[:, 0] += 2 * domain.geometry.x[:, 1]
    (words,) = complaints(flows.heat(domain))
    assert "negative" in words
    assert "obtuse" in words
