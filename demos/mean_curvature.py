# # Mean curvature flow of a machine part
#
# **What you see.** A flange, as it comes from a CAD program. The sharper an edge, the faster it
# melts; the bore and the bolt holes bend the surface both ways and hardly move, until the rim
# beside the bolts is so thin that it would tear.
#
# **Strong form.** $V = -H$: the normal velocity of the surface $\Gamma$ is minus its mean
# curvature, $H = \kappa_1 + \kappa_2$.
#
# **Energy and metric.** The area, in the $L^2$ metric of normal velocities:
#
# $$ E(\Gamma) = \int_\Gamma 1, \qquad \psi(V) = \tfrac12 \int_\Gamma V^2. $$
#
# **Weak form.** The state is the immersion $X$ of the surface; for all vector fields $\eta$
#
# $$ \int_\Gamma (\dot X \cdot \nu)(\eta \cdot \nu)
#    + \int_\Gamma \nabla_\Gamma X : \nabla_\Gamma \eta = 0. $$
#
# Tangential motion costs nothing: nodes slide along the surface, and the mesh stays good.
#
# **Known answer.** $dA/dt = -\int H^2$ and $dV/dt = -\int H$ for area and volume, and every step
# is certified: $A_{k+1} + d^2/(2\tau) \le A_k$.
#
# Any closed surface will do: `python demos/mean_curvature.py --file body.stl --h 0.05 --until 0.01`
# reads the file, meshes it anew with edges of length 0.05, and lets it flow.

# +
import argparse
import os
from pathlib import Path

import flows

import numpy as np
from mpi4py import MPI
from ufl import dx

comm = MPI.COMM_WORLD
options = argparse.ArgumentParser(
    description="Mean curvature flow of any closed surface.", add_help=False
)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("--file", type=Path, help="a closed surface or a solid, else a flange")
options.add_argument("--h", type=float, help="edge length of a new mesh")
options.add_argument("--until", type=float, default=0.02, help="final time")
args = options.parse_known_args()[0]
output = Path("output/mean_curvature")
output.mkdir(parents=True, exist_ok=True)
# -

# The part is built by the parametric geometry `meshes/flange.geo`. Then it goes the way of a part
# from elsewhere, through two files: STEP, which CAD programs exchange, and STL, a bag of triangles.
# What comes back is meshed anew.

if args.file is None:
    args.file, args.h = output / "flange.stl", args.h or 0.06
    if comm.rank == 0:
        import gmsh

        gmsh.initialize(interruptible=False)
        gmsh.option.setNumber("General.Verbosity", 0)
        gmsh.open(str(Path(__file__).parents[1] / "meshes" / "flange.geo"))
        terminal = os.dup(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the STEP writer is talkative
        gmsh.write(str(output / "flange.step"))
        os.dup2(terminal, 1)
        gmsh.clear()
        gmsh.open(str(output / "flange.step"))
        gmsh.option.setNumber("Mesh.MeshSizeMax", args.h / 2)
        gmsh.option.setNumber("Mesh.Binary", 1)
        gmsh.model.mesh.generate(2)
        gmsh.write(str(args.file))
        gmsh.finalize()
    comm.Barrier()
surface = flows.mesh.read(args.file, h=args.h, dim=2)

# The flow, with pictures at four times, and the volume and the integral of $H$ on record.

flow = flows.mean_curvature(surface)
times = args.until * np.array([0.0, 0.1, 0.4, 1.0])
pictures = []


def keep(flow):
    if np.isclose(flow.time, times).any():
        pictures.extend(flows.snapshot(flow))


H = flow.surface.curvature
numbers = flows.Recorder(output / "run.csv", H=H * dx, volume=lambda flow: flow.surface.volume)
history = flows.evolve(
    flow,
    args.until,
    flows.Adaptive(args.until / 100, tolerance=4e-3),
    times=times,
    observers=[keep, numbers, flows.Writer(output / "series.pvd"), flows.Progress()],
)

# ## The known answers
# Each step moved by $V = -H$, so its $d^2/\tau$ is the integral of $H^2$ over the step.

t, area, volume = history["t"], history["energy"], history["volume"]
lost = {"area": area[0] - area[-1], "volume": volume[0] - volume[-1]}
exact = {"area": 2 * history["movement"].sum(), "volume": np.trapezoid(history["H"], t)}
worst = history["defect"].max()
if comm.rank == 0:
    print(f"{surface.topology.index_map(0).size_global} vertices, {t.size - 1} steps")
    print(f"area {area[0]:.4f} -> {area[-1]:.4f}, volume {volume[0]:.4f} -> {volume[-1]:.4f}")
    print(f"area lost {lost['area']:.4f} (exact: the integral of H^2, {exact['area']:.4f})")
    print(f"volume lost {lost['volume']:.4f} (exact: the integral of H, {exact['volume']:.4f})")
    print(f"certificate A_new + d^2/(2 tau) - A_old, largest: {worst:.1e} (exact: <= 0)")
titles = [f"$t = {t:.4g}$" for t in times]
flows.plot(pictures, output / "flange.png", title=titles, share=True, rows=2, clim=(-10, 10))
flows.plot(flow, output / "mesh.png", edges=True, title=titles[-1], clim=(-10, 10))
