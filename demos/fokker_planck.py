# # Fokker-Planck: over a pass
#
# **What you see.** A landscape of two valleys, coloured by the density of diffusing particles. They
# start on one slope, soon fill the valley below, and slowly find the way over the pass. The free
# energy shows both: it plunges, then creeps along an exponential.
#
# **Strong form.** $\dot\rho = \nabla\cdot(\beta^{-1} \nabla\rho + \rho \nabla V)$ in a box whose
# walls reflect, with $V = (x^2 - 1)^2 + (y - \frac12 (1 - x^2))^2$ and $\beta = 3$.
#
# **Energy.** $F = \int V \rho + \beta^{-1} \rho \log \rho$, least at $\pi = e^{-\beta V} / Z$;
# $F - F_\infty = \beta^{-1} \int \rho \log(\rho / \pi)$, a relative entropy (KL).
#
# **Metric.** Wasserstein, $\psi^* = \frac12 \int \rho\, |\nabla \xi|^2$: so
# $-\dot F = \beta^{-2} I$ with the Fisher information $I = \int \rho\, |\nabla\log(\rho/\pi)|^2$.
#
# **Weak form.** $\int \dot\rho \eta + (\beta^{-1} \nabla\rho + \rho \nabla V) \cdot \nabla\eta = 0$
# for all $\eta$.
#
# **Known answer.** The ratio $g = \rho / \pi$ obeys $\pi \dot g = \beta^{-1}
# \nabla\cdot(\pi \nabla g)$. In the end $g - 1$ falls like $e^{-\lambda t}$, with the smallest
# eigenvalue $\lambda$ above 0, and $F - F_\infty$ like $e^{-2 \lambda t}$. A step of implicit Euler
# divides $g - 1$ by $1 + \lambda\tau$, so that its rate is $2 \log(1 + \lambda\tau) / \tau$.

# +
import argparse
from pathlib import Path

import flows
from flows import diagnostics

import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem.petsc import assemble_matrix
from mpi4py import MPI
from slepc4py import SLEPc
from ufl import dx, exp, grad, inner

comm = MPI.COMM_WORLD
options = argparse.ArgumentParser(description="Diffusion over a pass.", add_help=False)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("--h", type=float, default=0.04, help="mesh size")
options.add_argument("--until", type=float, default=36.0, help="final time")
args = options.parse_known_args()[0]
output = Path("output/fokker_planck")
output.mkdir(parents=True, exist_ok=True)
# -

# The start is a narrow Gaussian, the Gibbs state of a parabola. Steps grow until the slow phase.

beta, V = 3.0, lambda x: (x[0] ** 2 - 1) ** 2 + (x[1] - (1 - x[0] ** 2) / 2) ** 2
domain = flows.mesh.rectangle((-1.8, -2), (1.8, 2), h=args.h)
x = ufl.SpatialCoordinate(domain)
flow = flows.fokker_planck(domain, V(x), beta=beta)
rho = flow.state
gibbs = diagnostics.gibbs(rho.function_space, V(x), beta)
rho.x.array[:] = gibbs.x.array
least = flow.energy()
start = ((x[0] + 1) ** 2 + (x[1] - 0.9) ** 2) / 2
rho.x.array[:] = diagnostics.gibbs(rho.function_space, start, 1 / 0.15**2).x.array
times, panels = args.until * np.array([0.0, 0.01, 0.1, 1.0]), []


def keep(flow):
    if np.isclose(flow.time, times).any():
        panels.extend(flows.snapshot(flow))


numbers = {"mass": diagnostics.mass(rho), "excess": diagnostics.excess(least)}
numbers["kl"] = diagnostics.relative_entropy(rho, gibbs)
numbers["fisher"] = diagnostics.fisher_information(rho, gibbs)
numbers["right"] = ufl.conditional(ufl.gt(x[0], 0), rho, 0) * dx
steps = flows.Adaptive(1e-4, tolerance=2e-3, largest=0.25)
observers = [keep, flows.Recorder(output / "run.csv", **numbers), flows.Progress()]
history = flows.evolve(flow, args.until, steps, times=times, observers=observers)

# ## The known answers
# The eigenvalue comes from elements of degree 2 and knows nothing of the scheme.

P2 = fem.functionspace(domain, ("Lagrange", 2))
f, g, pi = ufl.TrialFunction(P2), ufl.TestFunction(P2), exp(-beta * V(x))
pair = [inner(grad(f), grad(g)) * pi / beta * dx(degree=8), pi * f * g * dx(degree=8)]
pair = [assemble_matrix(fem.form(form)) for form in pair]
[matrix.assemble() for matrix in pair]
problem = SLEPc.EPS().create(comm)
problem.setOperators(*pair)
problem.setProblemType(SLEPc.EPS.ProblemType.GHEP)
problem.setDimensions(2)
problem.setTarget(-0.1)  # not 0, which is the eigenvalue of the Gibbs state
problem.getST().setType("sinvert")
direct = problem.getST().getKSP().getPC()
direct.setType("lu"), direct.setFactorSolverType("mumps")
problem.solve()
t, kl, excess = history["t"], history["kl"], history["excess"]
late, tau, slow = t > 0.6 * args.until, history["tau"][-1], problem.getEigenvalue(1).real
rate = -np.polyfit(t[late], np.log(kl[late]), 1)[0]
exact = 2 * np.log1p(slow * tau) / tau
gap, drift = np.abs(excess - kl / beta).max(), np.ptp(history["mass"])
if comm.rank == 0:
    print(f"{t.size - 1} steps: F - F_inf {excess[0]:.4f} -> {excess[-1]:.1e}, ", end="")
    print(f"KL / beta differs by {gap:.1e}, the mass by {drift:.1e} (exact: 0 and 0)")
    print(f"rate over the pass {rate:.5f} (exact {2 * slow:.5f}, in these steps {exact:.5f})")

# The density on its landscape; the curves, with dots for the relative entropy.

if comm.rank == 0:
    for land in (lands := [panel.panel.grid for panel in panels]):
        land.points[:, 2] = 0.3 * V(land.points.T)
        land.rename_array("value", "density")
    lands = [land.clip("z", origin=(0, 0, 0.8)) for land in lands]
    look = {"title": [f"$t = {s:.3g}$" for s in times], "rows": 2, "view": (-0.15, -1, 1.2)}
    flows.plot(lands, output / "landscape.png", share=True, clim=(0, 1), **look)
dots = np.searchsorted(t, args.until * np.linspace(0.05, 1, 11))
lines = {
    r"$-\dot F = \beta^{-2} I$": {"t": t, "energy": history["fisher"] / beta**2},
    r"$F - F_\infty$": {"t": t, "energy": excess},
    r"$\beta^{-1}$ KL": {"t": t[dots], "energy": kl[dots] / beta},
    r"$\sim e^{-2 \lambda t}$": {"t": t, "energy": excess[-1] * np.exp(2 * slow * (t[-1] - t))},
}
flows.curves(lines, output / "decay.png", log="y")
