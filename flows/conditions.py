"""Which degrees of freedom Dirichlet conditions fix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from dolfinx import fem

__all__ = ["check_conditions", "conditions_by_space", "fixed_entries"]


def conditions_by_space(
    spaces: Sequence[fem.FunctionSpace], bcs: Sequence[fem.DirichletBC]
) -> list[list[fem.DirichletBC]]:
    """The conditions on each space, or on its subspaces."""
    # A condition knows its space as the C++ object only.
    return list(fem.bcs_by_block([V._cpp_object for V in spaces], list(bcs)))


def check_conditions(bcs: Sequence[fem.DirichletBC], fields: Sequence[fem.Function]) -> None:
    """Each condition must mean one field.

    Raises:
        ValueError: if it means none, or several.
    """
    spaces = [f.function_space for f in fields]
    for bc in bcs:
        found = conditions_by_space(spaces, [bc])
        owners = [f.name for f, own in zip(fields, found, strict=True) if own]
        if len(owners) != 1:
            raise ValueError(
                f"A Dirichlet condition applies to {len(owners)} of the fields {owners}: make it "
                "on the function space of one field, and give each field a space of its own "
                "(V.clone())."
            )


def fixed_entries(spaces: Sequence[Any], bcs: Sequence[fem.DirichletBC]) -> list[np.ndarray]:
    """Owned, unrolled entries of each field that its Dirichlet conditions fix."""
    rows = []
    for space, own in zip(spaces, conditions_by_space(spaces, bcs), strict=True):
        size = space.dofmap.index_map.size_local * space.dofmap.index_map_bs
        dofs = [bc.dof_indices()[0][: bc.dof_indices()[1]] for bc in own]
        merged = np.unique(np.concatenate(dofs)) if dofs else np.zeros(0, dtype=np.int32)
        rows.append(merged[merged < size])
    return rows
