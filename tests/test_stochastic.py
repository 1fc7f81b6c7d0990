"""Noise: one path for each seed, its statistics, its work in the energy balance."""

from itertools import pairwise

import flows
from flows import energy, mesh
from flows.dofs import mix
from flows.forms import integrate
from flows.stochastic import Brownian, Forcing

import numpy as np
import pytest
from dolfinx import fem
from mpi4py import MPI
from tools import nodal, order, total, waves
from ufl import dx, inner

comm = MPI.COMM_WORLD
SIGMA = 0.3


def screened_heat(u, **options):
    E = energy.dirichlet(u) + 0.5 * inner(u, u) * dx
    return flows.GradientFlow(E, u, flows.L2(), **options)


# -- paths ------------------------------------------------------------------------------------
def test_increments_of_a_path_add_up_however_it_is_divided():
    path = Brownian(mix(np.arange(50)))
    once = Brownian(mix(np.arange(50))).increment(0.3, 5.0)
    cuts = np.sort(np.append(np.random.default_rng(1).uniform(0.3, 5.3, 7), (0.3, 5.3)))
    pieces = [path.increment(a, b - a) for a, b in pairwise(cuts)]
    assert np.abs(sum(pieces) - once).max() < 1e-6  # of the resolution, 2^-20


def test_increments_are_normal_and_independent():
    path = Brownian(mix(np.arange(20_000)))
    tau = 0.1
    steps = np.array([path.increment(k * tau, tau) for k in range(8, 14)]) / np.sqrt(tau)
    assert np.abs(steps.mean(axis=1)).max() < 0.03
    assert np.abs(np.cov(steps) - np.eye(6)).max() < 0.04
    assert (steps**4).mean() == pytest.approx(3, rel=0.05)


def test_steps_of_any_size_follow_one_path():
    V = fem.functionspace(mesh.interval(h=0.5), ("Lagrange", 1, (16,)))

    def end(tau):
        u = fem.Function(V)
        flows.evolve(screened_heat(u, noise=flows.WhiteNoise(SIGMA, seed=2)), 0.25, tau)
        return nodal(u)

    exact, counts = end(0.25 / 256), (8, 16, 32)
    errors = [np.sqrt(np.mean((end(0.25 / n) - exact) ** 2)) for n in counts]
    assert order(counts, errors) == pytest.approx(-1, abs=0.25)


# -- statistics -------------------------------------------------------------------------------
def test_stochastic_heat_equation_has_the_variance_of_its_green_function():
    # AVF samples a quadratic Gibbs measure exactly, at any step. Sixteen paths in one space.
    V = fem.functionspace(mesh.interval(h=1 / 16), ("Lagrange", 1, (16,)))
    u, squares = fem.Function(V), []
    flow = screened_heat(u, scheme=flows.AVF(), noise=flows.WhiteNoise(SIGMA, seed=3))
    look = lambda flow: squares.append((nodal(u) ** 2).mean(axis=1)) if flow.time > 5 else None
    history = flows.evolve(flow, steps=400, tau=1.0, observers=[look])
    x = np.linspace(0, 1, 17)
    green = np.cosh(x) * np.cosh(1 - x) / np.sinh(1)
    ratio = np.mean(squares, axis=0) / (SIGMA**2 / 2 * green)
    assert np.abs(ratio - 1).max() < 0.1  # three standard errors
    # The energy goes up and down; what it does not explain is nothing.
    assert np.diff(history["energy"]).max() > 0.1
    assert np.abs(history["defect"]).max() < 1e-12 * history["energy"].max()


def test_correlated_noise_on_a_sphere_has_the_variance_of_its_harmonics():
    length = 0.2
    u = fem.Function(fem.functionspace(mesh.sphere(h=0.15), ("Lagrange", 1)))
    forcing = Forcing(flows.WhiteNoise(2.0, seed=1, correlation=length), u, "test_")
    (field,) = forcing.source.coefficients()
    square, variance = fem.form(field**2 * dx), 0.0
    for k in range(24):
        forcing.draw(k / 4, 0.25)
        variance += integrate(square) / (4 * np.pi) / 24 * 0.25
    n = np.arange(200)
    exact = 2.0**2 * np.sum((2 * n + 1) / (4 * np.pi) / (1 + length**2 * n * (n + 1)) ** 2)
    assert variance == pytest.approx(exact, rel=0.12)
    assert exact == pytest.approx(2.0**2 / (4 * np.pi * length**2), rel=0.02)


def test_conserved_noise_shares_the_energy_equally_and_keeps_the_mass():
    # AVF again: each of the eight modes has sigma^2 / 4 of the energy.
    V = fem.functionspace(mesh.interval(h=1 / 8), ("Lagrange", 1))
    u = fem.Function(V)
    u.x.array[:] = 0.5
    noise = flows.WhiteNoise(SIGMA, seed=1, conserved=True)
    E = 0.5 * (u - 0.5) ** 2 * dx
    flow = flows.GradientFlow(E, u, flows.HMinus1(), scheme=flows.AVF(), noise=noise)
    history = flows.evolve(flow, steps=400, tau=0.02)
    assert history["energy"][50:].mean() == pytest.approx(8 * SIGMA**2 / 4, rel=0.15)
    assert abs(total(u * dx) - 0.5) < 1e-12


# -- one path on any number of ranks, killed or not ----------------------------------------------
def stochastic_allen_cahn():
    V = fem.functionspace(mesh.rectangle(h=1 / 8), ("Lagrange", 1))
    noise = flows.WhiteNoise(0.5, seed=4, correlation=0.1)
    options = {"snes_rtol": 1e-12}
    flow = flows.allen_cahn(V, eps=0.1, scheme=flows.AVF(), noise=noise, petsc_options=options)
    flow.state.interpolate(waves(1, size=0.5))
    return flow


@pytest.mark.three_ranks
def test_a_seed_gives_one_path_on_any_number_of_ranks():
    flow = stochastic_allen_cahn()
    flows.evolve(flow, steps=5, tau=2e-3)
    values = nodal(flow.state)
    weights = np.arange(values.size) % 7
    assert [values.sum(), values @ weights] == pytest.approx(
        [40.461649866788, 107.419366659063], abs=1e-9
    )


def test_a_resumed_run_continues_the_path(tmp):
    whole, killed, resumed = (stochastic_allen_cahn() for _ in range(3))
    flows.evolve(whole, 0.02, 2e-3)
    flows.evolve(killed, 0.01, 2e-3, observers=[flows.Checkpoint(tmp / "run.h5", every=5)])
    flows.evolve(resumed, 0.02, 2e-3, resume=tmp / "run.h5")
    assert np.abs(resumed.state.x.array - whole.state.x.array).max() < 1e-12


def test_a_step_that_is_tried_again_meets_the_same_path():
    flow = stochastic_allen_cahn()
    before = flow.snapshot()
    flow.step(2e-3)
    half = flow.state.x.array.copy()
    flow.restore(before)
    flow.step(4e-3)
    flow.restore(before)
    flow.step(2e-3)
    assert np.abs(flow.state.x.array - half).max() < 1e-12


@pytest.mark.parametrize(
    ("degree", "given", "options", "message"),
    [
        (1, {"sigma": -1.0}, {}, "sigma = -1.0: give a finite number"),
        (1, {"sigma": 1.0, "correlation": 0.0}, {}, "correlation = 0.0: give a positive length"),
        (2, {"sigma": 1.0}, {}, "give a state of P1 elements"),
        (1, {"sigma": 1.0}, {"scheme": flows.BDF2()}, "Noise needs a scheme of one step"),
    ],
)
def test_noise_refuses_what_it_cannot_do(degree, given, options, message):
    u = fem.Function(fem.functionspace(mesh.interval(h=0.25), ("Lagrange", degree)))
    with pytest.raises(ValueError, match=message):
        screened_heat(u, noise=flows.WhiteNoise(**given), **options)
