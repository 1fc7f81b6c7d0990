# # A gas in a porous medium
#
# **What you see.** A star of gas seeps into dry sand. Its edge is a front, ahead of which there is
# nothing at all, and which moves at finite speed. The star turns into a disk and is forgotten.
#
# **Strong form.** $\dot\rho = \Delta \rho^m$ with $m > 1$, here $m = 2$; no gas crosses the walls.
#
# **Energy.** The internal energy of the gas, $E(\rho) = \int \frac{\rho^m}{m - 1}$.
#
# **Metric.** Wasserstein's, $\psi^* = \frac12 \int \rho\, |\nabla \xi|^2$: where $\rho = 0$ there
# is nothing to carry, hence the front.
#
# **Weak form.** $\int \dot\rho\, \eta + \int \rho\, \nabla \mu \cdot \nabla \eta = 0$ for all
# $\eta$, with the potential $\mu = \frac{m}{m - 1} \rho^{m - 1}$.
#
# **Known answer.** The solution of Barenblatt, which starts from a point: with $k = 1/(2m)$ and
# $b = k (m - 1) / (2m)$,
#
# $$ \rho_B = t^{-2k} \big(C - b\, r^2 t^{-2k}\big)_+^{1/(m - 1)}, \qquad
#    R_B = \sqrt{C/b}\; t^k \text{ (the front)}. $$
#
# Whatever its shape at first, a gas tends to the Barenblatt solution of its own mass.

# +
import argparse
from pathlib import Path

import flows

import numpy as np
import ufl
from dolfinx import fem
from matplotlib.colors import LinearSegmentedColormap
from mpi4py import MPI

comm = MPI.COMM_WORLD
options = argparse.ArgumentParser(description="A gas in a porous medium.", add_help=False)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("--m", type=float, default=2.0, help="exponent, above 1")
options.add_argument("--h", type=float, default=1 / 40, help="mesh size")
args = options.parse_known_args()[0]
m, h = args.m, args.h
output = Path("output/porous_medium")
output.mkdir(parents=True, exist_ok=True)
# -

# The star of gas, and the Barenblatt solution of its mass as a function of the squared radius.

domain = flows.mesh.rectangle((-1.4, -1.4), (1.4, 1.4), h=h)
gas = fem.Function(fem.functionspace(domain, ("Lagrange", 1)))


def star(x):
    edge = 0.5 + 0.2 * np.cos(5 * np.arctan2(x[0], x[1]))
    return np.clip(0.5 + (edge - np.hypot(x[0], x[1])) / h, 0, 1)


gas.interpolate(star)
mass = comm.allreduce(fem.assemble_scalar(fem.form(flows.diagnostics.mass(gas))), MPI.SUM)
k, p, b = 1 / (2 * m), 1 / (m - 1), (m - 1) / (2 * m) ** 2
C = (mass * b * (p + 1) / np.pi) ** (1 / (p + 1))


def barenblatt(r2, t, maximum=np.maximum):
    return t ** (-2 * k) * maximum(C - b * r2 / t ** (2 * k), 0.0) ** p


# Both flows run till that front is at 1.25. At ten times we look how far they are from the exact
# solution, and at the area that holds more than 1e-3 of the top density: it gives the front.

until = (1.25 / np.sqrt(C / b)) ** (1 / k)
times = until * np.geomspace(0.02, 1, 10)
front = np.sqrt(C / b) * times**k
point = lambda x: barenblatt(x[0] ** 2 + x[1] ** 2, times[0])
starts = {"star": (0.0, star), "Barenblatt": (times[0], point)}
shown, pictures, runs, rise = [0, *times[[0, 4, 9]]], [], {}, {}
control = flows.Adaptive(1e-5, tolerance=6e-4)
x, now, level = ufl.SpatialCoordinate(domain), fem.Constant(domain, 1.0), fem.Constant(domain, 1.0)
vertices = ufl.dx(domain, metadata={"quadrature_rule": "vertex", "quadrature_degree": 1})


def keep(flow):
    now.value, level.value = flow.time, 1e-3 * flows.diagnostics.maximum(flow.state)(flow)
    if flow.name == "star" and np.isclose(flow.time, shown, rtol=1e-9).any():
        pictures.append(flow.state.copy())


for name, (t, start) in starts.items():
    flow = flows.porous_medium(domain, m, name=name)
    flow.state.interpolate(start)
    flow.time = t
    gap = abs(flow.state - barenblatt(ufl.inner(x, x), now, ufl.max_value)) / mass
    columns = {
        "mass": flows.diagnostics.mass(flow.state),
        "distance": gap * ufl.dx(degree=6),
        "area": ufl.conditional(ufl.gt(flow.state, level), 1.0, 0.0) * vertices,
    }
    look = flows.Recorder(output / f"{name}.csv", times=times, **columns)
    history = flows.evolve(flow, until, control, observers=[keep, look])
    runs[name] = {key: np.array(column) for key, column in look.columns.items()}
    runs[name]["radius"] = np.sqrt(runs[name]["area"] / np.pi)
    rise[name] = np.diff(history["energy"]).max()

# ## The known answers

if comm.rank == 0:
    for name, run in runs.items():
        r, d = run["radius"], run["distance"]
        print(f"{name}: front {r[0]:.4f} -> {r[-1]:.4f} (exact {front[0]:.4f} -> {front[-1]:.4f})")
        print(f"  L1 distance from the Barenblatt solution / mass {d[0]:.4f} -> {d[-1]:.4f}")
        print(f"  change of mass {np.ptp(run['mass']) / mass:.1e} (exact: 0)")
        print(f"  largest change of energy in a step {rise[name]:.1e} (exact: below 0)")
sand = "#eee8da"  # where there is no gas
inks = [(0, sand), (0.004, sand), (0.004, "#bfe0d6"), (0.3, "#4fb0b5"), (1, "#1d1b45")]
look = {"cmap": LinearSegmentedColormap.from_list("gas", inks, N=1024), "rows": 2, "warp": 0.7}
look |= {"title": [f"$t = {t:.2g}$" for t in shown], "clim": (0, 1), "share": True}
flows.plot(pictures, output / "star.png", **look)
smooth = np.geomspace(times[0], until, 50)
runs["exact"] = {"t": smooth, "radius": np.sqrt(C / b) * smooth**k}
flows.curves(runs, output / "radius.png", columns=["radius"], log="xy")
