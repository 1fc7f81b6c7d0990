"""Integrals of the vertex rule whose values at a node any one of its cells can tell."""

from __future__ import annotations

from flows.forms import VERTEX

import basix
import numpy as np
import ufl
from dolfinx import fem
from ufl.algorithms.analysis import extract_type

__all__ = ["covering", "on_cells", "pointwise"]

ROUNDS = 3
"""Rounds in which disjoint cells are picked; what they leave is covered cell by cell."""


def pointwise(form: ufl.Form) -> bool:
    """Whether integrands of the vertex rule depend on nothing but the point, continuously."""
    for integral in form.integrals():
        same = integral.metadata().get("quadrature_rule") == VERTEX["quadrature_rule"]
        whole = integral.integral_type() == "cell" and integral.subdomain_id() == "everywhere"
        e = integral.integrand()
        shapes = extract_type(e, ufl.classes.GeometricQuantity)
        if not (same and whole) or any(
            not isinstance(q, ufl.classes.SpatialCoordinate) for q in shapes
        ):
            return False
        if extract_type(e, ufl.classes.Derivative):
            return False
        if any(not _continuous(f) for f in extract_type(e, ufl.classes.Coefficient)):
            return False
    return True


def _continuous(f: fem.Function) -> bool:
    element = f.ufl_element()
    return bool(element.basix_sobolev_space == basix.SobolevSpace.H1)


def on_cells(form: ufl.Form, cells: np.ndarray) -> ufl.Form:
    """The form over some of the cells."""
    data = [(1, cells)]
    return ufl.Form([i.reconstruct(subdomain_id=1, subdomain_data=data) for i in form.integrals()])


def covering(V: fem.FunctionSpace) -> np.ndarray:
    """A few of the cells of this process such that each of its vertices belongs to one."""
    count = V.mesh.topology.index_map(V.mesh.topology.dim).size_local
    corners = V.dofmap.list[:count]
    size = V.dofmap.index_map.size_local + V.dofmap.index_map.num_ghosts
    priority = np.random.default_rng(0).permutation(count)
    bare, chosen = np.ones(size, dtype=bool), np.zeros(count, dtype=bool)
    for _ in range(ROUNDS):
        free = np.flatnonzero(bare[corners].all(axis=1))
        best = np.full(size, count)
        np.minimum.at(best, corners[free], priority[free, None])
        picked = free[(best[corners[free]] == priority[free, None]).all(axis=1)]
        chosen[picked], bare[corners[picked]] = True, False
    last = np.zeros(size, dtype=np.int64)
    last[corners] = np.arange(count)[:, None]
    left = bare & np.isin(np.arange(size), corners)
    chosen[last[left]] = True
    return np.flatnonzero(chosen).astype(np.int32)
