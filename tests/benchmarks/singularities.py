"""Mean curvature flow until it ends: what is announced, when, and how good the mesh is then.

    python tests/benchmarks/singularities.py [spheres dumbbells tori threshold bodies] [--h 0.07]

Times are compared with those of a sphere, R^2 / 4, and of surfaces of revolution by finite
differences (tests/axisymmetric.py). Between thin tori, which shrink to a circle, and thick ones,
whose hole closes, the threshold is bisected. Bodies are those that PyVista and Gmsh bring along.
"""

import flows  # isort: split

import argparse
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from flows.mesh import dumbbell, read, sphere, torus

import numpy as np
from mpi4py import MPI

sys.path.insert(0, str(Path(__file__).parents[1]))
import axisymmetric

BODIES = {"sphere.ply": None, "nut.ply": None, "ant.ply": 0.6, "t13_data.stl": 3.3}
BODIES |= {"sphere-surf.stl": None, "airplane.ply": None}
"""With the edge length that those made of needles are read with."""
GOOD = {"ksp_type": "preonly", "pc_type": "cholesky", "pc_factor_mat_solver_type": "mumps"}
"""Near a singularity steps are small, and multigrid for the tangential motion is slow."""


def end(flow, tolerance=1e-3):
    """Run to an announced end, from better triangles where those that are given are bad.

    Surface diffusion is stopped where it has made a ball of a compact body.
    """
    if flow.surface.quality().angle < 5:
        say(f"{'':16s} {flow.remesh()}")
    size, p = float(np.sqrt(flow.surface.area)), flow.power
    start = time.perf_counter()
    tau = flows.Adaptive(10.0 ** (-1 - 1.5 * p) * size**p, tolerance=tolerance)
    until = np.inf if p == 2 else 1e-3 * size**p
    history = flows.evolve(flow, until=until, tau=tau)
    return history, time.perf_counter() - start


def show(name, flow, exact=np.nan):
    """One line of the table; the event."""
    cells = flow.mesh.topology.index_map(2).size_global
    history, seconds = end(flow)
    event, quality = history.event, flow.surface.quality()
    if event is None:
        event = flows.Event("round", flow.time, (), "no event up to the end of time", flow.time)
    line = f"{name:16s} {cells:6d} {history.steps:6d} {seconds:7.1f} {event.kind:16s} "
    line += f"{event.estimate:9.5f} {event.estimate / exact - 1:+8.2%} "
    say(line + f"{quality.angle:6.2f} {quality.ratio:8.1f}  {len(history.events)}  {event}")
    return event


def curvature(mesh):
    """The flow of most of the table."""
    return flows.mean_curvature(mesh, petsc_options=GOOD)


def say(line):
    if MPI.COMM_WORLD.rank == 0:
        print(line, flush=True)


def spheres(h):
    show("sphere", curvature(sphere(h=h)), 0.25)


def dumbbells(h):
    for neck in (0.2, 0.4):
        exact, pinched = axisymmetric.flow(*axisymmetric.dumbbell(neck), pole=True)
        event = show(f"dumbbell {neck}", curvature(dumbbell(neck, h=h)), exact)
        assert event.kind == ("pinch" if pinched else "extinction")


def tori(h):
    for r in (0.5, 0.7):
        exact, closed = axisymmetric.flow(*axisymmetric.torus(1.0, r), pole=False)
        event = show(f"torus {r}", curvature(torus(1.0, r, h=2 * h)), exact)
        assert event.kind == ("hole" if closed else "extinction")


def threshold(h):
    low, high = 0.5, 0.7
    while high - low > 2e-3:
        r = (low + high) / 2
        history, _ = end(curvature(torus(1.0, r, h=2 * h)), tolerance=4e-3)
        low, high = (low, r) if history.event.kind == "hole" else (r, high)
        say(f"torus {r:.4f}: {history.event}")
    say(
        f"threshold between {low:.4f} and {high:.4f}; {axisymmetric.threshold():.4f} by differences"
    )


def bodies(h):
    packages = [Path(find_spec("pyvista").origin).parent / "examples", Path(sys.prefix) / "share"]
    for name, size in BODIES.items():
        path = next((p for folder in packages for p in folder.rglob(name)), None)
        if path is None:
            say(f"{name}: not here")
            continue
        for kind in (curvature, flows.surface_diffusion):
            try:
                show(name, kind(read(path, h=size)))
            except (ValueError, flows.StepFailed) as error:
                say(f"{name:16s} {error}")


def main() -> None:
    """Print the table."""
    parts = {f.__name__: f for f in (spheres, dumbbells, tori, threshold, bodies)}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=", ".join(parts))
    parser.add_argument("--h", type=float, default=0.0692, help="edges of spheres and dumbbells")
    options, _ = parser.parse_known_args()
    say(
        "body              cells  steps seconds event             estimate    error  angle    ratio"
    )
    for name in options.parts or parts:
        parts[name](options.h)


if __name__ == "__main__":
    main()
