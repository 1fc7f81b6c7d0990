r"""Stability of steady states: the lowest eigenvalues of the second variation, by SLEPc.

$$ \delta^2 E(u)[x, y] = \lambda\, \langle x, y \rangle_{M(u)} \quad\text{for all } y, \qquad
   x(t) = e^{-\lambda t} x(0) $$

in the metric $M$ of the flow. The sign of $\lambda$ is that of the second variation: a negative one
is a direction in which the energy falls, and that grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from flows.forms import zero
from flows.movement import GradientFlow
from flows.options import Options
from flows.pencil import FACTORS, Pencil, negative
from flows.scharfetter_gummel import LinearFokkerPlanck
from flows.solver import SolveFailed

import numpy as np
import numpy.typing as npt
from dolfinx import fem
from mpi4py import MPI
from petsc4py import PETSc

__all__ = ["Stability", "stability"]

type Floats = npt.NDArray[np.float64]
type Mode = fem.Function | tuple[fem.Function, ...]


@dataclass(frozen=True, eq=False)
class Stability:
    r"""What :func:`stability` found.

    Attributes:
        eigenvalues: The lowest eigenvalues $\lambda$ of the second variation in the metric,
            ascending; a perturbation along a mode changes like $e^{-\lambda t}$.
        modes: Their eigenvectors, of norm 1 in the metric and orthogonal in it: a function each, or
            a tuple of functions where the state is one.
        index: Morse index: how many eigenvalues are negative, counted by the signs of the factors
            of the second variation (all of them, not among ``eigenvalues`` alone).
        drift: How far the state is from being steady: how much it would move within the time scale
            of the modes, relative to its largest value.
        zero: Eigenvalues of a modulus below this are taken for zero.
    """

    eigenvalues: Floats
    modes: tuple[Mode, ...]
    index: int
    drift: float
    zero: float

    @property
    def growth(self) -> Floats:
        r"""Growth rates $-\lambda$ of the modes, the fastest first: positive ones grow."""
        return -self.eigenvalues

    @property
    def stable(self) -> bool:
        """Whether no perturbation lowers the energy to second order."""
        return self.index == 0

    def __str__(self) -> str:
        verdict = "stable" if self.stable else f"unstable, of index {self.index}"
        lines = [f"{verdict} (drift {self.drift:.1e})"]
        for value in self.eigenvalues:
            fate = "neutral" if abs(value) <= self.zero else "decays" if value > 0 else "grows"
            lines.append(f"{value:15.6e}  {fate}")
        return "\n".join(lines)


def stability(
    flow: GradientFlow, *, number: int = 6, tolerance: float = 1e-4, **petsc_options: Any
) -> Stability:
    r"""The lowest eigenvalues of the flow linearised at its present, steady state.

    $$ H x = \lambda M x, \qquad \dot x = -M^{-1} H x $$

    with the second variation $H$ of the energy and the metric $M$ of the flow. Perturbations keep
    boundary values, constraints (the multipliers bend $H$), and what the metric conserves: under
    ``HMinus1`` and ``Wasserstein`` the mass. Fields without a metric follow. The eigenvalues are
    found by SLEPc {cite}`hernandez2005`, Krylov-Schur with factors of $H - \sigma M$ at a shift
    $\sigma$ below all of them, which the signs of the factors prove; nothing depends on the scheme
    of the flow, and the flow is left as it was.

    Args:
        flow: A gradient flow at a steady state, stable or not; collective.
        number: How many eigenvalues.
        tolerance: Largest drift of a state that counts as steady; infinite for any state.
        petsc_options: Options of SLEPc and of its solver, such as ``eps_tol=1e-12``; their prefix
            on the command line is ``<flow name>_stability_``.

    Raises:
        ValueError: on every rank, for a state that is not steady, for a surface that moves, or for
            a flow that is no gradient flow.
        SolveFailed: on every rank, if SLEPc or its factors fail; a ``RuntimeError``.
    """
    if isinstance(flow, LinearFokkerPlanck):
        flow = flow.general()
    _check(flow, number)
    flow.settle()
    pencil = Pencil(flow)
    spectrum = _Spectrum(pencil, f"{flow.name}_stability_", petsc_options)
    spectrum.approach(number)
    drift = _drift(pencil, spectrum)
    if not drift <= tolerance:
        raise ValueError(
            f"{flow.name}: the state is not steady, within the time scale of its modes it would "
            f"move by {drift:.2g} of its size: let it flow on, with flows.Relax, say, or allow it "
            "by a larger tolerance."
        )
    values, vectors = spectrum.lowest(number)
    threshold = 1e-9 * float(np.abs(values).max() + values[-1] - values[0])
    modes = tuple(_mode(flow, pencil, v, k) for k, v in enumerate(vectors, start=1))
    return Stability(values, modes, spectrum.below(-threshold), drift, threshold)


class _Spectrum:
    """The lower end of the spectrum of a pencil.

    Args:
        pencil: The pencil.
        prefix: Prefix of the PETSc options.
        options: The user's options.
    """

    def __init__(self, pencil: Pencil, prefix: str, options: Any) -> None:
        slepc = import_module("slepc4py.SLEPc")  # not with every PETSc, so only where it is needed

        self._pencil, self.shift = pencil, -0.7
        defaults = {f"st_{key}": value for key, value in FACTORS.items()}
        self._options = Options(prefix, defaults, options)
        self.eps = slepc.EPS().create(pencil.comm)
        self.eps.setOptionsPrefix(prefix)
        self.eps.setOperators(pencil.left, pencil.right)
        self.eps.setProblemType(slepc.EPS.ProblemType.GHEP)
        self.eps.setWhichEigenpairs(slepc.EPS.Which.TARGET_MAGNITUDE)
        self.eps.getST().setType("sinvert")
        self.eps.setTolerances(max_it=300)
        with self._options():
            self.eps.setFromOptions()

    def _at(self, shift: float) -> None:
        """Factor the pencil at a shift."""
        self.eps.setTarget(shift)
        self.eps.getST().setShift(shift)
        with self._options():
            try:
                self.eps.setUp()
                self.eps.getST().setUp()
            except (PETSc.Error, SystemError) as error:  # which it is depends on who calls PETSc
                raise SolveFailed(
                    "the second variation cannot be factored: the metric is degenerate at this "
                    f"state, or the memory does not suffice ({error})"
                ) from error

    def factored(self) -> PETSc.KSP:
        """The solver with the factors at the shift."""
        self._at(self.shift)
        return self.eps.getST().getKSP()

    def below(self, shift: float) -> int:
        """How many eigenvalues lie below a number: Sylvester's law of inertia."""
        self._at(shift)
        return negative(self.eps.getST().getKSP().pc) - self._pencil.excess

    def approach(self, number: int) -> None:
        """Put the shift below the spectrum, but near to it: then few iterations do."""
        while self.below(self.shift):
            if self.shift < -1e60:
                raise SolveFailed("the second variation has no lowest eigenvalue")
            self.shift *= 16
        for _ in range(40):
            values = self.solve(number, 1e-3)[0]
            gap, spread = values[0] - self.shift, values[-1] - values[0]
            nearer = values[0] - max(spread, 0.02 * gap)
            if gap <= 10 * spread or self.below(nearer):
                return
            self.shift = nearer

    def lowest(self, number: int) -> tuple[Floats, list[PETSc.Vec]]:
        """The lowest eigenvalues, none missing: Krylov spaces may pass over a multiple one."""
        for sought in (number + 1, 2 * number + 1, 4 * number + 1):
            values, vectors = self.solve(sought)
            last = int(np.argmax(np.diff(values)))
            if self.below((values[last] + values[last + 1]) / 2) == last + 1:
                return values[:number], vectors[:number]
        raise SolveFailed("SLEPc misses eigenvalues that the factors count: raise eps_ncv")

    def solve(self, number: int, tolerance: float = 1e-10) -> tuple[Floats, list[PETSc.Vec]]:
        """Eigenvalues, ascending, and eigenvectors."""
        given = self._options.given
        if not given("eps_tol"):
            self.eps.setTolerances(tolerance)
        ncv = () if given("eps_ncv") else (PETSc.DECIDE, PETSc.DECIDE)
        self.eps.setDimensions(number, *ncv)
        self._at(self.shift)
        with self._options():
            try:
                self.eps.solve()
            except (PETSc.Error, SystemError) as error:
                raise SolveFailed(
                    "SLEPc finds no direction in which the state can move: is the metric "
                    f"degenerate at it? ({error})"
                ) from error
        found = self.eps.getConverged()
        if found < number:
            raise SolveFailed(
                f"SLEPc found {found} of {number} eigenvalues (reason "
                f"{self.eps.getConvergedReason()}): ask for fewer, or raise eps_max_it or eps_ncv"
            )
        values, vectors = np.empty(number), []
        for k in range(number):
            vector = self._pencil.left.createVecRight()
            values[k] = self.eps.getEigenpair(k, vector).real
            vectors.append(vector)
        order = np.argsort(values)
        return values[order], [vectors[k] for k in order]


def _check(flow: Any, number: int) -> None:
    if not isinstance(flow, GradientFlow) or flow.moving:
        raise ValueError(
            f"{type(flow).__name__}: stability is that of a flows.GradientFlow on a mesh at rest."
        )
    if not zero(flow._step.work):
        raise ValueError(
            f"{flow.name}: with a source the linearised flow is no gradient: a force that does not "
            "depend on the state can be a term of the energy instead."
        )
    size = sum(
        u.function_space.dofmap.index_map.size_global * u.function_space.dofmap.index_map_bs
        for u in flow.states
    )
    if not 1 <= number < size:
        raise ValueError(f"number = {number}: ask for 1 eigenvalue or more, below {size}.")


def _drift(pencil: Pencil, spectrum: _Spectrum) -> float:
    """What an implicit step as long as the time scale of the modes would change."""
    step = pencil.left.createVecRight()
    spectrum.factored().solve(pencil.force, step)
    size, change = (
        max((float(np.abs(v).max(initial=0.0)) for v in values), default=0.0)
        for values in ([u.x.array for u in pencil.states], pencil.states_of(step))
    )
    size, change = (pencil.comm.allreduce(value, MPI.MAX) for value in (size, change))
    return float(change / (size or 1.0))


def _mode(flow: GradientFlow, pencil: Pencil, vector: PETSc.Vec, number: int) -> Mode:
    """The states in an eigenvector; the largest value is positive."""
    parts = pencil.states_of(vector)
    least = pencil.comm.allreduce(min(float(v.min(initial=0.0)) for v in parts), MPI.MIN)
    most = pencil.comm.allreduce(max(float(v.max(initial=0.0)) for v in parts), MPI.MAX)
    sign = -1.0 if -least > (1 + 1e-6) * most else 1.0
    modes = []
    for u, values in zip(flow.states, parts, strict=True):
        name = f"mode_{number}" if len(flow.states) == 1 else f"mode_{number}_{u.name}"
        mode = fem.Function(u.function_space, name=name)
        mode.x.array[: values.size] = sign * values
        mode.x.scatter_forward()
        modes.append(mode)
    return modes[0] if len(modes) == 1 else tuple(modes)
