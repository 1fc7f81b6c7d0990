"""Any state, any cell: the step is the equation that the theory says, linear ones build once."""

from flows import (
    AVF,
    L2,
    Dissipation,
    GradientFlow,
    HMinus1,
    MinimizingMovement,
    StepFailed,
    energy,
    evolve,
    mesh,
)
from flows.matrix import Matrix

import numpy as np
import pytest
import ufl
from dolfinx import default_scalar_type, fem
from dolfinx.fem.petsc import LinearProblem
from dolfinx.la import InsertMode
from dolfinx.mesh import CellType, exterior_facet_indices
from tools import comm, error, nodal, total, waves
from ufl import TestFunction, avg, cos, dS, ds, dx, grad, inner, jump

LU = {"ksp_type": "preonly", "pc_type": "lu", "pc_factor_mat_solver_type": "mumps"}


def interpolate(u):
    """A smooth field with a wave in each component."""
    size = int(np.prod(u.ufl_shape, dtype=int))
    u.interpolate(lambda x: np.array([waves(k)(x) for k in range(size)]).reshape(size, -1))


def boundary(V):
    """Degrees of freedom on the boundary."""
    domain = V.mesh
    dim = domain.topology.dim - 1
    domain.topology.create_connectivity(dim, dim + 1)
    return fem.locate_dofs_topological(V, dim, exterior_facet_indices(domain.topology))


STATES = {
    "interval P2": (lambda: mesh.interval(h=0.1), 2, ()),
    "triangles P1": (lambda: mesh.rectangle(h=0.2), 1, ()),
    "triangles P3 tensor": (lambda: mesh.rectangle(h=0.5), 3, (2, 2)),
    "quadrilaterals P2 vector": (
        lambda: mesh.rectangle(h=0.25, cell=CellType.quadrilateral),
        2,
        (2,),
    ),
    "tetrahedra P1 vector": (lambda: mesh.box(h=0.5), 1, (3,)),
    "hexahedra P2": (lambda: mesh.box(h=0.5, cell=CellType.hexahedron), 2, ()),
    "surface P2": (lambda: mesh.sphere(refinements=1), 2, ()),
    "curve P1": (lambda: mesh.circle(n=20), 1, ()),
}


@pytest.mark.parametrize("case", STATES.values(), ids=STATES.keys())
def test_a_step_in_l2_is_implicit_euler_of_the_equation(case):
    build, degree, shape = case
    V = fem.functionspace(build(), ("Lagrange", degree, shape))
    u, v = fem.Function(V), fem.Function(V)
    flow = GradientFlow(energy.dirichlet(u, 0.5) + 0.5 * inner(u, u) * ds, u, L2(2.0))
    interpolate(u)
    v.x.array[:] = u.x.array
    before = flow.energy()
    report = flow.step(0.1)
    a, b = ufl.TrialFunction(V), ufl.TestFunction(V)
    form = (2 * inner(a, b) + 0.05 * inner(grad(a), grad(b))) * dx + 0.1 * inner(a, b) * ds
    exact = LinearProblem(
        form, 2 * inner(v, b) * dx, petsc_options_prefix="exact_", petsc_options=LU
    ).solve()
    assert total(inner(u - exact, u - exact) * dx) < 1e-18
    price = total(inner(u - v, u - v) * dx) / 0.1
    assert abs(report.movement - price) < 1e-11
    assert report.energy + price < before


def test_discontinuous_states_flow_by_energies_on_facets():
    # The symmetric interior penalty method is the flow of one energy.
    domain = mesh.rectangle(h=0.2)
    V = fem.functionspace(domain, ("Discontinuous Lagrange", 1))
    u, v = fem.Function(V), fem.Function(V)
    n, sigma = ufl.FacetNormal(domain), 40.0

    def penalty(a, b):
        return (sigma * jump(a) * jump(b) - inner(avg(grad(a)), jump(b, n))) * dS

    flow = GradientFlow(energy.dirichlet(u) + 0.5 * (penalty(u, u) - _flux(u, u, n)), u, L2())
    interpolate(u)
    v.x.array[:] = u.x.array
    flow.step(0.01)
    a, b = ufl.TrialFunction(V), ufl.TestFunction(V)
    form = a * b * dx + 0.01 * (inner(grad(a), grad(b)) * dx + penalty(a, b) - _flux(b, a, n))
    exact = LinearProblem(form, v * b * dx, petsc_options_prefix="exact_", petsc_options=LU).solve()
    assert error(u, exact) < 1e-9
    assert abs(total((u - v) * dx)) < 1e-13


def _flux(a, b, n):
    return inner(avg(grad(a)), jump(b, n)) * dS


V = fem.functionspace(mesh.rectangle(h=0.125), ("Lagrange", 1))


def fields(count):
    """States on clones of one space, with waves of different seeds."""
    made = tuple(fem.Function(V.clone(), name=f"u{i}") for i in range(count))
    for i, u in enumerate(made):
        u.interpolate(waves(i, mean=0.1 * i))
    return made


def test_allen_cahn_coupled_to_cahn_hilliard():
    # Minimiser and saddle in one step; the residuals of both equations, written by hand, vanish.
    eta, c = fields(2)
    old = [eta.copy(), c.copy()]
    coupling = 0.5 * c**2 * eta**2 * dx
    E = energy.ginzburg_landau(eta, 0.2) + energy.ginzburg_landau(c, 0.2) + coupling
    flow = GradientFlow(E, (eta, c), (L2(0.2), HMinus1(0.5)))
    mass = total(c * dx)
    history = evolve(flow, steps=2, tau=1e-3)
    assert abs(total(c * dx) - mass) < 1e-12
    assert np.all(history["defect"] <= 0)
    old = [eta.copy(), c.copy()]
    flow.step(1e-3)
    (mu,) = flow.potentials
    v = TestFunction(V)
    well = lambda s: (s**3 - s) / 0.2
    residuals = (
        0.2 * (eta - old[0]) / 1e-3 * v * dx
        + (0.2 * inner(grad(eta), grad(v)) + (well(eta) + c**2 * eta) * v) * dx,
        (c - old[1]) / 1e-3 * v * dx + 0.5 * inner(grad(mu), grad(v)) * dx,
        (mu * v - 0.2 * inner(grad(c), grad(v)) - (well(c) + eta**2 * c) * v) * dx,
    )
    for residual in residuals:
        b = fem.assemble_vector(fem.form(residual))
        b.scatter_reverse(InsertMode.add)
        assert comm.allreduce(np.abs(b.array[: V.dofmap.index_map.size_local]).max()) < 1e-10


def test_auxiliary_fields_split_an_operator_of_higher_order():
    # Swift-Hohenberg: with q = (1 + Laplace) u the wave cos(kx) decays at the rate (1 - k^2)^2 - r.
    domain = mesh.interval(stop=np.pi, h=np.pi / 64)
    W = fem.functionspace(domain, ("Lagrange", 2))
    u, q = fem.Function(W, name="u"), fem.Function(W.clone(), name="q")
    r = 0.2
    E = (q * u - inner(grad(q), grad(u)) - 0.5 * q**2 - 0.5 * r * u**2) * dx
    for k in (1, 2):
        flow = GradientFlow(E, u, L2(), auxiliary=[q])
        u.interpolate(lambda x, k=k: np.cos(k * x[0]))
        rate = (1 - k**2) ** 2 - r
        assert abs(flow.energy() - np.pi / 4 * rate) < 1e-4
        flow.step(0.05)
        factor = total(u * cos(k * ufl.SpatialCoordinate(domain)[0]) * dx) / (np.pi / 2)
        assert abs(factor - 1 / (1 + 0.05 * rate)) < 1e-5


def test_an_energy_on_the_boundary_is_a_robin_condition():
    # -u' = k u at the ends of [0, 1]: with tan(w) matched, cos(w (x - 1/2)) decays at the rate w^2.
    w = 1.7
    k = w * np.tan(w / 2)
    domain = mesh.interval(h=1 / 32)
    u = fem.Function(fem.functionspace(domain, ("Lagrange", 2)))
    flow = GradientFlow(energy.dirichlet(u) + 0.5 * k * u**2 * ds, u, L2())
    u.interpolate(lambda x: np.cos(w * (x[0] - 0.5)))
    flow.step(0.1)
    exact = cos(w * (ufl.SpatialCoordinate(domain)[0] - 0.5)) / (1 + 0.1 * w**2)
    assert error(u, exact) < 1e-6


@pytest.mark.parametrize("scheme", [MinimizingMovement(), AVF()], ids=["MM", "AVF"])
def test_sources_feed_the_equation_and_the_balance(scheme):
    (u,) = fields(1)
    t = fem.Constant(V.mesh, default_scalar_type(0.0))
    source = (1 + t) * TestFunction(u.function_space) * dx
    for metric in (L2(), HMinus1()):
        interpolate(u)
        t.value = 0.0
        flow = GradientFlow(energy.dirichlet(u), u, metric, scheme=scheme, source=source, time=t)
        mass = total(u * dx)
        for _ in range(4):
            flow.step(0.1)
        gained = 0.4 + (0.08 if isinstance(scheme, AVF) else 0.1)
        assert abs(total(u * dx) - mass - gained) < 1e-11
        assert t.value == pytest.approx(0.4)


def test_a_drift_may_depend_on_the_state():
    # u' = u'' - b u': the drift is no gradient of the energy; implicit Euler by hand.
    u, v = fields(2)
    b = ufl.as_vector([2.0, 1.0])
    drift = -inner(b, grad(u)) * TestFunction(u.function_space) * dx
    flow = GradientFlow(energy.dirichlet(u), u, L2(), source=drift)
    v.x.array[:] = u.x.array
    flow.step(0.05)
    a, w = ufl.TrialFunction(V), TestFunction(V)
    form = (a * w + 0.05 * inner(grad(a), grad(w)) + 0.05 * inner(b, grad(a)) * w) * dx
    exact = LinearProblem(form, v * w * dx, petsc_options_prefix="exact_", petsc_options=LU).solve()
    assert error(u, exact) < 1e-10


@pytest.mark.parametrize("scheme", [MinimizingMovement(), AVF()], ids=["MM", "AVF"])
def test_moving_boundary_values_enter_the_balance(scheme):
    # u = x + t/2 (x^2 - x + 2) solves u' = u'' + f; the ends move, the law holds with their work.
    domain = mesh.interval(h=0.1)
    W = fem.functionspace(domain, ("Lagrange", 2))
    u, g = fem.Function(W), fem.Function(W)
    x = ufl.SpatialCoordinate(domain)[0]
    time = fem.Constant(domain, default_scalar_type(0.0))
    f = 0.5 * (x**2 - x + 2) - time
    exact = lambda t: lambda x: x[0] + 0.5 * t * (x[0] ** 2 - x[0] + 2)
    flow = GradientFlow(
        energy.dirichlet(u),
        u,
        L2(),
        scheme=scheme,
        bcs=[fem.dirichletbc(g, boundary(W))],
        source=f * TestFunction(W) * dx,
        time=time,
        on_time=lambda t: g.interpolate(exact(t)),
    )
    u.interpolate(exact(0))
    for tau in (0.1, 0.3, 0.05):
        report = flow.step(tau)
        # The solution is linear in time: both schemes are exact.
        assert error(u, x + 0.5 * report.t * (x**2 - x + 2)) < 1e-11
    if isinstance(scheme, AVF):
        assert abs(report.defect) < 1e-10


def test_linear_flows_build_their_matrix_once_for_each_step_size(monkeypatch):
    calls, assemble = [], Matrix.assemble

    def counted(*args):
        calls.append(args)
        return assemble(*args)

    monkeypatch.setattr(Matrix, "assemble", counted)
    # A quadratic energy in a constant metric: two matrices serve steps of all sizes.
    for metric, expected in ((L2(), (2, 2, 2)), (HMinus1(), (1, 2, 3))):
        (u,) = fields(1)
        calls.clear()
        flow = GradientFlow(energy.dirichlet(u), u, metric)
        assert flow.solver.linear
        for taus, built in zip((10 * [0.01], 5 * [0.02], [0.01]), expected, strict=True):
            for tau in taus:
                assert flow.step(tau).iterations == 1
            assert len(calls) == built
    assert not GradientFlow(u**4 * dx, u, L2()).solver.linear
    assert not GradientFlow(u**2 * dx, u, Dissipation(lambda r: r**4 * dx)).solver.linear


def test_a_metric_that_changes_rebuilds_the_matrix():
    (u,) = fields(1)
    flow = GradientFlow(u**2 / 2 * dx, u, L2(1 + u**2))
    u.x.array[:] = 1.0
    value = 1.0
    for _ in range(3):
        flow.step(0.5)
        value *= (1 + value**2) / (1 + value**2 + 0.5)
        assert np.abs(nodal(u) - value).max() < 1e-12


def test_a_step_that_fails_leaves_everything_as_it_was():
    (u,) = fields(1)
    flow = GradientFlow(
        energy.ginzburg_landau(u, 0.05), u, HMinus1(), petsc_options={"snes_max_it": 1}
    )
    flow.settle()
    kept, time = u.x.array.copy(), flow.time
    potential = flow.potentials[0].x.array.copy()
    with pytest.raises(StepFailed, match=r"step of size 1 from t = 0 failed: .*Try a smaller tau"):
        flow.step(1.0)
    assert np.array_equal(u.x.array, kept)
    assert np.array_equal(flow.potentials[0].x.array, potential)
    assert flow.time == time
    assert flow.report is None


def test_energies_that_leave_their_domain_are_refused():
    (u,) = fields(1)
    flow = GradientFlow(10 * ufl.sqrt(u) * dx, u, L2())
    u.x.array[:] = 1.0
    with pytest.raises(StepFailed):
        flow.step(1.0)  # no positive number solves u - 1 + 5 / sqrt(u) = 0
    assert np.all(u.x.array == 1.0)
    flow.step(0.01)
    assert np.abs(nodal(u) + 0.05 / nodal(u) ** 0.5 - 1).max() < 1e-10
