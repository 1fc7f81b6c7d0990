r"""Targets of maps: the circle, spheres, the torus, and level sets of one's own.

A map has its values in a hypersurface $N$ of $\mathbb{R}^m$. A flow of maps needs two things of it,
node by node: the closest point of $N$, and the normal of $N$. The tangent plane follows from the
normal, see :func:`tangents`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, override

import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem

__all__ = ["LevelSet", "Sphere", "Target", "Torus", "tangents"]

type Floats = npt.NDArray[np.float64]


class Target(ABC):
    r"""A hypersurface $N$ of $\mathbb{R}^m$, in which maps have their values.

    Attributes:
        dim: The dimension $m$ of the space around it: the number of components of a map.
        quantum: The least energy of a harmonic sphere in it, which a bubble takes away; not a
            number where that is unknown, infinite where there is none.
    """

    dim: int
    quantum: float = math.nan

    @abstractmethod
    def project(self, points: Floats) -> Floats:
        """Closest points of the target.

        Args:
            points: Points, shape (n, dim).

        Returns:
            Points of the target, shape (n, dim); not numbers where there is no closest one.
        """

    @abstractmethod
    def normal(self, points: Floats) -> Floats:
        """Unit normals, shape (n, dim), at points of the target or near it."""

    def distance(self, points: Floats) -> Floats:
        """Distance of points from the target, shape (n,)."""
        return np.asarray(np.linalg.norm(self.project(points) - points, axis=1))

    def at(self, V: fem.FunctionSpace) -> Target:
        """The target as the maps in ``V`` need it; called once, when a flow is made."""
        return self


@dataclass(frozen=True)
class Sphere(Target):
    r"""The unit sphere $S^k = \{|u| = 1\} \subset \mathbb{R}^{k+1}$; the circle is ``Sphere(1)``.

    Args:
        k: Its dimension.
    """

    k: int

    def __post_init__(self) -> None:
        if not isinstance(self.k, int) or self.k < 1:
            raise ValueError(f"Sphere({self.k!r}): give its dimension, 1 for the circle, 2, 3, ...")
        object.__setattr__(self, "dim", self.k + 1)
        quantum = {1: math.inf, 2: 4 * math.pi}
        object.__setattr__(self, "quantum", quantum.get(self.k, 4 * math.pi))

    @override
    def project(self, points: Floats) -> Floats:
        return _unit(points)

    @override
    def normal(self, points: Floats) -> Floats:
        return _unit(points)


@dataclass(frozen=True)
class Torus(Target):
    r"""The torus of revolution about the third axis.

    $$ \Big(\sqrt{u_1^2 + u_2^2} - R\Big)^2 + u_3^2 = r^2 $$

    Args:
        R: Radius of the circle in its middle.
        r: Radius of the tube, below ``R``.
    """

    R: float
    r: float
    dim = 3
    quantum = math.inf

    def __post_init__(self) -> None:
        if not 0 < self.r < self.R < math.inf:
            raise ValueError(f"Torus({self.R}, {self.r}): it needs radii 0 < r < R.")

    @override
    def project(self, points: Floats) -> Floats:
        middle = self._middle(points)
        return np.asarray(middle + self.r * _unit(points - middle))

    @override
    def normal(self, points: Floats) -> Floats:
        return _unit(points - self._middle(points))

    def _middle(self, points: Floats) -> Floats:
        """The closest points of the circle in the middle of the tube."""
        flat = np.column_stack([points[:, :2], np.zeros(len(points))])
        return self.R * _unit(flat)


@dataclass(frozen=True)
class LevelSet(Target):
    r"""The surface $d(u) = 0$ of your own.

    Args:
        d: The function $d$ in UFL, called with the vector $u$; its gradient, by which UFL
            differentiates it, must not vanish where $d = 0$. An ellipsoid is
            ``LevelSet(lambda u: u[0]**2 / 4 + u[1]**2 + u[2]**2 - 1)``.
        dim: Number of components of $u$.
    """

    d: Callable[[Any], Any]
    dim: int = field(default=3, kw_only=True)

    def __post_init__(self) -> None:
        if not callable(self.d):
            raise ValueError("LevelSet needs a function of u, such as lambda u: dot(u, u) - 1.")
        if not isinstance(self.dim, int) or self.dim < 2:
            raise ValueError(f"dim = {self.dim!r}: a level set needs 2 components or more.")

    @override
    def at(self, V: fem.FunctionSpace) -> Target:
        return _NodalLevelSet(self, V)

    @override
    def project(self, points: Floats) -> Floats:
        raise ValueError("UFL is evaluated on a mesh: ask LevelSet(...).at(V), with a P1 space V.")

    @override
    def normal(self, points: Floats) -> Floats:
        return self.project(points)


class _NodalLevelSet(Target):
    """A level set for the values at the local nodes of a space, in their order."""

    def __init__(self, level_set: LevelSet, V: fem.FunctionSpace) -> None:
        self.dim = level_set.dim
        self._u, self._mesh = fem.Function(V), V.mesh
        u = ufl.variable(self._u)
        d = ufl.as_ufl(level_set.d(u))
        if d.ufl_shape != ():
            raise ValueError(f"LevelSet needs a scalar d(u); this one has the shape {d.ufl_shape}.")
        both = ufl.as_vector([d, *(ufl.diff(d, u)[i] for i in range(self.dim))])
        element: Any = V.element
        self._expression = fem.Expression(both, element.interpolation_points)
        # One cell for each node is enough: most nodes belong to several.
        nodes, first = np.unique(V.dofmap.list, return_index=True)
        cells, self._corner = np.divmod(first, V.dofmap.list.shape[1])
        self._cells, self._row = np.unique(cells.astype(np.int32), return_inverse=True)
        self._nodes = nodes

    def _evaluate(self, points: Floats) -> tuple[Floats, Floats]:
        """Values and gradients of d."""
        self._u.x.array[:] = points.ravel()
        found = self._expression.eval(self._mesh, self._cells)[self._row, self._corner]
        values = np.empty((len(points), 1 + self.dim))
        values[self._nodes] = found
        return values[:, :1], values[:, 1:]

    @override
    def project(self, points: Floats) -> Floats:
        r"""Newton's method along the gradient, $u \leftarrow u - d\,\nabla d/|\nabla d|^2$."""
        points = points.copy()
        for _ in range(30):
            d, slope = self._evaluate(points)
            with np.errstate(all="ignore"):
                step = d * slope / (slope**2).sum(axis=1, keepdims=True)
            points -= step
            far = ~(np.abs(step) <= 1e-15 * (1 + np.abs(points)))
            if not far.any():
                break
        lost = ~(np.abs(step) <= 1e-12 * (1 + np.abs(points))).all(axis=1)
        points[lost] = np.nan
        return points

    @override
    def normal(self, points: Floats) -> Floats:
        return _unit(self._evaluate(points)[1])


def tangents(normals: Floats) -> Floats:
    r"""An orthonormal basis of each tangent plane, without branches and without a pole.

    $$ t_j = e_j - \frac{n_j}{1 + |n_m|} (n + s e_m), \qquad j < m, \quad
       s = \operatorname{sign} n_m $$

    The columns but the last of the reflection that takes $n$ to $-s e_m$.

    Args:
        normals: Unit normals, shape (n, m).

    Returns:
        Shape (n, m, m - 1): one vector in each column.
    """
    m, last = normals.shape[1], normals[:, -1:]
    mirror = normals.copy()
    mirror[:, -1:] += np.where(last < 0, -1.0, 1.0)
    weights = normals[:, :-1] / (1 + np.abs(last))
    return np.asarray(np.eye(m)[:, :-1] - mirror[:, :, None] * weights[:, None, :])


def _unit(points: Floats) -> Floats:
    """Points over their norms; not numbers where that is zero."""
    with np.errstate(all="ignore"):
        return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True))
