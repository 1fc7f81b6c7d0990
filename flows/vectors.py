"""PETSc vectors of one field or of several: their ghosts, and linear forms as vectors."""

from __future__ import annotations

from collections.abc import Sequence

from flows.assembly import assembler
from flows.forms import compiled

import numpy as np
import ufl
from dolfinx import fem
from dolfinx.la.petsc import assign
from petsc4py import PETSc

__all__ = ["LinearForms", "scatter"]


class LinearForms:
    """Linear forms, one for each field, that are assembled into one vector again and again.

    Args:
        forms: The forms in UFL.
        fields: Functions of the spaces of their test functions.
    """

    def __init__(self, forms: Sequence[ufl.Form], fields: Sequence[fem.Function]) -> None:
        self._forms = compiled(list(forms))
        self._loads = [np.zeros(u.x.array.size) for u in fields]
        maps = [(u.function_space.dofmap.index_map, u.function_space.dofmap.bs) for u in fields]
        owned = [index_map.size_local * block for index_map, block in maps]
        pairs = list(zip(self._loads, owned, strict=True))
        self._ordered = [load[:n] for load, n in pairs] + [load[n:] for load, n in pairs]

    def assemble(self, b: PETSc.Vec) -> None:
        """Put the forms into a vector; collective."""
        for form, load in zip(self._forms, self._loads, strict=True):
            load[:] = 0.0
            if form is not None:
                assembler(form).add_vector(load)
        # PETSc's vectors hold the ghosts of all fields behind all that is owned, nests apart.
        assign(self._loads if b.type == "nest" else self._ordered, b)
        for v in _parts(b):
            v.ghostUpdate(PETSc.InsertMode.ADD, PETSc.ScatterMode.REVERSE)


def scatter(x: PETSc.Vec) -> None:
    """Give ghosts the values of their owners."""
    for v in _parts(x):
        v.ghostUpdate(PETSc.InsertMode.INSERT, PETSc.ScatterMode.FORWARD)


def _parts(x: PETSc.Vec) -> list[PETSc.Vec]:
    return list(x.getNestSubVecs()) if x.type == "nest" else [x]
