r"""Mean curvature flow of surfaces of revolution, by finite differences: answers to compare with.

The upper half of a meridian, $(x(u), r(u))$ with $0 \le u \le 1$, moves by

$$ X_t = \frac{X_{uu}}{|X_u|^2} - \frac{\nu_r}{r} \nu, \qquad \nu = \frac{(-r_u, x_u)}{|X_u|}, $$

whose normal velocity is $-(k_1 + k_2)$ {cite}`barrett2021`. It begins on the plane of symmetry,
$x = r_u = 0$, and ends there too (a torus) or on the axis, $r = x_u = 0$, where $x_t$ is twice the
first term. Central differences and an implicit method for stiff equations; no finite elements.
"""

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import brentq


def dumbbell(neck, n=400):
    """Meridian of flows.mesh.dumbbell, from the neck to the pole."""
    s = np.linspace(0, np.pi / 2, 20 * n + 1)
    x = np.sin(s)
    return _even(x, ((1 - neck) * x**2 + neck) * np.cos(s), n)


def torus(R, r, n=400):
    """Meridian of the upper half of a torus, from the outer to the inner equator."""
    s = np.linspace(0, np.pi, n + 1)
    return r * np.sin(s), R + r * np.cos(s)


def _even(x, r, n):
    """The same curve by n pieces of equal length."""
    length = np.append(0, np.cumsum(np.hypot(np.diff(x), np.diff(r))))
    at = np.linspace(0, length[-1], n + 1)
    return np.interp(at, length, x), np.interp(at, length, r)


def flow(x, r, *, pole, small=2e-3):
    """Run until something is small: the time, and whether a neck or a hole was it, not the whole.

    Args:
        x: Axial coordinates of the meridian.
        r: Radii.
        pole: Whether the last point lies on the axis.
        small: Radius at which the end is near; the time left is of the order of its square.
    """
    h = 1 / (len(x) - 1)

    def rate(_, y):
        x, r = y[0::2].copy(), y[1::2].copy()
        x[0] = 0.0
        if pole:
            r[-1] = 0.0
            ends = x[-2], -r[-2]
        else:
            x[-1] = 0.0
            ends = -x[-2], r[-2]
        X = np.array([np.r_[-x[1], x, ends[0]], np.r_[r[1], r, ends[1]]])
        first, second = (X[:, 2:] - X[:, :-2]) / (2 * h), np.diff(X, 2, axis=1) / h**2
        square = (first**2).sum(axis=0)
        moved = second / square
        inside = slice(0, -1) if pole else slice(None)
        pull = -first[0, inside] / (square[inside] * r[inside])
        moved[:, inside] += pull * np.array([-first[1, inside], first[0, inside]])
        if pole:
            moved[:, -1] = 2 * moved[0, -1], 0.0
        return moved.T.ravel()

    neck = 0 if pole else -1

    def gap(_, y):
        return y[1::2][neck] - small

    def extent(_, y):
        return (y[-2] if pole else np.ptp(y[1::2])) - small

    gap.terminal = extent.terminal = True
    run = solve_ivp(
        rate,
        (0, 10),
        np.column_stack([x, r]).ravel(),
        method="LSODA",
        lband=3,
        uband=3,
        rtol=1e-8,
        atol=1e-10,
        events=[gap, extent],
    )
    return run.t[-1], extent(0, run.y[:, -1]) > 10 * small


def threshold(small=5e-3):
    """Radius of the tube, over that of its centre line, of tori between two fates.

    Thinner tori shrink to a circle, the hole of thicker ones closes {cite}`angenent1992`.
    """

    def fate(r):
        return 1.0 if flow(*torus(1.0, r), pole=False, small=small)[1] else -1.0

    return brentq(fate, 0.5, 0.7, xtol=1e-5)


if __name__ == "__main__":
    for b in (0.2, 0.4):
        t, pinched = flow(*dumbbell(b), pole=True)
        print(f"dumbbell {b}: {'pinch' if pinched else 'round point'} at t = {t:.5f}")
    for r in (0.5, 0.7):
        t, closed = flow(*torus(1.0, r), pole=False)
        print(f"torus {r}: {'its hole closes' if closed else 'a circle'} at t = {t:.5f}")
    print(f"tori part at r/R = {threshold():.4f}")
