r"""Moving surfaces: triangulated surfaces in space and polygons in the plane, straight or curved.

The state is the immersion; the mesh moves in place. $\nu$ is the outward normal, $V$ the normal
velocity, $H = k_1 + k_2$, and the curvature vector is $\Delta_\Gamma \mathrm{id} = \kappa \nu$ with
$\kappa = -H$.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flows.energy import area
from flows.flat import FlatCells
from flows.forms import VERTEX, assembled, compiled, integrate
from flows.kernels import Kernels
from flows.matrix import Matrix
from flows.orientation import closed, orientation

import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem
from mpi4py import MPI
from petsc4py import PETSc
from ufl import dx, grad, inner

__all__ = ["LUMPED", "Projection", "Quality", "Surface", "normal_of", "tangents"]

LUMPED = dx(metadata=VERTEX)
"""Vertex quadrature: masses are lumped and curvature is eliminated node by node."""

type Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Quality:
    """How good the cells of a surface are, judged by their corners.

    Attributes:
        angle: Smallest angle of a triangle in degrees; not a number for a curve.
        ratio: Largest area (length) of a cell over the smallest.
    """

    angle: float
    ratio: float


class Surface:
    r"""A surface in space, or a curve in the plane, whose mesh moves.

    Args:
        mesh: DOLFINx mesh of intervals in the plane or triangles in space, of degree 1 or 2; cells
            may be oriented at random, the signs are repaired here.
        open: Whether the surface may have a boundary.

    Attributes:
        mesh: The mesh; its coordinates follow ``position`` at each :meth:`move`.
        degree: Degree of the mesh, 1 or 2.
        closed: Whether the surface has no boundary.
        position: The immersion, a Lagrange vector function of that degree.
        normal: Normals at the nodes. Degree 1: weighted by areas,
            $w_i = \int \nu \varphi_i / \int \varphi_i$, not unit. Degree 2: unit, along the $L^2$
            projection of $\nu$.
        nu: Outward normal of the cells, an UFL expression.
        sign: Turns DOLFINx's normal of each cell outward.
        cells: Measures of the cells of degree 1; ``None`` for degree 2.
        curvature: Mean curvature $H$ at the nodes, as the flow last found it.
        mirrored: Entries of the normals that vanish, because the surface goes on by reflection.
        flux: Weights $a$ of the field $a_i (x_i - c_i)$ of divergence 1 whose flux is the volume;
            :func:`flows.boundary.reflect` chooses it for surfaces with an edge.
        centre: The point $c$ of that field.

    Raises:
        ValueError: on every rank, for a mesh that is open where it must not be, not orientable, of
            the wrong dimension or not of simplices.
    """

    def __init__(self, mesh: Any, *, open: bool = False) -> None:
        _check_mesh(mesh)
        self.mesh = mesh
        self.degree = int(mesh.geometry.cmaps[0].degree)
        dim = mesh.geometry.dim
        self.sign = fem.Function(fem.functionspace(mesh, ("DG", 0)), name="orientation")
        self.sign.x.array[:] = orientation(mesh, open=open)
        self.closed = not open or closed(mesh)
        V = fem.functionspace(mesh, ("Lagrange", self.degree, (dim,)))
        Q = fem.functionspace(mesh, ("Lagrange", self.degree))
        self.position = fem.Function(V, name="position")
        self.normal = fem.Function(V, name="normal")
        self.curvature = fem.Function(Q, name="H")
        self.nu = self.sign * ufl.CellNormal(mesh)
        lumps = self.degree == 1
        # Curved cells: degree 4 is exact enough for the geometry, volumes want 6.
        rule, fine = ({}, {}) if lumps else ({"quadrature_degree": 4}, {"quadrature_degree": 6})
        e = ufl.TestFunction(V)
        self._normal_load = None if lumps else compiled(inner(self.nu, e) * dx(metadata=rule))
        tension = inner(grad(self.position), grad(e)) * dx(metadata=rule)
        self._tension = None if lumps else compiled(tension)
        self.mass = fem.Function(Q, name="mass")
        self._kernels = Kernels(mesh.comm, "surface.c")
        self.cells = FlatCells(Q, self.sign.x.array) if lumps else None
        self.projection = None if lumps else Projection(Q)
        self._area = None if lumps else compiled(area(mesh, metadata=rule))
        self.mirrored: npt.NDArray[np.int32] = np.zeros(0, dtype=np.int32)
        self.flux = fem.Constant(mesh, np.full(dim, 1 / dim))
        self.centre = fem.Constant(mesh, np.zeros(dim))
        self._volume = compiled(
            inner(self.moment(ufl.SpatialCoordinate(mesh)), self.nu) * dx(metadata=fine)
        )
        # Nodes of the geometry and of a Lagrange space are numbered apart.
        nodes = np.zeros(mesh.geometry.x.shape[0], dtype=np.int32)
        nodes[mesh.geometry.dofmaps[0].ravel()] = V.dofmap.list.ravel()
        self._nodes = nodes
        self.position.x.array.reshape(-1, dim)[nodes] = mesh.geometry.x[:, :dim]
        self._moved = self.position.x.array.copy()
        self.refresh()

    @property
    def area(self) -> float:
        """Area of the surface, or length of the curve."""
        if self.cells is None:
            return integrate(self._area)
        return float(self.mesh.comm.allreduce(self.cells.measure().size))

    @property
    def volume(self) -> float:
        """Enclosed volume, or area inside a curve."""
        return integrate(self._volume)

    def moment(self, x: Any) -> Any:
        """The field of divergence 1 whose flux through the surface is the volume."""
        return ufl.as_vector([a * (x[i] - self.centre[i]) for i, a in enumerate(self.flux)])

    @property
    def owned(self) -> int:
        """Number of nodes that this rank owns; they come first."""
        return int(self.position.function_space.dofmap.index_map.size_local)

    def move(self) -> None:
        """Put the mesh where ``position`` says."""
        position, geometry = self.position.x.array, self.mesh.geometry
        if self._kernels("same", position.size, position, self._moved):
            return
        self._moved[:] = position
        order = self._nodes
        self._kernels("carry", order.size, geometry.dim, order, position, geometry.x)

    def refresh(self) -> None:
        """Normals and lumped masses of the present mesh."""
        dim = self.mesh.geometry.dim
        if self.cells is not None:
            sums = self.cells.measure().at_nodes()
            self.cells.kernels(
                "weigh", len(sums), dim, sums, self.mass.x.array, self.normal.x.array
            )
            self.normal.x.array[self.mirrored] = 0.0
            return
        assert self.projection is not None
        self.projection.refresh()
        load = assembled(self._normal_load, self.normal.function_space).reshape(-1, dim)
        normal = self.projection.solve(load)
        normal.ravel()[self.mirrored] = 0.0
        normal /= np.linalg.norm(normal, axis=1)[:, None]
        self.normal.x.array[:] = normal.ravel()

    def find_curvature(self) -> fem.Function:
        r"""Mean curvature at the nodes from $\int H w \cdot \eta = \int \nabla X : \nabla \eta$.

        By the vertex rule on degree 1: $H_i = w_i \cdot (AX)_i / m_i$; positive on a sphere.
        """
        dim, X = self.mesh.geometry.dim, self.position
        if self.cells is not None:
            self.set_curvature(self.cells.measure().forces(X.x.array), self.mass.x.array)
        elif self.projection is not None:
            force = assembled(self._tension, X.function_space)
            self.set_curvature(self.projection.solve(force.reshape(-1, dim)).ravel(), 1.0)
        return self.curvature

    def set_curvature(self, force: Any, scale: Any) -> None:
        """Take the normal part of a nodal vector, divided by a scale, as the mean curvature."""
        shape = -1, self.mesh.geometry.dim
        normal, force = self.normal.x.array.reshape(shape), np.reshape(force, shape)
        np.divide(np.einsum("ij,ij->i", normal, force), scale, out=self.curvature.x.array)

    def corners(self) -> Floats:
        """Corners of the local cells, shape (cells, 2 or 3, 3)."""
        count = self.mesh.topology.dim + 1
        x, nodes = self.mesh.geometry.x, self.mesh.geometry.dofmaps[0]
        return np.asarray(x[nodes[:, :count]])

    def cell_normals(self) -> Floats:
        """Area vectors of the local cells between their corners, in the order of DOLFINx."""
        corners = self.corners()
        edges = corners[:, 1:] - corners[:, :1]
        if edges.shape[1] == 1:
            return np.asarray(edges[:, 0, [1, 0]] * [-1.0, 1.0])
        return np.cross(edges[:, 0], edges[:, 1]) / 2

    def quality(self) -> Quality:
        """Shape of the cells, equal on all ranks."""
        corners, comm = self.corners(), self.mesh.comm
        sizes = np.linalg.norm(self.cell_normals(), axis=-1)
        least = comm.allreduce(float(sizes.min(initial=np.inf)), MPI.MIN)
        most = comm.allreduce(float(sizes.max(initial=0.0)), MPI.MAX)
        angle = np.nan
        if corners.shape[1] == 3:
            sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)
            # twice the area over the product of two sides is the sine of the angle between them,
            # and the smallest angle lies between the two longest sides
            ordered = np.sort(sides, axis=1)
            product = np.maximum(ordered[:, 1] * ordered[:, 2], 1e-300)
            sine = float(np.clip(2 * sizes / product, 0, 1).min(initial=1.0))
            angle = float(np.degrees(np.arcsin(comm.allreduce(sine, MPI.MIN))))
        return Quality(angle, most / max(least, 1e-300))


class Projection:
    """The $L^2$ projection on a scalar Lagrange space of a mesh that moves.

    Args:
        Q: The space.
    """

    def __init__(self, Q: fem.FunctionSpace) -> None:
        p, q = ufl.TrialFunction(Q), ufl.TestFunction(Q)
        self._Q = Q
        # The rule of the bending energy: its dual variable is this projection, exactly.
        rule = {"quadrature_degree": 2 * Q.element.basix_element.degree}
        self._matrix = Matrix(compiled(inner(p, q) * dx(metadata=rule)))
        self._work = fem.Function(Q)
        A = self._matrix.petsc
        self._b, self._x = A.createVecs()
        self._ksp = PETSc.KSP().create(Q.mesh.comm)
        self._ksp.setType("cg")
        self._ksp.pc.setType("jacobi")
        self._ksp.setTolerances(rtol=1e-13, max_it=500)
        self._ksp.setOperators(A)

    def refresh(self) -> None:
        """Take the mass of the present mesh."""
        self._matrix.assemble()

    def solve(self, load: Floats) -> Floats:
        """Nodal values, ghosts included, of the projections with the given loads.

        Args:
            load: Integrals against the shape functions, shape (local nodes, k).
        """
        values = np.empty_like(load)
        n = self._Q.dofmap.index_map.size_local
        for k in range(load.shape[1]):
            self._b.array[:] = load[:n, k]
            self._ksp.solve(self._b, self._x)
            self._work.x.array[:n] = self._x.array_r
            self._work.x.scatter_forward()
            values[:, k] = self._work.x.array
        return values


def tangents(mesh: Any, X: Any) -> list[Any]:
    r"""Derivatives $\partial_a X$ of a vector field in the reference coordinates of each cell."""
    J = ufl.Jacobian(mesh)
    return [ufl.dot(grad(X), J[:, a]) for a in range(mesh.topology.dim)]


def normal_of(columns: Sequence[Any]) -> Any:
    r"""Normal with the length of the area element, $X_1 \times X_2$ or $(-X_1^y, X_1^x)$."""
    if len(columns) == 1:
        return ufl.as_vector([-columns[0][1], columns[0][0]])
    return ufl.cross(*columns)


def _check_mesh(mesh: Any) -> None:
    cell, degree = mesh.topology.cell_name(), mesh.geometry.cmaps[0].degree
    if (cell, mesh.geometry.dim) not in {("triangle", 3), ("interval", 2)} or degree > 2:
        raise ValueError(
            "A moving surface needs a mesh of triangles in space or of intervals in the plane, of "
            f"degree 1 or 2; got cells '{cell}' of degree {degree} in dimension "
            f"{mesh.geometry.dim}."
        )
