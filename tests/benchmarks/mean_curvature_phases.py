"""Where the time of a step of mean curvature flow goes, and the memory traffic that bounds it.

    python tests/benchmarks/mean_curvature_phases.py [--sizes 23 45 90] [--steps 50]

Spheres of 20 n^2 triangles, tau = 1e-3. Phases are minima over repetitions; the bound is that of
the numbers that the same algorithm must move, at the bandwidth of a copy of arrays as large as
those of the step: one product for the first guess, one for its residual, one in each iteration of
conjugate gradients with two more loops over its vectors, two loops over the cells.
"""

import flows  # isort: split

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "peers"))
import problems

TAU = 1e-3


def least(action: Callable[[], Any], repetitions: int = 30) -> float:
    """Milliseconds of CPU time."""
    times = []
    for _ in range(repetitions):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return 1e3 * min(times)


def phases(flow: Any) -> dict[str, float]:
    """Milliseconds of what a step is made of."""
    solver, cells, surface = flow.solver, flow.surface.cells, flow.surface
    blocks, x = solver.blocks, flow.state.x.array.reshape(-1, 3)
    y, n = np.zeros_like(x), solver.blocks.owned

    def measure() -> None:
        cells._seen[0, 0] = np.nan
        cells.measure()

    return {
        "geometry of cells": least(measure),
        "masses, normals": least(surface.refresh),
        "stiffness": least(solver._stiffness.assemble),
        "diagonal blocks": least(lambda: blocks.refresh(1 / TAU)),
        "forces, first guess": least(lambda: solver._past.expect(x[:n])),
        "first residual": least(lambda: blocks._begin(guess=True)),
        "product": least(lambda: blocks.product(x[:n], y[:n])),
        "curvature, price": least(lambda: flow._distance(TAU)),
    }


def bound(flow: Any, iterations: float) -> float:
    """Milliseconds of the memory traffic of a step."""
    solver, cells = flow.solver, flow.surface.cells
    n, entries, count = solver.blocks.owned, solver._stiffness.columns.size, cells.count
    vector, matrix = 24 * n, 12 * entries + 8 * n
    product, blocks = matrix + 3 * vector + 8 * n, vector + 16 * n
    iteration = product + (3 + 5) * vector + 2 * blocks
    loops = count * (3 * 56 + 12 + 12 + 36) + 2 * 8 * entries + 4 * vector + 3 * 32 * n
    guess = matrix + (4 + 3 + 4 + 9) * vector + product + 2 * vector + blocks
    rest = 12 * vector
    total = guess + iterations * iteration + loops + rest
    source = np.ones(int(total) // 64)
    target = np.ones_like(source)
    return total * least(lambda: np.copyto(target, source)) / (16 * source.size)


def run(n: int, steps: int) -> None:
    """Measure one size and print its rows."""
    flow = flows.mean_curvature(flows.mesh.from_arrays(*problems.sphere(n)))
    times, iterations = [], []
    for _ in range(steps):
        start = time.process_time()
        flow.step(TAU)
        times.append(1e3 * (time.process_time() - start))
        iterations.append(flow.solver.outer.getIterationNumber())

    def look() -> None:
        flow.time += 1e-9
        flow.review()

    review = least(look, 5)
    tail = iterations[len(iterations) // 2 :]
    print(f"{20 * n * n} triangles, {flow.surface.owned} nodes")
    print(f"  step: mean {np.mean(times):.2f} ms, least {min(times):.2f} ms; look {review:.2f} ms")
    print(f"  iterations: {sum(iterations)} in {steps} steps, {np.mean(tail):.1f} in late ones")
    mean = float(np.mean(iterations))
    print(f"  memory traffic of a mean step: {bound(flow, mean):.2f} ms")
    for name, spent in phases(flow).items():
        print(f"  {name:18} {spent:8.3f} ms", flush=True)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sizes", type=int, nargs="+", default=[23, 45, 90])
    options.add_argument("--steps", type=int, default=50)
    args = options.parse_args()
    for n in args.sizes:
        run(n, args.steps)
