"""Loops in C are the sums of forms, and an inverse of what PETSc multiplies with."""

from flows import kernels
from flows.flat import NormalMatrix, Stiffness
from flows.forms import assembled, compiled
from flows.kernels import Kernels
from flows.mesh import circle, torus
from flows.node_blocks import NodeBlocks
from flows.options import Options
from flows.parts import Parts
from flows.solution_span import SolutionSpan
from flows.surface import LUMPED, Surface

import dolfinx
import numpy as np
import pytest
from dolfinx import fem
from mpi4py import MPI
from petsc4py import PETSc
from tools import comm, total
from ufl import SpatialCoordinate, TestFunction, dx, grad, inner


@pytest.fixture
def surface():
    surface = Surface(torus(h=0.5))
    surface.position.interpolate(lambda x: x + 0.1 * x[::-1] ** 2)
    surface.move()
    surface.refresh()
    return surface


def blocks(surface, *, costly):
    made = NodeBlocks(surface, Stiffness(surface.cells), costly=costly)
    made.refresh(7.0)
    return made


def field(surface):
    """A smooth field at the owned nodes, the same on any number of ranks."""
    u = fem.Function(surface.position.function_space)
    u.interpolate(lambda x: np.array([np.sin(3 * x[0]), x[1] * x[2], np.cos(x[2]) + x[0]]))
    return u.x.array[: 3 * surface.owned].reshape(-1, 3).copy()


@pytest.mark.parametrize("costly", [False, True])
def test_the_matrix_of_a_step_is_that_of_petsc_and_its_blocks_are_inverted(surface, costly):
    made, x, n = blocks(surface, costly=costly), field(surface), surface.owned
    stiffness = Stiffness(surface.cells)
    y = np.zeros_like(x)
    made.product(x, y)
    c = 7.0 * surface.mass.x.array[:n]
    w = surface.normal.x.array.reshape(-1, 3)[:n]
    A = NormalMatrix(stiffness.petsc, 3)
    A.assemble(0 * c if costly else c, w)
    b, a = A.petsc.createVecs()
    a.array[:] = x.ravel()
    A.petsc.mult(a, b)
    assert np.abs(b.array.reshape(-1, 3) + costly * c[:, None] * x - y).max() < 1e-12
    mass = x if costly else np.einsum("ij,ij->i", w, x)[:, None] * w
    SolutionSpan(made).expect(x)
    assert np.abs(made.forces + y - c[:, None] * mass).max() < 1e-12

    k = stiffness.petsc.getDiagonal().array
    outer = np.eye(3)[None] if costly else w[:, :, None] * w[:, None, :]
    dense = k[:, None, None] * np.eye(3) + c[:, None, None] * outer
    z = np.linalg.solve(dense, made.forces[:, :, None])[:, :, 0]
    whole, rest = made._begin(guess=False)
    assert np.abs(made._search.array[: 3 * n] - z.ravel()).max() < 1e-12 * np.abs(z).max()
    assert whole == rest == pytest.approx(made.total([np.vdot(made.forces, z)])[0], rel=1e-12)


def iterations(made, **tolerances):
    """Conjugate gradients as PETSc calls them."""
    size, solver = made.forces.size, PETSc.KSP().create(comm)
    solver.setOperators(PETSc.Mat().createPython(((size, None),) * 2, made, comm=comm))
    with Options("kernels_", {"ksp_converged_use_initial_residual_norm": True})():
        solver.setOptionsPrefix("kernels_")
        solver.setFromOptions()
    solver.setType("python")
    solver.setPythonContext(made)
    solver.pc.setType("none")
    solver.setTolerances(**tolerances)
    return solver


@pytest.mark.parametrize("costly", [False, True])
def test_conjugate_gradients_leave_no_forces_and_drop_a_bad_guess(surface, costly):
    made, x, left = blocks(surface, costly=costly), field(surface), np.zeros((surface.owned, 3))
    solver = iterations(made, rtol=1e-10, max_it=200)
    SolutionSpan(made).expect(x)
    for guess in (False, False, True):
        if guess:  # worse than nothing
            made.change[:] *= -1
            made.left.stateIncrease()
        solver.setInitialGuessNonzero(guess)
        solver.solve(made.right, made.left)
        assert solver.getConvergedReason() > 0
        assert 5 < solver.getIterationNumber() < 100
        made.product(made.change[: made.owned], left)
        assert np.abs(left - made.forces).max() < 1e-8 * np.abs(left).max()
    solver.setInitialGuessNonzero(False)
    solver.setTolerances(max_it=3)
    solver.solve(made.right, made.left)
    assert solver.getConvergedReason() == PETSc.KSP.ConvergedReason.DIVERGED_MAX_IT


def test_a_solution_in_the_span_of_the_last_ones_is_found(surface):
    made, x = blocks(surface, costly=False), field(surface)
    n, span = made.owned, SolutionSpan(made)
    assert not span.expect(x)
    iterations(made, rtol=1e-12).solve(made.right, made.left)
    wanted = made.change[:n].copy()
    for tau, change in ((0.1, x), (0.2, wanted), (0.1, wanted + x**2)):
        made.change[:n] = change
        span.keep(tau)
    assert span.expect(x)
    found = made.change[:n]
    assert comm.allreduce(float(np.abs(found - wanted).max()), MPI.MAX) < 1e-8
    span.clear()
    assert not span.expect(x)


@pytest.mark.parametrize("shape", [torus, circle])
def test_a_part_is_measured_as_forms_measure_it(shape):
    surface = Surface(shape(h=0.4))
    surface.curvature.interpolate(lambda x: 1 + x[0] + x[1] ** 2)
    H, x = surface.curvature, SpatialCoordinate(surface.mesh)
    (part,) = Parts(surface).measure()
    size = total(1.0 * dx(domain=surface.mesh))
    assert part.size == pytest.approx(size, rel=1e-13)
    assert part.bend == pytest.approx(total(H**2 * LUMPED) / size, rel=1e-12)
    assert part.centre[0] == pytest.approx(total(x[0] * dx) / size, abs=1e-12)
    highest = comm.allreduce(float(np.abs(H.x.array).max()), MPI.MAX)
    assert part.curvature == pytest.approx(highest, rel=1e-13)
    assert 1 + part.peak[0] + part.peak[1] ** 2 == pytest.approx(highest, rel=1e-13)
    angle = surface.quality().angle
    assert part.angle == pytest.approx(angle if part.dim == 2 else 90.0, rel=1e-12)


@pytest.mark.parametrize("shape", [torus, circle])
def test_forces_of_cells_are_those_of_the_form(shape):
    surface = Surface(shape(h=0.4))
    X = surface.position
    form = compiled(inner(grad(X), grad(TestFunction(X.function_space))) * dx)
    found = surface.cells.measure().forces(X.x.array)
    assert np.abs(found - assembled(form, X.function_space)).max() < 1e-14


def test_without_a_compiler_every_rank_says_so(tmp, monkeypatch):
    kernels._loaded.cache_clear()
    options = dolfinx.jit.DOLFINX_DEFAULT_JIT_OPTIONS
    monkeypatch.setitem(options, "cache_dir", (str(tmp / "cache"), ""))
    monkeypatch.setenv("CC", "/no/such/compiler")
    with pytest.raises(RuntimeError, match="compil"):
        Kernels(comm, "surface.c")
    kernels._loaded.cache_clear()


def test_kernels_are_compiled_once_for_all_who_share_a_cache(tmp, monkeypatch):
    kernels._loaded.cache_clear()
    options = dolfinx.jit.DOLFINX_DEFAULT_JIT_OPTIONS
    monkeypatch.setitem(options, "cache_dir", (str(tmp / "cache"), ""))
    Kernels(MPI.COMM_SELF, "surface.c")  # all ranks at the same time
    comm.Barrier()
    assert len(list((tmp / "cache").iterdir())) == 1
