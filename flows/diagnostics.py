r"""What a density tells while it flows: mass, moments, entropy, dissipation.

Columns for a :class:`flows.Recorder`, as scalar forms or as functions of the flow. A density is a
function of P1 elements; integrals of nodal values use the vertex rule of the lumped schemes, so
that these numbers are the ones the schemes conserve, lower or dissipate. They are equal on all
ranks. Distances between two densities are in :mod:`flows.transport`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from flows.forms import VERTEX, compiled, integrate
from flows.periodic import refuse

import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem
from dolfinx.la import InsertMode
from mpi4py import MPI

__all__ = [
    "covariance",
    "dissipation",
    "excess",
    "fisher_information",
    "gibbs",
    "mass",
    "maximum",
    "mean",
    "minimum",
    "moments",
    "relative_entropy",
]

type Column = Callable[[Any], float]
type Floats = npt.NDArray[np.float64]

LUMPED = ufl.dx(metadata=VERTEX)
FLOOR = 1e-300
"""Logarithms are taken of this number where a density is smaller: its logarithm is -691."""
SERIES = (1, -1 / 3, 1 / 6, -1 / 10, 1 / 15, -1 / 21)
"""Of $2 ((1 + d) \\log(1 + d) - d) / d^2$ about zero."""


# -- the density itself ----------------------------------------------------------------------------
def mass(rho: fem.Function) -> ufl.Form:
    r"""Mass of a density.

    $$ m = \int \rho. $$

    Args:
        rho: The density, in mass per volume.
    """
    return rho * LUMPED


def minimum(rho: fem.Function) -> Column:
    r"""Smallest nodal value of a density: below zero, positivity is lost.

    $$ \min_i \rho_i. $$

    Args:
        rho: The density.

    Returns:
        A function of the flow, whatever the flow.
    """
    return lambda _: _extreme(rho, -1)


def maximum(rho: fem.Function) -> Column:
    r"""Largest nodal value of a density.

    $$ \max_i \rho_i. $$

    Args:
        rho: The density.

    Returns:
        A function of the flow, whatever the flow.
    """
    return lambda _: _extreme(rho, 1)


def _extreme(u: fem.Function, sign: int) -> float:
    dofs = u.function_space.dofmap
    own = sign * u.x.array[: dofs.index_map.size_local * dofs.bs]
    top = np.array(own.max(initial=-math.inf))
    # Every rank brings its value: a NaN must win, which a reduction of ordered values forgets.
    return sign * float(np.max(u.function_space.mesh.comm.allgather(top)))


def mean(rho: fem.Function, i: int) -> Column:
    r"""Coordinate of the centre of mass.

    $$ \bar x_i = \frac{\int x_i\, \rho}{\int \rho}. $$

    Args:
        rho: The density.
        i: Number of the coordinate, from 0.

    Returns:
        A function of the flow, whatever the flow; not a number without mass.

    Raises:
        ValueError: on every rank, for a coordinate that the mesh does not have.
    """
    (i,), measure = _axes(rho, i), _measure(rho)
    return lambda _: float(_moments(*measure())[0][i])


def covariance(rho: fem.Function, i: int, j: int) -> Column:
    r"""Entry of the covariance matrix of a density.

    $$ C_{ij} = \frac{\int (x_i - \bar x_i) (x_j - \bar x_j)\, \rho}{\int \rho}. $$

    Args:
        rho: The density.
        i: Number of one coordinate, from 0.
        j: Number of the other coordinate.

    Returns:
        A function of the flow, whatever the flow; not a number without mass.

    Raises:
        ValueError: on every rank, for a coordinate that the mesh does not have.
    """
    (i, j), measure = _axes(rho, i, j), _measure(rho)
    return lambda _: float(_moments(*measure())[1][i, j])


def moments(rho: fem.Function) -> tuple[Floats, Floats]:
    r"""Centre of mass and covariance matrix of a density.

    $$ \bar x = \frac{\int x\, \rho}{\int \rho}, \qquad
       C = \frac{\int (x - \bar x) (x - \bar x)^T \rho}{\int \rho}. $$

    Args:
        rho: The density.

    Returns:
        The centre, of shape (gdim,), and the matrix, of shape (gdim, gdim); not numbers without
        mass.
    """
    return _moments(*_measure(rho)())


def _axes(rho: fem.Function, *axes: int) -> tuple[int, ...]:
    gdim = rho.function_space.mesh.geometry.dim
    if not all(axis in range(gdim) for axis in axes):
        raise ValueError(f"{axes}: the coordinates of this mesh are numbered from 0 to {gdim - 1}.")
    return axes


def _measure(rho: fem.Function) -> Callable[[], tuple[MPI.Comm, Floats, Floats]]:
    """What finds the masses at the local nodes and where they sit, on a mesh that may move."""
    V = rho.function_space
    refuse(V.mesh, "Densities have no centre")
    form = compiled(rho * ufl.TestFunction(V) * LUMPED)
    own, gdim = V.dofmap.index_map.size_local, V.mesh.geometry.dim

    def measure() -> tuple[MPI.Comm, Floats, Floats]:
        b = fem.assemble_vector(form)
        b.scatter_reverse(InsertMode.add)
        return V.mesh.comm, b.array[:own], V.tabulate_dof_coordinates()[:own, :gdim]

    return measure


def _moments(comm: MPI.Comm, masses: Floats, x: Floats) -> tuple[Floats, Floats]:
    total = comm.allreduce(masses.sum()) or math.nan
    centre = comm.allreduce(masses @ x) / total
    # About the centre: far from the origin, the difference of raw moments would cancel.
    off = x - centre
    return centre, comm.allreduce((masses * off.T) @ off) / total


# -- distance from equilibrium ---------------------------------------------------------------------
def gibbs(
    space: fem.FunctionSpace, potential: Any, beta: float = 1.0, mass: float = 1.0
) -> fem.Function:
    r"""The Gibbs state of a potential: where Fokker-Planck comes to rest.

    $$ \rho_\infty = \frac{m}{Z} e^{-\beta V}, \qquad Z = \int e^{-\beta V}, $$

    at the nodes, with the lumped mass $m$: the minimiser of
    $\int V \rho + \beta^{-1} \rho \log \rho$ by the vertex rule among all densities of that mass
    {cite}`jordan1998`.

    Args:
        space: The space of the density.
        potential: $V$, in units of energy: a UFL expression, a function, a number, or a function of
            the coordinates, of shape (3, n). Where it is infinite, the density is zero; elsewhere
            $e^{-\beta (V - \min V)}$ stops at $10^{-300}$, above zero.
        beta: Inverse temperature, in units of one over energy.
        mass: The mass $m$.

    Raises:
        ValueError: on every rank, for a potential that is nowhere finite or not bounded below, or
            for ``beta`` or ``mass`` that are not positive and finite.
    """
    for name, value in {"beta": beta, "mass": mass}.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} = {value!r}: give a positive, finite number.")
    rho = fem.Function(space, name="gibbs")
    rho.interpolate(_nodal(space, potential))
    bottom = _extreme(rho, -1)
    if not math.isfinite(bottom):
        raise ValueError(f"The least value of the potential is {bottom}: no Gibbs state has it.")
    # Less its minimum, exp does not overflow; floored, it leaves relative entropies finite.
    low = -beta * (rho.x.array - bottom)
    rho.x.array[:] = np.where(low > -math.inf, np.exp(np.maximum(low, math.log(FLOOR))), 0)
    rho.x.array[:] *= mass / integrate(compiled(rho * LUMPED))
    return rho


def _nodal(space: fem.FunctionSpace, given: Any) -> Any:
    """What ``interpolate`` takes. UFL expressions are callable too: they come first."""
    if callable(given) and not isinstance(given, ufl.core.expr.Expr):
        return given
    if not isinstance(given, ufl.core.expr.Expr):
        given = fem.Constant(space.mesh, float(given))
    return fem.Expression(given, space.element.interpolation_points)


def relative_entropy(rho: fem.Function, reference: Any) -> ufl.Form:
    r"""Relative entropy (Kullback-Leibler divergence) of a density.

    $$ H(\rho \,|\, \pi) = \int \rho \log\frac{\rho}{\pi} - \rho + \pi. $$

    For the Gibbs state of a potential and the mass of $\rho$ it is $\beta (F - F_\infty)$ by the
    same rule, without cancellation: near equilibrium it keeps all its digits
    {cite}`jordan1998`.

    Args:
        rho: The density; values up to zero count as zero.
        reference: The density $\pi$, a function or UFL expression; where it is zero and ``rho`` is
            not, the entropy is infinite.
    """
    pi = ufl.as_ufl(reference)
    # The quotient of the density and the reference overflows in tails, that of logarithms does not.
    log = ufl.ln(ufl.max_value(rho, FLOOR)) - ufl.ln(pi)
    far = ufl.conditional(ufl.gt(rho, 0), rho * log, 0) - rho + pi
    d = (rho - pi) / pi
    series = 0
    for c in reversed(SERIES):
        series = c + d * series
    near = 0.5 * d * (rho - pi) * series
    return ufl.conditional(ufl.lt(abs(d), 0.01), near, far) * LUMPED


def fisher_information(rho: fem.Function, reference: Any) -> Column:
    r"""Relative Fisher information: the rate at which Fokker-Planck loses relative entropy.

    $$ I(\rho \,|\, \pi) = \int \rho\, \Big|\nabla \log\frac{\rho}{\pi}\Big|^2
       = \sum_K |K|\, \bar\rho_K\, |\nabla \phi|_K^2, \qquad
       \phi_i = \log\frac{\rho_i}{\pi_i}, $$

    with the mean $\bar\rho_K$ of the vertex values of a simplex: for $\beta = 1$ what the Onsager
    operator of the lumped scheme dissipates in the force $-\phi$ {cite}`otto2001`. Beside a
    vacuum it is infinite; here it is large, since logarithms stop at $10^{-300}$.

    Args:
        rho: The density, of P1 elements.
        reference: The density $\pi$, a function or UFL expression.

    Returns:
        A function of the flow, whatever the flow.

    Raises:
        ValueError: on every rank, if ``rho`` is not a scalar function of P1 elements.
    """
    V = _p1(rho)
    phi = fem.Function(V)
    pi = ufl.max_value(reference, FLOOR)
    force = fem.Expression(
        ufl.ln(ufl.max_value(rho, FLOOR)) - ufl.ln(pi), V.element.interpolation_points
    )
    form = compiled(rho * ufl.inner(ufl.grad(phi), ufl.grad(phi)) * LUMPED)

    def measure(_: Any) -> float:
        phi.interpolate(force)
        return integrate(form)

    return measure


def _p1(rho: fem.Function) -> fem.FunctionSpace:
    element = rho.function_space.ufl_element()
    if rho.ufl_shape != () or (element.family_name, element.degree) != ("P", 1):
        raise ValueError(f"{rho} is of {element}: give a scalar function of P1 elements.")
    return rho.function_space


def dissipation(flow: Any) -> float:
    r"""The dissipation of the last step, per unit time.

    $$ \frac{d(u_{k+1}, u_k)^2}{\tau^2} \approx -\frac{dE}{dt}. $$

    Args:
        flow: The flow.

    Returns:
        Energy per time; not a number before the first step.
    """
    return math.nan if flow.report is None else 2 * flow.report.movement / flow.report.tau


def excess(reference_energy: float) -> Column:
    r"""The energy of a flow above that of equilibrium.

    $$ F - F_\infty. $$

    Args:
        reference_energy: $F_\infty$, in units of energy.

    Returns:
        A function of the flow.
    """
    return lambda flow: float(flow.energy()) - reference_energy
