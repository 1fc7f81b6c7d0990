"""Mobilities against loops over edges in numpy; the compiler's error they must avoid."""

from itertools import combinations
from math import factorial

from flows import mesh, mobility
from flows.forms import substitute

import numpy as np
import pytest
import ufl
from dolfinx import fem
from dolfinx.fem import petsc as fempetsc
from dolfinx.la import InsertMode
from dolfinx.mesh import (
    CellType,
    DiagonalType,
    create_interval,
    create_unit_cube,
    create_unit_square,
)
from mpi4py import MPI
from tools import total, waves

comm = MPI.COMM_WORLD
BETA = 2.5


def p1(domain):
    return fem.functionspace(domain, ("Lagrange", 1))


def sheared(domain, shear=2.0):
    x = domain.geometry.x
    x[:, 0] += shear * x[:, 1] + 0.05 * np.sin(5 * x[:, 0])
    return domain


def square(n, diagonal=DiagonalType.right):
    return create_unit_square(comm, n, n, diagonal=diagonal)


MESHES = {
    "interval": lambda: sheared(create_interval(comm, 9, [0.0, 1.0])),
    "triangles": lambda: square(4, DiagonalType.crossed),
    "obtuse triangles": lambda: sheared(square(4)),
    "tetrahedra": lambda: create_unit_cube(comm, 2, 2, 2),
    "obtuse tetrahedra": lambda: sheared(create_unit_cube(comm, 2, 2, 2)),
    "surface": lambda: mesh.sphere(refinements=1),
}


@pytest.fixture(scope="module", params=MESHES.values(), ids=MESHES.keys())
def V(request):
    return p1(request.param())


def field(V, seed, mean=0.0):
    u = fem.Function(V)
    u.interpolate(waves(seed, mean=mean, size=0.9))
    return u


class Edges:
    """Edges of all cells of this rank, in numpy: ends i and j, weights a, volumes of the cells."""

    def __init__(self, V):
        domain, d = V.mesh, V.mesh.topology.dim
        owned = domain.topology.index_map(d).size_local
        self.V, self.cells = V, V.dofmap.list[:owned]
        x = domain.geometry.x[domain.geometry.dofmaps[0][:owned]]
        sides = x[:, 1:] - x[:, :1]
        self.volumes = np.sqrt(np.linalg.det(sides @ sides.swapaxes(1, 2))) / factorial(d)
        hats = np.linalg.pinv(sides).swapaxes(1, 2)
        self.hats = np.concatenate([-hats.sum(axis=1, keepdims=True), hats], axis=1)
        stiffness = self.volumes[:, None, None] * self.hats @ self.hats.swapaxes(1, 2)
        pairs = list(combinations(range(d + 1), 2))
        self.i, self.j = (np.concatenate([self.cells[:, p[s]] for p in pairs]) for s in (0, 1))
        self.a = np.concatenate([-stiffness[:, p, q] for p, q in pairs])

    def collect(self, *parts):
        """Sum values into their vertices, over all ranks."""
        b = fem.Function(self.V)
        for places, values in parts:
            np.add.at(b.x.array, places, values)
        return assembled(b)


def assembled(b):
    b.x.scatter_reverse(InsertMode.add)
    b.x.scatter_forward()
    return b.x.array.copy()


def vector(form):
    """Entries of an assembled linear form, ghosts included."""
    compiled = fem.form(form)
    b = fem.Function(form.arguments()[0].ufl_function_space())
    fem.assemble_vector(b.x.array, compiled)
    return assembled(b)


def matrix(form):
    A = fempetsc.assemble_matrix(fem.form(form))
    A.assemble()
    return A


def close(found, exact, tolerance=1e-13):
    scale = comm.allreduce(np.abs(exact).max(), MPI.MAX)
    return comm.allreduce(np.abs(found - exact).max(), MPI.MAX) <= tolerance * scale


def test_upwind_is_the_sum_over_edges_and_so_are_its_derivatives(V):
    u, xi, eta, e = field(V, 1, mean=1), field(V, 2), ufl.TestFunction(V), Edges(V)
    psi = mobility.Upwind()(u, xi)
    r, f = u.x.array, xi.x.array
    to_j, to_i = np.maximum(f[e.j] - f[e.i], 0), np.maximum(f[e.i] - f[e.j], 0)
    exact = np.sum(e.a * (r[e.i] * to_j**2 + r[e.j] * to_i**2)) / 2
    assert total(psi) == pytest.approx(comm.allreduce(exact), rel=1e-13)
    flux = e.a * (r[e.i] * to_j - r[e.j] * to_i)
    assert close(vector(ufl.derivative(psi, xi, eta)), e.collect((e.i, -flux), (e.j, flux)))
    by_density = e.collect((e.i, e.a * to_j**2 / 2), (e.j, e.a * to_i**2 / 2))
    assert close(vector(ufl.derivative(psi, u, eta)), by_density)


def test_cell_mobility_is_the_volume_times_the_mean_density(V):
    u, xi, e = field(V, 1, mean=1), field(V, 2), Edges(V)
    weights = e.volumes * u.x.array[e.cells].mean(axis=1)
    slopes = np.einsum("kv,kvx->kx", xi.x.array[e.cells], e.hats)
    exact = comm.allreduce(weights @ (slopes**2).sum(axis=1) / 2)
    assert total(mobility.cell(u, xi)) == pytest.approx(exact, rel=1e-13)


def test_scharfetter_gummel_is_the_sum_over_edges(V):
    rho, potential, e = field(V, 1, mean=1), field(V, 3), Edges(V)
    r, v = rho.x.array, potential.x.array
    x = BETA * (v[e.j] - v[e.i])
    flux = e.a / BETA * (x / np.expm1(x) * r[e.i] + x / np.expm1(-x) * r[e.j])
    form = mobility.scharfetter_gummel(rho, ufl.TestFunction(V), potential, BETA)
    assert close(vector(form), e.collect((e.i, flux), (e.j, -flux)))


def test_scharfetter_gummel_is_symmetric_in_the_ratio_to_the_gibbs_weight(V):
    g, potential, eta = field(V, 1, mean=1), field(V, 3), ufl.TestFunction(V)
    rho = fem.Function(V)
    rho.x.array[:] = g.x.array * np.exp(-BETA * potential.x.array)
    flux = vector(mobility.scharfetter_gummel(rho, eta, potential, BETA))
    form = mobility.symmetric_scharfetter_gummel(g, eta, potential, BETA)
    assert close(vector(form), flux)
    A = matrix(ufl.derivative(form, g))
    assert A.isSymmetric(1e-13 * A.norm())


def test_the_gibbs_edge_mean_is_the_product_over_the_logarithmic_mean():
    V = p1(MESHES["interval"]())
    g, potential, e = field(V, 1), field(V, 3), Edges(V)
    pi = np.exp(-BETA * potential.x.array)
    p, q = pi[e.i], pi[e.j]
    flux = e.a / BETA * p * q * np.log(p / q) / (p - q) * (g.x.array[e.i] - g.x.array[e.j])
    form = mobility.symmetric_scharfetter_gummel(g, ufl.TestFunction(V), potential, BETA)
    assert close(vector(form), e.collect((e.i, flux), (e.j, -flux)), 1e-12)


def test_no_mass_is_made_by_scharfetter_gummel_and_the_matrix_has_the_signs_of_an_m_matrix():
    V = p1(square(4))
    form = mobility.scharfetter_gummel(ufl.TrialFunction(V), ufl.TestFunction(V), field(V, 3), 40.0)
    A = matrix(form)
    one, sums = A.createVecLeft(), A.createVecRight()
    one.set(1.0)
    A.multTranspose(one, sums)
    assert sums.norm() < 1e-14 * A.norm()
    diagonal = A.getDiagonal()
    assert diagonal.min()[1] > 0
    diagonal.set(0.0)
    A.setDiagonal(diagonal)
    assert comm.allreduce(A.getValuesCSR()[2].max(), MPI.MAX) < 1e-14 * A.norm()


@pytest.mark.parametrize("kind", ["interval", "obtuse triangles", "obtuse tetrahedra"])
def test_the_gibbs_state_carries_no_flux_even_where_it_falls_by_e50_on_an_edge(kind):
    V = p1(MESHES[kind]())
    potential, rho, e = fem.Function(V), fem.Function(V), Edges(V)
    potential.interpolate(lambda x: 60 * np.sin(5 * x[0] + 3.1 * x[1] + x[2]))
    v = potential.x.array
    rho.x.array[:] = np.exp(-BETA * v)
    x = BETA * (v[e.j] - v[e.i])
    assert comm.allreduce(np.abs(x).max(), MPI.MAX) > 50
    # Rounding is that of the largest flux in the cells around a vertex, one way: the state spans a
    # hundred decades.
    one_way = (np.abs(e.a) / BETA * x / np.expm1(x) * rho.x.array[e.i]).reshape(-1, len(e.cells))
    vertices = e.cells.shape[1]
    scale = e.collect(*((e.cells[:, k], one_way.sum(axis=0)) for k in range(vertices)))
    flux = vector(mobility.scharfetter_gummel(rho, ufl.TestFunction(V), potential, BETA))
    assert comm.allreduce((np.abs(flux) / scale).max(), MPI.MAX) < 1e-12


def test_mass_moves_to_lower_chemical_potential_and_its_donor_says_how_much():
    # xi = -mu rises to the right, so what sits at one vertex goes to its right neighbour.
    V = p1(create_interval(comm, 8, [0.0, 1.0]))
    u, xi = fem.Function(V), fem.Function(V)
    u.interpolate(lambda x: 3.0 * (np.abs(x[0] - 0.5) < 0.01))
    xi.interpolate(lambda x: x[0])
    rate = vector(ufl.derivative(mobility.Upwind()(u, xi), xi, ufl.TestFunction(V)))
    x = V.tabulate_dof_coordinates()[:, 0]
    exact = 3.0 * ((np.abs(x - 0.625) < 0.01) * 1.0 - (np.abs(x - 0.5) < 0.01))
    assert close(rate, exact)


def test_a_tiny_donor_gives_what_it_has_beside_large_neighbours():
    # Extrapolated from the middle of its cell, 1e-30 beside 1 would be 1e-17, of either sign.
    V = p1(MESHES["interval"]())
    u, xi, e = fem.Function(V), fem.Function(V), Edges(V)
    left = V.tabulate_dof_coordinates()[:, 0] < 0.5
    u.x.array[:] = np.where(left, 1e-30, 1.0)
    xi.x.array[:] = np.where(left, 0.0, 1.0)
    rate = vector(ufl.derivative(mobility.Upwind()(u, xi), xi, ufl.TestFunction(V)))
    flux = 1e-30 * e.a * (xi.x.array[e.j] - xi.x.array[e.i])
    assert close(rate, e.collect((e.i, -flux), (e.j, flux)))


@pytest.mark.parametrize("psi", [mobility.cell, mobility.Upwind()], ids=["cell", "upwind"])
def test_density_and_force_may_become_expressions(psi):
    V = p1(sheared(square(4)))
    u, v, xi, zeta = (field(V, seed, mean=1) for seed in range(1, 5))
    rho, force = ufl.Coefficient(V), ufl.Coefficient(V)
    mean, sum_ = fem.Function(V), fem.Function(V)
    mean.x.array[:] = (u.x.array + v.x.array) / 2
    sum_.x.array[:] = xi.x.array + 2 * zeta.x.array
    rate = ufl.derivative(psi(rho, force), force, ufl.TestFunction(V))
    found = vector(substitute(rate, {rho: (u + v) / 2, force: xi + 2 * zeta}))
    assert close(found, vector(substitute(rate, {rho: mean, force: sum_})))


def test_diffusion_may_be_a_matrix_and_vary():
    V = p1(sheared(square(3)))
    u, xi = field(V, 1, mean=1), field(V, 2)
    x = ufl.SpatialCoordinate(V.mesh)
    D = ufl.as_matrix([[1 + x[0], 0.5], [0.5, 2.0]])
    found = total(mobility.Cell(D)(u, xi))
    # D u is quadratic and the vertex rule integrates its interpolant.
    p = fem.Function(V)
    p.interpolate(fem.Expression(u * x[0], V.element.interpolation_points))
    g = ufl.grad(xi)
    parts = p * g[0] ** 2 + u * (g[0] ** 2 + g[0] * g[1] + 2 * g[1] ** 2)
    assert found == pytest.approx(total(0.5 * parts * ufl.dx), rel=1e-13)


def evaluate(expression, V):
    f = fem.Function(V)
    f.interpolate(fem.Expression(expression, V.element.interpolation_points))
    return f.x.array


def slope(expression, by):
    """Derivative of an expression in a nodal function, at the nodes, as in a Newton step."""
    eta = ufl.TestFunction(by.function_space)
    return vector(ufl.derivative(expression * mobility.vertex, by, eta)) / vector(
        eta * mobility.vertex
    )


def test_bernoulli_is_exact_to_rounding_from_minus_700_to_700():
    V = p1(create_interval(comm, 4000, [-1.0, 1.0]))
    x = fem.Function(V)
    x.interpolate(lambda s: 700 * np.where(np.abs(s[0]) < 1e-9, 0, s[0]) ** 5)
    X = x.x.array
    assert comm.allreduce(int(np.sum(X == 0))) > 0
    with np.errstate(invalid="ignore", over="ignore"):
        exact = np.where(X == 0, 1.0, X / np.expm1(X))
    found = evaluate(mobility.bernoulli(x), V)
    assert np.all(np.isfinite(found))
    assert np.abs(found / exact - 1).max() < 2e-15
    # B' = B (1 - B - x) / x, and -1/2 + x/6 near zero
    small, found = np.abs(X) < 1e-4, slope(mobility.bernoulli(x), x)
    assert np.abs(found + 0.5 - X / 6)[small].max(initial=0) < 1e-13
    assert np.abs(found - exact * (1 - exact - X) / np.where(small, 1, X))[~small].max() < 1e-11


def test_log_mean_is_exact_to_rounding_and_homogeneous():
    V = p1(create_interval(comm, 4000, [-1.0, 1.0]))
    a, b = fem.Function(V), fem.Function(V)
    b.interpolate(lambda s: np.exp(60 * s[0]))
    a.interpolate(lambda s: np.exp(60 * s[0]) * np.exp(40 * s[0] ** 7))
    p, q = a.x.array, b.x.array
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.where(np.abs(p - q) < q / 2, np.log1p((p - q) / q), np.log(p / q))
        exact = np.where(p == q, q, (p - q) / logs)
    mean = mobility.log_mean(a, b)
    found = evaluate(mean, V)
    assert np.abs(found / exact - 1).max() < 2e-14
    assert np.abs(evaluate(mobility.log_mean(b, a), V) / found - 1).max() < 2e-14
    by_a, by_b = slope(mean, a), slope(mean, b)
    assert np.abs((p * by_a + q * by_b) / found - 1).max() < 1e-13
    same = p == q
    assert comm.allreduce(int(same.sum())) > 0
    assert np.abs(by_a[same] - 0.5).max(initial=0) < 1e-12


def rule(degree):
    return ufl.dx(metadata={"quadrature_degree": degree})


def gap(first, second):
    """What a form of two terms in one kernel misses of the terms assembled one by one."""
    apart = vector(first) + vector(second)
    difference = np.abs(vector(first + second) - apart).max()
    return comm.allreduce(difference, MPI.MAX) / comm.allreduce(np.abs(apart).max(), MPI.MAX)


def test_a_one_point_rule_beside_another_rule_is_still_miscompiled():
    V = p1(square(4))
    r, q = field(V, 1, mean=1), ufl.TestFunction(V)
    assert gap(r * q * mobility.vertex, r * q * rule(1)) > 1e-3, (
        "FFCx is fixed: the workaround can go"
    )


def test_a_kernel_of_its_own_or_any_other_rule_is_compiled_well():
    V = p1(square(4))
    r, q = field(V, 1, mean=1), ufl.TestFunction(V)
    owned = V.mesh.topology.index_map(V.mesh.topology.dim).size_local
    cells = [(7, np.arange(owned, dtype=np.int32))]
    alone = ufl.Measure("dx", V.mesh, subdomain_data=cells, metadata={"quadrature_degree": 1})(7)
    everywhere = r * q * mobility.vertex
    assert gap(everywhere, r * q * alone) < 1e-15
    assert gap(everywhere, r * q * rule(2)) < 1e-15
    assert close(vector(r * q * alone), vector(r * q * rule(1)), 1e-15)


@pytest.mark.parametrize("kind", [DiagonalType.right, DiagonalType.crossed])
def test_right_angles_have_no_negative_weight_and_a_shear_has(kind):
    V = p1(square(6, kind))
    found = mobility.edge_weights(V)
    V.mesh.topology.create_entities(1)
    assert found.total == V.mesh.topology.index_map(1).size_global
    assert found.negative == 0
    assert abs(found.worst) < 1e-12
    V.mesh.geometry.x[:, 0] += 2 * V.mesh.geometry.x[:, 1]
    negative, _, worst = mobility.edge_weights(V)
    # The longest edges face the obtuse angles: 6 x 6 diagonals, or 7 x 6 sides that were upright.
    assert negative == (36 if kind is DiagonalType.right else 42)
    assert worst < -0.1


def test_kuhn_tetrahedra_and_intervals_have_no_negative_weight():
    for domain in (create_unit_cube(comm, 3, 2, 2), create_interval(comm, 9, [0.0, 1.0])):
        domain.topology.create_entities(1)
        found = mobility.edge_weights(p1(domain))
        assert found.negative == 0
        assert found.total == domain.topology.index_map(1).size_global


def test_what_has_no_edges_says_so():
    quadrilaterals = p1(create_unit_square(comm, 2, 2, CellType.quadrilateral))
    u = fem.Function(quadrilaterals)
    with pytest.raises(ValueError, match="use the mobility Cell"):
        mobility.Upwind()(u, u)
    for V in (quadrilaterals, fem.functionspace(square(2), ("Lagrange", 2))):
        with pytest.raises(ValueError, match="scalar P1 elements on straight simplices"):
            mobility.edge_weights(V)
