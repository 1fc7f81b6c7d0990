"""The cases in flows: named flows, default options, `flow.step(tau)`.

    python tests/benchmarks/peers/ours.py heat '{"n": 256, "dim": 2, "tau": 1e-3, "steps": 50}'

Seconds are those of making the flow and of all steps, less those of making the same flow on a few
cells, which is what the compilation of forms takes when compiled forms are at hand.
"""

import flows  # isort: split

from collections.abc import Callable
from typing import Any

import numpy as np
import problems
import ufl
from dolfinx import fem


def measure(
    make: Callable[[Any], Any],
    domain: Callable[[int], Any],
    n: int,
    start: Callable[[Any], None],
    run: Callable[[Any], None],
) -> tuple[Any, float]:
    """The flow at the end of the run, and the seconds."""
    small, large = domain(2), domain(n)
    first = make(small)
    start(first)
    run(first)  # every form is compiled now
    compiling, clock = problems.Clock(), problems.Clock()
    with compiling():
        make(small)
    with clock():
        flow = make(large)
    start(flow)
    with clock():
        run(flow)
    return flow, clock.seconds - compiling.seconds


def run(steps: int, tau: float) -> Callable[[Any], None]:
    """A run of equal steps."""

    def go(flow: Any) -> None:
        for _ in range(steps):
            flow.step(tau)

    return go


def start(initial: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any], None]:
    """Initial values, put into the state of a flow."""
    return lambda flow: flow.state.interpolate(initial)


def space(dim: int, side: float = 1.0) -> Callable[[int], fem.FunctionSpace]:
    """P1 on the square or the cube."""
    shape = {2: flows.mesh.rectangle, 3: flows.mesh.box}[dim]

    def functions(n: int) -> fem.FunctionSpace:
        return fem.functionspace(shape(dim * [0.0], dim * [side], h=side / n), ("Lagrange", 1))

    return functions


def values(u: fem.Function, side: float = 1.0) -> np.ndarray:
    """The samples that are compared."""
    V = u.function_space
    points = V.tabulate_dof_coordinates()[:, : V.mesh.topology.dim]
    return problems.sample(points, u.x.array, side)


def heat(n: int, dim: int, tau: float, steps: int) -> dict[str, Any]:
    bump = start(lambda x: problems.bump(x[:dim]))
    flow, seconds = measure(flows.heat, space(dim), n, bump, run(steps, tau))
    return {"seconds": seconds, "sample": values(flow.state)}


def mean_curvature(n: int, tau: float, steps: int) -> dict[str, Any]:
    domain = lambda n: flows.mesh.from_arrays(*problems.sphere(n))
    flow, seconds = measure(flows.mean_curvature, domain, n, lambda flow: None, run(steps, tau))
    return {"seconds": seconds, "sample": [np.linalg.norm(flow.mesh.geometry.x, axis=1).mean()]}


def allen_cahn(n: int, tau: float, steps: int, eps: float) -> dict[str, Any]:
    make = lambda V: flows.allen_cahn(V, eps=eps)
    flow, seconds = measure(make, space(2), n, start(problems.phases), run(steps, tau))
    return {"seconds": seconds, "sample": values(flow.state)}


def cahn_hilliard(n: int, tau: float, steps: int, eps: float) -> dict[str, Any]:
    make = lambda V: flows.cahn_hilliard(V, eps=eps)
    flow, seconds = measure(make, space(2), n, start(problems.phases), run(steps, tau))
    return {"seconds": seconds, "sample": values(flow.state)}


def porous_medium(n: int, tau: float, steps: int) -> dict[str, Any]:
    make = lambda V: flows.porous_medium(V, 2)
    barenblatt = start(lambda x: problems.barenblatt(x, 0.1))
    flow, seconds = measure(make, space(2, 4.0), n, barenblatt, run(steps, tau))
    return {"seconds": seconds, "sample": values(flow.state, 4.0)}


def fokker_planck(n: int, tau: float, steps: int) -> dict[str, Any]:
    def make(V: fem.FunctionSpace) -> Any:
        x = ufl.SpatialCoordinate(V.mesh)
        return flows.fokker_planck(V, problems.well(x))

    flow, seconds = measure(make, space(2, 4.0), n, start(problems.hump), run(steps, tau))
    return {"seconds": seconds, "sample": values(flow.state, 4.0)}


def porous_medium_error(n: int, first: float, tolerance: float, until: float) -> dict[str, Any]:
    """Second order in time, adaptive steps; the error at the nodes, by the vertex rule."""
    make = lambda V: flows.porous_medium(V, 2, scheme=flows.BDF2())

    def run(flow: Any) -> None:
        flows.evolve(flow, until - 0.1, flows.Adaptive(first, tolerance=tolerance))

    barenblatt = start(lambda x: problems.barenblatt(x, 0.1))
    flow, seconds = measure(make, space(2, 4.0), n, barenblatt, run)
    V, vertex = flow.state.function_space, ufl.dx(metadata=flows.forms.VERTEX)
    areas = fem.assemble_vector(fem.form(ufl.TestFunction(V) * vertex)).array
    exact = problems.barenblatt(V.tabulate_dof_coordinates().T, until)
    return {"seconds": seconds, "sample": [areas @ np.abs(flow.state.x.array - exact)]}


def harmonic_map(n: int, tau: float, steps: int) -> dict[str, Any]:
    def functions(n: int) -> fem.FunctionSpace:
        return fem.functionspace(flows.mesh.rectangle(h=1 / n), ("Lagrange", 1, (3,)))

    make = lambda V: flows.harmonic_map(V, flows.maps.Sphere(2))
    flow, seconds = measure(make, functions, n, start(problems.texture), run(steps, tau))
    return {"seconds": seconds, "sample": [flow.energy()]}


def willmore(refinements: int, tau: float, steps: int) -> dict[str, Any]:
    domain = lambda k: flows.mesh.ellipsoid(refinements=k, order=2)
    flow, seconds = measure(flows.willmore, domain, refinements, lambda flow: None, run(steps, tau))
    return {"seconds": seconds, "sample": [flow.energy()]}


CASES = (
    heat,
    allen_cahn,
    cahn_hilliard,
    porous_medium,
    porous_medium_error,
    fokker_planck,
    mean_curvature,
    harmonic_map,
    willmore,
)

if __name__ == "__main__":
    problems.answer({case.__name__: case for case in CASES})
