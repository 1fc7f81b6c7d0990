"""Distances of optimal transport: what has a closed form, and the order of the rest."""

from flows import mesh, transport

import numpy as np
import pytest
from dolfinx import fem
from mpi4py import MPI
from scipy.stats import norm
from test_diagnostics import HS, PLANE, density, gaussian, hat, line, tilted
from tools import comm, order


# -- densities on the line -------------------------------------------------------------------------
def test_a_translation_costs_its_length():
    rho = line(hat(), -2, 2)
    for shift in (0.25, -3.0, 100.0):
        moved = line(hat(shift), shift - 2, shift + 2, h=0.25)
        assert abs(transport.wasserstein_1d(rho, moved) - abs(shift)) < 1e-12 * (1 + abs(shift))
    assert transport.wasserstein_1d(rho, rho) == 0


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_a_dilation_costs_the_root_of_the_second_moment(factor):
    rho, wide = line(hat(), -1, 1, 0.25), line(hat(0, factor), -factor, factor, factor / 2)
    exact = abs(factor - 1) / np.sqrt(6)
    assert abs(transport.wasserstein_1d(rho, wide) / exact - 1) < 1e-13
    by_quantiles = transport.wasserstein_1d(
        rho,
        lambda p: factor * np.where(p < 0.5, np.sqrt(2 * p) - 1, 1 - np.sqrt(2 * (1 - p))),
    )
    assert abs(by_quantiles / exact - 1) < 1e-13


def test_mass_jumps_over_a_vacuum():
    def two(at):
        return lambda x: (hat(1)(x) + hat(at)(x)) / 2

    rho, moved = line(two(4), 0, 8, 0.5), line(two(7), 0, 8, 0.25)
    assert abs(transport.wasserstein_1d(rho, moved) - 3 / np.sqrt(2)) < 1e-13
    for u in (rho, moved):
        u.x.array[:] *= 4
    assert abs(transport.wasserstein_1d(rho, moved) - 2 * 3 / np.sqrt(2)) < 1e-13


def test_wasserstein_distance_of_gaussians_is_second_order():
    exact = np.hypot(1.0, 0.5)
    errors, to_quantiles = [], []
    for h in HS:
        rho = line(gaussian(0, 1), -8, 8, h)
        sigma = line(gaussian(1, 0.5), -9, 9, h)
        errors.append(abs(transport.wasserstein_1d(rho, sigma) - exact))
        q = transport.wasserstein_1d(rho, norm(1, 0.5).ppf)
        to_quantiles.append(abs(q - exact))
    assert abs(order(HS, errors) - 2) < 0.1
    assert abs(order(HS, to_quantiles) - 2) < 0.1


def test_what_has_no_quantile_function():
    rho, other = line(hat(), -2, 2), line(lambda x: 1.001 * hat()(x), -2, 2)
    with pytest.raises(ValueError, match="differ"):
        transport.wasserstein_1d(rho, other)
    for flat in (density(tilted, PLANE), density(gaussian(), mesh.circle(n=8))):
        with pytest.raises(ValueError, match="on the line"):
            transport.wasserstein_1d(rho, flat)
    with pytest.raises(ValueError, match="has no Wasserstein"):
        transport.wasserstein_1d(line(lambda x: -hat()(x)), rho)
    with pytest.raises(ValueError, match="quantile function"):
        transport.wasserstein_1d(rho, 1.0)
    quadratic = fem.Function(fem.functionspace(rho.function_space.mesh, ("Lagrange", 2)))
    with pytest.raises(ValueError, match="P1"):
        transport.wasserstein_1d(quadratic, rho)


def test_distances_do_not_depend_on_the_number_of_ranks():
    def measured(on):
        rho, sigma = (line(gaussian(*m), comm=on) for m in ((0.3, 0.5), (0, 1)))
        return transport.wasserstein_1d(rho, sigma)

    mine = measured(comm)
    assert abs(mine / measured(MPI.COMM_SELF) - 1) < 1e-12
    assert comm.allgather(mine) == [mine] * comm.size


# -- Gaussians -------------------------------------------------------------------------------------
def random_covariance(draw, d):
    A = draw.normal(size=(d, d))
    return A @ A.T


def test_equal_covariances_are_as_far_apart_as_their_means():
    draw = np.random.default_rng(1)
    C = random_covariance(draw, 3)
    assert abs(transport.bures([1, 2, 3], C, [1, 5, -1], C) - 5) < 1e-13
    assert transport.bures([0, 0, 0], C, [0, 0, 0], C) < 1e-14


def test_gaussians_of_commuting_covariances_are_apart_as_their_standard_deviations():
    assert abs(transport.bures(1, 4, -2, 0.25) - np.hypot(3, 1.5)) < 1e-14
    Q = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    a, b = np.array([3.0, 0.0, 1.0]), np.array([1.0, 2.0, 1.0])
    C, D = (Q @ np.diag(s**2) @ Q.T for s in (a, b))
    zero = np.zeros(3)
    # The root of a zero eigenvalue with rounding errors is 1e-8.
    assert abs(transport.bures(zero, C, zero, D) - np.linalg.norm(a - b)) < 1e-7


def test_gaussians_are_as_far_apart_as_the_linear_map_between_them():
    draw = np.random.default_rng(3)
    C, T = random_covariance(draw, 3), random_covariance(draw, 3)  # T >= 0: it is optimal
    exact = np.sqrt(np.trace((T - np.eye(3)) @ C @ (T - np.eye(3))))
    zero = np.zeros(3)
    assert abs(transport.bures(zero, C, zero, T @ C @ T) / exact - 1) < 1e-10


@pytest.mark.parametrize("cov", [np.eye(3), np.diag([1, -1]), np.array([[1, 2], [0, 1]]), np.nan])
def test_what_is_no_covariance(cov):
    with pytest.raises(ValueError, match="ovariance"):
        transport.bures([0, 0], np.eye(2), [0, 0], cov)
