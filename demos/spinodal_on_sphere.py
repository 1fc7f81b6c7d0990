# # A mixture on a sphere comes apart
#
# **What you see.** A mixture of two fluids on a sphere, like the lipids of a vesicle, separates.
# At first a fine pattern of one length appears everywhere at once; then droplets exchange matter
# through the other fluid, the small ones dissolve, the large ones grow, and one round cap is left.
# The steps grow with the time of the pattern, over six decades.
#
# **Strong form.** On the sphere $\Gamma$, with its Laplace-Beltrami operator,
#
# $$ \dot u = \Delta_\Gamma \mu, \qquad
#    \mu = -\varepsilon \Delta_\Gamma u + \varepsilon^{-1} (u^3 - u). $$
#
# **Energy.** Ginzburg-Landau on the surface:
# $E(u) = \int_\Gamma \frac\varepsilon2 |\nabla_\Gamma u|^2 + \frac1{4\varepsilon} (u^2 - 1)^2$.
#
# **Metric.** $\psi^* = \frac12 \int_\Gamma |\nabla_\Gamma \xi|^2$: matter is moved along the
# surface, none is made.
#
# **Weak form.** $\int_\Gamma \dot u\, \eta + \int_\Gamma \nabla\mu \cdot \nabla\eta = 0$ and
# $\int_\Gamma \mu\, v = DE(u)[v]$ for all $\eta, v$. On a mesh of triangles in space UFL takes
# gradients along the surface: the code is that of the plane.
#
# **Known answer.** The mass is constant to rounding and the energy falls in every step. From the
# uniform mixture $u = \bar u$ the spherical harmonics of degree $n$ grow at the rate
# $\lambda (f - \varepsilon \lambda)$, $\lambda = n (n + 1)$, $f = (1 - 3 \bar u^2)/\varepsilon$:
# the pattern comes with the fastest. Its end is a cap of angle $\theta$, as large as the mass says,
# $\bar u = -\cos\theta$, with the energy $\sigma\, 2\pi \sin\theta$, $\sigma = 2\sqrt2/3$, and the
# potential of its curved edge, $\mu = \frac\sigma2 \cot\theta$, all up to $O(\varepsilon)$.

# +
import argparse
from pathlib import Path

import flows

import numpy as np
from mpi4py import MPI
from ufl import SpatialCoordinate, dx

comm = MPI.COMM_WORLD
options = argparse.ArgumentParser(description="Cahn-Hilliard on a sphere.", add_help=False)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("--h", type=float, default=0.12, help="mesh size")
options.add_argument("--eps", type=float, default=0.12, help="width of the interfaces")
options.add_argument("--mean", type=float, default=-0.3, help="mean value of u")
options.add_argument("--until", type=float, default=50, help="final time")
options.add_argument("--every", type=int, default=12, help="steps from frame to frame")
options.add_argument("--tolerance", type=float, default=3e-2, help="of a step")
args = options.parse_known_args()[0]
output = Path("output/spinodal_on_sphere")
output.mkdir(parents=True, exist_ok=True)
# -

# The flow: `cahn_hilliard` on a surface, with steps of second order. Noise on a mixture; it is the
# same on any number of ranks.

sphere = flows.mesh.sphere(h=args.h)
flow = flows.cahn_hilliard(sphere, eps=args.eps, scheme=flows.AVF())
flow.state.x.array[:] = args.mean
flows.noise(flow.state, amplitude=0.05, seed=1)

# Pictures at times that grow like the pattern does, and a movie in which the sphere turns.

times = [t for t in (0.06, 0.2, 1.0, args.until) if t <= args.until]
panels = []


def keep(flow):
    if flow.time in times:
        panels.extend(flows.snapshot(flow))


x, u = SpatialCoordinate(sphere), flow.state
moments = {"x": u * x[0] * dx, "y": u * x[1] * dx, "z": u * x[2] * dx}
record = flows.Recorder(output / "run.csv", mass=u * dx, **moments)
look = {"clim": (-1, 1), "bar": False, "size": (640, 640)}
film = flows.Movie(output / "sphere.mp4", every=args.every, fps=8, spin=6, **look)
pace = flows.Adaptive(1e-5, tolerance=args.tolerance)
history = flows.evolve(flow, args.until, pace, times=times, observers=[keep, record, film])

# ## The known answers

energy, tau = history["energy"], history["tau"][1:]
rise, drift = np.diff(energy).max(), np.ptp(history["mass"])
area = history["mass"][0] / args.mean
cosine = -history["mass"][0] / area
sine, sigma = np.sqrt(1 - cosine**2), 2 * np.sqrt(2) / 3
mu = flow.potentials[0].x.array  # a constant in the end
measured = {"energy": energy[-1], "potential": comm.allreduce(mu.sum()) / comm.allreduce(mu.size)}
exact = {"energy": 2 * np.pi * sigma * sine, "potential": sigma / 2 * cosine / sine}
if comm.rank == 0:
    print(f"{history.steps} steps of {tau.min():.1e} to {tau.max():.1e}")
    print(f"largest change of energy in a step {rise:.1e} (exact: below 0)")
    print(f"change of the mass {drift:.1e} (exact: 0)")
    for name in exact:
        print(f"{name} of the cap {measured[name]:.4f} (sharp interface: {exact[name]:.4f})")

# All pictures are seen from a little beside the cap that will be left.

towards = np.array([history[name][-1] for name in moments]) / area
view = towards + np.cross(towards, (0, 0, 1))
titles = [f"$t = {t:g}$" for t in times]
flows.plot(panels, output / "fields.png", title=titles, share=True, clim=(-1, 1), view=view)
flows.plot(history, output / "energy.png", columns=["energy", "tau"], log="xy")
