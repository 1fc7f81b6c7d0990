"""Bordered systems, held against dense ones, and what becomes of them where a solve fails."""

from types import SimpleNamespace

from flows.constraint import bordered

import numpy as np
import pytest
from petsc4py import PETSc
from tools import comm

N = 12


@pytest.fixture
def system():
    """A diagonal matrix, and a right side that takes conjugate gradients as many iterations."""
    A = PETSc.Mat().createAIJ(((PETSc.DECIDE, N),) * 2, nnz=1, comm=comm)
    mine = np.arange(*A.getOwnershipRange())
    for i in mine:
        A.setValue(i, i, 1.0 + i)
    A.assemble()
    b, y = A.createVecs()
    b.array[:] = 1 + mine
    return A, b, y, mine


def solve(system, slope, limit):
    """Solve with one constraint, which has a gap of one: Newton subtracts what is found."""
    A, b, y, mine = system
    inner = PETSc.KSP().create(comm)
    inner.setType("cg")
    inner.pc.setType("none")
    inner.setTolerances(rtol=1e-13, max_it=limit)
    multiplier = SimpleNamespace(value=0.0)
    kept = SimpleNamespace(
        multipliers=[multiplier], slopes=lambda: [[slope[mine]]], gaps=lambda: np.array([1.0])
    )
    outer = bordered(inner, kept, lambda w, v: v.array.__setitem__(slice(None), w[0]), lambda: None)
    outer.setOperators(A)
    outer.solve(b, y)
    return outer.getConvergedReason(), multiplier.value, y.array


def test_the_solution_is_that_of_the_dense_system(system):
    slope = np.cos(np.arange(N))
    reason, multiplier, y = solve(system, slope, 100)
    whole = np.block([[np.diag(1.0 + np.arange(N)), slope[:, None]], [slope, 0.0]])
    *expected, step = np.linalg.solve(whole, [*(1.0 + np.arange(N)), 1.0])
    assert reason > 0
    assert np.abs(y - np.array(expected)[system[-1]]).max(initial=0) < 1e-10
    assert multiplier == pytest.approx(-step, abs=1e-10)


def test_a_solve_that_fails_before_one_that_succeeds_fails_the_whole(system):
    axis = np.eye(N)[0]  # an eigenvector: one iteration
    reason, multiplier, _ = solve(system, axis, 2)
    assert reason == PETSc.KSP.ConvergedReason.DIVERGED_MAX_IT
    assert multiplier == 0.0


def test_a_constraint_without_a_slope_is_a_breakdown(system):
    reason, multiplier, _ = solve(system, np.zeros(N), 100)
    assert reason == PETSc.KSP.ConvergedReason.DIVERGED_BREAKDOWN
    assert multiplier == 0.0
