"""A matrix that DOLFINx assembles and PETSc solves with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flows.assembly import assembler
from flows.forms import depends_on
from flows.functionals import Inputs

import dolfinx
import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem import petsc as fempetsc
from petsc4py import PETSc

__all__ = ["Matrix", "Watched"]


@dataclass(frozen=True)
class _Rows:
    """Compressed rows that share their pattern with others."""

    indptr: np.ndarray
    indices: np.ndarray
    data: np.ndarray
    index_map: Callable[[int], Any]

    @classmethod
    def like(cls, rows: Any) -> _Rows:
        """Rows of zeros."""
        return cls(rows.indptr, rows.indices, np.zeros_like(rows.data), rows.index_map)


class Matrix:
    """The PETSc matrix of a bilinear form, or of blocks of them.

    A single form goes into compressed rows of DOLFINx, since PETSc's search for the place of each
    entry costs more than the kernels. In one process PETSc reads these rows in place, in several it
    is given them row by row.

    Args:
        form: Compiled bilinear form, or blocks of them.
        once: Whether it is hardly ever assembled again, and not worth the memory of two copies.
        like: A matrix that may have the same pattern: it is not found twice, nor stored.

    Attributes:
        petsc: The matrix.
    """

    def __init__(self, form: Any, *, once: bool = False, like: Matrix | None = None) -> None:
        self.form = form
        self._rows: Any = None
        single = not isinstance(form, (list, tuple)) and len(_blocks(form)) == 1
        alone = single and form.mesh.comm.size == 1 and PETSc.IntType == np.int32
        if alone and like is not None and like._lends(form):
            self._rows = _Rows.like(like._rows)
        elif alone or (single and not once):
            self._rows = fem.create_matrix(form, dolfinx.cpp.la.BlockMode.expanded)
        self._conditions: tuple[Any, ...] = ()
        self._shared = alone
        if not alone:
            self.petsc = fempetsc.create_matrix(form)
            if self._rows is not None:
                self._name_columns()
            return
        (block,) = _blocks(form)
        sizes = [V.dofmap.index_map.size_local * block for V in form.function_spaces]
        arrays = (self._rows.indptr.astype(np.int32), self._rows.indices, self._rows.data)
        self.petsc = PETSc.Mat().createAIJWithArrays(sizes, arrays, comm=form.mesh.comm)
        self.petsc.setBlockSize(block)

    def assemble(self, bcs: Sequence[fem.DirichletBC] = ()) -> None:
        """Assemble the form, with ones on the diagonal where conditions fix a value."""
        rows = self._rows
        if rows is None:
            self.petsc.zeroEntries()
            fempetsc.assemble_matrix(self.petsc, self.form, bcs)
            self.petsc.assemble()
            return
        rows.data[:] = 0.0
        assembler(self.form).add_matrix(rows)
        if bcs:
            if self._conditions != tuple(bcs):
                self._find_fixed(bcs)
            rows.data[self._fixed] = 0.0
            rows.data[self._diagonal] = 1.0
        if self._shared:
            self.petsc.stateIncrease()
            return
        rows.scatter_reverse()
        owned = len(self._columns)
        self.petsc.setValuesCSR(self._starts, self._columns, rows.data[:owned])
        self.petsc.assemble()

    def _lends(self, form: fem.Form) -> bool:
        """Whether another form has the pattern of this one, that of all cells."""
        mine, other = assembler(self.form), assembler(form)
        pairs = zip(self.form.function_spaces, form.function_spaces, strict=True)
        return mine.everywhere and other.everywhere and all(a is b for a, b in pairs)

    def _name_columns(self) -> None:
        """Owned rows, with PETSc's names of their columns."""
        rows = self._rows
        starts = rows.indptr[: rows.index_map(0).size_local + 1]
        names = rows.index_map(1).local_to_global(rows.indices[: starts[-1]])
        self._starts, self._columns = starts.astype(PETSc.IntType), names.astype(PETSc.IntType)

    def _find_fixed(self, bcs: Sequence[fem.DirichletBC]) -> None:
        """The entries in rows and columns that conditions fix, and those of ones among them."""
        rows = self._rows
        spaces = self.form.function_spaces
        conditions = fem.bcs_by_block(spaces, list(bcs))
        down, across = (_fixed(own, rows.index_map(i)) for i, own in enumerate(conditions))
        starts, columns = rows.indptr, rows.indices
        numbers = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        self._fixed = np.flatnonzero(down[numbers] | across[columns])
        owned = numbers < rows.index_map(0).size_local
        same = spaces[0] is spaces[1]
        self._diagonal = np.flatnonzero(same & owned & down[numbers] & (numbers == columns))
        self._conditions = tuple(bcs)


def _blocks(form: Any) -> set[int]:
    """Sizes of the blocks of rows and columns."""
    return {V.dofmap.index_map_bs for V in form.function_spaces}


def _fixed(bcs: Sequence[fem.DirichletBC], index_map: Any) -> np.ndarray:
    """Which local rows or columns conditions fix, ghosts included."""
    fixed = np.zeros(index_map.size_local + index_map.num_ghosts, dtype=bool)
    for bc in bcs:
        fixed[bc.dof_indices()[0]] = True
    return fixed


class Watched(Matrix):
    """A matrix that is assembled only when something changed that its forms read.

    Args:
        forms: The forms in UFL.
        compiled: The same, compiled.
        fields: The unknowns; a matrix that reads them changes at each iterate.
        like: A matrix that may have the same pattern.
    """

    def __init__(
        self,
        forms: Sequence[ufl.Form],
        compiled: Any,
        fields: Sequence[fem.Function],
        *,
        like: Matrix | None = None,
    ) -> None:
        self.constant = not any(depends_on(form, u) for form in forms for u in fields)
        super().__init__(compiled, once=self.constant, like=like)
        self._inputs = Inputs(forms, self.petsc.comm.tompi4py())

    def forget(self) -> None:
        """Assemble anew at the next occasion."""
        self._inputs.forget()

    def update(self, bcs: Sequence[fem.DirichletBC] = ()) -> bool:
        """Bring the matrix up to date; returns whether it changed."""
        if self.constant and not self._inputs.changed():
            return False
        self.assemble(bcs)
        return True
