r"""Flat cells of a surface or polygon, measured in one pass, and the matrices made of them.

With the angle $\alpha_{ij}$ opposite to the edge $ij$ of a triangle $T$, and in an interval $I$,

$$ \int_T \nabla\varphi_i \cdot \nabla\varphi_j = -\tfrac12 \cot \alpha_{ij}, \qquad
   \int_I \varphi_i' \varphi_j' = -\frac1{|I|}. $$
"""

from __future__ import annotations

from typing import Any

from flows.jit import jit_options

import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem
from dolfinx.la import InsertMode, vector
from petsc4py import PETSc

__all__ = ["FlatCells", "NormalMatrix", "Stiffness"]

EDGES = {1: [(0, 1)], 2: [(1, 2), (2, 0), (0, 1)]}
"""Ends of the edges of a cell, as the formulas number them."""

type Floats = npt.NDArray[np.float64]
type Integers = npt.NDArray[np.int32]


class FlatCells:
    """Geometry of the cells that this rank owns, on a mesh of degree 1 that moves.

    Args:
        Q: The scalar Lagrange space of degree 1.

    Attributes:
        nodes: Nodes of the cells, as the space numbers them.
        index_map: Which nodes belong to which rank.
        sizes: Areas, or lengths.
        size: Their sum.
        normals: Area vectors, as the nodes of each cell go round it; shape (cells, dim).
        stiffness: Entries of the stiffness between the ends of each edge, shape (cells, edges).
    """

    def __init__(self, Q: fem.FunctionSpace) -> None:
        from scipy.sparse import csr_array  # slow to import: only where there is a surface

        self._mesh = mesh = Q.mesh
        self.tdim, dim = mesh.topology.dim, mesh.geometry.dim
        self.index_map, count = Q.dofmap.index_map, mesh.topology.index_map(self.tdim).size_local
        self.nodes = Q.dofmap.list[:count]
        self._cells = np.arange(count, dtype=np.int32)
        shape, corners = ufl.as_vector(_shape(mesh)), self.tdim + 1
        centre = np.full((1, self.tdim), 1 / corners)
        self._shape = fem.Expression(shape, centre, jit_options=jit_options())
        self._values = np.zeros((count, 1, len(shape)))
        self._rows = self._values[:, 0, : dim + 1]
        self.normals, self.sizes = self._rows[:, :dim], self._rows[:, dim]
        self.stiffness = self._values[:, 0, dim + 1 :]
        self._seen = np.full_like(mesh.geometry.x, np.nan)
        pattern = self.nodes.ravel(), self._cells.repeat(corners)
        size = self.index_map.size_local + self.index_map.num_ghosts
        share = np.full(self.nodes.size, 1 / corners)
        self._share = csr_array((share, pattern), shape=(size, count))
        self._sums = vector(self.index_map, dim + 1)
        self._signs = np.ones((count, dim + 1))
        self.size = 0.0

    def measure(self) -> FlatCells:
        """Measure the cells of the present mesh, unless that is done."""
        x = self._mesh.geometry.x
        if not np.array_equal(x, self._seen):
            self._shape.eval(self._mesh, self._cells, values=self._values)
            self._seen[:] = x
            self.size = float(self.sizes.sum())
        return self

    def angles(self) -> Floats:
        """Smallest angles in degrees; 90 for intervals."""
        if self.tdim == 1:
            return np.full(len(self.sizes), 90.0)
        cotangents = -2 * np.fmin.reduce(self.stiffness, axis=1)
        return np.asarray(np.degrees(np.arctan2(1.0, cotangents)))

    def at_nodes(self, signs: Floats) -> Floats:
        r"""Integrals $\int \pm\nu \varphi_i$ and $\int \varphi_i$ by the vertex rule; collective.

        Args:
            signs: Turn the normals of the local cells outward.

        Returns:
            One row for each local node: the normal, then the mass.
        """
        dim = self.normals.shape[1]
        self._signs[:, :dim] = signs[: len(self._signs), None]
        self._sums.array[:] = (self._share @ (self._rows * self._signs)).ravel()
        self._sums.scatter_reverse(InsertMode.add)
        self._sums.scatter_forward()
        return np.asarray(self._sums.array.reshape(-1, dim + 1))


def _shape(mesh: Any) -> list[Any]:
    """Area vector, size and stiffness of a cell, in UFL."""
    J = ufl.Jacobian(mesh)
    if mesh.topology.dim == 1:
        size = ufl.sqrt(ufl.inner(J[:, 0], J[:, 0]))
        return [-J[1, 0], J[0, 0], size, -1 / size]
    sides = [J[:, 1] - J[:, 0], -J[:, 1], J[:, 0]]
    normal = ufl.cross(sides[0], sides[1]) / 2
    size = ufl.sqrt(ufl.inner(normal, normal))
    products = [ufl.dot(sides[k - 2], sides[k - 1]) / (4 * size) for k in range(3)]
    return [normal[0], normal[1], normal[2], size, *products]


class Stiffness:
    """The stiffness matrix of the nodes of a surface.

    Each of its entries is a sum over cells, and all of them one product with a sparse matrix.

    Args:
        cells: The cells.

    Attributes:
        petsc: The matrix.
    """

    def __init__(self, cells: FlatCells) -> None:
        self._cells, index_map = cells, cells.index_map
        rows, columns, self._sums = self._pattern()
        owned, comm = index_map.size_local, index_map.comm
        self._values = np.zeros(rows.size)
        self._shared = comm.size == 1 and PETSc.IntType == np.int32
        if self._shared:
            indptr = np.searchsorted(rows, np.arange(owned + 1))
            arrays = indptr.astype(np.int32), columns, self._values
            self.petsc = PETSc.Mat().createAIJWithArrays((owned, owned), arrays, comm=comm)
        else:
            self.petsc = PETSc.Mat().create(comm)
            self.petsc.setSizes(((owned, None), (owned, None)))
            self.petsc.setType("aij")
            pairs = (index_map.local_to_global(k).astype(PETSc.IntType) for k in (rows, columns))
            self.petsc.setPreallocationCOO(*pairs)
        self.assemble()

    def _pattern(self) -> tuple[Integers, Integers, Any]:
        """Rows and columns of the entries, local numbers in order, and the sums over cells."""
        from scipy.sparse import csr_array

        nodes, edges = self._cells.nodes, EDGES[self._cells.tdim]
        i, j = (np.stack([nodes[:, e[k]] for e in edges], axis=1).ravel() for k in (0, 1))
        row, column = np.concatenate([i, j, i, j]), np.concatenate([j, i, i, j])
        signs = np.array([1.0, 1.0, -1.0, -1.0]).repeat(i.size)
        keys, entry = np.unique(row.astype(np.int64) << 32 | column, return_inverse=True)
        edge = np.tile(np.arange(i.size, dtype=np.int32), 4)
        sums = csr_array((signs, (entry, edge)), shape=(keys.size, i.size))
        return (keys >> 32).astype(np.int32), (keys & 0xFFFFFFFF).astype(np.int32), sums

    def assemble(self) -> None:
        """Take the cells as they were last measured."""
        values = self._sums @ self._cells.stiffness.ravel()
        if self._shared:
            self._values[:] = values
            self.petsc.stateIncrease()
        else:
            self.petsc.setValuesCOO(values, PETSc.InsertMode.INSERT_VALUES)
        self.petsc.setOption(PETSc.Mat.Option.SPD, True)  # new values undo it


class NormalMatrix:
    r"""The matrix $K \otimes I + \mathrm{diag}(c_i\, w_i w_i^T)$ of a surface.

    Args:
        stiffness: Holds $K$, assembled.
        dim: Dimension of space.
    """

    def __init__(self, stiffness: PETSc.Mat, dim: int) -> None:
        self._K, self._dim = stiffness, dim
        indptr, columns, _ = stiffness.getValuesCSR()
        n, first = len(indptr) - 1, stiffness.getOwnershipRange()[0]
        rows = first + np.repeat(np.arange(n), np.diff(indptr))
        node = dim * (first + np.arange(n))[:, None, None] + np.zeros((dim, dim), dtype=int)
        c = np.arange(dim)
        i = np.concatenate([*(dim * rows + k for k in c), (node + c[:, None]).ravel()])
        j = np.concatenate([*(dim * columns + k for k in c), (node + c).ravel()])
        self.petsc = PETSc.Mat().create(stiffness.comm)
        self.petsc.setSizes(((dim * n, None), (dim * n, None)), bsize=dim)
        self.petsc.setType("aij")
        self.petsc.setPreallocationCOO(i.astype(PETSc.IntType), j.astype(PETSc.IntType))
        self._values = np.zeros(i.size)
        split = dim * len(columns)
        self._copies = self._values[:split].reshape(dim, -1)
        self._blocks = self._values[split:].reshape(n, dim, dim)

    def assemble(self, c: Floats, w: Floats) -> None:
        """Take the present $K$.

        Args:
            c: Factors of the owned nodes.
            w: Their normals, shape (nodes, dim).
        """
        self._copies[:] = self._K.getValuesCSR()[2]
        np.multiply((c[:, None] * w)[:, :, None], w[:, None, :], out=self._blocks)
        self.petsc.setValuesCOO(self._values, PETSc.InsertMode.INSERT_VALUES)
        self.petsc.setOption(PETSc.Mat.Option.SPD, True)  # new values undo it
