"""Which solver a step gets, by its structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flows.condensation import Condensation
from flows.coordinate import Coordinate, Positive
from flows.functional import StepFunctional
from flows.nodal import NodalSolver
from flows.quadratic import QuadraticSolver
from flows.saddle import Elimination, SaddleSolver
from flows.semilinear import SemilinearSolver
from flows.solver import Solver

from dolfinx import fem

__all__ = ["choose"]


def choose(
    step: StepFunctional,
    bcs: Sequence[fem.DirichletBC],
    *,
    prefix: str,
    options: Any,
    densities: bool,
    coordinates: Mapping[fem.Function, Coordinate],
    moving: bool,
) -> Solver:
    """One unknown a node for densities, matrices for quadratic energies, else all fields.

    Args:
        step: The step.
        bcs: Dirichlet conditions.
        prefix: Prefix of the PETSc options.
        options: The user's options.
        densities: Whether the states are densities under the vertex rule.
        coordinates: Variables in which some of them are sought.
        moving: Whether the mesh moves.
    """
    if densities and NodalSolver.suits(step, bcs, options):
        return NodalSolver(step, prefix=prefix, options=options, coordinates=coordinates)
    if not (densities or moving or coordinates) and QuadraticSolver.suits(step):
        return QuadraticSolver(step, bcs, prefix=prefix, options=options)
    if not (densities or moving or coordinates) and SemilinearSolver.suits(step):
        return SemilinearSolver(step, bcs, prefix=prefix, options=options)
    between = [r for stage in step.path for r in stage[: len(step.states)]]
    coordinates = dict(coordinates) | {r: Positive() for r in between}
    blocks: Any = None
    if not step.kept:
        blocks = Condensation.suits(step.residual, step.fields, bcs, options)
        if blocks is None and not densities:
            elimination = Elimination.suits(step.fields, step.potentials, bcs, options)
            if elimination is not None:
                return SaddleSolver(
                    step, prefix=prefix, options=options, preconditioner=elimination
                )
    return Solver(
        step.residual,
        step.fields,
        bcs,
        prefix=prefix,
        options=options,
        definite=step.convex and not coordinates,
        symmetric=step.conservative and not coordinates,
        moving=moving,
        preconditioner=blocks,
        coordinates=coordinates,
        kept=step.kept,
    )
