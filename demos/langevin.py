# # Langevin: particles and their density
#
# **What you see.** Particles that roll downhill and are kicked at random; in colour, the density
# that the Fokker-Planck equation predicts for infinitely many. All began in one of three valleys.
# The error of their histograms falls with the square root of their number.
#
# **Strong form.** $dX = -\nabla V(X)\, dt + \sqrt{2 / \beta}\, dW$ for each particle; their density
# obeys $\dot\rho = \nabla\cdot(\beta^{-1} \nabla\rho + \rho \nabla V)$. Here
# $V = (|x|^2 - \frac12)^2 - \frac23 (x_1^3 - 3 x_1 x_2^2)$, and far walls reflect.
#
# **Energy and metric.** $F = \int V \rho + \beta^{-1} \rho \log \rho$ and the Wasserstein metric,
# $\psi^* = \frac12 \int \rho\, |\nabla \xi|^2$.
#
# **Weak form.** $\int \dot\rho \eta + (\beta^{-1} \nabla\rho + \rho \nabla V) \cdot \nabla\eta = 0$
# for all $\eta$: what becomes of the mean of $\eta(X)$.
#
# **Known answer.** Of $N$ particles the part in a bin has the mean $p = \int \rho$ over the bin and
# the variance $p (1 - p) / N$: the distance of histograms is $\sqrt{(1 - \sum p^2) / N}$ in the
# root mean square, of slope $-\frac12$. All places are the same on any number of ranks.

# +
import argparse
import zlib
from pathlib import Path

import flows
from flows import diagnostics

import numpy as np
import pyvista
import ufl
from dolfinx import fem
from mpi4py import MPI

comm = MPI.COMM_WORLD
options = argparse.ArgumentParser(description="Particles and their density.", add_help=False)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("--particles", type=int, default=200_000, help="a multiple of 1000")
options.add_argument("--h", type=float, default=0.04, help="mesh size, a part of 0.4")
options.add_argument("--until", type=float, default=1.0, help="final time")
args = options.parse_known_args()[0]
output = Path("output/langevin")
output.mkdir(parents=True, exist_ok=True)
beta, wall, bins, tau = 3.0, 2.0, 10, 1e-3
# -

# ## The density
# What it has in each bin is summed over cells, none of which lies in two bins.

V = lambda x: (x[0] ** 2 + x[1] ** 2 - 0.5) ** 2 - 2 / 3 * (x[0] ** 3 - 3 * x[0] * x[1] ** 2)
number = lambda z: np.floor((z / wall + 1) * bins / 2).astype(int)
bin_of = lambda x, y: number(x) * bins + number(y)
domain = flows.mesh.rectangle((-wall, -wall), (wall, wall), h=args.h)
x = ufl.SpatialCoordinate(domain)
flow = flows.fokker_planck(domain, V(x), beta=beta)
rho, parabola = flow.state, ((x[0] - 1) ** 2 + (x[1] - 0.4) ** 2) / 2
rho.x.array[:] = diagnostics.gibbs(rho.function_space, parabola, 1 / 0.15**2).x.array
flows.evolve(flow, args.until, 2e-3, observers=[flows.Progress()])
cells = fem.functionspace(domain, ("Discontinuous Lagrange", 0))
parts = fem.assemble_vector(fem.form(rho * ufl.TestFunction(cells) * ufl.dx)).array
x, y, _ = cells.tabulate_dof_coordinates().T
own = slice(cells.dofmap.index_map.size_local)
p = comm.allreduce(np.bincount(bin_of(x, y)[own], parts[own], bins**2))

# ## The particles
# Blocks of 1000 have random numbers of their own: it does not matter on which rank they move. Their
# Euler-Maruyama steps do not know the walls, which none of them reaches.


def block(k):
    """Places of a thousand particles at the final time."""
    random = np.random.Generator(np.random.Philox(key=[2024, k]))
    x, y = np.array([[1.0], [0.4]]) + 0.15 * random.standard_normal((2, 1000))
    for _ in range(round(args.until / tau)):
        dx, dy = np.sqrt(2 * tau / beta) * random.standard_normal((2, 1000))
        r = 4 * (x * x + y * y) - 2
        dx -= tau * (r * x - 2 * (x * x - y * y))
        dy -= tau * (r * y + 4 * x * y)
        x, y = x + dx, y + dy
    return x, y


mine = {k: block(k) for k in range(comm.rank, args.particles // 1000, comm.size)}
blocks = {k: places for part in comm.allgather(mine) for k, places in part.items()}
places = np.hstack([blocks[k] for k in sorted(blocks)])
where = bin_of(*places)

# ## The known answers

sizes, errors = np.array([100, 300, 1000, 3000, 10_000, 30_000, 100_000]), []
sizes = sizes[2 * sizes <= args.particles]
for n in sizes:
    batches = where[: where.size // n * n].reshape(-1, n)
    parts = np.array([np.bincount(batch, minlength=p.size) / n for batch in batches])
    errors.append(np.sqrt(np.mean(np.sum((parts - p) ** 2, axis=1))))
slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
exact = np.sqrt((1 - p @ p) / sizes)
checksum = zlib.crc32(places.tobytes())
if comm.rank == 0:
    print(f"slope of the error {slope:.3f} (exact -0.5), checksum of the places {checksum}")
    for n, error, right in zip(sizes, errors, exact, strict=True):
        print(f"N = {n}: error {error:.5f} (exact {right:.5f})")

# Two thousand particles on the landscape.

(kept,) = flows.snapshot(flow)
if comm.rank == 0:
    land, (x, y) = kept.panel.grid, places[:, :2000]
    land.points[:, 2] = 0.25 * V(land.points.T)
    land.rename_array("value", "density")
    dots = pyvista.PolyData(np.column_stack([x, y, 0.25 * V((x, y)) + 0.01]))
    ball = pyvista.Sphere(radius=0.01, theta_resolution=8, phi_resolution=8)
    balls = dots.glyph(geom=ball, scale=False, orient=False)
    balls["density"] = np.full(balls.n_points, top := 1.6 * land["density"].max())
    scene = pyvista.merge([land.clip("z", origin=(0, 0, 0.35)), balls])
    scene.set_active_scalars("density")
    flows.plot(scene, output / "particles.png", view=(-0.4, -1, 2), clim=(0, top))
lines = {f"histograms: slope {slope:.3f}": errors, r"exact: slope $-1/2$": exact}
lines = {label: {"N": sizes, "error": line} for label, line in lines.items()}
flows.curves(lines, output / "error.png", x="N", columns=["error"], log="xy")
