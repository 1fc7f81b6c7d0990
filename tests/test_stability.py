"""Stability of steady states: exact eigenvalues, Morse indices, constraints, refusals."""

import flows

import dolfinx.mesh as dmesh
import numpy as np
import pytest
import ufl
from dolfinx import fem
from tools import comm, order

L, EPS = 3.0, 0.3
K2 = (np.arange(12) * np.pi / L) ** 2
H = np.array([0.1, 0.05])


def energy(u):
    return (EPS**2 / 2 * ufl.inner(ufl.grad(u), ufl.grad(u)) + (u**2 - 1) ** 2 / 4) * ufl.dx


def flat(h, metric, *, fixed=False, **options):
    """The flow at the unstable steady state u = 0."""
    domain = flows.mesh.interval(0, L, h=h)
    V = fem.functionspace(domain, ("Lagrange", 1))
    u = fem.Function(V, name="u")
    if fixed:
        domain.topology.create_connectivity(0, 1)
        ends = dmesh.exterior_facet_indices(domain.topology)
        options["bcs"] = [fem.dirichletbc(0.0, fem.locate_dofs_topological(V, 0, ends), V)]
    return flows.GradientFlow(energy(u), u, metric, **options)


CASES = {
    "Neumann": (lambda: flows.L2(), {}, EPS**2 * K2 - 1),
    "Dirichlet": (lambda: flows.L2(), {"fixed": True}, EPS**2 * K2[1:] - 1),
    "mean value": (lambda: flows.L2(), {"constraints": [flows.MeanValue()]}, EPS**2 * K2[1:] - 1),
    "Cahn-Hilliard": (lambda: flows.HMinus1(), {}, np.sort((K2 * (EPS**2 * K2 - 1))[1:])),
    "weight 2": (lambda: flows.L2(2.0), {}, (EPS**2 * K2 - 1) / 2),
}


@pytest.mark.parametrize("case", CASES)
def test_eigenvalues_are_exact_to_second_order_and_negative_ones_counted(case):
    metric, options, exact = CASES[case]
    errors = []
    for h in H:
        found = flows.stability(flat(h, metric(), **options), number=4)
        errors.append(np.abs(found.eigenvalues - exact[:4]).max())
        assert found.index == np.sum(exact < 0)
        assert not found.stable
        assert found.drift == 0
    assert order(H, errors) == pytest.approx(2, abs=0.1)
    assert str(found).count("grows") == found.index if found.index < 4 else True


def swift_hohenberg(h, metric):
    """1/2 ((1 + D) u)^2 - 0.3/2 u^2 + u^4/4 at u = 0, split in two by w = u + u''."""
    V = fem.functionspace(flows.mesh.interval(0, L, h=h), ("Lagrange", 1))
    u, w = fem.Function(V, name="u"), fem.Function(V, name="w")
    apart = w * u - ufl.inner(ufl.grad(w), ufl.grad(u)) - w**2 / 2
    E = (apart - 0.15 * u**2 + u**4 / 4) * ufl.dx
    return flows.GradientFlow(E, u, metric, auxiliary=[w])


def coupled(h):
    """Allen-Cahn coupled to Cahn-Hilliard, at zero."""
    V = fem.functionspace(flows.mesh.interval(0, L, h=h), ("Lagrange", 1))
    u, c = (fem.Function(V, name=name) for name in "uc")
    E = energy(u) + energy(c) + 0.4 * u * c * ufl.dx
    return flows.GradientFlow(E, (u, c), (flows.L2(), flows.HMinus1()))


def of_coupled():
    """Its eigenvalues: two for each cosine, and the constant of u; that of c is kept."""
    pairs = [
        np.linalg.eigvals([[EPS**2 * k - 1, 0.4], [0.4 * k, k * (EPS**2 * k - 1)]]) for k in K2[1:]
    ]
    return np.sort(np.append(np.concatenate(pairs), -1.0))


BIHARMONIC = (1 - K2) ** 2 - 0.3
SPLIT = {
    "fourth order": (lambda h: swift_hohenberg(h, flows.L2()), np.sort(BIHARMONIC)),
    "sixth order": (
        lambda h: swift_hohenberg(h, flows.HMinus1()),
        np.sort((K2 * BIHARMONIC)[1:]),
    ),
    "two states": (coupled, of_coupled()),
}


@pytest.mark.parametrize("case", SPLIT)
def test_fields_without_a_metric_follow_and_states_of_several_metrics_mix(case):
    made, exact = SPLIT[case]
    errors = []
    for h in H:
        found = flows.stability(made(h), number=3)
        errors.append(np.abs(found.eigenvalues / exact[:3] - 1).max())
        assert found.index == np.sum(exact < 0)
    assert order(H, errors) == pytest.approx(2, abs=0.1)
    assert errors[-1] < 0.015


def test_modes_are_the_cosines_of_norm_one():
    found = flows.stability(flat(0.05, flows.L2()), number=3)
    for k, mode in enumerate(found.modes):
        exact = fem.Function(mode.function_space)
        exact.interpolate(lambda x, k=k: np.sqrt((1 + (k > 0)) / L) * np.cos(k * np.pi * x[0] / L))
        overlap = comm.allreduce(fem.assemble_scalar(fem.form(mode * exact * ufl.dx)))
        assert abs(overlap) == pytest.approx(1, abs=1e-3)


def test_harmonics_on_a_sphere_come_with_all_their_copies():
    flow = flows.allen_cahn(flows.mesh.sphere(refinements=3), eps=0.35)
    flow.state.x.array[:] = 0
    found = flows.stability(flow, number=9)
    degree = np.array([0] + [1] * 3 + [2] * 5)
    exact = degree * (degree + 1) - 1 / 0.35**2
    assert np.abs(found.eigenvalues - exact).max() < 0.08
    assert np.ptp(found.eigenvalues[1:4]) < 1e-8
    assert found.index == 9


def test_conformal_maps_of_the_round_sphere_are_nearly_neutral():
    flow = flows.ricci(flows.mesh.sphere(refinements=3))
    flow.step(100.0)
    flow.step(1000.0)
    found = flows.stability(flow, number=8)
    assert found.stable
    assert np.abs(found.eigenvalues[:3]).max() < 3e-3
    assert found.eigenvalues[3:] == pytest.approx([4] * 5, rel=0.02)


def test_a_relaxed_interface_is_stable_and_its_transition_is_not_steady():
    flow = flat(0.05, flows.HMinus1())
    flow.state.interpolate(lambda x: np.tanh((x[0] - L / 2) / (np.sqrt(2) * EPS)))
    flow.state.x.array[:] *= 0.8
    with pytest.raises(ValueError, match="not steady"):
        flows.stability(flow)
    assert flows.stability(flow, tolerance=np.inf).drift > 1e-3
    flows.evolve(flow, 1e4, flows.Relax(0.01))
    found = flows.stability(flow)
    assert found.stable
    assert found.drift < 1e-4
    assert "stable" in str(found)


def test_what_is_no_gradient_flow_at_rest_is_refused():
    domain = flows.mesh.sphere(refinements=1)
    with pytest.raises(ValueError, match="at rest"):
        flows.stability(flows.mean_curvature(domain))
    with pytest.raises(ValueError, match="1 eigenvalue or more"):
        flows.stability(flat(0.5, flows.L2()), number=0)
    flow = flat(0.5, flows.L2())
    v = ufl.TestFunction(flow.state.function_space)
    driven = flows.GradientFlow(energy(flow.state), flow.state, flows.L2(), source=v * ufl.dx)
    with pytest.raises(ValueError, match="with a source"):
        flows.stability(driven)


def test_densities_come_to_rest_at_the_rates_of_hermite():
    errors, sizes = [], (0.2, 0.1)
    for h in sizes:
        line = flows.mesh.interval(-6, 6, h=h)
        flow = flows.fokker_planck(line, ufl.SpatialCoordinate(line)[0] ** 2 / 2)
        flow.state.interpolate(lambda x: np.exp(-(x[0] ** 2) / 2))
        found = flows.stability(flow, number=2)
        assert found.stable
        errors.append(np.abs(found.eigenvalues - [1, 2]).max())
    assert order(sizes, errors) == pytest.approx(2, abs=0.2)
