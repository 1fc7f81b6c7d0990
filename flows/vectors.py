"""Ghosts of PETSc vectors, of nested ones too."""

from __future__ import annotations

from petsc4py import PETSc

__all__ = ["gather", "scatter"]


def scatter(x: PETSc.Vec) -> None:
    """Give ghosts the values of their owners."""
    for v in _parts(x):
        v.ghostUpdate(PETSc.InsertMode.INSERT, PETSc.ScatterMode.FORWARD)


def gather(x: PETSc.Vec) -> None:
    """Add ghosts to their owners."""
    for v in _parts(x):
        v.ghostUpdate(PETSc.InsertMode.ADD, PETSc.ScatterMode.REVERSE)


def _parts(x: PETSc.Vec) -> list[PETSc.Vec]:
    return list(x.getNestSubVecs()) if x.type == "nest" else [x]
