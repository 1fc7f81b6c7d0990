r"""The second variation of an energy against its metric, as two sparse matrices.

Near a steady state a perturbation $x$ obeys $M \dot x = -H x$ with the second variation $H$ of the
energy and the metric $M$. A metric that is given by its dual, with the second derivative $A$ of
$\psi^*$ and the pairing $P$, is $M = P A^{-1} P^T$, a full matrix; written out with its potentials,

$$ \begin{pmatrix} H & 0 & -P \\ 0 & 0 & A \\ -P^T & A & 0 \end{pmatrix}
   \begin{pmatrix} x \\ q \\ p \end{pmatrix} = \lambda
   \begin{pmatrix} 0 & & \\ & A & \\ & & 0 \end{pmatrix}
   \begin{pmatrix} x \\ q \\ p \end{pmatrix}, $$

it stays sparse, both matrices are symmetric and the right one has no negative direction. The third
row, $A q = P^T x$, leaves out of account what the metric forbids: a gain of mass. Constraints add a
border each, fields without a metric a row without a right-hand side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flows.conditions import fixed_entries
from flows.forms import assembled, compiled, fix_quadrature, variation, zero
from flows.functional import Block, as_functional
from flows.movement import GradientFlow
from flows.solver import linearised

import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem
from dolfinx.fem import petsc as fempetsc
from mpi4py import MPI
from petsc4py import PETSc

__all__ = ["FACTORS", "Pencil", "negative"]

type Floats = npt.NDArray[np.float64]
type Blocks = list[list[PETSc.Mat | None]]

FACTORS = {
    "ksp_type": "preonly",
    "pc_type": "cholesky",
    "pc_factor_mat_solver_type": "mumps",
    "mat_mumps_icntl_12": 1,  # orderings for empty diagonals fill in more, and take long
    "mat_mumps_icntl_13": 1,  # else the last block is factored without counting its signs
    "mat_mumps_icntl_14": 100,
    "mat_mumps_icntl_24": 1,  # PETSc asks for it
}
"""Options of the solver whose factors count negative directions."""


class Pencil:
    """The two matrices of a flow at its present state.

    Args:
        flow: The flow.

    Attributes:
        left: Second variation, with multipliers.
        right: Metric; symmetric, not negative.
        excess: How many negative directions ``left`` has because of its multipliers.
        force: The derivative of the energy along what the constraints allow, in a vector; zero at
            a steady state.
    """

    def __init__(self, flow: GradientFlow) -> None:
        step = flow._step
        self.comm, self.states, self._bcs = flow.mesh.comm, step.states, flow.bcs
        fields, dual = [*step.states, *step.auxiliary], []
        for block in step.blocks:
            dual += [] if block.metric.primal else [block]
        potentials = [mu for block in dual for mu in block.potentials]
        spaces = [f.function_space for f in (*fields, *potentials, *potentials)]
        self._sizes = [_size(V) for V in spaces]
        self._fixed = fixed_entries([f.function_space for f in fields], flow.bcs)
        energy, slopes = self._balanced(flow, fields)
        n, m = len(fields), len(potentials)
        left: Blocks = [[None] * (n + 2 * m) for _ in spaces]
        right: Blocks = [[None] * (n + 2 * m) for _ in spaces]
        rows = [variation(energy, f) for f in fields]
        _fill(left, 0, 0, [[self._assemble(linearised(r, g), 1.0) for g in fields] for r in rows])
        self.excess = len(slopes) + sum(size[1] for size in self._sizes[n + m :])
        self.excess += self._negative_auxiliaries(left, len(step.states), n)
        place = n
        for block in step.blocks:
            if block.metric.primal:
                bend = self._bend(block, block.states)
                _fill(right, block.index, block.index, bend)
            else:
                self._fill_dual(left, right, block, place, place + m)
                place += len(block.states)
        self.left = self._whole(left, [_column(w, self._fixed) for w in slopes])
        self.right = self._whole(right, [[np.zeros_like(v) for v in w] for w in slopes])
        self.force = self.left.createVecLeft()
        loads = [self._load(row, f, k) for k, (row, f) in enumerate(zip(rows, fields, strict=True))]
        self.force.array[: sum(v.size for v in loads)] = np.concatenate(loads)

    # -- forms -----------------------------------------------------------------------------------
    def _balanced(self, flow: GradientFlow, fields: Any) -> tuple[ufl.Form, list[list[Floats]]]:
        """The energy with the multipliers that balance it best, and slopes of the constraints."""
        kept = flow._step.kept
        if not kept:
            return flow.functional, []
        slopes = [_column(w, self._fixed) for w in kept.slopes()]
        load = [self._load(variation(flow.functional, u), u, k) for k, u in enumerate(self.states)]

        def product(a: list[Floats], b: list[Floats]) -> float:
            local = sum(float(x @ y) for x, y in zip(a, b, strict=True))
            return float(self.comm.allreduce(local))

        gram = [[product(v, w) for w in slopes] for v in slopes]
        values = np.linalg.solve(gram, [-product(w, load) for w in slopes])
        terms = [
            fem.Constant(flow.mesh, float(v)) * G
            for v, G in zip(values, kept.functionals, strict=True)
        ]
        return sum(terms, flow.functional), slopes

    def _load(self, form: ufl.Form, f: fem.Function, k: int) -> Floats:
        load = assembled(compiled(form), f.function_space)[: self._sizes[k][0]].copy()
        load[self._fixed[k]] = 0.0
        return load

    def _assemble(self, form: ufl.Form, diagonal: float) -> PETSc.Mat | None:
        if zero(form):
            return None
        A = fempetsc.assemble_matrix(compiled(form), bcs=self._bcs, diag=diagonal)
        A.assemble()
        return A

    def _bend(self, block: Block, fields: Sequence[fem.Function]) -> Blocks:
        """Second derivatives of the dissipation potential, at rest."""
        probe = [fem.Function(f.function_space) for f in fields]
        potential = block.metric.psi if block.metric.primal else block.metric.psi_star
        psi = fix_quadrature(as_functional(potential(_one(probe), _one(block.states))), probe)
        rows = [variation(psi, p) for p in probe]
        return [[self._assemble(linearised(row, p), 0.0) for p in probe] for row in rows]

    def _fill_dual(self, left: Blocks, right: Blocks, block: Block, q: int, p: int) -> None:
        """The rows of a metric that is given by its dual."""
        bend, rates = self._bend(block, block.potentials), block.states
        change = [fem.Function(u.function_space) for u in rates]
        pairing = -block.metric.pairing(_one(block.potentials), _one(change))
        pairs = [
            [self._assemble(linearised(variation(pairing, mu), x), 0.0) for x in change]
            for mu in block.potentials
        ]
        _fill(right, q, q, bend)
        _fill(left, q, p, bend)
        _fill(left, p, q, bend)
        _fill(left, p, block.index, pairs)
        _fill(left, block.index, p, _transposed(pairs))
        _fill(left, q, q, _pinned(bend, block.potentials))

    # -- matrices --------------------------------------------------------------------------------
    def _negative_auxiliaries(self, left: Blocks, start: int, stop: int) -> int:
        """Negative directions of the energy in the fields in which it is stationary."""
        if start == stop:
            return 0
        part = PETSc.Mat().createNest([row[start:stop] for row in left[start:stop]], comm=self.comm)
        ksp = PETSc.KSP().create(self.comm)
        ksp.setOperators(part.convert("aij"))
        ksp.setType("preonly")
        ksp.pc.setType("cholesky")
        ksp.pc.setFactorSolverType("mumps")
        ksp.pc.setFactorSetUpSolverType()
        for option in (13, 24):
            ksp.pc.getFactorMatrix().setMumpsIcntl(option, 1)
        ksp.setUp()
        return negative(ksp.pc)

    def _whole(self, blocks: Blocks, borders: Sequence[Sequence[Floats]]) -> PETSc.Mat:
        """One matrix from its blocks, with a border for each constraint."""
        for k, size in enumerate(self._sizes):
            if blocks[k][k] is None:
                blocks[k][k] = _sparse(size, size, self.comm)
        if borders:
            width = (len(borders) if self.comm.rank == 0 else 0, len(borders))
            columns: list[PETSc.Mat | None] = [None] * len(self._sizes)
            for k in range(len(self.states)):
                values = np.column_stack([border[k] for border in borders])
                columns[k] = _dense(values, self._sizes[k], width, self.comm)
            blocks = [[*row, c] for row, c in zip(blocks, columns, strict=True)]
            turned = [c and c.transpose(PETSc.Mat()) for c in columns]
            blocks.append([*turned, _sparse(width, width, self.comm)])
        whole = PETSc.Mat().createNest(blocks, comm=self.comm)
        whole.assemble()
        matrix = whole.convert("aij", PETSc.Mat())
        matrix.setOption(PETSc.Mat.Option.SYMMETRIC, True)
        return matrix

    def states_of(self, vector: PETSc.Vec) -> list[Floats]:
        """The owned values of the states in a vector."""
        ends = np.cumsum([size[0] for size in self._sizes])[: len(self.states)]
        return [np.array(v) for v in np.split(vector.array_r, ends)[: len(self.states)]]


def negative(pc: PETSc.PC) -> int:
    """How many negative directions, or flat ones, a factored matrix has."""
    return sum(pc.getFactorMatrix().getInertia()[:2])


def _one(functions: Sequence[Any]) -> Any:
    return functions[0] if len(functions) == 1 else tuple(functions)


def _size(V: fem.FunctionSpace) -> tuple[int, int]:
    dofs, width = V.dofmap.index_map, V.dofmap.index_map_bs
    return dofs.size_local * width, dofs.size_global * width


def _fill(blocks: Blocks, row: int, column: int, entries: Blocks) -> None:
    for i, line in enumerate(entries):
        blocks[row + i][column : column + len(line)] = line


def _column(slopes: Sequence[Floats], fixed: Sequence[npt.NDArray[Any]]) -> list[Floats]:
    values = [w.copy() for w in slopes]
    for w, rows in zip(values, fixed, strict=False):
        w[rows] = 0.0
    return values


def _transposed(blocks: Blocks) -> Blocks:
    return [
        [A and A.transpose(PETSc.Mat()) for A in column] for column in zip(*blocks, strict=True)
    ]


def _sparse(rows: tuple[int, int], columns: tuple[int, int], comm: MPI.Comm) -> PETSc.Mat:
    """A matrix of zeros, none of which is stored."""
    A = PETSc.Mat().createAIJ((rows, columns), nnz=0, comm=comm)
    A.assemble()
    return A


def _dense(
    values: Floats, rows: tuple[int, int], columns: tuple[int, int], comm: MPI.Comm
) -> PETSc.Mat:
    """Some full columns, stored like a sparse matrix."""
    width = columns[1]
    A = PETSc.Mat().createAIJ((rows, columns), nnz=(width, width), comm=comm)
    first, last = A.getOwnershipRange()
    A.setValues(range(first, last), range(width), values)
    A.assemble()
    return A


def _pinned(bend: Any, potentials: Sequence[fem.Function]) -> Blocks:
    """A diagonal that fixes potentials which the metric does not see, as constants mostly are."""
    from scipy.linalg import qr

    ones = [
        (k, c, _ones(bend[k][k], c, mu.function_space.dofmap.index_map_bs))
        for k, mu in enumerate(potentials)
        for c in range(mu.function_space.dofmap.index_map_bs)
    ]
    cost = np.array([[_product(v, bend[j][k], w) for k, _, w in ones] for j, _, v in ones])
    sizes = [float(bend[k][k].getDiagonal().dot(v)) for k, _, v in ones]
    costs, unseen = np.linalg.eigh(cost)
    unseen = unseen[:, costs <= 1e-12 * max(sizes)]
    # As many entries as there are such potentials, chosen so that no combination escapes them.
    chosen = qr(unseen.T, mode="r", pivoting=True)[1][: unseen.shape[1]] if unseen.size else []
    pins: Blocks = [[None] * len(potentials) for _ in potentials]
    for k in range(len(potentials)):
        mine = [(ones[i][1], sizes[i]) for i in chosen if ones[i][0] == k]
        pins[k][k] = _diagonal(bend[k][k], mine)
    return pins


def _ones(A: PETSc.Mat, component: int, width: int) -> PETSc.Vec:
    one = A.createVecLeft()
    one.array[component::width] = 1.0
    return one


def _product(v: PETSc.Vec, A: PETSc.Mat | None, w: PETSc.Vec) -> float:
    if A is None:
        return 0.0
    image = v.duplicate()
    A.mult(w, image)
    return float(v.dot(image))


def _diagonal(like: PETSc.Mat, entries: Sequence[tuple[int, float]]) -> PETSc.Mat:
    """A matrix of the shape of another with a few entries on its diagonal."""
    A = PETSc.Mat().createAIJ(like.getSizes(), nnz=(1, 0), comm=like.comm)
    first, last = A.getOwnershipRange()
    for row, value in entries:
        if first <= row < last:
            A.setValue(row, row, value)
    A.assemble()
    return A
