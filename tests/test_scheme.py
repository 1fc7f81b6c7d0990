"""Each scheme against matrix powers, its order, and its energy law."""

from flows import AVF, BDF2, L2, GradientFlow, HMinus1, MinimizingMovement, energy, evolve, mesh

import numpy as np
import pytest
from dolfinx import fem
from scipy.integrate import solve_ivp
from tools import Interval, nodal, order, waves
from ufl import TestFunction, cos, dx, grad, inner

N, EPS = 12, 0.25
LINE = Interval(N)
V = fem.functionspace(mesh.interval(h=1 / N), ("Lagrange", 1))
M, INVERSE = LINE.M, np.linalg.inv(LINE.M)
A = INVERSE @ LINE.K


def scalar():
    u = fem.Function(V, name="u")
    u.interpolate(waves(1, mean=0.2))
    return u


def quadratic(u):
    return energy.dirichlet(u) + 0.5 * u**2 * dx


def steps(k, generator, v, tau, scheme):
    """Iterates of a linear flow u' = -G u by dense algebra."""
    one, past = np.eye(N + 1), None
    for _ in range(k):
        if isinstance(scheme, AVF):
            v = np.linalg.solve(one + tau / 2 * generator, v - tau / 2 * generator @ v)
        elif isinstance(scheme, BDF2) and past is not None:
            v, past = np.linalg.solve(1.5 * one + tau * generator, 2 * v - past / 2), v
        else:
            v, past = np.linalg.solve(one + tau * generator, v), v
    return v


@pytest.mark.parametrize("scheme", [MinimizingMovement(), AVF(), BDF2()], ids=["MM", "AVF", "BDF2"])
def test_a_quadratic_energy_is_stepped_by_its_resolvent(scheme):
    L = np.eye(N + 1) + A
    for metric, generator in ((L2(), L), (HMinus1(), A @ L)):
        u = scalar()
        v = nodal(u)
        flow = GradientFlow(quadratic(u), u, metric, scheme=scheme)
        for _ in range(4):
            flow.step(1e-3)
        assert np.abs(nodal(u) - steps(4, generator, v, 1e-3, scheme)).max() < 1e-12


def test_minimizing_movements_at_large_steps_are_powers_of_the_resolvent():
    u = scalar()
    v = nodal(u)
    flow = GradientFlow(quadratic(u), u, L2())
    for _ in range(3):
        flow.step(10.0)
    exact = np.linalg.matrix_power(np.linalg.inv(11 * np.eye(N + 1) + 10 * A), 3) @ v
    assert np.abs(nodal(u) - exact).max() < 1e-15 * 100


def slope(u):
    """The variation of the Ginzburg-Landau energy, as a nodal vector."""
    return EPS * A @ u + INVERSE @ LINE.load(lambda s: (s**3 - s) / EPS, u)


PROBLEMS = {
    "heat": (energy.dirichlet, L2(), lambda u: A @ u, 0.02),
    "Allen-Cahn": (lambda u: energy.ginzburg_landau(u, EPS), L2(), slope, 0.1),
    "Cahn-Hilliard": (
        lambda u: energy.ginzburg_landau(u, EPS),
        HMinus1(),
        lambda u: A @ slope(u),
        0.01,
    ),
}
EXACT = {}


def exact(name):
    """The solution of the semi-discrete problem, to rounding."""
    if name not in EXACT:
        _, _, rate, T = PROBLEMS[name]
        v = nodal(smooth())
        solution = solve_ivp(lambda _, w: -rate(w), (0, T), v, "Radau", rtol=1e-11, atol=1e-12)
        EXACT[name] = solution.y[:, -1]
    return EXACT[name]


def smooth():
    """A start whose high modes are still, so that orders are seen at moderate steps."""
    u = fem.Function(V, name="u")
    u.interpolate(lambda x: 0.1 + 0.5 * np.cos(np.pi * x[0]) + 0.2 * np.cos(2 * np.pi * x[0]))
    return u


@pytest.mark.parametrize("scheme", [MinimizingMovement(), AVF(), BDF2()], ids=["MM", "AVF", "BDF2"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_order_in_time_is_the_declared_one(name, scheme):
    functional, metric, _, T = PROBLEMS[name]
    u = smooth()
    flow = GradientFlow(functional(u), u, metric, scheme=scheme)
    start, counts, errors = flow.snapshot(), (32, 64, 128), []
    for n in counts:
        flow.restore(start)
        evolve(flow, T, T / n)
        errors.append(np.abs(nodal(u) - exact(name)).max())
    assert abs(order(counts, errors) + scheme.order) < 0.1, errors
    assert errors[-1] < 2e-3


def test_bdf2_keeps_its_order_when_steps_vary():
    u = smooth()
    flow = GradientFlow(energy.dirichlet(u), u, L2(), scheme=BDF2())
    start, counts, errors = flow.snapshot(), (32, 64, 128), []
    for n in counts:
        flow.restore(start)
        sizes = np.tile([1.0, 1.7, 0.6, 1.1], n // 4)
        for tau in 0.02 * sizes / sizes.sum():
            flow.step(tau)
        errors.append(np.abs(nodal(u) - exact("heat")).max())
    assert abs(order(counts, errors) + 2) < 0.1, errors


def test_bdf2_with_variable_steps_differentiates_parabolas_exactly():
    # For u' = -u + f the derivative of the interpolating parabola stands for u'; a step that more
    # than doubles is a minimizing movement.
    u = fem.Function(V)
    flow = GradientFlow(u**2 / 2 * dx, u, L2(), scheme=BDF2())
    u.x.array[:] = 1.0
    times, values = [0.0], [1.0]
    for tau in (0.1, 0.2, 0.15, 0.5, 0.5, 0.05):
        t = [*times[-2:], times[-1] + tau]
        used = 2 if len(times) == 1 or tau > 2 * (t[1] - t[0]) else 3
        points, known = np.array(t[-used:]) - t[-1], values[-used + 1 :]
        weights = np.linalg.solve(np.vander(points, increasing=True).T, np.eye(used)[1])
        times.append(t[-1])
        values.append(-weights[:-1] @ known / (weights[-1] + 1))
        flow.step(tau)
        assert np.abs(nodal(u) - values[-1]).max() < 1e-13


POLYNOMIAL = {
    "quadratic": quadratic,
    "double well": lambda u: energy.ginzburg_landau(u, EPS),
    "sextic": lambda u: energy.dirichlet(u, 0.1) + (u**2 * (u**2 - 1) ** 2 + u) * dx,
}


@pytest.mark.parametrize("name", POLYNOMIAL)
@pytest.mark.parametrize("metric", [L2(2.0), HMinus1(0.3)], ids=["L2", "H^-1"])
def test_avf_loses_exactly_what_it_dissipates(name, metric):
    u = scalar()
    flow = GradientFlow(POLYNOMIAL[name](u), u, metric, scheme=AVF())
    for tau in (0.01, 0.02, 0.05):
        before, v = flow.energy(), nodal(u)
        flow.step(tau)
        rate = (nodal(u) - v) / tau
        price = 2 * M if isinstance(metric, L2) else M @ np.linalg.pinv(0.3 * LINE.K) @ M
        balance = flow.energy() - before + tau * rate @ price @ rate
        assert abs(balance) < 1e-10
        assert abs(flow.report.defect) < 1e-10


def test_avf_balances_the_work_of_a_source():
    for metric, dual in ((L2(), False), (HMinus1(), True)):
        u = scalar()
        flow = GradientFlow(
            energy.ginzburg_landau(u, EPS), u, metric, scheme=AVF(), source=TestFunction(V) * dx
        )
        before, v = flow.energy(), nodal(u)
        report = flow.step(0.02)
        gain, change = flow.energy() - before, nodal(u) - v
        if dual:
            mu = np.asarray(nodal(flow.potentials[0]))
            exact = 0.02 * (M.sum(axis=0) @ mu - mu @ LINE.K @ mu)
        else:
            exact = M.sum(axis=0) @ change - change @ M @ change / 0.02
        assert abs(gain - exact) < 1e-10
        assert abs(report.defect) < 1e-10


def test_avf_lets_any_energy_fall():
    u = scalar()
    flow = GradientFlow((cos(5 * u) + inner(grad(u), grad(u))) * dx, u, L2(), scheme=AVF())
    history = evolve(flow, steps=20, tau=0.02)
    assert np.all(np.diff(history["energy"]) < 0)


def test_minimizing_movement_pays_its_distance_from_the_energy():
    u = scalar()
    flow = GradientFlow(energy.ginzburg_landau(u, EPS), u, L2())
    paid, first = 0.0, flow.energy()
    for _ in range(10):
        before, v = flow.energy(), nodal(u)
        report = flow.step(0.01)
        change = nodal(u) - v
        price = change @ M @ change / 0.02
        paid += price
        assert abs(report.movement - price) < 1e-12
        assert report.defect <= 0
        assert abs(report.defect - (flow.energy() - before + price)) < 1e-12
    assert first - flow.energy() >= paid > 0


def test_bdf2_lets_its_modified_energy_fall():
    u = scalar()
    flow = GradientFlow(quadratic(u), u, L2(), scheme=BDF2())
    modified = []
    for _ in range(20):
        v = nodal(u)
        report = flow.step(0.01)
        change = nodal(u) - v
        modified.append(report.energy + change @ M @ change / (4 * 0.01))
        assert report.defect <= 0
    assert np.all(np.diff(modified) < 0)
    assert abs(report.defect - (modified[-1] - modified[-2])) < 1e-12
