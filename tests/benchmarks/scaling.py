"""Cost and memory of a step against the size of the problem and the number of ranks.

    python tests/benchmarks/scaling.py [--sizes 1e4 1e5 1e6] [--write]

Four kinds of flow: a definite system (heat), one that is assembled anew (Allen-Cahn), a saddle
system (Cahn-Hilliard), a moving surface (mean curvature). Each measurement is a run of its own
under `mpirun`; seconds are those of the fastest of its steps, on the slowest rank. `--write`
rewrites `docs/scaling.md`, where the same numbers predict what no machine at hand can measure.
"""

import flows  # isort: split

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
COMM = MPI.COMM_WORLD
LATENCY, BANDWIDTH = 2e-6, 10e9
"""Seconds of a message and bytes a second of a cluster's network: assumptions, not measurements."""


def heat(size: float) -> tuple[Any, float]:
    """Heat on a square, tau = 1e-3."""
    return waves(flows.heat(flows.mesh.rectangle(h=size**-0.5))), 1e-3


def allen_cahn(size: float) -> tuple[Any, float]:
    """Allen-Cahn on a square, four cells per interface width."""
    eps = 4 * size**-0.5
    return waves(flows.allen_cahn(flows.mesh.rectangle(h=size**-0.5), eps=eps)), eps**2 / 2


def cahn_hilliard(size: float) -> tuple[Any, float]:
    """Cahn-Hilliard on a square, four cells per interface width."""
    eps = 4 * size**-0.5
    return waves(flows.cahn_hilliard(flows.mesh.rectangle(h=size**-0.5), eps=eps)), eps**3


def mean_curvature(size: float) -> tuple[Any, float]:
    """Mean curvature flow of a sphere, tau = 1e-3."""
    return flows.mean_curvature(flows.mesh.sphere(h=(15 / size) ** 0.5)), 1e-3


CASES = {
    "heat": heat,
    "allen_cahn": allen_cahn,
    "cahn_hilliard": cahn_hilliard,
    "mean_curvature": mean_curvature,
}


def waves(flow: Any) -> Any:
    """Begin with a field that is smooth on any mesh."""
    flow.state.interpolate(lambda x: np.cos(3 * np.pi * x[0]) * np.cos(2 * np.pi * x[1]))
    return flow


def krylov(flow: Any) -> int:
    """Linear iterations of the last step."""
    outer = getattr(flow.solver, "outer", None)
    return (
        int((outer or flow.solver.snes).getIterationNumber())
        if outer
        else int(flow.solver.snes.getLinearSolveIterations())
    )


def product(size: float) -> float:
    """Seconds of one product with the matrix of the heat equation."""
    A = flows.heat(flows.mesh.rectangle(h=size**-0.5)).solver._energy.petsc
    x, y = A.createVecs()
    return min(seconds(lambda: A.mult(x, y)) for _ in range(20))


def seconds(action: Any) -> float:
    """Wall-clock seconds of an action on the slowest rank."""
    COMM.Barrier()
    start = time.perf_counter()
    action()
    return float(COMM.allreduce(time.perf_counter() - start, MPI.MAX))


def measure(case: str, size: float, steps: int) -> dict[str, Any]:
    """One row, on every rank."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    flow, tau = CASES[case](size)
    for _ in range(3):
        flow.step(tau)
    times = [seconds(lambda: flow.step(tau)) for _ in range(steps)]
    V = flow.state.function_space
    index_map, block = V.dofmap.index_map, V.dofmap.index_map_bs
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    unknowns = sum(
        u.function_space.dofmap.index_map.size_global * u.function_space.dofmap.index_map_bs
        for u in flow.solver.fields
    )
    return {
        "case": case,
        "ranks": COMM.size,
        "unknowns": unknowns,
        "seconds": min(times),
        "newton": flow.report.iterations,
        "krylov": krylov(flow),
        "ghosts": COMM.allreduce(index_map.num_ghosts * block, MPI.MAX),
        "bytes": 1024 * COMM.allreduce(grown) / unknowns,
        "product": product(size) if case == "heat" else None,
    }


def run(case: str, size: float, ranks: int, steps: int) -> dict[str, Any]:
    """One row, from a run of its own."""
    command = [sys.executable, __file__, "--worker", case, str(size), "--steps", str(steps)]
    answer = subprocess.run(
        ["mpirun", "-n", str(ranks), *command] if ranks > 1 else command,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    if answer.returncode:
        sys.exit(answer.stderr[-2000:])
    row: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    print(
        f"{case:15s} {ranks} {row['unknowns']:9d} {row['seconds']:9.4f} s "
        f"{row['newton']:2d} {row['krylov']:4d} {row['bytes']:7.0f} B",
        flush=True,
    )
    return row


def rounds(case: str, size: float, ranks: list[int], options: Any) -> list[dict[str, Any]]:
    """The fastest row for each number of ranks, which take turns."""
    turns = [[run(case, size, n, options.steps) for n in ranks] for _ in range(options.rounds)]
    return [min(rows, key=lambda row: row["seconds"]) for rows in zip(*turns, strict=True)]


def exponent(rows: list[dict[str, Any]], what: str, least: float = 2e5) -> float:
    """Fitted power of the size in the largest problems."""
    large = [r for r in rows if r["unknowns"] >= least] or rows[-2:]
    sizes, values = ([r[key] for r in large] for key in ("unknowns", what))
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def prediction(row: dict[str, Any], ranks: int) -> float:
    """Efficiency at the same size per rank: iterations, messages and sums cost what they cost.

    Each Krylov iteration exchanges the ghosts with some six neighbours and sums up three times,
    each sum in log2(ranks) messages there and back.
    """
    iterations = max(row["krylov"], 1)
    halo = 6 * LATENCY + 8 * row["ghosts"] / BANDWIDTH
    sums = 3 * 2 * LATENCY * np.log2(ranks)
    return float(row["seconds"] / (row["seconds"] + iterations * (halo + sums)))


def page(rows: list[dict[str, Any]]) -> str:
    """The page of the documentation."""
    text = [
        "# Scaling",
        "",
        "Written by `python tests/benchmarks/scaling.py --write`; default solvers, P1 elements,",
        "seconds of the fastest step on the slowest rank in runs that take turns, memory of all",
        "ranks without what an empty run has. "
        f"PETSc {'.'.join(map(str, PETSc.Sys.getVersion()))}, two cores.",
        "",
        "| flow | ranks | unknowns | s/step | Newton | Krylov | bytes per unknown | speed-up |",
        "|---|---|---|---|---|---|---|---|",
    ]
    alone = {(r["case"], r["unknowns"]): r["seconds"] for r in rows if r["ranks"] == 1}
    for r in rows:
        gain = alone[r["case"], r["unknowns"]] / r["seconds"] if r["ranks"] > 1 else 1.0
        text.append(
            f"| {r['case']} | {r['ranks']} | {r['unknowns']} | {r['seconds']:.4f} | {r['newton']} "
            f"| {r['krylov']} | {r['bytes']:.0f} | {gain:.2f} |"
        )
    text += [
        "",
        "## Against the size",
        "",
        "Fitted exponents of seconds in unknowns, above 2e5:",
        "",
    ]
    for case in CASES:
        mine = [r for r in rows if r["case"] == case and r["ranks"] == 1]
        text.append(f"* {case}: {exponent(mine, 'seconds'):.2f}")
    mine = [r for r in rows if r["case"] == "heat" and r["ranks"] == 1]
    text += [
        f"* one product with the matrix of the heat equation: {exponent(mine, 'product'):.2f}",
        "",
        "## Against ranks: a prediction",
        "",
        "No cluster was at hand. What follows is arithmetic with the numbers above: the same",
        "number of unknowns on each rank, iterations as on two ranks, the ghosts of a rank",
        f"(surface to volume) exchanged at {BANDWIDTH / 1e9:.0f} GB/s, {LATENCY * 1e6:.0f}",
        "microseconds a message, three global sums an iteration. Multigrid's coarse levels, and",
        "iterations that grow where incomplete factors stop at the borders of ranks, are not in",
        "it: measure them.",
        "",
        "| flow | unknowns per rank | ghosts of a rank | 100 ranks | 10 000 ranks |",
        "|---|---|---|---|---|",
    ]
    for case in CASES:
        last = max(
            (r for r in rows if r["case"] == case and r["ranks"] > 1), key=lambda r: r["unknowns"]
        )
        a, b = (prediction(last, p) for p in (100, 10_000))
        per = last["unknowns"] // last["ranks"]
        text.append(f"| {case} | {per} | {last['ghosts']} | {a:.1%} | {b:.1%} |")
    text += [
        "",
        "No step gathers anything: a rank with a sliver of the mesh allocates less than one",
        "number per node of the whole in a step (`tests/test_locality.py`). Pictures are gathered",
        "on rank 0.",
        "",
    ]
    return "\n".join(text)


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=float, nargs="+", default=[1e4, 3e4, 1e5, 3e5, 1e6])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--worker", nargs=2)
    options = parser.parse_args()
    if options.worker:
        case, size = options.worker
        row = measure(case, float(size), options.steps)
        if COMM.rank == 0:
            print(json.dumps(row))
        return
    rows = [
        row
        for case in CASES
        for size in options.sizes
        for row in rounds(case, size, [1, 2] if size >= 1e5 else [1], options)
    ]
    if options.write:
        PAGE.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
