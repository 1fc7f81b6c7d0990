r"""Checkpoints: one HDF5 file that any number of ranks writes, and any other number reads.

Values stand in the order of the ranks that wrote them, beside a key for each degree of freedom that
does not depend on ranks (:mod:`flows.dofs`). Nodes of the mesh are recognised by where they were
when the flow was built; where they are now is restored. A file is complete or it is not there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.dofs import Keys, fingerprint, keys, marks, recognise
from flows.formats import Arrays, Block, distribute
from flows.hdf5 import everywhere, opened, put, readable, some
from flows.ranks import make_way, on_root

import numpy as np
from dolfinx import fem
from mpi4py import MPI
from petsc4py import PETSc

__all__ = ["check", "follow", "load", "read", "save", "write"]

FORMAT = "flows checkpoint 1"


def save(path: str | Path, flow: Any) -> None:
    """Write the state, the time and all that the next step of a flow depends on.

    Args:
        path: The file; one that is there is replaced once the new one is complete.
        flow: The flow.

    Raises:
        OSError: on every rank, if the file cannot be written.
        ValueError: on every rank, for functions that are not of Lagrange spaces.
    """
    memory = {f"flow.{key}": value for key, value in flow.memory().items()}
    write(path, memory, flow.mesh, flow.built, flow.name)
    flow.forget()


def load(path: str | Path, flow: Any) -> None:
    """Bring a flow to the state and time of a checkpoint, written on any number of ranks.

    Args:
        path: A file that :func:`save` or a :class:`Checkpoint` wrote.
        flow: A flow built as the one that was written; if that had left its mesh for another, this
            one follows it there.

    Raises:
        OSError: on every rank, if the file is missing.
        ValueError: on every rank, if it is no checkpoint, or one of another mesh or flow.
    """
    follow(path, flow)
    memory = {f"flow.{key}": value for key, value in flow.memory().items()}
    values = read(path, memory, flow.mesh, flow.built)
    flow.restore({key.removeprefix("flow."): value for key, value in values.items()})


# -- writing ---------------------------------------------------------------------------------------
def write(
    path: str | Path, memory: Mapping[str, Any], mesh: Any, built: Any = None, name: str = ""
) -> None:
    """Write functions, numbers and lists of numbers.

    Args:
        path: The file.
        memory: The values by key.
        mesh: The mesh of the functions.
        built: Coordinates of the local nodes when the mesh was built; by default the present ones.
        name: Name of the flow, for messages.
    """
    path, comm = Path(path), mesh.comm
    spaces = _functions(memory)[1]
    bits = marks(mesh, _numbers(mesh))
    places = {i: _distinct(V, keys(V, bits)) for i, V in spaces.items()}
    about = _about(memory, list(spaces)) | {
        "format": FORMAT,
        "flow": name,
        "fingerprint": str(fingerprint(mesh, bits)),
    }
    part = path.with_name(f".{path.name}.part")
    on_root(comm, lambda: make_way(path))
    try:
        with opened(part, "w", comm) as viewer:
            put(viewer, "about", _at_root(comm, list(json.dumps(about).encode())))
            _put_mesh(viewer, mesh, built)
            for i, key in enumerate(places.values()):
                put(viewer, f"keys_{i}", key.view(np.uint32))
            _put_values(viewer, memory, comm)
    except PETSc.Error as error:
        raise OSError(f"Cannot write {path}: HDF5 failed; look for space on the disk.") from error
    on_root(comm, lambda: os.replace(part, path))


def _about(memory: Mapping[str, Any], spaces: list[int]) -> dict[str, Any]:
    """What the file says of itself."""
    functions, _ = _functions(memory)
    lists = {k: len(v) for k, v in memory.items() if isinstance(v, (list, tuple))}
    return {
        "functions": {k: _kind(u) for k, u in functions.items()},
        "layouts": {k: spaces.index(id(u.function_space)) for k, u in functions.items()},
        "numbers": {k: float(v) for k, v in memory.items() if k not in functions | lists},
        "lists": lists,
    }


def _put_mesh(viewer: Any, mesh: Any, built: Any) -> None:
    nodes = mesh.geometry.index_map().size_local
    owned = mesh.topology.index_map(mesh.topology.dim).size_local
    put(viewer, "built", (mesh.geometry.x if built is None else built)[:nodes])
    put(viewer, "coordinates", mesh.geometry.x[:nodes])
    put(viewer, "input", mesh.geometry.input_global_indices[:nodes])
    put(viewer, "cells", _numbers(mesh)[mesh.geometry.dofmaps[0][:owned]])


def _put_values(viewer: Any, memory: Mapping[str, Any], comm: MPI.Comm) -> None:
    for label, value in memory.items():
        if isinstance(value, fem.Function):
            V = value.function_space
            put(viewer, label, value.x.array[: V.dofmap.index_map.size_local * V.dofmap.bs])
        elif isinstance(value, (list, tuple)) and value:
            put(viewer, label, _at_root(comm, value))


def check(path: str | Path, memory: Mapping[str, Any], mesh: Any) -> None:
    """Refuse before any work what :func:`write` would refuse after it."""
    on_root(mesh.comm, lambda: make_way(Path(path)))
    for V in _functions(memory)[1].values():
        _distinct(V, keys(V, marks(mesh, _numbers(mesh))))


def _functions(memory: Mapping[str, Any]) -> tuple[dict[str, fem.Function], dict[int, Any]]:
    """The functions by key, and their spaces by identity."""
    functions = {k: v for k, v in memory.items() if isinstance(v, fem.Function)}
    return functions, {id(u.function_space): u.function_space for u in functions.values()}


def _numbers(mesh: Any) -> Any:
    """The global number of each local node."""
    local = np.arange(len(mesh.geometry.x), dtype=np.int32)
    return mesh.geometry.index_map().local_to_global(local)


def _kind(u: fem.Function) -> list[Any]:
    """What must agree for values to fit: element, block size."""
    V = u.function_space
    return [str(V.ufl_element()), int(V.dofmap.bs)]


def _distinct(V: fem.FunctionSpace, found: Keys) -> Keys:
    owned = found[: V.dofmap.index_map.size_local]
    if V.mesh.comm.allreduce(np.unique(owned).size != owned.size, MPI.LOR):
        raise ValueError(
            f"A checkpoint cannot tell the degrees of freedom of {V.ufl_element()} apart: use "
            "another Lagrange variant."
        )
    return owned


def _at_root(comm: MPI.Comm, values: Any) -> Any:
    return values if comm.rank == 0 else []


def follow(path: str | Path, flow: Any) -> None:
    """If the flow of a checkpoint had left its mesh for another, put this flow there, too."""
    path, mesh = Path(path), flow.mesh
    on_root(mesh.comm, lambda: readable(path))
    if not hasattr(flow, "adopt"):
        return
    try:
        with opened(path, "r", mesh.comm) as viewer:
            about = _about_file(path, viewer)
            if (
                about["numbers"].get("flow.adopted", 0)
                and _recognised(viewer, about, mesh, flow.built) is None
            ):
                built, cells, ids = (everywhere(viewer, k) for k in ("built", "cells", "input"))
                flow.adopt(_mesh(mesh, built.reshape(-1, 3), cells, ids))
    except PETSc.Error as error:
        raise ValueError(f"{path} is damaged or no checkpoint of flows; take another.") from error


def _mesh(like: Any, built: Any, cells: Any, ids: Any) -> Any:
    """The mesh of a file, with cells of the kind of another mesh."""
    nodes = cells.astype(np.int64).reshape(-1, like.geometry.dofmaps[0].shape[1])
    # Points in the order of the input of that mesh: their numbers are recognised then.
    order = np.argsort(ids)
    points, nodes = built[order][:, : like.geometry.dim], np.argsort(order)[nodes]
    block = Block(like.topology.cell_name(), int(like.geometry.cmaps[0].degree), nodes)
    return distribute(Arrays(points, block) if like.comm.rank == 0 else None, like.comm).mesh


# -- reading ---------------------------------------------------------------------------------------
def read(
    path: str | Path, memory: Mapping[str, Any], mesh: Any, built: Any = None
) -> dict[str, Any]:
    """Read what :func:`write` wrote; the mesh gets its coordinates back.

    Args:
        path: The file.
        memory: What is wanted, by key; functions say where values go and are not changed.
        mesh: The mesh of the functions.
        built: Coordinates of the local nodes when the mesh was built; by default the present ones.

    Returns:
        Local arrays with ghosts for functions, numbers, lists. What the file lacks is left out if
        its key does not start with ``flow.``.
    """
    path, comm = Path(path), mesh.comm
    on_root(comm, lambda: readable(path))
    try:
        with opened(path, "r", comm) as viewer:
            found = mesh.geometry.x if built is None else built
            return _read(path, viewer, memory, mesh, found)
    except PETSc.Error as error:
        raise ValueError(f"{path} is damaged or no checkpoint of flows; take another.") from error


def _read(
    path: Path, viewer: Any, memory: Mapping[str, Any], mesh: Any, built: Any
) -> dict[str, Any]:
    about = _about_file(path, viewer)
    wanted = {k: u for k, u in memory.items() if isinstance(u, fem.Function)}
    wrong = [k for k, u in wanted.items() if about["functions"].get(k, _kind(u)) != _kind(u)]
    known = {*about["functions"], *about["numbers"], *about["lists"]}
    wrong += [k for k in memory if k.startswith("flow.") and k not in known]
    if wrong:
        raise ValueError(
            f"{path} was written by another kind of flow, named {about['flow']!r}: {wrong[0]!r} "
            "does not fit. Build the flow as it was built for the checkpoint."
        )
    numbers = _recognised(viewer, about, mesh, built)
    if numbers is None:
        raise ValueError(
            f"{path} was written on another mesh. Build the flow on the mesh of the checkpoint."
        )
    bits = marks(mesh, numbers)
    values: dict[str, Any] = {k: about["numbers"][k] for k in memory if k in about["numbers"]}
    lists = {k: n for k, n in about["lists"].items() if k in memory}
    values |= {k: everywhere(viewer, k).tolist() if n else [] for k, n in lists.items()}
    places: dict[tuple[int, int], Any] = {}
    for label, u in wanted.items():
        if label in about["functions"]:
            V, layout = u.function_space, about["layouts"][label]
            if (layout, id(V)) not in places:
                places[layout, id(V)] = _places(everywhere(viewer, f"keys_{layout}"), keys(V, bits))
            rows = places[layout, id(V)][:, None] * V.dofmap.bs + np.arange(V.dofmap.bs)
            values[label] = some(viewer, label, rows.ravel())
    mesh.geometry.x[:] = everywhere(viewer, "coordinates").reshape(-1, 3)[numbers]
    return values


def _about_file(path: Path, viewer: Any) -> dict[str, Any]:
    """What a file says of itself, if this version can read it."""
    about: dict[str, Any] = json.loads(bytes(everywhere(viewer, "about").astype(np.uint8)))
    if about["format"] != FORMAT:
        raise ValueError(f"{path} is a {about['format']!r}; this version reads {FORMAT!r} only.")
    return about


def _recognised(viewer: Any, about: Mapping[str, Any], mesh: Any, built: Any) -> Any:
    """The place of each local node in the file; ``None`` if that is of another mesh."""
    x, ids = everywhere(viewer, "built").reshape(-1, 3), everywhere(viewer, "input")
    numbers = recognise(mesh, built, x, ids)
    if numbers is None or str(fingerprint(mesh, marks(mesh, numbers))) != about["fingerprint"]:
        return None
    return numbers


def _places(stored: Any, mine: Keys) -> Any:
    """Where each key stands in the file; the fingerprint of the mesh says that all are there."""
    known = stored.astype(np.uint32).view(np.uint64)
    order = np.argsort(known)
    return order[np.searchsorted(known, mine, sorter=order)]
