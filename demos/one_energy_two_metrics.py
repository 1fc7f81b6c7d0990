# # One energy, two metrics
#
# **What you see.** One noisy field, twice. Above, each point goes downhill by itself: phases grow,
# small islands vanish (Allen-Cahn). Below, matter can only be carried from place to place: droplets
# form and exchange matter, but none is made or lost (Cahn-Hilliard). The energy is the same; what
# differs is the metric, that is, what a rate of change costs.
#
# **Strong form.** With $\mu = -\varepsilon \Delta u + \varepsilon^{-1}(u^3 - u)$,
#
# $$ \varepsilon\, \dot u = -\mu \quad\text{(Allen-Cahn)}, \qquad
#    \dot u = \Delta \mu \quad\text{(Cahn-Hilliard)}. $$
#
# **Energy.** Ginzburg-Landau:
# $E(u) = \int \frac\varepsilon2 |\nabla u|^2 + \frac1{4\varepsilon} (u^2 - 1)^2$, so that
# $\mu = \delta E / \delta u$.
#
# **Metrics.** $\psi = \frac12 \int \varepsilon\, |\dot u|^2$ is the weighted $L^2$ metric, and
# $\psi^* = \frac12 \int |\nabla \xi|^2$ the $H^{-1}$ metric.
#
# **Weak form.** $\int \varepsilon \dot u\, v + DE(u)[v] = 0$ for all $v$; and
# $\int \dot u\, \eta + \int \nabla \mu \cdot \nabla \eta = 0$, $\int \mu\, v = DE(u)[v]$ for all
# $\eta, v$. The library derives both from the lines below.
#
# **Known answer.** The energy falls at every step, and the mean value of the second flow is
# constant to rounding.

# +
import argparse
from pathlib import Path

import flows

import numpy as np
from dolfinx import fem
from mpi4py import MPI
from ufl import dx, grad, inner

comm = MPI.COMM_WORLD
options = argparse.ArgumentParser(
    description="Allen-Cahn and Cahn-Hilliard from one energy.", add_help=False
)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("--h", type=float, default=1 / 80, help="mesh size")
options.add_argument("--eps", type=float, default=0.03, help="width of the interfaces")
options.add_argument("--until", type=float, default=0.016, help="final time")
args = options.parse_known_args()[0]
output = Path("output/one_energy_two_metrics")
output.mkdir(parents=True, exist_ok=True)
# -

# The field, its energy, and a noisy start: the same one for both flows, on any number of ranks.

domain = flows.mesh.rectangle((0, 0), (1, 1), h=args.h)
V = fem.functionspace(domain, ("Lagrange", 1))
u, start = fem.Function(V, name="u"), fem.Function(V)
flows.noise(start, amplitude=1.0, seed=3)
eps = args.eps
E = (eps / 2 * inner(grad(u), grad(u)) + (u**2 - 1) ** 2 / (4 * eps)) * dx

# Two metrics, two equations. A snapshot is kept at the same four times.

times = args.until * np.array([0.0, 0.05, 0.25, 1.0])
metrics = {"Allen-Cahn": flows.L2(weight=eps), "Cahn-Hilliard": flows.HMinus1()}
histories, panels = {}, []


def keep(flow):
    if np.isclose(flow.time, times).any():
        panels.append(flow.state.copy())


for name, metric in metrics.items():
    u.x.array[:] = start.x.array
    flow = flows.GradientFlow(E, u, metric, name=name.lower().replace("-", "_"))
    histories[name] = flows.evolve(
        flow,
        args.until,
        flows.Adaptive(1e-5, tolerance=3e-2),
        times=times,
        observers=[
            keep,
            flows.Writer(output / f"{flow.name}.pvd", every=10),
            flows.Recorder(output / f"{flow.name}.csv", mean=u * dx),
            flows.Progress(),
        ],
    )

# ## The known answers

rise = {name: np.diff(history["energy"]).max() for name, history in histories.items()}
drift = {name: np.ptp(history["mean"]) for name, history in histories.items()}
if comm.rank == 0:
    for name, history in histories.items():
        t, energy = history["t"], history["energy"]
        print(f"{name}: energy {energy[0]:.4f} -> {energy[-1]:.4f} in {t.size - 1} steps")
        print(f"  largest change of energy in a step {rise[name]:.1e} (exact: below 0)")
        exact = " (exact: 0)" if name == "Cahn-Hilliard" else ""
        print(f"  change of the mean value {drift[name]:.1e}{exact}")
titles = [f"{name}, $t = {t:g}$" for name in metrics for t in times]
flows.plot(panels, output / "fields.png", title=titles, share=True, rows=2, clim=(-1, 1))
flows.plot(histories, output / "energies.png", log="xy")
