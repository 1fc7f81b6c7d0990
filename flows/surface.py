r"""Moving surfaces: closed surfaces in space and closed curves in the plane, as P1 meshes.

The state is the immersion; the mesh moves in place. $\nu$ is the outward normal, $V$ the normal
velocity, $H = k_1 + k_2$, and the curvature vector is $\Delta_\Gamma \mathrm{id} = \kappa \nu$ with
$\kappa = -H$.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, override

from flows.energy import area, dirichlet
from flows.forms import assembled, integrate
from flows.metric import Metric
from flows.movement import GradientFlow
from flows.orientation import orientation
from flows.solver import SolveFailed

import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI
from ufl import dx, grad, inner

__all__ = ["NormalL2", "Surface", "SurfaceFlow"]

# Vertex quadrature: masses are lumped and curvature is eliminated node by node.
LUMPED = dx(metadata={"quadrature_rule": "vertex", "quadrature_degree": 1})


class Surface:
    r"""A closed surface in space, or a closed curve in the plane, whose mesh moves.

    Args:
        mesh: DOLFINx mesh of intervals in the plane or triangles in space, of degree 1; cells may
            be oriented at random, the signs are repaired here.

    Attributes:
        mesh: The mesh; its coordinates follow ``position`` at each :meth:`move`.
        position: The immersion, a P1 vector function.
        normal: Weighted vertex normals $w_i = \int \nu \varphi_i / \int \varphi_i$, not unit.
        nu: Outward normal of the cells, an UFL expression.

    Raises:
        ValueError: on every rank, for a mesh that is open, not orientable, of the wrong dimension
            or not of straight simplices.
    """

    def __init__(self, mesh: Any) -> None:
        _check_mesh(mesh)
        self.mesh = mesh
        dim = mesh.geometry.dim
        self._sign = fem.Function(fem.functionspace(mesh, ("DG", 0)), name="orientation")
        self._sign.x.array[:] = orientation(mesh)
        V = fem.functionspace(mesh, ("Lagrange", 1, (dim,)))
        Q = fem.functionspace(mesh, ("Lagrange", 1))
        self.position = fem.Function(V, name="position")
        self.normal = fem.Function(V, name="normal")
        self.curvature = fem.Function(Q, name="H")
        self._mass = fem.Function(Q)
        self.nu = self._sign * ufl.CellNormal(mesh)
        e, q = ufl.TestFunction(V), ufl.TestFunction(Q)
        self._normal_load = fem.form(inner(self.nu, e) * LUMPED)
        self._mass_load = fem.form(q * LUMPED)
        self._tension = fem.form(inner(grad(self.position), grad(e)) * dx)
        self._area = fem.form(area(mesh))
        self._volume = fem.form(inner(ufl.SpatialCoordinate(mesh), self.nu) / dim * dx)
        # Vertices of the geometry and of a P1 space are numbered apart.
        nodes = np.zeros(mesh.geometry.x.shape[0], dtype=np.int32)
        nodes[mesh.geometry.dofmaps[0].ravel()] = V.dofmap.list.ravel()
        self._nodes = nodes
        self.position.x.array.reshape(-1, dim)[nodes] = mesh.geometry.x[:, :dim]
        self.refresh()

    @property
    def area(self) -> float:
        """Area of the surface, or length of the curve."""
        return integrate(self._area)

    @property
    def volume(self) -> float:
        """Enclosed volume, or area inside a curve."""
        return integrate(self._volume)

    def move(self) -> None:
        """Put the mesh where ``position`` says."""
        dim = self.mesh.geometry.dim
        self.mesh.geometry.x[:, :dim] = self.position.x.array.reshape(-1, dim)[self._nodes]

    def refresh(self) -> None:
        """Normals and lumped masses of the present mesh."""
        dim = self.mesh.geometry.dim
        self._mass.x.array[:] = assembled(self._mass_load, self._mass.function_space)
        load = assembled(self._normal_load, self.normal.function_space)
        load.reshape(-1, dim)[:] /= self._mass.x.array[:, None]
        self.normal.x.array[:] = load

    def find_curvature(self) -> fem.Function:
        r"""Mean curvature at the vertices, $H_i = w_i \cdot (AX)_i / m_i$, positive on a sphere."""
        force = assembled(self._tension, self.position.function_space)
        self._set_curvature(force, self._mass.x.array)
        return self.curvature

    def _set_curvature(self, force: Any, scale: Any) -> None:
        w = self.normal.x.array
        dim = self.mesh.geometry.dim
        self.curvature.x.array[:] = (w * force).reshape(-1, dim).sum(axis=1) / scale

    def cell_normals(self) -> Any:
        """Area vectors of the local cells, in the order of their vertices."""
        corners = self.mesh.geometry.x[self.mesh.geometry.dofmaps[0]]
        edges = corners[:, 1:] - corners[:, :1]
        if edges.shape[1] == 1:
            return edges[:, 0, [1, 0]] * [-1.0, 1.0]
        return np.cross(edges[:, 0], edges[:, 1])


@dataclass(frozen=True, eq=False)
class NormalL2(Metric):
    r"""The $L^2$ metric of normal velocities on a P1 surface; tangential motion is free.

    $$ \psi(V) = \tfrac12 \sum_i m_i (V_i \cdot w_i)^2 $$

    With it the Dirichlet energy of the immersion, which is the area at the identity, gives the
    scheme of {cite}`barrett2008` with the curvature eliminated: nodes slide so that the mesh stays
    good.

    Args:
        surface: The surface; its normals are those of the old surface in a step.
    """

    surface: Surface
    primal = True

    @override
    def psi(self, rate: Any, state: Any) -> ufl.Form:
        return 0.5 * inner(rate, self.surface.normal) ** 2 * LUMPED

    @override
    def psi_star(self, force: Any, state: Any) -> ufl.Form:
        raise ValueError("NormalL2 cannot be added to another metric: tangential rates are free.")


class SurfaceFlow(GradientFlow):
    r"""The flow of the area of a surface, by minimizing movements of its immersion.

    $$ X_{k+1} = \operatorname*{argmin}_X\; \tfrac12 \int_{\Gamma_k} |\nabla X|^2
       + \frac{1}{2\tau} d(X, \mathrm{id})^2. $$

    Up to a constant, the model energy lies above the area (length) of the new surface (curve) and
    equals it at the identity, so the certificate holds for it: $A_{k+1} + d^2/(2\tau) \le A_k$.

    Args:
        mesh: A closed triangulated surface or a closed polygon.
        metric: Maps the :class:`Surface` to a metric of its velocities.
        petsc_options: Options of the solver, without prefix.
        name: Name of the flow, and prefix of its PETSc options.
    """

    moving = True

    def __init__(
        self,
        mesh: Any,
        metric: Any = NormalL2,
        *,
        petsc_options: Mapping[str, Any] | None = None,
        name: str = "surface",
    ) -> None:
        self.surface = Surface(mesh)
        X = self.surface.position
        super().__init__(
            dirichlet(X), X, metric(self.surface), petsc_options=petsc_options, name=name
        )
        self._energy = self.surface._area
        self.surface.find_curvature()

    @property
    def fields(self) -> tuple[fem.Function, ...]:
        """The mean curvature ``H``; the mesh itself shows the state."""
        return (self.surface.curvature,)

    def settle(self) -> None:
        """Move the mesh to the state, and take its normals."""
        self.surface.move()
        self.surface.refresh()

    @override
    def restore(self, snapshot: Mapping[str, Any]) -> None:
        super().restore(snapshot)
        self.settle()
        self.surface.find_curvature()

    def energy(self) -> float:
        """Area of the surface, or length of the curve."""
        self.surface.move()
        return self.surface.area

    def _commit(self) -> None:
        """Move the mesh to the new state, if no cell turns over or vanishes."""
        before = self.surface.cell_normals()
        displacement = self._step.old[0].x.array - self.states[0].x.array
        self.surface._set_curvature(displacement, self._step.tau.value)
        self.surface.move()
        after = self.surface.cell_normals()
        turned = int(np.count_nonzero((before * after).sum(axis=1) <= 0))
        if self.mesh.comm.allreduce(turned, MPI.SUM):
            raise SolveFailed("a cell of the surface turns over: a neck or a hole may be closing")

    def _judge(self, defect: float, allowed: float, before: float, after: float) -> None:
        if after < 0.5 * before:
            raise SolveFailed(f"the surface shrinks away, area {before:.3g} -> {after:.3g}")
        super()._judge(defect, allowed, before, after)

    def _slack(self) -> float:
        return 0.0  # the residual belongs to the old surface, which is gone


def _check_mesh(mesh: Any) -> None:
    cell, degree = mesh.topology.cell_name(), mesh.geometry.cmaps[0].degree
    if (cell, mesh.geometry.dim) not in {("triangle", 3), ("interval", 2)} or degree != 1:
        raise ValueError(
            "A moving surface needs a mesh of straight triangles in space or of straight intervals "
            f"in the plane; got cells '{cell}' of degree {degree} in dimension {mesh.geometry.dim}."
        )
