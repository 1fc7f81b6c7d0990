r"""Tangential slip: nodes slide along the surface so that its cells become equilateral.

The shape of a surface says nothing of where its nodes are. A flow that moves them along the
normals alone crowds them where the surface shrinks; one bounded slip before each step spreads them
again, and changes the shape only by what the cells cannot resolve.
"""

from __future__ import annotations

from typing import Any

from flows.forms import assembled, compiled
from flows.matrix import Matrix
from flows.surface import LUMPED, Surface, tangents

import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem
from dolfinx.mesh import exterior_facet_indices
from mpi4py import MPI
from petsc4py import PETSc
from ufl import dx, inner

__all__ = ["Slip"]

RULE = {"quadrature_degree": 4}

type Floats = npt.NDArray[np.float64]


class Slip:
    r"""One bounded Newton step towards equilateral cells, tangential to the surface.

    $$ \Phi(X) = \sum_K \int_{\hat K} Z^2, \qquad
       Z = X_1 \cdot X_1 - X_1 \cdot X_2 + X_2 \cdot X_2 $$

    with the derivatives $X_a$ of the corners in the reference cell: $Z$ is the Dirichlet energy of
    the map from an equilateral triangle. Its square is convex and, unlike $Z$ itself, not invariant
    under conformal maps, which would gather all nodes of a sphere at one place. On curves
    $Z = |X_1|^2$. Vertices move in their tangent planes; the midside nodes of curved cells follow,
    and keep only their normal distance to the middle of the edge. All bend with the surface, by the
    derivative of its normals. A boundary stays.

    Args:
        surface: The surface, of degree 1 or 2.
        strength: Longest way of a node in one slip, in mean sizes of a cell.
    """

    def __init__(self, surface: Surface, strength: float = 0.3) -> None:
        self.surface = surface
        self.strength = strength
        mesh = surface.mesh
        self._dim, self._tdim = mesh.geometry.dim, mesh.topology.dim
        V, corner = surface.position.function_space, ("Lagrange", 1, (mesh.geometry.dim,))
        self._corner = fem.Function(fem.functionspace(mesh, corner))
        self._cells = mesh.comm.allreduce(mesh.topology.index_map(self._tdim).size_local)
        self._parents, self._vertices = _parents(V, self._corner.function_space)
        self._free = np.ones((len(self._parents), 1))
        self._free[_boundary(V)] = 0.0
        force = ufl.derivative(_energy(mesh, self._corner), self._corner)
        self._force = compiled(force)
        self._matrix = Matrix(compiled(ufl.derivative(force, self._corner)))
        self._reduced: PETSc.Mat | None = None
        self._pattern, self._frame = self._make_frame()
        self._b, self._x = self._frame.createVecRight(), self._frame.createVecRight()
        self._full, self._slide = self._frame.createVecLeft(), self._frame.createVecLeft()
        self._ksp = PETSc.KSP().create(mesh.comm)
        self._ksp.setType("cg")
        self._ksp.pc.setType("jacobi")
        self._ksp.setTolerances(rtol=1e-10, max_it=1000)
        self._start = surface.position.x.array.copy()
        self._way, self._bend = fem.Function(V), np.zeros_like(self._start)
        q = ufl.TestFunction(surface.curvature.function_space)
        turn = ufl.dot(ufl.dot(ufl.grad(surface.normal), self._way), self._way) * q
        self._turn = compiled(-turn / 2 * (LUMPED if surface.degree == 1 else dx(metadata=RULE)))

    def move(self, strength: float | None = None) -> float:
        """Slip from the present position, with the present normals, and move the mesh.

        Args:
            strength: Longest way of a node, in mean sizes of a cell, instead of the usual one.

        Returns:
            The longest way of a node, in the same unit; normals want a refresh after it.
        """
        surface = self.surface
        self._start[:] = surface.position.x.array
        self._way.x.array[:] = self._find().ravel()
        size = (surface.area / self._cells) ** (1 / self._tdim)
        lengths = np.linalg.norm(self._way.x.array.reshape(-1, self._dim), axis=1)
        longest = float(surface.mesh.comm.allreduce(lengths.max(initial=0.0), MPI.MAX)) / size
        limit = self.strength if strength is None else strength
        self._way.x.array[:] *= min(1.0, limit / max(longest, 1e-300))
        self._bend[:] = self._find_bend().ravel()
        self.cut(1.0)
        return float(min(longest, limit))

    def cut(self, factor: float) -> None:
        """Go back, and only a part of the last slip forward again.

        Args:
            factor: The part; what is cut stays cut.
        """
        self._way.x.array[:] *= factor
        self._bend *= factor**2
        self.surface.position.x.array[:] = self._start + self._way.x.array + self._bend
        self.surface.move()

    def undo(self) -> None:
        """Go back to where the last slip started."""
        self.cut(0.0)

    def _find(self) -> Floats:
        """The way of each local node, unlimited."""
        nodes = self.surface.position.x.array.reshape(-1, self._dim)
        normal = self.surface.normal.x.array.reshape(-1, self._dim)
        normal = normal / np.linalg.norm(normal, axis=1)[:, None]
        self._corner.x.array[:] = nodes[self._vertices].ravel()
        way = np.zeros_like(nodes)
        way[self._vertices] = self._solve(normal[self._vertices])
        first, second = self._parents.T
        way = (way[first] + way[second]) / 2 - (nodes - (nodes[first] + nodes[second]) / 2)
        # Vertices are their own parents: the projection leaves them as they are.
        way -= (way * normal).sum(axis=1)[:, None] * normal
        return np.asarray(way * self._free)

    def _find_bend(self) -> Floats:
        r"""How far the surface bends away from the way T: $-\frac12 (T \cdot \nabla w\, T) w$."""
        surface = self.surface
        normal = surface.normal.x.array.reshape(-1, self._dim)
        load = assembled(self._turn, surface.curvature.function_space)[:, None]
        if surface.projection is None:
            return np.asarray(load / surface.mass.x.array[:, None] * normal)
        return np.asarray(surface.projection.solve(load) * normal)

    def _solve(self, normal: Floats) -> Floats:
        """Newton's step of the vertices in their tangent planes."""
        V = self._corner.function_space
        n = V.dofmap.index_map.size_local
        frame = _frame(normal[:n]) * self._free[self._vertices[:n], :, None]
        self._frame.setValuesCSR(*self._pattern, frame.ravel())
        self._frame.assemble()
        self._matrix.assemble()
        self._reduced = self._matrix.petsc.ptap(self._frame, result=self._reduced)
        self._ksp.setOperators(self._reduced)
        self._full.array[:] = -assembled(self._force, V)[: n * self._dim]
        self._frame.multTranspose(self._full, self._b)
        self._ksp.solve(self._b, self._x)
        self._frame.mult(self._x, self._slide)
        self._corner.x.array[: n * self._dim] = self._slide.array_r
        self._corner.x.scatter_forward()
        return np.asarray(self._corner.x.array.reshape(-1, self._dim))

    def _make_frame(self) -> tuple[tuple[Any, Any], PETSc.Mat]:
        """The matrix from tangential to full vectors of the vertices: a frame in each block."""
        index_map = self._corner.function_space.dofmap.index_map
        n, dim, tdim = index_map.size_local, self._dim, self._tdim
        nodes = np.arange(*index_map.local_range)
        columns = np.repeat(nodes[:, None] * tdim + np.arange(tdim), dim, axis=0)
        rows = np.arange(0, n * dim * tdim + 1, tdim)
        csr = rows.astype(PETSc.IntType), columns.ravel().astype(PETSc.IntType)
        sizes = [(n * size, index_map.size_global * size) for size in (dim, tdim)]
        frame = PETSc.Mat().createAIJ(
            sizes, csr=(*csr, np.zeros(columns.size)), comm=self.surface.mesh.comm
        )
        return csr, frame


def _energy(mesh: Any, X: fem.Function) -> ufl.Form:
    """The energy of a slip; per reference cell, so that small cells count as much as large ones."""
    columns = tangents(mesh, X)
    element = [ufl.Jacobian(mesh)[:, a] for a in range(len(columns))]
    gram = ufl.as_matrix([[inner(a, b) for b in element] for a in element])
    Z = sum(inner(a, a) for a in columns)
    if len(columns) == 2:
        Z -= inner(*columns)
    return Z**2 / ufl.sqrt(ufl.det(gram)) * dx(metadata={"quadrature_degree": 2})


def _frame(normal: Floats) -> Floats:
    """Orthonormal tangents of unit normals, as columns: shape (nodes, dim, dim - 1)."""
    if normal.shape[1] == 2:
        return np.stack([-normal[:, 1], normal[:, 0]], axis=1)[:, :, None]
    axis = np.eye(3)[np.abs(normal).argmin(axis=1)]
    first = np.cross(normal, axis)
    first /= np.linalg.norm(first, axis=1)[:, None]
    return np.stack([first, np.cross(normal, first)], axis=2)


def _parents(V: fem.FunctionSpace, corners: fem.FunctionSpace) -> tuple[Any, Any]:
    """For each node the two vertices around it (itself twice, if it is one); nodes of vertices."""
    cells, tdim = V.dofmap.list, V.mesh.topology.dim
    parents = np.arange(cells.max(initial=-1) + 1, dtype=np.int32)[:, None].repeat(2, axis=1)
    edges = [(0, 1)] if tdim == 1 else [(1, 2), (0, 2), (0, 1)]
    for node, edge in zip(range(tdim + 1, cells.shape[1]), edges, strict=False):
        parents[cells[:, node]] = cells[:, edge]
    vertices = np.zeros(corners.dofmap.list.max(initial=-1) + 1, dtype=np.int32)
    vertices[corners.dofmap.list.ravel()] = cells[:, : tdim + 1].ravel()
    return parents, vertices


def _boundary(V: fem.FunctionSpace) -> Any:
    topology = V.mesh.topology
    topology.create_connectivity(topology.dim - 1, topology.dim)
    facets = exterior_facet_indices(topology)
    return fem.locate_dofs_topological(V, topology.dim - 1, facets)
