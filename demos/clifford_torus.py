# # A torus finds the Clifford torus
#
# **What you see.** A torus, coloured by its mean curvature, under the flow of its bending energy.
# The tube swells and the hole closes in until the radii are as $\sqrt 2 : 1$, or nearly so: the
# energy does not change under conformal maps, and all images of that torus are minimisers.
#
# **Strong form.** $V = \Delta_\Gamma H + H\,(\tfrac12 H^2 - 2K)$ with the Gauss curvature $K$, a
# parabolic equation of fourth order: a sphere stands still, whatever its size.
#
# **Energy and metric.** The bending energy, in the $L^2$ metric of normal velocities:
#
# $$ E(\Gamma) = \tfrac12 \int_\Gamma H^2, \qquad \psi(V) = \tfrac12 \int_\Gamma V^2. $$
#
# **Weak form.** One step from $\Gamma_k$ is a minimizing movement, with curvature only in a dual
# variable $y$, a vector field on the new surface:
#
# $$ \min_X \max_y\; - \int_{X} \nabla \mathrm{id} : \nabla y + \tfrac12 |y|^2
#    + \frac{1}{2\tau} \int_{\Gamma_k} ((X - \mathrm{id}) \cdot \nu)^2. $$
#
# **Known answer.** No torus has less energy than the Clifford torus {cite}`marques2014`,
# $E = 4\pi^2$. Cells are curved, of degree 2: the error is of fourth order in their size. Each step
# is certified, $E_{k+1} + d^2/(2\tau) \le E_k$.

# +
import argparse
from pathlib import Path

import flows

import numpy as np
from mpi4py import MPI

comm = MPI.COMM_WORLD
options = argparse.ArgumentParser(description="Willmore flow of a torus.", add_help=False)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("--h", type=float, default=0.2, help="edge length of the mesh")
options.add_argument("--ratio", type=float, default=2.0, help="radius of the ring over the tube's")
options.add_argument("--until", type=float, default=5.0, help="final time")
args = options.parse_known_args()[0]
output = Path("output/clifford_torus")
output.mkdir(parents=True, exist_ok=True)
# -

# Nodes move along the normals, and slip along the surface so that the cells stay good. On the way
# to a steady state the time steps are as long as Newton's method allows.

mesh = flows.mesh.torus(1.0, 1 / args.ratio, h=args.h, order=2, structured=False)
flow = flows.willmore(mesh)
times = [0.0, 0.02, args.until]
pictures = []


def keep(flow):
    if np.isclose(flow.time, times).any():
        pictures.extend(flows.snapshot(flow))


history = flows.evolve(
    flow,
    args.until,
    flows.Relax(1e-4, largest=1.0),
    times=times,
    observers=[keep, flows.Writer(output / "series.pvd"), flows.Progress()],
)

# ## The known answer

energy, exact = history["energy"], 4 * np.pi**2
error = energy[-1] / exact - 1
rise = np.diff(energy).max()
worst = history["defect"].max()
angle = flow.surface.quality().angle
if comm.rank == 0:
    nodes = flow.state.function_space.dofmap.index_map.size_global
    print(f"{nodes} nodes, {history.steps} steps, smallest angle {angle:.0f} degrees")
    print(f"energy {energy[0]:.4f} -> {energy[-1]:.5f}, exact {exact:.5f}, error {error:.1e}")
    print(f"largest rise of the energy {rise:.1e}, of the certificate {worst:.1e} (exact: <= 0)")
titles = [f"$t = {t:.3g}$" for t in times]
look = {"view": (1, -1.2, 1.1), "clim": (-3.5, 3.5)}
flows.plot(pictures, output / "torus.png", title=titles, share=True, rows=1, **look)
flows.plot(flow, output / "mesh.png", edges=True, title="", **look)
excess = {"t": history["t"], "energy above $4\\pi^2$": energy - exact}
flows.curves(excess, output / "energy.png", columns=list(excess)[1:], log="xy")
