# # A reaction, its equilibrium, and the way there
#
# **What you see.** A fills the left half of a basin and B the right half. Where they meet they make
# C, and C falls apart again. Nothing moves fast: A comes to B rather than B to A, and C spreads from
# the front, until every reaction is as frequent as its reverse, everywhere.
#
# **Strong form.** $A + B \leftrightarrow C$: with the rate
# $R = \kappa\,\big(\frac{a b}{a^* b^*} - \frac{c}{c^*}\big)$,
#
# $$ \dot a = D_a \Delta a - R, \qquad \dot b = D_b \Delta b - R, \qquad
#    \dot c = D_c \Delta c + R. $$
#
# **Energy.** The free energy of the mixture, the sum over the species $u = a, b, c$ of
# $\int u \log\frac{u}{u^*} - u + u^*$.
#
# **Metric.** What diffuses costs as in Wasserstein's metric, what reacts by the logarithmic mean
# $\Lambda$ of both directions; dissipations add up, to
#
# $$ \psi^* = \tfrac12 \sum_u \int D_u\, u\, |\nabla \xi_u|^2
#    + \tfrac12 \int \kappa \Lambda\, (\xi_a + \xi_b - \xi_c)^2. $$
#
# **Weak form.** $\int \dot u\, \eta + \int D_u \nabla u \cdot \nabla \eta \pm \int R\, \eta = 0$
# for all $\eta$.
#
# **Known answer.** $\int a + c$ and $\int b + c$ never change. With their mean values $\alpha$ and
# $\beta$, and $K = a^* b^* / c^*$, the end is the smaller root of
# $(\alpha - c)(\beta - c) = K c$. The free energy tends to that of this end like $e^{-2 \lambda t}$,
# where $-\lambda$ is the largest growth rate of a mode of the linear equations there.

# +
import argparse
from pathlib import Path

import flows

import numpy as np
from mpi4py import MPI
from ufl import dx

comm = MPI.COMM_WORLD
options = argparse.ArgumentParser(
    description="A + B <-> C with diffusion, in detailed balance.", add_help=False
)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("--h", type=float, default=1 / 28, help="mesh size")
options.add_argument("--until", type=float, default=60.0, help="final time")
args = options.parse_known_args()[0]
output = Path("output/reaction_diffusion")
output.mkdir(parents=True, exist_ok=True)
# -

# The reaction. A species that is nowhere at first may have the concentration zero.

kappa, length = 5.0, 2.0
diffusivity = {"A": 0.1, "B": 0.02, "C": 0.05}
equilibrium = {"A": 1.0, "B": 1.0, "C": 2.0}
flow = flows.reaction_diffusion(
    flows.mesh.rectangle((0, 0), (length, 1), h=args.h),
    [flows.Reaction({"A": 1, "B": 1}, {"C": 1}, rate=kappa)],
    diffusivity=diffusivity,
    equilibrium=equilibrium,
)
a, b, c = flow.state


def left(x):
    edge = 1 + 0.2 * np.cos(2 * np.pi * x[1])
    return np.clip(0.5 + (edge - x[0]) / args.h, 0, 1)


a.interpolate(left)
b.interpolate(lambda x: 1.5 * (1 - left(x)))
c.x.array[:] = 0

# The run, with pictures of the three species at three times.

times, pictures = [0.0, args.until / 60, args.until / 6], []


def keep(flow):
    if np.isclose(flow.time, times).any():
        pictures.extend(u.copy() for u in flow.state)


least = [flows.diagnostics.minimum(u) for u in flow.state]
numbers = flows.Recorder(
    output / "run.csv",
    a_and_c=(a + c) * dx,
    b_and_c=(b + c) * dx,
    least=lambda flow: min(f(flow) for f in least),
)
control = flows.Adaptive(1e-4, tolerance=4e-3, largest=0.5)
observers = [keep, numbers, flows.Progress()]
history = flows.evolve(flow, args.until, control, times=times, observers=observers)

# ## The known answers
# The end, its energy, and the slowest mode: of wave number $0$ or $\pi$ over the length.

alpha, beta = history["a_and_c"][0] / length, history["b_and_c"][0] / length
star = np.array([*equilibrium.values()])
half = (alpha + beta + star[0] * star[1] / star[2]) / 2
c_end = half - np.sqrt(half**2 - alpha * beta)
end = np.array([alpha - c_end, beta - c_end, c_end])
energy = length * (end * np.log(end / star) - end + star).sum()
slope = kappa * np.array([end[1] / star[0] / star[1], end[0] / star[0] / star[1], -1 / star[2]])
react = np.outer([-1, -1, 1], slope)
spread = -((np.pi / length) ** 2) * np.diag([*diffusivity.values()])
modes = np.append(np.linalg.eigvals(react + spread).real, np.trace(react))
t, excess = history["t"], history["energy"] - energy
tail = (excess > 1e-9) & (t > args.until / 3)
rate = {"measured": -np.polyfit(t[tail], np.log(excess[tail]), 1)[0], "exact": -2 * modes.max()}
peaks = [flows.diagnostics.maximum(u)(flow) for u in flow.state]
print(modes, tail.sum(), history.steps) if comm.rank == 0 else 0
drift = {name: np.ptp(history[name]) / history[name][0] for name in ("a_and_c", "b_and_c")}
if comm.rank == 0:
    for name, u, exact in zip(diffusivity, peaks, end, strict=True):
        print(f"{name}: {u:.6f} at the end (exact {exact:.6f})")
    print(f"free energy {history['energy'][0]:.4f} -> {history['energy'][-1]:.8f}, ", end="")
    print(f"(exact {energy:.8f}); it decays at the rate {rate['measured']:.4f} ", end="")
    print(f"(exact {rate['exact']:.4f})")
    print(f"largest change of it in a step {np.diff(history['energy']).max():.1e} (exact: below 0)")
    print(f"change of the invariants {max(drift.values()):.1e} (exact: 0), ", end="")
    print(f"least concentration after the start {history['least'][1:].min():.1e} (exact: above 0)")
titles = [f"{name}, $t = {t:g}$" for t in times for name in diffusivity]
flows.plot(pictures, output / "species.png", title=titles, share=True, rows=3, clim=(0, 1.5))
curve = {"excess energy": excess, "t": t}
law = {"t": t[t > args.until / 6], "excess energy": excess[tail][0] * np.exp(-rate["exact"] * (t[t > args.until / 6] - t[tail][0]))}
flows.curves({"computed": curve, "exact rate": law}, output / "energy.png", columns=["excess energy"], log="y")
