"""Phase fields against their sharp laws; Cahn-Hilliard on a sphere to t = 10^4.

    [mpirun -n 2] python tests/benchmarks/phase_fields.py [circle] [cap] [sphere] [events]

* circle: a quarter of a circle shrinks from R = 0.3 till t = 0.02, R^2 = 0.05. Relative errors of
  the radius, by the integral of (u + 1) / 2 as it is and without its tail pi^2 / 6 eps^2; surface
  tension. Two minutes.
* cap: a cap of a sphere under Allen-Cahn, cos(theta) = cos(theta_0) e^t, flat and curved cells.
  The tail makes its cosine smaller by a factor of 1 - pi^2 / 12 eps^2. One minute.
* sphere: Cahn-Hilliard from noise on 5300 vertices to t = 10^4, two schemes. Two minutes each.
* events: when droplets vanish, by schemes and tolerances. Two minutes.
"""

import flows  # isort: split

import argparse
import time
from typing import Any

from flows import energy
from flows.forms import integrate

import numpy as np
from dolfinx import fem
from mpi4py import MPI
from ufl import dx

SIGMA = 2 * np.sqrt(2) / 3


def say(*words: Any) -> None:
    """Print on rank 0."""
    if MPI.COMM_WORLD.rank == 0:
        print(*words, flush=True)


def total(form: Any) -> float:
    """Value of a functional."""
    return integrate(fem.form(form))


def wall(distance: Any, eps: float) -> Any:
    """The profile of an interface."""
    return np.tanh(distance / (np.sqrt(2) * eps))


def shrink(scheme: Any, degree: int, h: float, eps: float, tau: float) -> list[float]:
    """Errors of the radius, as it is and without the tail, and of the surface tension."""
    domain = flows.mesh.rectangle((0, 0), (0.5, 0.5), h=h)
    u = fem.Function(fem.functionspace(domain, ("Lagrange", degree)), name="u")
    u.interpolate(lambda x: wall(0.3 - np.hypot(x[0], x[1]), eps))
    parts = [-(u**2) / (2 * eps) * dx] if scheme == flows.ConvexSplitting else []
    E = energy.ginzburg_landau(u, eps)
    flow = flows.GradientFlow(E, u, flows.L2(eps), scheme=scheme(*parts), name="circle")
    tension = flow.energy() / (SIGMA * 0.3 * np.pi / 2) - 1
    history = flows.evolve(flow, 0.02, tau)
    assert np.diff(history["energy"]).max() < 0
    squared = total((u + 1) / 2 * dx) * 4 / np.pi
    tail = np.pi**2 / 6 * eps**2
    return [np.sqrt(squared / 0.05) - 1, np.sqrt((squared - tail) / 0.05) - 1, tension]


def circle() -> None:
    """Schemes and steps at one eps, then the order in eps."""
    schemes = (flows.MinimizingMovement, flows.AVF, flows.ConvexSplitting)
    say("circle, P1, eps = 0.02, h = eps / 4: error of the radius")
    say("tau/eps^2 " + "".join(f"{scheme.__name__:>20}" for scheme in schemes))
    for factor in (0.25, 1.0, 4.0):
        errors = [shrink(s, 1, 0.005, 0.02, factor * 0.02**2)[0] for s in schemes]
        say(f"{factor:9.2f} " + "".join(f"{error:20.1e}" for error in errors))
    say("circle, P2, AVF, h = eps / 2, tau = eps^2")
    say("   eps      as it is   without tail   E / (sigma L) - 1")
    widths, rows = (0.04, 0.02, 0.01), []
    for eps in widths:
        rows.append(shrink(flows.AVF, 2, eps / 2, eps, eps**2))
        say(f"{eps:6.2f} {rows[-1][0]:13.2e} {rows[-1][1]:14.2e} {rows[-1][2]:19.1e}")
    slopes = np.polyfit(np.log(widths), np.log(np.abs(rows)), 1)[0]
    say(f" order {slopes[0]:13.2f} {slopes[1]:14.2f}")


def angle(x: Any) -> Any:
    """The angle of points with the upward direction."""
    return np.arccos(np.clip(x[2] / np.linalg.norm(x, axis=0), -1, 1))


def cap() -> None:
    """A cap on flat and curved cells, P1 and P2."""
    eps, T = 0.1, 0.2
    exact, tail = np.cos(np.pi / 3) * np.exp(T), 1 - np.pi**2 / 12 * eps**2
    say(f"cap, eps = {eps}: cos(theta) at t = {T}, exact {exact:.5f}")
    for order, degree, h in ((1, 1, 0.05), (2, 1, 0.05), (2, 2, 0.1), (2, 2, 0.05)):
        sphere = flows.mesh.sphere(h=h, order=order)
        V = fem.functionspace(sphere, ("Lagrange", degree))
        flow = flows.allen_cahn(V, eps=eps, scheme=flows.AVF(), name="cap")
        flow.state.interpolate(lambda x: wall(np.pi / 3 - angle(x), eps))
        tension = flow.energy() / (SIGMA * 2 * np.pi * np.sin(np.pi / 3))
        history = flows.evolve(flow, T, eps**2 / 2)
        area = total(fem.Constant(sphere, 1.0) * dx)
        cosine = 1 - 2 * total((1 + flow.state) / 2 * dx) / area
        say(
            f"cells of degree {order}, P{degree}, h = {h}: {cosine:.5f} "
            f"({cosine / exact - 1:+.2%}, without tail {cosine / tail / exact - 1:+.2%}), "
            f"E / (sigma L) = {tension:.4f}, largest change of the energy "
            f"{np.diff(history['energy']).max():.1e}"
        )


def sphere() -> None:
    """Noise comes apart and coarsens until one cap is left."""
    eps, mean = 0.1, -0.3
    for scheme in (flows.AVF(), flows.MinimizingMovement()):
        flow = flows.cahn_hilliard(flows.mesh.sphere(h=0.05), eps=eps, scheme=scheme)
        u = flow.state
        u.x.array[:] = mean
        flows.noise(u, 0.05, seed=1)
        mass, area = total(u * dx), total(fem.Constant(flow.mesh, 1.0) * dx)
        begin = time.perf_counter()
        history = flows.evolve(flow, 1e4, flows.Adaptive(1e-5, tolerance=1e-2))
        spent = time.perf_counter() - begin
        cosine = -mass / area
        sine, tau = np.sqrt(1 - cosine**2), history["tau"][1:]
        potential = total(flow.potentials[0] * dx) / area
        say(
            f"sphere, {type(scheme).__name__}: {history.steps} steps in {spent:.0f} s, tau "
            f"{tau.min():.1e} to {tau.max():.1e}, {history['iterations'][1:].mean():.1f} Newton "
            f"iterations\n  mass drift {total(u * dx) - mass:.1e}, largest rise of the energy "
            f"{np.diff(history['energy']).max():.1e}\n"
            f"  E / (sigma L) = {flow.energy() / (SIGMA * 2 * np.pi * sine):.4f}, "
            f"mu / (sigma cot(theta) / 2) = {potential / (SIGMA / 2 * cosine / sine):.4f}"
        )


def events() -> None:
    """The time at which the energy falls below 7: one droplet is left then."""
    runs = [(flows.AVF(), 1e-4), (flows.AVF(), 1e-3), (flows.MinimizingMovement(), 1e-3)]
    for scheme, tolerance in runs:
        flow = flows.cahn_hilliard(flows.mesh.sphere(h=0.12), eps=0.12, scheme=scheme)
        flow.state.x.array[:] = -0.3
        flows.noise(flow.state, 0.05, seed=1)
        history = flows.evolve(flow, 20, flows.Adaptive(1e-5, tolerance=tolerance))
        t = np.interp(-7, -history["energy"], history["t"])
        name = type(scheme).__name__
        say(f"events, {name}, tolerance {tolerance}: {history.steps} steps, t = {t:.4f}")


def main() -> None:
    """Run what is named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=["circle", "cap", "sphere", "events"])
    for case in parser.parse_known_args()[0].cases:
        {"circle": circle, "cap": cap, "sphere": sphere, "events": events}[case]()


if __name__ == "__main__":
    main()
