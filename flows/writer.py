r"""Fields of a run in files, for ParaView and PyVista."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, override
from xml.etree import ElementTree as ET

from flows.observe import Observer
from flows.periodic import carry, opened
from flows.ranks import make_way, on_root

import basix
import basix.ufl
import numpy as np
from dolfinx import fem, io
from dolfinx.io import vtkhdf
from mpi4py import MPI

__all__ = ["Writer"]

_CONTINUOUS = {basix.SobolevSpace.H1, basix.SobolevSpace.H2, basix.SobolevSpace.HInf}


class Writer(Observer):
    """Writes fields and the mesh, moving ones too, at each look.

    ============ =================================================================================
    ``.pvd``     An index beside a folder with one file for each frame and rank. After each frame
                 the index is complete; a resumed run goes on with the series. The default choice.
    ``.bp``      ADIOS2; for large runs, read by ParaView.
    ``.vtkhdf``  One field on a mesh that stays.
    ============ =================================================================================

    A series in ``.bp`` or ``.vtkhdf`` cannot be cut: a resumed run goes on in ``name-2.bp``, and so
    does a flow that leaves its mesh for another; in ``.pvd`` frames of all meshes make one series.
    Fields of degree 0 become cell data; all others are interpolated to one Lagrange space of their
    highest degree (and that of the mesh), which is discontinuous if one of them is.

    Args:
        path: The file; its suffix chooses the format. Folders are created.
        fields: Functions to write; by default ``flow.fields``.
        every: Steps from one frame to the next.
        times: Times of frames.

    Raises:
        ValueError: for another suffix, or fields that the format cannot hold.
        OSError: on every rank when the run starts, if the file cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        fields: Sequence[fem.Function] | None = None,
        *,
        every: int | None = None,
        times: Iterable[float] = (),
    ) -> None:
        super().__init__(every=every, times=times)
        self.path = Path(path)
        self.fields = (fields,) if isinstance(fields, fem.Function) else fields
        if self.path.suffix not in _FORMATS:
            raise ValueError(f"Cannot write {path}: the suffix must be .pvd, .bp or .vtkhdf.")
        self._file: Any = None
        self._mesh: Any = None

    @override
    def start(self, flow: Any, since: float | None) -> None:
        self.finish()
        self._mesh = flow.mesh
        folder = self.path.suffix == ".bp"
        on_root(flow.mesh.comm, lambda: make_way(self.path, folder=folder))
        fields = list(flow.fields) if self.fields is None else list(self.fields)
        if not fields or not all(isinstance(u, fem.Function) for u in fields):
            raise ValueError("Writer needs fields to write: dolfinx.fem.Function, one or more.")
        if self.path.suffix == ".vtkhdf" and self.fields is None:
            del fields[1:]
        mesh = opened(flow.mesh)
        self._file = _FORMATS[self.path.suffix](self.path, mesh, _Output(fields), since)

    @override
    def observe(self, flow: Any) -> None:
        if flow.mesh is not self._mesh:
            if self.fields is not None:
                raise ValueError(
                    f"Cannot go on with {self.path}: the fields given to Writer live on the mesh "
                    "that the flow has left; leave them out to write flow.fields."
                )
            self.start(flow, flow.time)
        self._file.write(flow.time)

    @override
    def finish(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class _Output:
    """Fields in the form that files hold: one Lagrange space, degree 0 apart."""

    def __init__(self, fields: Sequence[fem.Function]) -> None:
        self._parts = [part for u in fields for part in _components(u)]
        sources = [v for v, _, _ in self._parts]
        mesh = sources[0].function_space.mesh
        elements = [v.function_space.ufl_element() for v in sources]
        smooth = [e for e in elements if not _cellwise(e)]
        degree = max([mesh.geometry.cmaps[0].degree, *(e.degree for e in smooth)])
        jumps = any(e.basix_sobolev_space not in _CONTINUOUS for e in smooth)
        # Two unnamed functions must not share a name in the file.
        names = [v.name for v in sources]
        names = [n if names.count(n) == 1 else f"{n}_{i}" for i, n in enumerate(names)]
        self.functions = [
            fem.Function(_target(v.function_space, degree, jumps), name=n)
            for v, n in zip(sources, names, strict=True)
        ]

    def update(self) -> None:
        for (part, whole, dofs), out in zip(self._parts, self.functions, strict=True):
            if whole is not part:
                part.x.array[:] = whole.x.array[dofs]
            carry(part, out)


def _components(u: fem.Function) -> list[tuple[fem.Function, fem.Function, Any]]:
    """A function, or the parts of a mixed one: where to read, from which values."""
    V = u.function_space
    if V.num_sub_spaces == 0 or V.dofmap.bs > 1:
        return [(u, u, None)]
    parts = []
    for i in range(V.num_sub_spaces):
        W, dofs = V.sub(i).collapse()
        parts.append((fem.Function(W, name=f"{u.name}_{i}"), u, np.asarray(dofs)))
    return parts


def _cellwise(element: Any) -> bool:
    return bool(element.degree == 0)


def _target(V: fem.FunctionSpace, degree: int, jumps: bool) -> fem.FunctionSpace:
    mesh, element = opened(V.mesh), V.ufl_element()
    if _cellwise(element):
        degree, jumps = 0, True
    variant = basix.LagrangeVariant.equispaced  # what VTK assumes
    if degree <= 2:
        variant = basix.LagrangeVariant.gll_warped  # the same nodes, and spaces are shared
    wanted = basix.ufl.element(
        "Lagrange",
        mesh.basix_cell(),
        degree,
        variant,
        shape=tuple(V.value_shape),
        discontinuous=jumps,
    )
    same = mesh is V.mesh and wanted == element
    return V if same else fem.functionspace(mesh, wanted)


_INDEX = """<?xml version='1.0' encoding='utf-8'?>
<VTKFile type="Collection" version="1.0"><Collection>
{}
</Collection></VTKFile>
"""


class _Pvd:
    """Frames in a folder, and an index that lists those that are complete."""

    def __init__(self, path: Path, mesh: Any, output: _Output, since: float | None) -> None:
        self.path, self.comm, self.output = path, mesh.comm, output
        self.folder = path.with_suffix("")
        self.frames: list[tuple[float, str]] = []
        self._lines: list[str] = []
        if since is not None:
            frames = self.comm.bcast(on_root(self.comm, self._read))
            self.frames = [frame for frame in frames if frame[0] < since]
        on_root(self.comm, lambda: make_way(self.folder / "frame"))
        # Frames that are about to be overwritten must not be listed any more.
        on_root(self.comm, self._index)

    def _read(self) -> list[tuple[float, str]]:
        if not self.path.exists():
            return []
        try:
            sets = ET.parse(self.path).iter("DataSet")
            return [(float(s.attrib["timestep"]), s.attrib["file"]) for s in sets]
        except (ET.ParseError, KeyError) as error:
            raise ValueError(f"Cannot continue {self.path}: {error}; rename the file.") from error

    def write(self, t: float) -> None:
        self.output.update()
        # DOLFINx names the frames by what stands before the first dot.
        stem = f"{self.path.stem.replace('.', '_')}_{len(self.frames):06d}"
        with io.VTKFile(self.comm, self.folder / f"{stem}.pvd", "w") as file:
            file.write_function(self.output.functions, t)
        del file  # it would write its index once more
        self.comm.Barrier()
        self.frames.append((t, f"{self.folder.name}/{stem}.pvtu"))
        on_root(self.comm, lambda: self._finish(stem))

    def _finish(self, stem: str) -> None:
        # DOLFINx writes an index of its own for each frame, and numbers the only one.
        (self.folder / f"{stem}.pvd").unlink()
        os.replace(self.folder / f"{stem}000000.pvtu", self.folder / f"{stem}.pvtu")
        self._index()

    def _index(self) -> None:
        # It is written once for each frame: joining lines is all that may cost.
        for t, file in self.frames[len(self._lines) :]:
            entry = ET.Element("DataSet", timestep=repr(t), part="0", file=file)
            self._lines.append(ET.tostring(entry, encoding="unicode"))
        part = self.path.with_name(f".{self.path.name}.part")
        part.write_text(_INDEX.format("\n".join(self._lines)), encoding="utf-8")
        os.replace(part, self.path)

    def close(self) -> None:
        """Nothing is open between frames."""


class _Bp:
    """A series of ADIOS2; the engine BP4 completes its index at each step."""

    def __init__(self, path: Path, mesh: Any, output: _Output, since: float | None) -> None:
        self.output = output
        path = _next(path, mesh.comm, since)
        output.update()
        self._writer = io.VTXWriter(
            mesh.comm, path, output.functions, "BP4", io.VTXMeshPolicy.update
        )

    def write(self, t: float) -> None:
        self.output.update()
        self._writer.write(t)

    def close(self) -> None:
        # DOLFINx leaves close() of its writers without types.
        self._writer.close()  # type: ignore[no-untyped-call]


class _VtkHdf:
    """One field, at the nodes of a mesh that stays or on its cells."""

    def __init__(self, path: Path, mesh: Any, output: _Output, since: float | None) -> None:
        self.mesh, self.output = mesh, output
        (u,) = functions = output.functions[:1]
        if len(output.functions) > len(functions) or len(u.function_space.value_shape) > 1:
            raise ValueError(f"Cannot write {path}: .vtkhdf holds one scalar or vector; use .pvd.")
        element = u.function_space.ufl_element()
        self._cells = element.degree == 0
        fits = element.degree == mesh.geometry.cmaps[0].degree and not element.discontinuous
        if not (self._cells or fits):
            raise ValueError(
                f"Cannot write {path}: .vtkhdf holds fields of the degree of the mesh; use .pvd."
            )
        self._x = mesh.geometry.x.copy()
        self.path = _next(path, mesh.comm, since)
        on_root(mesh.comm, lambda: self.path.unlink(missing_ok=True))
        vtkhdf.write_mesh(self.path, mesh)

    def write(self, t: float) -> None:
        if self.mesh.comm.allreduce(not np.array_equal(self._x, self.mesh.geometry.x), MPI.LOR):
            raise ValueError(
                f"Cannot write {self.path}: .vtkhdf needs a mesh that stays; use .pvd."
            )
        self.output.update()
        u = self.output.functions[0]
        bs, table = u.function_space.dofmap.bs, u.function_space.dofmap.list
        values = u.x.array.reshape(-1, bs)
        if self._cells:
            owned = self.mesh.topology.index_map(self.mesh.topology.dim).size_local
            data, write = values[table[:owned, 0]], vtkhdf.write_cell_data
        else:
            # Nodes of the mesh and degrees of freedom are numbered apart.
            at_nodes = np.zeros((len(self._x), bs))
            at_nodes[self.mesh.geometry.dofmaps[0]] = values[table]
            data = at_nodes[: self.mesh.geometry.index_map().size_local]
            write = vtkhdf.write_point_data
        if bs == 2:  # VTK knows vectors of three components
            data = np.pad(data, ((0, 0), (0, 1)))
        write(self.path, self.mesh, np.ascontiguousarray(data).ravel(), t)

    def close(self) -> None:
        """Nothing is open between frames."""


def _next(path: Path, comm: MPI.Comm, since: float | None) -> Path:
    """The file to write: a series that goes on has a new one beside those that are there."""

    def free() -> Path:
        number, candidate = 1, path
        while since is not None and candidate.exists():
            number += 1
            candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
        return candidate

    return Path(comm.bcast(on_root(comm, free)))


_FORMATS = {".pvd": _Pvd, ".bp": _Bp, ".vtkhdf": _VtkHdf}
