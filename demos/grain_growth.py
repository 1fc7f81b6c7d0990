# # Grain growth
#
# **What you see.** A polycrystal in a square without ends: what leaves it on the right comes back
# on the left. Each grain has a colour of its own, and light lines are the boundaries between them.
# They move by their curvature and meet at 120 degrees; grains with few neighbours shrink and
# vanish, those with many grow.
#
# **Strong form.** One order parameter for each grain, $u_i = 1$ inside it and 0 elsewhere,
#
# $$ \varepsilon\, \dot u_i = \varepsilon \Delta u_i - \varepsilon^{-1} \Big( u_i^3 - u_i
#    + 3 u_i \sum_{j \ne i} u_j^2 \Big), \qquad i = 1, \dots, n. $$
#
# **Energy.** That of Fan and Chen,
# $E(u) = \int \frac\varepsilon2 |\nabla u|^2 + \varepsilon^{-1} W(u)$ with
# $W = \sum_i \big(\frac{u_i^4}4 - \frac{u_i^2}2\big) + \frac32 \sum_{i<j} u_i^2 u_j^2 + \frac14$.
#
# **Metric.** $\psi = \frac12 \int \varepsilon\, |\dot u|^2$, so that boundaries move by $V = -H$ in
# the time of the equation.
#
# **Weak form.** $\int \varepsilon\, \dot u \cdot v + DE(u)[v] = 0$ for all $v$.
#
# **Known answer.** The energy falls and no grain is ever made. A grain with $k$ neighbours obeys
# $\dot A = \frac\pi3 (k - 6)$, whatever its shape and size; so in a square without ends, where the
# mean of $k$ is 6, the areas fill the square at all times.

# +
import argparse
from pathlib import Path

import flows

import numpy as np
from mpi4py import MPI

comm = MPI.COMM_WORLD
options = argparse.ArgumentParser(description="Grains in a periodic square.", add_help=False)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("--n", type=int, default=16, help="number of grains")
options.add_argument("--eps", type=float, default=0.025, help="width of the boundaries")
options.add_argument("--until", type=float, default=0.025, help="final time")
args = options.parse_known_args()[0]
output = Path("output/grain_growth")
output.mkdir(parents=True, exist_ok=True)
# -

# The grains begin as the Voronoi cells of random points, the same on any number of ranks.

domain = flows.mesh.rectangle((0, 0), (1, 1), h=args.eps / 2, periodic=True)
flow = flows.grain_growth(domain, args.n, eps=args.eps)
flows.voronoi(flow.state, seed=1)

# Grains are counted and measured while they grow. Snapshots are kept at four times.

times = args.until * np.array([0.02, 0.2, 0.5, 1.0])
panels = []


def keep(flow):
    if np.isclose(flow.time, times).any():
        panels.extend(flows.snapshot(flow))


recorder = flows.Recorder(
    output / "grains.csv",
    grains=lambda flow: flow.count(),
    area=lambda flow: flow.sizes().sum(),
)
history = flows.evolve(
    flow,
    args.until,
    flows.Adaptive(0.1 * args.eps**2, tolerance=2e-2),
    times=times,
    observers=[
        keep,
        recorder,
        flows.Writer(output / "grains.pvd", [flow.grain], every=10),
        flows.Progress(),
    ],
)

# ## The known answers

rise = np.diff(history["energy"]).max()
born = np.diff(history["grains"]).max()
missing = np.abs(history["area"] - 1).max()
if comm.rank == 0:
    count = history["grains"]
    print(f"{count[0]:.0f} grains -> {count[-1]:.0f} in {count.size - 1} steps")
    print(f"largest change of energy in a step {rise:.1e} (exact: below 0)")
    print(f"largest change of the number of grains in a step {born:.0f} (exact: not above 0)")
    print(f"area that is missing or taken twice {missing:.1e} (exact: 0)")
titles = [f"$t = {t:.2g}$" for t in times]
flows.plot(panels, output / "grains.png", title=titles, share=True, rows=2, bar=False)
flows.curves(history, output / "count.png", columns=("grains",))
