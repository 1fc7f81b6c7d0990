"""Numbers of a run, written while it goes on."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, override

from flows.conditions import conditions_by_space
from flows.evolution import COLUMNS
from flows.forms import compiled, integrate
from flows.observe import Observer, numbers
from flows.ranks import make_way, on_root

import numpy as np
import ufl
from dolfinx import fem

__all__ = ["Recorder", "reaction"]


class Recorder(Observer):
    """Writes numbers to a CSV file while a run goes on, and shows them in its history.

    The columns are ``t``, ``tau``, ``energy``, ``movement``, ``defect``, ``iterations`` and the
    given functionals. A resumed run reads back the rows up to its checkpoint and goes on below.

    Args:
        path: The file; ``None`` for the history alone.
        every: Steps from one row to the next.
        times: Times at which to add a row.
        functionals: Scalar UFL forms, or functions of the flow that return a number or a form. A
            form that a function returns is compiled once for each mesh of the flow:
            ``bend=lambda flow: flow.surface.curvature**2 * ufl.dx``.

    Raises:
        OSError: on every rank when the run starts, if the file cannot be written.
        ValueError: for a functional of another kind; and on every rank while running, for a form
            on a mesh that the flow has left.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        every: int | None = None,
        times: Iterable[float] = (),
        **functionals: Any,
    ) -> None:
        super().__init__(every=every, times=times)
        self.path = None if path is None else Path(path)
        for name, f in functionals.items():
            if name in COLUMNS or not (callable(f) or isinstance(f, ufl.Form)):
                raise ValueError(f"{name} = {f!r}: give a scalar form or a function of the flow.")
            if isinstance(f, ufl.Form) and f.arguments():
                raise ValueError(f"{name}: a functional has no test functions.")
        self._given = functionals
        self._functionals: dict[str, Callable[[Any], float]] = {}
        self._mesh: Any = None
        self.columns: dict[str, list[float]] = {c: [] for c in (*COLUMNS, *functionals)}
        self._file: Any = None
        self._writer: Any = None

    @override
    def start(self, flow: Any, since: float | None) -> None:
        self._compile(flow)
        rows = flow.mesh.comm.bcast(on_root(flow.mesh.comm, lambda: self._begin(since)))
        # In place: the history shows these very lists.
        for i, column in enumerate(self.columns.values()):
            column[:] = [row[i] for row in rows]

    def _compile(self, flow: Any) -> None:
        """Compile the functionals for the mesh of the flow."""
        left, self._mesh = self._mesh, flow.mesh
        for name, f in self._given.items():
            if left is None or not isinstance(f, ufl.Form):
                self._functionals[name] = _functional(f, flow)
            elif left is not flow.mesh and f.ufl_domain().ufl_cargo() is not flow.mesh:
                raise ValueError(
                    f"{name}: the form lives on a mesh that the flow has left; give a function of "
                    f"the flow that returns it, {name}=lambda flow: ... * ufl.dx."
                )

    def _begin(self, since: float | None) -> list[list[float]]:
        """Read back the rows up to ``since``, and open the file below them."""
        rows: list[list[float]] = []
        if since is not None:
            old = (
                self._read() if self.path is not None else zip(*self.columns.values(), strict=True)
            )
            rows = [row for row in map(list, old) if row[0] <= since]
        if self.path is not None:
            make_way(self.path)
            part = self.path.with_name(f".{self.path.name}.part")
            self._file = part.open("w", newline="")
            self._writer = csv.writer(self._file, lineterminator="\n")
            self._writer.writerows([list(self.columns), *rows])
            self._file.flush()
            os.replace(part, self.path)
        return rows

    def _read(self) -> list[list[float]]:
        if self.path is None or not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            rows = list(csv.reader(file))
        if rows and rows[0] != list(self.columns):
            raise ValueError(f"{self.path} has other columns than this Recorder: rename the file.")
        # A kill may have cut the last row; with all its columns it still has its whole time.
        return [[float(x) for x in row] for row in rows[1:] if len(row) == len(self.columns)]

    @override
    def observe(self, flow: Any) -> None:
        if self.columns["t"][-1:] == [flow.time]:
            return  # the last row that a resumed run has read back
        if flow.mesh is not self._mesh:
            self._compile(flow)
        row = numbers(self.run, flow) | {k: float(f(flow)) for k, f in self._functionals.items()}
        for name, column in self.columns.items():
            column.append(row[name])
        if self.path is not None:
            on_root(flow.mesh.comm, lambda: self._write(list(row.values())))

    def _write(self, row: list[float]) -> None:
        self._writer.writerow(row)
        self._file.flush()

    @override
    def finish(self) -> None:
        if self._file is not None:
            self._file.close()


def reaction(bc: fem.DirichletBC) -> Callable[[Any], float]:
    r"""The flux through a Dirichlet boundary, for a :class:`Recorder`.

    The residual $r$ of the equation without the boundary condition, summed over the degrees of
    freedom that the condition fixes: the rate at which the boundary feeds the state. For heat it is
    $\int_{\Gamma_D} k\, \partial_n u$ with the accuracy of the energy, not that of gradients; where
    other walls are insulated it balances the change of heat exactly. For flows in ``L2`` metrics.

    Args:
        bc: One of the conditions of the flow; degrees of freedom fixed by two conditions count in
            both.

    Returns:
        A function of the flow; not a number before the first step.
    """

    def measure(flow: Any) -> float:
        if flow.report is None:
            return math.nan
        spaces = [u.function_space for u in flow.solver.fields]
        local = 0.0
        for r, own in zip(flow.solver.residuals(), conditions_by_space(spaces, [bc]), strict=True):
            for part in own:
                rows, owned = part.dof_indices()
                local += float(np.sum(r[rows[:owned]]))
        return float(flow.mesh.comm.allreduce(local))

    return measure


def _functional(f: Any, flow: Any) -> Callable[[Any], float]:
    """A functional as a function of the flow, for the present mesh."""
    given = f if isinstance(f, ufl.Form) else f(flow)
    if not isinstance(given, ufl.Form):
        return lambda flow: float(f(flow))
    if given.arguments():
        raise ValueError(f"{given}: a functional has no test functions.")
    form = compiled(given)
    return lambda flow: integrate(form)
