"""Loops over cells assemble what DOLFINx assembles."""

import flows
from flows import assembly, lanes
from flows.assembly import assembler
from flows.matrix import Matrix

import numpy as np
import pytest
import ufl
from dolfinx import fem, la
from dolfinx import mesh as dmesh
from dolfinx.fem import petsc as fempetsc
from ufl import dx, grad, inner


def parts(mesh):
    """Cells of the left half carry a 1, the others a 2."""
    cells = np.arange(mesh.topology.index_map(mesh.topology.dim).size_local, dtype=np.int32)
    middles = dmesh.compute_midpoints(mesh, mesh.topology.dim, cells)
    tags = 1 + (middles[:, 0] > 0.5).astype(np.int32)
    return dx(domain=mesh, subdomain_data=dmesh.meshtags(mesh, mesh.topology.dim, cells, tags))


FORMS = {
    "everywhere": lambda f, _: f * dx,
    "parts": lambda f, part: f * part(1) + 2 * f * part((1, 2)),
    "one part": lambda f, part: f * part(2),
    "two rules": lambda f, _: f * dx(degree=1) + f * dx(degree=4),
    "boundary": lambda f, _: f * dx + f * ufl.ds,
}


@pytest.fixture(params=[False, True], ids=["small", "large"])
def large(request, monkeypatch):
    """Whether kernels become a part of the loops, as on large meshes."""
    monkeypatch.setattr(assembly, "WORTHWHILE", 0 if request.param else 10**9)
    return request.param


def own_loops(form):
    """Whether a form has loops around its own kernels."""
    made = assembler(form)
    return all(kernels is not made._kernels for kernels, _ in made._loops)


@pytest.mark.parametrize("integrated", FORMS.values(), ids=FORMS)
def test_forms_with_coefficients(integrated, large):
    mesh = flows.mesh.rectangle(h=1 / 5)
    part = parts(mesh)
    spaces = ("Lagrange", 2, (2,)), ("Lagrange", 1), ("DG", 0)
    u, v, k = (fem.Function(fem.functionspace(mesh, space)) for space in spaces)
    s, V = fem.Constant(mesh, 0.0), u.function_space
    p, q = ufl.TestFunction(V), ufl.TrialFunction(V)
    one, two = ufl.TrialFunction(v.function_space), ufl.TestFunction(k.function_space)
    density = s * k * (inner(u, u) + inner(grad(v), grad(v))) * v
    value, slope, bend, mixed = (
        fem.form(integrated(f, part))
        for f in (
            density,
            inner(density * u, p),
            inner((1 + v) * grad(q), k * grad(p)),
            inner(grad(one), u) * two,
        )
    )
    for time in (1, 2):
        s.value = time
        for f in (u, v, k):
            f.x.array[:] = np.random.default_rng(time).random(f.x.array.size)
        assert np.isclose(assembler(value).integral(), fem.assemble_scalar(value), rtol=1e-13)
        b = np.zeros(u.x.array.size)
        assembler(slope).add_vector(b)
        assert np.allclose(b, fem.assemble_vector(slope).array, rtol=0, atol=1e-13)
        for form in (bend, mixed):
            A, B = (fem.create_matrix(form, la.BlockMode.expanded) for _ in range(2))
            assembler(form).add_matrix(A)
            fem.assemble_matrix(B, form)
            assert np.allclose(A.data, B.data, rtol=0, atol=1e-13)
    if assembler(value)._plain:
        assert all(own_loops(form) == large for form in (value, slope, bend, mixed))


FUNCTIONS = {
    "of one variable": lambda u: (
        ufl.sin(u) * ufl.tan(u) + ufl.exp(ufl.tanh(u)) * abs(ufl.erf(u) - 0.3) + ufl.acos(u / 2)
    ),
    "of two": lambda u: (
        ufl.max_value(u, 0.5) * ufl.min_value(u**2, 0.3) + u**1.5 * ufl.atan2(u, 1 - u)
    ),
    "by cases": lambda u: ufl.conditional(ufl.lt(u, 0.5), u**2, ufl.sqrt(u)),
    "not of vectors": lambda u: ufl.bessel_J(1, u),
}


@pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_of_values_in_loops_around_kernels(f, monkeypatch):
    monkeypatch.setattr(assembly, "WORTHWHILE", 0)
    u = fem.Function(fem.functionspace(flows.mesh.box(h=1 / 2), ("Lagrange", 1)))
    u.x.array[:] = np.random.default_rng(1).random(u.x.array.size)
    slope = fem.form(f(u) * ufl.TestFunction(u.function_space) * dx(degree=2))
    for value in (u.x.array[0], np.nan):
        u.x.array[0] = value
        b = np.zeros(u.x.array.size)
        assembler(slope).add_vector(b)
        expected = fem.assemble_vector(slope).array
        assert np.allclose(b, expected, rtol=1e-13, atol=1e-15, equal_nan=True)
    assert np.isnan(b).any()
    assert not np.isnan(b).all()
    assert own_loops(slope)


def test_kernels_that_cannot_be_read_are_called(monkeypatch):
    monkeypatch.setattr(assembly, "WORTHWHILE", 0)
    u = fem.Function(fem.functionspace(flows.mesh.rectangle(h=1 / 3), ("Lagrange", 1)))
    u.interpolate(lambda x: x[0])
    for name, stranger in (("kernels", []), ("head", "what is this?")):
        form = fem.form(u**2 * dx)
        with monkeypatch.context() as patch:
            patch.setattr(lanes, name, lambda *_, given=stranger: given)
            value = u.function_space.mesh.comm.allreduce(assembler(form).integral())
            assert not own_loops(form)
        assert np.isclose(value, 1 / 3, rtol=1e-14)


@pytest.mark.parametrize("once", [False, True], ids=["again", "once"])
@pytest.mark.parametrize("shape", [(), (2,)], ids=["scalar", "vector"])
def test_matrices_with_conditions_are_those_of_dolfinx(shape, once):
    mesh = flows.mesh.rectangle(h=1 / 6)
    V = fem.functionspace(mesh, ("Lagrange", 1, shape))
    k, u, v = fem.Function(V), ufl.TrialFunction(V), ufl.TestFunction(V)
    form = fem.form((1 + inner(k, k)) * (inner(u, v) + inner(grad(u), grad(v))) * dx)
    left = dmesh.locate_entities_boundary(mesh, 1, lambda x: x[0] < 1e-9)
    fixed = fem.locate_dofs_topological(V, 1, left)
    bcs = [fem.dirichletbc(fem.Function(V), fixed)]
    matrix = Matrix(form, once=once)
    assert matrix.petsc.getBlockSize() == V.dofmap.index_map_bs
    for value, conditions in ((1.0, bcs), (2.0, bcs), (2.0, [])):
        k.x.array[:] = value
        matrix.assemble(conditions)
        expected = fempetsc.assemble_matrix(form, conditions)
        expected.assemble()
        difference = expected.copy()
        difference.axpy(-1.0, matrix.petsc)
        assert difference.norm() < 1e-13 * expected.norm()
        matrix.petsc.scale(3.0)  # a user's changes do not last


def test_matrices_share_the_pattern_of_all_cells():
    mesh = flows.mesh.rectangle(h=1 / 6)
    V = fem.functionspace(mesh, ("Lagrange", 1))
    u, v, part = ufl.TrialFunction(V), ufl.TestFunction(V), parts(mesh)
    mass, stiffness, left = (
        fem.form(form) for form in (u * v * dx, inner(grad(u), grad(v)) * dx, u * v * part(1))
    )
    first = Matrix(mass)
    first.assemble()
    for form, lent in ((stiffness, mesh.comm.size == 1), (left, False)):
        second, expected = Matrix(form, like=first), fempetsc.assemble_matrix(form)
        second.assemble()
        expected.assemble()
        size = expected.norm()
        expected.axpy(-1.0, second.petsc)
        assert expected.norm() < 1e-13 * size
        assert np.shares_memory(second._rows.indices, first._rows.indices) == lent
    expected = fempetsc.assemble_matrix(mass)
    expected.assemble()
    expected.axpy(-1.0, first.petsc)
    assert expected.norm() < 1e-15
