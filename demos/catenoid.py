# # Soap film between two rings
#
# **What you see.** A tube of soap between two rings. If the rings are close it relaxes to a neck of
# ideal shape and stays. Pull them a little further apart, and no such shape is left: the neck
# closes faster and faster, until the film would tear.
#
# **Strong form.** $V = -H$ inside, and the edge stays on the rings.
#
# **Energy and metric.** The area, in the $L^2$ metric of normal velocities:
#
# $$ E(\Gamma) = \int_\Gamma 1, \qquad \psi(V) = \tfrac12 \int_\Gamma V^2. $$
#
# **Weak form.** For the immersion $X$ and all vector fields $\eta$ that vanish on the rings
#
# $$ \int_\Gamma (\dot X \cdot \nu)(\eta \cdot \nu)
#    + \int_\Gamma \nabla_\Gamma X : \nabla_\Gamma \eta = 0. $$
#
# **Known answer.** Between rings of radius 1 at the distance $\ell$ hangs the catenoid
# $r = a \cosh(z/a)$ with $a \cosh(\ell/(2a)) = 1$, the larger $a$, of area
# $\pi a (\ell + a \sinh(\ell/a))$. Beyond $\ell = 1.3255$ there is none.

# +
import argparse
from pathlib import Path

import flows

import numpy as np
from mpi4py import MPI
from scipy.optimize import brentq, minimize_scalar

comm = MPI.COMM_WORLD
options = argparse.ArgumentParser(description="Soap film between two rings.", add_help=False)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("--h", type=float, default=0.06, help="mesh size")
options.add_argument("--until", type=float, default=4.0, help="final time of the near rings")
args = options.parse_known_args()[0]
output = Path("output/catenoid")
output.mkdir(parents=True, exist_ok=True)
near, far = 1.2, 1.5
# -


def neck(flow):
    """Radius of the film where it is thinnest."""
    x = flow.mesh.geometry.x
    return comm.allreduce(np.hypot(x[:, 0], x[:, 1]).min(initial=np.inf), MPI.MIN)


# The same tube, the same flow, two distances. The far rings are watched until the neck is as thin
# as a few triangles; `Adaptive` takes shorter and shorter steps there.

histories, pictures, ends = {}, [], {}
for name, distance, until, middle in (("near", near, args.until, 0.2), ("far", far, 2.0, 0.4)):
    film = flows.mesh.tube(1.0, distance, h=args.h)
    flow = flows.mean_curvature(film, edges=flows.FixedEdge(), name=name)

    def keep(flow, times=(0.0, middle)):
        if np.isclose(flow.time, times).any():
            pictures.extend(flows.snapshot(flow))

    histories[name] = flows.evolve(
        flow,
        until,
        flows.Adaptive(1e-3, tolerance=3e-4, largest=0.05),
        times=[middle],
        observers=[
            keep,
            flows.Recorder(output / f"{name}.csv", neck=neck),
            flows.Writer(output / f"{name}.pvd"),
            flows.Stop(lambda flow: neck(flow) < 2 * args.h),
        ],
    )
    pictures.extend(flows.snapshot(flow))
    ends[name] = flow.time

# ## The known answers
# The largest distance with a catenoid, its neck and its area.

widest = minimize_scalar(lambda a: -2 * a * np.arccosh(1 / a), bounds=(0.1, 0.99))
limit = -widest.fun
a = brentq(lambda a: a * np.cosh(near / (2 * a)) - 1, widest.x, 1)
exact = {"neck": a, "energy": np.pi * a * (near + a * np.sinh(near / a))}
held, lost = histories["near"], histories["far"]
error = {key: held[key][-1] / exact[key] - 1 for key in exact}
if comm.rank == 0:
    print(f"a catenoid exists up to the distance {limit:.4f}")
    print(f"distance {near}: neck {held['neck'][-1]:.5f} (exact {a:.5f})")
    print(f"distance {near}: area {held['energy'][-1]:.5f} (exact {exact['energy']:.5f})")
    print(f"distance {far}: the neck is {lost['neck'][-1]:.3f} thin at t = {ends['far']:.4f}")
    worst = max(history["defect"].max() for history in histories.values())
    print(f"certificate A_new + d^2/(2 tau) - A_old, largest: {worst:.1e} (exact: <= 0)")

stories = (("near", near, 0.2), ("far", far, 0.4))
titles = [
    rf"$\ell = {distance}$, $t = {t:.3g}$"
    for name, distance, middle in stories
    for t in (0, middle, ends[name])
]
flows.plot(pictures, output / "films.png", title=titles, rows=2, share=True, clim=(-2, 2))
flows.curves(histories, output / "numbers.png", columns=["neck", "energy"])
