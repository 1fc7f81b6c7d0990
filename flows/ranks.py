"""What one rank does for all, with errors that all ranks see."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mpi4py import MPI

__all__ = ["make_way", "on_root"]

EXTRAS = {
    "gmsh": "mesh",
    "h5py": "mesh",
    "imageio": "plot",
    "matplotlib": "plot",
    "meshio": "mesh",
    "mmgpy": "mesh",
    "pyvista": "plot",
}
"""Which extra of the package brings a module."""


def on_root[T](comm: MPI.Comm, action: Callable[[], T]) -> T | None:
    """Run ``action`` on rank 0 alone; what it raises is raised on every rank.

    Returns:
        Its result on rank 0, ``None`` elsewhere.
    """
    result, problem, cause = None, None, None
    if comm.rank == 0:
        try:
            result = action()
        except Exception as error:
            cause, problem = error, _portable(error)
    problem = comm.bcast(problem)
    if problem is not None:
        raise problem from cause
    return result


def _portable(error: Exception) -> Exception:
    """The same error as text: not every exception survives the way to the other ranks."""
    if isinstance(error, ModuleNotFoundError) and error.name in EXTRAS:
        extra = EXTRAS[error.name]
        return ImportError(f"{error.name} is missing: pip install gradient-flows[{extra}].")
    for kind in (FileNotFoundError, OSError, ImportError, ValueError, RuntimeError):
        if isinstance(error, kind):
            return kind(str(error) or repr(error))
    return RuntimeError(f"{type(error).__name__}: {error}")


def make_way(path: Path, *, folder: bool = False) -> None:
    """Create the folder of a file, and refuse a path that cannot be written.

    Args:
        path: The file.
        folder: Whether the path itself names a folder.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"Cannot write {path}: {error.strerror}; choose another folder.") from error
    if path.exists() and path.is_dir() != folder:
        kind, wanted = ("file", "folder") if folder else ("folder", "file")
        raise OSError(f"Cannot write {path}: it is a {kind}; give a {wanted}.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OSError(f"Cannot write {path}: choose a file in a folder you may write to.")
