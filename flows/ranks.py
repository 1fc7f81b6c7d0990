"""What one rank does for all, with errors that all ranks see."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mpi4py import MPI

__all__ = ["make_way", "on_root"]


def on_root[T](comm: MPI.Comm, action: Callable[[], T]) -> T | None:
    """Run ``action`` on rank 0 alone; what it raises is raised on every rank.

    Returns:
        Its result on rank 0, ``None`` elsewhere.
    """
    result: T | None = None
    problem: Exception | None = None
    if comm.rank == 0:
        try:
            result = action()
        except (OSError, ValueError, ImportError) as error:
            # As text: not every exception survives the way to the other ranks.
            kind = next(k for k in (OSError, ValueError, ImportError) if isinstance(error, k))
            problem = kind(str(error))
        except Exception as error:
            problem = RuntimeError(f"{type(error).__name__}: {error}")
    problem = comm.bcast(problem)
    if problem is not None:
        raise problem
    return result


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
