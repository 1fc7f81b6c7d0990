# # Fokker-Planck: over a barrier
#
# **What you see.** A landscape with two valleys, coloured by the density of diffusing particles. All
# start on one slope. Soon they fill the valley below; then, very slowly, half of them find the way
# over the pass. The free energy tells both: it plunges, and then creeps along an exponential whose
# rate is an eigenvalue.
#
# **Strong form.** $\dot\rho = \nabla\cdot(\beta^{-1} \nabla\rho + \rho \nabla V)$ in a box whose
# walls reflect, with $V = (x^2 - 1)^2 + (y - \frac12 (1 - x^2))^2$.
#
# **Energy.** The free energy $F(\rho) = \int V \rho + \beta^{-1} \rho \log \rho$, least in the Gibbs
# state $\pi = e^{-\beta V} / Z$, above which it is
# $F - F_\infty = \beta^{-1} \int \rho \log(\rho / \pi)$, a relative entropy (KL).
#
# **Metric.** Wasserstein: $\psi^* = \frac12 \int \rho\, |\nabla \xi|^2$. So
# $\dot F = -\beta^{-2} I$ with the Fisher information $I = \int \rho\, |\nabla \log(\rho / \pi)|^2$.
#
# **Weak form.** $\int \dot\rho\, \eta + \int (\beta^{-1} \nabla\rho + \rho \nabla V) \cdot
# \nabla\eta = 0$ for all $\eta$. Steps are linear in the ratio of $\rho$ to $\pi$.
#
# **Known answer.** With $\rho = \pi g$ the equation is $\pi \dot g = \beta^{-1}
# \nabla\cdot(\pi \nabla g)$. Let $\lambda$ be its smallest eigenvalue above 0. In the end
# $g - 1$ decays like $e^{-\lambda t}$, and $F - F_\infty$, quadratic about $\pi$, like
# $e^{-2 \lambda t}$; each step $\tau$ of implicit Euler divides $g - 1$ by $1 + \lambda\tau$, which
# makes the rate $2 \log(1 + \lambda\tau) / \tau$.

# +
import argparse
from pathlib import Path

import flows

import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem.petsc import assemble_matrix
from flows import diagnostics
from mpi4py import MPI
from slepc4py import SLEPc
from ufl import dx, grad, inner

comm = MPI.COMM_WORLD
options = argparse.ArgumentParser(
    description="Diffusion over a barrier and its slowest rate.", add_help=False
)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("--h", type=float, default=0.04, help="mesh size")
options.add_argument("--beta", type=float, default=3.0, help="height of the barrier in kT")
options.add_argument("--until", type=float, default=36.0, help="final time")
args = options.parse_known_args()[0]
beta = args.beta
output = Path("output/fokker_planck")
output.mkdir(parents=True, exist_ok=True)
# -

# The landscape and the start, a narrow Gaussian.


def V(x):
    return (x[0] ** 2 - 1) ** 2 + (x[1] - (1 - x[0] ** 2) / 2) ** 2


domain = flows.mesh.rectangle((-1.8, -2), (1.8, 2), h=args.h)
point = ufl.SpatialCoordinate(domain)
flow = flows.fokker_planck(domain, V(point), beta=beta)
rho = flow.state
gibbs = diagnostics.gibbs(rho.function_space, V(point), beta)
rho.x.array[:] = gibbs.x.array
least = flow.energy()
rho.interpolate(lambda x: np.exp(-((x[0] + 1) ** 2 + (x[1] - 1) ** 2) / (2 * 0.15**2)))
mass = diagnostics.mass(rho)
rho.x.array[:] /= comm.allreduce(fem.assemble_scalar(fem.form(mass)), MPI.SUM)

# Steps grow until the slow phase, where all are the same and one factorisation serves them.

times, panels = args.until * np.array([0.0, 0.01, 0.1, 1.0]), []


def keep(flow):
    if np.isclose(flow.time, times).any():
        panels.extend(flows.snapshot(flow))


numbers = flows.Recorder(
    output / "run.csv",
    excess=diagnostics.excess(least),
    kl=diagnostics.relative_entropy(rho, gibbs),
    fisher=diagnostics.fisher_information(rho, gibbs),
    mass=mass,
    right=ufl.conditional(ufl.gt(point[0], 0), rho, 0) * dx,
)
steps = flows.Adaptive(1e-4, tolerance=2e-3, largest=0.25)
observers = [keep, numbers, flows.Progress()]
history = flows.evolve(flow, args.until, steps, times=times, observers=observers)

# ## The known answers
# The eigenvalues come from elements of degree 2 and know nothing of the scheme.

P2 = fem.functionspace(domain, ("Lagrange", 2))
f, g, weight = ufl.TrialFunction(P2), ufl.TestFunction(P2), ufl.exp(-beta * V(point))
forms = [weight / beta * inner(grad(f), grad(g)) * dx(degree=8), weight * f * g * dx(degree=8)]
matrices = [assemble_matrix(fem.form(form)) for form in forms]
for matrix in matrices:
    matrix.assemble()
problem = SLEPc.EPS().create(comm)
problem.setOperators(*matrices)
problem.setProblemType(SLEPc.EPS.ProblemType.GHEP)
problem.setDimensions(3)
problem.setTarget(-0.1)  # not 0, which is the eigenvalue of the Gibbs state
problem.getST().setType("sinvert")
direct = problem.getST().getKSP().getPC()
direct.setType("lu")
direct.setFactorSolverType("mumps")
problem.solve()
zero, slow, fast = (problem.getEigenvalue(k).real for k in range(3))

t, tau, kl, fisher = (history[name] for name in ("t", "tau", "kl", "fisher"))
late = t > 0.6 * args.until
rate = -np.polyfit(t[late], np.log(kl[late]), 1)[0]
exact = 2 * np.log1p(slow * tau[-1]) / tau[-1]
gap = np.abs(history["excess"] - kl / beta).max()
drift = np.ptp(history["mass"])
if comm.rank == 0:
    print(f"{t.size - 1} steps, F - F_inf {kl[0] / beta:.4f} -> {kl[-1] / beta:.1e}, ", end="")
    print(f"from KL / beta at most {gap:.1e} (exact: 0)")
    print(f"rate over the pass {rate:.5f} (exact {2 * slow:.5f}, with these steps {exact:.5f}), ")
    print(f"inside a valley about {2 * fast:.2f}, drift of the mass {drift:.1e} (exact: 0)")
    print(f"right of the pass {history['right'][-1]:.4f} (in the end: 0.5)")

# ## Pictures
# The density on its landscape, up to a level; and the curves, with dots for the relative entropy.

if comm.rank == 0:
    lands = [snapshot.panel.grid for snapshot in panels]
    for land in lands:
        land["height"] = V(land.points.T)
        land.points[:, 2] = 0.3 * land["height"]
    lands = [land.clip_scalar(scalars="height", value=2.6) for land in lands]
    for land in lands:
        land.set_active_scalars("value")
    look = {"title": [f"$t = {s:.3g}$" for s in times], "rows": 2, "view": (-0.15, -1, 1.2)}
    flows.plot(lands, output / "landscape.png", share=True, clim=(0, 1), **look)
dots = np.searchsorted(t, args.until * np.linspace(0.05, 1, 11))
line = kl[-1] / beta * np.exp(2 * slow * (args.until - t))
lines = {
    r"$-\dot F = \beta^{-2} I$": {"t": t, "energy": fisher / beta**2},
    r"$F - F_\infty$": {"t": t, "energy": history["excess"]},
    r"$\beta^{-1}$ KL": {"t": t[dots], "energy": kl[dots] / beta},
    r"$\sim e^{-2 \lambda t}$": {"t": t, "energy": line},
}
flows.curves(lines, output / "decay.png", log="y")
