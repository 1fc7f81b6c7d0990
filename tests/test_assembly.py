"""Loops over cells assemble what DOLFINx assembles."""

import flows
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


@pytest.mark.parametrize("integrated", FORMS.values(), ids=FORMS)
def test_forms_with_coefficients(integrated):
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
