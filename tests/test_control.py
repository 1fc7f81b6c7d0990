"""The adaptive step keeps its error, its limits and its landings."""

from itertools import pairwise

from flows import (
    AVF,
    BDF2,
    L2,
    Adaptive,
    Fixed,
    GradientFlow,
    MinimizingMovement,
    StepFailed,
    evolve,
    mesh,
)

import numpy as np
import pytest
from dolfinx import fem
from scipy.integrate import solve_ivp
from tools import nodal, order
from ufl import TestFunction, dx, exp

V = fem.functionspace(mesh.interval(h=0.5), ("Lagrange", 1))


def bistable(scheme=None):
    """One number in a double well: slow, fast, slow. u' = u - u^3, u(0) = 1/100."""
    u = fem.Function(V)
    flow = GradientFlow((u**2 - 1) ** 2 / 4 * dx, u, L2(), scheme=scheme)
    u.x.array[:] = 0.01
    return flow


def exact(t):
    return np.exp(t) / np.sqrt(np.exp(2 * t) + 1e4 - 1)


def run(control, scheme=None, until=9.0):
    """History of the run with the value at each time."""
    flow, values = bistable(scheme), []
    history = evolve(flow, until, control, observers=[lambda f: values.append(nodal(f.state)[0])])
    return history["t"], history["tau"][1:], np.array(values)


def test_the_reference_solves_its_equation():
    other = solve_ivp(lambda _, u: u - u**3, (0, 9), [0.01], "DOP853", rtol=1e-12, atol=1e-14)
    assert abs(exact(9.0) - other.y[0, -1]) < 1e-10


@pytest.mark.parametrize("scheme", [MinimizingMovement(), AVF(), BDF2()], ids=["MM", "AVF", "BDF2"])
def test_the_error_of_one_step_is_of_the_size_of_the_tolerance(scheme):
    # Local errors by the exact flow through each accepted value.
    t, tau, u = run(Adaptive(0.01, tolerance=1e-3), scheme)
    through = u[:-1] * np.exp(tau) / np.sqrt(1 + u[:-1] ** 2 * np.expm1(2 * tau))
    local = np.abs(u[1:] - through)
    late = t[1:] > 1.0
    assert local[late].max() < 3e-3
    assert local[late].max() > 1e-4
    assert np.abs(u[-1] - exact(9.0)) < 1e-2


@pytest.mark.parametrize("scheme", [MinimizingMovement(), AVF(), BDF2()], ids=["MM", "AVF", "BDF2"])
def test_work_grows_as_the_order_of_the_scheme_says(scheme):
    tolerances = np.array([1e-3, 2.5e-4, 6.25e-5])
    counts, errors = [], []
    for tolerance in tolerances:
        t, _, u = run(Adaptive(0.01, tolerance=tolerance), scheme)
        counts.append(t.size)
        errors.append(np.abs(u - exact(t)).max())
    # tau ~ tolerance^(1/(p+1)), error ~ tau^p
    p = scheme.order
    assert abs(order(tolerances, counts) + 1 / (p + 1)) < 0.1, counts
    assert abs(order(tolerances, errors) - p / (p + 1)) < 0.15, errors


def test_steps_follow_the_solution():
    t, tau, _ = run(Adaptive(0.01, tolerance=1e-4))
    fast, slow = tau[np.abs(t[1:] - 4.6) < 0.5], tau[t[1:] > 8.5]
    assert slow[:-1].max() > 3 * fast.max()


def test_factors_stay_within_growth_and_limits():
    control = Adaptive(1e-3, tolerance=1e-3, largest=0.3, growth=1.5)
    _, tau, _ = run(control)
    assert np.all(tau[1:] / tau[:-1] <= 1.5 * (1 + 1e-9))
    assert tau.max() <= 0.3
    assert tau.max() > 0.29


def test_a_step_with_too_large_an_error_is_taken_back(monkeypatch):
    # A pulse at t = 3 that steps of 0.2 do not see coming: u' = -u + f(t).
    u, t = fem.Function(V), fem.Constant(V.mesh, 0.0)
    pulse = 10 * exp(-(((t - 3) / 0.05) ** 2)) * TestFunction(V) * dx
    flow = GradientFlow(u**2 / 2 * dx, u, L2(), source=pulse, time=t)
    u.x.array[:] = 1.0
    tried, step = [], flow.step
    monkeypatch.setattr(flow, "step", lambda tau: tried.append(flow.time) or step(tau))
    history = evolve(flow, 4.0, Adaptive(0.01, tolerance=1e-3, largest=0.2))
    again = [a for a, b in pairwise(tried) if a == b]
    assert again
    assert len(tried) == history["t"].size - 1 + len(again)
    assert np.all((np.array(again) > 2.5) & (np.array(again) < 3.2))
    assert history["tau"][(history["t"] > 2.9) & (history["t"] < 3.1)].max() < 0.05
    force = lambda t, u: -u + 10 * np.exp(-(((t - 3) / 0.05) ** 2))
    end = solve_ivp(force, (0, 4), [1.0], rtol=1e-10, atol=1e-12, max_step=0.01).y[0, -1]
    assert np.abs(nodal(u) - end).max() < 2e-2


def test_adaptive_runs_land_exactly():
    times = [0.5, 1.2345, np.pi]
    history = evolve(bistable(), 5.0, Adaptive(0.1), times=times)
    assert history["t"][-1] == 5.0
    assert set(times) < set(history["t"])
    assert history["tau"][1:].min() > 1e-3


def test_below_the_smallest_step_a_run_gives_up():
    flow = bistable()
    with pytest.raises(StepFailed, match="the error stays above its tolerance") as failure:
        evolve(flow, 9.0, Adaptive(0.5, tolerance=1e-7, smallest=0.1))
    assert failure.value.history["t"][-1] == flow.time < 9.0


SENSELESS = [
    (Fixed, 0.0, {}),
    (Fixed, float("inf"), {}),
    (Adaptive, -1.0, {}),
    (Adaptive, 0.1, {"tolerance": 0.0}),
    (Adaptive, 0.1, {"growth": 0.9}),
    (Adaptive, 0.1, {"shrink": 1.0}),
    (Adaptive, 0.1, {"smallest": 0.2}),
    (Adaptive, 0.1, {"largest": 0.05}),
]


def test_controls_that_make_no_sense_are_refused():
    for kind, first, options in SENSELESS:
        with pytest.raises(ValueError, match=r"positive, finite|Adaptive needs"):
            kind(first, **options)
