"""Elimination at the nodes: the same steps as with both fields, for every structure."""

from flows import (
    AVF,
    BDF2,
    JKO,
    GradientFlow,
    ImplicitEuler,
    MinimizingMovement,
    Onsager,
    Wasserstein,
    choose,
    condensation,
    energy,
    mesh,
    mobility,
)
from flows.condensation import Condensation
from flows.nodal import NodalSolver
from flows.solver import Solver

import numpy as np
import pytest
import ufl
from dolfinx import fem
from ufl import grad, inner

from tests.tools import nodal, total, waves

domain = mesh.rectangle(h=0.125)
x = ufl.SpatialCoordinate(domain)
ENERGIES = {
    "free energy": lambda u: energy.entropy(u) + energy.potential(u, x[0] ** 2 + x[1]),
    "porous medium": lambda u: energy.internal(u, 3) + energy.potential(u, x[0]),
    "on its own rule": lambda u: u**2 * ufl.dx(metadata={"quadrature_degree": 2}),
    "with gradients": lambda u: 0.01 * energy.dirichlet(u) + energy.entropy(u),
}
SCHEMES = [ImplicitEuler(), MinimizingMovement(), AVF(points=2), BDF2()]


def density(seed=3):
    rho = fem.Function(fem.functionspace(domain, ("Lagrange", 1)), name="rho")
    rho.interpolate(waves(seed, mean=1.0, size=0.8))
    return rho


def run(monkeypatch, form, scheme, *, eliminate, metric=None, steps=3):
    with monkeypatch.context() as patch:
        if not eliminate:
            patch.setattr(choose.NodalSolver, "suits", lambda *_: False)
        rho = density()
        flow = GradientFlow(form(rho), rho, metric or Wasserstein(), scheme=scheme)
    reports = [flow.step(0.01) for _ in range(steps)]
    return flow, nodal(rho), reports


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("name", ["free energy", "porous medium"])
def test_eliminated_steps_are_those_of_both_fields(monkeypatch, name, scheme):
    fast, one, reports = run(monkeypatch, ENERGIES[name], scheme, eliminate=True)
    slow, two, others = run(monkeypatch, ENERGIES[name], scheme, eliminate=False)
    assert type(fast.solver) is NodalSolver
    assert type(slow.solver) is Solver
    assert np.abs(one - two).max() < 1e-8
    for report, other in zip(reports, others, strict=True):
        assert abs(report.energy - other.energy) < 1e-9
        assert abs(report.movement - other.movement) < 1e-8 * abs(other.movement) + 1e-12


def test_only_energies_of_the_nodes_are_eliminated(monkeypatch):
    for name, kind in (("on its own rule", Solver), ("with gradients", Solver)):
        flow, *_ = run(monkeypatch, ENERGIES[name], None, eliminate=True, steps=1)
        assert type(flow.solver) is kind
    fixed = density()
    V = fixed.function_space
    left = fem.locate_dofs_geometrical(V, lambda p: np.isclose(p[0], 0))
    bcs = [fem.dirichletbc(1.0, left, V)]
    assert type(GradientFlow(energy.entropy(fixed), fixed, Wasserstein(), bcs=bcs).solver) is Solver


@pytest.mark.parametrize("name", ["free energy", "porous medium"])
def test_condensed_steps_are_those_of_a_factorisation(monkeypatch, name):
    monkeypatch.setattr(condensation, "SMALL", 0)
    fast, one, reports = run(monkeypatch, ENERGIES[name], JKO(), eliminate=True)
    monkeypatch.undo()
    slow, two, others = run(monkeypatch, ENERGIES[name], JKO(), eliminate=True)
    assert type(fast.solver.preconditioner) is Condensation
    assert slow.solver.preconditioner is None
    assert np.abs(one - two).max() < 1e-7
    assert all(abs(a.energy - b.energy) < 1e-9 for a, b in zip(reports, others, strict=True))


def test_krylov_solves_are_those_of_a_factorisation(monkeypatch):
    form = ENERGIES["free energy"]
    _, one, _ = run(monkeypatch, form, None, eliminate=True)
    for pc in ({"pc_type": "bjacobi", "sub_pc_type": "ilu"}, {"pc_type": "gamg"}):
        rho = density()
        options = {"ksp_type": "gmres", "ksp_rtol": 1e-4} | pc
        flow = GradientFlow(form(rho), rho, Wasserstein(), petsc_options=options)
        for _ in range(3):
            flow.step(0.01)
        assert flow.solver.snes.ksp.type == "gmres"
        assert np.abs(nodal(rho) - one).max() < 1e-8


@pytest.mark.serial
def test_several_species_are_eliminated_together(monkeypatch):
    def cross(c):
        # What one species pushes, the other feels: mobilities that couple them.
        def psi_star(xi):
            a, b = grad(xi[0]), grad(xi[1])
            m = c[0] * c[1] / (c[0] + c[1])
            each = c[0] * inner(a, a) + c[1] * inner(b, b) + 0.5 * m * inner(a + b, a + b)
            return 0.5 * each * mobility.vertex

        return Onsager(psi_star, lumped=True)

    results = []
    for eliminate in (True, False):
        with monkeypatch.context() as patch:
            if not eliminate:
                patch.setattr(choose.NodalSolver, "suits", lambda *_: False)
            c = (density(1), fem.Function(density().function_space.clone(), name="b"))
            c[1].interpolate(waves(2, mean=1.0, size=0.8))
            form = energy.entropy(c[0]) + 2 * energy.entropy(c[1])
            flow = GradientFlow(form, c, cross(c), scheme=ImplicitEuler())
        masses = [total(u * ufl.dx) for u in c]
        for _ in range(3):
            flow.step(0.01)
        assert [type(flow.solver) is NodalSolver, eliminate] in ([True, True], [False, False])
        assert all(abs(total(u * ufl.dx) / m - 1) < 1e-13 for u, m in zip(c, masses, strict=True))
        results.append(np.concatenate([nodal(u) for u in c]))
    assert np.abs(results[0] - results[1]).max() < 1e-8


def test_a_flow_that_forgets_goes_on_like_a_new_one():
    # A resumed run starts from the same values without any warm start.
    rho, sigma = density(), density()
    flow = GradientFlow(ENERGIES["free energy"](rho), rho, Wasserstein())
    for _ in range(4):
        flow.step(0.02)
    sigma.x.array[:] = rho.x.array
    flow.forget()
    other = GradientFlow(ENERGIES["free energy"](sigma), sigma, Wasserstein())
    for tau in (0.02, 0.01, 0.02, 0.02):
        assert flow.step(tau).iterations == other.step(tau).iterations
    assert np.array_equal(rho.x.array, sigma.x.array)
