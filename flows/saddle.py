r"""The step of an $H^{-1}$ metric at scale: the state is eliminated, two definite systems remain.

Newton's system for (state, chemical potential) is
$\begin{pmatrix} H & -M \\ -M & -\tau K \end{pmatrix}$ with the Hessian $H$ of the energy, the mass
$M$ (lumped: $D$) and the stiffness $K$ of the mobility. Eliminating the state leaves
$S = D + \tau H D^{-1} K$ for the potential, and

$$ S \approx \tfrac1b\, (H_+ + s D)\, D^{-1}\, (D + b \tau K) $$

is a product of two definite operators, one multigrid cycle each. The conserved row of what the
preconditioner returns is exact, so that mass is conserved at any tolerance of the linear solver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flows.forms import VERTEX, assembled, compiled
from flows.functional import StepFunctional
from flows.guess import GuessingSolver

import numpy as np
import ufl
from dolfinx import fem
from petsc4py import PETSc

__all__ = ["Elimination", "SaddleSolver"]

SMALL = 15_000
"""Below this number of vertices a sparse factorisation is cheaper."""

GROWTH = 1.3
"""Growth of the Krylov iterations at which the factors of earlier steps are given up."""

CYCLE = {
    "ksp_type": "preonly",
    "pc_type": "gamg",
    "pc_gamg_threshold": 0.02,
    "pc_gamg_reuse_interpolation": True,
    "mg_levels_ksp_type": "richardson",
    "mg_levels_ksp_max_it": 2,
    "mg_levels_pc_type": "sor",
}


class Elimination:
    """Preconditioner by elimination of the state; a context for PETSc's ``pc_type python``."""

    kind = "nest"
    options = {
        "snes_rtol": 1e-8,
        "ksp_type": "gmres",
        "ksp_pc_side": "right",
        "ksp_rtol": 1e-3,
        "ksp_max_it": 200,
        "ksp_gmres_restart": 60,
        "pc_type": "python",
    } | {
        f"{factor}_{key}": value
        for factor in ("hessian", "mobility")
        for key, value in CYCLE.items()
    }

    def __init__(self) -> None:
        self._stale = True
        self._trace = self._b = self._s = self._fresh = 0.0
        self._matrices = self._cycles = 0

    @staticmethod
    def suits(
        fields: Sequence[fem.Function],
        potentials: Sequence[fem.Function],
        bcs: Sequence[Any],
        options: Any,
    ) -> Elimination | None:
        """The preconditioner, where it is the fastest way: one scalar P1 state, many vertices."""
        chosen = {"ksp_type", "pc_type"} & {*(options or {})}
        if (len(fields), len(potentials)) != (2, 1) or bcs or chosen:
            return None
        V = fields[0].function_space
        element = V.element.basix_element
        lumpable = element.family.name == "P" and element.degree == 1 and not element.discontinuous
        size = V.dofmap.index_map.size_global
        return Elimination() if lumpable and V.dofmap.bs == 1 and size > SMALL else None

    def attach(self, pc: PETSc.PC, solver: Any) -> None:
        """Become the preconditioner of a solver."""
        pc.setType("python")
        pc.setPythonContext(self)
        self._prefix = solver.options.prefix
        self._matrix = solver.A

    def renew(self) -> None:
        """A new step begins: factors that have come to cost iterations are made anew."""
        cost = self._cycles / max(self._matrices, 1)
        self._fresh = self._fresh or cost
        self._stale = cost > GROWTH * self._fresh + 1
        self._matrices = self._cycles = 0

    def forget(self) -> None:
        """Drop all that is kept from earlier steps."""
        self._stale, self._trace, self._fresh = True, 0.0, 0.0
        self._matrices = self._cycles = 0

    def setUp(self, pc: PETSc.PC) -> None:
        """Build the two factors at the first matrix of a step; its later ones share them."""
        self._matrices += 1
        if self._matrices > 1:
            return
        H, M, K = (self._matrix.getNestSubMatrix(*ij) for ij in ((0, 0), (0, 1), (1, 1)))
        if self._trace == 0.0:
            self._allocate(H, M)
        H.mult(self._ones, self._h)
        self._t.pointwiseDivide(self._h, self._D)
        w = max(0.0, self._t.max()[1])
        H.getDiagonal(self._t)
        stiffness = self._t.sum() - self._share.dot(self._h)  # without the mass of the bulk
        K.getDiagonal(self._t)
        trace = -self._t.sum()
        root = np.sqrt(max(stiffness, 0.0) / trace)
        b, s = float(max(w, root)), float(0.1 * w + root)
        same = trace == self._trace and max(b / self._b, self._b / b) < 1.5
        if not same:
            self._trace, self._b, self._s = trace, b, s
            _refresh(self._P2, K, -b, self._D)
            self._mobility.setOperators(self._P2)
            self._mobility.setUp()
        elif not self._stale:
            return
        self._stale, self._fresh = False, 0.0
        unstable = np.maximum(-self._h.array, 0.0)
        self._t.array[:] = unstable + self._s * self._D.array
        _refresh(self._P1, H, 1.0, self._t)
        self._hessian.setOperators(self._P1)
        self._hessian.setUp()

    def _allocate(self, H: PETSc.Mat, M: PETSc.Mat) -> None:
        self._D, self._h, self._t, self._ones = (H.createVecLeft() for _ in range(4))
        self._ones.set(1.0)
        M.mult(self._ones, self._D)
        self._D.scale(-1.0)
        self._share = -M.getDiagonal() / self._D
        self._P1, self._P2 = H.duplicate(copy=True), H.duplicate(copy=True)
        self._hessian, self._mobility = (
            self._factor(name, P) for name, P in (("hessian", self._P1), ("mobility", self._P2))
        )
        self._b = 1e-300

    def _factor(self, name: str, P: PETSc.Mat) -> PETSc.KSP:
        ksp = PETSc.KSP().create(P.comm)
        ksp.setOptionsPrefix(f"{self._prefix}{name}_")
        ksp.setOperators(P)
        ksp.setFromOptions()
        return ksp

    def apply(self, pc: PETSc.PC, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """One application: solve for the potential, then for the state."""
        self._cycles += 1
        H, K = (self._matrix.getNestSubMatrix(i, i) for i in (0, 1))
        (a_u, a_mu), (c, mu) = x.getNestSubVecs(), y.getNestSubVecs()
        t = self._t
        # M c + tau K mu = a, -H c + M mu = b, with a = -a_mu, b = -a_u
        c.pointwiseDivide(a_mu, self._D)
        H.mult(c, t)
        t.axpy(1.0, a_u)
        t.scale(-self._b)
        self._hessian.solve(t, c)
        c.pointwiseMult(c, self._D)
        self._mobility.solve(c, mu)
        K.mult(mu, c)  # K holds -tau K
        c.axpy(-1.0, a_mu)
        c.pointwiseDivide(c, self._D)


class SaddleSolver(GuessingSolver):
    """Newton's method with elimination of the state, from guesses.

    Args:
        step: The step functional.
        prefix: Prefix of the PETSc options.
        options: The user's options.
        preconditioner: The elimination.
    """

    def __init__(
        self,
        step: StepFunctional,
        *,
        prefix: str,
        options: Mapping[str, Any] | None,
        preconditioner: Elimination,
    ) -> None:
        super().__init__(
            step.residual,
            step.fields,
            prefix=prefix,
            options=options,
            symmetric=step.conservative,
            preconditioner=preconditioner,
        )
        V = step.states[0].function_space
        mass = assembled(compiled(ufl.TestFunction(V) * ufl.dx(metadata=VERTEX)), V)
        self._expect(step, step.fields, [mass[: V.dofmap.index_map.size_local]])


def _refresh(P: PETSc.Mat, A: PETSc.Mat, scale: float, diagonal: PETSc.Vec) -> None:
    """Make P a multiple of A with something added to its diagonal: a positive definite matrix."""
    A.copy(P, structure=PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
    P.scale(scale)
    P.setDiagonal(diagonal, PETSc.InsertMode.ADD)
    P.setOption(PETSc.Mat.Option.SPD, True)
