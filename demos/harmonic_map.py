# # Arrows that untwist, and a bubble
#
# **What you see.** Unit vectors on a disk, held along its rim, turn towards the mean of their
# neighbours: harmonic map heat flow into the sphere. In the first run arrows that wind about the
# axis untwist, and all is smooth. In the second the arrows turn too far between centre and rim. The
# excess gathers at the centre, faster and faster, and in finite time a whole sphere of directions
# vanishes in a point: a bubble, which takes the energy $4\pi$ with it {cite}`chang1992`. The run
# announces it with time and place, and goes on.
#
# **Strong form.** $\dot u = \Delta u + |\nabla u|^2 u$ with $|u| = 1$, and $u$ given along the rim.
#
# **Energy.** $E(u) = \frac12 \int |\nabla u|^2$.
#
# **Metric.** $L^2$ on rates that are tangent to the sphere, $\dot u \cdot u = 0$.
#
# **Weak form.** $\int \dot u \cdot w + \int \nabla u : \nabla w = 0$ for all $w$ with
# $w \cdot u = 0$ that vanish along the rim.
#
# **Known answer.** Both runs end in half a sphere, $u = \pm(2x, 1 - |x|^2)/(1 + |x|^2)$, which is
# conformal: its energy is its area, $2\pi$.

# +
import argparse
from pathlib import Path

import flows

import numpy as np
import pyvista
from dolfinx import fem, mesh
from mpi4py import MPI

comm = MPI.COMM_WORLD
options = argparse.ArgumentParser(
    description="Harmonic map heat flow on a disk, through a singularity.", add_help=False
)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("--h", type=float, default=0.05, help="mesh size")
options.add_argument("--until", type=float, default=0.5, help="final time")
args = options.parse_known_args()[0]
output = Path("output/harmonic_map")
output.mkdir(parents=True, exist_ok=True)
# -

# Arrows at the angle $p(r)$ from the axis, in a direction that winds by $q(r)$ about it.


def arrows(p, q):
    def values(x):
        r, s = np.hypot(x[0], x[1]), np.arctan2(x[1], x[0])
        across = np.sin(p(r)) * np.array([np.cos(s + q(r)), np.sin(s + q(r))])
        return np.vstack([across, np.cos(p(r))])

    return values


starts = {
    "untwisting": arrows(lambda r: np.pi / 2 * r, lambda r: np.pi * (1 - r**2)),
    "a bubble": arrows(lambda r: 1.5 * np.pi * r * (2 - r), lambda r: 0 * r),
}

# Two runs on one mesh. A map is a P1 function; its nodal values lie in the sphere, exactly.

domain = flows.mesh.disk(h=args.h)
V = fem.functionspace(domain, ("Lagrange", 1, (3,)))
domain.topology.create_connectivity(1, 2)
rim = fem.locate_dofs_topological(V, 1, mesh.exterior_facet_indices(domain.topology))
times = {"untwisting": (0.02, 0.1, args.until), "a bubble": (0.02, 0.06, args.until)}
histories, kept, length = {}, {}, {}
for name, start in starts.items():
    values = fem.Function(V)
    values.interpolate(start)
    flow = flows.harmonic_map(V, flows.maps.Sphere(2), bcs=[fem.dirichletbc(values, rim)])
    flow.state.x.array[:] = values.x.array
    shots = kept[name] = []

    def keep(flow, shots=shots, times=(0, *times[name])):
        if np.isclose(flow.time, times).any():
            shots.append(flows.snapshot(flow)[0])

    histories[name] = flows.evolve(flow, args.until, 2e-3, times=times[name], observers=[keep])
    norm = np.linalg.norm(flow.state.x.array.reshape(-1, 3), axis=1)
    length[name] = comm.allreduce(abs(norm - 1).max(), MPI.MAX)

# ## The known answers

ends = {name: history["energy"][-1] for name, history in histories.items()}
rise = {name: np.diff(history["energy"]).max() for name, history in histories.items()}
events = {name: history.events for name, history in histories.items()}
if comm.rank == 0:
    for name, history in histories.items():
        print(
            f"{name}: energy {history['energy'][0]:.3f} -> {ends[name]:.4f} (exact "
            f"{2 * np.pi:.4f}), largest change {rise[name]:.0e} (exact: < 0), "
            f"||u| - 1| <= {length[name]:.0e}"
        )
        print("".join(f"{event}\n" for event in events[name]), end="")

# The pictures: arrows on rings, coloured by their height.


def picture(shot):
    rings = [(0.0, 0.0), *((k, s) for k in range(1, 12) for s in range(6 * k))]
    r, s = np.transpose([(k / 11.2, 2 * np.pi * s / (6 * k or 1)) for k, s in rings])
    cloud = pyvista.PolyData(np.column_stack([r * np.cos(s), r * np.sin(s), 0 * r]))
    cloud = cloud.sample(shot.panel.grid)
    cloud["value"] /= np.linalg.norm(cloud["value"], axis=1, keepdims=True)
    cloud["$u_3$"] = cloud["value"][:, 2].copy()
    arrow = pyvista.Arrow(start=(-0.5, 0, 0), tip_length=0.4, tip_radius=0.16, shaft_radius=0.06)
    glyphs = cloud.glyph(orient="value", scale=False, factor=0.12, geom=arrow)
    glyphs.set_active_scalars("$u_3$")
    return glyphs


if comm.rank == 0:
    titles = [f"{name}, $t = {t:g}$" for name in times for t in (0, *times[name])]
    panels = [picture(shot) for shots in kept.values() for shot in shots]
    look = {"rows": 2, "share": True, "view": (0, -1, 1.2), "clim": (-1, 1)}
    flows.plot(panels, output / "arrows.png", title=titles, **look)
flows.plot(histories, output / "energy.png", log="x")
