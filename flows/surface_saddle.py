r"""The step of surface diffusion at scale: two definite systems instead of one saddle.

With the stiffness $K$, the lumped masses $M$ and normals $N = M w^T$ of the old surface, the step
for the displacement $d$ and the change $h$ of the curvature, in units of $g = \tau^{-1/2}$, is

$$ \begin{pmatrix} A & -g N^T \\ g N & K \end{pmatrix} \begin{pmatrix} d \\ h \end{pmatrix} = b,
   \qquad A = K \otimes I. $$

In the direction of the normals all four blocks are $K$ or $\pm g M$. There the matrix with
$K + 2 g M$ in its last block is equivalent to the given one within a factor of two, whatever the
mesh and the step, and is solved by two systems with $K + g M$ {cite}`axelsson2017`; along the
surface $A$ stands alone. So GMRES takes one multigrid cycle for $A + g N^T M^{-1} N$ and one for
$K + g M$ in each iteration, and few iterations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, override

from flows.extrapolation import Extrapolation
from flows.flat import NormalMatrix, Stiffness
from flows.functional import StepFunctional
from flows.options import Options
from flows.solver import SolveFailed, Solver
from flows.surface import Surface

import numpy as np
import numpy.typing as npt
from petsc4py import PETSc

__all__ = ["NormalBlocks", "SurfaceSaddle"]

SMALL = 2_000
"""Below this number of vertices a sparse factorisation is cheaper."""

OPTIONS = {
    "ksp_type": "gmres",
    "ksp_pc_side": "right",
    "ksp_rtol": 1e-6,
    "ksp_max_it": 80,
    "ksp_gmres_restart": 80,
    "pc_type": "python",
} | {
    f"{factor}_{key}": value
    for factor in ("position", "curvature")
    for key, value in {
        "ksp_type": "preonly",
        "pc_type": "gamg",
        "pc_gamg_threshold": 0.02,
        "pc_gamg_reuse_interpolation": True,
        "mg_levels_ksp_type": "richardson",
        "mg_levels_ksp_max_it": 1,
        "mg_levels_pc_type": "sor",
    }.items()
}

type Floats = npt.NDArray[np.float64]


class NormalBlocks:
    """The matrix of the step and its preconditioner, contexts for PETSc's type ``python``.

    Vectors hold the local displacements, then the local curvatures.

    Args:
        surface: The surface.
        prefix: Prefix of the PETSc options.
    """

    def __init__(self, surface: Surface, prefix: str) -> None:
        self._surface = surface
        assert surface.cells is not None
        self._stiffness = Stiffness(surface.cells)
        self.dim, self.n = surface.mesh.geometry.dim, surface.owned
        K = self._stiffness.petsc
        self._normal = NormalMatrix(K, self.dim)
        self._P1, self._P2 = self._normal.petsc, K.duplicate(copy=True)
        self._prefix = prefix
        self._position, self._curvature = self._factors()
        self._b, self._h = K.createVecs()
        self._a, self._d = self._P1.createVecs()
        self._g = 1.0

    @property
    def size(self) -> int:
        """Local size of the vectors."""
        return int((self.dim + 1) * self.n)

    def _factors(self) -> list[PETSc.KSP]:
        factors = []
        for name in ("position", "curvature"):
            ksp = PETSc.KSP().create(self._P2.comm)
            ksp.setOptionsPrefix(f"{self._prefix}{name}_")
            factors.append(ksp)
        return factors

    def refresh(self, tau: float) -> None:
        """Take the present mesh, and a step of size ``tau``."""
        self._g = g = tau**-0.5
        self._stiffness.assemble()
        K, n = self._stiffness.petsc, self.n
        self._m = m = self._surface.mass.x.array[:n]
        self._w = w = self._surface.normal.x.array.reshape(-1, self.dim)[:n]
        self._N = m[:, None] * w
        squares = np.maximum(np.einsum("ij,ij->i", w, w), 1e-6)
        self._unit = w / squares[:, None]
        self._normal.assemble(g * m, w)
        K.copy(self._P2, structure=PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
        self._h.array[:] = g * m
        self._P2.setDiagonal(self._P2.getDiagonal() + self._h)
        self._P2.setOption(PETSc.Mat.Option.SPD, True)  # multigrid asks, and new values undo it
        for ksp, P in ((self._position, self._P1), (self._curvature, self._P2)):
            ksp.setOperators(P)
            ksp.setFromOptions()
            ksp.setUp()

    def forget(self) -> None:
        """Drop the multigrid hierarchies, and what they know of spectra."""
        self._position, self._curvature = self._factors()

    def right_hand_side(self, X: Floats, H: Floats, b: PETSc.Vec) -> None:
        """What the old immersion and the first guess of the curvature leave of the equations."""
        x = np.concatenate([X, H / self._g])
        y = self._product(x)
        # The change of the curvature is sought, but no displacement precedes the one sought.
        y[X.size :] -= self._g * np.einsum("ij,ij->i", self._N, X.reshape(-1, self.dim))
        b.array[:] = -y

    def _product(self, x: Floats) -> Floats:
        split = self.dim * self.n
        y = np.empty_like(x)
        self._a.array[:] = x[:split]
        self._P1.mult(self._a, self._d)
        normal = np.einsum("ij,ij->i", self._N, x[:split].reshape(-1, self.dim))
        force = self._g * (x[split:] + normal / self._m)
        y[:split] = self._d.array_r - (self._N * force[:, None]).ravel()
        self._b.array[:] = x[split:]
        self._stiffness.petsc.mult(self._b, self._h)
        y[split:] = self._h.array_r + self._g * normal
        return y

    def mult(self, A: PETSc.Mat, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """Product with the matrix of the step."""
        y.array[:] = self._product(x.array_r)

    def apply(self, pc: PETSc.PC, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """Product with the preconditioner: displacements without curvature, curvature, both."""
        split = self.dim * self.n
        a, b = x.array_r[:split], x.array_r[split:]
        self._a.array[:] = a + (self._unit * b[:, None]).ravel()
        self._position.solve(self._a, self._d)
        z = self._d.array_r
        self._b.array[:] = b - self._g * np.einsum("ij,ij->i", self._N, z.reshape(-1, self.dim))
        self._curvature.solve(self._b, self._h)
        h = self._h.array_r
        y.array[:split] = z - (self._unit * h[:, None]).ravel()
        y.array[split:] = h


class SurfaceSaddle(Solver):
    """Solver of a step of surface diffusion by blocks, and directly on stretched meshes.

    Args:
        surface: The surface.
        step: The step; its fields are the immersion and the mean curvature.
        prefix: Prefix of the PETSc options.
        options: The user's options.
    """

    def __init__(
        self, surface: Surface, step: StepFunctional, *, prefix: str, options: Mapping[str, Any]
    ) -> None:
        super().__init__(step.residual, step.fields, prefix=prefix, symmetric=True, moving=True)
        self._surface, self._tau = surface, step.tau
        self._failed: tuple[float, float] | None = None
        self._first = 0
        self._lent = Options(prefix, OPTIONS, options)
        self.blocks = blocks = NormalBlocks(surface, prefix)
        A = PETSc.Mat().createPython(((blocks.size, None),) * 2, blocks, comm=self.comm)
        A.setUp()
        self._right, self._left = A.createVecs()
        self._work, self._past = self._right.duplicate(), Extrapolation()
        self.outer = PETSc.KSP().create(self.comm)
        self.outer.setOptionsPrefix(prefix)
        self.outer.setOperators(A)
        with self._lent():
            self.outer.setFromOptions()
        self.outer.pc.setPythonContext(blocks)
        self._rtol = self.outer.getTolerances()[0]

    @staticmethod
    def suits(surface: Surface, prefix: str, options: Mapping[str, Any]) -> bool:
        """Whether the solver is the fastest way: a surface of many vertices."""
        asked = any(
            key in options or PETSc.Options(prefix).hasName(key) for key in ("ksp_type", "pc_type")
        )
        size = surface.curvature.function_space.dofmap.index_map.size_global
        return surface.mesh.topology.dim == 2 and size > SMALL and not asked

    @override
    def solve(self) -> int:
        if self._hopeful() and (self._iterate() or (self._aged() and self._iterate())):
            return 1
        if self._hopeful():
            self._failed = (self._surface.quality().angle, float(self._tau.value))
        self._aged()
        return super().solve()

    def _hopeful(self) -> bool:
        """Whether blocks have not failed on such a mesh, or for so small a step."""
        if self._failed is None:
            return True
        angle, tau = self._failed
        return self._tau.value > 4 * tau or self._surface.quality().angle > 1.5 * angle

    def _aged(self) -> bool:
        """Whether the hierarchies were those of an older mesh; they are dropped."""
        old = self._first > 0
        self._first = 0
        self.blocks.forget()
        return old

    def _iterate(self) -> bool:
        """Solve by blocks; returns whether that converged."""
        X, H = self.fields
        n, m = self.blocks.dim * self.blocks.n, self.blocks.n
        tau = float(self._tau.value)
        try:
            with self._lent():
                self.blocks.refresh(tau)
                self.blocks.right_hand_side(X.x.array[:n], H.x.array[:m], self._right)
                start = self._start(tau)
                self.outer.solve(self._right, self._left)
        except PETSc.Error as error:
            self.forget()
            if error.__cause__ is not None:  # an error in a callback is no failure of PETSc
                raise error.__cause__ from None
            raise SolveFailed(f"PETSc error {error.ierr} in the solve by blocks") from error
        if self.outer.getConvergedReason() < 0:
            return False
        iterations = self.outer.getIterationNumber()
        self._first = self._first or iterations
        if iterations > 1.5 * self._first + 5:
            self._aged()
        change = start + self._left.array_r
        change[n:] *= tau**-0.5
        self._past.keep(change, tau)
        X.x.array[:n] += change[:n]
        H.x.array[:m] += change[n:]
        for f in (X, H):
            f.x.scatter_forward()
        return True

    def _start(self, tau: float) -> Floats:
        """The solution that earlier steps let expect; its residual replaces the right-hand side."""
        start = self._past.expect(tau) + np.zeros(self.blocks.size)
        start[self.blocks.dim * self.blocks.n :] *= tau**0.5
        whole = self._right.norm()
        self._left.array[:] = start
        self.outer.getOperators()[0].mult(self._left, self._work)
        self._work.aypx(-1.0, self._right)
        rest = self._work.norm()
        if not rest < whole:  # the state is not where the last step has left it
            start[:], rest = 0.0, whole
        else:
            self._work.copy(self._right)
        if rest > 0:
            self.outer.setTolerances(rtol=min(0.5, self._rtol * whole / rest))
        return start

    @override
    def forget(self) -> None:
        super().forget()
        self._aged()
        self._past.clear()
        self._failed = None
