"""Loops in C are the sums of forms, and an inverse of what PETSc multiplies with."""

from flows import kernels
from flows.curvature_solver import NodeBlocks
from flows.flat import NormalMatrix, Stiffness
from flows.kernels import Kernels
from flows.mesh import circle, torus
from flows.parts import Parts
from flows.solution_span import SolutionSpan
from flows.surface import LUMPED, Surface

import dolfinx
import numpy as np
import pytest
from dolfinx import fem
from mpi4py import MPI
from tools import comm, total
from ufl import SpatialCoordinate, dx


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
    assert np.abs(made.forces(x) + y - c[:, None] * mass).max() < 1e-12

    k = stiffness.petsc.getDiagonal().array
    outer = np.eye(3)[None] if costly else w[:, :, None] * w[:, None, :]
    dense = k[:, None, None] * np.eye(3) + c[:, None, None] * outer
    a.array[:] = y.ravel()
    made.apply(None, a, b)
    z = np.linalg.solve(dense, y[:, :, None])[:, :, 0]
    assert np.abs(b.array.reshape(-1, 3) - z).max() < 1e-12 * max(1, np.abs(z).max(initial=0))


def test_solutions_in_the_span_of_the_last_ones_are_found_and_leave_nothing(surface):
    made, x = blocks(surface, costly=False), field(surface)
    span = SolutionSpan(x.size, comm)
    for k, tau in enumerate((0.1, 0.2, 0.1)):
        span.keep((x + k * x**2 + k**2 * x**3) * tau, tau)
    wanted, forces = 3 * x - 2 * x**2 + x**3, np.zeros_like(x)
    made.product(wanted, forces)
    found, left = span.expect(forces, made.product)
    assert comm.allreduce(float(np.abs(found - wanted).max(initial=0)), MPI.MAX) < 1e-8
    assert comm.allreduce(float(np.abs(left).max(initial=0)), MPI.MAX) < 1e-8
    span.clear()
    found, left = span.expect(forces, made.product)
    assert not found.any()
    assert np.array_equal(left, forces)


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
