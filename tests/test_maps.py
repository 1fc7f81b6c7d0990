"""Maps into spheres, tori and level sets: exact solutions, energy laws, singularities."""

from itertools import pairwise

import flows
from flows.maps import LevelSet, Sphere, Torus, tangents
from flows.mesh import disk, interval, sphere

import numpy as np
import pytest
import ufl
from dolfinx import fem
from dolfinx.mesh import (
    CellType,
    create_box,
    create_unit_square,
    exterior_facet_indices,
)
from mpi4py import MPI
from scipy.integrate import solve_ivp
from scipy.sparse import diags
from test_bad_input import refused
from tools import comm, order, total
from ufl import dx, grad, inner

TIGHT = {"ksp_rtol": 1e-13}


def points(dim, n=200):
    """Random points, and those where bases of tangents have their branches."""
    axes = np.eye(dim)
    return np.vstack([np.random.default_rng(1).normal(size=(n, dim)), axes, -axes])


def space(domain, dim=3):
    return fem.functionspace(domain, ("Lagrange", 1, (dim,)))


def framed(domain, values, target=None, **options):
    """A flow that starts from some values, and keeps them along the boundary."""
    target = target or Sphere(2)
    V, tdim = space(domain, target.dim), domain.topology.dim
    domain.topology.create_connectivity(tdim - 1, tdim)
    rim = fem.locate_dofs_topological(V, tdim - 1, exterior_facet_indices(domain.topology))
    g = fem.Function(V)
    g.interpolate(values)
    flow = flows.harmonic_map(V, target, bcs=[fem.dirichletbc(g, rim)], **options)
    flow.state.x.array[:] = g.x.array
    return flow


def corotational(angle):
    """The map of the disk that turns by an angle of the radius towards the radius."""

    def values(x):
        r = np.hypot(x[0], x[1])
        return np.vstack([np.sin(angle(r)) * x[:2] / np.where(r > 0, r, 1), np.cos(angle(r))])

    return values


def twisted(x):
    """A smooth map of anything into space that is nowhere zero."""
    p, q = 2 * np.cos(3 * x[0] + x[1]), 2 * np.sin(2 * x[1] - x[2])
    return np.array([np.sin(p) * np.cos(q), np.sin(p) * np.sin(q), np.cos(p)])


def wild(on=comm, **options):
    """A flow on the disk from a map that turns fast, its boundary free."""
    flow = flows.harmonic_map(disk(h=0.2, comm=on), Sphere(2), **options)
    flow.state.interpolate(twisted)
    return flow


def values(flow):
    return flow.state.x.array.reshape(-1, flow.target.dim)


def off(flow, target=None):
    """The largest distance from the target."""
    return comm.allreduce((target or flow.target).distance(values(flow)).max(), MPI.MAX)


# -- targets ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("dim", [2, 3, 4])
def test_tangents_are_an_orthonormal_basis_everywhere(dim):
    n = Sphere(dim - 1).normal(points(dim))
    T = tangents(n)
    assert np.abs(np.einsum("nai,na->ni", T, n)).max() < 1e-15
    assert np.abs(np.einsum("nai,naj->nij", T, T) - np.eye(dim - 1)).max() < 2e-15


def test_a_torus_knows_its_closest_points():
    torus, x = Torus(1.0, 0.4), points(3)[:200]
    near = torus.project(x)
    assert (
        np.abs((np.hypot(near[:, 0], near[:, 1]) - 1) ** 2 + near[:, 2] ** 2 - 0.16).max() < 1e-15
    )
    gap, n = x - near, torus.normal(near)
    assert np.abs(gap - (gap * n).sum(axis=1, keepdims=True) * n).max() < 1e-14


def test_a_level_set_is_reached_and_known_by_its_gradient():
    V = space(create_unit_square(comm, 4, 4))
    bound = LevelSet(lambda u: u[0] ** 2 / 4 + u[1] ** 2 + u[2] ** 2 - 1).at(V)
    u = fem.Function(V)
    u.interpolate(lambda x: 0.8 * twisted(x))
    x = bound.project(u.x.array.reshape(-1, 3))
    scale = np.array([0.25, 1, 1])
    assert np.abs((scale * x**2).sum(axis=1) - 1).max() < 1e-14
    gradient = scale * x / np.linalg.norm(scale * x, axis=1, keepdims=True)
    assert np.abs(bound.normal(x) - gradient).max() < 1e-14


# -- the step --------------------------------------------------------------------------------------
class Plain(Sphere):
    """A sphere without the projection."""

    def project(self, x):
        return x


def test_the_energy_law_of_a_tangent_step_is_exact():
    flow = wild(scheme=flows.MinimizingMovement(), petsc_options=TIGHT)
    flow.target = Plain(2)
    u, mass, tau = flow.state, flow.solver.mass, 0.01
    n = u.function_space.dofmap.index_map.size_local
    for _ in range(3):
        E, old, length = flow.energy(), values(flow).copy(), np.linalg.norm(values(flow), axis=1)
        flow.step(tau)
        rate = (values(flow) - old) / tau
        new = flow.energy()
        speed = (rate**2).sum(axis=1)
        assert np.allclose(np.linalg.norm(values(flow), axis=1) ** 2, length**2 + tau**2 * speed)
        kept = u.x.array.copy()
        u.x.array[:] = rate.ravel()
        bent = total(flow.functional)
        u.x.array[:] = kept
        flow.settle()
        paid = tau * comm.allreduce(mass[:n] @ speed[:n]) + tau**2 * bent
        assert abs(new + paid - E) < 1e-12 * E


def test_a_minimizing_movement_falls_by_what_it_moves_on_any_mesh():
    flow = wild(scheme=flows.MinimizingMovement())
    history = flows.evolve(flow, steps=8, tau=0.05)
    E = history["energy"]
    assert (np.diff(E) + history["movement"][1:] <= 1e-12 * E[0]).all()
    assert history["defect"].max() <= 1e-12 * E[0]
    assert off(flow) < 1e-14


def test_a_step_is_that_of_the_saddle_problem_for_any_quadratic_energy():
    """Dense, with the constraint kept by multipliers."""
    domain = interval(h=0.2, comm=MPI.COMM_SELF)
    bend = fem.Constant(domain, 0.5)

    def energy(u):
        slope = u.dx(0)
        return (inner(slope, slope) / 2 + bend * slope[0] * slope[1] + slope[2] ** 2 - u[1]) * dx

    def start(x):
        return twisted(x) / np.linalg.norm([[0.5], [1], [1]] * twisted(x), axis=0)

    ellipsoid = LevelSet(lambda u: u[0] ** 2 / 4 + u[1] ** 2 + u[2] ** 2 - 1)
    V = space(domain)
    flow = framed(
        domain,
        start,
        ellipsoid,
        energy=energy,
        scheme=flows.MinimizingMovement(),
        petsc_options={"ksp_type": "preonly", "pc_type": "cholesky"},
    )
    u, tau, N = flow.state, 0.02, V.dofmap.index_map.size_local
    flow.settle()
    free = np.setdiff1d(np.arange(3 * N), flow.solver.fixed)
    for bend.value in (0.5, 0.2):
        force = ufl.derivative(flow.functional, u)
        K = fem.assemble_matrix(fem.form(ufl.derivative(force, u))).to_dense()
        b = fem.assemble_vector(fem.form(force)).array
        C = np.zeros((N, 3 * N))
        for i, n in enumerate(flow.target.normal(values(flow))):
            C[i, 3 * i : 3 * i + 3] = n
        inside = np.unique(free // 3)
        C, A = C[np.ix_(inside, free)], np.diag(np.repeat(flow.solver.mass, 3)) + tau * K
        saddle = np.block([[A[np.ix_(free, free)], C.T], [C, np.zeros((len(C), len(C)))]])
        v = np.zeros(3 * N)
        v[free] = np.linalg.solve(saddle, np.append(-b[free], np.zeros(len(C))))[: free.size]
        expected = flow.target.project(values(flow) + tau * v.reshape(-1, 3))
        flow.step(tau)
        assert np.abs(values(flow) - expected).max() < 1e-12


def circle(n, steps, scheme, tau=None, until=0.1):
    """Error of maps into the circle, and the flow."""
    flow = flows.harmonic_map(create_unit_square(comm, n, n), Sphere(1), scheme=scheme)

    def angle(x, t, cos):
        return 2 * np.exp(-2 * np.pi**2 * t) * cos(np.pi * x[0]) * cos(np.pi * x[1])

    flow.state.interpolate(lambda x: [f(angle(x, 0, np.cos)) for f in (np.cos, np.sin)])
    history = flows.evolve(flow, until, tau or until / steps)
    p = angle(ufl.SpatialCoordinate(flow.mesh), until, ufl.cos)
    gap = flow.state - ufl.as_vector([ufl.cos(p), ufl.sin(p)])
    assert np.diff(history["energy"]).max() < 0
    assert off(flow) < 1e-14
    return total(inner(gap, gap) * dx(degree=6)) ** 0.5, history["t"].size - 1


def test_maps_into_the_circle_converge_at_second_order_by_bdf2():
    sizes = (16, 32, 64)
    errors = [circle(n, 5 * n // 8, flows.BDF2())[0] for n in sizes]
    assert order(1 / np.array(sizes), errors) > 1.9, errors
    assert errors[-1] < 6e-4


def test_adaptive_steps_keep_the_order():
    errors, steps = np.transpose(
        [
            circle(64, 0, flows.BDF2(), tau=flows.Adaptive(1e-4, tolerance=tolerance))
            for tolerance in (3e-2, 1e-3)
        ]
    )
    slope = np.log(errors[1] / errors[0]) / np.log(steps[1] / steps[0])
    assert slope < -1.7, (errors, steps)


def radial(angle, until, n=400):
    """The corotational flow by finite differences: the angle at n + 1 radii."""
    r = np.linspace(0, 1, n + 1)[1:-1]
    h, p = 1 / n, angle(np.linspace(0, 1, n + 1))

    def rate(_, q):
        full = np.concatenate([p[:1], q, p[-1:]])
        second, first = np.diff(full, 2) / h**2, (full[2:] - full[:-2]) / (2 * h)
        return second + first / r - np.sin(2 * q) / (2 * r**2)

    band = diags([1.0, 1.0, 1.0], [-1, 0, 1], shape=(n - 1, n - 1))
    run = solve_ivp(rate, (0, until), p[1:-1], "BDF", rtol=1e-7, atol=1e-9, jac_sparsity=band)
    return np.concatenate([p[:1], run.y[:, -1], p[-1:]])


def test_maps_of_the_disk_follow_the_radial_equation_at_second_order():
    def angle(r):
        return 0.7 * np.pi * np.sin(np.pi * r / 2)

    exact = radial(angle, 0.05)
    grid, errors, sizes = np.linspace(0, 1, exact.size), [], (0.2, 0.1, 0.05)
    for h in sizes:
        flow = framed(disk(h=h), corotational(angle))
        history = flows.evolve(flow, 0.05, 0.05 * h)
        assert np.diff(history["energy"]).max() < 0
        gap = fem.Function(flow.state.function_space)
        gap.interpolate(corotational(lambda r: np.interp(r, grid, exact)))
        gap.x.array[:] -= flow.state.x.array
        errors.append(total(inner(gap, gap) * dx) ** 0.5)
    assert order(sizes, errors) > 1.8, errors


def test_a_curve_becomes_a_geodesic():
    turn, n = 2.0, 16

    def bent(x):
        out = 1.5 * np.sin(np.pi * x[0])
        s = turn * x[0] ** 2
        return np.array([np.cos(out) * np.cos(s), np.cos(out) * np.sin(s), np.sin(out)])

    flow = framed(interval(h=1 / n), bent)
    history = flows.evolve(flow, steps=120, tau=flows.Relax(0.01, largest=0.5))
    assert history["energy"][-1] == pytest.approx(n**2 * (1 - np.cos(turn / n)), rel=1e-9)


def test_a_sphere_in_a_torus_contracts():
    torus = Torus(1.0, 0.4)
    flow = flows.harmonic_map(sphere(refinements=3), torus)

    def wound(x):
        a, b = 2 * x[0] + x[1], 2.5 * x[2] + x[0] * x[1]
        rho = 1 + 0.4 * np.cos(b)
        return np.array([rho * np.cos(a), rho * np.sin(a), 0.4 * np.sin(b)])

    flow.state.interpolate(wound)
    history = flows.evolve(flow, 3.0, flows.Adaptive(1e-3, tolerance=1e-2, largest=0.1))
    E = history["energy"]
    assert np.diff(E).max() < 0
    assert E[-1] < 1e-2 * E[0]
    assert off(flow) < 1e-13


def test_the_energy_of_the_hedgehog_is_approached_at_first_order():
    errors, sizes = [], (4, 6, 8)
    for n in sizes:
        box = create_box(comm, [[-0.5] * 3, [0.5] * 3], [n] * 3)
        flow = framed(box, lambda x: x / np.linalg.norm(x + 1e-12, axis=0))
        flow.state.interpolate(lambda x: x + 0.15 * np.sin(3 * x[[1, 2, 0]]) + 1e-3)
        history = flows.evolve(flow, steps=15, tau=3e-2)
        assert np.diff(history["energy"]).max() < 0
        assert not history.events
        errors.append(7.674124 - history["energy"][-1])
    assert min(errors) > 0
    assert order(1 / np.array(sizes), errors) == pytest.approx(1, abs=0.2)


# -- what a run promises ---------------------------------------------------------------------------
def test_a_bubble_is_an_event_with_its_quantum_and_the_run_goes_on():
    flow = framed(disk(h=0.08), corotational(lambda r: 1.5 * np.pi * r * (2 - r)))
    history = flows.evolve(flow, 0.4, flows.Fixed(4e-3))
    E = history["energy"]
    (event,) = history.events
    assert event.kind == "bubble"
    assert not event.final
    assert 0.02 < event.estimate < event.t < 0.12
    assert np.hypot(*event.place[:2]) < 0.1
    k = np.searchsorted(history["t"], event.t)
    assert 0.8 < (E[0] - E[k]) / (4 * np.pi) < 1.6
    assert flow.time == 0.4
    assert E[-1] == pytest.approx(2 * np.pi, rel=1e-2)
    assert np.diff(E).max() <= 1e-12 * E[0]


def test_a_step_that_would_raise_the_energy_is_taken_back_and_cut():
    """Projection to a target that is not convex may raise it."""
    flow = flows.harmonic_map(
        create_unit_square(comm, 12, 12), Torus(1.0, 0.4), scheme=flows.MinimizingMovement()
    )
    flow.state.interpolate(lambda x: 1.2 * twisted(x) + 0.3)
    flows.evolve(flow, 2.5, 0.5)
    before = values(flow).copy()
    with pytest.raises(flows.StepFailed, match="energy law is broken"):
        flow.step(0.5)
    assert np.array_equal(values(flow), before)
    assert flow.time == 2.5
    history = flows.evolve(flow, 4.0, 0.5)
    assert history["tau"][1:].min() < 0.5
    assert all(new <= old * (1 + 1e-12) for old, new in pairwise(history["energy"]))


def test_what_a_map_does_not_resolve_from_the_start_is_no_event():
    flow = wild()
    flow.state.interpolate(lambda x: twisted(9 * x))
    assert not flows.evolve(flow, steps=20, tau=0.02).events


@pytest.mark.three_ranks
@pytest.mark.parametrize("scheme", [flows.BDF2(), flows.MinimizingMovement()])
def test_ten_digits_of_the_energy_do_not_depend_on_the_number_of_ranks(scheme):
    alone, together = (
        flows.evolve(wild(on, scheme=scheme, petsc_options=TIGHT), tau=2e-3, steps=10)["energy"]
        for on in (MPI.COMM_SELF, comm)
    )
    assert np.abs(together / alone - 1).max() < 1e-10


def test_a_resumed_run_keeps_its_past_and_its_events(tmp):
    control = flows.Adaptive(1e-3, tolerance=3e-3)
    whole, resumed = wild(), wild()
    history = flows.evolve(whole, steps=8, tau=control)
    flows.evolve(wild(), steps=4, tau=control, observers=[flows.Checkpoint(tmp / "u.h5", every=4)])
    again = flows.evolve(resumed, steps=4, tau=control, resume=tmp / "u.h5")
    assert np.abs(values(resumed) - values(whole)).max() < 1e-12
    for column in ("t", "energy", "movement"):
        assert again[column] == pytest.approx(history[column], rel=1e-12, abs=1e-12)
    assert resumed.memory()["bubble_calm"] == whole.memory()["bubble_calm"]
    again = flows.evolve(wild(MPI.COMM_SELF), steps=4, tau=control, resume=tmp / "u.h5")
    assert again["energy"] == pytest.approx(history["energy"], rel=1e-8)


def test_a_map_that_is_overwritten_begins_anew():
    flow = wild()
    first = flows.evolve(flow, steps=3, tau=1e-3)["energy"]
    flow.state.interpolate(lambda x: 3 * twisted(x))
    assert flows.evolve(flow, steps=3, tau=1e-3)["energy"] == pytest.approx(first, rel=1e-13)


def test_boundary_values_that_are_set_anew_are_taken():
    flow = framed(interval(h=0.1), lambda x: [np.cos(x[0]), np.sin(x[0]), 0 * x[0]])
    flow.step(0.1)
    g = flow.bcs[0].g
    g.x.array[:] = np.roll(g.x.array.reshape(-1, 3), 1, axis=1).ravel()
    flow.step(0.1)
    fixed = flow.solver.fixed
    assert np.abs(flow.state.x.array - g.x.array)[fixed].max(initial=0) < 1e-15


def test_a_map_that_makes_no_sense_is_refused():
    square = create_unit_square(comm, 4, 4)
    V, S, bent = space(square), Sphere(2), lambda u: 1 + inner(grad(u), grad(u))
    refused("give flows.maps.Sphere", lambda: flows.harmonic_map(square, "sphere"))
    refused("give its dimension", lambda: Sphere(0))
    refused("radii 0 < r < R", lambda: Torus(1, 2))
    refused("needs a function of u", lambda: LevelSet(1.0))
    refused("needs a scalar", lambda: flows.harmonic_map(square, LevelSet(lambda u: u)))
    refused("mesh or function space", lambda: flows.harmonic_map(3, S))
    refused("P1 functions on simplices", lambda: flows.harmonic_map(space(square, 2), S))
    quads = create_unit_square(comm, 4, 4, CellType.quadrilateral)
    refused("P1 functions on simplices", lambda: flows.harmonic_map(quads, S))
    refused("by flows.BDF2", lambda: flows.harmonic_map(V, S, scheme=flows.AVF()))
    refused("of degree 4", lambda: flows.harmonic_map(V, S, energy=lambda u: bent(u) ** 2 * dx))
    root = lambda u: ufl.sqrt(bent(u)) * dx
    refused("no polynomial", lambda: flows.harmonic_map(V, S, energy=root))
    part = fem.dirichletbc(0.0, np.arange(1, dtype=np.int32), V.sub(0))
    refused("all components of a value", lambda: flows.harmonic_map(V, S, bcs=[part]))
    refused("do not lie in the target", lambda: framed(square, lambda x: 2 * twisted(x)).energy())
    flow = flows.harmonic_map(square, S)
    flow.state.x.array[:] = 0.0
    refused("no closest point", lambda: flow.step(0.1))
