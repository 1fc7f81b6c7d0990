# # A soap film in a wire frame, in two metrics
#
# **What you see.** A membrane, pulled up to a tall tower, relaxes in a frame of bent wire. Both
# flows descend the same area and end in the same soap film, but by different ways: in the flat
# metric steep walls hardly move, and the tower sinks slowly; in the metric of the surface itself
# walls move by their curvature, and the tower is gone early.
#
# **Strong form.** With $Q = \sqrt{1 + |\nabla u|^2}$, and $u$ given along the frame,
#
# $$ \dot u = \nabla \cdot \frac{\nabla u}{Q} \quad\text{(flat)}, \qquad
#    \frac{\dot u}{Q} = \nabla \cdot \frac{\nabla u}{Q} \quad\text{(mean curvature flow)}. $$
#
# **Energy.** The area of the graph, $E(u) = \int Q$.
#
# **Metrics.** $\psi = \frac12 \int |\dot u|^2$, and $\psi = \frac12 \int |\dot u|^2 / Q$, since
# the normal velocity is $\dot u / Q$ and the surface element is $Q\,dx$.
#
# **Weak form.** $\int w\, \dot u\, v + \int \nabla u \cdot \nabla v / Q = 0$ for all $v$ that
# vanish on the frame, with the weight $w = 1$ or $w = 1/Q$.
#
# **Known answer.** A frame on Scherk's surface carries Scherk's surface, $u = \log(\cos y/\cos x)$.

# +
import argparse
from pathlib import Path

import flows

import numpy as np
import ufl
from dolfinx import fem, mesh
from mpi4py import MPI

comm = MPI.COMM_WORLD
options = argparse.ArgumentParser(
    description="Graph area in two metrics, to Scherk's surface.", add_help=False
)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("--h", type=float, default=0.08, help="mesh size")
options.add_argument("--until", type=float, default=40.0, help="final time")
args = options.parse_known_args()[0]
output = Path("output/soap_film")
output.mkdir(parents=True, exist_ok=True)
a = 1.2  # half the side of the square; Scherk's surface needs a < pi/2
# -

# The frame: boundary values on the square.

domain = flows.mesh.rectangle((-a, -a), (a, a), h=args.h)
V = fem.functionspace(domain, ("Lagrange", 2))
domain.topology.create_connectivity(1, 2)
rim = fem.locate_dofs_topological(V, 1, mesh.exterior_facet_indices(domain.topology))
wire, start = fem.Function(V), fem.Function(V)


def scherk(x):
    return np.log(np.cos(x[1]) / np.cos(x[0]))


def tower(x):
    return scherk(x) + 3 * np.exp(-((2 * (x[0] ** 2 + x[1] ** 2)) ** 4))


wire.interpolate(scherk)
start.interpolate(tower)
frame = fem.dirichletbc(wire, rim)

# Both flows start from the tower; the library knows them as `graph_area`, their metric by `flat`.

times = [0.1, 0.3, args.until]
histories, panels, ends = {}, [], {}
for name, flat in {"flat metric": True, "metric of the surface": False}.items():
    flow = flows.graph_area(V, flat=flat, bcs=[frame])
    flow.state.x.array[:] = start.x.array
    panels.append(start)

    def keep(flow):
        if np.isclose(flow.time, times).any():
            panels.append(flow.state.copy())

    control = flows.Adaptive(1e-4, tolerance=5e-3)
    histories[name] = flows.evolve(flow, args.until, control, times=times, observers=[keep])
    ends[name] = flow.state.copy()

# ## The known answers
# The area and the height of the end states, next to Scherk's.

x, y = ufl.SpatialCoordinate(domain)
exact = ufl.ln(ufl.cos(y) / ufl.cos(x))
rule = ufl.dx(degree=8)


def total(form):
    return comm.allreduce(fem.assemble_scalar(fem.form(form)), MPI.SUM)


area = total(ufl.sqrt(1 + ufl.inner(ufl.grad(exact), ufl.grad(exact))) * rule)
error = {name: np.sqrt(total((u - exact) ** 2 * rule)) for name, u in ends.items()}
if comm.rank == 0:
    for name, history in histories.items():
        print(
            f"{name}: area {history['energy'][0]:.4f} -> {history['energy'][-1]:.6f} (exact "
            f"{area:.6f}), error of the film {error[name]:.1e}, "
            f"largest change of area {np.diff(history['energy']).max():.1e} (exact: < 0)"
        )

titles = [f"{name}, $t = {t:g}$" for name in histories for t in (0, *times)]
flows.plot(panels, output / "films.png", title=titles, warp=1.0, share=True, rows=2)
flows.plot(histories, output / "area.png", log="x")
