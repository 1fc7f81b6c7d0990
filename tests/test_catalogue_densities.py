"""The named flows of densities and their metrics against exact solutions."""

import flows  # isort: split

from flows import diagnostics, energy, mesh
from flows.forms import assembled
from flows.mobility import symmetric_scharfetter_gummel
from flows.scharfetter_gummel import LinearFokkerPlanck, free_energy

import numpy as np
import pytest
import ufl
from dolfinx import fem
from mpi4py import MPI
from scipy.integrate import solve_ivp
from ufl import dx, grad, inner, ln

from tests.tools import nodal, order, total, waves

domain = mesh.rectangle(h=1 / 16)
x = ufl.SpatialCoordinate(domain)
V = fem.functionspace(domain, ("Lagrange", 1))


def sheared():
    obtuse = mesh.rectangle(h=1 / 16)
    obtuse.geometry.x[:, 0] += 2 * obtuse.geometry.x[:, 1]
    return obtuse


def well(p):
    return 4 * p[0] ** 2 + 2 * p[1]


# -- the linear Fokker-Planck equation --------------------------------------------------------
def test_linear_steps_are_taken_where_the_mesh_is_delaunay():
    assert type(flows.fokker_planck(domain, well(x))) is LinearFokkerPlanck
    assert type(flows.heat_entropy(domain)) is LinearFokkerPlanck
    obtuse = sheared()
    bent = flows.fokker_planck(obtuse, well(ufl.SpatialCoordinate(obtuse)))
    assert type(bent) is flows.GradientFlow
    assert type(flows.fokker_planck(domain, well(x), scheme=flows.AVF())) is flows.GradientFlow
    assert type(flows.fokker_planck(domain, 1e3 * x[0])) is flows.GradientFlow
    with pytest.raises(ValueError, match="inverse temperature"):
        flows.fokker_planck(domain, beta=0.0)


@pytest.mark.parametrize("steep", [1.0, 20.0, 100.0])
def test_the_gibbs_state_does_not_move(steep):
    flow = flows.fokker_planck(domain, steep * well(x) / 4, beta=2.0)
    rest = diagnostics.gibbs(flow.state.function_space, steep * well(x) / 4, 2.0, 1.0)
    flow.state.x.array[:] = rest.x.array
    for tau in (1e-3, 1.0, 1e3):
        flow.step(tau)
        assert np.abs(flow.state.x.array - rest.x.array).max() < 1e-10 * rest.x.array.max()


def test_linear_steps_keep_mass_and_sign_from_an_empty_region():
    flow = flows.fokker_planck(domain, 10 * well(x))
    rho = flow.state
    rho.interpolate(lambda p: np.where(p[0] < 0.3, 1.0, 0.0))
    before = total(diagnostics.mass(rho))
    last = flow.energy()
    for tau in (1e-6, 1e-3, 1e-2, 1.0):
        report = flow.step(tau)
        assert report.energy < last
        assert report.defect < 0
        assert abs(total(diagnostics.mass(rho)) / before - 1) < 1e-12
        assert diagnostics.minimum(rho)(None) >= 0
        last = report.energy


def test_linear_and_nonlinear_steps_are_one_equation():
    # Two mobilities of one metric: they differ by the discretisation.
    gaps = []
    for h in (1 / 8, 1 / 16, 1 / 32):
        square = mesh.rectangle(h=h)
        potential = well(ufl.SpatialCoordinate(square))
        linear = flows.fokker_planck(square, potential)
        rho = fem.Function(linear.state.function_space)
        general = flows.GradientFlow(free_energy(rho, potential, 1.0), rho, flows.Wasserstein())
        for flow in (linear, general):
            flow.state.interpolate(waves(2, mean=1.0, size=0.8))
            for _ in range(5):
                flow.step(0.01)
        gaps.append(total((linear.state - rho) ** 2 * dx) ** 0.5)
    assert order((1 / 8, 1 / 16, 1 / 32), gaps) > 1.8


def test_energy_and_price_of_a_linear_step_are_their_forms():
    square = mesh.rectangle(h=1 / 8)
    x = ufl.SpatialCoordinate(square)
    flow = flows.fokker_planck(square, well(x), beta=2.0)
    flow.state.interpolate(lambda p: np.maximum(p[0] - 0.3, 0.0))  # it vanishes in places
    assert flow.energy() == pytest.approx(total(flow.functional), rel=1e-13)
    report = flow.step(0.01)
    assert report.energy == pytest.approx(total(flow.functional), rel=1e-13)
    (mu,), V = flow.potentials, flow.state.function_space
    nodal_well, ratio = fem.Function(V), fem.Function(V)
    nodal_well.interpolate(fem.Expression(well(x), V.element.interpolation_points))
    nodal_well.x.array[:] -= square.comm.allreduce(nodal_well.x.array.min(), MPI.MIN)
    ratio.x.array[:] = flow.state.x.array * np.exp(2.0 * nodal_well.x.array)
    price = 0.01 / 2 * total(symmetric_scharfetter_gummel(ratio, mu, nodal_well, 2.0))
    assert report.movement == pytest.approx(price, rel=1e-10)


# -- mass that is made ------------------------------------------------------------------------
def relax(metric, steps):
    """Relative entropy to pi flows for a unit of time; its equation is linear in log(rho / pi)."""
    pi, rho = fem.Function(V), fem.Function(V)
    pi.interpolate(lambda p: np.exp(-2 * p[0]))
    rho.interpolate(lambda p: 1 + 0.5 * np.cos(3 * p[0]) + p[1])
    exact = pi.x.array * np.exp(np.log(rho.x.array / pi.x.array) * np.exp(-1))
    before = total(diagnostics.mass(rho))
    flow = flows.GradientFlow((rho * ln(rho / pi) - rho) * dx, rho, metric)
    for _ in range(steps):
        flow.step(1 / steps)
    if metric.conserve:
        assert abs(total(diagnostics.mass(rho)) / before - 1) < 1e-12
        scaled = fem.Function(V)
        scaled.x.array[:] = exact
        exact *= before / total(diagnostics.mass(scaled))
    return domain.comm.allreduce(np.abs(rho.x.array / exact - 1).max(), max)


@pytest.mark.parametrize("conserve", [False, True], ids=["free", "mass kept"])
@pytest.mark.parametrize("metric", [flows.FisherRao, flows.KL])
def test_birth_and_death_are_first_order_in_tau(metric, conserve):
    errors = [relax(metric(conserve), n) for n in (5, 10, 20)]
    assert abs(order((5, 10, 20), errors) + 1) < 0.15
    assert errors[-1] < 0.05


def test_fisher_rao_takes_its_own_distance():
    rho = fem.Function(V)
    rho.interpolate(waves(1, mean=1.0, size=0.5))
    before = rho.x.array.copy()
    flow = flows.GradientFlow(energy.potential(rho, 1 + x[0]), rho, flows.FisherRao())
    tau = 0.3
    report = flow.step(tau)
    # Node by node: V + (2 / tau) (1 - sqrt(v / u)) = 0.
    rate = V.tabulate_dof_coordinates()[:, 0] + 1
    assert np.abs(rho.x.array / (before / (1 + tau * rate / 2) ** 2) - 1).max() < 1e-8
    old = fem.Function(V)
    old.x.array[:] = before
    vertex = dx(metadata={"quadrature_rule": "vertex", "quadrature_degree": 1})
    distance = 4 * total((ufl.sqrt(rho) - ufl.sqrt(old)) ** 2 * vertex)
    assert abs(report.movement / (distance / (2 * tau)) - 1) < 1e-10


def test_mirror_descent_is_explicit_in_the_logarithm():
    rho = fem.Function(V)
    rho.interpolate(waves(1, mean=1.0, size=0.5))
    before = rho.x.array.copy()
    flow = flows.GradientFlow(energy.potential(rho, 1 + x[0]), rho, flows.KL())
    flow.step(0.3)
    rate = V.tabulate_dof_coordinates()[:, 0] + 1
    assert np.abs(rho.x.array / (before * np.exp(-0.3 * rate)) - 1).max() < 1e-8


def test_what_is_uniform_is_only_made_and_what_is_made_nowhere_is_only_moved():
    # In the sum of both metrics a uniform state follows the birth-death equation alone.
    rho = fem.Function(V)
    E = (rho * ln(rho) - rho) * dx
    flow = flows.GradientFlow(E, rho, flows.Wasserstein() + flows.FisherRao())
    rho.x.array[:] = 3.0
    for _ in range(50):
        flow.step(0.02)
    assert np.ptp(nodal(rho)) < 1e-9
    # u = v - tau u log u, step by step
    u = 3.0
    for _ in range(50):
        v = u
        for _ in range(50):
            u -= (u + 0.02 * u * np.log(u) - v) / (1 + 0.02 * (np.log(u) + 1))
    assert abs(nodal(rho)[0] / u - 1) < 1e-8
    kept = flows.GradientFlow(
        E, rho, flows.Wasserstein() + flows.FisherRao(conserve=True), name="kept"
    )
    rho.interpolate(waves(1, mean=1.0, size=0.5))
    before = total(diagnostics.mass(rho))
    for _ in range(3):
        assert kept.step(0.05).defect < 0
    assert abs(total(diagnostics.mass(rho)) / before - 1) < 1e-12


# -- constraints ------------------------------------------------------------------------------
def test_volume_is_kept_by_allen_cahn_with_a_mean_value():
    for scheme in (flows.MinimizingMovement(), flows.AVF(), flows.BDF2()):
        u = fem.Function(V)
        u.interpolate(waves(4, mean=0.2, size=1.0))
        form = energy.ginzburg_landau(u, 0.1)
        constraint = flows.MeanValue()
        flow = flows.GradientFlow(form, u, flows.L2(0.1), scheme=scheme, constraints=[constraint])
        before, last = total(u * dx), flow.energy()
        for k in range(8):
            report = flow.step(1e-3 * 2**k)
            assert report.energy < last
            assert abs(total(u * dx) - before) < 1e-12
            last = report.energy


def test_a_kept_mean_is_the_multiplier_of_its_equation():
    # u' = Lap u - u + lambda: the mean of the force is taken off.
    u, free = fem.Function(V), fem.Function(V)
    for f in (u, free):
        f.interpolate(waves(4, mean=0.7, size=1.0))
    E = lambda f: energy.dirichlet(f) + 0.5 * f**2 * dx
    kept = flows.GradientFlow(E(u), u, flows.L2(), constraints=[flows.MeanValue()])
    other = flows.GradientFlow(E(free), free, flows.L2(), name="free")
    mean = total(u * dx)
    kept.step(0.1)
    other.step(0.1)
    # The mean of the free flow decays by 1 / (1 + tau); nothing else differs.
    assert np.abs(nodal(u) - (nodal(free) + mean - mean / 1.1)).max() < 1e-10


# -- reactions --------------------------------------------------------------------------------
def network(mesh_, **options):
    return flows.reaction_diffusion(
        mesh_,
        [flows.Reaction({"A": 1, "B": 1}, {"C": 1}, rate=2.0)],
        diffusivity={"A": 0.1, "B": 0.02, "C": 0.05},
        equilibrium={"A": 1.0, "B": 0.5, "C": 2.0},
        **options,
    )


@pytest.mark.serial
def test_reactions_without_space_are_their_ordinary_equation():
    star = np.array([1.0, 0.5, 2.0])

    def kinetics(t, c):
        a, b, p = c / star
        return 2.0 * (a * b - p) * np.array([-1, -1, 1])

    exact = solve_ivp(kinetics, (0, 0.5), [1.5, 1.0, 0.2], rtol=1e-10, atol=1e-12).y[:, -1]
    errors = []
    for n in (10, 20, 40):
        flow = network(mesh.interval(h=0.25))
        for u, value in zip(flow.state, (1.5, 1.0, 0.2), strict=True):
            u.x.array[:] = value
        for _ in range(n):
            flow.step(0.5 / n)
        errors.append(max(abs(nodal(u)[0] - e) for u, e in zip(flow.state, exact, strict=True)))
    assert abs(order((10, 20, 40), errors) + 1) < 0.1


def test_reactions_conserve_what_they_must_and_stay_positive_from_nothing():
    flow = network(mesh.rectangle(h=1 / 8))
    a, b, c = flow.state
    a.interpolate(lambda p: np.where(p[0] < 0.4, 1.0, 0.0))
    b.interpolate(lambda p: np.where(p[0] > 0.6, 2.0, 0.0))
    before = [total((a + c) * dx), total((b + c) * dx)]
    last = flow.energy()
    for k in range(13):
        report = flow.step(0.01 * 2**k)
        assert report.energy < last
        assert min(diagnostics.minimum(u)(None) for u in flow.state) > 0
        last = report.energy
    after = [total((a + c) * dx), total((b + c) * dx)]
    assert np.allclose(after, before, rtol=1e-12, atol=0)
    # Detailed balance, and every concentration uniform.
    assert abs(nodal(a)[0] * nodal(b)[0] / 0.5 / (nodal(c)[0] / 2.0) - 1) < 1e-2
    with pytest.raises(ValueError, match="'D'"):
        flows.reaction_diffusion(domain, [flows.Reaction({"A": 1}, {"D": 1})], diffusivity={"A": 1})


# -- other mobilities -------------------------------------------------------------------------
def test_waves_on_a_thin_film_decay_at_their_rate():
    film = flows.thin_film(mesh.interval(h=1 / 128), n=3, scheme=flows.AVF())
    h0, a, k = 0.7, 1e-4, 2 * np.pi
    film.state.interpolate(lambda p: h0 + a * np.cos(k * p[0]))
    volume = total(film.state * dx)
    rate = h0**3 * k**4
    for _ in range(20):
        film.step(0.05 / rate)
    height = (nodal(film.state)[0] - h0) / a
    assert abs(np.log(height) / -1.0 - 1) < 0.01
    assert abs(total(film.state * dx) / volume - 1) < 1e-13


def test_tensor_diffusion_spreads_as_its_matrix_says():
    D = np.array([[2.0, 0.5], [0.5, 0.5]])
    square = mesh.rectangle((-3, -3), (3, 3), h=0.15)
    rho = fem.Function(fem.functionspace(square, ("Lagrange", 1)))
    metric = flows.Wasserstein(flows.mobility.Cell(ufl.as_matrix(D.tolist())))
    flow = flows.GradientFlow(energy.entropy(rho), rho, metric, scheme=flows.AVF())
    rho.interpolate(lambda p: np.exp(-(p[0] ** 2 + p[1] ** 2) / 0.4))
    _, before = diagnostics.moments(rho)
    for _ in range(10):
        flow.step(0.01)
    _, after = diagnostics.moments(rho)
    assert np.abs((after - before) / 0.2 - D).max() < 0.03


def test_a_crowd_does_not_exceed_its_bound():
    rho = fem.Function(V)
    rho.interpolate(lambda p: 0.9 * (p[0] < 0.5))
    E = 0.1 * energy.entropy(rho, maximum=1.0)
    E += energy.potential(rho, (x[0] - 0.2) ** 2 + x[1])
    flow = flows.GradientFlow(E, rho, flows.Wasserstein())
    before, last = total(diagnostics.mass(rho)), flow.energy()
    for _ in range(10):
        report = flow.step(0.02)
        assert report.energy < last
        last = report.energy
        assert diagnostics.minimum(rho)(None) >= 0
        assert diagnostics.maximum(rho)(None) <= 1
    assert abs(total(diagnostics.mass(rho)) / before - 1) < 1e-12


def test_attraction_is_felt_at_the_time_of_the_step():
    # The field is stationary: -l^2 Lap phi + phi = rho after each step.
    flow = flows.aggregation(domain, strength=0.5, length=0.3)
    rho, (phi,) = flow.state, flow.auxiliary
    rho.interpolate(waves(3, mean=1.0, size=0.5))
    last = flow.energy()
    for _ in range(4):
        report = flow.step(0.01)
        assert report.energy < last
        last = report.energy
    test = ufl.TestFunction(phi.function_space)
    vertex = dx(metadata={"quadrature_rule": "vertex", "quadrature_degree": 1})
    residual = assembled(
        fem.form(0.09 * inner(grad(phi), grad(test)) * dx + (phi - rho) * test * vertex),
        phi.function_space,
    )
    assert np.abs(residual).max() < 1e-9


def test_springs_draw_a_gaussian_together_about_its_own_centre():
    # C' = 2 / beta - 2 k m C, the centre at rest.
    k, beta, centre = 1.5, 2.0, 0.4
    exact = 1 / (k * beta) + (0.8**2 - 1 / (k * beta)) * np.exp(-2 * k * 0.4)
    errors = []
    for n in (8, 16, 32):
        line = mesh.interval(-5, 5, h=0.05)
        flow = flows.aggregation(line, strength=k, beta=beta)
        rho = flow.state
        rho.interpolate(lambda p: np.exp(-((p[0] - centre) ** 2) / 1.28) / np.sqrt(1.28 * np.pi))
        last = flow.energy()
        for _ in range(n):
            report = flow.step(0.4 / n)
            assert report.energy < last
            assert abs(report.energy - flow.energy()) < 1e-14 * abs(report.energy)
            last = report.energy
        mean, covariance = diagnostics.moments(rho)
        assert abs(mean[0] - centre) < 1e-4
        errors.append(abs(covariance[0, 0] - exact))
    assert order((8, 16, 32), errors) < -0.9


@pytest.mark.serial
# -- the exact minimizing movement of transport -----------------------------------------------
def test_a_path_of_more_pieces_tends_to_the_step_of_transport():
    # One JKO step of a Gaussian in a bowl, tau = 0.2: mean 1 / (1 + tau), and the deviation s of
    # (1 + tau) s = s_0 + tau / s.
    line = mesh.interval(-4, 5, h=0.09)
    z = ufl.SpatialCoordinate(line)[0]
    errors = []
    for pieces in (1, 2, 4):
        rho = fem.Function(fem.functionspace(line, ("Lagrange", 1)))
        rho.interpolate(lambda p: np.exp(-2 * (p[0] - 1) ** 2) * np.sqrt(2 / np.pi))
        E = energy.entropy(rho) + energy.potential(rho, z**2 / 2)
        flow = flows.GradientFlow(E, rho, flows.Wasserstein(), scheme=flows.JKO(pieces))
        report = flow.step(0.2)
        assert report.defect < 0
        mean, covariance = diagnostics.moments(rho)
        errors.append([mean[0] - 1 / 1.2, covariance[0, 0] ** 0.5 - 2 / 3])
    errors = np.abs(errors)
    assert np.all(errors[1:] < 0.68 * errors[:-1])
    assert errors[-1, 0] < 0.0095
    assert errors[-1, 1] < 0.0135
    with pytest.raises(ValueError, match="at least one piece"):
        flows.JKO(0)
