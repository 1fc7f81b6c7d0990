# # Any closed surface: a scan that melts
#
# **What you see.** A triangulated body from a file, coloured by its mean curvature. Under mean
# curvature flow it loses its edges, then its limbs, and ends at a singularity that the run
# announces; under surface diffusion it keeps its volume and becomes round.
#
# **Strong form.** $V = -H$, or with `--keep-volume` $V = \Delta_\Gamma H$, for the normal velocity
# $V$ of the surface.
#
# **Energy and metric.** The area, in the $L^2$ or in the $H^{-1}$ metric of normal velocities.
#
# **Known answer.** $dA/dt = -\int H^2$ and $dV/dt = -\int H$ for area and volume of the one,
# constant volume for the other; and every step is certified: $A_{k+1} + d^2/(2\tau) \le A_k$.
#
#     mpirun -n 2 python demos/scan.py body.stl
#     mpirun -n 2 python demos/scan.py body.stl --h 0.02 --keep-volume
#
# reads any file that Gmsh or meshio can read; with `--h` it is meshed anew with edges of that
# length. Parts that vanish are left behind, cells that become needles are made anew, and the rest
# goes on. Without a file, a gear.

# +
import argparse
from pathlib import Path

import flows

import numpy as np
from mpi4py import MPI
from ufl import dx

options = argparse.ArgumentParser(description="A closed surface from a file.", add_help=False)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("file", type=Path, nargs="?", help="a closed surface, such as body.stl")
options.add_argument("--h", type=float, help="edge length of a new mesh")
options.add_argument("--until", type=float, help="final time, else that of much change")
options.add_argument("--keep-volume", action="store_true", help="surface diffusion")
args = options.parse_known_args()[0]
output = Path("output/scan")
output.mkdir(parents=True, exist_ok=True)
rank = MPI.COMM_WORLD.rank
# -

# The body, and how long to look at it: a ball of its volume would vanish by mean curvature at
# $R^2/4$, and surface diffusion needs a time of the order of $R^4$.

if args.file is None:
    args.file, args.h = Path(__file__).parents[1] / "meshes" / "gear.geo", args.h or 0.08
surface = flows.mesh.read(args.file, h=args.h, dim=2)
kind = flows.surface_diffusion if args.keep_volume else flows.mean_curvature
flow = kind(surface, remesh=flows.Remesh(angle=8))
size = (3 * flow.surface.volume / (4 * np.pi)) ** (1 / 3)
until = args.until or (0.05 * size**4 if args.keep_volume else 0.25 * size**2)
times = until * np.array([0.0, 0.005, 0.02, 0.08, 0.3])
pictures, titles = [], []


def keep(flow):
    if np.isclose(flow.time, times).any():
        pictures.extend(flows.snapshot(flow))
        titles.append(f"$t = {flow.time:.3g}$")


def bend(power):
    """The integral of a power of the mean curvature, on whatever mesh the flow is."""
    return lambda flow: flow.surface.curvature**power * dx


numbers = flows.Recorder(
    output / "run.csv", volume=lambda flow: flow.surface.volume, H=bend(1), H2=bend(2)
)
history = flows.evolve(
    flow,
    until,
    flows.Adaptive(until / 1000, tolerance=5e-4),
    times=times,
    observers=[keep, numbers, flows.Writer(output / "series.pvd"), flows.Progress()],
)
if flow.time not in times:
    pictures.extend(flows.snapshot(flow))
    titles.append(f"$t = {flow.time:.3g}$")

# ## The known answers

# Between changes of the mesh, that is: what those cost stands in their events.

t, area, volume = history["t"], history["energy"], history["volume"]
same = ~np.isin(t[1:], [event.t for event in history.events])
fall, worst = -np.diff(area)[same], history["defect"].max()
drift = np.abs(np.diff(volume)[same]).max() / volume[0]
quality = flow.surface.quality()
if rank == 0:
    print(f"{surface.topology.index_map(2).size_global} triangles, {t.size - 1} steps")
    print(f"area {area[0]:.5g} -> {area[-1]:.5g}, volume {volume[0]:.5g} -> {volume[-1]:.5g}")
    if args.keep_volume:
        print(f"largest change of volume in a step: {drift:.1e} (exact: 0)")
    print(f"certificate A_new + d^2/(2 tau) - A_old, largest: {worst:.1e} (exact: <= 0)")
    print(f"smallest angle of a triangle at the end: {quality.angle:.1f} degrees")
    for event in history.events:
        print(event)
flows.plot(pictures, output / "body.png", title=titles, share=True, rows=2, clim=(-10, 10))
flows.plot(history, output / "curves.png", columns=["energy", "volume"])
