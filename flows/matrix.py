"""A matrix that DOLFINx assembles and PETSc solves with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flows.forms import depends_on
from flows.functionals import Inputs
from flows.packing import packed

import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem import petsc as fempetsc
from petsc4py import PETSc

__all__ = ["Matrix", "Watched"]


class Matrix:
    """The PETSc matrix of a bilinear form, or of blocks of them.

    In one process DOLFINx assembles a single form into its own compressed rows, whose arrays PETSc
    reads in place: that saves the search of each entry, which costs as much as the kernels.

    Args:
        form: Compiled bilinear form, or blocks of them.

    Attributes:
        petsc: The matrix.
    """

    def __init__(self, form: Any) -> None:
        self.form = form
        self._rows: Any = None
        self._packed = packed(form)
        if (
            not isinstance(form, (list, tuple))
            and form.mesh.comm.size == 1
            and PETSc.IntType == np.int32
        ):
            self._rows = fem.create_matrix(form)
            row, column = (V.dofmap.index_map_bs for V in form.function_spaces)
            if (row, column) != (1, 1):
                self._rows = None  # its rows are blocks
        if self._rows is None:
            self.petsc = fempetsc.create_matrix(form)
            return
        sizes = [V.dofmap.index_map.size_local for V in form.function_spaces]
        arrays = (self._rows.indptr.astype(np.int32), self._rows.indices, self._rows.data)
        self.petsc = PETSc.Mat().createAIJWithArrays(sizes, arrays, comm=form.mesh.comm)

    def assemble(self, bcs: Sequence[fem.DirichletBC] = ()) -> None:
        """Assemble the form, with ones on the diagonal where conditions fix a value."""
        if self._rows is None:
            self.petsc.zeroEntries()
            fempetsc.assemble_matrix(self.petsc, self.form, bcs, 1.0, *self._data())
            self.petsc.assemble()
            return
        self._rows.set_value(0.0)
        fem.assemble_matrix(self._rows, self.form, bcs, 1.0, *self._data())
        self.petsc.stateIncrease()

    def _data(self) -> tuple[Any, Any]:
        return self._packed.constants(), self._packed.coefficients()


class Watched(Matrix):
    """A matrix that is assembled only when something changed that its forms read.

    Args:
        forms: The forms in UFL.
        compiled: The same, compiled.
        fields: The unknowns; a matrix that reads them changes at each iterate.
    """

    def __init__(
        self,
        forms: Sequence[ufl.Form],
        compiled: Any,
        fields: Sequence[fem.Function],
    ) -> None:
        super().__init__(compiled)
        self.constant = not any(depends_on(form, u) for form in forms for u in fields)
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
