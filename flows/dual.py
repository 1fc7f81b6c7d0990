r"""The bending energy of a curved surface, in the dual form that needs no curvature.

$$ E(X) = \tfrac12 \int_\Gamma |\kappa - c_0|^2
        = \max_y -\int_\Gamma \nabla\mathrm{id} : \nabla y + c_0\, \nu \cdot y + \tfrac12 |y|^2 $$

with $\kappa = -H$: partial integration turns the first term into $-\kappa\, \nu \cdot y$, so the
maximiser is $y = (\kappa - c_0)\, \nu$. In finite elements the maximum *is* the energy
{cite}`dziuk2008`. It is smooth in the nodes $X$, of fourth order for curved cells of degree 2, and
bad cells raise it. Integrals are pulled back to the mesh as it stands,

$$ \int \nabla\mathrm{id} : \nabla y = \int \frac{g_{22}\, X_1 \cdot y_1
   - g_{12} (X_1 \cdot y_2 + X_2 \cdot y_1) + g_{11}\, X_2 \cdot y_2}{\sqrt{\det g}} \,d\xi, $$

with derivatives in the reference cell and the metric $g_{ab} = X_a \cdot X_b$.
"""

from __future__ import annotations

from typing import Any

from flows.forms import assembled, compiled, integrate
from flows.surface import Surface, normal_of, tangents

import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI
from ufl import dx, inner

__all__ = ["BendingStep"]

RULE = {"quadrature_degree": 4}
FINE = {"quadrature_degree": 6}


class BendingStep:
    r"""The functional of one step: bending energy, price of the movement, two constraints.

    $$ L(X, y) = E(X, y) + \frac{1}{2\tau} \int_{\Gamma_k} ((X - X_k) \cdot \nu_k)^2
       + \lambda_A A(X) + \lambda_V V(X) $$

    Args:
        surface: A closed surface of degree 2; its position is the unknown $X$.
        c0: The curvature $c_0$ that costs nothing, in the convention of $\kappa$.

    Attributes:
        y: The dual variable.
        tau: The time step.
        multipliers: $\lambda_A$ and $\lambda_V$.
        residual: Derivatives of the functional in $X$ and $y$.
        jacobian: Its second derivatives, in blocks.
        slopes: Derivatives of area and volume in $X$.
    """

    def __init__(self, surface: Surface, c0: float) -> None:
        if surface.projection is None:
            raise ValueError(
                "Bending needs curved cells: build the mesh with order=2, as in "
                "flows.mesh.sphere(order=2)."
            )
        self.surface, self._projection = surface, surface.projection
        X, mesh = surface.position, surface.mesh
        V = X.function_space
        self.c0 = fem.Constant(mesh, c0)
        self.y = fem.Function(V.clone(), name="y")
        self.old = fem.Function(V)
        self.tau = fem.Constant(mesh, 1.0)
        self.multipliers = [fem.Constant(mesh, 0.0), fem.Constant(mesh, 0.0)]
        element = normal_of([ufl.Jacobian(mesh)[:, a] for a in range(2)])
        size = ufl.sqrt(inner(element, element))
        p, q = tangents(mesh, X)
        normal = surface.sign * normal_of([p, q])
        root = ufl.sqrt(inner(normal, normal))
        tension = (_tension(p, q, *tangents(mesh, self.y)) / root) / size
        linear = -(tension + self.c0 * inner(normal, self.y) / size) * dx(metadata=RULE)
        mass = root / size * inner(self.y, self.y) / 2 * dx(metadata=RULE)
        price = inner(X - self.old, surface.nu) ** 2 / 2 * dx(metadata=RULE)
        area = root / size * dx(metadata=RULE)
        volume = inner(X, normal) / (3 * size) * dx(metadata=FINE)
        total = linear - mass + 1 / self.tau * price
        for multiplier, functional in zip(self.multipliers, (area, volume), strict=True):
            total += multiplier * functional
        residual = [ufl.derivative(total, f) for f in (X, self.y)]
        self.residual = [compiled(r) for r in residual]
        self.jacobian = [[compiled(ufl.derivative(r, f)) for f in (X, self.y)] for r in residual]
        self.slopes = [compiled(ufl.derivative(f, X)) for f in (area, volume)]
        self._load = compiled(ufl.derivative(linear, self.y))
        self._price = compiled(price)
        self._sizes = [compiled(f) for f in (area, volume)]

    def settle(self) -> float:
        """Bring mesh, normals and dual variable to the position; returns the energy."""
        surface = self.surface
        surface.move()
        surface.refresh()
        load = assembled(self._load, self.y.function_space)
        self.y.x.array[:] = self._projection.solve(load.reshape(-1, 3)).ravel()
        n = 3 * surface.owned
        # At the maximum the linear part is minus twice the quadratic one.
        return float(surface.mesh.comm.allreduce(load[:n] @ self.y.x.array[:n], MPI.SUM)) / 2

    def begin(self, tau: float) -> None:
        """Measure movements from the present position."""
        self.old.x.array[:] = self.surface.position.x.array
        self.tau.value = tau

    def price(self) -> float:
        r"""What the movement so far costs, $|u|^2 / (2\tau)$; before the mesh follows."""
        return integrate(self._price) / float(self.tau.value)

    def sizes(self) -> np.ndarray:
        """Area and volume of the position."""
        return np.array([integrate(form) for form in self._sizes])

    def set_curvature(self) -> None:
        r"""Write $H = -\kappa = -(y \cdot \nu) - c_0$ to the nodes of the surface."""
        curvature = self.surface.curvature
        self.surface.set_curvature(self.y.x.array, -1.0)
        curvature.x.array[:] -= self.c0.value


def _tension(p: Any, q: Any, a: Any, b: Any) -> Any:
    """The integrand of the gradient of the immersion against that of y, times det g."""
    return (
        inner(q, q) * inner(p, a)
        - inner(p, q) * (inner(p, b) + inner(q, a))
        + inner(p, p) * inner(q, b)
    )
