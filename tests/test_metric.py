"""The metric turns an energy into its equation; scalar recursions and dense matrices check it."""

from flows import (
    AVF,
    BDF2,
    L2,
    Dissipation,
    GradientFlow,
    HMinus1,
    MinimizingMovement,
    Onsager,
    energy,
    mesh,
)

import numpy as np
import pytest
import ufl
from dolfinx import fem
from dolfinx.fem.petsc import LinearProblem
from scipy.optimize import brentq, root
from tools import Interval, nodal, total, waves
from ufl import dx, grad, inner

LINE, EPS, TAU = Interval(12), 0.2, 1e-3
DOMAIN = mesh.interval(h=1 / 12)
V = fem.functionspace(DOMAIN, ("Lagrange", 1))


def start(u, seed=1):
    u.interpolate(waves(seed, mean=0.3))
    return nodal(u)


def step(build, steps=1):
    """Nodal values after some steps of a flow built on a fresh state."""
    u = fem.Function(V, name="u")
    flow = build(u)
    start(u)
    for _ in range(steps):
        flow.step(TAU)
    return nodal(u)


def quadratic(u):
    return energy.dirichlet(u) + 0.5 * u**2 * dx


def test_one_energy_two_metrics_are_allen_cahn_and_cahn_hilliard():
    u = fem.Function(V)
    v, M, K = start(u), LINE.M, LINE.K

    def slope(w):
        return EPS * K @ w + LINE.load(lambda s: (s**3 - s) / EPS, w)

    allen_cahn = root(lambda w: M @ (w - v) / TAU + slope(w), v, tol=1e-14).x
    flux = K @ np.linalg.inv(M)
    cahn_hilliard = root(lambda w: M @ (w - v) / TAU + flux @ slope(w), v, tol=1e-14).x
    for metric, exact in ((L2(), allen_cahn), (HMinus1(), cahn_hilliard)):
        found = step(lambda u, m=metric: GradientFlow(energy.ginzburg_landau(u, EPS), u, m))
        assert np.abs(found - exact).max() < 1e-10
    assert np.abs(allen_cahn - cahn_hilliard).max() > 1e-3


def test_metrics_add_their_dual_potentials():
    # u' = a Laplace mu - mu / w
    v, M, A = start(fem.Function(V)), LINE.M, LINE.K + LINE.M
    rate = (0.1 * LINE.K + M / 2) @ np.linalg.solve(M, A)
    exact = np.linalg.solve(M + TAU * rate, M @ v)
    found = step(lambda u: GradientFlow(quadratic(u), u, HMinus1(0.1) + L2(2)))
    assert np.abs(found - exact).max() < 1e-11


MM = MinimizingMovement()
TWICE = {
    "Onsager": (MM, HMinus1(0.5), Onsager(lambda xi: 0.25 * inner(grad(xi), grad(xi)) * dx)),
    "Onsager, AVF": (
        AVF(),
        HMinus1(0.5),
        Onsager(lambda xi: 0.25 * inner(grad(xi), grad(xi)) * dx),
    ),
    "mobilities add": (BDF2(), HMinus1(0.5), HMinus1(0.2) + HMinus1(0.3)),
    "Dissipation": (BDF2(), L2(3.0), Dissipation(lambda rate: 1.5 * rate**2 * dx)),
    "dual of L2": (AVF(), L2(1 / 3), Onsager(lambda xi: 1.5 * xi**2 * dx)),
    "resistors": (MM, L2(1.2), L2(2.0) + L2(3.0)),
}


@pytest.mark.parametrize("case", TWICE.values(), ids=TWICE.keys())
def test_one_metric_stated_in_two_ways(case):
    scheme, *metrics = case
    first, second = (
        step(lambda u, m=m: GradientFlow(energy.ginzburg_landau(u, EPS), u, m, scheme=scheme), 3)
        for m in metrics
    )
    assert np.abs(first - second).max() < 1e-10


def test_movement_is_the_same_in_both_statements_of_a_metric():
    found = []
    for metric in (L2(3.0), Onsager(lambda xi: inner(xi, xi) / 6 * dx)):
        u = fem.Function(V)
        flow = GradientFlow(quadratic(u), u, metric)
        v = start(u)
        found.append(flow.step(TAU).movement)
        change = nodal(u) - v
        assert abs(found[-1] - 3 * change @ LINE.M @ change / (2 * TAU)) < 1e-12 * found[0]


def test_a_dissipation_need_not_be_quadratic():
    # psi = V^4 / 4 and E = u^2 / 2: the rate is the cube root of the force.
    u = fem.Function(V)
    flow = GradientFlow(u**2 / 2 * dx, u, Dissipation(lambda rate: rate**4 / 4 * dx))
    u.x.array[:] = 1.0
    report = flow.step(0.1)
    exact = brentq(lambda w: ((w - 1) / 0.1) ** 3 + w, 0, 1, xtol=1e-15)
    assert np.abs(nodal(u) - exact).max() < 1e-9
    assert abs(report.movement - 0.1 * ((exact - 1) / 0.1) ** 4 / 4) < 1e-9


# One number, E = u^2 / 2 and the weight 1 + u^2: where the weight is taken, the scheme decides.
FROZEN = {
    "minimizing movement": (MM, lambda w, v, _: (1 + v**2) * (w - v) + 0.1 * w),
    "AVF": (AVF(), lambda w, v, _: (1 + (w + v) ** 2 / 4) * (w - v) + 0.05 * (w + v)),
    "BDF2": (
        BDF2(),
        lambda w, v, o: (
            (1 + v**2) * (w - v) + 0.1 * w
            if o is None
            else (1 + (2 * v - o) ** 2) * (1.5 * w - 2 * v + 0.5 * o) + 0.1 * w
        ),
    ),
}


@pytest.mark.parametrize("case", FROZEN.values(), ids=FROZEN.keys())
@pytest.mark.parametrize("dual", [False, True], ids=["psi", "psi*"])
def test_weights_in_the_state_are_frozen_where_the_scheme_says(case, dual):
    scheme, residual = case
    u = fem.Function(V)
    metric = Onsager(lambda xi: xi**2 / (2 + 2 * u**2) * dx) if dual else L2(1 + u**2)
    flow = GradientFlow(u**2 / 2 * dx, u, metric, scheme=scheme)
    u.x.array[:] = 1.0
    past, value = None, 1.0
    for _ in range(3):
        flow.step(0.1)
        new = brentq(residual, 0, 2, args=(value, past), xtol=1e-15)
        past, value = value, new
        assert np.abs(nodal(u) - value).max() < 1e-9


def test_matrix_mobility_is_anisotropic_diffusion():
    domain = mesh.rectangle(h=0.125)
    W = fem.functionspace(domain, ("Lagrange", 2))
    u, v = fem.Function(W), fem.Function(W)
    mobility = ufl.as_matrix([[2.0, 0.5], [0.5, 1.0]]) * (1 + ufl.SpatialCoordinate(domain)[0])
    flow = GradientFlow(u**2 / 2 * dx, u, HMinus1(mobility))
    u.interpolate(waves(4))
    v.x.array[:] = u.x.array
    report = flow.step(0.02)
    a, b = ufl.TrialFunction(W), ufl.TestFunction(W)
    problem = LinearProblem(
        (a * b + 0.02 * inner(mobility * grad(a), grad(b))) * dx,
        v * b * dx,
        petsc_options_prefix="reference_",
        petsc_options={
            "ksp_type": "preonly",
            "pc_type": "lu",
            "pc_factor_mat_solver_type": "mumps",
        },
    )
    exact = problem.solve()
    assert total((u - exact) ** 2 * dx) < 1e-22
    assert report.movement > 0
    assert abs(report.movement - 0.01 * total(inner(mobility * grad(u), grad(u)) * dx)) < 1e-10


def test_one_metric_may_couple_two_states():
    # The exchange A <-> B moves what one loses to the other, and relaxes the difference.
    a, b = fem.Function(V, name="a"), fem.Function(V, name="b")
    exchange = Onsager(lambda xi: 0.5 * (xi[0] - xi[1]) ** 2 * dx)
    flow = GradientFlow((a**2 + b**2) / 2 * dx, (a, b), exchange)
    first, second = start(a, 1), start(b, 2)
    flow.step(0.3)
    assert np.abs(nodal(a) + nodal(b) - first - second).max() < 1e-12
    assert np.abs(nodal(a) - nodal(b) - (first - second) / 1.6).max() < 1e-12


def test_what_has_no_dual_says_so():
    with pytest.raises(ValueError, match="state it as Onsager"):
        Dissipation(lambda rate: rate**2 * dx).psi_star(None, None)
    with pytest.raises(ValueError, match="its step uses psi"):
        HMinus1().psi(None, None)
    with pytest.raises(TypeError):
        L2() + 1
