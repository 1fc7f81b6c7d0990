"""Self-test of a flow: is it a gradient flow, and can the mesh keep its promises?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flows.curvature import SurfaceFlow
from flows.flow import Flow
from flows.forms import compiled, variation
from flows.mobility import edge_weights
from flows.movement import GradientFlow
from flows.nodal import NodalSolver
from flows.solver import Solver
from flows.watched import Watched

import numpy as np
from dolfinx import fem
from dolfinx.fem import petsc as fempetsc
from mpi4py import MPI
from petsc4py import PETSc

__all__ = ["Finding", "check"]


@dataclass(frozen=True)
class Finding:
    """One answer of :func:`check`.

    Attributes:
        ok: Whether the promise can be kept.
        words: What was found, and what to do if it is not.
    """

    ok: bool
    words: str

    def __str__(self) -> str:
        return f"{'ok ' if self.ok else 'NO '} {self.words}"


def check(flow: Flow) -> list[Finding]:
    r"""Test what a flow promises, at its present state; the flow is left as it was.

    The linearised step is symmetric (the force is a gradient), the metric is positive, the energy
    and its assembled derivative belong together, the mesh suits a maximum principle, and a surface
    encloses a volume.

    Args:
        flow: Any flow; collective.

    Returns:
        The findings, equal on all ranks; ``print(*findings, sep="\n")`` shows them.
    """
    before, findings = flow.snapshot(), []
    for test in _TESTS:
        try:
            findings += test(flow)
        finally:
            flow.restore(before)
    return findings


def _wave(f: fem.Function, k: int) -> np.ndarray:
    """Smooth values that are the same on any number of ranks, and vary in every component."""
    V, mesh = f.function_space, f.function_space.mesh
    x = mesh.geometry.x
    low, high = np.empty(3), np.empty(3)
    mesh.comm.Allreduce(x.min(axis=0), low, MPI.MIN)
    mesh.comm.Allreduce(x.max(axis=0), high, MPI.MAX)
    size = np.where(high > low, high - low, 1.0)
    shape = int(np.prod(V.value_shape, dtype=int))
    wave = fem.Function(V)

    def values(p: np.ndarray) -> np.ndarray:
        s = (p - low[:, None]) / size[:, None]
        rows = [np.cos((k + 2) * s[0] + (i + 1) * s[1] - k * s[2] + i) for i in range(shape)]
        return np.array(rows) if shape > 1 else rows[0]

    wave.interpolate(values)
    return np.array(wave.x.array)


def _symmetric(flow: Flow) -> Iterator[Finding]:
    solver = flow.solver
    if not isinstance(solver, Solver):
        return  # steps of their own: no one matrix stands for them
    if isinstance(flow, GradientFlow) and not flow._step.drift:
        step = flow._step
        if not step.conservative or solver.coordinates or isinstance(solver, NodalSolver):
            yield Finding(True, "the force is a gradient; in the step its metric follows the state")
            return
    solver.forget()
    fempetsc.assign(solver.unknown, solver.x)
    solver._jacobian(solver.snes, solver.x, solver.A, solver.A)
    A = PETSc.Mat()
    solver.A.convert("aij", A)
    transposed = A.transpose(PETSc.Mat())
    transposed.axpy(-1.0, A)
    gap = transposed.norm() / A.norm()
    solver.forget()
    yield Finding(
        gap < 1e-12,
        f"the linearised step is symmetric to {gap:.1e}"
        if gap < 1e-12
        else f"the linearised step is not symmetric ({gap:.1e}): a drift, a source or a weak form "
        "that is no gradient; the energy balance then includes its work",
    )


def _positive(flow: Flow) -> Iterator[Finding]:
    if not isinstance(flow, GradientFlow) or not flow._step.blocks:
        return
    values = []
    flow._step.prepare(1.0, 0.0)
    for k in range(3):
        for i, u in enumerate(flow.states):
            u.x.array[:] = flow._step.old[i].x.array + _wave(u, k)
        for block in flow._step.blocks:
            for rate in block.rates:
                rate.x.array[:] = _wave(rate, k)
        values.append(flow.values.dissipation())
    ok = min(values) > 0
    yield Finding(
        ok,
        "the metric is positive on test rates"
        if ok
        else f"the metric is not positive: it gives {min(values):.3g} for a rate; "
        "check the sign of the weight or mobility at this state",
    )


def _differentiable(flow: Flow) -> Iterator[Finding]:
    if not isinstance(flow, GradientFlow) or isinstance(flow, SurfaceFlow):
        return
    state = [u.x.array.copy() for u in flow.states]
    waves = [_wave(u, 1) for u in flow.states]
    scale = max(
        1e-12, *(flow.mesh.comm.allreduce(np.abs(s).max(initial=0), MPI.MAX) for s in state)
    )
    forces = [fem.assemble_vector(compiled(variation(flow.functional, u))) for u in flow.states]
    slope = flow.mesh.comm.allreduce(
        sum(float(b.array @ w) for b, w in zip(forces, waves, strict=True))
    )
    energies = [flow.values.energy()]
    h = 1e-5 * scale
    for sign in (1, -1):
        for u, s, w in zip(flow.states, state, waves, strict=True):
            u.x.array[:] = s + sign * h * w
        energies.append(flow.values.energy())
    here, ahead, behind = energies
    found, bend = (ahead - behind) / (2 * h), abs(ahead - 2 * here + behind) / (2 * h)
    # Where the slope vanishes, near a steady state, the curvature measures what a gap means.
    gap = abs(found - slope) / max(abs(slope), 1e2 * bend, 1e-10 * abs(here) / h, 1e-300)
    yield Finding(
        gap < 1e-5,
        f"the assembled derivative belongs to the assembled energy (relative gap {gap:.1e})"
        if gap < 1e-5
        else f"the assembled derivative is not that of the assembled energy (gap {gap:.1e}): "
        "is the energy smooth at this state?",
    )


def _delaunay(flow: Flow) -> Iterator[Finding]:
    mesh = flow.mesh
    if not mesh.ufl_domain().is_piecewise_linear_simplex_domain():
        return
    found = edge_weights(fem.functionspace(mesh, ("Lagrange", 1)))
    bad, edges = found.negative, found.total
    yield Finding(
        bad == 0,
        f"all {edges} edge weights of the mesh suit a maximum principle (Delaunay)"
        if bad == 0
        else f"{bad} of {edges} edge weights of the mesh are negative (obtuse cells): no scheme "
        "that needs a maximum principle can promise signs or bounds here",
    )


def _encloses(flow: Flow) -> Iterator[Finding]:
    if isinstance(flow, Watched) and flow.surface.closed:
        volume = flow.surface.volume
        yield Finding(volume > 0, f"the surface is closed and oriented, and encloses {volume:.6g}")


_TESTS: tuple[Any, ...] = (_symmetric, _positive, _differentiable, _delaunay, _encloses)
