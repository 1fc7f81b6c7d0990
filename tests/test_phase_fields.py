"""Phase fields on surfaces, with a kept volume, and by convex splitting."""

import flows
from flows import energy, mesh

import numpy as np
import pytest
from dolfinx import fem
from mpi4py import MPI
from PIL import Image, ImageSequence
from tools import nodal, total, waves
from ufl import dx

SIGMA = 2 * np.sqrt(2) / 3
"""The surface tension of the Ginzburg-Landau energy."""


def wall(distance, eps):
    return np.tanh(distance / (np.sqrt(2) * eps))


# -- surfaces ---------------------------------------------------------------------------------
def test_cahn_hilliard_on_a_sphere_ends_in_one_cap_with_its_mass():
    eps, mean = 0.25, -0.3
    flow = flows.cahn_hilliard(mesh.sphere(h=0.25), eps=eps, scheme=flows.AVF())
    u = flow.state
    u.x.array[:] = mean
    flows.noise(u, 0.05, seed=1)
    mass, area = total(u * dx), total(fem.Constant(flow.mesh, 1.0) * dx)
    pace = flows.Adaptive(1e-4, tolerance=3e-2)
    history = flows.evolve(flow, 1e3, pace)
    assert abs(total(u * dx) - mass) < 1e-12
    assert np.diff(history["energy"]).max() <= 1e-12 * history["energy"][0]
    assert history["tau"].max() > 1e4 * history["tau"][1:].min()
    cosine = -mass / area
    sine = np.sqrt(1 - cosine**2)
    assert flow.energy() == pytest.approx(2 * np.pi * SIGMA * sine, rel=0.03)
    potential = nodal(flow.potentials[0])
    assert np.ptp(potential) < 1e-3
    assert potential.mean() == pytest.approx(SIGMA / 2 * cosine / sine, rel=0.25)


def test_a_cap_on_a_sphere_shrinks_by_its_geodesic_curvature():
    eps, T = 0.1, 0.2
    sphere = mesh.sphere(h=0.07)
    flow = flows.allen_cahn(sphere, eps=eps, scheme=flows.AVF())
    angle = lambda x: np.arccos(np.clip(x[2], -1, 1))
    flow.state.interpolate(lambda x: wall(np.pi / 3 - angle(x), eps))
    length = 2 * np.pi * np.sin(np.pi / 3)
    assert flow.energy() == pytest.approx(SIGMA * length, rel=4e-3)
    history = flows.evolve(flow, T, eps**2)
    assert np.diff(history["energy"]).max() < 0
    share = total((1 + flow.state) / 2 * dx) / total(fem.Constant(sphere, 1.0) * dx)
    assert 1 - 2 * share == pytest.approx(np.cos(np.pi / 3) * np.exp(T), rel=5e-3)


@pytest.mark.parametrize(
    ("build", "options"),
    [(flows.cahn_hilliard, {}), (flows.allen_cahn, {"constraints": [flows.MeanValue()]})],
    ids=["Cahn-Hilliard", "Allen-Cahn"],
)
def test_curved_cells_keep_the_mass_and_lower_the_energy(build, options):
    flow = build(mesh.torus(h=0.35, order=2), eps=0.2, scheme=flows.AVF(), **options)
    # The rule of the integrand: UFL asks for 10.
    degrees = {i.metadata()["quadrature_degree"] for i in flow.functional.integrals()}
    assert degrees == {4}
    flow.state.interpolate(waves(5, mean=0.2, size=0.5))
    mass = total(flow.state * dx)
    history = flows.evolve(flow, steps=8, tau=flows.Adaptive(1e-3, tolerance=1e-2))
    assert abs(total(flow.state * dx) - mass) < 1e-12
    assert np.diff(history["energy"]).max() < 0


def test_a_film_that_spins_shows_the_other_side(tmp):
    u = fem.Function(fem.functionspace(mesh.sphere(h=0.5), ("Lagrange", 1)))
    u.interpolate(lambda x: -x[1])
    path = tmp / "spin.gif"
    flows.animate([u, u], path, spin=180, view="xz", size=(200, 200), bar=False)
    if MPI.COMM_WORLD.rank == 0:
        with Image.open(path) as film:
            frames = [f.convert("RGB") for f in ImageSequence.Iterator(film)]
        front, back = (np.asarray(f)[70:130, 70:130].mean(axis=(0, 1)) for f in frames)
        assert front[0] > front[2] + 30  # red, then blue
        assert back[2] > back[0] + 30


# -- volume -----------------------------------------------------------------------------------
@pytest.mark.parametrize("scheme", [flows.AVF(), flows.MinimizingMovement()], ids=["AVF", "MM"])
def test_an_ellipse_of_constant_volume_becomes_a_disc(scheme):
    # A quarter, in a square with natural boundary conditions.
    eps = 0.04
    V = fem.functionspace(mesh.rectangle((0, 0), (0.5, 0.5), h=eps), ("Lagrange", 2))
    flow = flows.allen_cahn(V, eps=eps, scheme=scheme, constraints=[flows.MeanValue()])
    flow.state.interpolate(lambda x: wall(0.25 * (1 - np.hypot(x[0] / 0.35, x[1] / 0.18)), eps))
    volume = total((1 + flow.state) / 2 * dx)
    history = flows.evolve(flow, 0.3, flows.Adaptive(1e-4, tolerance=1e-2))
    # Pressure shifts the phases by delta and costs delta^2 / eps; the disc is smaller for it.
    radius = np.sqrt(4 / np.pi * volume)
    for _ in range(50):
        delta = SIGMA * eps / (4 * radius)
        radius = np.sqrt(4 / np.pi * (volume - delta / 8))
    disc = SIGMA * np.pi / 2 * radius + delta**2 / (4 * eps)
    assert abs(total((1 + flow.state) / 2 * dx) - volume) < 1e-12
    assert np.diff(history["energy"]).max() <= 1e-12
    assert history["energy"][0] > 1.05 * disc
    assert history["energy"][-1] == pytest.approx(disc, rel=0.02)
    assert disc == pytest.approx(SIGMA * np.sqrt(np.pi * volume), rel=eps)


# -- convex splitting -------------------------------------------------------------------------
V = fem.functionspace(mesh.rectangle(h=1 / 8), ("Lagrange", 1))
EPS = 0.1


def start():
    u = fem.Function(V, name="u")
    u.interpolate(waves(2, size=1.0))
    return u


def split(u, metric, name="split"):
    scheme = flows.ConvexSplitting(-(u**2) / (2 * EPS) * dx)
    return flows.GradientFlow(energy.ginzburg_landau(u, EPS), u, metric, scheme=scheme, name=name)


def test_convex_splitting_is_a_minimizing_movement_in_a_slower_time():
    u, v = start(), start()
    slow = split(u, flows.L2(EPS))
    true = flows.allen_cahn(V, eps=EPS)
    true.state.x.array[:] = v.x.array
    for factor in (0.25, 1.0, 4.0):
        slow.step(factor * EPS**2)
        true.step(factor * EPS**2 / (1 + factor))
        assert np.abs(nodal(u) - nodal(true.state)).max() < 1e-8


def test_convex_splitting_lowers_the_energy_at_any_step():
    for metric in (flows.L2(EPS), flows.HMinus1()):
        u = start()
        flow = split(u, metric)
        last = flow.energy()
        for tau in (1e-3, 1.0, 1e3, 1e6):
            report = flow.step(tau)
            assert report.energy <= last * (1 + 1e-12)
            assert report.defect <= 1e-12
            last = report.energy


def test_convex_splitting_refuses_what_is_no_part_of_the_energy():
    u, other = start(), start()
    with pytest.raises(ValueError, match="does not depend on the state"):
        flows.GradientFlow(
            energy.ginzburg_landau(u, EPS), u, flows.L2(), scheme=flows.ConvexSplitting(-other * dx)
        )
    with pytest.raises(ValueError, match="a UFL form without test functions"):
        flows.ConvexSplitting(-1.0)
