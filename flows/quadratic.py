r"""The step of a quadratic energy in a constant metric, by matrices that serve every step.

With $E(u) = \frac12 u \cdot K u + g \cdot u + c$ and the metric $\frac12 \dot u \cdot G \dot u$ a
step of each scheme is

$$ \big(\theta K + \tfrac1{\hat\tau} G\big)\, u = \dots, \qquad
   \theta = 1 \text{ or } \tfrac12 \text{ (AVF)}, $$

and energy, movement and residual are products with $K$ and $G$: nothing is assembled in a step, and
another step size is a sum of two matrices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, override

from flows.conditions import fixed_entries
from flows.forms import (
    assembled,
    at_zero,
    compiled,
    homogeneous,
    polynomial_degree,
    variation,
)
from flows.functional import StepFunctional
from flows.functionals import Functional, Inputs, Values
from flows.matrix import Matrix, Watched
from flows.options import repeated
from flows.scheme import AVF, BDF2, MinimizingMovement
from flows.solver import Solver, linearised

import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem
from dolfinx.fem import petsc as fempetsc
from mpi4py import MPI
from petsc4py import PETSc

__all__ = ["QuadraticForm", "QuadraticSolver", "constant_metric", "matrices", "metric_of"]

type Floats = npt.NDArray[np.float64]


class QuadraticForm:
    r"""The matrix of a bilinear form, and $\frac12 u \cdot K u$.

    Where constants cost nothing, the mean is taken off first: the value is then as exact as one
    summed up over the cells.

    Args:
        form: A symmetric bilinear form of constants and given functions.
        V: Its space.
        like: A matrix that may have the same pattern.

    Attributes:
        free: Whether constants cost nothing.
    """

    def __init__(self, form: ufl.Form, V: fem.FunctionSpace, *, like: Matrix | None = None) -> None:
        self.matrix = Watched([form], compiled(form), (), like=like)
        self.petsc = self.matrix.petsc
        self._comm, self._block = V.mesh.comm, V.dofmap.index_map_bs
        self._x, self._y = self.petsc.createVecs()
        self.free = False

    def update(self) -> bool:
        """Bring the matrix up to date; returns whether it changed."""
        changed = self.matrix.update()
        if changed:
            self.free = self._annihilates_constants()
        return changed

    def product(self, x: Floats) -> Floats:
        """The owned entries of the product with a vector of owned entries."""
        self._x.array[:] = x
        self.petsc.mult(self._x, self._y)
        return np.asarray(self._y.array_r)

    def value(self, x: Floats) -> float:
        """Half the product of a vector, given by its owned entries, with itself.

        Until the next product :attr:`last` holds the product of the matrix with the vector.
        """
        self.update()
        if self.free:
            parts = x.reshape(-1, self._block)
            sums = self._comm.allreduce(np.append(parts.sum(axis=0), len(parts)), MPI.SUM)
            x = (parts - sums[:-1] / sums[-1]).ravel()
        return float(self._comm.allreduce(x @ self.product(x))) / 2

    @property
    def last(self) -> Floats:
        """The last product."""
        return np.asarray(self._y.array_r)

    def sums(self) -> Floats:
        """Products with constants, one column for each component."""
        size = self._x.getLocalSize()
        ones = np.arange(size)[None, :] % self._block == np.arange(self._block)[:, None]
        return np.column_stack([self.product(one.astype(float)).copy() for one in ones])

    def _annihilates_constants(self) -> bool:
        diagonal = np.abs(self.petsc.getDiagonal().array_r)
        worst = float(np.abs(self.sums()).max(initial=0.0))
        scale = self._comm.allreduce(float(diagonal.max(initial=0.0)), MPI.MAX)
        return bool(self._comm.allreduce(worst, MPI.MAX) <= 1e-13 * scale)


def constant_metric(step: StepFunctional) -> bool:
    """Whether a step is that of one field in a metric that one matrix tells."""
    if step.fields != step.states or len(step.states) > 1 or step.kept or step.drift:
        return False
    if type(step.scheme) not in (MinimizingMovement, AVF, BDF2) or step.varies or step.apart:
        return False
    return step.blocks[0].metric.primal and homogeneous(*metric_of(step))


def metric_of(step: StepFunctional) -> tuple[ufl.Form, fem.Function]:
    """The metric of a step of one field, and the rate that it is a functional of."""
    (u,), (block,) = step.states, step.blocks
    rate = fem.Function(u.function_space)
    return block.potential([rate]), rate


def matrices(
    step: StepFunctional, energy: ufl.Form, like: Matrix | None = None
) -> tuple[QuadraticForm, QuadraticForm]:
    """The matrices of an energy that is quadratic in the field of a step, and of the metric."""
    (u,), (price, rate) = step.states, metric_of(step)
    bilinear = [linearised(variation(form, f), f) for form, f in ((energy, u), (price, rate))]
    K = QuadraticForm(bilinear[0], u.function_space, like=like)
    G = QuadraticForm(bilinear[1], u.function_space, like=like or K.matrix)
    for form in (K, G):
        form.update()
    return K, G


class QuadraticSolver(Solver):
    """One linear system a step, with the same matrix as long as the step keeps its size.

    Conjugate gradients begin with what they learn from the increments before. In the plane factors
    replace them when they have cost more than factors would have: the run then costs at most twice
    what it would have, had its length been known. :meth:`expect` tells it.

    Args:
        step: The step functional.
        bcs: Dirichlet conditions.
        prefix: Prefix of the PETSc options.
        options: The user's options.
    """

    dominance = 0.0003

    def __init__(
        self,
        step: StepFunctional,
        bcs: Sequence[fem.DirichletBC] = (),
        *,
        prefix: str,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        (u,) = self.fields = self.sought = list(step.states)
        self.unknown, self.bcs, self._step = u, list(bcs), step
        V = u.function_space
        self.comm = V.mesh.comm
        PETSc.garbage_cleanup(self.comm)
        self.moving, self.linear, self.preconditioner, self.coordinates = False, True, None, {}
        slope = variation(step.energy, u)
        self._energy, self._metric = matrices(step, step.energy)
        self._entries = [self._energy.matrix, self._metric.matrix]
        self._forces = [f for f in (step.loads[0], at_zero(-slope, u)) if not f.empty()]
        self._force, self._inputs = np.zeros(0), Inputs(self._forces, self.comm)
        self._compiled, self._load = compiled(self._forces), fem.create_vector(V)
        self._known = Inputs([step.energy], self.comm)
        self._value = 0.0
        plain = at_zero(step.energy, u).empty() and at_zero(slope, u).empty()
        self._elementwise = None if plain else Functional(step.energy, kept=True)
        self.fixed = fixed_entries([V], self.bcs)
        K, G = self._energy.petsc, self._metric.petsc
        self.A = K.duplicate()
        self.A.setOption(PETSc.Mat.Option.SYMMETRIC, True)
        same = K.getInfo()["nz_used"] == G.getInfo()["nz_used"]
        structures = PETSc.Mat.Structure
        self._pattern = structures.SAME_NONZERO_PATTERN if same else structures.DIFFERENT
        self.b, self.x = fempetsc.create_vector(V), fempetsc.create_vector(V)
        self._size = V.dofmap.index_map.size_global * V.dofmap.index_map_bs
        flat, alone = V.mesh.topology.dim == 2, self.comm.size == 1
        self._plane = flat and alone
        if flat and not alone:  # borders of ranks double the iterations with factors
            self.dominance = 0.0015
        self._theta = float(step.scheme.place(1.0, 0.0))
        self._tau = self._excess = 0.0
        self._means: Floats | None = None
        self._solves, self._left = 0, 0.0
        self._open_snes(prefix, repeated(V), options or {}, None)
        self.values = Values(self._total, self._price, lambda: 2 * self._price())
        self._iterative = self.ksp
        self._factors: PETSc.KSP | None = None

    @staticmethod
    def suits(step: StepFunctional) -> bool:
        """Whether matrices say all about a step."""
        if not constant_metric(step):
            return False
        (u,) = step.states
        plain = not u.function_space.element.needs_dof_transformations
        return plain and polynomial_degree(step.energy, [u]) == 2

    def expect(self, steps: float) -> None:
        """Say how many steps of this size the run has left."""
        self._left = steps

    def why(self) -> str:
        """Why the linear systems are solved as they are."""
        if self._factors is not None:
            return "the run is long enough to pay for the factors"
        if not self._open:
            return "they are small" if not self.options.given("pc_type") else "the options say so"
        if not self._plane:
            return "in space, or on several ranks, factors never pay"
        price = 5.0 * self._size**0.5
        return (
            f"factors cost {price:.0f} products with the matrix, which iterations must cost first"
        )

    # -- what a step costs ---------------------------------------------------------------------
    def _total(self) -> float:
        """The energy of the state; that before a step was that after the last one."""
        if self._elementwise is not None:
            return self._elementwise()
        if self._known.changed():
            self._value = self._energy.value(self._owned(self.fields[0]))
        return self._value

    def _price(self) -> float:
        r"""The price $d^2 / (2 \tau)$ of the change since the old state."""
        (u,), (v,) = self.fields, self._step.old
        return self._metric.value(self._owned(u) - self._owned(v)) / float(self._step.tau.value)

    def _owned(self, u: fem.Function) -> Floats:
        return np.asarray(u.x.array[: self.b.getLocalSize()])

    # -- one solve -----------------------------------------------------------------------------
    @override
    def assemble_residual(self, b: PETSc.Vec) -> None:
        step = self._step
        u, v, base = (self._owned(f[0]) for f in (self.fields, step.old, step.base))
        for form in (self._energy, self._metric):
            form.update()
        if self._inputs.changed():
            V, self._force = self.fields[0].function_space, np.zeros(u.size if self._forces else 0)
            for form in self._compiled:
                self._force += assembled(form, V, self._load)[: u.size]
        resting = bool(np.array_equal(u, v) and np.array_equal(u, base))
        if self._elementwise is None and self.comm.allreduce(resting, MPI.LAND):
            self._total()
            b.array[:] = self._energy.last  # made when the state was found
        else:
            b.array[:] = self._energy.product(step.scheme.place(u, v))
            b.array[:] += self._metric.product((u - base) / float(step.effective.value))
            self._known.forget()
        if self._force.size:
            b.array[:] -= self._force

    @override
    def _jacobian(self, snes: Any, x: PETSc.Vec, A: PETSc.Mat, P: PETSc.Mat) -> None:
        tau = float(self._step.effective.value)
        changed = [form.update() for form in (self._energy, self._metric)]
        if not any(changed) and tau == self._tau:
            return
        self._tau = tau
        self._energy.petsc.copy(A, structure=PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
        A.scale(self._theta)
        A.axpy(1 / tau, self._metric.petsc, structure=self._pattern)
        (rows,) = self.fixed
        if self.bcs:
            A.zeroRowsColumns(rows + A.getOwnershipRange()[0], 1.0)
        self._means = self._metric.sums() if self._energy.free and not self.bcs else None
        self._iterate()
        if self._open:
            self._choose_preconditioner(A)

    @override
    def solve(self) -> int:
        iterations = super().solve()
        if self._means is not None:
            self._balance(self._means)
        self._weigh()
        return iterations

    def _balance(self, means: Floats) -> None:
        """Give the state the mean that the equation asks for, whatever iterations have left."""
        (u,), (base,), width = self.fields, self._step.base, means.shape[1]
        left = means.T @ (self._owned(u) - self._owned(base))
        if self._force.size:
            left -= self._tau * self._force.reshape(-1, width).sum(axis=0)
        matrix = means.reshape(-1, width, width).sum(axis=0)
        left, matrix = (self.comm.allreduce(value, MPI.SUM) for value in (left, matrix))
        u.x.array[:] -= np.tile(np.linalg.solve(matrix, left), u.x.array.size // width)

    def _weigh(self) -> None:
        """Take factors if iterations have cost, or will, as much more as the factors cost."""
        if not (self._open and self._plane) or self._factors is not None:
            return
        # In products with the matrix: an iteration with incomplete factors costs 3.4, a guess 7, a
        # solve with factors 15, and the factors themselves five times the root of the size. Guesses
        # become better as a run goes on.
        more, price = 3.4 * self.ksp.getIterationNumber() - 8.0, 5.0 * self._size**0.5
        self._excess, self._solves = self._excess + more, self._solves + 1
        if self._excess > price or (self._solves >= 10 and more * self._left > 2 * price):
            factors = PETSc.KSP().create(self.comm)
            factors.setType("preonly")
            factors.pc.setType("cholesky")
            factors.pc.setFactorOrdering("nd")
            self._factors = factors
            self._take(factors)

    def _iterate(self) -> None:
        """Begin anew, by iterations."""
        self._excess, self._solves = 0.0, 0
        if self._factors is not None:
            self._factors = None
            self._take(self._iterative)

    def _take(self, ksp: PETSc.KSP) -> None:
        self.ksp = ksp
        self.snes.setKSP(ksp)

    @override
    def forget(self) -> None:
        self._iterate()
        self._known.forget()
        self._tau = 0.0
        super().forget()
