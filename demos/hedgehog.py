# # A hedgehog in a cube
#
# **What you see.** The directions of a liquid crystal in a cube, held by the walls so that they
# look outward. Somewhere inside there must be a point where they make no sense: a defect. From a
# tangled start the twist relaxes, the defect moves to the centre, and the hedgehog $x/|x|$ stays.
#
# **Strong form.** $\dot u = \Delta u + |\nabla u|^2 u$ with $|u| = 1$; on the walls $u = x/|x|$.
#
# **Energy.** $E(u) = \frac12 \int |\nabla u|^2$: all elastic constants of the crystal are equal.
#
# **Metric.** $L^2$ on rates that are tangent to the sphere, $\dot u \cdot u = 0$.
#
# **Weak form.** $\int \dot u \cdot w + \int \nabla u : \nabla w = 0$ for all $w$ with
# $w \cdot u = 0$ that vanish on the walls.
#
# **Known answer.** The hedgehog has the least energy of all maps with its boundary values
# {cite}`brezis1986`, $\int |x|^{-2} = 7.674124$. A mesh of size $h$ does not see what lies within
# $h$ of the defect: it falls short by a multiple of $h$, and a straight line through the energies
# of several meshes finds the exact one.

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
    description="The hedgehog, a point defect, in a cube.", add_help=False
)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("--n", type=int, default=16, help="cells along an edge, on the finest mesh")
options.add_argument("--until", type=float, default=0.4, help="final time")
args = options.parse_known_args()[0]
output = Path("output/hedgehog")
output.mkdir(parents=True, exist_ok=True)
sizes, exact = (args.n // 2, 3 * args.n // 4, args.n), 7.674124
# -

# The walls, and a start with a displaced defect whose surroundings are turned about an axis.


def hedgehog(x):
    return x / np.linalg.norm(x + 1e-12, axis=0)


def tangled(x):
    inside = np.cos(np.pi * x).prod(axis=0)
    turn, (a, b, c) = 2.5 * inside, x - np.array([[0.21], [0.12], [0.16]]) * inside
    return np.array([np.cos(turn) * a - np.sin(turn) * b, np.sin(turn) * a + np.cos(turn) * b, c])


# One run for each mesh; values that do not lie in the sphere are taken to it.

times = (0.03, args.until)
histories, kept = {}, []
for n in sizes:
    cube = mesh.create_box(comm, [[-0.5] * 3, [0.5] * 3], [n] * 3)
    V = fem.functionspace(cube, ("Lagrange", 1, (3,)))
    cube.topology.create_connectivity(2, 3)
    walls = fem.locate_dofs_topological(V, 2, mesh.exterior_facet_indices(cube.topology))
    normal = fem.Function(V)
    normal.interpolate(hedgehog)
    flow = flows.harmonic_map(V, flows.maps.Sphere(2), bcs=[fem.dirichletbc(normal, walls)])
    flow.state.interpolate(tangled)
    kept = []

    def keep(flow, kept=kept):
        if np.isclose(flow.time, (0, *times)).any():
            kept.append(flows.snapshot(flow)[0])

    control = flows.Adaptive(1e-3, tolerance=1e-2)
    history = flows.evolve(flow, args.until, control, times=times, observers=[keep])
    histories[f"h = 1/{n}"] = history

# ## The known answer

rise = {name: np.diff(history["energy"]).max() for name, history in histories.items()}
energies = [history["energy"][-1] for history in histories.values()]
limit = np.polyfit(1 / np.array(sizes), energies, 1)[1]
if comm.rank == 0:
    for name, energy in zip(histories, energies, strict=True):
        print(
            f"{name}: energy {energy:.4f}, {exact - energy:.3f} below the exact one; "
            f"largest change {rise[name]:.0e} (exact: < 0)"
        )
    print(f"extrapolated to h = 0: {limit:.4f} (exact {exact})")


# The pictures: arrows in two planes through the centre; red where they look outward.


def picture(shot):
    grid = shot.panel.grid
    x = np.linspace(-0.49, 0.49, 15)
    a, b = (v.ravel() for v in np.meshgrid(x, x))
    planes = np.vstack([np.column_stack([a, 0 * a, b]), np.column_stack([a, b, 0 * a])])
    cloud = pyvista.PolyData(planes).sample(grid)
    u = cloud["value"] / np.linalg.norm(cloud["value"], axis=1, keepdims=True)
    cloud["u"], cloud["outward"] = u, (u * hedgehog(planes.T).T).sum(axis=1)
    arrow = pyvista.Arrow(start=(-0.5, 0, 0), tip_length=0.4, tip_radius=0.16, shaft_radius=0.06)
    glyphs = cloud.glyph(orient="u", scale=False, factor=0.075, geom=arrow)
    glyphs.set_active_scalars("outward")
    return glyphs


if comm.rank == 0:
    titles = [f"$t = {t:g}$" for t in (0, *times)]
    panels = [picture(shot) for shot in kept]
    flows.plot(panels, output / "arrows.png", title=titles, share=True, clim=(-1, 1))
flows.plot(histories, output / "energy.png", log="x")
