"""Energies have their exact values, and their variations are the operators of the theory."""

from flows import energy, mesh

import numpy as np
import pytest
import ufl
from dolfinx import fem
from dolfinx.mesh import CellType
from tools import order, total, waves
from ufl import dx, grad, inner

DOMAIN = mesh.rectangle((0, 0), (2, 1), h=0.25)
x = ufl.SpatialCoordinate(DOMAIN)


def field(degree=1, shape=()):
    return fem.Function(fem.functionspace(DOMAIN, ("Lagrange", degree, shape)))


def test_dirichlet_energy_of_a_linear_field():
    u = field()
    u.interpolate(lambda x: 2 * x[0] - 3 * x[1])
    assert abs(total(energy.dirichlet(u)) - 13) < 1e-12
    assert abs(total(energy.dirichlet(u, conductivity=x[0])) - 13) < 1e-12  # mean of k is 1
    assert abs(total(energy.dirichlet(u, measure=ufl.ds)) - 39) < 1e-12


def test_dirichlet_energy_of_vectors_and_tensors_adds_up():
    A = np.array([[1.0, 2.0], [-3.0, 0.5]])
    v, T = field(shape=(2,)), field(shape=(2, 2))
    v.interpolate(lambda x: A @ x[:2])
    T.interpolate(lambda x: np.vstack([A @ x[:2], 2 * A @ x[:2]]))
    assert abs(total(energy.dirichlet(v)) - (A**2).sum()) < 1e-12
    assert abs(total(energy.dirichlet(T)) - 5 * (A**2).sum()) < 1e-12


def test_a_wall_costs_two_root_two_thirds():
    sigma, eps = 2 * np.sqrt(2) / 3, 0.1
    wall = mesh.interval(-1, 1, h=0.0125)
    u = fem.Function(fem.functionspace(wall, ("Lagrange", 2)))
    u.interpolate(lambda x: np.tanh(x[0] / (np.sqrt(2) * eps)))
    assert abs(total(energy.ginzburg_landau(u, eps)) / sigma - 1) < 1e-5


def test_pure_phases_cost_nothing_and_mixtures_their_well():
    u = field()
    u.x.array[:] = -1
    assert abs(total(energy.ginzburg_landau(u, 0.05))) < 1e-13
    u.x.array[:] = 0
    assert abs(total(energy.ginzburg_landau(u, 0.05)) - 2 / (4 * 0.05)) < 1e-11


def test_area_of_a_tilted_plane_over_any_cell():
    for cell in (CellType.triangle, CellType.quadrilateral):
        u = fem.Function(fem.functionspace(mesh.rectangle(h=0.5, cell=cell), ("Lagrange", 1)))
        u.interpolate(lambda x: 2 * x[0] + 3 * x[1])
        assert abs(total(energy.graph_area(u)) - np.sqrt(14)) < 1e-12


def test_area_of_the_sphere_is_second_order():
    errors = [4 * np.pi - total(energy.area(mesh.sphere(refinements=k))) for k in (1, 2, 3)]
    assert min(errors) > 0
    assert abs(order([4, 2, 1], errors) - 2) < 0.05


def test_length_of_the_circle():
    polygon = mesh.circle(2.0, n=12)
    assert abs(total(energy.area(polygon)) - 48 * np.sin(np.pi / 12)) < 1e-12


@pytest.mark.parametrize(
    ("functional", "force"),
    [
        (
            lambda u: energy.dirichlet(u, 1 + x[0]),
            lambda u, v: (1 + x[0]) * inner(grad(u), grad(v)),
        ),
        (
            lambda u: energy.ginzburg_landau(u, 0.2),
            lambda u, v: 0.2 * inner(grad(u), grad(v)) + 5 * (u**3 - u) * v,
        ),
        (
            energy.graph_area,
            lambda u, v: inner(grad(u), grad(v)) / ufl.sqrt(1 + inner(grad(u), grad(u))),
        ),
    ],
    ids=["Laplace", "Allen-Cahn", "minimal surface"],
)
def test_variation_is_the_operator(functional, force):
    u, v = field(2), field(2)
    u.interpolate(waves(1))
    v.interpolate(waves(2))
    stated = total(ufl.derivative(functional(u), u, v))
    assert abs(stated - total(force(u, v) * dx)) < 1e-6 * abs(stated)
