r"""In the tiling of squares and octagons a grain with $k$ neighbours grows by the law of von
Neumann and Mullins, $\dot A = \frac{\pi}{3} (k - 6)$ {cite}`mullins1956`, within 5 % at
$\varepsilon = 0.01$, within 2 % after extrapolation to $0$. A step of $n$ grains takes 3 Newton
iterations with 10 of the linear solver each, and costs about $n$ times one.

The torus holds two octagons and two squares; mirrors at its sides cut out a quarter, whose boundary
is free. The rates approach the law like $\varepsilon / R$.

Run it for the whole tables (minutes): python tests/benchmarks/grain_growth.py
"""

from __future__ import annotations

import argparse
import time

import flows

import numpy as np
from mpi4py import MPI

comm = MPI.COMM_WORLD
HALF = np.sqrt(0.125) / (1 + np.sqrt(2))  # half a side of a square


def tiles(x):
    """Two octagons and, as one, the two squares in the unit torus."""

    def away(p, q):
        return np.array([x[k] - c - np.rint(x[k] - c) for k, c in enumerate((p, q))])

    four = np.minimum(*(np.abs(away(*c)).max(axis=0) for c in ((0.5, 0), (0, 0.5)))) < HALF
    first = ~four & ((away(0, 0) ** 2).sum(axis=0) <= (away(0.5, 0.5) ** 2).sum(axis=0))
    return np.array([first, ~four & ~first, four], dtype=float)


def rates(eps, *, cells=3, whole=False, until=0.012, since=0.004):
    """Rates of an octagon and of a square over pi/3, exactly 2 and -2; steps and seconds."""
    upper = (1, 1) if whole else (0.5, 0.5)
    flow = flows.grain_growth(
        flows.mesh.rectangle((0, 0), upper, h=eps / cells, periodic=whole), 3, eps=eps
    )
    flow.state.interpolate(tiles)
    share = 1 if whole else 4
    begin = time.perf_counter()
    columns = {f"size_{i}": lambda flow, i=i: share * flow.sizes()[i] for i in range(3)}
    history = flows.evolve(flow, until, 0.8 * eps**2, observers=[flows.Recorder(**columns)])
    late = history["t"] >= since
    slope = [np.polyfit(history["t"][late], history[c][late], 1)[0] for c in columns]
    return (
        (slope[0] + slope[1]) / 2 / (np.pi / 3),
        slope[2] / 2 / (np.pi / 3),
        history["t"].size - 1,
        time.perf_counter() - begin,
    )


def step(n, h, steps=5):
    """Unknowns, Newton and linear iterations and seconds of a step of n grains in the torus."""
    flow = flows.grain_growth(flows.mesh.rectangle(h=h, periodic=True), n, eps=3 * h)
    flows.voronoi(flow.state, seed=1)
    flow.step(0.8 * flow.limit(1.0))
    begin, newton, linear = time.perf_counter(), 0, 0
    for _ in range(steps):
        newton += flow.step(0.8 * flow.limit(1.0)).iterations
        linear += flow.solver.snes.getLinearSolveIterations()
    seconds = (time.perf_counter() - begin) / steps
    V = flow.state.function_space
    return V.dofmap.index_map.size_global * n, newton / steps, linear / newton, seconds


def main():
    options = argparse.ArgumentParser(description=__doc__, add_help=False)
    options.add_argument("--help", action="help")
    options.add_argument("--finest", type=float, default=0.01)
    options.add_argument("--whole", action="store_true", help="the torus, not a quarter of it")
    args = options.parse_known_args()[0]
    if comm.rank == 0:
        print("| eps | octagon (2) | square (-2) | steps | s |\n|---|---|---|---|---|")
    found = []
    for eps in (0.02, 0.015, args.finest):
        eight, four, steps, seconds = rates(eps, whole=args.whole)
        found.append((eps, eight))
        if comm.rank == 0:
            print(f"| {eps} | {eight:.4f} | {four:.4f} | {steps} | {seconds:.0f} |", flush=True)
    (a, fa), (b, fb) = found[-2:]
    if comm.rank == 0:
        print(f"\nextrapolated to eps = 0: {(fb * a - fa * b) / (a - b):.4f}\n")
        print("| grains | unknowns | Newton | CG per Newton | s/step |\n|---|---|---|---|---|")
    for n in (6, 12, 36):
        unknowns, newton, linear, seconds = step(n, 0.01)
        if comm.rank == 0:
            print(f"| {n} | {unknowns} | {newton:.1f} | {linear:.1f} | {seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
