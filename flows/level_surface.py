r"""A closed surface that is given by an equation: of genus two."""

from typing import Any

from flows.curved import built
from flows.formats import positive
from flows.surface_remesh import triangulated

import numpy as np
import numpy.typing as npt
from dolfinx.mesh import Mesh
from mpi4py import MPI

__all__ = ["genus_two"]

type Floats = npt.NDArray[np.float64]
type Integers = npt.NDArray[np.int64]

_HALF_AXES = np.array([1.25, 0.75, 0.2])
_POINTS = (64, 40, 16)
_LEVEL = 0.02


def genus_two(h: float = 0.07, *, order: int = 1, comm: MPI.Comm = MPI.COMM_WORLD) -> Mesh[Any]:
    r"""A surface with two holes, a smooth figure of eight: of Euler characteristic -2.

    $$ \big((x^2 - 1)\, x^2 + y^2\big)^2 + z^2 = 0.02 $$

    It is 2.1 long and 0.28 high. Mmg makes its triangles, all of one size; the nodes lie on it.

    Args:
        h: Length of an edge, up to 0.1.
        order: Degree of the cells; 2 curves them.
        comm: Communicator of the mesh.

    Raises:
        ValueError: On every rank, if `h` is too large for its tubes.
        ImportError: On every rank, without PyVista, which finds the surface, or without Mmg.
    """
    positive(h=h)
    if h > 0.1:
        raise ValueError(f"h = {h}: the tubes are 0.28 thick; give an edge of at most 0.1")

    def make() -> tuple[Floats, Integers]:
        x, cells = _contour()
        for _ in range(2):
            x, cells = triangulated(_onto(x), cells, np.full(len(x), h))
        return x, cells

    return built(make, _onto, order=order, comm=comm)


def _contour() -> tuple[Floats, Integers]:
    """Where the level is crossed on a grid: slivers, but of the right topology."""
    try:
        import pyvista
    except ImportError as error:
        raise ImportError(
            "the surface of genus two needs PyVista: pip install 'gradient-flows[plot]'"
        ) from error
    spacing = 2 * _HALF_AXES / (np.array(_POINTS) - 1)
    grid = pyvista.ImageData(dimensions=_POINTS, spacing=spacing, origin=-_HALF_AXES)
    values = _height(np.asarray(grid.points))[0]
    found = grid.contour([0.0], scalars=values, method="contour").triangulate()
    found = found.clean(tolerance=1e-6)
    return np.asarray(found.points, dtype=np.float64), found.regular_faces.astype(np.int64)


def _height(x: Floats) -> tuple[Floats, Floats]:
    """The two sides of the equation apart, and the gradient."""
    a, b, c = x.T
    f = (a**2 - 1) * a**2 + b**2
    return f**2 + c**2 - _LEVEL, np.column_stack([2 * f * (4 * a**3 - 2 * a), 4 * f * b, 2 * c])


def _onto(x: Floats) -> Floats:
    """Newton's method along the gradient."""
    for _ in range(20):
        height, slope = _height(x)
        x = x - (height / np.sum(slope**2, axis=1))[:, None] * slope
    return x
