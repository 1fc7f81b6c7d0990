# # Particles that attract each other
#
# **What you see.** A line of diffusing particles, place across and the logarithm of time upwards.
# Those that attract each other weakly stay spread out. Above a critical strength clusters form from
# the least noise, wait, and then one gives its particles to its neighbours, again and again.
#
# **Strong form.** $\dot\rho = \beta^{-1} \rho'' - k\, (\rho \varphi')'$, where $\varphi$ is the
# density seen through a kernel of the range $\ell$: $-\ell^2 \varphi'' + \varphi = \rho$.
#
# **Energy.** $E(\rho) = \int \beta^{-1} \rho \log\rho - \frac k2 \rho\, \varphi$: entropy spreads,
# attraction gathers. The sum is not convex: a step that is too long has no certificate, is taken
# back and tried again, shorter.
#
# **Metric.** Wasserstein's, $\psi^* = \frac12 \int \rho\, |\xi'|^2$.
#
# **Weak form.** $\int \dot\rho\, \eta + \int \rho\, \mu' \eta' = 0$ for all $\eta$, with the
# potential $\mu = \beta^{-1} (\log\rho + 1) - k \varphi$.
#
# **Known answer.** For $\rho = \rho_0 + r \cos qx$ the kernel gives
# $\varphi = \rho_0 + r \cos qx / (1 + \ell^2 q^2)$, and small $r$ grows at the rate
#
# $$ \sigma = -q^2 \Big(\frac1\beta - \frac{k \rho_0}{1 + \ell^2 q^2}\Big) > 0
#    \quad\text{for}\quad k > \frac{1 + \ell^2 q^2}{\beta \rho_0}. $$
#
# A cluster of mass $m$ is about $4 \ell^2 / (k \beta m)$ wide: the stronger the attraction, the
# finer the mesh. In the plane a cluster heavier than $8 \pi \ell^2 / (k \beta)$ even collapses to
# a point, and only the mesh width limits its peak.

# +
import argparse
from pathlib import Path

import flows

import numpy as np
from dolfinx import fem
from mpi4py import MPI
from ufl import SpatialCoordinate, cos, dx, pi

comm = MPI.COMM_WORLD
options = argparse.ArgumentParser(description="Particles that attract each other.", add_help=False)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("--h", type=float, default=1 / 320, help="mesh size")
options.add_argument("--until", type=float, default=40.0, help="final time")
args = options.parse_known_args()[0]
output = Path("output/aggregation")
output.mkdir(parents=True, exist_ok=True)
# -

# A line that carries the density 1, the range of the attraction, and its strength.

side, ell = 8.0, 0.1
line = flows.mesh.interval(0, side, h=args.h)
strength = fem.Constant(line, 0.0)

# ## One mode
# At strengths on both sides of the critical one.

q = 10 * np.pi / side
strengths = np.linspace(0.4, 2.0, 5)
exact = q**2 * (strengths / (1 + (ell * q) ** 2) - 1)
flow = flows.aggregation(line, strength=strength, length=ell, scheme=flows.AVF(), name="mode")
mode = flows.Recorder(r=flow.state * cos(10 * pi / side * SpatialCoordinate(line)[0]) * dx)
rates = []
for strength.value in strengths:
    flow.time = 0.0
    flow.state.interpolate(lambda x: 1 + 1e-3 * np.cos(q * x[0]))
    r = flows.evolve(flow, 0.05, 0.005, observers=[mode])["r"]
    rates.append(np.log(r[-1] / r[0]) / 0.05)

# ## Clusters
# From noise, above the critical strength. Each state is kept, all of it on each rank.

strength.value = 1.5
flow = flows.aggregation(line, strength=strength, length=ell)
rho = flow.state
rho.x.array[:] = 1
flows.noise(rho, amplitude=0.02, seed=1)
times, pictures, states = args.until * np.array([0.02, 0.035, 0.1, 1]), [], []
own = slice(rho.function_space.dofmap.index_map.size_local)
places = np.concatenate(comm.allgather(rho.function_space.tabulate_dof_coordinates()[own, 0]))


def keep(flow):
    states.append(np.concatenate(comm.allgather(rho.x.array[own]))[places.argsort()])
    if np.isclose(flow.time, times).any():
        pictures.append(rho.copy())


columns = {"mass": flows.diagnostics.mass(rho), "least": flows.diagnostics.minimum(rho)}
observers = [keep, flows.Recorder(output / "run.csv", **columns)]
control = flows.Adaptive(1e-3, tolerance=2e-2)
history = flows.evolve(flow, args.until, control, times=times, observers=observers)

# The tree: these states, interpolated to equal steps of $\log t$, are a field in the plane.

t, first = history["t"], args.until / 400
moments = np.geomspace(first, args.until, 301)
grid = np.array([np.interp(np.log(moments), np.log(t[1:]), c[1:]) for c in np.log10(states).T])
plane = flows.mesh.rectangle((0, 0), (side, 3), h=0.02)
tree = fem.Function(fem.functionspace(plane, ("Lagrange", 1)), name=r"$\log_{10} \rho$")
nearest = lambda s, n: np.rint(s * (n - 1)).astype(int)
tree.interpolate(lambda x: grid[nearest(x[0] / side, len(grid)), nearest(x[1] / 3, 301)])

# ## The known answers

drift, rise = np.ptp(history["mass"]) / side, np.diff(history["energy"]).max()
if comm.rank == 0:
    for k, rate, sigma in zip(strengths, rates, exact, strict=True):
        print(f"strength {k:.1f}: growth rate {rate:.4f} (exact {sigma:.4f})")
    print(f"largest change of energy in a step {rise:.1e} (exact: below 0), of mass {drift:.1e}")
    print(f"least density {history['least'].min():.1e} (exact: above 0)")
title = f"from $t = {first:g}$ below to $t = {args.until:g}$ above"
flows.plot(tree, output / "tree.png", clim=(-1.5, 2), cmap="YlGnBu", title=title)
flows.plot(pictures, output / "profiles.png", title=[f"$t = {t:g}$" for t in times], rows=2)
fine = np.linspace(0.4, 2.0, 50)
lines = {"measured": (strengths, rates), "exact": (fine, np.interp(fine, strengths, exact))}
lines = {name: {"strength": x, "growth rate": y} for name, (x, y) in lines.items()}
flows.curves(lines, output / "rates.png", x="strength", columns=["growth rate"])
flows.plot(history, output / "energy.png", log="x")
