r"""Flat cells of a surface or polygon, measured in one loop, and the matrices made of them.

With the angle $\alpha_{ij}$ opposite to the edge $ij$ of a triangle $T$, and in an interval $I$,

$$ \int_T \nabla\varphi_i \cdot \nabla\varphi_j = -\tfrac12 \cot \alpha_{ij}, \qquad
   \int_I \varphi_i' \varphi_j' = -\frac1{|I|}. $$
"""

from __future__ import annotations

from functools import cached_property

from flows.forms import compiled
from flows.kernels import Kernels

import numpy as np
import numpy.typing as npt
import ufl
from dolfinx import fem
from dolfinx.la import InsertMode, vector
from petsc4py import PETSc
from ufl import dx, grad, inner

__all__ = ["FlatCells", "NormalMatrix", "Stiffness"]

KINDS = {1: ("intervals", 1), 2: ("triangles", 3)}
"""Loops that measure cells, and how many edges there are."""

type Floats = npt.NDArray[np.float64]


class FlatCells:
    """Geometry of the cells that this rank owns, on a mesh of degree 1 that moves.

    Args:
        space: The scalar Lagrange space of degree 1.
        signs: Turn the normals of the local cells outward.

    Attributes:
        count: Number of these cells.
        nodes: Nodes of the cells, as the space numbers them.
        rows: Area vectors, as the nodes of each cell go round it, and areas, or lengths; shape
            (cells, 4).
        size: The sum of the areas.
        turned: How many cells the last look at the mesh found turned over since the one before.
        edges: Entries of the stiffness between the ends of each edge, shape (cells, edges); the
            edge of a triangle that is opposite to a node has its number.
        kernels: Loops over the cells.
    """

    def __init__(self, space: fem.FunctionSpace, signs: Floats) -> None:
        self.space, self._mesh = space, space.mesh
        self.tdim = self._mesh.topology.dim
        self.count = self._mesh.topology.index_map(self.tdim).size_local
        self.nodes = np.ascontiguousarray(space.dofmap.list[: self.count])
        self._corners = np.ascontiguousarray(self._mesh.geometry.dofmaps[0][: self.count])
        self.kernels = Kernels(self._mesh.comm, "surface.c")
        self._loop, edges = KINDS[self.tdim]
        self.rows, self.edges = np.zeros((self.count, 4)), np.zeros((self.count, edges))
        self._seen = np.full_like(self._mesh.geometry.x, np.nan)
        self._sums = vector(space.dofmap.index_map, 4)
        self._shares = self._sums.array.reshape(-1, 4)
        if self._mesh.comm.size > 1:  # sums of all ranks are apart from those of this one
            self._shares = self._shares.copy()
        self._forces = vector(space.dofmap.index_map, self._mesh.geometry.dim)
        self.size, self.turned = 0.0, 0
        given = self._corners, self._mesh.geometry.x, self.nodes, signs
        found = self.rows, self.edges, self._shares
        self._arrays = self.kernels.given(*given, *found)

    def measure(self) -> FlatCells:
        """Measure the cells of the present mesh, unless that is done."""
        x, self.turned = self._mesh.geometry.x, 0
        if not self.kernels("same", x.size, x, self._seen):
            self._shares[:] = 0.0
            self.turned = self.kernels(self._loop, self.count, *self._arrays)
            self._seen[:] = x
            self.size = float(self.rows[:, 3].sum())
        return self

    def at_nodes(self) -> Floats:
        r"""Integrals $\int \pm\nu \varphi_i$ and $\int \varphi_i$ by the vertex rule; collective.

        Returns:
            One row for each local node: the normal in space, then the mass.
        """
        if self._mesh.comm.size == 1:  # there is nothing to send, but trying would take time
            return self._shares
        self._sums.array[:] = self._shares.ravel()
        self._sums.scatter_reverse(InsertMode.add)
        self._sums.scatter_forward()
        return np.asarray(self._sums.array.reshape(-1, 4))

    def forces(self, x: Floats) -> Floats:
        r"""Integrals $\int \nabla X : \nabla (\varphi_i e_k)$, ghosts included; collective.

        Args:
            x: The values of $X$ at the local nodes, with as many components as the mesh has.
        """
        sums, (count, corners), dim = self._forces, self.nodes.shape, self._forces.block_size
        sums.array[:] = 0.0
        self.kernels("pull", count, corners, self.nodes, self.edges, dim, x, sums.array)
        sums.scatter_reverse(InsertMode.add)
        sums.scatter_forward()
        return np.asarray(sums.array)


class Stiffness:
    """The stiffness matrix of the nodes of a surface.

    Args:
        cells: The cells.

    Attributes:
        rows: The matrix, whose entries each rank adds up where it finds them.
        owned: Number of rows that this rank owns.
        diagonal: Where the entries of the diagonal stand.
    """

    def __init__(self, cells: FlatCells) -> None:
        p, q = ufl.TrialFunction(cells.space), ufl.TestFunction(cells.space)
        self._cells = cells
        self.rows = fem.create_matrix(compiled(inner(grad(p), grad(q)) * dx))
        self.starts, self.columns, self.values = self.rows.indptr, self.rows.indices, self.rows.data
        count, corners = cells.nodes.shape
        self._places = np.zeros((count, corners**2), dtype=np.int32)
        found = self.starts, self.columns, self._places
        cells.kernels("find", count, corners, cells.nodes, *found)
        self._arrays = cells.kernels.given(self._places, cells.edges, self.values)
        self.owned = n = cells.space.dofmap.index_map.size_local
        row = np.arange(n, dtype=np.int32).repeat(np.diff(self.starts[: n + 1]))
        self.diagonal = np.flatnonzero(self.columns[: row.size] == row)
        self.assemble()

    def assemble(self) -> None:
        """Take the cells as they were last measured; collective."""
        cells, (count, corners) = self._cells, self._cells.nodes.shape
        self.values[:] = 0.0
        cells.kernels("add", count, corners, *self._arrays)
        if cells.space.mesh.comm.size > 1:
            self.rows.scatter_reverse()
        if "petsc" in vars(self):
            self._copy(self.petsc)

    @cached_property
    def petsc(self) -> PETSc.Mat:
        """The matrix for PETSc, which reads the same memory in one process."""
        n, comm = self.owned, self._cells.space.mesh.comm
        self._shared = comm.size == 1 and PETSc.IntType == np.int32
        if self._shared:
            arrays = self.starts.astype(np.int32), self.columns, self.values
            petsc = PETSc.Mat().createAIJWithArrays((n, n), arrays, comm=comm)
        else:
            petsc = PETSc.Mat().create(comm)
            petsc.setSizes(((n, None), (n, None)))
            petsc.setType("aij")
            first, end = self.rows.index_map(0).local_range[0], self.starts[n]
            row = first + np.arange(n).repeat(np.diff(self.starts[: n + 1]))
            column = self.rows.index_map(1).local_to_global(self.columns[:end])
            petsc.setPreallocationCOO(*(k.astype(PETSc.IntType) for k in (row, column)))
        self._copy(petsc)
        return petsc

    def _copy(self, petsc: PETSc.Mat) -> None:
        """Bring PETSc's matrix up to date."""
        if self._shared:
            petsc.stateIncrease()
        else:
            values = self.values[: self.starts[self.owned]]
            petsc.setValuesCOO(values, PETSc.InsertMode.INSERT_VALUES)
        petsc.setOption(PETSc.Mat.Option.SPD, True)  # new values undo it


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
