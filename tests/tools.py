"""What several tests measure with: fitted orders, nodal values, smooth fields, a second P1."""

from flows.forms import integrate

import numpy as np
import pytest
import ufl
from dolfinx import fem
from mpi4py import MPI

comm = MPI.COMM_WORLD


def order(h, errors):
    """Slope of log(error) over log(h)."""
    return float(np.polyfit(np.log(h), np.log(errors), 1)[0])


def total(form):
    """Value of a functional, equal on all ranks."""
    return integrate(fem.form(form))


def area(mesh, measure=ufl.dx):
    """Size of all cells of a mesh."""
    return total(fem.Constant(mesh, 1.0) * measure)


def volume(mesh):
    """Enclosed volume by the divergence theorem: positive if the normals look outward."""
    height = ufl.inner(ufl.SpatialCoordinate(mesh), ufl.CellNormal(mesh))
    return total(height / mesh.geometry.dim * ufl.dx)


def cells(mesh):
    """Number of cells on all ranks."""
    return mesh.topology.index_map(mesh.topology.dim).size_global


def degree(mesh):
    """Degree of the cells."""
    return mesh.geometry.cmaps[0].degree


def on_root(action):
    """Run something on rank 0 while the others wait."""
    if comm.rank == 0:
        action()
    comm.Barrier()


def error(u, exact, degree=8):
    """L2 distance of a function from an expression, relative to nothing."""
    return total((u - exact) ** 2 * ufl.dx(metadata={"quadrature_degree": degree})) ** 0.5


def nodal(u):
    """Values at the nodes of the whole mesh, sorted by position, on all ranks."""
    V = u.function_space
    n, bs = V.dofmap.index_map.size_local, V.dofmap.bs
    x = np.concatenate(V.mesh.comm.allgather(V.tabulate_dof_coordinates()[:n]))
    values = np.concatenate(V.mesh.comm.allgather(u.x.array[: n * bs].reshape(n, bs)))
    return values[np.lexsort(x.round(9).T)].squeeze()


def waves(seed, mean=0.0, size=1.0):
    """A smooth random scalar field, to interpolate: the same on any mesh and number of ranks."""
    draw = np.random.default_rng(seed)
    k, phase = draw.uniform(-6, 6, (5, 3)), draw.uniform(0, 2 * np.pi, 5)
    return lambda x: mean + size / 5 * np.cos(k @ x + phase[:, None]).sum(axis=0)


class Interval:
    """P1 elements on [0, 1] in numpy, to compare with."""

    def __init__(self, n):
        h = 1 / n
        self.x = np.linspace(0, 1, n + 1)
        off = np.eye(n + 1, k=1) + np.eye(n + 1, k=-1)
        inner = np.diag([1.0, *[2.0] * (n - 1), 1.0])
        self.M = h / 6 * (2 * inner + off)
        self.K = 1 / h * (inner - off)
        s, w = np.polynomial.legendre.leggauss(6)
        self._s, self._w = (1 + s[:, None]) / 2, h * w[:, None] / 2

    def load(self, f, u):
        """The vector of int f(u) phi_i."""
        values = self._w * f((1 - self._s) * u[:-1] + self._s * u[1:])
        left, right = ((1 - self._s) * values).sum(axis=0), (self._s * values).sum(axis=0)
        return np.append(left, 0) + np.insert(right, 0, 0)


def same_steps(flow, other, *, rel, abs, atol):
    """Assert that two flows take the same steps, of several sizes, and end in the same state."""
    for tau in (0.01, 0.01, 0.015, 0.02, 0.002):
        mine, theirs = flow.step(tau), other.step(tau)
        for value in ("energy", "movement", "defect"):
            assert getattr(mine, value) == pytest.approx(getattr(theirs, value), rel=rel, abs=abs)
    assert np.allclose(flow.state.x.array, other.state.x.array, rtol=0, atol=atol)
