# # Your own weak form: spiral waves
#
# **What you see.** Oscillators coupled to their neighbours fall into step, except around three
# points where all phases meet: they become the centres of spiral waves, which fill the plane.
# Nothing goes downhill here, the equation has no energy, and a weak form is all it needs.
#
# **Strong form.** The complex Ginzburg-Landau equation for $A = p + iq$,
#
# $$ \dot A = A + (1 + ib)\, \Delta A - (1 + ic)\, |A|^2 A, \qquad \partial_n A = 0. $$
#
# **Energy, metric.** None, unless $b = c$: the waves rotate for ever.
#
# **Weak form.** One time step of the midpoint rule, $m = (A + A_k) / 2$: for all $v$, $w$
#
# $$ \int \tfrac{1}{\tau} (p - p_k)\, v + (\nabla m_p - b \nabla m_q) \cdot \nabla v
#    - \big(m_p - |m|^2 (m_p - c\, m_q)\big)\, v = 0, $$
#
# $$ \int \tfrac{1}{\tau} (q - q_k)\, w + (\nabla m_q + b \nabla m_p) \cdot \nabla w
#    - \big(m_q - |m|^2 (m_q + c\, m_p)\big)\, w = 0. $$
#
# **Known answer.** Plane waves $A = \sqrt{1 - k^2}\, e^{i(kx - \omega t)}$ with
# $\omega = c + (b - c)\, k^2$. They live on a periodic interval, which is a closed polygon.

# +
import argparse
from pathlib import Path

import flows

import numpy as np
from dolfinx import fem
from mpi4py import MPI
from ufl import TestFunction, dx, grad, inner

comm = MPI.COMM_WORLD
options = argparse.ArgumentParser(
    description="The complex Ginzburg-Landau equation.", add_help=False
)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("--n", type=int, default=80, help="squares along a side of the domain")
options.add_argument("--until", type=float, default=100.0, help="final time of the spirals")
args = options.parse_known_args()[0]
b, c = 0.0, 1.5
output = Path("output/custom_weak_form")
output.mkdir(parents=True, exist_ok=True)
# -

# The equation on any mesh; the residual is written as on paper.


def ginzburg_landau(domain, degree):
    V = fem.functionspace(domain, ("Lagrange", degree))
    W = V.clone()
    p, q, p0, q0 = (fem.Function(S, name=s) for S, s in zip((V, W, V, W), "pqPQ", strict=True))
    tau, v, w = fem.Constant(domain, 1.0), TestFunction(V), TestFunction(W)
    mp, mq = (p + p0) / 2, (q + q0) / 2
    size = mp**2 + mq**2
    residual = (
        ((p - p0) / tau - mp + size * (mp - c * mq)) * v * dx
        + inner(grad(mp - b * mq), grad(v)) * dx,
        ((q - q0) / tau - mq + size * (mq + c * mp)) * w * dx
        + inner(grad(mq + b * mp), grad(w)) * dx,
    )
    solver = {"ksp_type": "gmres", "pc_type": "bjacobi", "sub_pc_type": "ilu", "snes_rtol": 1e-8}
    old = {"previous": (p0, q0), "tau": tau}
    return flows.WeakFlow(residual, (p, q), **old, petsc_options=solver, name="waves")


def start(flow, A):
    """Set real and imaginary part to a complex function of position."""
    for u, part in zip(flow.state, (np.real, np.imag), strict=True):
        u.interpolate(lambda x, part=part: part(A(x)))


# ## The known answer
# Two waves around a polygon of 96 sides; the error falls with the square of the time step.

n, radius = 96, 8.0
flow = ginzburg_landau(flows.mesh.circle(radius, n=n), 2)
k = 2 / (radius * np.sinc(1 / n))  # the polygon is shorter than the circle
omega = c + (b - c) * k**2


def wave(x, t=0.0):
    return np.sqrt(1 - k**2) * np.exp(1j * (2 * np.arctan2(x[1], x[0]) - omega * t))


span, steps, errors = 5.0, [0.2, 0.1, 0.05], []
for tau in steps:
    start(flow, wave)
    flow.time = 0.0
    flows.evolve(flow, span, tau)
    A = flow.state[0].x.array + 1j * flow.state[1].x.array
    at = flow.state[0].function_space.tabulate_dof_coordinates().T
    errors.append(comm.allreduce(np.abs(A - wave(at, span)).max(), MPI.MAX))
order = np.polyfit(np.log(steps), np.log(errors), 1)[0]
frequency = omega - comm.bcast(np.angle(A[0] / wave(at, span)[0])) / span
if comm.rank == 0:
    print(f"frequency {frequency:.5f} (exact {omega:.5f}), error {errors[-1]:.1e}, ", end="")
    print(f"order in the time step {order:.3f} (exact 2)")

# ## Spirals
# The phase turns around three points, one of them the other way.

domain = flows.mesh.rectangle((-40, -40), (40, 40), h=80 / args.n)
flow = ginzburg_landau(domain, 1)


def vortices(x):
    z = x[0] + 1j * x[1]
    A = (z - 14 - 9j) * (z + 17 + 3j) * np.conj(z - 5 + 20j) / 20**2
    return A / (1 + np.abs(A))


start(flow, vortices)
panels = []
for t in args.until * np.array([0.1, 0.4, 1.0]):
    flows.evolve(flow, t, 0.5, observers=[flows.Progress()])
    panels += flows.snapshot(flow, "p")
flows.plot(panels, output / "spirals.png", share=True)
