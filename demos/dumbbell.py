# # One dumbbell under three flows
#
# **What you see.** The same body three times. Mean curvature flow pinches its neck. Surface
# diffusion, which keeps the volume, and Willmore flow, which bends the surface as little as it can,
# turn it into spheres: one of the volume that the dumbbell had, one of whatever size.
#
# **Strong form.** $V = -H$, then $V = \Delta_\Gamma H$, then
# $V = \Delta_\Gamma H + H \big( \tfrac12 H^2 - 2 K \big)$, with the mean curvature
# $H = \kappa_1 + \kappa_2$ and the Gauss curvature $K = \kappa_1 \kappa_2$.
#
# **Energy and metric.** The first two share an energy, the first and the last a metric:
#
# | flow | energy | metric of the normal velocity |
# |---|---|---|
# | mean curvature | area, $\int_\Gamma 1$ | $L^2$ |
# | surface diffusion | area, $\int_\Gamma 1$ | $H^{-1}$ |
# | Willmore | bending, $\frac12 \int_\Gamma H^2$ | $L^2$ |
#
# **Known answer.** The neck of radius 0.2 pinches at $t = 0.02643$: finite differences for surfaces
# of revolution say so, in `tests/axisymmetric.py`. Surface diffusion ends at the smallest area that
# encloses the volume, and Willmore flow at $8\pi$, the energy of every sphere.

# +
import argparse
from pathlib import Path

import flows

import numpy as np
from mpi4py import MPI

options = argparse.ArgumentParser(description="A dumbbell under three flows.", add_help=False)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("--neck", type=float, default=0.2, help="radius of the neck")
options.add_argument("--h", type=float, default=0.1, help="edge length")
options.add_argument("--until", type=float, default=1.0, help="part of the whole time")
args = options.parse_known_args()[0]
output = Path("output/dumbbell")
output.mkdir(parents=True, exist_ok=True)
rank = MPI.COMM_WORLD.rank
# -

# Three flows, each with its own mesh: Willmore flow needs curved cells, and gets by with fewer.
# Each has its own clock; the times of the pictures are chosen so that something happens.

dumbbell = flows.mesh.dumbbell
shapes = {
    "mean curvature": flows.mean_curvature(dumbbell(args.neck, h=args.h)),
    "surface diffusion": flows.surface_diffusion(dumbbell(args.neck, h=args.h)),
    "Willmore": flows.willmore(dumbbell(args.neck, h=2 * args.h, order=2)),
}
steps = {
    "mean curvature": flows.Adaptive(2e-4),
    "surface diffusion": flows.Adaptive(1e-6, tolerance=2e-3),
    "Willmore": flows.Relax(1e-5, largest=0.2),
}
times = {
    "mean curvature": [0.0, 0.012, 0.022, 0.1],
    "surface diffusion": [0.0, 4e-4, 3e-3, 0.05],
    "Willmore": [0.0, 4e-3, 0.03, 2.0],
}
times = {name: [args.until * t for t in row] for name, row in times.items()}

# The runs. That of mean curvature flow ends by itself, where it foresees the singularity.

# +
histories, pictures, titles = {}, [], []
for name, flow in shapes.items():
    seen = []

    def keep(flow, name=name, seen=seen):
        if np.isclose(flow.time, times[name][:3], atol=1e-9).any():
            seen.extend(flows.snapshot(flow))
            titles.append(f"{name}, $t = {flow.time:.3g}$")

    volume = flows.Recorder(
        output / f"{name.replace(' ', '_')}.csv", volume=lambda flow: flow.surface.volume
    )
    series = flows.Writer(output / f"{name.replace(' ', '_')}.pvd", every=5)
    histories[name] = flows.evolve(
        flow,
        times[name][-1],
        steps[name],
        times=times[name],
        observers=[keep, volume, series, flows.Progress()],
    )
    pictures += [*seen, *flows.snapshot(flow)]
    titles.append(f"{name}, $t = {flow.time:.3g}$")
# -

# ## The known answers

event = histories["mean curvature"].event
rise = {name: np.diff(history["energy"]).max() for name, history in histories.items()}
enclosed = histories["surface diffusion"]["volume"]
drift = np.ptp(enclosed) / enclosed[0]
ball = 36 ** (1 / 3) * np.pi ** (1 / 3) * enclosed[0] ** (2 / 3)
ends = {name: history["energy"][-1] for name, history in histories.items()}
exact = {"surface diffusion": ball, "Willmore": 8 * np.pi}
if rank == 0:
    if event is not None:
        print(f"mean curvature: {event.words}")
        print(f"pinch at t = {event.estimate:.5f} (exact for a neck of 0.2: 0.02643)")
    print(f"surface diffusion: volume kept to {drift:.1e}")
    for name, energy in exact.items():
        print(f"{name}: energy {ends[name]:.5f} (exact: {energy:.5f})")
    print(f"largest change of an energy in a step: {max(rise.values()):.1e} (exact: below 0)")
flows.plot(
    pictures, output / "dumbbell.png", title=titles, share=True, rows=3, clim=(-8, 8), view="xz"
)
flows.plot(histories, output / "energies.png", columns=["energy"], log="xy")
