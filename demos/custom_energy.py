# # Your own energy: stripes and crystals
#
# **What you see.** Two patterns that grow from noise, with one wavelength and one energy. If matter
# may appear anywhere, stripes form (Swift-Hohenberg); if it is conserved, an almost empty plane
# crystallises into a hexagonal lattice with grains (the phase-field crystal).
#
# **Strong form.** With $\mu = (1 + \Delta)^2 u - r u + u^3$,
#
# $$ \dot u = -\mu \quad\text{(Swift-Hohenberg)}, \qquad
#    \dot u = \Delta \mu \quad\text{(phase-field crystal)}. $$
#
# **Energy.** $E(u) = \int \frac12 |(1 + \Delta) u|^2 - \frac r2 u^2 + \frac14 u^4$. Second
# derivatives do not fit Lagrange elements. So let $q$ stand for $(1 + \Delta) u$, and say so in the
# energy, which is to be stationary in $q$:
#
# $$ E(u, q) = \int q u - \nabla q \cdot \nabla u - \tfrac12 q^2 - \tfrac r2 u^2 + \tfrac14 u^4. $$
#
# **Metrics.** $L^2$ and $H^{-1}$.
#
# **Weak form.** For all $v$, $p$: $\int \dot u\, v + D_u E(u, q)[v] = 0$ (or its $H^{-1}$
# counterpart), $D_q E(u, q)[p] = \int (u - q)\, p - \nabla u \cdot \nabla p = 0$. The library
# derives both; `auxiliary=[q]` is all that it must be told.
#
# **Known answer.** The pattern has the wavelength $2\pi$, that is, the wave number
# $k = (\int |\nabla u|^2 / \int |u - \bar u|^2)^{1/2} = 1$; the energy falls at every step; the
# mean of the crystal is constant to rounding.

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
    description="Swift-Hohenberg and phase-field crystal.", add_help=False
)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("--waves", type=float, default=7, help="side of the square in wavelengths")
options.add_argument("--cells", type=float, default=4.5, help="quadratic cells in a wavelength")
options.add_argument("--until", type=float, default=300.0, help="final time")
args = options.parse_known_args()[0]
output = Path("output/custom_energy")
output.mkdir(parents=True, exist_ok=True)
# -

# The state, its auxiliary field, and the energy of both.

side = 2 * np.pi * args.waves
domain = flows.mesh.rectangle((0, 0), (side, side), h=2 * np.pi / args.cells)
V = fem.functionspace(domain, ("Lagrange", 2))
u, q = fem.Function(V, name="u"), fem.Function(V, name="q")
r = fem.Constant(domain, 0.3)
E = (q * u - inner(grad(q), grad(u)) - q**2 / 2 - r / 2 * u**2 + u**4 / 4) * dx

# The same lines run both equations; the crystal needs a mean density at which lattices win.

cases = {
    "Swift-Hohenberg": (flows.L2(), 0.0),
    "Phase-field crystal": (flows.HMinus1(), -0.3),
}
mean, spread = fem.form(u * dx), fem.form(u**2 * dx)
slope = fem.form(inner(grad(u), grad(u)) * dx)
pictures, histories, waves, drift = [], {}, {}, {}


def total(form):
    return comm.allreduce(fem.assemble_scalar(form), MPI.SUM)


for name, (metric, density) in cases.items():
    u.x.array[:] = density
    flows.noise(u, amplitude=0.1, seed=1)
    before = total(mean)
    flow = flows.GradientFlow(E, u, metric, auxiliary=[q], name=name.split("-")[0].lower())
    histories[name] = flows.evolve(flow, args.until, flows.Adaptive(0.05, tolerance=2e-2))
    drift[name] = abs(total(mean) - before) / side**2
    waves[name] = np.sqrt(total(slope) / (total(spread) - total(mean) ** 2 / side**2))
    pictures.append(u.copy())

# ## The known answers

rise = {name: np.diff(history["energy"]).max() for name, history in histories.items()}
if comm.rank == 0:
    for name, history in histories.items():
        print(
            f"{name}: wavelength {2 * np.pi / waves[name]:.4f} (exact {2 * np.pi:.4f}), "
            f"{history['t'].size - 1} steps, largest change of energy {rise[name]:.1e} (exact: < 0)"
            f", change of the mean {drift[name]:.1e}" + " (exact: 0)" * ("crystal" in name)
        )
flows.plot(pictures, output / "patterns.png", title=list(cases), share=True)
# The first step takes the noise away, and with it most of the energy: after it patterns grow.
after = {name: {key: h[key][1:] for key in ("t", "energy")} for name, h in histories.items()}
flows.curves(after, output / "energies.png", log="x")
