"""Energies with a quadratic part: matrices say what forms say, iteration by iteration."""

import flows
from flows import AVF, BDF2, L2, GradientFlow, MinimizingMovement, semilinear
from flows.assembly import Assembler
from flows.semilinear import SemilinearSolver
from flows.solver import NEWTON

import numpy as np
import pytest
import ufl
from dolfinx import fem
from dolfinx.mesh import exterior_facet_indices
from ufl import dx, grad, inner

from tests.tools import same_steps


def flow_with_everything(scheme):
    """A weight, an energy of the boundary, a changing source, moving boundary values."""
    domain = flows.mesh.rectangle(h=1 / 6)
    V = fem.functionspace(domain, ("Lagrange", 1))
    u, x = fem.Function(V, name="u"), ufl.SpatialCoordinate(domain)
    u.interpolate(lambda x: 1 + x[0] * x[1])
    t, edge = fem.Constant(domain, 0.0), fem.Function(V)
    domain.topology.create_connectivity(1, 2)
    left = exterior_facet_indices(domain.topology)[::2]
    dofs = fem.locate_dofs_topological(V, 1, left)

    def at(time):
        edge.interpolate(lambda x: 1 + x[0] * x[1] + time)

    at(0.0)
    E = ((1 + x[0]) * inner(grad(u), grad(u)) / 2 + (u**2 - 1) ** 2 + u * x[1]) * dx
    return GradientFlow(
        E + u**4 * ufl.ds,
        u,
        L2(1 + x[0]),
        scheme=scheme,
        source=ufl.sin(30 * t) * ufl.TestFunction(V) * dx,
        bcs=[fem.dirichletbc(edge, dofs)],
        time=t,
        on_time=at,
    )


@pytest.mark.parametrize(
    "scheme", [MinimizingMovement(), AVF(), BDF2()], ids=lambda s: type(s).__name__
)
def test_matrices_say_what_forms_say(scheme, monkeypatch):
    monkeypatch.setattr(semilinear, "RTOL", NEWTON["snes_rtol"])
    quick = flow_with_everything(scheme)
    assert isinstance(quick.solver, SemilinearSolver)
    monkeypatch.setattr(SemilinearSolver, "suits", lambda _: False)
    general = flow_with_everything(scheme)
    assert not isinstance(general.solver, SemilinearSolver)
    same_steps(quick, general, rel=1e-7, abs=1e-9, atol=1e-8)


def test_a_step_begins_with_the_residual_that_the_last_one_ended_with(monkeypatch):
    flow = flows.allen_cahn(flows.mesh.rectangle(h=1 / 8), eps=0.3)
    flow.state.interpolate(lambda x: np.cos(np.pi * x[0]))
    seen = []
    assemble = Assembler.add_vector
    monkeypatch.setattr(Assembler, "add_vector", lambda *a: seen.append(a) or assemble(*a))
    assert len([seen for _ in range(flow.step(0.01).iterations + 1)]) == len(seen)
    seen.clear()
    assert flow.step(0.01).iterations == len(seen)


def test_what_has_no_constant_part_or_more_than_one_component_is_left_to_the_general_solver():
    V = fem.functionspace(flows.mesh.rectangle(h=1 / 4), ("Lagrange", 1))
    W = fem.functionspace(V.mesh, ("Lagrange", 1, (2,)))
    u, w = fem.Function(V), fem.Function(W)
    smooth = inner(grad(u), grad(u)) / 2
    for flow in (
        GradientFlow((1 + smooth) ** 2 * dx, u, L2()),
        GradientFlow((smooth + u**4) * dx, u, L2(1 + u**2)),
        GradientFlow((inner(grad(w), grad(w)) + inner(w, w) ** 2) * dx, w, L2()),
        flows.allen_cahn(V, eps=0.3, constraints=[flows.MeanValue()]),
    ):
        assert not isinstance(flow.solver, SemilinearSolver)


def test_incomplete_factors_overlap_where_ranks_meet():
    def run(**options):
        flow = flows.allen_cahn(flows.mesh.rectangle(h=1 / 80), eps=0.05, petsc_options=options)
        flow.state.interpolate(lambda x: np.tanh(5 * np.cos(3 * x[0]) * np.cos(5 * x[1])))
        count = 0
        for _ in range(4):
            flow.step(1.25e-3)
            count += flow.solver.snes.getLinearSolveIterations()
        return flow, count

    flow, count = run()
    exact, _ = run(ksp_type="preonly", pc_type="cholesky", pc_factor_mat_solver_type="mumps")
    apart, more = run(ksp_type="cg")  # which a preconditioner that is not symmetric may mislead
    for other in (exact, apart):
        assert np.allclose(flow.state.x.array, other.state.x.array, rtol=0, atol=1e-7)
    alone, overlaps = flow.mesh.comm.size == 1, "rank by rank with overlap"
    assert (overlaps in flow.solver_report()) != alone
    assert overlaps not in apart.solver_report()
    assert alone or count < 0.8 * more
