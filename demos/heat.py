# # Heat, and the order of every scheme
#
# **What you see.** One mode of a cooling plate, computed on finer and finer meshes and with smaller
# and smaller steps. Errors are straight lines in the logarithmic picture, and their slopes are the
# orders that theory promises: $p + 1$ in the mesh size for elements of degree $p$; 1 in the time
# step for the minimizing movement, 2 for AVF and BDF2.
#
# **Strong form.** $\dot u = k\,\Delta u$ in the unit square, $u = 0$ on its boundary.
#
# **Energy and metric.** The Dirichlet energy in the flat metric,
#
# $$ E(u) = \tfrac12 \int k\,|\nabla u|^2, \qquad \psi(\dot u) = \tfrac12 \int |\dot u|^2. $$
#
# **Weak form.** $\int \dot u\, v + \int k\, \nabla u \cdot \nabla v = 0$ for all $v$: the first
# variation of $\psi$ plus that of $E$.
#
# **Known answer.** With $k = 1/(2\pi^2)$ the mode $\sin \pi x \sin \pi y$ decays like $e^{-t}$.

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
    description="Orders of convergence for the heat equation.", add_help=False
)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("--levels", type=int, default=4, help="meshes and time steps to compare")
levels = options.parse_known_args()[0].levels
output = Path("output/heat")
output.mkdir(parents=True, exist_ok=True)
# -

# A plate of `n` by `n` squares, held at zero along its edge; the flow is the library's `heat`, and
# only its initial state is ours.


def error(degree, n, tau, until, scheme):
    """L2 error at the final time, relative to the exact solution."""
    domain = mesh.create_unit_square(comm, n, n)
    V = fem.functionspace(domain, ("Lagrange", degree))
    domain.topology.create_connectivity(1, 2)
    rim = fem.locate_dofs_topological(V, 1, mesh.exterior_facet_indices(domain.topology))
    cold = fem.dirichletbc(0.0, rim, V)
    flow = flows.heat(V, conductivity=1 / (2 * np.pi**2), scheme=scheme, bcs=[cold])
    flow.state.interpolate(lambda x: np.sin(np.pi * x[0]) * np.sin(np.pi * x[1]))
    flows.evolve(flow, until, tau)
    x, y = ufl.SpatialCoordinate(domain)
    exact = np.exp(-until) * ufl.sin(ufl.pi * x) * ufl.sin(ufl.pi * y)
    gap = fem.form((flow.state - exact) ** 2 * ufl.dx(degree=2 * degree + 4))
    square = comm.allreduce(fem.assemble_scalar(gap), MPI.SUM)
    return 2 * np.exp(until) * np.sqrt(square)


# ## In space
# Time steps of an order 2 scheme so small that the mesh is all that is seen.

sizes = [2.0 ** -(k + 3) for k in range(levels)]
in_space = {
    f"P{p}": [error(p, round(1 / h), 1 / 320, 0.1, flows.AVF()) for h in sizes] for p in (1, 2)
}

# ## In time
# Elements of degree 4, whose error in space is below what the time step leaves.

steps = [2.0 ** -(k + 3) for k in range(levels)]
in_time = {
    type(scheme).__name__: [error(4, 12, tau, 1.0, scheme) for tau in steps]
    for scheme in (flows.MinimizingMovement(), flows.AVF(), flows.BDF2())
}

# ## The known answers

promised = {"P1": 2, "P2": 3, "MinimizingMovement": 1, "AVF": 2, "BDF2": 2}
measured, curves = {}, {"mesh size": {}, "time step": {}}
studies = zip(curves.items(), (sizes, steps), (in_space, in_time), strict=True)
for (label, lines), x, study in studies:
    for name, errors in study.items():
        measured[name] = np.polyfit(np.log(x), np.log(errors), 1)[0]
        lines[f"{name}: order {measured[name]:.2f}"] = {label: x, "relative error": errors}
        if comm.rank == 0:
            print(f"{name}: order {measured[name]:.3f} (exact {promised[name]}), ", end="")
            print(f"smallest error {errors[-1]:.1e}")
    picture = output / f"{label.replace(' ', '_')}.png"
    flows.curves(lines, picture, x=label, columns=["relative error"], log="xy")
