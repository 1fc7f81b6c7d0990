# # Why a red blood cell is a disc with two dimples
#
# **What you see.** A bag of membrane that is deflated. A red blood cell has an area that its
# membrane cannot change, and less volume than a sphere of that area could hold; among the shapes
# that are left it takes the one that bends least. From a flattened ellipsoid, at 60 percent of the
# volume of the sphere, it is the biconcave disc.
#
# **Strong form.** $V = \Delta_\Gamma H + H\,(\tfrac12 H^2 - 2K) - \sigma H - p$, where the tension
# $\sigma$ and the pressure $p$ keep the area and let the volume be what is asked for.
#
# **Energy and metric.** The bending energy of {cite}`canham1970` and {cite}`helfrich1973`, in the
# $L^2$ metric of normal velocities, with area and volume as constraints:
#
# $$ E(\Gamma) = \tfrac12 \int_\Gamma H^2, \qquad \psi(V) = \tfrac12 \int_\Gamma V^2. $$
#
# **Weak form.** Each step is a stationary point of
# $E(X) + d^2(X, \Gamma_k)/(2\tau) + \sigma A(X) + p V(X)$, and meets the constraints to rounding.
#
# **Known answer.** The volume that leaves, at fixed area, is measured by the reduced volume
# $v = 6\sqrt\pi\, V / A^{3/2}$. For $v = 0.6$ the axisymmetric disc of least energy
# {cite}`seifert1991` has $E / 8\pi = 1.955680$, the largest radius $1.2396\,R$ and the thickness
# $0.2493\,R$ in the middle, $R = \sqrt{A / 4\pi}$; computed with one unknown function of the arc
# length, by minimising 16 coefficients of a Fourier series.

# +
import argparse
from pathlib import Path

import flows

import numpy as np
from mpi4py import MPI

comm = MPI.COMM_WORLD
options = argparse.ArgumentParser(description="The shape of a red blood cell.", add_help=False)
options.add_argument("--help", action="help")  # PETSc options may begin with -h
options.add_argument("--refinements", type=int, default=3, help="fineness of the mesh")
options.add_argument("--ramp", type=float, default=0.05, help="time of the deflation")
options.add_argument("--until", type=float, default=0.5, help="final time")
args = options.parse_known_args()[0]
output = Path("output/red_blood_cell")
output.mkdir(parents=True, exist_ok=True)
# -

# The cell starts as an ellipsoid and loses volume at a constant rate. While it is deflated the
# energy rises; then it falls, step by step, to the equilibrium.

mesh = flows.mesh.ellipsoid((1, 1, 0.5), refinements=args.refinements, order=2)
start = flows.willmore(mesh).surface
area, full = start.area, start.volume
least = 0.6 * area**1.5 / (6 * np.pi**0.5)


def volume(t):
    return full + (least - full) * min(t / args.ramp, 1)


flow = flows.willmore(mesh, area=area, volume=volume)
pictures, profiles = [], {}


def keep(title):
    """A picture, and the upper nodes by their distance from the axis."""
    pictures.extend(flows.snapshot(flow))
    owned = flow.state.x.array.reshape(-1, 3)[: flow.surface.owned]
    x, y, z = np.concatenate(comm.allgather(owned)).T / (area / (4 * np.pi)) ** 0.5
    r, z = np.hypot(x, y)[z >= 0], z[z >= 0]
    profiles[title] = {"r": np.sort(r), "z": z[np.argsort(r)]}


keep("ellipsoid")
deflate = flows.Relax(args.ramp / 100, largest=args.ramp / 25)
flows.evolve(flow, args.ramp / 2, deflate)
keep("half way")
flows.evolve(flow, args.ramp, deflate)
watch = [flows.Writer(output / "series.pvd"), flows.Progress()]
history = flows.evolve(flow, args.until, flows.Relax(1e-4, largest=1.0), observers=watch)
keep("at rest")

# ## The known answer

energy = history["energy"]
drift = {"area": flow.surface.area / area - 1, "volume": flow.surface.volume / least - 1}
rise, worst = np.diff(energy).max(), history["defect"].max()
r, z = profiles["at rest"].values()  # in units of R
measured = {
    "E / 8 pi": energy[-1] / (8 * np.pi),
    "radius": r.max(),
    "thickness": 2 * np.hypot(r, z).min(),
}
exact = {"E / 8 pi": 1.955680, "radius": 1.2396, "thickness": 0.2493}
if comm.rank == 0:
    print(f"{history.steps} steps after the deflation")
    for name, value in measured.items():
        print(f"{name}: {value:.6f} (independent: {exact[name]})")
    print(f"area and volume off by {drift['area']:.1e} and {drift['volume']:.1e} (exact: 0)")
    print(f"largest rise of the energy {rise:.1e} (exact: <= 0)")
look = {"view": (1, -1.4, 0.9), "clim": (-5, 5)}
flows.plot(pictures, output / "cell.png", title=list(profiles), share=True, **look)
flows.curves(profiles, output / "profile.png", x="r", columns=["z"], size=(1000, 500))
