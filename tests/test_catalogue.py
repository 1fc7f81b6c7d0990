"""The named flows against exact solutions, with the orders of the theory."""

import flows
from flows.mesh import circle, interval, rectangle

import numpy as np
import pytest
import ufl
from dolfinx import fem
from dolfinx.mesh import exterior_facet_indices
from tools import error, order, total, waves
from ufl import dx, grad, inner


def boundary(V):
    """Degrees of freedom on the boundary."""
    topology = V.mesh.topology
    topology.create_connectivity(topology.dim - 1, topology.dim)
    facets = exterior_facet_indices(topology)
    return fem.locate_dofs_topological(V, topology.dim - 1, facets)


@pytest.mark.parametrize("degree", [1, 2])
def test_heat_decays_an_eigenmode_at_order_p_plus_one(degree):
    errors, sizes = [], (4, 8, 16)
    for n in sizes:
        domain = rectangle(h=1 / n)
        V = fem.functionspace(domain, ("Lagrange", degree))
        flow = flows.heat(V, conductivity=0.5, scheme=flows.AVF())
        flow.state.interpolate(lambda x: np.cos(np.pi * x[0]) * np.cos(2 * np.pi * x[1]))
        flows.evolve(flow, until=0.02, tau=0.02 / n ** (1 + (degree == 2) / 2) * 2)
        x, decay = ufl.SpatialCoordinate(domain), np.exp(-0.5 * 5 * np.pi**2 * 0.02)
        exact = decay * ufl.cos(np.pi * x[0]) * ufl.cos(2 * np.pi * x[1])
        errors.append(error(flow.state, exact))
    assert abs(order(sizes, errors) + degree + 1) < 0.15, errors


def test_heat_keeps_its_total_and_its_bounds():
    flow = flows.heat(rectangle(h=0.1))
    flow.state.interpolate(waves(1, mean=0.5))
    before = total(flow.state * dx)
    history = flows.evolve(flow, until=1.0, tau=flows.Adaptive(1e-3))
    assert abs(total(flow.state * dx) / before - 1) < 1e-12
    assert history["energy"][-1] < 1e-6 * history["energy"][0]


def shrinking_circle(degree, h, eps):
    """A quarter of a circle, R0 = 0.3, till T = 0.02: relative errors of radius and energy.

    The disk weighs (u + 1) / 2; the tails of the tanh add pi^2 / 6 eps^2 to the squared radius.
    """
    V = fem.functionspace(rectangle((0, 0), (0.5, 0.5), h=h), ("Lagrange", degree))
    flow = flows.allen_cahn(V, eps=eps, scheme=flows.AVF())
    flow.state.interpolate(lambda x: np.tanh((0.3 - np.hypot(x[0], x[1])) / (np.sqrt(2) * eps)))
    length = flow.energy() / (2 * np.sqrt(2) / 3) / (0.3 * np.pi / 2)
    history = flows.evolve(flow, until=0.02, tau=eps**2)
    assert np.all(np.diff(history["energy"]) < 0)
    squared = total((flow.state + 1) / 2 * dx) * 4 / np.pi
    return [
        np.sqrt(squared / 0.05) - 1,
        np.sqrt((squared - np.pi**2 / 6 * eps**2) / 0.05) - 1,
        length - 1,
    ]


@pytest.mark.serial
def test_allen_cahn_circle_shrinks_by_its_curvature_within_eps_squared():
    coarse, fine = (shrinking_circle(2, eps / 2, eps) for eps in (0.04, 0.02))
    assert abs(fine[0]) < 5.1e-3
    assert abs(fine[1]) < 2e-3
    assert abs(order([2, 1], [coarse[0], fine[0]]) - 2) < 0.1
    assert abs(order([2, 1], np.abs([coarse[1], fine[1]])) - 2) < 0.4
    assert abs(fine[2]) < 1e-3  # the energy is 2 sqrt(2) / 3 times the length


def test_allen_cahn_on_p1_needs_four_cells_for_the_wall():
    weighed, _, length = shrinking_circle(1, 0.005, 0.02)
    assert abs(weighed) < 2.2e-3
    assert abs(length) < 2.1e-3


def test_cahn_hilliard_keeps_its_mass_and_lowers_its_energy():
    for scheme in (flows.MinimizingMovement(), flows.AVF(), flows.BDF2()):
        flow = flows.cahn_hilliard(rectangle(h=1 / 16), eps=0.1, mobility=0.5, scheme=scheme)
        flow.state.interpolate(waves(3, mean=0.2))
        before = total(flow.state * dx)
        history = flows.evolve(flow, until=0.01, tau=flows.Adaptive(1e-4))
        assert abs(total(flow.state * dx) - before) < 1e-12
        assert np.all(np.diff(history["energy"]) < 1e-12)


def test_cahn_hilliard_separates_by_its_dispersion_relation():
    # Around the mixture, cos(kx) grows at the rate k^2 (1/eps - eps k^2).
    eps, k, size = 0.1, 2 * np.pi, 1e-5
    V = fem.functionspace(interval(h=1 / 64), ("Lagrange", 2))
    flow = flows.cahn_hilliard(V, eps=eps, scheme=flows.AVF())
    flow.state.interpolate(lambda x: size * np.cos(k * x[0]))
    T = 5e-3
    flows.evolve(flow, until=T, tau=T / 50)
    wave = ufl.cos(k * ufl.SpatialCoordinate(V.mesh)[0])
    amplitude = 2 * total(flow.state * wave * dx)
    rate = np.log(amplitude / size) / T
    assert abs(rate / (k**2 * (1 / eps - eps * k**2)) - 1) < 2e-3


# Translating and shrinking graphs: exact solutions of mean curvature flow.
GRAPHS = {
    "grim reaper": (lambda x, t, m: -m.log(m.cos(x[0])) + t, 1.83e-4),
    "spherical cap": (lambda x, t, m: -m.sqrt(4 - 4 * t - x[0] ** 2 - x[1] ** 2), 1.60e-4),
}


class _Ufl:
    log, cos, sqrt = ufl.ln, ufl.cos, ufl.sqrt


def graph_error(n, steps, exact, *, flat=False, T=0.2):
    """L2 distance at time T of the flow from the exact solution, and from its interpolant."""
    domain = rectangle((-1, -1), (1, 1), h=2 / n)
    V = fem.functionspace(domain, ("Lagrange", 1))
    g = fem.Function(V)
    flow = flows.graph_area(
        V,
        flat=flat,
        bcs=[fem.dirichletbc(g, boundary(V))],
        on_time=lambda t: g.interpolate(lambda x: exact(x, t, np)),
    )
    flow.state.interpolate(lambda x: exact(x, 0.0, np))
    flows.evolve(flow, until=T, tau=T / steps)
    g.interpolate(lambda x: exact(x, T, np))
    true = error(flow.state, exact(ufl.SpatialCoordinate(domain), T, _Ufl))
    return true, error(flow.state, g)


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_flow_by_mean_curvature_at_order_two(name):
    exact, bar = GRAPHS[name]
    sizes = (8, 16, 32)
    true, nodal = zip(*(graph_error(n, (n // 4) ** 2, exact) for n in sizes), strict=True)
    assert nodal[-1] < bar
    assert abs(order(sizes, nodal) + 2) < 0.1, nodal
    assert abs(order(sizes, true) + 2) < 0.1, true


def test_the_flat_flow_carries_an_arc_at_constant_speed():
    # u = ct - sqrt(1 - c^2 x^2)/c: the flux u_x/Q is c x, its divergence the speed c.
    exact = lambda x, t, m: 0.5 * t - 2 * m.sqrt(1 - x[0] ** 2 / 4)
    sizes = (4, 8, 16)
    true, nodal = zip(*(graph_error(n, 4, exact, flat=True) for n in sizes), strict=True)
    assert abs(order(sizes, true) + 2) < 0.1, true
    assert abs(order(sizes, nodal) + 2) < 0.15, nodal
    # ... and this is no mean curvature flow.
    assert graph_error(16, 16, exact)[1] > 20 * nodal[-1]


def test_both_graph_flows_end_in_the_minimal_surface_of_scherk():
    errors, sizes = [], (8, 16)
    scherk = lambda x, m: m.log(m.cos(x[0])) - m.log(m.cos(x[1]))
    for n in sizes:
        for flat in (True, False):
            domain = rectangle((-1, -1), (1, 1), h=2 / n)
            V = fem.functionspace(domain, ("Lagrange", 1))
            g = fem.Function(V)
            g.interpolate(lambda x: scherk(x, np))
            flow = flows.graph_area(V, flat=flat, bcs=[fem.dirichletbc(g, boundary(V))])
            history = flows.evolve(flow, until=20.0, tau=flows.Adaptive(0.05, tolerance=1e-2))
            assert np.all(np.diff(history["energy"]) < 1e-12)
            errors.append(error(flow.state, scherk(ufl.SpatialCoordinate(domain), _Ufl)))
    flat, geometric = errors[::2], errors[1::2]
    assert abs(flat[-1] - geometric[-1]) < 1e-4 * flat[-1]
    assert abs(order(sizes, flat) + 2) < 0.15, errors


def test_mean_curvature_takes_curves_and_surfaces():
    flow = flows.mean_curvature(circle(n=64))
    flows.evolve(flow, until=0.1, tau=1e-3)
    assert abs(flow.energy() / (2 * np.pi * np.sqrt(0.8)) - 1) < 2e-3


def test_names_and_options_reach_the_flow():
    domain = interval(h=0.5)
    assert flows.heat(domain).name == "heat"
    assert flows.heat(domain, name="rod").name == "rod"
    assert flows.allen_cahn(domain, eps=0.1).name == "allen_cahn"
    V = fem.functionspace(domain, ("Lagrange", 3))
    assert flows.cahn_hilliard(V, eps=0.1).state.function_space == V
    flow = flows.graph_area(domain)
    assert abs(flow.energy() - 1) < 1e-14
    assert inner(grad(flow.state), grad(flow.state)).ufl_shape == ()
    for wrong in (domain.geometry, None, "disk.msh"):
        with pytest.raises(ValueError, match="Give a DOLFINx mesh or function space"):
            flows.heat(wrong)
