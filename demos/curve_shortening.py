# # Curve shortening: a spiral unwinds
#
# **What you see.** A closed curve, wound up like a watch spring, shortens as fast as it can. It
# never touches itself; it unwinds from its ends, becomes convex, then round, and vanishes in a
# point at a time that its area alone decides.
#
# **Strong form.** $V = -\kappa$: each point moves inward by the curvature of the curve.
#
# **Energy and metric.** The length, in the $L^2$ metric of normal velocities:
#
# $$ E(\Gamma) = \int_\Gamma 1, \qquad \psi(V) = \tfrac12 \int_\Gamma V^2. $$
#
# **Weak form.** For the immersion $X$ and all vector fields $\eta$ along the curve
#
# $$ \int_\Gamma (\dot X \cdot \nu)(\eta \cdot \nu) + \int_\Gamma \partial_s X \cdot \partial_s \eta
#    = 0. $$
#
# **Known answer.** The area inside falls at the constant rate $2\pi$. Any embedded curve becomes
# convex (Grayson), then round, $L^2/(4\pi A) \to 1$ (Gage and Hamilton), until $T = A_0/(2\pi)$.

# +
import argparse
from pathlib import Path

import flows

import numpy as np
from dolfinx.mesh import CellType
from mpi4py import MPI

comm = MPI.COMM_WORLD
options = argparse.ArgumentParser(description="A spiral, shortened.", add_help=False)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("--n", type=int, default=800, help="number of points")
options.add_argument("--turns", type=float, default=2.25, help="turns of the spiral")
args = options.parse_known_args()[0]
output = Path("output/curve_shortening")
output.mkdir(parents=True, exist_ok=True)
# -

# A band of constant width along a spiral, with round ends, as a polygon with equal sides.

width, pitch = 0.13, 0.4
theta = np.linspace(4.5, 4.5 + 2 * np.pi * args.turns, 4000)
middle = pitch * theta / (2 * np.pi) * np.exp(1j * theta)
tangent = np.gradient(middle) / np.abs(np.gradient(middle))
cap = width * np.exp(1j * np.linspace(np.pi / 2, -np.pi / 2, 100))[1:-1]
outline = np.concatenate(
    [
        middle + 1j * width * tangent,
        middle[-1] + cap * tangent[-1],
        (middle - 1j * width * tangent)[::-1],
        middle[0] - cap * tangent[0],
    ]
)
outline = np.append(outline, outline[0])
arc = np.append(0, np.cumsum(np.abs(np.diff(outline))))
points = np.interp(np.linspace(0, arc[-1], args.n, endpoint=False), arc, outline)
sides = np.column_stack([np.arange(args.n), np.roll(np.arange(args.n), -1)])
points = np.column_stack([points.real, points.imag])
curve = flows.mesh.from_arrays(points, sides, cell=CellType.interval)

# The flow, up to shortly before the curve vanishes; its polygon is kept at a few times.

flow = flows.mean_curvature(curve)
area = flow.surface.volume
T = area / (2 * np.pi)
times = T * (1 - np.linspace(1, 0.08, 12) ** 1.4)
polygons = []


def keep(flow):
    if np.isclose(flow.time, times, rtol=0, atol=1e-12).any():
        cells = flow.surface.corners()[:, :, :2]
        polygons.append((flow.time, comm.gather(cells)))


numbers = flows.Recorder(
    output / "run.csv",
    area=lambda flow: flow.surface.volume,
    roundness=lambda flow: flow.energy() ** 2 / (4 * np.pi * flow.surface.volume),
)
history = flows.evolve(
    flow,
    times[-1],
    flows.Adaptive(T * 1e-5, tolerance=2e-4, largest=T / 100),
    times=times,
    observers=[keep, numbers, flows.Writer(output / "series.pvd", every=20), flows.Progress()],
)

# ## The known answers

t, inside, roundness = history["t"], history["area"], history["roundness"]
rate = (inside[-1] - inside[0]) / t[-1]
extinct = t[-1] + inside[-1] / (2 * np.pi)
if comm.rank == 0:
    print(f"{args.n} points, {t.size - 1} steps up to t = {t[-1]:.4f}")
    print(f"rate of the area {rate:.4f} (exact: -2 pi = {-2 * np.pi:.4f})")
    print(f"the curve will vanish at {extinct:.4f} (exact: A/(2 pi) = {T:.4f})")
    print(f"L^2/(4 pi A): {roundness[0]:.2f} -> {roundness[-1]:.4f} (exact: -> 1)")

# All curves in one picture, from the first, dark, to the last, bright.

if comm.rank == 0:
    import matplotlib.pyplot as plt
    from matplotlib.collections import LineCollection

    figure, axes = plt.subplots(figsize=(8, 8), layout="constrained")
    segments = [np.concatenate(cells) for _, cells in polygons]
    colours = np.repeat([time for time, _ in polygons], [len(s) for s in segments])
    lines = LineCollection(np.concatenate(segments), array=colours, cmap="plasma", lw=1.8)
    axes.add_collection(lines)
    axes.fill(*points.T, color="0.93")
    axes.set_aspect("equal")
    axes.axis("off")
    figure.colorbar(lines, shrink=0.5, label="time")
    figure.savefig(output / "curves.png", dpi=150)
flows.curves(history, output / "numbers.png", columns=["area", "roundness"])
