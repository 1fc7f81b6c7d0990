"""Harmonic map heat flow is of order 2 in time and space, values lie in the sphere to rounding and
the energy never rises, through singularities too: a bubble takes $4\\pi$ within 3 %, and $2\\pi$
are left within 1 %; gradients stay below $2\\sqrt2/h$ on squares; the hedgehog is approached at
first order.

    python tests/benchmarks/harmonic_map.py [circle bubble square hedgehog speed]
    mpirun -n 2 python tests/benchmarks/harmonic_map.py speed

`circle`: L2 error against u = (cos p, sin p), p = 2 exp(-2 pi^2 t) cos(pi x) cos(pi y), at t = 0.1.
`bubble`: the disk with the boundary angle 1.5 pi. `square`: a map that blows up on squares of
side h. `hedgehog`: x/|x| on a cube, with the energy 7.674124. `speed`: CPU seconds per step of the
slowest rank; compare them within one run.
"""

import flows  # isort: split

import argparse
import time
from typing import Any

import numpy as np
import ufl
from dolfinx import fem, mesh
from mpi4py import MPI

comm = MPI.COMM_WORLD
ENERGY = 7.674124  # half of the integral of 2/|x|^2 over the unit cube about its centre


def say(words: str) -> None:
    """Print on rank 0."""
    if comm.rank == 0:
        print(words, flush=True)


def total(form: Any) -> float:
    """Value of a functional, equal on all ranks."""
    return float(comm.allreduce(fem.assemble_scalar(fem.form(form))))


def square_mesh(n: int) -> Any:
    """A square of n x n squares, each cut in two."""
    return mesh.create_unit_square(comm, n, n)


def framed(domain: Any, values: Any, **options: Any) -> Any:
    """A flow into the sphere that starts from given values, and keeps them along the boundary."""
    V = fem.functionspace(domain, ("Lagrange", 1, (3,)))
    tdim = domain.topology.dim
    domain.topology.create_connectivity(tdim - 1, tdim)
    rim = mesh.exterior_facet_indices(domain.topology)
    g = fem.Function(V)
    g.interpolate(values)
    bcs = [fem.dirichletbc(g, fem.locate_dofs_topological(V, tdim - 1, rim))]
    flow = flows.harmonic_map(V, flows.maps.Sphere(2), bcs=bcs, **options)
    flow.state.x.array[:] = g.x.array
    return flow


def circle() -> None:
    """Both schemes at N = 128, then the order under joint refinement."""
    until, errors = 0.1, []

    def angle(x: Any, t: float, cos: Any) -> Any:
        return 2 * np.exp(-2 * np.pi**2 * t) * cos(np.pi * x[0]) * cos(np.pi * x[1])

    def run(n: int, steps: int, scheme: Any) -> float:
        flow = flows.harmonic_map(square_mesh(n), flows.maps.Sphere(1), scheme=scheme)
        flow.state.interpolate(lambda x: [f(angle(x, 0, np.cos)) for f in (np.cos, np.sin)])
        history = flows.evolve(flow, until, until / steps)
        p = angle(ufl.SpatialCoordinate(flow.mesh), until, ufl.cos)
        gap = flow.state - ufl.as_vector([ufl.cos(p), ufl.sin(p)])
        error = total(ufl.inner(gap, gap) * ufl.dx(degree=6)) ** 0.5
        length = np.linalg.norm(flow.state.x.array.reshape(-1, 2), axis=1)
        off = comm.allreduce(np.abs(length - 1).max(), MPI.MAX)
        rise = np.diff(history["energy"]).max()
        say(
            f"circle {type(scheme).__name__:18} N = {n:3}, {steps:3} steps: error {error:.3e}, "
            f"||u| - 1| <= {off:.0e}, largest change of energy {rise:.1e}"
        )
        return error

    run(128, 80, flows.MinimizingMovement())
    for n, steps in ((32, 20), (64, 40), (128, 80)):
        errors.append(run(n, steps, flows.BDF2()))
    say(f"circle order {np.polyfit(np.log([4, 2, 1]), np.log(errors), 1)[0]:.3f}")


def bubble(h: float = 0.025) -> None:
    """Blow-up on the disk."""

    def corotational(x: Any) -> Any:
        r = np.hypot(x[0], x[1])
        p = 1.5 * np.pi * r * (2 - r)
        return np.vstack([np.sin(p) * x[:2] / np.where(r > 0, r, 1), np.cos(p)])

    flow = framed(flows.mesh.disk(h=h), corotational)
    history = flows.evolve(flow, 0.6, flows.Fixed(5e-4))
    t, E = history["t"], history["energy"]
    drop = max(E - np.interp(t + 0.01, t, E))
    say(
        f"bubble h = {h}: energy {E[0]:.4f} -> {E[-1]:.5f} ({E[-1] / (2 * np.pi) - 1:+.2%} of "
        f"2 pi), at most {drop:.3f} within 0.01 ({drop / (4 * np.pi) - 1:+.1%} of 4 pi), largest "
        f"change {np.diff(E).max():.1e}"
    )
    for event in history.events:
        say(f"bubble event: {event}")


def square() -> None:
    """The largest gradient against its bound."""

    def start(x: Any) -> Any:
        X = x[:2] - 0.5
        r = np.linalg.norm(X, axis=0)
        A = (1 - 2 * np.minimum(r, 0.5)) ** 4
        values = np.vstack([2 * X * A, A**2 - r**2]) / np.maximum(A**2 + r**2, 1e-300)
        return np.where(r < 0.5, values, np.array([[0.0], [0.0], [-1.0]]))

    for n in (16, 32, 64):
        flow = framed(square_mesh(n), start)
        Q = fem.functionspace(flow.mesh, ("DG", 0))
        size, peaks = fem.Function(Q), []
        norm = ufl.sqrt(ufl.inner(ufl.grad(flow.state), ufl.grad(flow.state)))
        expression = fem.Expression(norm, Q.element.interpolation_points)

        def look(flow: Any, size: Any = size, e: Any = expression, peaks: Any = peaks) -> None:
            size.interpolate(e)
            peaks.append((comm.allreduce(size.x.array.max(), MPI.MAX), flow.time))

        history = flows.evolve(flow, 0.3, 0.1 / n**2 if n < 64 else 1e-4, observers=[look])
        peak, t = max(peaks)
        E = history["energy"]
        say(
            f"square n = {n}: |grad u| <= {peak:.2f} at t = {t:.3f}, bound {2 * 2**0.5 * n:.2f}, "
            f"energy {E[0]:.3f} -> {E[-1]:.1e}, largest change {np.diff(E).max():.1e}, "
            f"{[event.kind for event in history.events]}"
        )


def hedgehog() -> None:
    """The first-order approach to the energy of x/|x|."""
    errors = []
    for n in (8, 16, 24):
        box = mesh.create_box(comm, [[-0.5] * 3, [0.5] * 3], [n] * 3)
        flow = framed(box, lambda x: x / np.linalg.norm(x + 1e-12, axis=0))
        flow.state.interpolate(lambda x: x + 0.15 * np.sin(3 * x[[1, 2, 0]]) + 1e-3)
        history = flows.evolve(flow, tau=1e-2, steps=60)
        E = history["energy"]
        errors.append(ENERGY - E[-1])
        say(
            f"hedgehog n = {n}: energy {E[0]:.4f} -> {E[-1]:.6f}, below {ENERGY} by "
            f"{errors[-1]:.4f}, largest change {np.diff(E).max():.1e}"
        )
    say(f"hedgehog order {np.polyfit(np.log([1 / 8, 1 / 16, 1 / 24]), np.log(errors), 1)[0]:.2f}")


def speed(steps: int = 10) -> None:
    """Iterations and CPU time of a step, by the number of tangent unknowns."""

    def start(x: Any) -> Any:
        p, q = 3 * np.cos(np.pi * x[0]), 2 * np.sin(2 * x[1])
        return [np.sin(p) * np.cos(q), np.sin(p) * np.sin(q), np.cos(p)]

    for n in (70, 223):
        for name, tau in (("0.1 h", 0.1 / n), ("h^2", 1 / n**2), ("0.1", 0.1)):
            for scheme in (flows.BDF2(), flows.MinimizingMovement()):
                flow = flows.harmonic_map(square_mesh(n), flows.maps.Sphere(2), scheme=scheme)
                flow.state.interpolate(start)
                for _ in range(3):
                    flow.step(tau)
                begin, iterations = time.process_time(), []
                for _ in range(steps):
                    flow.step(tau)
                    iterations.append(flow.solver.ksp.getIterationNumber())
                spent = comm.allreduce((time.process_time() - begin) / steps, MPI.MAX)
                say(
                    f"speed {2 * (n + 1) ** 2:7} unknowns, {comm.size} rank(s), tau = {name:5}, "
                    f"{type(scheme).__name__:18}: {np.mean(iterations):5.1f} iterations "
                    f"({flow.solver.ksp.pc.getType()}), {spent:.4f} s/step"
                )


if __name__ == "__main__":
    parts: dict[str, Any] = {f.__name__: f for f in (circle, bubble, square, hedgehog, speed)}
    options = argparse.ArgumentParser(description=__doc__, add_help=False)
    options.add_argument("parts", nargs="*", help=", ".join(parts))
    for part in options.parse_known_args()[0].parts or parts:
        parts[part]()
