"""Options have an order, solvers do not disturb each other, elimination is factorisation."""

import gc
import os
import subprocess
import sys
import weakref

import flows
from flows import saddle
from flows.options import Options

import numpy as np
import pytest
from dolfinx import fem
from petsc4py import PETSc
from tools import nodal, total, waves
from ufl import dx

V = fem.functionspace(flows.mesh.rectangle(h=1 / 12), ("Lagrange", 1))

PROGRAM = """
import flows
from dolfinx import fem
flow = flows.heat(flows.mesh.rectangle(h=0.25), petsc_options={"ksp_type": "cg", "ksp_max_it": 77})
flow.state.interpolate(lambda x: x[0])
flow.step(0.1)
ksp = flow.solver.snes.ksp
print(ksp.type, ksp.pc.type, ksp.getTolerances()[3])
"""


def run(*arguments, options=""):
    """What a program prints that is started with these PETSc options."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PETSC_OPTIONS": options},
    )
    return done.stdout.splitlines()[0]


@pytest.mark.serial
def test_the_command_line_wins_over_the_program_and_the_program_over_defaults():
    assert run() == "cg cholesky 77"
    assert run("-heat_ksp_type", "gmres", "-heat_pc_type", "jacobi") == "gmres jacobi 77"
    assert run(options="-heat_ksp_max_it 33") == "cg cholesky 33"
    assert run("-other_ksp_type", "gmres", "-ksp_type", "bcgs") == "cg cholesky 77"


def test_options_stand_in_the_database_only_while_a_solver_runs():
    database = PETSc.Options()
    before = database.getAll()
    flow = flows.heat(V, petsc_options={"ksp_type": "cg", "pc_type": "jacobi"})
    flow.step(0.1)
    assert database.getAll() == before
    database["mine_ksp_type"] = "gmres"
    mine = Options("mine_", {"ksp_type": "cg", "ksp_rtol": 1e-3})
    with mine():
        assert database.getString("mine_ksp_type") == "gmres"
        assert database.getReal("mine_ksp_rtol") == 1e-3
    assert database.getAll() == before | {"mine_ksp_type": "gmres"}
    del database["mine_ksp_type"]


def test_two_flows_of_one_name_keep_their_own_options():
    first = flows.heat(V, petsc_options={"ksp_type": "cg", "pc_type": "jacobi", "ksp_rtol": 1e-11})
    second = flows.heat(V, petsc_options={"ksp_type": "gmres", "pc_type": "bjacobi"})
    for flow in (first, second):
        flow.state.interpolate(waves(1))
    for _ in range(2):
        first.step(0.1)
        second.step(0.1)
    assert first.solver.snes.ksp.type == "cg"
    assert first.solver.snes.ksp.pc.type == "jacobi"
    assert second.solver.snes.ksp.type == "gmres"
    assert np.abs(nodal(first.state) - nodal(second.state)).max() < 1e-5
    assert np.abs(nodal(first.state) - nodal(second.state)).max() > 0


def test_a_linear_solver_that_fails_says_why():
    flow = flows.heat(V, petsc_options={"ksp_type": "cg", "pc_type": "none", "ksp_max_it": 2})
    flow.state.interpolate(waves(1))
    with pytest.raises(flows.StepFailed, match=r"DIVERGED_LINEAR_SOLVE.*DIVERGED_(ITS|MAX_IT)"):
        flow.step(0.1)


def test_newton_that_fails_says_why():
    flow = flows.allen_cahn(V, eps=0.1, petsc_options={"snes_max_it": 1})
    flow.state.interpolate(waves(1))
    with pytest.raises(flows.StepFailed, match="DIVERGED_MAX_IT after 1 Newton iterations"):
        flow.step(0.005)


def test_an_error_of_petsc_is_a_failed_step():
    flow = flows.heat(V, petsc_options={"pc_type": "lu", "pc_factor_mat_solver_type": "nobody"})
    flow.state.interpolate(waves(1))
    start = nodal(flow.state)
    with pytest.raises(flows.StepFailed, match=r"PETSc error \d+ in the solve"):
        flow.step(0.1)
    assert np.array_equal(nodal(flow.state), start)


def test_a_flow_that_is_gone_leaves_nothing_behind():
    # Each flow holds matrices and some twenty communicators, of which MPI has 2048.
    for build in (flows.heat, lambda V: flows.cahn_hilliard(V, eps=0.1)):
        flow = build(V)
        flow.state.interpolate(waves(1))
        flow.step(1e-4)
        traces = [weakref.ref(part) for part in (flow, flow.solver, flow.state)]
        del flow
        gc.collect()
        assert [trace() for trace in traces] == [None, None, None]


def microstructure(monkeypatch, small, **options):
    """Cahn-Hilliard from a mixed state, by elimination if ``small`` is 0."""
    monkeypatch.setattr(saddle, "SMALL", small)
    flow = flows.cahn_hilliard(V, eps=0.1, petsc_options=options)
    flow.state.interpolate(waves(2, mean=0.1, size=0.8))
    mass = total(flow.state * dx)
    for _ in range(5):
        flow.step(2e-4)
    return flow, abs(total(flow.state * dx) - mass)


def test_elimination_of_the_state_equals_factorisation(monkeypatch):
    direct, _ = microstructure(monkeypatch, 10**9)
    eliminated, drift = microstructure(monkeypatch, 0, ksp_rtol=1e-8)
    assert direct.solver.preconditioner is None
    assert eliminated.solver.preconditioner is not None
    assert np.abs(nodal(direct.state) - nodal(eliminated.state)).max() < 1e-9
    assert drift < 1e-12


def test_elimination_keeps_the_mass_at_any_linear_tolerance(monkeypatch):
    for rtol in (1e-1, 1e-3):
        flow, drift = microstructure(monkeypatch, 0, ksp_rtol=rtol)
        assert flow.solver.preconditioner is not None
        assert drift < 1e-12
