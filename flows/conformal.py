r"""Conformal metrics on a closed surface: their curvature, their area, and the flow of Ricci.

On a surface $\Gamma$ with the metric $g_0$ of space, $g = e^{2u} g_0$ has the Gauss curvature
$K = e^{-2u} (K_0 - \Delta u)$. A surface of flat triangles is bent at its nodes alone, where angles
$\theta$ meet, so $K_0$ is known by its integrals, the defects

$$ \int K_0\, \varphi_i = 2\pi - \sum \theta, \qquad
   \int K\, \varphi_i\, e^{2u} = 2\pi - \sum \theta + \int \nabla u \cdot \nabla \varphi_i, $$

which add up to $2\pi\chi$ for every $u$: the theorem of Gauss and Bonnet is exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, override

from flows import energy
from flows.components import components
from flows.constraint import Constraint
from flows.forms import VERTEX, assembled, compiled, integrate
from flows.metric import L2
from flows.movement import GradientFlow
from flows.orientation import closed, orientation
from flows.restricted import Restricted

import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem
from dolfinx.la import InsertMode

__all__ = ["ConformalArea", "RicciFlow", "angle_defects"]

RULE = {"quadrature_degree": 2}
"""Exact for products of shape functions. The vertex rule would make the flow of a sphere unstable:
it moves the conformal maps of the sphere onto itself, which cost nothing, below zero."""


@dataclass(frozen=True, eq=False)
class ConformalArea(Constraint):
    r"""The area of a conformal metric is kept: $\int e^{2u}$."""

    @override
    def functional(self, states: Sequence[fem.Function]) -> ufl.Form:
        (u,) = states
        return ufl.exp(2 * u) * ufl.dx(metadata=RULE)


class RicciFlow(GradientFlow):
    r"""Ricci flow of a surface: the Liouville energy in the $L^2$ metric of $e^{2u} g_0$.

    $$ \dot u = \bar K - K, \qquad \bar K = \frac{2\pi\chi}{A} $$

    A step is a minimizing movement that keeps the area,

    $$ u_{k+1} = \operatorname*{argmin}_u\; \int \tfrac12 |\nabla u|^2 + K_0 u
       + \frac{1}{2\tau} \int e^{2u_k} (u - u_k)^2 \quad\text{with}\quad \int e^{2u} = A, $$

    whatever the sign of $\chi$: on a sphere the energy is bounded below on metrics of one area
    {cite}`onofri1982`, though it is not convex. There the conformal maps of the sphere onto itself
    cost nothing: the curvature has a limit, the metric finds it slowly. On a mesh they cost a
    little, of the order of $h^2$, so that the last $h^2$ of the spread of $K$ is lost in times of
    the order of $h^{-2}$: let the steps grow, with ``flows.Relax(1.0, growth=4)``.

    Args:
        mesh: A closed, connected surface of flat triangles with two sides; a flat torus, too
            (``flows.mesh.rectangle(periodic=True)``). It stays as it is.
        petsc_options: Options of the solver, without prefix.
        name: Name of the flow, and prefix of its PETSc options.

    Attributes:
        euler: Euler characteristic $\chi$ of the surface.

    Raises:
        ValueError: on every rank, for another mesh.
    """

    def __init__(
        self,
        mesh: Any,
        *,
        petsc_options: Mapping[str, Any] | None = None,
        name: str = "ricci",
    ) -> None:
        _check_mesh(mesh)
        V = fem.functionspace(mesh, ("Lagrange", 1))
        u, v = fem.Function(V, name="u"), ufl.TestFunction(V)
        self._owned = V.dofmap.index_map.size_local
        self._defects, self._curvature = angle_defects(V), fem.Function(V, name="K")
        self.euler = round(mesh.comm.allreduce(self._defects[: self._owned].sum()) / (2 * np.pi))
        bend = fem.Function(V, name="K0")
        bend.x.array[:] = self._defects / assembled(compiled(v * ufl.dx(metadata=VERTEX)), V)
        self._area = compiled(ConformalArea().functional([u]))
        self._weights = compiled(ufl.exp(2 * u) * v * ufl.dx(metadata=RULE))
        super().__init__(
            energy.liouville(u, bend),
            u,
            L2(ufl.exp(2 * u), ufl.dx(metadata=RULE)),
            constraints=[ConformalArea()],
            petsc_options=petsc_options,
            name=name,
        )
        self._force = compiled(ufl.derivative(self.functional, u))
        self._multiplier.value = -np.pi * self.euler / self.area

    @override
    def _make_solver(self, coordinates: Any, densities: bool, options: Any) -> Restricted:
        return Restricted(self._step, prefix=f"{self.name}_", options=options)

    @property
    def _multiplier(self) -> fem.Constant:
        return self._step.kept.multipliers[0]

    @property
    def area(self) -> float:
        """Area of the present metric."""
        return integrate(self._area)

    @property
    def curvature(self) -> fem.Function:
        """Gauss curvature of the present metric at the nodes; found when it is asked for."""
        V = self._curvature.function_space
        self._curvature.x.array[:] = assembled(self._force, V) / assembled(self._weights, V)
        return self._curvature

    @override
    @property
    def fields(self) -> tuple[fem.Function, ...]:
        return (*self.states, self.curvature)

    @override
    def _check_energy(self, energy: float) -> None:
        super()._check_energy(energy)
        # Its terms cancel near a round sphere: rounding goes by their size.
        local = np.abs(self._defects) * (1 + np.abs(self.states[0].x.array))
        size = self.mesh.comm.allreduce(float(local[: self._owned].sum()))
        self._scale = max(self._scale, 4 * size)

    @override
    def _commit(self) -> None:
        # Newton's method keeps the area to its tolerance, a constant added to u to rounding.
        kept = self._step.kept
        before = float(kept._values[0])
        self.states[0].x.array[:] += 0.5 * np.log(before / (before + kept.gaps()[0]))

    @override
    def memory(self) -> dict[str, Any]:
        return super().memory() | {"multiplier": float(self._multiplier.value)}

    @override
    def restore(self, snapshot: Mapping[str, Any]) -> None:
        super().restore(snapshot)
        self._multiplier.value = float(snapshot["multiplier"])


def angle_defects(V: fem.FunctionSpace) -> npt.NDArray[np.float64]:
    r"""What the angles at each node lack to a full turn: $2\pi - \sum \theta$.

    Args:
        V: P1 functions on a closed surface of flat triangles; collective.

    Returns:
        One angle for each local node, ghosts included.
    """
    mesh, nodes = V.mesh, V.dofmap.index_map
    cells = mesh.topology.index_map(2).size_local
    x = mesh.geometry.x[mesh.geometry.dofmaps[0][:cells]]
    a, b = (np.roll(x, shift, axis=1) - x for shift in (-1, 1))
    sines, cosines = np.linalg.norm(np.cross(a, b), axis=2), np.sum(a * b, axis=2)
    defects = fem.create_vector(V)
    np.subtract.at(defects.array, V.dofmap.list[:cells], np.arctan2(sines, cosines))
    defects.scatter_reverse(InsertMode.add)
    defects.array[: nodes.size_local] += 2 * np.pi
    defects.scatter_forward()
    return np.array(defects.array)


def _check_mesh(mesh: Any) -> None:
    kind, degree = mesh.topology.cell_name(), mesh.geometry.cmaps[0].degree
    if kind != "triangle" or degree != 1:
        raise ValueError(
            "Ricci flow needs a closed surface of flat triangles; got cells "
            f"'{kind}' of degree {degree} in dimension {mesh.geometry.dim}."
        )
    if mesh.geometry.dim == 3:
        orientation(mesh)  # refuses what is open, branches, or has only one side
    elif not closed(mesh):
        raise ValueError(
            "Ricci flow needs a surface without boundary: one in space, or a rectangle that is "
            "periodic in both directions."
        )
    count = components(mesh)[1]
    if count != 1:
        raise ValueError(
            f"Ricci flow needs one surface, this mesh has {count} components: their areas would be "
            "kept together, and their curvatures differ; make a flow for each."
        )
