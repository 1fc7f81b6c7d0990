r"""Distances of optimal transport, to compare a density with an exact or an earlier one.

$$ W_2(\rho, \sigma)^2 = \min_\pi \int |x - y|^2\, d\pi(x, y) \quad
   \text{over all plans } \pi \text{ with the marginals } \rho \text{ and } \sigma. $$

They are known in closed form on the line, by quantile functions, and for Gaussians, by their
moments (see :func:`flows.diagnostics.moments`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from flows.diagnostics import Floats, _p1
from flows.periodic import refuse
from flows.ranks import on_root

import numpy as np
import numpy.typing as npt
from dolfinx import fem

__all__ = ["bures", "wasserstein_1d"]

TINY = np.finfo(float).tiny
"""The smallest normal number: in place of zero where that would be divided by."""


def wasserstein_1d(
    rho: fem.Function, sigma: fem.Function | Callable[[Floats], npt.ArrayLike]
) -> float:
    r"""Wasserstein distance of two densities on the line.

    $$ W_2(\rho, \sigma)^2 = m \int_0^1 |F^{-1}(p) - G^{-1}(p)|^2\, dp, $$

    with the quantile functions $F^{-1}$ and $G^{-1}$ of $\rho / m$ and $\sigma / m$
    {cite}`ambrosio2008`. The factor of the mass $m$ makes it the distance whose squares the
    Wasserstein metric adds up. The densities are piecewise linear, so their quantile functions are
    square roots on each interval, integrated there by Gauss points that gather where those are
    singular. All values go to one rank.

    Args:
        rho: A density of P1 elements on intervals; negative values count as zero.
        sigma: Another one of the same mass, possibly on another mesh; or a quantile function of
            unit mass: it takes an array of numbers in (0, 1) and returns places, of equal shape.

    Returns:
        A length times the root of a mass.

    Raises:
        ValueError: on every rank, if a mesh is not one of intervals on the line, if a density is
            not of P1 elements or has no (finite) mass, or if the masses differ by more than 1e-6.
    """
    if not callable(sigma):
        raise ValueError(f"{sigma!r}: give a function, or a quantile function.")
    one = _gathered(rho)
    other = _gathered(sigma) if isinstance(sigma, fem.Function) else sigma
    comm = rho.function_space.mesh.comm
    return float(comm.bcast(on_root(comm, lambda: _transport(one, other))))


class _Quantile:
    """The quantile function of a piecewise linear density.

    Args:
        pieces: Places and values at both ends of each interval, of shape (2, n, 2).
    """

    def __init__(self, pieces: Floats) -> None:
        order = np.argsort(pieces[0], axis=1)
        x, r = np.take_along_axis(pieces, order[None], axis=2)
        row = np.argsort(x[:, 0])
        x, r = x[row], np.maximum(r[row], 0)
        masses = (x[:, 1] - x[:, 0]) * r.mean(axis=1)
        self.mass = float(masses.sum())
        if not 0 < self.mass < math.inf:
            raise ValueError(f"A density of mass {self.mass} has no Wasserstein distance.")
        levels = np.append(0, masses.cumsum()) / masses.cumsum()[-1]
        # A vacuum is a jump: no level lies inside. So is a tail below rounding.
        full = np.diff(levels) > 0
        x, r = x[full], r[full]
        self.levels = np.append(0, levels[1:][full])
        self.x, self.h = x[:, 0], x[:, 1] - x[:, 0]
        self.ends = r / r.mean(axis=1, keepdims=True)

    def __call__(self, p: Floats) -> Floats:
        k = np.clip(np.searchsorted(self.levels, p, side="right") - 1, 0, self.x.size - 1)
        low, high = self.levels[k], self.levels[k + 1]
        left, right = self.ends[k, 0], self.ends[k, 1]
        t = np.clip((p - low) / (high - low), 0, 1)
        # The root of left s + (right - left) s^2 / 2 = t that does not cancel.
        root = np.sqrt(np.maximum(left**2 + 2 * (right - left) * t, 0))
        return np.asarray(self.x[k] + self.h[k] * 2 * t / np.maximum(left + root, TINY))


def _transport(pieces: Floats, other: Any) -> float:
    one = _Quantile(pieces)
    cuts = one.levels
    if isinstance(other, np.ndarray):
        other = _Quantile(other)
        cuts = np.union1d(cuts, other.levels)
        if abs(other.mass - one.mass) > 1e-6 * one.mass:
            raise ValueError(
                f"Masses {one.mass:.9g} and {other.mass:.9g} differ: give densities of equal mass."
            )
    s, w = np.polynomial.legendre.leggauss(16)
    s = (1 + s) / 2
    # p = s^2 (3 - 2 s) makes the square roots at both ends of an interval smooth.
    p = cuts[:-1, None] + np.diff(cuts)[:, None] * s**2 * (3 - 2 * s)
    p = np.clip(p, TINY, 1 - np.finfo(float).epsneg)
    squares = (one(p) - np.asarray(other(p))) ** 2 @ (3 * s * (1 - s) * w)
    return math.sqrt(one.mass * float(np.diff(cuts) @ squares))


def _gathered(rho: fem.Function) -> Floats:
    """The pieces of a density on the line, on the first rank; nothing elsewhere."""
    V = _p1(rho)
    mesh = V.mesh
    if mesh.topology.dim != 1 or mesh.geometry.dim != 1:
        raise ValueError(
            "Quantile functions need a mesh of intervals on the line, not one of dimension "
            f"{mesh.topology.dim} in {mesh.geometry.dim} dimension(s)."
        )
    refuse(mesh, "The line has no order")
    dofs = V.dofmap.list[: mesh.topology.index_map(1).size_local]
    pieces = mesh.comm.gather(np.stack([V.tabulate_dof_coordinates()[dofs, 0], rho.x.array[dofs]]))
    return np.concatenate(pieces or [np.empty((2, 0, 2))], axis=1)


def bures(
    mean0: npt.ArrayLike, cov0: npt.ArrayLike, mean1: npt.ArrayLike, cov1: npt.ArrayLike
) -> float:
    r"""Wasserstein distance of two Gaussians of unit mass.

    $$ W_2^2 = |m_0 - m_1|^2 + \operatorname{tr}\big(C_0 + C_1
       - 2 (C_0^{1/2} C_1 C_0^{1/2})^{1/2}\big)
       = |m_0 - m_1|^2 + \min_{U^T U = 1} |A_0 - A_1 U|^2, \qquad A_i A_i^T = C_i. $$

    The formula is that of {cite}`givens1984`. Its trace cancels for neighbours, the minimum does
    not: it is a polar decomposition {cite}`bhatia2019`.

    Args:
        mean0: Mean of the first, of shape (d,), or a number.
        cov0: Its covariance matrix, of shape (d, d), or a number; it may be singular.
        mean1: Mean of the second.
        cov1: Its covariance matrix.

    Returns:
        A length.

    Raises:
        ValueError: for other shapes, or a matrix that is not symmetric and non-negative.
    """
    shift = np.atleast_1d(mean0).astype(float) - np.atleast_1d(mean1)
    first, second = _factor(cov0, shift.shape), _factor(cov1, shift.shape)
    left, _, right = np.linalg.svd(second.T @ first)
    return math.hypot(
        float(np.linalg.norm(shift)), float(np.linalg.norm(first - second @ left @ right))
    )


def _factor(cov: npt.ArrayLike, shape: tuple[int, ...]) -> Floats:
    """A matrix ``A`` with ``A A^T = C``."""
    C = np.atleast_2d(cov).astype(float)
    if C.shape != shape * 2 or not np.allclose(C, C.T, rtol=0, atol=1e-9 * np.abs(C).max()):
        raise ValueError(f"A symmetric matrix of shape {shape * 2} is needed as covariance.")
    values, vectors = np.linalg.eigh(C)
    if not values.min() >= -1e-9 * values.max():
        raise ValueError(f"A covariance matrix has no negative eigenvalues such as {values.min()}.")
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0)))
