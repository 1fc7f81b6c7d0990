"""The minimizing movement of transport: a path of N pieces tends to one step of it like 1/N.

    python tests/benchmarks/jko.py [--cells 200] [--pieces 1 2 4 8]

One step of size 0.2 of a Gaussian in a bowl, whose mean and deviation are known: 1 / (1 + tau), and
the root of (1 + tau) s = s_0 + tau / s.
"""

import flows  # isort: split

import argparse
import time

import numpy as np
import ufl
from dolfinx import fem


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--pieces", type=int, nargs="+", default=[1, 2, 4, 8])
    options, _ = parser.parse_known_args()
    line = flows.mesh.interval(-4, 5, h=9 / options.cells)
    z = ufl.SpatialCoordinate(line)[0]
    print("pieces   error of the mean   of the deviation   seconds")
    for pieces in options.pieces:
        rho = fem.Function(fem.functionspace(line, ("Lagrange", 1)), name="rho")
        rho.interpolate(lambda x: np.exp(-2 * (x[0] - 1) ** 2) * np.sqrt(2 / np.pi))
        E = flows.energy.entropy(rho) + flows.energy.potential(rho, z**2 / 2)
        flow = flows.GradientFlow(E, rho, flows.Wasserstein(), scheme=flows.JKO(pieces))
        start = time.perf_counter()
        flow.step(0.2)
        seconds = time.perf_counter() - start
        mean, covariance = flows.diagnostics.moments(rho)
        errors = mean[0] - 1 / 1.2, covariance[0, 0] ** 0.5 - 2 / 3
        print(f"{pieces:6d} {errors[0]:19.5f} {errors[1]:18.5f} {seconds:9.2f}", flush=True)


if __name__ == "__main__":
    main()
