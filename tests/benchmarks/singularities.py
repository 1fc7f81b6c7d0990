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

BODIES = ("sphere.ply", "nut.ply", "ant.ply", "airplane.ply", "t13_data.stl", "sphere-surf.stl")
GOOD = {"ksp_type": "preonly", "pc_type": "cholesky", "pc_factor_mat_solver_type": "mumps"}
"""Near a singularity steps are small, and multigrid for the tangential motion is slow."""


def end(mesh, tolerance=1e-3):
    """Run to an announced end, from better triangles where those that are given are bad."""
    flow = flows.mean_curvature(mesh, petsc_options=GOOD)
    if flow.surface.quality().angle < 5:
        say(f"{'':16s} {flow.remesh()}")
    size = float(np.sqrt(flow.surface.area))
    start = time.perf_counter()
    tau = flows.Adaptive(1e-4 * size**2, tolerance=tolerance)
    history = flows.evolve(flow, until=np.inf, tau=tau)
    return flow, history, time.perf_counter() - start


def show(name, mesh, exact=np.nan):
    """One line of the table; the event."""
    cells = mesh.topology.index_map(2).size_global
    flow, history, seconds = end(mesh)
    event, quality = history.event, flow.surface.quality()
    line = f"{name:16s} {cells:6d} {history.steps:6d} {seconds:7.1f} {event.kind:16s} "
    line += f"{event.estimate:9.5f} {event.estimate / exact - 1:+8.2%} "
    say(line + f"{quality.angle:6.2f} {quality.ratio:8.1f}  {len(history.events)}  {event}")
    return event


def say(line):
    if MPI.COMM_WORLD.rank == 0:
        print(line, flush=True)


def spheres(h):
    show("sphere", sphere(h=h), 0.25)


def dumbbells(h):
    for neck in (0.2, 0.4):
        exact, pinched = axisymmetric.flow(*axisymmetric.dumbbell(neck), pole=True)
        event = show(f"dumbbell {neck}", dumbbell(neck, h=h), exact)
        assert event.kind == ("pinch" if pinched else "extinction")


def tori(h):
    for r in (0.5, 0.7):
        exact, closed = axisymmetric.flow(*axisymmetric.torus(1.0, r), pole=False)
        event = show(f"torus {r}", torus(1.0, r, h=2 * h), exact)
        assert event.kind == ("hole" if closed else "extinction")


def threshold(h):
    low, high = 0.5, 0.7
    while high - low > 2e-3:
        r = (low + high) / 2
        _, history, _ = end(torus(1.0, r, h=2 * h), tolerance=4e-3)
        low, high = (low, r) if history.event.kind == "hole" else (r, high)
        say(f"torus {r:.4f}: {history.event}")
    say(
        f"threshold between {low:.4f} and {high:.4f}; {axisymmetric.threshold():.4f} by differences"
    )


def bodies(h):
    packages = [Path(find_spec("pyvista").origin).parent / "examples", Path(sys.prefix) / "share"]
    for name in BODIES:
        path = next((p for folder in packages for p in folder.rglob(name)), None)
        if path is None:
            say(f"{name}: not here")
            continue
        try:
            show(name, read(path))
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
