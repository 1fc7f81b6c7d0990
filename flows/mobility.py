r"""Mobilities of densities: dual potentials of the Wasserstein metric on P1 elements.

$$ \psi^*(\rho; \xi) = \tfrac12 \int \rho\, |\nabla \xi|^2, \qquad
   \dot\rho = -\nabla\!\cdot(\rho \nabla \xi), \quad \xi = -\frac{\delta E}{\delta \rho}. $$

Densities live at the vertices of straight simplices, and forces are paired with rates by the
vertex rule. The stiffness of P1 elements gives each edge $ij$ the weight of a finite volume scheme,

$$ \int \nabla f \cdot \nabla g = \sum_{ij} a_{ij}\, (f_i - f_j)(g_i - g_j), \qquad
   a_{ij} = - \int \nabla \varphi_i \cdot \nabla \varphi_j, $$

so that schemes by edges are plain UFL, differentiated and assembled like any other form. Their
theorems (positivity, decay of the energy) need $a_{ij} \ge 0$: see :func:`edge_weights`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from flows.forms import VERTEX, compiled

import basix.ufl
import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem import petsc as fempetsc
from mpi4py import MPI
from ufl import dot, grad, inner

__all__ = [
    "Cell",
    "EdgeWeights",
    "Mobility",
    "Upwind",
    "bernoulli",
    "cell",
    "edge_weights",
    "log_mean",
    "scharfetter_gummel",
    "symmetric_scharfetter_gummel",
    "vertex",
]

Mobility = Callable[[Any, Any], ufl.Form]
r"""Maps a density and a force (P1 functions, or sums of them) to the form $\psi^*$."""

# One rule for all terms: FFCx 0.11 silently miscompiles a kernel that mixes a one-point rule with
# another one (tests/test_mobility.py notices when it no longer does).
vertex = ufl.Measure("dx", metadata=VERTEX)
"""The measure of the vertex rule, which lumps masses and visits the edges of each cell."""


@dataclass(frozen=True, eq=False)
class Cell:
    r"""Mobility of each cell: its mean density.

    $$ \psi^*(\rho; \xi) = \tfrac12 \sum_K \sum_{i \in K} \frac{|K|}{d + 1}\, \rho_i\,
       \nabla \xi|_K \cdot D_i \nabla \xi|_K. $$

    It is convex in the force on every mesh as long as no density is negative.

    Args:
        diffusion: Positive number, symmetric positive matrix or UFL expression $D$ of the point,
            taken at the vertices of the cell.
    """

    diffusion: Any = 1.0

    def __call__(self, density: Any, force: Any) -> ufl.Form:
        r"""The form $\psi^*$ of a density and a force."""
        slope = grad(force)
        matrix = len(getattr(self.diffusion, "ufl_shape", ())) == 2
        flux = dot(self.diffusion, slope) if matrix else self.diffusion * slope
        return 0.5 * density * inner(slope, flux) * vertex


cell = Cell()
"""The default mobility, an isotropic :class:`Cell`."""


@dataclass(frozen=True, eq=False)
class Upwind:
    r"""Mobility of each edge: the density of the donor, which is the end with the smaller force.

    $$ \psi^*(\rho; \xi) = \tfrac12 \sum_{ij} a_{ij} \left( \rho_i\, ((\xi_j - \xi_i)^+)^2
       + \rho_j\, ((\xi_i - \xi_j)^+)^2 \right). $$

    Where all $a_{ij} \ge 0$, implicit steps keep densities positive {cite}`cances2020`; elsewhere
    the form need not be convex. It is of first order in the width of the mesh.
    """

    def __call__(self, density: Any, force: Any) -> ufl.Form:
        r"""The form $\psi^*$ of a density and a force.

        Raises:
            ValueError: for a mesh of curved cells or of other shapes than simplices.
        """
        edges = _Edges(force)
        # A vertex gives mass to its neighbours of greater force.
        climbs = [ufl.conditional(ufl.gt(d, 0), d, 0) ** 2 for d in edges.differences(force)]
        return 0.5 * density * edges.total(climbs) * vertex


def scharfetter_gummel(rho: Any, test: Any, potential: Any, beta: Any) -> ufl.Form:
    r"""Flux form of the linear Fokker-Planck equation, by the Scharfetter-Gummel scheme.

    $$ \sum_{ij} \frac{a_{ij}}{\beta} \Big( B(\beta (V_j - V_i))\, \rho_i
       - B(\beta (V_i - V_j))\, \rho_j \Big) (\eta_i - \eta_j), \qquad B(x) = \frac{x}{e^x - 1}. $$

    It discretises $\int (\beta^{-1} \nabla \rho + \rho \nabla V) \cdot \nabla \eta$, which with
    $\langle \dot\rho, \eta \rangle$ adds up to zero. The flux of $\rho = e^{-\beta V}$ vanishes on
    every edge, however steep $V$ is. Where all $a_{ij} \ge 0$ the matrix has the signs of an
    M-matrix. The scheme is that of {cite}`scharfetter1969`, on simplices {cite}`xu1999`.

    Args:
        rho: Density, a P1 function or trial function.
        test: P1 test function $\eta$.
        potential: P1 function $V$ (interpolate other ones), $\beta |V_i - V_j| \le 1400$.
        beta: Inverse temperature, a positive number or constant.

    Raises:
        ValueError: for a mesh of curved cells or of other shapes than simplices.
    """
    edges = _Edges(potential)
    rates = [bernoulli(beta * d) for d in edges.differences(potential)]
    losses = [-d for d in edges.differences(test)]
    return rho / beta * edges.total(rates, losses) * vertex


def symmetric_scharfetter_gummel(ratio: Any, test: Any, potential: Any, beta: Any) -> ufl.Form:
    r"""The Scharfetter-Gummel form in the ratio $g$ of a density to the Gibbs weight.

    $$ \sum_{ij} \frac{a_{ij}}{\beta}\, \pi_{ij}\, (g_i - g_j)(\eta_i - \eta_j), \qquad
       g = \frac{\rho}{\pi}, \quad \pi = e^{-\beta V}, \quad
       \pi_{ij} = B(\beta (V_j - V_i))\, \pi_i = B(\beta (V_i - V_j))\, \pi_j. $$

    It equals :func:`scharfetter_gummel` of $\rho = \pi g$, and shows why that form decays: it is
    symmetric. The edge mean is $\pi_i \pi_j$ over the :func:`log_mean` of both.

    Args:
        ratio: P1 function or trial function $g$.
        test: P1 test function $\eta$.
        potential: P1 function $V$ for which $e^{-\beta V}$ does not overflow.
        beta: Inverse temperature, a positive number or constant.

    Raises:
        ValueError: for a mesh of curved cells or of other shapes than simplices.
    """
    edges = _Edges(potential)
    drops = [beta * d for d in edges.differences(potential)]
    means = [ufl.exp(-beta * potential - d / 2) * _half_over_sinh(d) for d in drops]
    slopes = zip(edges.differences(ratio), edges.differences(test), strict=True)
    # An edge is seen from both its ends.
    return 0.5 / beta * edges.total(means, [g * t for g, t in slopes]) * vertex


def bernoulli(x: Any) -> Any:
    r"""The Bernoulli function, to rounding and with its derivatives for $|x| \le 1400$.

    $$ B(x) = \frac{x}{e^x - 1}, \qquad B(-x) = e^x B(x). $$

    Args:
        x: Scalar UFL expression.
    """
    return _half_over_sinh(x) * ufl.exp(-x / 2)


def log_mean(a: Any, b: Any) -> Any:
    r"""Logarithmic mean of two positive expressions.

    $$ \Lambda(a, b) = \frac{a - b}{\ln a - \ln b}, \qquad \Lambda(a, a) = a. $$

    It makes $\Lambda(a, b)\,(\ln a - \ln b)$ the linear rate $a - b$ of a reaction
    {cite}`mielke2011`. Accurate to rounding near $a = b$ too, with its derivatives.

    Args:
        a: Positive scalar UFL expression.
        b: The same; $a/b$ must not overflow.
    """
    z = (a - b) / (a + b)
    near = ufl.lt(abs(z), 0.1)
    # ln a - ln b = 2 artanh z, by its series. Elsewhere ln(a / b) loses no digits to ln a and ln b.
    artanh = _polynomial(z**2, [1 / (2 * k + 1) for k in range(8)])
    return ufl.conditional(near, (a + b) / (2 * artanh), (a - b) / ufl.ln(a / b))


def _half_over_sinh(x: Any) -> Any:
    # (x / 2) / sinh(x / 2), even in x; unlike exp(x) - 1, sinh loses no digits near zero.
    y = x / 2
    near = ufl.lt(abs(y), 0.1)
    series = [1.0, -1 / 6, 7 / 360, -31 / 15120, 127 / 604800, -73 / 3421440]
    return ufl.conditional(near, _polynomial(y**2, series), y / ufl.sinh(y))


def _polynomial(x: Any, coefficients: Sequence[float]) -> Any:
    value: Any = 0.0
    for coefficient in reversed(coefficients):
        value = coefficient + x * value
    return value


class _Edges:
    """The edges of a cell, seen from the vertex on which the vertex rule stands.

    The rule visits all vertices, and so each edge from both its ends. What belongs to the tail of
    an edge (the density of the donor) is read there, without an error from larger values around it.
    Differences are read off gradients, in which a vertex off the edge leaves a rounding error: a
    balance is exact to rounding of the largest flux in the cell, not of each of them. The list of
    edges follows their heads, the vertices of the cell: one edge has length zero.

    Args:
        field: An expression that knows its mesh.
    """

    def __init__(self, field: Any) -> None:
        domain = ufl.domain.extract_unique_domain(field)
        if not domain.is_piecewise_linear_simplex_domain():
            raise ValueError(
                "Fluxes along edges need straight intervals, triangles or tetrahedra; use the "
                "mobility Cell on other meshes."
            )
        inverse = ufl.JacobianInverse(domain)
        self._jacobian = ufl.Jacobian(domain)
        # 1 at one vertex and 0 at the others, without error. FFCx has no ufl.CellCoordinate.
        origin = ufl.geometry.CellVertices(domain)[0, :]
        point = dot(inverse, ufl.SpatialCoordinate(domain) - origin)
        self._here = [
            ufl.conditional(ufl.gt(point[k], 0.5), 1.0, 0.0) for k in range(point.ufl_shape[0])
        ]
        self._weights = self._stiffness(inverse)

    def _stiffness(self, inverse: Any) -> list[Any]:
        """The weights, times the ``d + 1`` by which the rule divides."""
        first = 1 - sum(self._here)
        slope = ufl.as_vector([chi - first for chi in self._here])  # of the hat function here
        slope = (len(self._here) + 1) * dot(inverse, dot(inverse.T, slope))
        return [sum(slope), *(-slope[k] for k in range(len(self._here)))]

    def differences(self, field: Any) -> list[Any]:
        """Values of a P1 field at the heads of the edges, minus that at their tail."""
        slope = dot(grad(field), self._jacobian)
        heads = [slope[k] for k in range(len(self._here))]  # minus the value at the first vertex
        tail = sum(chi * head for chi, head in zip(self._here, heads, strict=True))
        return [-tail, *(head - tail for head in heads)]

    def total(self, *factors: Sequence[Any]) -> Any:
        """Sum over the edges of their weight times a factor from each list."""
        terms = []
        for product, *rest in zip(self._weights, *factors, strict=True):
            for factor in rest:
                product = product * factor
            terms.append(product)
        return sum(terms)


class EdgeWeights(NamedTuple):
    """What :func:`edge_weights` finds, equal on all ranks."""

    negative: int
    """Number of edges whose weight is negative beyond rounding."""

    total: int
    """Number of edges."""

    worst: float
    """The smallest weight over the largest modulus; ``-0.02`` is a nearly Delaunay mesh."""


def edge_weights(V: fem.FunctionSpace) -> EdgeWeights:
    r"""Count the edges with which a mesh breaks the maximum principle.

    $$ a_{ij} = - \int \nabla \varphi_i \cdot \nabla \varphi_j \ge 0 \quad \text{for all edges } ij
       \text{, inside and on the boundary}. $$

    In the plane the inner ones are those of a Delaunay mesh; meshes of generators that bear the
    name may break it at a few edges.

    Args:
        V: The scalar P1 space of the density.

    Raises:
        ValueError: on every rank, for another space or another shape of cells.
    """
    mesh = V.mesh
    p1 = basix.ufl.element("Lagrange", mesh.basix_cell(), 1, dtype=mesh.geometry.x.dtype)
    if V.ufl_element() != p1 or not mesh.ufl_domain().is_piecewise_linear_simplex_domain():
        raise ValueError(
            f"Edge weights belong to scalar P1 elements on straight simplices, not to "
            f"{V.ufl_element()}: make the space with fem.functionspace(mesh, ('Lagrange', 1))."
        )
    weights = _upper_weights(V)
    largest = mesh.comm.allreduce(np.abs(weights).max(initial=0.0), MPI.MAX)
    smallest = mesh.comm.allreduce(weights.min(initial=np.inf), MPI.MIN)
    negative = mesh.comm.allreduce(int(np.sum(weights < -1e-12 * largest)))
    return EdgeWeights(negative, mesh.comm.allreduce(weights.size), float(smallest / largest))


def _upper_weights(V: fem.FunctionSpace) -> Any:
    """Weights of the edges whose end of smaller number is owned by this rank."""
    a, b = ufl.TrialFunction(V), ufl.TestFunction(V)
    stiffness = fempetsc.assemble_matrix(compiled(inner(grad(a), grad(b)) * ufl.dx))
    stiffness.assemble()
    first, _ = stiffness.getOwnershipRange()
    starts, columns, values = stiffness.getValuesCSR()
    stiffness.destroy()
    rows = np.repeat(np.arange(starts.size - 1), np.diff(starts)) + first
    return -values[columns > rows].real
