"""PETSc options: which solver a step gets by default, and who may override it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from dolfinx import fem
from petsc4py import PETSc

__all__ = ["Options", "convective", "preset", "repeated"]


class Options:
    """PETSc options of one solver: defaults < ``petsc_options`` < command line.

    They stand in PETSc's database only while the solver runs: sub-solvers made late (multigrid
    levels, field splits) find them, and other solvers do not.
    """

    def __init__(self, prefix: str, *layers: Mapping[str, Any]) -> None:
        self.prefix = prefix
        self._database = PETSc.Options(prefix)
        self._asked = set(layers[-1])
        merged = {key: value for layer in layers for key, value in layer.items()}
        # The database holds what came from the command line and from PETSC_OPTIONS: it wins.
        self._mine = {k: v for k, v in merged.items() if not self._database.hasName(k)}

    def __contains__(self, key: str) -> bool:
        return key in self._mine or self._database.hasName(key)

    def drop(self, key: str) -> None:
        """Leave an option to PETSc, unless the user has set it."""
        if not self.given(key):
            self._mine.pop(key, None)

    def given(self, key: str) -> bool:
        """Whether the user, not a default, has set an option."""
        return key in self._asked or self._database.hasName(key)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Lend the options to the database."""
        for key, value in self._mine.items():
            self._database[key] = value
        try:
            yield
        finally:
            for key in self._mine:
                del self._database[key]


def direct(*, symmetric: bool) -> dict[str, Any]:
    """A direct solver; MUMPS, or PETSc's own Cholesky in one process."""
    factor = {"ksp_type": "preonly", "pc_type": "cholesky" if symmetric else "lu"}
    return factor | {
        "pc_factor_mat_solver_type": "mumps",
        "mat_mumps_icntl_14": 100,  # saddle systems fill in more than MUMPS expects
        "mat_mumps_icntl_24": 1,  # null pivots
    }


def nested_dissection() -> dict[str, Any]:
    """PETSc's own sparse Cholesky in one process: the cheapest solves in the plane."""
    return {
        "ksp_type": "preonly",
        "pc_type": "cholesky",
        "pc_factor_mat_ordering_type": "nd",
    }


KRYLOV = {
    "ksp_type": "cg",
    "ksp_norm_type": "unpreconditioned",  # else two applications more in each solve
    "ksp_max_it": 500,
    "sub_pc_type": "icc",
    "pc_gamg_threshold": 0.02,
    "mg_levels_ksp_type": "richardson",
    "mg_levels_ksp_max_it": 1,
    "mg_levels_pc_type": "sor",
}
"""Conjugate gradients; :meth:`Solver._choose_preconditioner` decides the rest."""

BY_NODES = {
    "mg_levels_ksp_type": "chebyshev",
    "mg_levels_ksp_max_it": 2,
    "mg_levels_pc_type": "pbjacobi",
}
"""Multigrid where the mesh moves: normals are stiffer than tangents."""


def preset(
    spaces: Sequence[fem.FunctionSpace],
    definite: bool,
    symmetric: bool,
    *,
    linear: bool,
    moving: bool,
    kept: bool = False,
) -> dict[str, Any]:
    """Options chosen by structure, dimension, size and number of ranks.

    Args:
        spaces: The spaces of the unknowns.
        definite: Whether the matrix is symmetric positive definite near a minimiser.
        symmetric: Whether it is symmetric.
        linear: Whether the step is linear; then its matrix serves every step of one size ...
        moving: ... unless the mesh moves.
        kept: Whether constraints that are not linear add to the matrix.
    """
    mesh = spaces[0].mesh
    size = sum(V.dofmap.index_map.size_global * V.dofmap.index_map_bs for V in spaces)
    dim, alone = mesh.topology.dim, mesh.comm.size == 1
    if not definite:
        return direct(symmetric=symmetric)
    plane = linear and not moving and dim == 2
    if dim == 1 or size < (3e5 if plane else 1e4 if moving else 5e3):
        return nested_dissection() if alone else direct(symmetric=True)
    if moving:
        # Conjugate gradients lower the energy of a linear step in each iteration: its certificate
        # needs no more. Multigrid is kept until it is told to forget.
        lagged = (
            KRYLOV
            | BY_NODES
            | {"ksp_rtol": 1e-8 if linear else 1e-3, "snes_lag_preconditioner": -2}
        )
        lagged["ksp_max_it"] = 200  # beyond that factors are as fast
        lagged["ksp_norm_type"] = "preconditioned"  # cells differ in size
        # Pressure makes the rotations of a round surface free, and others a little indefinite.
        return lagged | ({"ksp_type": "minres"} if kept else {})
    return KRYLOV | {
        "ksp_rtol": 1e-10 if linear else 1e-3,
        "sub_pc_factor_levels": _levels(spaces, 2),
    }


def _levels(spaces: Sequence[fem.FunctionSpace], levels: int) -> int:
    """Levels of fill of incomplete factors: in the plane linear elements have room for some."""
    V = spaces[0]
    plane = V.mesh.topology.dim == 2 and V.element.basix_element.degree == 1
    return levels if plane and len(spaces) == 1 else 0


def repeated(V: fem.FunctionSpace) -> dict[str, Any]:
    """Options for a symmetric matrix that serves many steps: iterations that learn from steps."""
    mesh, size = V.mesh, V.dofmap.index_map.size_global * V.dofmap.index_map_bs
    if mesh.topology.dim == 1 or size < 5e3:
        return nested_dissection() if mesh.comm.size == 1 else direct(symmetric=True)
    chosen = KRYLOV | {
        "ksp_rtol": 1e-7,  # of the first residual of the step: a small part of the load
        "ksp_guess_type": "pod",
        "ksp_guess_pod_size": 5,
        "sub_pc_factor_levels": _levels([V], 3),
    }
    if chosen["sub_pc_factor_levels"] and mesh.comm.size > 1:
        chosen |= {"pc_asm_type": "basic", "pc_asm_overlap": 3}
    return chosen


def convective(spaces: Sequence[fem.FunctionSpace]) -> dict[str, Any]:
    """Options for matrices with the pattern of a mesh that are not symmetric."""
    mesh = spaces[0].mesh
    size = sum(V.dofmap.index_map.size_global for V in spaces)
    if mesh.topology.dim == 1 or size < 5e3:
        factor = {"ksp_type": "preonly", "pc_type": "lu", "pc_factor_zeropivot": 1e-290}
        if mesh.comm.size == 1:
            return factor | {"pc_factor_mat_ordering_type": "nd"}
        return factor | {"pc_factor_mat_solver_type": "mumps"}
    return {
        "ksp_type": "gmres",
        "ksp_pc_side": "right",  # its norm is that of the residual, whatever the factors are
        "ksp_rtol": 1e-4,
        "ksp_max_it": 200,
        "sub_pc_type": "ilu",
        "sub_pc_factor_zeropivot": 1e-290,
        "pc_gamg_threshold": 0.02,
        "mg_levels_ksp_type": "richardson",
        "mg_levels_pc_type": "sor",
    }
