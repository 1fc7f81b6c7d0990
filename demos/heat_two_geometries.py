# # Heat in two geometries
#
# **What you see.** Four warm spots on a disk, spreading. Above, heat flows because the Dirichlet
# energy falls in the flat metric; below, because the entropy rises and matter is carried as cheaply
# as possible. Two energies, two metrics, and one picture: the heat equation is both.
#
# **Strong form.** $\dot u = \Delta u$ in the unit disk, $\partial_n u = 0$ on its edge.
#
# **Energies.** $E(u) = \frac12 \int |\nabla u|^2$, and $E(u) = \int u \log u$.
#
# **Metrics.** $\psi = \frac12 \int |\dot u|^2$ for the first ($L^2$), and
# $\psi^* = \frac12 \int u\, |\nabla \xi|^2$ for the second (Wasserstein).
#
# **Weak form.** $\int \dot u\, v + \int \nabla u \cdot \nabla v = 0$ for all $v$; and
# $\int \dot u\, \eta + \int u \nabla \mu \cdot \nabla \eta = 0$ for all $\eta$, $\mu = 1 + \log u$.
# As $u \nabla \log u = \nabla u$, they are the same, on a mesh up to the error of discretisation.
#
# **Known answer.** The distance of the two solutions falls like $h^2$. Both energies fall, both
# masses stay. In the end $u - \bar u$ decays like $e^{-\lambda t}$, where $\sqrt\lambda = 1.8412$
# is the first zero of $J_1'$, and both energies, quadratic there, like $e^{-2 \lambda t}$.

# +
import argparse
from pathlib import Path

import flows
from flows import diagnostics, energy

import numpy as np
from dolfinx import fem
from mpi4py import MPI
from scipy.special import jnp_zeros
from ufl import dx

comm = MPI.COMM_WORLD
options = argparse.ArgumentParser(
    description="The heat equation by two energies in two metrics.", add_help=False
)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("--h", type=float, default=0.06, help="size of the finest mesh")
options.add_argument("--until", type=float, default=1.0, help="final time")
args = options.parse_known_args()[0]
output = Path("output/heat_two_geometries")
output.mkdir(parents=True, exist_ok=True)
times = args.until * np.array([0.0, 0.02, 0.06, 0.2])
# -

# One initial density on disks of three mesh sizes, with time steps that shrink like $h^2$.


def spots(x):
    u = 0.1
    for a, b, s in (0.5, 0.1, 0.12), (-0.1, 0.55, 0.15), (-0.45, -0.2, 0.1), (0.2, -0.55, 0.18):
        u += np.exp(-((x[0] - a) ** 2 + (x[1] - b) ** 2) / (2 * s**2))
    return u


def total(integrand):
    return comm.allreduce(fem.assemble_scalar(fem.form(integrand * dx)))


def solve(h):
    """Both flows: their histories, and their states at the times above."""
    domain = flows.mesh.disk(h=h)
    u = fem.Function(fem.functionspace(domain, ("Lagrange", 1)), name="u")
    cases = {
        "Dirichlet": (energy.dirichlet(u), flows.L2()),
        "entropy": (energy.entropy(u), flows.Wasserstein()),
    }
    histories, states = {}, {name: [] for name in cases}

    def keep(flow):
        if np.isclose(flow.time, times).any():
            states[flow.name].append(u.copy())

    for name, (E, metric) in cases.items():
        flow = flows.GradientFlow(E, u, metric, name=name)
        u.interpolate(spots)
        u.x.array[:] = total(u) / total(fem.Constant(domain, 1.0))
        numbers = flows.Recorder(mass=u * dx, excess=diagnostics.excess(flow.energy()))
        u.interpolate(spots)
        observers = [keep, numbers, flows.Progress()]
        histories[name] = flows.evolve(flow, args.until, h**2, times=times, observers=observers)
    return histories, states


# ## The known answers

sizes, distances = args.h * np.array([2, 2**0.5, 1]), []
for h in sizes:
    histories, states = solve(h)
    pairs = zip(*states.values(), strict=True)
    distances.append([np.sqrt(total((a - b) ** 2) / total(a**2)) for a, b in pairs][1:])
orders = np.polyfit(np.log(sizes), np.log(distances), 1)[0]
slow, tau = jnp_zeros(1, 1)[0] ** 2, args.h**2
rise, drift, rates = {}, {}, {}
for name, history in histories.items():
    late = history["t"] > 0.6 * args.until
    rates[name] = -np.polyfit(history["t"][late], np.log(history["excess"][late]), 1)[0]
    rise[name], drift[name] = np.diff(history["energy"]).max(), np.ptp(history["mass"])
    if comm.rank == 0:
        print(f"{name}: rate in the end {rates[name]:.3f} (exact {2 * slow:.3f}), ", end="")
        print(f"energy change at most {rise[name]:.1e} (exact: below 0), ", end="")
        print(f"mass drift {drift[name]:.1e} (exact: 0)")
if comm.rank == 0:
    for h, distance in zip(sizes, distances, strict=True):
        gaps = ", ".join(f"{d:.1e}" for d in distance)
        print(f"h = {h:.3f}: relative distance of the two, as time goes on, {gaps}")
    print(f"orders in h {orders.round(2)} (exact: 2)")

titles = [f"{name}, $t = {t:.3g}$" for name in histories for t in times]
panels = [u for case in states.values() for u in case]
flows.plot(panels, output / "spots.png", title=titles, rows=2, share=True)
t, excess = history["t"], 3 * history["excess"][-1] * np.exp(2 * slow * (args.until - history["t"]))
lines = {f"{name}, above its least value": h for name, h in histories.items()}
lines |= {r"$\sim e^{-2 \lambda t}$": {"t": t, "excess": excess}}
flows.curves(lines, output / "energies.png", columns=["excess"], log="y")
