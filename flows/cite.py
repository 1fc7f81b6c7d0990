"""What to cite for a flow: the works that its own parts name in their docstrings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from sys import modules
from typing import Any

from flows import catalogue, geometric
from flows.flow import Flow
from flows.metric import Metric
from flows.stochastic import WhiteNoise

__all__ = ["bibliography", "citation"]

FOUNDATION = ("flows", "baratta2023", "scroggs2022", "alnaes2014", "balay1997", "dalcin2011")
"""flows itself, DOLFINx with Basix and UFL, PETSc with petsc4py."""

_ENTRY = re.compile(r"^@\w+\{([^,\s]+),.*?^\}", re.MULTILINE | re.DOTALL)
_CITED = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")
_FLOWS = """@misc{{flows,
  author = {{{{The flows authors}}}},
  title = {{flows: gradient flows with finite elements}},
  year = {{2026}},
  note = {{Version {version}}},
}}"""


def citation(flow: Flow) -> str:
    """BibTeX entries of the works that a flow rests on.

    flows, DOLFINx and PETSc, then what the docstrings of its scheme, its metrics, its class and its
    named flow cite, and MUMPS where it solves the linear systems.

    Args:
        flow: Any flow.

    Returns:
        The entries, ready for a ``.bib`` file; equal on all ranks.
    """
    entries = bibliography()
    keys = dict.fromkeys((*FOUNDATION, *_cited(flow)))
    return "\n\n".join(entries[key] for key in keys) + "\n"


def bibliography() -> dict[str, str]:
    """All entries of the package's bibliography by key, flows itself first."""
    import flows  # its version is set after this module is imported

    text = Path(__file__).with_name("references.bib").read_text(encoding="utf-8")
    found = {match[1]: match[0] for match in _ENTRY.finditer(text)}
    return {"flows": _FLOWS.format(version=flows.__version__)} | found


def _cited(flow: Flow) -> Iterator[str]:
    for part in _parts(flow):
        for keys in _CITED.findall(part.__doc__ or ""):
            yield from re.split(r"\s*,\s*", keys)
    solver = flow.solver
    pc = getattr(solver, "outer", solver.ksp).pc
    if pc.type in ("lu", "cholesky") and pc.getFactorSolverType() == "mumps":
        yield "amestoy2001"


def _parts(flow: Flow) -> Iterator[Any]:
    """Whatever has a docstring and a say in the flow, from the general to the special."""
    if hasattr(flow, "scheme"):
        yield type(flow.scheme)
    for block in flow._step.blocks if hasattr(flow, "_step") else ():
        yield from (type(metric) for metric in _summands(block.metric))
    yield from type(flow).__mro__
    if getattr(flow, "_noise", ()):
        yield from (WhiteNoise, modules[WhiteNoise.__module__])
    for module in (catalogue, geometric):
        if flow.name in module.__all__:
            yield getattr(module, flow.name)
    for part in (flow.solver, getattr(flow.solver, "preconditioner", None)):
        if part is not None:
            yield modules[type(part).__module__]


def _summands(metric: Any) -> Iterator[Metric]:
    """The metrics that were added."""
    pair = (getattr(metric, "first", None), getattr(metric, "second", None))
    if all(isinstance(m, Metric) for m in pair):
        for m in pair:
            yield from _summands(m)
    else:
        yield metric
