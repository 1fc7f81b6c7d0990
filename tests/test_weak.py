"""Equations without an energy, by their weak form, against exact solutions."""

from functools import partial

from flows import Adaptive, StepFailed, WeakFlow, evolve, mesh

import numpy as np
import pytest
import ufl
from dolfinx import default_scalar_type, fem
from tools import error, nodal, order, total
from ufl import TestFunction, dx, grad, inner


def crank_nicolson(V, rate, **options):
    """The flow u' = rate((u + v) / 2; w) of a weak form."""
    u, v = fem.Function(V), fem.Function(V)
    tau = fem.Constant(V.mesh, default_scalar_type(1.0))
    w = TestFunction(V)
    residual = (u - v) / tau * w * dx - rate((u + v) / 2, w)
    return WeakFlow(residual, u, previous=v, tau=tau, **options)


def test_advection_diffusion_carries_a_wave_round_a_period():
    # u' + c u_x = k u_xx on a ring: the wave travels and decays, sin(x - ct) exp(-kt).
    k, c, errors, sizes = 0.1, 2.0, [], (16, 32, 64)
    for n in sizes:
        ring = mesh.interval(0, 2 * np.pi, h=2 * np.pi / n, periodic=True)
        V = fem.functionspace(ring, ("Lagrange", 1))
        x = ufl.SpatialCoordinate(ring)[0]
        flow = crank_nicolson(V, lambda u, w: (-c * u.dx(0) * w - k * inner(grad(u), grad(w))) * dx)
        project(flow.state, ufl.sin(x))
        evolve(flow, until=1.0, tau=1.6 / n)
        assert flow.solver.linear
        errors.append(error(flow.state, ufl.sin(x - c) * np.exp(-k)))
    assert abs(order(sizes, errors) + 2) < 0.15, errors
    assert errors[-1] < 2e-2


def project(u, expression):
    """The nearest function in L2."""
    from dolfinx.fem.petsc import LinearProblem

    a, b = ufl.TrialFunction(u.function_space), TestFunction(u.function_space)
    LinearProblem(
        a * b * dx,
        expression * b * dx,
        u=u,
        petsc_options_prefix="project_",
        petsc_options={"ksp_rtol": 1e-12},
    ).solve()


def test_burgers_shock_profile_travels():
    # u' + u u_x = k u_xx with u = c - b tanh(b (x - ct) / 2k).
    k, b, c, errors, sizes = 0.1, 0.5, 0.8, [], (16, 32, 64)

    def exact(x, t):
        return c - b * np.tanh(b * (x[0] - c * t) / (2 * k))

    for n in sizes:
        line = mesh.interval(-2, 3, h=5 / n)
        V = fem.functionspace(line, ("Lagrange", 1))
        g = fem.Function(V)
        ends = fem.locate_dofs_geometrical(V, lambda x: np.isclose(x[0], -2) | np.isclose(x[0], 3))
        flow = crank_nicolson(
            V,
            lambda u, w: 0.5 * u**2 * grad(w)[0] * dx - k * inner(grad(u), grad(w)) * dx,
            bcs=[fem.dirichletbc(g, ends)],
            on_time=lambda t, g=g: g.interpolate(partial(exact, t=t)),
        )
        flow.state.interpolate(partial(exact, t=0))
        history = evolve(flow, until=1.0, tau=2 / n)
        assert history["iterations"][1:].min() >= 2
        x = ufl.SpatialCoordinate(line)
        errors.append(error(flow.state, c - b * ufl.tanh(b * (x[0] - c) / (2 * k))))
    assert abs(order(sizes, errors) + 2) < 0.15, errors
    assert errors[-1] < 2e-3


def test_a_system_that_turns_keeps_its_radius():
    # p' = q, q' = -p: midpoint steps turn by 2 atan(tau / 2), for ever on the circle.
    V = fem.functionspace(mesh.interval(h=0.5), ("Lagrange", 1))
    p, q, p0, q0 = (fem.Function(V.clone() if i % 2 else V) for i in range(4))
    q0 = fem.Function(q.function_space)
    tau = fem.Constant(V.mesh, default_scalar_type(1.0))
    v, w = TestFunction(p.function_space), TestFunction(q.function_space)
    flow = WeakFlow(
        [
            ((p - p0) / tau - (q + q0) / 2) * v * dx,
            ((q - q0) / tau + (p + p0) / 2) * w * dx,
        ],
        (p, q),
        previous=(p0, q0),
        tau=tau,
    )
    p.x.array[:] = 1.0
    history = evolve(flow, until=1.0, tau=0.1)
    angle = 20 * np.arctan(0.05)
    assert np.abs(nodal(p) - np.cos(angle)).max() < 1e-12
    assert np.abs(nodal(q) + np.sin(angle)).max() < 1e-12
    assert np.isnan(history["energy"]).all()


def test_a_weak_step_that_fails_takes_everything_back():
    V = fem.functionspace(mesh.interval(h=0.5), ("Lagrange", 1))
    flow = crank_nicolson(V, lambda u, w: -(u**2 + 1) * w * dx)
    flow.state.x.array[:] = 1.0
    with pytest.raises(StepFailed, match="weak: the step of size 10"):
        flow.step(10.0)  # 10 ((u + 1)^2 / 4 + 1) = 1 - u has no solution
    assert np.all(flow.state.x.array == 1.0)
    assert flow.time == 0
    assert abs(total(flow.state * dx) - 1) < 1e-14


def test_a_residual_needs_one_test_function():
    V = fem.functionspace(mesh.interval(h=0.5), ("Lagrange", 1))
    u, v, tau = fem.Function(V), fem.Function(V), fem.Constant(V.mesh, 1.0)
    for residual in ((u - v) ** 2 * dx, [u * TestFunction(V) * dx] * 2):
        with pytest.raises(ValueError, match="one residual form with one TestFunction"):
            WeakFlow(residual, u, previous=v, tau=tau)


def test_adaptive_steps_serve_a_weak_form():
    # Implicit Euler for u' = -u: the error goes down with the tolerance, as its square root.
    V = fem.functionspace(mesh.interval(h=0.5), ("Lagrange", 1))
    errors, counts = [], []
    for tolerance in (1e-3, 1e-4):
        u, v = fem.Function(V), fem.Function(V)
        tau = fem.Constant(V.mesh, default_scalar_type(1.0))
        residual = (u - v + tau * u) * TestFunction(V) * dx
        flow = WeakFlow(residual, u, previous=v, tau=tau)
        u.x.array[:] = 1.0
        history = evolve(flow, 1.0, Adaptive(1e-4, tolerance=tolerance))
        assert flow.time == 1.0
        errors.append(float(np.abs(nodal(u) - np.exp(-1)).max()))
        counts.append(len(history["t"]))
    assert 2 < errors[0] / errors[1] < 5
    assert errors[0] < 2e-2
    assert counts[0] < counts[1]
