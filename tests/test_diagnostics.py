"""Diagnostics of densities have their closed forms, and are what the schemes dissipate."""

from flows import Onsager, Recorder, diagnostics, evolve, mesh
from flows.diagnostics import LUMPED
from flows.movement import GradientFlow

import numpy as np
import pytest
import ufl
from dolfinx import fem
from mpi4py import MPI
from scipy.integrate import quad
from scipy.stats import norm
from tools import comm, order, total

HS = [0.2, 0.1, 0.05]


def density(values, domain):
    rho = fem.Function(fem.functionspace(domain, ("Lagrange", 1)))
    rho.interpolate(values)
    return rho


def line(values, a=-8, b=8, h=0.1, comm=comm):
    return density(values, mesh.interval(a, b, h=h, comm=comm))


def gaussian(m=0.0, s=1.0):
    return lambda x: norm.pdf(x[0], m, s)


def hat(at=0.0, width=1.0):
    """Of unit mass, and exact on a mesh with nodes at its corners."""
    return lambda x: np.maximum(0, 1 - abs(x[0] - at) / width) / width


def pair(h=0.1, *, a=-8, comm=comm):
    """Two Gaussians on one mesh: N(0.3, 0.5^2) and N(0, 1)."""
    rho = line(gaussian(0.3, 0.5), a, 8, h, comm)
    pi = fem.Function(rho.function_space)
    pi.interpolate(gaussian())
    return rho, pi


PLANE = mesh.rectangle((-6, -6), (6, 6), h=0.25)
MEAN, COV = np.array([0.5, -0.3]), np.array([[0.8, 0.3], [0.3, 0.5]])


def tilted(x):
    off = x[:2] - MEAN[:, None]
    exponent = np.einsum("ik,ij,jk->k", off, np.linalg.inv(COV), off)
    return np.exp(-exponent / 2) / (2 * np.pi * np.sqrt(np.linalg.det(COV)))


# -- the density itself ----------------------------------------------------------------------------
def test_a_gaussian_has_its_mass_mean_and_covariance():
    rho = density(tilted, PLANE)
    centre, matrix = diagnostics.moments(rho)
    assert abs(total(diagnostics.mass(rho)) - 1) < 1e-9
    assert np.allclose(centre, MEAN, rtol=0, atol=1e-7)
    assert np.allclose(matrix, COV, rtol=0, atol=1e-6)
    assert diagnostics.mean(rho, 1)(None) == centre[1]
    assert diagnostics.covariance(rho, 0, 1)(None) == matrix[0, 1]


def test_moments_far_from_the_origin_do_not_cancel():
    rho = density(lambda x: gaussian()(x - 1e8), mesh.interval(1e8 - 8, 1e8 + 8, h=0.25))
    centre, matrix = diagnostics.moments(rho)
    assert abs(centre[0] - 1e8) < 1e-6
    assert abs(matrix[0, 0] - 1) < 1e-6


def test_a_density_without_mass_has_no_centre():
    rho = line(lambda x: 0 * x[0])
    assert all(np.isnan(part).all() for part in diagnostics.moments(rho))


def test_columns_follow_the_density():
    rho = line(gaussian())
    lowest, highest = diagnostics.minimum(rho), diagnostics.maximum(rho)
    centre, variance = diagnostics.mean(rho, 0), diagnostics.covariance(rho, 0, 0)
    rho.interpolate(lambda x: gaussian(1.0, 0.5)(x) - 1e-3)
    assert abs(lowest(None) + 1e-3) < 1e-12
    assert abs(highest(None) - (norm.pdf(0) / 0.5 - 1e-3)) < 1e-12
    rho.interpolate(gaussian(1.0, 0.5))
    assert abs(centre(None) - 1) < 1e-9
    assert abs(variance(None) - 0.25) < 1e-9


def test_an_extreme_of_nan_is_nan_on_every_rank():
    rho = line(gaussian(), h=1.0)
    if comm.rank == comm.size - 1:
        rho.x.array[0] = np.nan
    assert np.isnan([diagnostics.minimum(rho)(None), diagnostics.maximum(rho)(None)]).all()


@pytest.mark.parametrize("axis", [-1, 1])
def test_coordinates_that_are_not_there(axis):
    with pytest.raises(ValueError, match="coordinates"):
        diagnostics.mean(line(gaussian()), axis)


# -- distance from equilibrium ---------------------------------------------------------------------
def test_the_gibbs_state_of_a_parabola_is_a_gaussian():
    space = line(gaussian()).function_space
    x = ufl.SpatialCoordinate(space.mesh)
    given = [lambda x: (x[0] - 1) ** 2 / 2, (x[0] - 1) ** 2 / 2]
    for potential in given:
        rho = diagnostics.gibbs(space, potential, 4.0, 3.0)
        exact = line(gaussian(1.0, 0.5))
        assert np.allclose(rho.x.array, 3 * exact.x.array, rtol=1e-9, atol=0)
        assert abs(total(diagnostics.mass(rho)) - 3) < 1e-13


def test_the_gibbs_state_knows_no_zero_of_energy_and_no_overflow():
    space = line(gaussian()).function_space
    rho = diagnostics.gibbs(space, lambda x: x[0] ** 2)
    for height in (-1e5, 1e5):
        shifted = diagnostics.gibbs(space, lambda x, c=height: x[0] ** 2 + c)
        assert np.allclose(shifted.x.array, rho.x.array, rtol=1e-9, atol=0)
    walls = diagnostics.gibbs(space, lambda x: np.where(x[0] < 0, np.inf, 0))
    assert diagnostics.minimum(walls)(None) == 0
    assert abs(total(diagnostics.mass(walls)) - 1) < 1e-13
    steep = diagnostics.gibbs(space, lambda x: 1e6 * x[0] ** 2)
    assert 0 < diagnostics.minimum(steep)(None) < 1e-290
    flat = diagnostics.gibbs(space, 2.0)
    assert np.allclose(flat.x.array, 1 / 16)


@pytest.mark.parametrize("bottom", [np.inf, -np.inf, np.nan])
def test_a_potential_without_a_bottom_has_no_gibbs_state(bottom):
    with pytest.raises(ValueError, match="no Gibbs state"):
        diagnostics.gibbs(
            line(gaussian()).function_space, lambda x: np.where(x[0] < 9, bottom, 0.0)
        )


@pytest.mark.parametrize(("beta", "mass"), [(0, 1), (1, -1), (np.nan, 1), (1, np.inf)])
def test_temperatures_and_masses_that_are_none(beta, mass):
    with pytest.raises(ValueError, match="positive, finite"):
        diagnostics.gibbs(line(gaussian()).function_space, lambda x: x[0], beta, mass)


def test_relative_entropy_of_gaussians_is_second_order():
    def integrand(x):
        r, p = norm.pdf(x, 0.3, 0.5), norm.pdf(x)
        return r * (norm.logpdf(x, 0.3, 0.5) - norm.logpdf(x)) - r + p

    # On the whole line the vertex rule converges at once; cut at a wall it shows its order.
    exact = quad(integrand, 0.4, 8, epsabs=1e-12)[0]
    errors = [total(diagnostics.relative_entropy(*pair(h, a=0.4))) - exact for h in HS]
    assert abs(order(HS, errors) - 2) < 0.1
    exact = np.log(2) + (0.25 + 0.09) / 2 - 0.5
    assert abs(total(diagnostics.relative_entropy(*pair())) - exact) < 1e-10


def test_relative_entropy_near_equilibrium_keeps_its_digits():
    rho, pi = pair()
    for eps in (1e-2, 0.99e-2, 1e-4, 1e-8):
        rho.x.array[:] = pi.x.array * (1 + eps)
        stated = total(diagnostics.relative_entropy(rho, pi))
        exact = ((1 + eps) * np.log1p(eps) - eps) if eps > 1e-3 else eps**2 / 2 * (1 - eps / 3)
        assert abs(stated / exact - 1) < 1e-7
    rho.x.array[:] = pi.x.array
    assert total(diagnostics.relative_entropy(rho, pi)) == 0


def test_relative_entropy_to_the_gibbs_state_is_the_excess_of_free_energy():
    rho = line(gaussian(0.5, 0.8), h=0.2)
    beta, V = 2.0, (ufl.SpatialCoordinate(rho.function_space.mesh)[0] ** 2 - 1) ** 2 / 8
    pi = diagnostics.gibbs(rho.function_space, V, beta, total(diagnostics.mass(rho)))

    def energy(u):
        return total((V * u + ufl.ln(u) * u / beta) * LUMPED)

    entropy = total(diagnostics.relative_entropy(rho, pi))
    assert abs(entropy - beta * (energy(rho) - energy(pi))) < 1e-12


def test_fisher_information_of_gaussians_is_second_order():
    exact = (1 - 4) ** 2 * 0.25 + 0.3**2
    errors = []
    for h in HS:
        rho, pi = pair(h)
        errors.append(abs(diagnostics.fisher_information(rho, pi)(None) - exact))
    assert abs(order(HS, errors) - 2) < 0.1
    assert diagnostics.fisher_information(rho, rho)(None) == 0


def test_fisher_information_in_the_plane():
    rho = density(tilted, PLANE)
    x = ufl.SpatialCoordinate(PLANE)
    measure = diagnostics.fisher_information(rho, ufl.exp(-(x[0] ** 2 + x[1] ** 2) / 2))
    # phi = -(x - m) C^-1 (x - m) / 2 + |x|^2 / 2
    A = np.eye(2) - np.linalg.inv(COV)
    exact = np.trace(A @ COV @ A) + MEAN @ MEAN
    assert abs(measure(None) / exact - 1) < 0.03


def test_fisher_information_needs_gradients_of_p1():
    rho = line(gaussian(), h=1.0)
    quadratic = fem.Function(fem.functionspace(rho.function_space.mesh, ("Lagrange", 2)))
    with pytest.raises(ValueError, match="P1"):
        diagnostics.fisher_information(quadratic, rho)


def test_vacuum_and_far_tails_give_finite_numbers():
    rho, pi = pair()
    for values in (hat(), lambda x: 1e-300 * hat()(x), lambda x: np.where(x[0] > 0, 5e-324, 0.0)):
        rho.interpolate(values)
        assert np.isfinite(total(diagnostics.relative_entropy(rho, pi)))
        assert np.isfinite(diagnostics.fisher_information(rho, pi)(None))
        assert np.isfinite(diagnostics.fisher_information(pi, rho)(None))
    rho.x.array[:] = 0
    assert abs(total(diagnostics.relative_entropy(rho, pi)) - 1) < 1e-9
    assert total(diagnostics.relative_entropy(pi, rho)) == np.inf
    rho.interpolate(hat())
    assert total(diagnostics.relative_entropy(rho, rho)) == 0


@pytest.mark.serial
def test_fokker_planck_dissipates_its_fisher_information():
    rho = line(gaussian(0.8, 0.7), -5, 5, 0.1)
    V = ufl.SpatialCoordinate(rho.function_space.mesh)[0] ** 2 / 2
    pi = diagnostics.gibbs(rho.function_space, V, 1.0, total(diagnostics.mass(rho)))
    energy = (V * rho + rho * ufl.ln(rho)) * LUMPED
    rest = total(ufl.replace(energy, {rho: pi}))
    cells = ufl.dx(degree=2)  # a one-point rule beside the vertex rule would be miscompiled
    metric = Onsager(lambda xi: rho * ufl.grad(xi) ** 2 / 2 * cells, measure=LUMPED)
    flow = GradientFlow(energy, rho, metric)
    assert np.isnan(diagnostics.dissipation(flow))
    gaps = []
    for tau in (2e-3, 1e-3, 5e-4):
        rho.interpolate(gaussian(0.8, 0.7))
        recorder = Recorder(
            mass=diagnostics.mass(rho),
            low=diagnostics.minimum(rho),
            centre=diagnostics.mean(rho, 0),
            entropy=diagnostics.relative_entropy(rho, pi),
            fisher=diagnostics.fisher_information(rho, pi),
            dissipation=diagnostics.dissipation,
            excess=diagnostics.excess(rest),
        )
        evolve(flow, flow.time + 5 * tau, tau, observers=[recorder])
        c = {name: np.array(column) for name, column in recorder.columns.items()}
        assert np.ptp(c["mass"]) < 1e-12
        assert np.allclose(c["excess"], c["entropy"], rtol=0, atol=1e-12)
        assert (np.diff(c["entropy"]) < 0).all()
        assert c["low"].min() > 0
        gaps.append(abs(c["dissipation"] - c["fisher"])[-1])
    assert abs(order([4, 2, 1], gaps) - 1) < 0.2


def test_numbers_do_not_depend_on_the_number_of_ranks():
    def measured(on):
        rho, pi = pair(comm=on)
        return [
            *(float(part.item()) for part in diagnostics.moments(rho)),
            diagnostics.minimum(rho)(None),
            diagnostics.maximum(rho)(None),
            diagnostics.fisher_information(rho, pi)(None),
            total(diagnostics.relative_entropy(rho, pi)),
            diagnostics.maximum(diagnostics.gibbs(pi.function_space, lambda x: abs(x[0])))(None),
        ]

    mine = measured(comm)
    assert np.allclose(mine, measured(MPI.COMM_SELF), rtol=1e-12, atol=0)
    assert comm.allgather(mine) == [mine] * comm.size
