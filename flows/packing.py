"""The values of coefficients cell by cell, as kernels read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from dolfinx import fem

__all__ = ["Packed", "PackedBlocks", "packed"]


class Packed:
    """Constants and coefficients of a compiled form, packed into the same memory each time.

    DOLFINx's own packing makes new arrays and goes through functions that transform degrees of
    freedom: for small kernels it costs as much as the kernels. Where nothing is transformed and
    the form has integrals over cells alone, it is one gather for each coefficient.

    Args:
        form: The compiled form.
    """

    def __init__(self, form: fem.Form) -> None:
        self._form = form
        self._arrays = fem.pack_coefficients(form)
        self._places: npt.NDArray[np.intp] | None = None
        if self._plain():
            self._make_places()

    def constants(self) -> Any:
        """The constants."""
        return fem.pack_constants(self._form)

    def coefficients(self) -> Any:
        """The coefficients, for each kind of integral."""
        if self._places is None:
            return fem.pack_coefficients(self._form)
        for vector, here in self._parts:
            self._values[here] = vector.array
        (packed,) = self._arrays.values()
        np.take(self._values, self._places, out=packed, mode="clip")
        return self._arrays

    def _plain(self) -> bool:
        form = self._form._cpp_object
        kinds = {kind for kind, _ in self._arrays}
        spaces = [f.function_space for f in form.coefficients]
        same = all(V.mesh == form.mesh for V in spaces)
        return (
            len(self._arrays) == 1 < 1 + len(spaces)
            and kinds == {fem.IntegralType.cell}
            and same
            and not any(V.element.needs_dof_transformations for V in spaces)
        )

    def _make_places(self) -> None:
        """Where each entry of the packed array stands in all coefficients, one after another."""
        form, (kind, number) = self._form._cpp_object, next(iter(self._arrays))
        cells, columns, end = form.domains(kind, number), [], 0
        self._parts: list[tuple[Any, slice]] = []
        for f in form.coefficients:
            dofmap = f.function_space.dofmap
            nodes = np.asarray(dofmap.map(), dtype=np.intp)[cells]
            places = nodes[:, :, None] * dofmap.bs + np.arange(dofmap.bs)
            columns.append(end + places.reshape(len(cells), -1))
            self._parts.append((f.x, slice(end, end + len(f.x.array))))
            end += len(f.x.array)
        self._values, self._places = np.empty(end), np.concatenate(columns, axis=1)


class PackedBlocks:
    """Constants and coefficients of a list of compiled forms, or of a list of lists.

    Args:
        forms: The forms; ``None`` is a form that vanishes.
    """

    def __init__(self, forms: Sequence[Any]) -> None:
        self._blocks = [None if form is None else packed(form) for form in forms]

    def constants(self) -> Any:
        """The constants."""
        empty = np.zeros(0)
        return [empty if block is None else block.constants() for block in self._blocks]

    def coefficients(self) -> Any:
        """The coefficients, for each kind of integral of each form."""
        return [{} if block is None else block.coefficients() for block in self._blocks]


def packed(form: Any) -> Packed | PackedBlocks:
    """What packs the data of a compiled form, or of blocks of them."""
    return PackedBlocks(form) if isinstance(form, (list, tuple)) else Packed(form)
