"""Time of one step and where it goes: assembly, solve, Python.

    python tests/benchmarks/step.py [--dofs 100000 1000000] [--steps 10]

Assembly is the time inside DOLFINx's assemblers, solve that of PETSc's Newton iteration outside its
callbacks (factorisations included), copies the array work that scales with the state;
Python is what a run on a mesh of a few cells costs per step: there nothing else is left.
"""

import flows  # isort: split

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from flows.matrix import Matrix
from flows.solver import Solver

import numpy as np
from dolfinx import fem
from dolfinx.fem import petsc as fempetsc

SPENT: dict[str, float] = defaultdict(float)
RUNNING: set[str] = set()


def timed(kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, with its time added to ``SPENT[kind]``."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if kind in RUNNING:  # DOLFINx assembles blocks by calling itself
            return function(*args, **kwargs)
        RUNNING.add(kind)
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            SPENT[kind] += time.perf_counter() - start
            RUNNING.remove(kind)

    return wrapper


def instrument() -> None:
    """Time every assembler that a step calls."""
    fempetsc.assemble_vector = timed("assembly", fempetsc.assemble_vector)
    Matrix.assemble = timed("assembly", Matrix.assemble)
    fem.assemble_scalar = timed("assembly", fem.assemble_scalar)
    for name, kind in (("_residual", "callback"), ("_jacobian", "callback"), ("solve", "newton")):
        setattr(Solver, name, timed(kind, getattr(Solver, name)))


def heat(n: int) -> tuple[Any, float]:
    """Heat on the unit square with n x n cells."""
    return flows.heat(flows.mesh.rectangle(h=1 / n)), 1e-3


def allen_cahn(n: int) -> tuple[Any, float]:
    """Allen-Cahn with four cells per interface width and tau = eps^2 / 2."""
    eps = 4 / n
    return flows.allen_cahn(flows.mesh.rectangle(h=1 / n), eps=eps), eps**2 / 2


def cahn_hilliard(n: int) -> tuple[Any, float]:
    """Cahn-Hilliard with four cells per interface width."""
    eps = 4 / n
    return flows.cahn_hilliard(flows.mesh.rectangle(h=1 / n), eps=eps), eps**3


def measure(case: Callable[[int], Any], n: int, steps: int) -> dict[str, float]:
    """Seconds per step after two warm-up steps."""
    flow, tau = case(n)
    flow.state.interpolate(lambda x: np.cos(3 * np.pi * x[0]) * np.cos(2 * np.pi * x[1]))
    for _ in range(2):
        flow.step(tau)
    SPENT.clear()
    start, iterations = time.perf_counter(), 0
    for _ in range(steps):
        iterations += flow.step(tau).iterations
    total = time.perf_counter() - start
    size = flow.state.function_space.dofmap.index_map.size_global
    return {
        "dofs": size,
        "total": total / steps,
        "assembly": SPENT["assembly"] / steps,
        "solve": (SPENT["newton"] - SPENT["callback"]) / steps,
        "newton": iterations / steps,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dofs", type=float, nargs="+", default=[1e5, 1e6])
    parser.add_argument("--steps", type=int, default=10)
    options, _ = parser.parse_known_args()
    instrument()
    print("case            dofs      s/step  Newton  assembly  solve   copies   Python")
    for case in (heat, allen_cahn, cahn_hilliard):
        python = measure(case, 2, 50)["total"]
        for dofs in options.dofs:
            m = measure(case, round(dofs**0.5), options.steps)
            shares = {k: m[k] / m["total"] for k in ("assembly", "solve")}
            share = python / m["total"]
            rest = max(0.0, 1 - sum(shares.values()) - share)
            print(
                f"{case.__name__:14s} {m['dofs']:8.0f} {m['total']:9.4f} {m['newton']:6.1f} "
                f"{shares['assembly']:8.1%} {shares['solve']:8.1%} {rest:8.1%} {share:8.2%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
