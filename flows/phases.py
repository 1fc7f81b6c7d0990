r"""The step of many order parameters: one scalar matrix for all of them.

With the potential by the vertex rule, parameters meet at the nodes alone. The Hessian of a step is

$$ J = I_n \otimes S + \varepsilon^{-1} M_L\, D^2W(u), \qquad
   S = \varepsilon\, (\tau^{-1} M + K), $$

with the lumped masses $M_L$, and

$$ D^2W(u)\, x = (3 |u|^2 - 1)\, x + 6\, u\, (u \cdot x) - 6\, u^2 x $$

is a product at each node: $n$ parameters cost $n$ times one, not $n^2$ times. Below
$\tau = \varepsilon^2$ it is positive definite, and $S + 2 \varepsilon^{-1} M_L$, what it is inside
the grains, is a preconditioner for each parameter. One that is zero everywhere stays so and costs
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, override

from flows.forms import VERTEX, assembled, compiled, lumpable, zero
from flows.functional import StepFunctional
from flows.matrix import Watched
from flows.options import Options
from flows.scheme import BDF2, MinimizingMovement
from flows.solver import Solver
from flows.vectors import LinearForms

import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem
from dolfinx.fem import petsc as fempetsc
from mpi4py import MPI
from petsc4py import PETSc
from ufl import dx, grad, inner

__all__ = ["PhaseSolver"]

type Floats = npt.NDArray[np.float64]

CG = {
    "ksp_type": "cg",
    "ksp_rtol": 1e-3,
    "ksp_max_it": 500,
    "snes_rtol": 1e-6,  # far below the error of a step, and its certificate holds with a margin
}


class PhaseSolver(Solver):
    """Newton's method for the order parameters of :func:`flows.grain_growth`.

    Args:
        step: The step functional.
        eps: Width of the interfaces.
        prefix: Prefix of the PETSc options.
        options: The user's options.
    """

    def __init__(
        self,
        step: StepFunctional,
        eps: fem.Constant,
        *,
        prefix: str,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        (u,) = step.states
        V = u.function_space
        self.fields = self.sought = [u]
        self.unknown = u
        self.comm = V.mesh.comm
        PETSc.garbage_cleanup(self.comm)
        self.bcs, self.moving, self.linear = [], False, False
        self._entries: list[Any] = []
        self.coordinates = {}
        self.fixed = [np.zeros(0, dtype=np.int32)]
        self.F = LinearForms(step.residual, [u])
        self.b, self.x = fempetsc.create_vector([V]), fempetsc.create_vector([V])
        self._hessian = _Hessian(V, eps, step.effective)
        sizes = self.b.getSizes()
        self.A = PETSc.Mat().createPython((sizes, sizes), self._hessian, comm=self.comm)
        self.A.setOption(PETSc.Mat.Option.SYMMETRIC, True)
        self.preconditioner = _Inside(self._hessian, prefix)
        self._open_snes(prefix, CG, options or {}, self.preconditioner)

    @staticmethod
    def suits(step: StepFunctional, bcs: Sequence[Any], options: Any) -> bool:
        """Whether a step is one of order parameters that meet at the nodes alone."""
        return (
            step.convex
            and not (step.kept or bcs)
            and zero(step.work)
            and isinstance(step.scheme, MinimizingMovement | BDF2)
            and lumpable(step.states[0])
            and not {"ksp_type", "pc_type", "mat_type"} & {*(options or {})}
        )

    @override
    def _jacobian(self, snes: Any, x: PETSc.Vec, A: PETSc.Mat, P: PETSc.Mat) -> None:
        self._hessian.move_to(x)
        A.assemble()


class _Hessian:
    """The action of $J$."""

    def __init__(self, V: fem.FunctionSpace, eps: fem.Constant, tau: fem.Constant) -> None:
        self.n, one = V.dofmap.bs, scalar(V)
        a, b = ufl.TrialFunction(one), ufl.TestFunction(one)
        form = eps * (a * b / tau + inner(grad(a), grad(b))) * dx
        self.matrix = Watched([form], compiled(form), [])
        owned = one.dofmap.index_map.size_local
        self.mass = masses(one)[:owned] / float(eps.value)
        self.pair = self.matrix.petsc.createVecs()
        self.changed = True
        self._diagonal = self._factor = np.zeros((self.n, owned))
        self._alive = np.ones(self.n, dtype=bool)

    def move_to(self, x: PETSc.Vec) -> None:
        """Take the second derivatives at an iterate."""
        u = self.split(x)
        self._diagonal = self.mass * (3 * (u**2).sum(axis=0) - 1 - 6 * u**2)
        self._factor = np.sqrt(6 * self.mass) * u
        self.changed |= self.matrix.update(())
        u.any(axis=1, out=self._alive)
        x.comm.tompi4py().Allreduce(MPI.IN_PLACE, self._alive, MPI.LOR)

    def split(self, x: PETSc.Vec) -> Floats:
        """The owned values of each parameter in a row."""
        return np.ascontiguousarray(x.array_r.reshape(-1, self.n).T)

    def mult(self, _: PETSc.Mat, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """Called by PETSc."""
        rows = self.split(x)
        out = self._diagonal * rows + self._factor * (self._factor * rows).sum(axis=0)
        out += self.each(self.matrix.petsc.mult, rows)
        y.array[:] = out.T.ravel()

    def each(self, action: Any, rows: Floats) -> Floats:
        """Apply something to one parameter after the other."""
        v, w = self.pair
        out = np.zeros_like(rows)
        for i in np.flatnonzero(self._alive):
            v.array[:] = rows[i]
            action(v, w)
            out[i] = w.array_r
        return out


class _Inside:
    """A preconditioner for each parameter: the Hessian inside the grains."""

    kind = None

    def __init__(self, hessian: _Hessian, prefix: str) -> None:
        self._hessian = hessian
        self._options = Options(f"{prefix}phase_", {"pc_type": "bjacobi", "sub_pc_type": "icc"}, {})
        self._pc = PETSc.PC().create(hessian.matrix.petsc.comm)
        self._pc.setOptionsPrefix(f"{prefix}phase_")
        self._inside: Any = None

    def attach(self, pc: PETSc.PC, _: Solver) -> None:
        """Become the preconditioner of a solver."""
        pc.setType("python")
        pc.setPythonContext(self)

    def renew(self) -> None:
        """Nothing depends on the state."""

    def forget(self) -> None:
        """Build it anew at the next solve."""
        self._hessian.changed = True

    def setUp(self, _: PETSc.PC) -> None:
        """Called by PETSc."""
        if not self._hessian.changed:
            return
        self._hessian.changed = False
        matrix = self._hessian.matrix.petsc
        if self._inside is None:
            self._inside = matrix.duplicate(copy=True)
        matrix.copy(self._inside, PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
        shift = self._inside.createVecLeft()
        shift.array[:] = 2 * self._hessian.mass
        self._inside.setDiagonal(shift, PETSc.InsertMode.ADD_VALUES)
        self._pc.setOperators(self._inside)
        with self._options():
            self._pc.setFromOptions()
            self._pc.setUp()

    def apply(self, _: PETSc.PC, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """Called by PETSc."""
        y.array[:] = self._hessian.each(self._pc.apply, self._hessian.split(x)).T.ravel()


def scalar(V: fem.FunctionSpace) -> fem.FunctionSpace:
    """The space of one parameter; DOLFINx numbers it as the blocks of all."""
    one = fem.functionspace(V.mesh, V.ufl_element().sub_elements[0])
    if not np.array_equal(one.dofmap.list, V.dofmap.list):
        raise RuntimeError("DOLFINx numbers a scalar space in another way than a blocked one.")
    return one


def masses(V: fem.FunctionSpace) -> Floats:
    """The lumped mass of each local node of a scalar space."""
    return assembled(compiled(ufl.TestFunction(V) * dx(metadata=VERTEX)), V).copy()
