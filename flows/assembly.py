"""Assembly of the same forms, again and again."""

from __future__ import annotations

import weakref
from functools import cached_property
from pathlib import Path
from typing import Any

from flows import lanes
from flows.kernels import Kernels

import dolfinx
import numpy as np
import numpy.typing as npt
from dolfinx import fem

__all__ = ["Assembler", "assembler"]

type Floats = npt.NDArray[np.float64]

WORTHWHILE = 20_000
"""Cells of a rank from which on loops save more time than they take to compile for one kernel."""


def assembler(form: fem.Form) -> Assembler:
    """What assembles a compiled form; made once."""
    known: Assembler | None = vars(form).get("assembler")
    if known is None:
        known = vars(form)["assembler"] = Assembler(form)
    return known


class Assembler:
    """A compiled form, assembled into memory that is there.

    DOLFINx packs the functions that a form reads for all cells, and goes through functions that
    transform degrees of freedom: for small kernels that costs more than the kernels do. Where
    nothing is transformed, and integrals are over cells alone, the same kernels are called by loops
    of our own (``cells.c``), or become a part of them on large meshes (:mod:`flows.lanes`).

    Args:
        form: The compiled form.
    """

    def __init__(self, form: fem.Form) -> None:
        self._owner = weakref.ref(form)  # the form owns this
        self._form, self._code, self._module = form._cpp_object, form.ufcx_form, form.module
        self._mesh = form.mesh
        self._plain = self._has_plain_cells()

    @property
    def everywhere(self) -> bool:
        """Whether the loops serve, and an integral goes over all cells."""
        cells = self._mesh.topology.index_map(self._mesh.topology.dim).size_local
        kind, numbers = fem.IntegralType.cell, range(self._code.form_integral_offsets[1])
        return self._plain and any(len(self._form.domains(kind, k)) == cells for k in numbers)

    def integral(self) -> float:
        """The part of this rank in the value of a functional."""
        if not self._plain:
            return float(fem.assemble_scalar(self._owner()))
        return float(sum(self._run("integral")))

    def add_vector(self, b: Floats) -> None:
        """Add a linear form to a vector, ghosts included."""
        if self._plain:
            self._run("vector", *self._tables[0], b)
        else:
            fem.assemble_vector(b, self._owner())

    def add_matrix(self, A: Any) -> None:
        """Add a bilinear form to DOLFINx's compressed rows, blocks unrolled."""
        if self._plain:
            rows, columns = self._tables
            self._run("matrix", *rows, *columns, A.indptr, A.indices, A.data)
        else:
            fem.assemble_matrix(A, self._owner())

    def _run(self, kind: str, *arguments: Any) -> list[Any]:
        constants = dolfinx.cpp.fem.pack_constants(self._form)
        return [kernels(kind, *loop, constants, *arguments) for kernels, loop in self._loops]

    def _has_plain_cells(self) -> bool:
        mesh, form = self._mesh, self._form
        spaces = [*form.function_spaces, *(f.function_space for f in form.coefficients)]
        return (
            form.integral_types == {fem.IntegralType.cell}
            and form.dtype == mesh.geometry.x.dtype == np.float64
            and len(mesh.geometry.dofmaps) == 1
            and all(V.mesh == mesh for V in spaces)
            and not any(V.element.needs_dof_transformations for V in spaces)
        )

    @cached_property
    def _kernels(self) -> Kernels:
        return Kernels(self._mesh.comm, "cells.c")

    @cached_property
    def _tables(self) -> list[list[Any]]:
        tables = [_table(V) for V in self._form.function_spaces]
        return [self._kernels.given(table.shape[1], table) for table in tables]

    @cached_property
    def _loops(self) -> list[tuple[Kernels, list[Any]]]:
        """The loops of each integral, and what they read: cells, functions, corners."""
        form, geometry = self._form, self._mesh.geometry
        self._read = [(f.x.array, _table(f.function_space)) for f in form.coefficients]
        widths = np.array([table.shape[1] for _, table in self._read], dtype=np.int32)
        addresses = np.array(
            [[array.ctypes.data for array in pair] for pair in self._read], dtype=np.int64
        ).reshape(-1, 2)
        corners = geometry.dofmaps[0]
        functions = (
            len(widths),
            np.ascontiguousarray(addresses[:, 0]),
            np.ascontiguousarray(addresses[:, 1]),
            widths,
            int(widths.sum()),
        )
        shape = (corners.shape[1], np.ascontiguousarray(corners), geometry.x)
        loops, bodies = [], self._bodies()
        for number in range(self._code.form_integral_offsets[1]):
            kernel = self._code.form_integrals[number].tabulate_tensor_float64
            kernel = self._module.ffi.cast("intptr_t", kernel)
            cells = form.domains(fem.IntegralType.cell, number)
            filled = np.append(cells, np.repeat(cells[-1:], lanes.LANES))
            read = self._kernels.given(int(kernel), len(cells), filled, *functions, *shape)
            own = self._own(bodies[number], widths.tolist()) if bodies else None
            loops.append((own or self._kernels, read))
        return loops

    def _own(self, body: str, widths: list[int]) -> Kernels | None:
        """Loops around one kernel."""
        corners, arguments = self._mesh.geometry.dofmaps[0].shape[1], [t[0] for t in self._tables]
        above = lanes.head(body, widths, corners, arguments)
        try:
            return Kernels(self._mesh.comm, "cells.c", above)
        except RuntimeError:  # FFCx has written what no release before it has: slower, not wrong
            return None

    def _bodies(self) -> list[str]:
        """The kernels, if they are worth loops of their own; collective."""
        topology, comm = self._mesh.topology, self._mesh.comm
        if topology.index_map(topology.dim).size_global < WORTHWHILE * comm.size:
            return []
        bodies = None
        if comm.rank == 0:  # the source stands beside the library
            library = Path(self._module.__file__)
            source = library.with_name(library.name.split(".")[0] + ".c")
            count = self._code.form_integral_offsets[1]
            bodies = lanes.kernels(source.read_text(), count) if source.exists() else []
        return list(comm.bcast(bodies))


def _table(V: Any) -> npt.NDArray[np.int32]:
    """Degrees of freedom of each cell, blocks unrolled."""
    nodes, block = V.dofmap.map(), V.dofmap.bs
    if block == 1:
        return np.ascontiguousarray(nodes)
    unrolled = nodes[:, :, None] * block + np.arange(block, dtype=np.int32)
    return np.asarray(unrolled.reshape(len(nodes), -1))
