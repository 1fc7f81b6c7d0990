r"""Grain growth: many order parameters, each of them one inside its grain and zero elsewhere.

$$ E(u) = \int \frac{\varepsilon}{2} |\nabla u|^2 + \varepsilon^{-1} \Big( \sum_i
   \frac{u_i^4}{4} - \frac{u_i^2}{2} + \frac32 \sum_{i < j} u_i^2 u_j^2 + \frac14 \Big) $$

Between two grains both change like a hyperbolic tangent and no third one enters; all boundaries
have the same tension $\sqrt2/3$, so that they meet at 120 degrees.
"""

from __future__ import annotations

from typing import Any, override

from flows import energy
from flows.forms import lump, lumpable
from flows.metric import L2
from flows.movement import GradientFlow
from flows.periodic import PeriodicMesh
from flows.phases import PhaseSolver, masses, scalar
from flows.solver import Solver

import dolfinx
import numpy as np
import numpy.typing as npt
from dolfinx import fem, mesh
from mpi4py import MPI

__all__ = ["GrainGrowth", "voronoi"]

type Floats = npt.NDArray[np.float64]

GONE = 1e-6
"""Below it everywhere an order parameter becomes zero, which lowers the energy."""


class GrainGrowth(GradientFlow):
    r"""Grains that grow and vanish; made by :func:`flows.grain_growth`.

    Each grain has an order parameter of its own, a component of the state.

    Args:
        u: The order parameters, a vector-valued P1 function.
        eps: Width of the boundaries.
        options: Passed on to :class:`flows.GradientFlow`.

    Attributes:
        grain: A picture of the grains, $\sum_i (1 + i/n)\, u_i^2$ with $i = 0, 1, \dots$: between 1
            and 2 inside grains, a value for each, and below 1 along their boundaries.
    """

    def __init__(self, u: fem.Function, eps: float, **options: Any) -> None:
        one = scalar(u.function_space)
        # A constant, not a number in the forms: one kernel serves all widths.
        self._eps = fem.Constant(one.mesh, dolfinx.default_scalar_type(eps))
        self.grain = fem.Function(one, name="grain")
        self._masses = masses(one)[: one.dofmap.index_map.size_local]
        E = energy.grains(u, self._eps)
        super().__init__(lump(E, [u]) if lumpable(u) else E, u, L2(self._eps), **options)

    @override
    def _make_solver(self, coordinates: Any, lumped: bool, options: Any) -> Solver:
        if not PhaseSolver.suits(self._step, self.bcs, options):
            return super()._make_solver(coordinates, lumped, options)
        return PhaseSolver(self._step, self._eps, prefix=f"{self.name}_", options=options)

    @override
    def limit(self, tolerance: float) -> float:
        """Beyond it a step is no convex problem."""
        return 0.9 * float(self._eps.value) ** 2

    # -- what can be seen ----------------------------------------------------------------------
    @override
    @property
    def fields(self) -> tuple[fem.Function, ...]:
        self._draw()
        return (self.grain, *self.states)

    @property
    def shown(self) -> tuple[fem.Function, ...]:
        """What a picture shows unless it is told otherwise."""
        return self.fields[:1]

    @override
    def settle(self) -> None:
        super().settle()
        self._draw()

    @override
    def _commit(self) -> None:
        # What is left of a grain that is gone would halve with each step for ever.
        gone = self._largest() < GONE
        if gone.any():
            self.states[0].x.array.reshape(-1, gone.size)[:, gone] = 0.0
        self._draw()

    def _draw(self) -> None:
        u = self._values()
        self.grain.x.array[:] = (1 + np.arange(len(u)) / len(u)) @ u**2

    def _values(self) -> Floats:
        """The local values of each order parameter in a row."""
        (u,) = self.states
        return np.asarray(u.x.array.reshape(-1, u.function_space.dofmap.bs).T)

    # -- what can be measured ------------------------------------------------------------------
    def count(self) -> int:
        """How many grains there are: order parameters that exceed one half somewhere.

        The same on any number of ranks. A grain that another one cuts in two counts once.
        """
        return int(np.count_nonzero(self._largest() > 0.5))

    def _largest(self) -> Floats:
        """The largest absolute value of each order parameter."""
        u = np.abs(self._values()).max(axis=1, initial=0.0)
        self.mesh.comm.Allreduce(MPI.IN_PLACE, u, MPI.MAX)
        return np.asarray(u)

    def sizes(self) -> Floats:
        r"""Size of each grain, $\int u_i^2 / \sum_j u_j^2$: together they fill the domain."""
        squares = self._values()[:, : self._masses.size] ** 2
        local = (squares / squares.sum(axis=0)) @ self._masses
        self.mesh.comm.Allreduce(MPI.IN_PLACE, local, MPI.SUM)
        return np.asarray(local)


def voronoi(u: fem.Function, seed: int = 0, *, points: npt.ArrayLike | None = None) -> None:
    r"""Give each component of a function the Voronoi cell of a point: one there, zero elsewhere.

    The same cells on any number of ranks; in a periodic box they are those of the torus.

    Args:
        u: A vector-valued Lagrange function, as the state of :func:`flows.grain_growth`.
        seed: Seed of random points, uniform in the bounding box of the mesh.
        points: The points instead, one for each component, shape (n, gdim).

    Raises:
        ValueError: on every rank, if the points are not one for each component.
    """
    V = u.function_space
    n, gdim, domain = V.dofmap.bs, V.mesh.geometry.dim, V.mesh
    low, high = bounds(domain)
    if points is None:
        points = low + (high - low) * np.random.default_rng(seed).random((n, gdim))
    centres = np.asarray(points, dtype=np.float64)
    if centres.shape != (n, gdim):
        raise ValueError(
            f"points have shape {centres.shape}: give one for each of the {n} components, "
            f"shape ({n}, {gdim})."
        )
    x = V.tabulate_dof_coordinates()[:, :gdim]
    squares = np.empty((len(x), n))
    for centre, column in zip(centres, squares.T, strict=True):
        d = x - centre
        column[:] = ((domain.shortest(d) if isinstance(domain, PeriodicMesh) else d) ** 2).sum(1)
    # Rounded: between two points at one distance all ranks choose alike.
    nearest = (squares / ((high - low) ** 2).sum()).round(12).argmin(axis=1)
    u.x.array[:] = (nearest[:, None] == np.arange(n)).ravel()


def bounds(domain: mesh.Mesh[Any]) -> tuple[Floats, Floats]:
    """The lower and the upper corner of the box around a mesh."""
    x, low, high = domain.geometry.x, np.empty(3), np.empty(3)
    domain.comm.Allreduce(x.min(axis=0, initial=np.inf), low, MPI.MIN)
    domain.comm.Allreduce(x.max(axis=0, initial=-np.inf), high, MPI.MAX)
    return low[: domain.geometry.dim], high[: domain.geometry.dim]
