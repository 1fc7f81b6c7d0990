"""Coordinates of densities: changes of variable, and the one that an energy asks for."""

from flows import energy, mesh
from flows.coordinate import Bounded, Positive, guard, natural

import numpy as np
import pytest
import ufl
from dolfinx import fem
from ufl import dx, grad, inner, ln, sqrt

from tests.tools import total

V = fem.functionspace(mesh.interval(h=0.25), ("Lagrange", 1))
rho, other = fem.Function(V), fem.Function(V)
COORDINATES = {
    "positive": (Positive(0.3), np.geomspace(1e-25, 1e3, 60)),
    "bounded": (
        Bounded(2.0),
        np.concatenate([np.geomspace(1e-25, 1, 30), 2 - np.geomspace(1e-9, 1, 30)]),
    ),
}


@pytest.mark.parametrize(("coordinate", "u"), COORDINATES.values(), ids=COORDINATES.keys())
def test_a_coordinate_has_its_inverse_and_its_slope(coordinate, u):
    s = coordinate.inverse(u)
    assert np.abs(coordinate.value(s) / u - 1).max() < 1e-12
    h = 1e-6
    slope = (coordinate.value(s + h) - coordinate.value(s - h)) / (2 * h)
    # Relative to the density: below it the difference quotient has no digits.
    assert np.all(np.abs(coordinate.slope(s) - slope) <= 1e-4 * slope + 1e-9)
    assert np.all(coordinate.slope(s) > 0)


def test_no_real_coordinate_leaves_the_domain():
    s = np.linspace(-50, 50, 101)
    assert Positive().value(s).min() > 0
    assert Bounded(2.0).value(s).min() > 0
    assert Bounded(2.0).value(s).max() <= 2.0


def test_newton_starts_inside_from_empty_and_full_nodes():
    u = np.array([0.0, -1e-9, 1.0, 3.0])
    assert np.isfinite(Positive().inverse(Positive().inside(u))).all()
    assert np.isfinite(Bounded(1.0).inverse(Bounded(1.0).inside(u))).all()


ENERGIES = {
    "entropy": (energy.entropy(rho), Positive),
    "a user's own entropy": (rho * ln(rho / other) * dx, Positive),
    "fast diffusion": (energy.internal(rho, 0.5), Positive),
    "a root": (-sqrt(rho) * dx, Positive),
    "exclusion": (energy.entropy(rho, maximum=2.0), Bounded),
    "porous medium": (energy.internal(rho, 3), type(None)),
    "a logarithm of something else": (rho**2 * ln(2 + other) * dx, type(None)),
    "a logarithm that does not end at zero": (ln(1 + rho) * dx, type(None)),
    "gradients": (inner(grad(rho), grad(rho)) * dx, type(None)),
}


@pytest.mark.parametrize(("form", "kind"), ENERGIES.values(), ids=ENERGIES.keys())
def test_the_energy_says_where_its_density_ends(form, kind):
    assert type(natural(form, rho)) is kind


def test_exclusion_ends_at_its_bound():
    assert natural(energy.entropy(rho, maximum=2.0), rho) == Bounded(2.0)


def test_the_entropy_of_nothing_is_nothing():
    rho.x.array[:] = 0.0
    assert total(guard(rho * ln(rho) * dx, [rho])) == 0.0
    rho.x.array[:] = -1.0
    assert np.isnan(total(guard(rho * ln(rho) * dx, [rho])))
    rho.interpolate(lambda x: 1 + x[0])
    form = rho * ln(rho) * dx
    assert total(guard(form, [rho])) == total(form)
    slope = ufl.derivative(guard(form, [rho]), rho, ufl.TestFunction(V))
    gap = fem.assemble_vector(fem.form(slope - (ln(rho) + 1) * ufl.TestFunction(V) * dx))
    assert np.abs(gap.array).max() < 1e-14
