r"""The two-field step of a density at scale: the density is condensed out of the linear system.

In the Newton system $\begin{pmatrix} D & B \\ C & -A \end{pmatrix}$ for (density, potential)
the block $D$ is the Hessian of an energy without gradients under the vertex rule, a diagonal. What
remains is the definite system $A + C D^{-1} B$ for the potential, whose rows reach two vertices
far.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flows.forms import lumpable, nodal
from flows.solver import linearised

import numpy as np
import ufl
from dolfinx import fem
from petsc4py import PETSc

__all__ = ["Condensation"]

SMALL = 5_000
"""Below this number of vertices a sparse factorisation of both fields is cheaper."""

FLOOR = 1e-10
"""Smallest entry of D, relative to the largest: empty nodes of a porous medium have none."""


class Condensation:
    """Preconditioner by condensation of the density; a context for PETSc's ``pc_type python``."""

    kind = "nest"
    options = {
        "ksp_type": "fgmres",
        "ksp_rtol": 1e-4,
        "ksp_max_it": 50,
        "pc_type": "python",
        "condensed_ksp_type": "cg",
        "condensed_ksp_rtol": 1e-4,
        "condensed_ksp_max_it": 500,
        "condensed_pc_type": "bjacobi",
        "condensed_sub_pc_type": "icc",
    }

    def __init__(self) -> None:
        self._product: PETSc.Mat | None = None

    @staticmethod
    def suits(
        residual: Sequence[ufl.Form],
        fields: Sequence[fem.Function],
        bcs: Sequence[Any],
        options: Any,
    ) -> Condensation | None:
        """The preconditioner, where it is the fastest way: one scalar density, many vertices."""
        chosen = {"ksp_type", "pc_type"} & {*(options or {})}
        if len(fields) != 2 or bcs or chosen:
            return None
        u = fields[0]
        V = u.function_space
        if not lumpable(u) or V.dofmap.bs > 1 or V.dofmap.index_map.size_global <= SMALL:
            return None
        hessian = linearised(residual[0], u)
        return Condensation() if nodal(hessian) and not hessian.empty() else None

    def attach(self, pc: PETSc.PC, solver: Any) -> None:
        """Become the preconditioner of a solver."""
        pc.setType("python")
        pc.setPythonContext(self)
        self._matrix = solver.A
        self._ksp = PETSc.KSP().create(solver.comm)
        self._ksp.setOptionsPrefix(f"{solver.options.prefix}condensed_")

    def renew(self) -> None:
        """A new step begins; every matrix is condensed anew."""

    def forget(self) -> None:
        """Nothing is kept from earlier steps."""

    def setUp(self, pc: PETSc.PC) -> None:
        """Condense the matrix."""
        D, B, C, A = (self._matrix.getNestSubMatrix(*ij) for ij in ((0, 0), (0, 1), (1, 0), (1, 1)))
        if self._product is None:
            self._inverse, self._right = D.createVecLeft(), A.createVecLeft()
        diagonal = self._inverse
        D.getDiagonal(diagonal)
        least = FLOOR * diagonal.max()[1]
        diagonal.array[:] = np.maximum(diagonal.array, least)
        diagonal.reciprocal()
        if self._product is None:
            self._scaled = B.duplicate(copy=True)
        else:
            B.copy(self._scaled, structure=PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
        self._scaled.diagonalScale(diagonal, None)
        self._product = C.matMult(self._scaled, result=self._product)
        S = self._product
        S.axpy(-1.0, A, PETSc.Mat.Structure.SUBSET_NONZERO_PATTERN)
        S.setOption(PETSc.Mat.Option.SPD, True)
        self._ksp.setOperators(S)
        self._ksp.setFromOptions()
        self._ksp.setUp()

    def apply(self, pc: PETSc.PC, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """One application: solve for the potential, then for the density."""
        _, B, C = (self._matrix.getNestSubMatrix(*ij) for ij in ((0, 0), (0, 1), (1, 0)))
        a, b = x.getNestSubVecs()
        rho, mu = y.getNestSubVecs()
        # (A + C D^-1 B) mu = C D^-1 a - b, with -A in the matrix
        rho.pointwiseMult(self._inverse, a)
        right = self._right
        C.mult(rho, right)
        right.axpy(-1.0, b)
        self._ksp.solve(right, mu)
        B.mult(mu, rho)
        rho.aypx(-1.0, a)
        rho.pointwiseMult(self._inverse, rho)
