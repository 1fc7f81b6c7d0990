r"""Tables of a flux: what is linear in the density and in the potential is integrated once.

The flux of a density by the mobility of the cells is
$\langle F(\rho, \mu), \varphi_i \rangle = \sum_{jk} T_{ijk}\, \mu_j\, \rho_k$ with numbers that the
mesh alone decides. Its two derivatives, $\sum_k T_{ijk}\, \rho_k$ and $\sum_j T_{ijk}\, \mu_j$, are
products of sparse tables with vectors, which costs a fifth of the assembly of two matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flows.forms import assembled, compiled, depends_on, nodal, substitute, zero
from flows.functional import StepFunctional
from flows.solver import linearised

import numpy as np
import ufl
from dolfinx import fem
from dolfinx.la import InsertMode
from mpi4py import MPI
from petsc4py import PETSc
from ufl.algorithms import expand_derivatives

__all__ = ["FluxTables"]

LARGEST = 6e7
"""Entries of the cells of one process beyond which the tables take too much memory."""


class FluxTables:
    r"""The equation of continuity of one density.

    $$ r(\rho, \mu) = c + m \rho + \hat\tau \sum_g T(g)\, \mu $$

    with the sum over the functions $g$ at which the metric is taken: the density itself, or data.

    Args:
        step: The step.
        row: The residual of continuity without potential.
        trilinear: The flux as a form in test function, potential and density.
        places: The functions $g$.
    """

    def __init__(
        self,
        step: StepFunctional,
        row: ufl.Form,
        trilinear: ufl.Form,
        places: Sequence[fem.Function],
    ) -> None:
        (self.u,), (self.mu,), self._effective = step.states, step.potentials, step.effective
        self._places, self._follows = list(places), self.u in places
        V = self.u.function_space
        self._owned = V.dofmap.index_map.size_local
        self._data = compiled(substitute(row, {self.u: ufl.as_ufl(0)}))
        self._load, self._out = fem.create_vector(V), fem.create_vector(V)
        one = fem.Function(V)
        one.x.array[:] = 1.0
        slope = compiled(expand_derivatives(ufl.derivative(row, self.u, one)))
        self._mass = assembled(slope, V, self._out)[: self._owned].copy()
        self._tabulate(V, _of_cells(trilinear, V))

    @staticmethod
    def of(step: StepFunctional) -> FluxTables | None:
        """The tables of a step, where its metric is linear in one density."""
        if len(step.states) > 1:
            return None
        (u,), (mu,), full = step.states, step.potentials, step.residual[-1]
        row, flux = substitute(full, {mu: ufl.as_ufl(0)}), linearised(full, mu)
        slope = linearised(row, u)
        if zero(flux) or depends_on(flux, mu) or _reads(slope) or not nodal(slope):
            return None
        V = u.function_space
        cells = V.mesh.topology.index_map(V.mesh.topology.dim).size_local
        size = V.mesh.comm.allreduce(float(cells * V.dofmap.list.shape[1] ** 3), MPI.MAX)
        # By the step functional the metric is multiplied by the effective step.
        flux = substitute(flux, {step.effective: ufl.as_ufl(1.0)})
        places = flux.coefficients()
        if (
            size > LARGEST
            or not places
            or any(i.integral_type() != "cell" for i in flux.integrals())
        ):
            return None
        if any(g.function_space.element != V.element for g in places):
            return None
        third = ufl.Argument(V, 2)
        trilinear = [expand_derivatives(ufl.derivative(flux, g, third)) for g in places]
        rest = substitute(flux, dict.fromkeys(places, ufl.as_ufl(0)))
        if not zero(rest) or any(_reads(T) or not T.equals(trilinear[0]) for T in trilinear):
            return None
        return FluxTables(step, row, trilinear[0], places)

    def _tabulate(self, V: fem.FunctionSpace, cells: np.ndarray) -> None:
        from scipy.sparse import csr_array  # slow to import: only where there are densities

        dofs = V.dofmap.list[: len(cells)].astype(np.int64)
        n = self._out.array.size
        pairs, slots = np.unique(dofs[:, :, None] * n + dofs[:, None, :], return_inverse=True)
        slots = slots.reshape(cells.shape[:3])
        rows, columns = np.divmod(pairs, n)

        def table(slot: Any, column: Any) -> Any:
            where = tuple(np.broadcast_to(a, cells.shape).ravel() for a in (slot, column))
            made = csr_array((cells.ravel(), where), shape=(pairs.size, n))
            made.eliminate_zeros()
            return made

        self._by_density = table(slots[:, :, :, None], dofs[:, None, None, :])
        self._by_potential = table(slots[:, :, None, :], dofs[:, None, :, None])
        starts = np.searchsorted(rows, np.arange(n + 1))
        self._stiffness = csr_array((np.zeros(pairs.size), columns, starts), shape=(n, n))
        self._columns = columns.astype(np.int32)
        self._diagonal = np.flatnonzero((rows == columns) & (rows < self._owned))
        self._make_matrix(V, rows, columns)

    def _make_matrix(self, V: fem.FunctionSpace, rows: np.ndarray, columns: np.ndarray) -> None:
        numbers = V.dofmap.index_map.local_to_global
        i, j = (numbers(a.astype(np.int32)).astype(PETSc.IntType) for a in (rows, columns))
        self.matrix = PETSc.Mat().create(V.mesh.comm)
        self.matrix.setSizes(2 * [(self._owned, None)])
        self.matrix.setType("aij")
        self.matrix.setPreallocationCOO(i, j)

    # -- at one point --------------------------------------------------------------------------
    def begin(self) -> None:
        """The data of a step are set."""
        assembled(self._data, self.u.function_space, self._load)
        self._take()

    def _take(self) -> None:
        """Take the metric at the present state."""
        first, *others = (g.x.array for g in self._places)
        self._stiffness.data[:] = self._by_density @ sum(others, first)
        self._stiffness.data *= float(self._effective.value)

    def residual(self) -> np.ndarray:
        """Owned entries of the residual at the present state and potential."""
        if self._follows:
            self._take()
        self._out.array[:] = self._stiffness @ self.mu.x.array
        self._out.scatter_reverse(InsertMode.add)
        here = slice(self._owned)
        self._out.array[here] += self._load.array[here] + self._mass * self.u.x.array[here]
        return np.asarray(self._out.array[here])

    def jacobian(self, slope: np.ndarray, bend: np.ndarray) -> None:
        """Set the matrix, at the point where the residual was taken.

        Args:
            slope: Derivative of the density in what is sought, node by node.
            bend: Derivative of the potential in it.
        """
        with np.errstate(invalid="ignore"):  # what is not a number fails the linear solve
            values = self._stiffness.data * bend[self._columns]
            if self._follows:
                flux = self._by_potential @ (float(self._effective.value) * self.mu.x.array)
                values += flux * slope[self._columns]
        values[self._diagonal] += self._mass * slope[: self._owned]
        self.matrix.setValuesCOO(values, PETSc.InsertMode.INSERT)


def _reads(form: ufl.Form) -> bool:
    return bool(form.coefficients() or form.constants())


def _of_cells(trilinear: ufl.Form, V: fem.FunctionSpace) -> np.ndarray:
    """The numbers T of each cell: its test functions, potentials and densities."""
    W = fem.functionspace(V.mesh, ("Discontinuous Lagrange", 1))
    density = fem.Function(W)
    test, trial, third = trilinear.arguments()
    places = {test: ufl.TestFunction(W), trial: ufl.TrialFunction(W), third: density}
    form = compiled(ufl.replace(trilinear, places))
    matrix = fem.create_matrix(form)
    corners = W.dofmap.list
    count, n = V.mesh.topology.index_map(V.mesh.topology.dim).size_local, corners.shape[1]
    rank = np.argsort(np.argsort(corners[:count], axis=1), axis=1)
    T = np.empty((count, n, n, n))
    for k in range(n):
        density.x.array[:] = 0.0
        density.x.array[corners[:, k]] = 1.0
        matrix.set_value(0.0)
        fem.assemble_matrix(matrix, form)
        rows = matrix.data[: count * n * n].reshape(-1, n)
        T[..., k] = rows[corners[:count, :, None], rank[:, None, :]]
    return T
