"""Guesses, tables and covers: quicker ways to the same steps."""

from flows import AVF, GradientFlow, HMinus1, Wasserstein, energy, saddle
from flows import mesh as shapes
from flows.cover import covering, pointwise
from flows.guess import Guess
from flows.mobility import Upwind
from flows.nodal import NodalSolver
from flows.saddle import SaddleSolver
from flows.tables import FluxTables

import numpy as np
import pytest
import ufl
from dolfinx import fem
from petsc4py import PETSc
from ufl import dx

from tests.tools import total, waves

domain = shapes.rectangle(h=0.125)


def function(seed=3):
    u = fem.Function(fem.functionspace(domain, ("Lagrange", 1)), name="u")
    u.interpolate(waves(seed, mean=1.0, size=0.5))
    return u


def test_a_guess_is_exact_for_parabolas_in_time():
    u = function()
    old = fem.Function(u.function_space)
    a, b, c = (np.random.default_rng(k).normal(size=u.x.array.size) for k in range(3))
    guess, t = Guess([u], old), 0.0
    for k, tau in enumerate((0.1, 0.2, 0.05, 0.1)):
        u.x.array[:] = old.x.array[:] = a + b * t + c * t**2
        made = guess.make(tau)
        t += tau
        assert made == (k > 0)
        if k > 1:
            assert np.allclose(u.x.array, a + b * t + c * t**2, rtol=0, atol=1e-12)
    u.x.array[:] = old.x.array
    guess.make(0.5 * tau)  # the step is tried again
    s = t - tau / 2
    assert np.allclose(u.x.array, a + b * s + c * s**2, rtol=0, atol=1e-12)
    assert not guess.make(tau)  # the state is not the old one
    guess.forget()
    u.x.array[:] = old.x.array
    assert not guess.make(tau)


@pytest.mark.parametrize("scheme", [None, AVF()], ids=["implicit Euler", "AVF"])
def test_tables_are_the_forms(monkeypatch, scheme):
    results = []
    for tabulated in (True, False):
        with monkeypatch.context() as patch:
            if not tabulated:
                patch.setattr(FluxTables, "of", staticmethod(lambda step: None))
            u = function()
            E = energy.internal(u, 2)
            flow = GradientFlow(E, u, Wasserstein(), scheme=scheme)
        assert isinstance(flow.solver, NodalSolver)
        for tau in (0.01, 0.02, 0.02, 0.01):
            flow.step(tau)
        results.append((flow, u.x.array.copy()))
    (fast, one), (slow, two) = results
    assert (fast.solver._tables, slow.solver._tables) != (None, None)
    assert slow.solver._tables is None
    assert np.abs(one - two).max() < 1e-11
    for solver, other in ((fast.solver, slow.solver), (slow.solver, fast.solver)):
        residual = np.concatenate(solver.residuals())
        assert np.abs(residual).max() < 1e-8
        assert solver.A.getSizes() == other.A.getSizes()


def test_mobilities_that_are_not_linear_have_no_tables():
    u = function()
    flow = GradientFlow(energy.entropy(u), u, Wasserstein(Upwind()))
    assert isinstance(flow.solver, NodalSolver)
    assert flow.solver._tables is None


def test_a_few_cells_cover_all_vertices():
    u = function()
    V = u.function_space
    few, count = covering(V), domain.topology.index_map(2).size_local
    corners = V.dofmap.list[:count]
    assert set(corners[few].ravel()) == set(corners.ravel())
    assert few.size < 0.5 * count
    vertex = dx(metadata={"quadrature_rule": "vertex", "quadrature_degree": 1})
    layers = fem.Function(fem.functionspace(domain, ("DG", 0)))
    x = ufl.SpatialCoordinate(domain)
    assert pointwise(ufl.exp(x[0] * u) * ufl.TestFunction(V) * vertex)
    assert not pointwise(layers * u * vertex)
    assert not pointwise(ufl.CellVolume(domain) * u * vertex)
    assert not pointwise(u * dx)


def objects():
    """Number of the newest object of PETSc."""
    newest = PETSc.Vec().createSeq(1)
    number = newest.getId()
    newest.destroy()
    return number


@pytest.mark.parametrize("name", ["density", "saddle"])
def test_steps_begin_at_a_guess_and_keep_mass(monkeypatch, name):
    monkeypatch.setattr(saddle, "SMALL", 0)
    u = function()
    density = name == "density"
    E = energy.entropy(u) if density else energy.ginzburg_landau(u - 1, 0.2)
    krylov = {"ksp_type": "gmres", "pc_type": "bjacobi"} if density else {}
    flow = GradientFlow(E, u, Wasserstein() if density else HMinus1(), petsc_options=krylov)
    assert isinstance(flow.solver, NodalSolver if density else SaddleSolver)
    mass = total(u * dx)
    its, made = [], []
    for _ in range(8):
        flow.step(1e-4)
        its.append(flow.solver.snes.getLinearSolveIterations())
        made.append(objects())
    assert its[-1] < its[0]
    if density or domain.comm.size == 1:  # relaxation across ranks makes vectors inside PETSc
        assert np.diff(made)[1:].max() == 1  # the counter's own
    assert abs(total(u * dx) / mass - 1) < 1e-13
    v = fem.Function(u.function_space, name="v")
    v.x.array[:] = u.x.array
    flow.forget()
    E = energy.entropy(v) if density else energy.ginzburg_landau(v - 1, 0.2)
    other = GradientFlow(E, v, Wasserstein() if density else HMinus1(), petsc_options=krylov)
    if not density:
        other.potentials[0].x.array[:] = flow.potentials[0].x.array
    for tau in (1e-4, 2e-4, 1e-4, 1e-4):
        assert flow.step(tau).iterations == other.step(tau).iterations
    assert np.abs(u.x.array - v.x.array).max() < 1e-13
