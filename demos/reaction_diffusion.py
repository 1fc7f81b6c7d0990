# # A reaction, its equilibrium, and the way there
#
# **What you see.** A fills the left half of a basin and B the right half; where they meet they make
# C. A diffuses fastest and comes to B, not B to A. C spreads from the front and falls apart again,
# until every reaction is as frequent as its reverse, everywhere.
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
# **Known answer.** $\int a + c$ and $\int b + c$ never change. With their means $\alpha$, $\beta$
# and $K = a^* b^* / c^*$, the end is the smaller root of $(\alpha - c)(\beta - c) = K c$. The free
# energy tends to that of this end like $e^{2 \lambda t}$, where $\lambda < 0$ is the rate of the
# slowest mode of the equations linearised there.

# +
import argparse
from pathlib import Path

import flows

import numpy as np
from mpi4py import MPI
from ufl import dx

comm = MPI.COMM_WORLD
options = argparse.ArgumentParser(description="A + B <-> C with diffusion.", add_help=False)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("--h", type=float, default=1 / 24, help="mesh size")
options.add_argument("--until", type=float, default=60.0, help="final time")
args = options.parse_known_args()[0]
output = Path("output/reaction_diffusion")
output.mkdir(parents=True, exist_ok=True)
# -

# The reaction. C is nowhere at first: its concentration may be zero.

kappa, length = 5.0, 2.0
diffusivity = {"A": 0.1, "B": 0.02, "C": 0.05}
equilibrium = {"A": 1.0, "B": 1.0, "C": 10.0}
flow = flows.reaction_diffusion(
    flows.mesh.rectangle((0, 0), (length, 1), h=args.h),
    [flows.Reaction({"A": 1, "B": 1}, {"C": 1}, rate=kappa)],
    diffusivity=diffusivity,
    equilibrium=equilibrium,
)
a, b, c = flow.state


def left(x):
    edge = 0.9 + 0.2 * np.cos(2 * np.pi * x[1])
    return np.clip(0.5 + (edge - x[0]) / args.h / 2, 0, 1)


a.interpolate(left)
b.interpolate(lambda x: 1 - left(x))

# The run, with pictures of the three species at three times.

times, pictures = [0.0, args.until / 60, args.until / 10], []


def keep(flow):
    if np.isclose(flow.time, times).any():
        for u in flow.state:
            pictures.append(u.copy())
            pictures[-1].name = "concentration"


least = lambda flow: min(flows.diagnostics.minimum(u)(flow) for u in flow.state)
numbers = flows.Recorder(output / "run.csv", A=(a + c) * dx, B=(b + c) * dx, least=least)
control = flows.Adaptive(1e-4, tolerance=4e-3, largest=0.5)
history = flows.evolve(flow, args.until, control, times=times, observers=[keep, numbers])

# ## The known answers
# The end, its energy, and the slowest mode: a cosine along the basin, or none.

alpha, beta = history["A"][0] / length, history["B"][0] / length
star = np.array([*equilibrium.values()])
half = (alpha + beta + star[0] * star[1] / star[2]) / 2
made = half - np.sqrt(half**2 - alpha * beta)
end = np.array([alpha - made, beta - made, made])
energy = length * (end * np.log(end / star) - end + star).sum()
slope = kappa * np.array([end[1] / star[0] / star[1], end[0] / star[0] / star[1], -1 / star[2]])
spread = (np.pi / length) ** 2 * np.diag([*diffusivity.values()])
modes = np.linalg.eigvals(np.outer([-1, -1, 1], slope) - spread)
exact = 2 * max(modes.real.max(), slope @ [-1, -1, 1])
t, excess = history["t"], history["energy"] - energy
tail = t > args.until / 2
measured = np.polyfit(t[tail], np.log(excess[tail]), 1)[0]
drift = max(np.ptp(history[name]) / history[name][0] for name in "AB")
tops = [flows.diagnostics.maximum(u)(flow) for u in flow.state]
rise = np.diff(history["energy"]).max()
if comm.rank == 0:
    for name, top, limit in zip(diffusivity, tops, end, strict=True):
        print(f"{name}: {top:.6f} at the end (exact limit {limit:.6f})")
    print(f"free energy {history['energy'][-1]:.7f} at the end (exact limit {energy:.7f}),")
    print(f"  its excess like exp({measured:.4f} t) (exact: exp({exact:.4f} t)),")
    print(f"  largest change in a step {rise:.1e} (exact: below 0)")
    print(f"change of the invariants {drift:.1e} (exact: 0)")
    print(f"least concentration after the start {history['least'][1:].min():.1e} (exact: above 0)")
titles = [f"{name}, $t = {t:g}$" for t in times for name in diffusivity]
flows.plot(pictures, output / "species.png", title=titles, share=True, rows=3, clim=(0, 1))
slope = {"t": t[tail], "excess of free energy": 2 * excess[-1] * np.exp(exact * (t[tail] - t[-1]))}
lines = {"computed": {"t": t, "excess of free energy": excess}, "exact slope": slope}
flows.curves(lines, output / "energy.png", columns=["excess of free energy"], log="y")
