r"""Constraints: functionals of the state that a flow keeps, each by one multiplier.

A step under the constraints $G_k(u) = g_k$ is a stationary point of
$\Phi(u) + \sum_k \lambda_k G_k(u)$. Newton's system is bordered by the slopes $w_k = DG_k(u)$,

$$ \begin{pmatrix} J & w \\ w^T & 0 \end{pmatrix}
   \begin{pmatrix} \delta u \\ \delta\lambda \end{pmatrix} =
   \begin{pmatrix} r \\ G - g \end{pmatrix}, $$

and solved with $J$ alone, once more for each constraint.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, override

from flows.forms import VERTEX, assembled, compiled, integrate, lumpable, mass_measure
from flows.surface import Surface, normal_of, tangents

import dolfinx
import numpy as np
import ufl
from dolfinx import fem
from petsc4py import PETSc

__all__ = ["Constraint", "Kept", "MeanValue", "Volume", "bordered"]


class Constraint(ABC):
    """A functional of the state, or of one state of a tuple, that is kept."""

    @abstractmethod
    def functional(self, states: Sequence[fem.Function]) -> ufl.Form:
        """The functional."""


@dataclass(frozen=True, eq=False)
class MeanValue(Constraint):
    r"""The integral of a state is kept: $\int u = \int u_k$.

    It makes the Allen-Cahn equation preserve volume, and a birth-death flow preserve mass.

    Args:
        index: Number of the state in a tuple.
        lumped: Whether the integral is taken by the vertex rule.
    """

    index: int = 0
    lumped: bool = False

    @override
    def functional(self, states: Sequence[fem.Function]) -> ufl.Form:
        u = states[self.index]
        if self.lumped and lumpable(u):
            return u * ufl.dx(metadata=VERTEX)
        # Two points at least: FFCx 0.11 miscompiles a one-point rule beside another rule.
        bent = u.function_space.mesh.geometry.cmaps[0].degree > 1
        rule = ufl.dx if bent else ufl.dx(metadata={"quadrature_degree": 2 * _degree(u)})
        return u * mass_measure(rule, u)


@dataclass(frozen=True, eq=False)
class Volume(Constraint):
    r"""The volume that a surface encloses (the area inside a curve) is kept.

    $$ V(X) = \tfrac13 \int_{\Gamma_k} X \cdot \frac{X_1 \times X_2}{|A_1 \times A_2|} $$

    with the derivatives $X_a$, $A_a$ of the new and the old immersion in each cell. Mean curvature
    flow then moves by $V = \bar H - H$. With edges that slide in planes it is the volume between
    the surface and the planes; fixed edges add a constant.

    Args:
        surface: The surface; its flow fills it in.
    """

    surface: Surface | None = None

    @override
    def functional(self, states: Sequence[fem.Function]) -> ufl.Form:
        (X,) = states
        mesh = X.function_space.mesh
        dim = mesh.geometry.dim
        if mesh.topology.dim != dim - 1 or X.function_space.value_shape != (dim,):
            raise ValueError("Volume() is a constraint on the immersion of a surface or curve.")
        surface = self.surface or Surface(mesh)
        if not np.isfinite(surface.flux.value).all():
            raise ValueError(
                "Volume() needs a coordinate across which the surface has at most one PlaneEdge: "
                "the volume between two planes of each coordinate is not the flux of one field."
            )
        element = [ufl.Jacobian(mesh)[:, a] for a in range(dim - 1)]
        size = ufl.sqrt(ufl.inner(normal_of(element), normal_of(element)))
        rule = {"quadrature_degree": 3 * surface.degree - 1}
        flux = ufl.inner(surface.moment(X), normal_of(tangents(mesh, X)))
        return surface.sign / size * flux * ufl.dx(metadata=rule)


def _degree(u: fem.Function) -> int:
    return max(1, int(u.function_space.element.basix_element.degree))


class Kept:
    """The functionals of the constraints of a flow, their slopes and multipliers.

    Args:
        constraints: The constraints.
        states: The states.
    """

    def __init__(self, constraints: Sequence[Constraint], states: Sequence[fem.Function]) -> None:
        mesh = states[0].function_space.mesh
        self.states = list(states)
        self.functionals = [c.functional(states) for c in constraints]
        self.multipliers = [
            fem.Constant(mesh, dolfinx.default_scalar_type(0.0)) for _ in self.functionals
        ]
        self._forms = [compiled(G) for G in self.functionals]
        self._slopes = [
            [compiled(ufl.derivative(G, u, ufl.TestFunction(u.function_space))) for u in states]
            for G in self.functionals
        ]
        self._values = np.zeros(len(self.functionals))

    def __bool__(self) -> bool:
        return bool(self.functionals)

    def term(self) -> ufl.Form:
        """What the constraints add to the functional of a step."""
        pairs = zip(self.multipliers, self.functionals, strict=True)
        return sum((m * G for m, G in pairs), ufl.Form([]))

    def take(self) -> None:
        """Keep what the functionals are at the present state."""
        self._values = np.array([integrate(form) for form in self._forms])

    def gaps(self) -> np.ndarray:
        """What the functionals have gained."""
        return np.array([integrate(form) for form in self._forms]) - self._values

    def slopes(self) -> list[list[np.ndarray]]:
        """Slopes of each functional in each state, owned entries."""
        spaces = [u.function_space for u in self.states]
        return [
            [
                assembled(form, V)[: V.dofmap.index_map.size_local * V.dofmap.index_map_bs]
                for form, V in zip(row, spaces, strict=True)
            ]
            for row in self._slopes
        ]

    def satisfied(self) -> bool:
        """Whether the functionals have their values, to rounding."""
        scale = np.maximum(np.abs(self._values), 1e-3 * self._sizes())
        return bool(np.all(np.abs(self.gaps()) <= 1e-14 * scale + 1e-300))

    def _sizes(self) -> np.ndarray:
        comm = self.states[0].function_space.mesh.comm
        local = [
            sum(
                float(np.abs(w) @ np.abs(u.x.array[: w.size]))
                for w, u in zip(row, self.states, strict=True)
            )
            for row in self.slopes()
        ]
        return np.array([comm.allreduce(size) for size in local])


class Bordered:
    """Solves bordered systems with a solver for the matrix; a context for KSP type ``python``.

    Args:
        ksp: Solver of systems with the matrix.
        kept: The constraints.
        place: Puts owned entries of the states into a vector of all unknowns.
        slope: Slopes of the variables in which the states are sought, or ``None``.
    """

    def __init__(
        self,
        ksp: PETSc.KSP,
        kept: Kept,
        place: Callable[[Sequence[np.ndarray], PETSc.Vec], None],
        slope: Callable[[], PETSc.Vec | None],
    ) -> None:
        self.ksp, self.kept, self._place, self._slope = ksp, kept, place, slope

    def solve(self, outer: PETSc.KSP, b: PETSc.Vec, y: PETSc.Vec) -> None:
        """One bordered solve; the multipliers take their part of the step at once."""
        self.ksp.setOperators(*outer.getOperators())
        columns, rows, answers = [], [], []
        if not self._solved(outer, b, y):
            return
        slope = self._slope()
        for w in self.kept.slopes():
            column, answer = b.duplicate(), b.duplicate()
            self._place(w, column)
            if not self._solved(outer, column, answer):
                return
            row = column.copy()
            if slope is not None:
                row.pointwiseMult(column, slope)
            columns.append(column)
            rows.append(row)
            answers.append(answer)
        schur = np.array([[row.dot(z) for z in answers] for row in rows])
        right = np.array([row.dot(y) for row in rows]) - self.kept.gaps()
        try:
            steps = np.linalg.solve(schur, right)
        except np.linalg.LinAlgError:
            outer.setConvergedReason(PETSc.KSP.ConvergedReason.DIVERGED_BREAKDOWN)
            return
        for z, multiplier, step in zip(answers, self.kept.multipliers, steps, strict=True):
            y.axpy(-float(step), z)
            multiplier.value -= step

    def _solved(self, outer: PETSc.KSP, b: PETSc.Vec, x: PETSc.Vec) -> bool:
        """Solve with the matrix; tells the outer solver how, and returns whether it converged."""
        self.ksp.solve(b, x)
        outer.setConvergedReason(self.ksp.getConvergedReason())
        return bool(self.ksp.getConvergedReason() > 0)


def bordered(ksp: PETSc.KSP, kept: Kept, place: Any, slope: Any) -> PETSc.KSP:
    """The solver of the bordered systems of a matrix, from a solver for the matrix."""
    outer = PETSc.KSP().create(ksp.comm)
    outer.setType("python")
    outer.setPythonContext(Bordered(ksp, kept, place, slope))
    outer.pc.setType("none")
    return outer
