"""A functional and its derivative share one quadrature, and its degree in the state is known."""

from flows.forms import depends_on, fix_quadrature, polynomial_degree, substitute, zero

import basix
import numpy as np
import pytest
import ufl
from dolfinx import fem, mesh
from dolfinx.la import InsertMode
from mpi4py import MPI
from tools import total, waves
from ufl import cos, div, dS, ds, dx, exp, grad, inner, sqrt

DOMAIN = mesh.create_unit_square(MPI.COMM_WORLD, 5, 5)
V = fem.functionspace(DOMAIN, ("Lagrange", 1))
W = fem.functionspace(DOMAIN, ("Lagrange", 2, (2,)))
u, w, f = (fem.Function(V, name=name) for name in "uwf")
q = fem.Function(W, name="q")
x = ufl.SpatialCoordinate(DOMAIN)
n = ufl.FacetNormal(DOMAIN)


def degree(energy):
    """The quadrature degrees of the integrals of a form."""
    return [i.metadata().get("quadrature_degree") for i in energy.integrals()]


def assembled(energy, direction):
    """The assembled first variation of an energy, applied to a direction."""
    b = fem.assemble_vector(fem.form(ufl.derivative(energy, u)))
    b.scatter_reverse(InsertMode.add)
    owned = V.dofmap.index_map.size_local
    return DOMAIN.comm.allreduce(b.array[:owned] @ direction.x.array[:owned])


def difference(energy, direction, h=1e-3):
    """The slope of the assembled energy, by differences of order 4."""
    form, start, value = fem.form(energy), u.x.array.copy(), []
    for s in (-2, -1, 1, 2):
        u.x.array[:] = start + s * h * direction.x.array
        value.append(DOMAIN.comm.allreduce(fem.assemble_scalar(form)))
    u.x.array[:] = start
    return (value[0] - 8 * value[1] + 8 * value[2] - value[3]) / (12 * h)


@pytest.fixture
def direction():
    u.interpolate(waves(1, size=2))
    f.interpolate(waves(2))
    v = fem.Function(V)
    v.interpolate(waves(3))
    return v


def test_assembled_variation_is_the_variation_of_the_assembled_energy(direction):
    energy = fix_quadrature(cos(3 * u) * dx, [u])
    points, weights = basix.make_quadrature(basix.CellType.triangle, *degree(energy))
    hats = np.column_stack([1 - points.sum(axis=1), points])
    cells = V.dofmap.list[: DOMAIN.topology.index_map(2).size_local]
    at, along = (g.x.array[cells] @ hats.T for g in (u, direction))
    slope = DOMAIN.comm.allreduce((-3 * np.sin(3 * at) * along @ weights).sum() / 25)
    assert abs(assembled(energy, direction) - slope) <= 1e-12 * abs(slope)


def test_without_one_quadrature_it_is_not(direction):
    energy = cos(3 * u) * dx
    assert abs(assembled(energy, direction) - difference(energy, direction)) > 1e-5


@pytest.mark.parametrize(
    "energy",
    [
        cos(3 * u) * dx,
        exp(f) * sqrt(1 + inner(grad(u), grad(u))) * dx + sqrt(1 + u**2) * ds,
        cos(u("+")) * inner(grad(u)("-"), n("+")) ** 2 * dS + exp(u) * dx,
    ],
    ids=["cos", "area", "facets"],
)
def test_differences_of_the_energy_are_its_variation(energy, direction):
    energy = fix_quadrature(energy, [u])
    slope = difference(energy, direction)
    assert abs(assembled(energy, direction) - slope) <= 1e-9 * abs(slope)


def test_the_quadrature_serves_energy_and_variation():
    # UFL gives the cosine of P1 the degree 1 + 2, and its variation one more for the test function.
    assert degree(fix_quadrature(cos(u) * dx, [u])) == [4]
    assert degree(fix_quadrature(cos(u) * dx, [w])) == [3]
    assert degree(fix_quadrature(u**4 * dx, [u])) == [4]


def test_metadata_of_the_user_win():
    vertex = {"quadrature_rule": "vertex", "quadrature_degree": 1}
    energy = u**2 * dx(metadata=vertex) + u**4 * dx(degree=7) + u**4 * ds
    kept = [i.metadata() for i in fix_quadrature(energy, [u]).integrals()]
    assert vertex in kept
    assert {"quadrature_degree": 7} in kept
    assert {"quadrature_degree": 4} in kept


POLYNOMIALS = {
    "constant": (f**3 * dx, 0),
    "linear": ((x[0] * u + f) * dx, 1),
    "dirichlet": (exp(f) * inner(grad(u), grad(u)) * dx, 2),
    "anisotropic": (inner(ufl.dot(ufl.outer(x, x), grad(u)), grad(u)) * dx, 2),
    "double well": ((u**2 - 1) ** 2 * dx, 4),
    "sextic": (u**6 / (1 + f**2) * dx, 6),
    "mobility": (u**3 * inner(grad(u), grad(u)) * ds, 5),
    "two fields": (u * w**2 * dx + w * dx, 3),
    "vector": (q[0] * q[1] ** 2 * dx + div(q) ** 2 * dx, 3),
    "determinant": (ufl.det(grad(q)) * dx, 2),
    "symmetric gradient": (inner(ufl.sym(grad(q)), ufl.sym(grad(q))) * dx, 2),
    "jumps": (ufl.jump(u) ** 2 * dS + ufl.avg(u) ** 3 * dS, 3),
    "chosen entry": (ufl.as_vector([u, 2 * u])[1] ** 2 * dx, 2),
    "power zero": (u**0 * f * dx, 0),
    "cosine": (cos(u) * dx, np.inf),
    "root": (sqrt(1 + inner(grad(u), grad(u))) * dx, np.inf),
    "half power": (u**0.5 * dx, np.inf),
    "quotient": (f / u * dx, np.inf),
    "modulus": (abs(u) * dx, np.inf),
    "obstacle": (ufl.max_value(u, 0) ** 2 * dx, np.inf),
    "condition": (ufl.conditional(ufl.gt(u, 0), u, 0) * dx, np.inf),
    "exponent": (f**u * dx, np.inf),
    "worst of all": (u**2 * dx + ufl.ln(w) * ds, np.inf),
}


def test_polynomial_degree():
    found = {name: polynomial_degree(form, [u, w, q]) for name, (form, _) in POLYNOMIALS.items()}
    assert found == {name: exact for name, (_, exact) in POLYNOMIALS.items()}


def test_degree_counts_the_named_fields_only():
    energy = u**2 * cos(w) * dx
    assert polynomial_degree(energy, [u]) == 2
    assert polynomial_degree(energy, [w]) == np.inf
    assert polynomial_degree(energy, [f]) == 0


def test_derivatives_are_carried_out_before_a_substitution():
    # D(u^3)[u] = 3 u^3 first, then u -> 2 w; the gradient of the new expression after.
    u.interpolate(lambda x: x[0])
    w.interpolate(lambda x: x[0])
    cubic = ufl.derivative(u**3 * dx, u, u)
    assert abs(total(substitute(cubic, {u: 2 * w})) - 6) < 1e-12
    flux = substitute(inner(grad(u), grad(u)) * dx, {u: w**2})
    assert abs(total(flux) - 4 / 3) < 1e-12
    assert not depends_on(flux, u)
    assert depends_on(flux, w)


def test_a_form_that_vanishes_is_told():
    v = ufl.TestFunction(V)
    assert zero(None)
    assert zero(ufl.Form([]))
    assert zero(ufl.algorithms.expand_derivatives(ufl.derivative(f**2 * dx, u, v)))
    assert not zero(u * v * dx)
