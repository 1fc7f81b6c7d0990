"""The algebra of one step: residual and Jacobian from forms, PETSc for the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakMethod

from flows.conditions import fixed_entries
from flows.constraint import Kept, bordered
from flows.coordinate import Coordinate
from flows.forms import compiled, depends_on
from flows.functionals import Values
from flows.lag import Lag
from flows.matrix import Watched
from flows.options import Options, preset
from flows.vectors import LinearForms, scatter

import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem import petsc as fempetsc
from mpi4py import MPI
from petsc4py import PETSc

__all__ = ["SolveFailed", "Solver", "linearised"]

_SNES_REASONS = {v: k for k, v in vars(PETSc.SNES.ConvergedReason).items() if isinstance(v, int)}
_KSP_REASONS = {v: k for k, v in vars(PETSc.KSP.ConvergedReason).items() if isinstance(v, int)}


NEWTON = {
    "snes_linesearch_type": "basic",
    "snes_rtol": 1e-9,
    "snes_stol": 1e-12,
    "snes_atol": 1e-50,
    "snes_max_it": 25,
}


class SolveFailed(RuntimeError):
    """A nonlinear or linear solve did not converge; the message gives PETSc's reason."""


def _weak(method: Any) -> Any:
    """A callback that does not keep its owner alive: Python cannot see a cycle through PETSc."""
    alive: Any = WeakMethod(method)
    return lambda *args: alive()(*args)


class Solver:
    """Newton's method for ``F(fields) = 0``, with one residual form per field.

    Dirichlet values stand in the fields already: increments vanish there. A linear problem is
    solved in one iteration, and its matrix and preconditioner are kept for as long as nothing
    changes that the matrix reads.

    Args:
        residual: UFL residual of each field.
        fields: The unknowns.
        bcs: Which degrees of freedom are fixed.
        prefix: Prefix of the PETSc options.
        options: The user's options.
        definite: Whether the Jacobian is symmetric positive definite near a minimiser.
        symmetric: Whether the Jacobian is symmetric.
        moving: Whether the mesh moves between solves.
        preconditioner: A block preconditioner that knows the problem.
        coordinates: Variables in which some of the fields are sought.
        kept: Constraints on the first of the fields.
    """

    kept: Kept | None = None
    values: Values | None = None
    """Energy and price of a step, where the solver has a cheaper way to them than their forms."""
    _lag: Lag | None = None
    factored = 0
    """Solves for which factors stand in for iterations that have failed."""
    dominance = 0.005
    """Share of the mass in the diagonal above which incomplete factors are cheaper."""
    _rounding = 0.0

    def __init__(
        self,
        residual: Sequence[ufl.Form],
        fields: Sequence[fem.Function],
        bcs: Sequence[fem.DirichletBC] = (),
        *,
        prefix: str,
        options: Mapping[str, Any] | None = None,
        definite: bool = False,
        symmetric: bool = False,
        moving: bool = False,
        preconditioner: Any = None,
        coordinates: Mapping[fem.Function, Coordinate] | None = None,
        kept: Kept | None = None,
    ) -> None:
        self.fields = list(fields)
        self.kept = kept
        self.bcs = list(bcs)
        self.comm = fields[0].function_space.mesh.comm
        self.moving = moving
        self.preconditioner = preconditioner
        self.coordinates = dict(coordinates or {})
        self.sought = self.fields
        self.unknown = self.fields if len(self.fields) > 1 else self.fields[0]
        jacobian = [[linearised(f, u) for u in self.fields] for f in residual]
        entries = [entry for row in jacobian for entry in row]
        self.linear = not self.coordinates and not any(
            depends_on(entry, u) for entry in entries for u in self.fields
        )
        PETSc.garbage_cleanup(self.comm)  # solvers of flows that are gone
        single = len(self.fields) == 1
        lags = not (self.linear or self.coordinates or moving or kept or preconditioner)
        constants = dict.fromkeys(c for entry in entries for c in entry.constants())
        self._lag = Lag(0.02, list(constants)) if lags else None
        self.F = LinearForms(residual, self.fields)
        self.J = compiled(jacobian[0][0] if single else jacobian)
        spaces = [u.function_space for u in self.fields]
        self.fixed = fixed_entries(spaces, self.bcs)
        kind = preconditioner.kind if preconditioner is not None else None
        if kind == "nest":
            blocks = [
                [
                    None if J is None else Watched([f], J, self.fields)
                    for f, J in zip(*row, strict=True)
                ]
                for row in zip(jacobian, self.J, strict=True)
            ]
            self._entries = [block for row in blocks for block in row if block is not None]
            self.A = PETSc.Mat().createNest(
                [[block and block.petsc for block in row] for row in blocks], comm=self.comm
            )
        else:
            self._entries = [Watched(entries, self.J, self.fields)]
            self.A = self._entries[0].petsc
        if symmetric or definite:
            self.A.setOption(PETSc.Mat.Option.SYMMETRIC, True)
        self.b = fempetsc.create_vector(spaces, kind=kind)
        self.x = fempetsc.create_vector(spaces, kind=kind)
        chosen = (
            preconditioner.options
            if preconditioner is not None
            else preset(
                spaces, definite, symmetric, linear=self.linear, moving=moving, kept=bool(kept)
            )
        )
        self._open_snes(prefix, chosen, options or {}, preconditioner)

    def _open_snes(
        self, prefix: str, chosen: Mapping[str, Any], mine: Mapping[str, Any], preconditioner: Any
    ) -> None:
        # Residuals of empty regions are near rounding, and may grow by any factor.
        limits = {"snes_divergence_tolerance": 1e30, "snes_max_it": 50} if self.coordinates else {}
        defaults = NEWTON | {"snes_type": self._kind()} | limits
        self.options = Options(prefix, defaults, chosen, mine)
        if self.options.given("ksp_type"):
            self.options.drop("ksp_norm_type")  # not every method knows it
        self._open = "pc_type" not in self.options
        self.snes = self._snes(prefix, preconditioner)

    def _kind(self) -> str:
        return "ksponly" if self.linear else "newtonls"

    def _snes(self, prefix: str, preconditioner: Any) -> PETSc.SNES:
        snes = PETSc.SNES().create(self.comm)
        snes.setOptionsPrefix(prefix)
        self.A.setOptionsPrefix(prefix)
        snes.setFunction(_weak(self._residual), self.b)
        snes.setJacobian(_weak(self._jacobian), self.A)
        with self.options():
            snes.setFromOptions()
            self.A.setFromOptions() if self.A.type != "nest" else None
        if preconditioner is not None:
            preconditioner.attach(snes.ksp.pc, self)
        self.ksp = snes.ksp
        if self.kept:
            # SNES tells the outer solver alone to keep its preconditioner.
            self.ksp.pc.setReusePreconditioner("snes_lag_preconditioner" in self.options)
            place, scale = _weak(self._place), _weak(self._column_scale)
            snes.setKSP(bordered(self.ksp, self.kept, place, scale))
        return snes

    def _place(self, values: Sequence[np.ndarray], vector: PETSc.Vec) -> None:
        """Put slopes in the first fields into a vector of all unknowns."""
        for part, value, rows in zip(_parts(vector, self), values, self.fixed, strict=False):
            part[:] = value
            part[rows] = 0.0

    def _column_scale(self) -> PETSc.Vec | None:
        return self._slopes(self.snes.getSolution()) if self.coordinates else None

    def _residual(self, snes: Any, x: PETSc.Vec, b: PETSc.Vec) -> None:
        self._spread(x)
        self.assemble_residual(b)
        for vec, rows in zip(_parts(b, self), self.fixed, strict=False):
            vec[rows] = 0.0
        b.assemble()

    def fit(self, means: Mapping[fem.Function, float], tolerance: float) -> None:
        """Scale the coordinates and the smallest residual that matters to densities."""
        mean = max(means.values())
        self.coordinates = {u: c.fitted(means.get(u, mean)) for u, c in self.coordinates.items()}
        self._rounding = 1e3 * tolerance
        if not self.options.given("snes_atol"):
            self.snes.setTolerances(atol=tolerance)

    def _spread(self, x: PETSc.Vec) -> None:
        """Bring an iterate into the fields."""
        scatter(x)
        fempetsc.assign(x, self.unknown)
        for f, coordinate in self.coordinates.items():
            f.x.array[:] = coordinate.value(f.x.array)

    def _collect(self, x: PETSc.Vec) -> None:
        """Make the fields the first iterate."""
        for f, coordinate in self.coordinates.items():
            f.x.array[:] = coordinate.inverse(coordinate.inside(f.x.array))
        fempetsc.assign(self.unknown, x)

    def assemble_residual(self, b: PETSc.Vec) -> None:
        """Residual at the present fields, reactions of fixed entries included, into ``b``."""
        self.F.assemble(b)

    def _jacobian(self, snes: Any, x: PETSc.Vec, A: PETSc.Mat, P: PETSc.Mat) -> None:
        if self._lag and self._lag.keeps(snes.getIterationNumber(), snes.getFunctionNorm()):
            return
        if self.coordinates:
            for entry in self._entries:
                entry.forget()  # its columns were scaled in place
        if not self._fill():
            return
        A.assemble()
        if self.coordinates:
            A.diagonalScale(None, self._slopes(x))
        # Jacobians of one step size differ little, as long as few iterations are enough.
        known = self._lag and not self._lag.anew and self.ksp.getIterationNumber() < 30
        if self._open and not self.factored and not known:
            self._choose_preconditioner(A)

    def _fill(self) -> bool:
        """Bring the matrix up to date; returns whether it changed."""
        return any([entry.update(self.bcs) for entry in self._entries])

    def _slopes(self, x: PETSc.Vec) -> PETSc.Vec:
        slopes = x.duplicate()
        for f, s, slope in zip(
            self.sought,
            _split(x.array_r, self.sought),
            _split(slopes.array, self.sought),
            strict=True,
        ):
            coordinate = self.coordinates.get(f)
            slope[:] = coordinate.slope(s) if coordinate else 1.0
        return slopes

    def _choose_preconditioner(self, A: PETSc.Mat) -> None:
        """Incomplete factors where the mass dominates, multigrid where the stiffness does.

        Row sums of a stiffness vanish, those of a mass do not; boundary rows say nothing, so the
        lower quarter of the rows decides. Condition numbers up to some hundreds go to the factors.
        The tangential motion of a surface has no mass.
        """
        diagonal, sums = A.getDiagonal(), A.createVecLeft()
        A.getRowSum(sums)
        shares = np.abs(sums.array / diagonal.array)
        share = float(np.quantile(shares, 0.25)) if shares.size else 1.0
        dominated = not self.moving and self.comm.allreduce(share, MPI.MIN) > self.dominance
        # Factors of several levels lose too much where they stop at the borders of ranks.
        factors = "asm" if "pc_asm_overlap" in self.options else "bjacobi"
        pc, wanted = self.ksp.pc, factors if dominated else "gamg"
        if pc.getType() != wanted:
            pc.setType(wanted)
            pc.setFromOptions()

    def forget(self) -> None:
        """Drop the kept matrix: the next solve builds its own, as a resumed run does."""
        for entry in self._entries:
            entry.forget()
        if self._lag:
            self._lag.forget()
        # Multigrid keeps its interpolation, block solvers their scales: all of it is memory.
        self.ksp.reset()
        self._try_iterations()
        if self.preconditioner is not None:
            self.preconditioner.forget()

    def _factor(self) -> bool:
        """Let factors stand in for iterations; returns whether that is new."""
        if not self._open or self.factored or self.ksp.getType() == "preonly":
            return False
        self.factored, self._iterations = 10, self.ksp.getType()
        self.ksp.setType("preonly")
        self.ksp.pc.setType("cholesky")
        self.ksp.pc.setFactorSolverType("mumps")
        return True

    def _try_iterations(self) -> None:
        """Go back from factors to iterations."""
        if self.factored:
            self.factored = 0
            self.ksp.setType(self._iterations)

    def solve(self) -> int:
        """Solve from the present values of the fields.

        Returns:
            Newton iterations.

        Raises:
            SolveFailed: on every rank, with PETSc's reason; the fields hold the last iterate.
        """
        self._collect(self.x)
        if self.factored == 1:
            self._try_iterations()
        if self.factored:
            self.factored -= 1
            self.ksp.reset()  # the factors of another surface
        if self.moving:
            for entry in self._entries:
                entry.forget()
        if self.preconditioner is not None:
            self.preconditioner.renew()
        iterations = self._newton()
        for _ in range(5):  # a constraint that is not linear may want another iteration
            if not self.kept or self.kept.satisfied():
                return iterations
            iterations += self._newton()
        raise SolveFailed("the constraints are not met")

    def _newton(self) -> int:
        """Run PETSc's Newton iteration from ``x``; returns the number of iterations."""
        with self.options():
            try:
                self.snes.solve(None, self.x)
            except PETSc.Error as error:
                self.forget()
                if error.__cause__ is not None:  # an error in a callback is no failure of PETSc
                    raise error.__cause__ from None
                raise SolveFailed(f"PETSc error {error.ierr} in the solve") from error
        self._spread(self.x)
        reason = self.snes.getConvergedReason()
        stuck = reason == PETSc.SNES.ConvergedReason.DIVERGED_LINE_SEARCH
        if stuck and self.snes.getFunctionNorm() <= self._rounding:
            return max(1, int(self.snes.getIterationNumber()))  # large fluxes that balance
        if reason < 0:
            inner = self.ksp.getConvergedReason()
            self.forget()
            if inner < 0 and self.moving and self._factor():
                self._collect(self.x)
                return self._newton()
            raise SolveFailed(
                f"{_SNES_REASONS.get(reason, reason)} after {self.snes.getIterationNumber()} "
                f"Newton iterations (linear solver: {_KSP_REASONS.get(inner, inner)})"
            )
        return max(1, int(self.snes.getIterationNumber()))

    def expect(self, steps: float) -> None:
        """Take note that so many steps of this size are left."""

    def residuals(self) -> list[np.ndarray]:
        """Owned entries of the residual of each field, fixed entries included."""
        self.assemble_residual(self.b)
        return [np.array(part) for part in _parts(self.b, self)]


def linearised(residual: ufl.Form, u: fem.Function) -> ufl.Form:
    """Derivative of a residual in one field, as a bilinear form."""
    direction = ufl.TrialFunction(u.function_space)
    return ufl.algorithms.expand_derivatives(ufl.derivative(residual, u, direction))


def _parts(b: PETSc.Vec, solver: Solver) -> list[np.ndarray]:
    """Views of the owned entries of each field."""
    if b.type == "nest":
        return [v.array for v in b.getNestSubVecs()]
    return _split(b.array, solver.sought)


def _split(values: np.ndarray, functions: Sequence[fem.Function]) -> list[np.ndarray]:
    """Views of the owned entries of each function."""
    maps = [(u.function_space.dofmap.index_map, u.function_space.dofmap.bs) for u in functions]
    return np.split(values, np.cumsum([m.size_local * bs for m, bs in maps])[:-1])
