"""What solves the systems of a flow, and why: in words."""

from __future__ import annotations

from typing import Any

from petsc4py import PETSc

__all__ = ["described", "solver_report"]

METHODS = {
    "cg": "conjugate gradients",
    "fcg": "flexible conjugate gradients",
    "minres": "minimal residuals",
    "gmres": "generalised minimal residuals",
    "fgmres": "flexible minimal residuals",
}
PRECONDITIONERS = {
    "icc": "incomplete Cholesky factors",
    "ilu": "incomplete factors",
    "gamg": "algebraic multigrid",
    "jacobi": "the diagonal",
    "pbjacobi": "the diagonal blocks of the nodes",
    "none": "nothing",
}


def solver_report(flow: Any) -> str:
    """Which solver the steps of a flow have at present, in words.

    Args:
        flow: The flow, after its first step: some choices wait for the first matrix.
    """
    solver, comm = flow.solver, flow.mesh.comm
    fields = getattr(solver, "sought", flow.states)
    maps = [
        (u.function_space.dofmap.index_map, u.function_space.dofmap.index_map_bs) for u in fields
    ]
    size = sum(m.size_global * bs for m, bs in maps)
    ranks = "1 rank" if comm.size == 1 else f"{comm.size} ranks"
    ksp = getattr(solver, "outer", solver.ksp)
    kind = "linear" if getattr(solver, "linear", False) else "nonlinear"
    lines = [
        f"{flow.name}: {kind} steps for {size} unknowns on {ranks}",
        f"method: {_first_line(solver)}",
        f"linear systems: {described(ksp)}, since {_why(solver, ksp)}",
        f"last linear solve: {ksp.getIterationNumber()} iterations",
        f"to change it: petsc_options={{...}}, or -{flow.name}_ksp_type, -{flow.name}_pc_type, ...",
    ]
    return "\n  ".join(lines)


def _why(solver: Any, ksp: PETSc.KSP) -> str:
    if hasattr(solver, "why"):
        return str(solver.why())
    options = getattr(solver, "options", None)
    if options is not None and any(options.given(key) for key in ("ksp_type", "pc_type")):
        return "the options say so"
    if getattr(solver, "factored", 0):
        return "iterations have failed"
    kind = ksp.pc.getType()
    if kind in {"cholesky", "lu"}:
        return "they are small, or not definite: factors are the cheapest way"
    if "python" in {kind, ksp.getType()}:
        return "they have blocks that are easier than the whole"
    if kind == "gamg":
        return "the stiffness dominates: the number of iterations must not grow with the mesh"
    return "the mass dominates: few iterations suffice"


def _first_line(thing: Any) -> str:
    return (type(thing).__doc__ or "").strip().splitlines()[0].rstrip(".")


def described(ksp: PETSc.KSP) -> str:
    """A linear solver in words."""
    pc = ksp.pc
    if pc.getType() in {"cholesky", "lu"}:
        package = pc.getFactorSolverType() or "petsc"
        factors = f"{'Cholesky' if pc.getType() == 'cholesky' else 'LU'} factors ({package})"
        return factors if ksp.getType() == "preonly" else f"{_method(ksp)} with {factors}"
    if ksp.getType() == "python":
        return f"{_first_line(ksp.getPythonContext())} to {ksp.rtol:.0e}"
    return f"{_method(ksp)} to {ksp.rtol:.0e}, preconditioned by {_preconditioner(pc)}"


def _method(ksp: PETSc.KSP) -> str:
    return METHODS.get(ksp.getType(), str(ksp.getType()))


def _preconditioner(pc: PETSc.PC) -> str:
    kind = pc.getType()
    if kind == "bjacobi":
        where = "" if pc.comm.size == 1 else ", rank by rank"
        return _preconditioner(pc.getBJacobiSubKSP()[0].pc) + where
    if kind == "asm":
        return _preconditioner(pc.getASMSubKSP()[0].pc) + ", rank by rank with overlap"
    if kind == "python":
        return _first_line(pc.getPythonContext())
    return PRECONDITIONERS.get(kind, str(kind))
