# # Constant curvature on three surfaces
#
# **What you see.** A bumpy sphere, a torus and a surface with two holes, coloured by their Gauss
# curvature. Below, the same surfaces at the end: lengths on them have changed until the curvature
# is the same everywhere. Space has no room for the shape itself, so only its colours change.
#
# **Strong form.** The metric is $e^{2u} g_0$, and $\dot u = \bar K - K$ with its curvature
# $K = e^{-2u}(K_0 - \Delta u)$ and the mean $\bar K$.
#
# **Energy and metric.** The Liouville energy, in the $L^2$ metric of $e^{2u} g_0$, area kept:
#
# $$ E(u) = \int \tfrac12 |\nabla u|^2 + K_0 u, \qquad \psi(\dot u) = \tfrac12 \int e^{2u} \dot u^2,
#    \qquad \int e^{2u} = A. $$
#
# **Weak form.** $\int e^{2u} \dot u\, v + \int \nabla u \cdot \nabla v + \int K_0 v
#    = \bar K \int e^{2u} v$ for all $v$.
#
# **Known answer.** By Gauss and Bonnet the total curvature is $2\pi\chi$, at all times; so in the
# end $K = 2\pi\chi/A$ {cite}`hamilton1988,chow1991`.

# +
import argparse
from pathlib import Path

import flows

import numpy as np
from mpi4py import MPI

comm = MPI.COMM_WORLD
options = argparse.ArgumentParser(description="Ricci flow on three surfaces.", add_help=False)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("--h", type=float, default=0.045, help="edge length of the meshes")
options.add_argument("--steps", type=int, default=12, help="number of time steps")
args = options.parse_known_args()[0]
output = Path("output/ricci_flow")
output.mkdir(parents=True, exist_ok=True)
surfaces = {
    "sphere": flows.mesh.bumpy_sphere(h=2 * args.h),
    "torus": flows.mesh.torus(1.0, 0.5, h=2 * args.h),
    "two holes": flows.mesh.genus_two(h=args.h),
}
# -

# On the way to a steady state the time steps are as long as Newton's method allows.


def extremes(K):
    """Least and largest curvature over all ranks."""
    return comm.allreduce(K.x.array.min(), MPI.MIN), comm.allreduce(K.x.array.max(), MPI.MAX)


start, end, spread, answer, gap, rise = [], [], {}, {}, {}, {}
for name, surface in surfaces.items():
    flow = flows.ricci(surface)
    flow.step(args.h**2)  # the angles of the triangles, one by one, are no picture of the surface
    start.append(flow.curvature.copy())
    seen = []
    history = flows.evolve(
        flow,
        1e6,
        flows.Relax(1.0, growth=4),
        steps=args.steps,
        observers=[lambda flow, seen=seen: seen.append(extremes(flow.curvature)), flows.Progress()],
    )
    end.append(flow.curvature.copy())
    spread[name] = np.ptp(seen, axis=1)
    answer[name] = 2 * np.pi * flow.euler / flow.area
    gap[name] = np.abs(np.array(seen[-1]) - answer[name]).max()
    rise[name] = np.diff(history["energy"]).max()

# ## The known answers

if comm.rank == 0:
    for name, exact in answer.items():
        print(f"{name}: the curvature is {exact:.6f} in the end, to {gap[name]:.1e};", end=" ")
        print(f"its spread was {spread[name][0]:.3g}, largest rise of the energy {rise[name]:.1e}")
for name, first, last in zip(surfaces, start, end, strict=True):
    most = np.quantile(np.abs(np.concatenate(comm.allgather(first.x.array))), 0.98)
    label = name.replace(" ", "_")
    titles = [f"{name}: $K$ at $t = {args.h**2:.2g}$", f"in the end: $K = {answer[name]:.4g}$"]
    look = {"share": True, "rows": 1, "clim": (-most, most), "view": (1, -1.2, 1.4)}
    flows.plot([first, last], output / f"{label}.png", title=titles, **look)
lines = {name: {"step": np.arange(s.size), "spread of K": s} for name, s in spread.items()}
flows.curves(lines, output / "spread.png", x="step", columns=["spread of K"], log="y")
