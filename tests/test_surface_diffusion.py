"""Surface diffusion: volume is exact, area falls, and small waves decay as they must."""

import flows
from flows import surface_saddle
from flows.diffusion import SurfaceDiffusionFlow
from flows.mesh import circle, ellipsoid, from_arrays, sphere
from flows.solver import Solver
from flows.surface_saddle import SurfaceSaddle

import numpy as np
import pytest
from dolfinx.mesh import CellType
from mpi4py import MPI
from tools import comm, order

LEGENDRE = {2: lambda z: (3 * z**2 - 1) / 2, 3: lambda z: (5 * z**3 - 3 * z) / 2}


@pytest.fixture
def blocks(monkeypatch):
    """Small surfaces are solved by blocks, too."""
    monkeypatch.setattr(surface_saddle, "SMALL", 0)


def nodes(flow):
    """Owned nodes, and their masses."""
    flow.surface.refresh()
    n, dim = flow.surface.owned, flow.mesh.geometry.dim
    return flow.state.x.array.reshape(-1, dim)[:n], flow.surface.mass.x.array[:n]


def decay(mesh, wave, tau):
    """Decay rate of a small wave on a steady surface of radius 1, read off one implicit step."""
    flow, amplitudes = SurfaceDiffusionFlow(mesh), []
    flow.step(1.0)  # a sphere of nodes on the sphere is not steady yet
    x = flow.state.x.array.reshape(-1, flow.mesh.geometry.dim)
    x *= 1 + 1e-5 * wave(x.T)[:, None]
    for _ in range(3):
        flow.step(tau)
        x, m = nodes(flow)
        r = np.linalg.norm(x, axis=1)
        y = wave((x / r[:, None]).T)
        amplitudes.append(comm.allreduce(m @ ((r - 1) * y)) / comm.allreduce(m @ y**2))
    return (amplitudes[1] / amplitudes[2] - 1) / tau


def test_volume_is_exact_and_area_falls_to_that_of_the_sphere():
    flow = SurfaceDiffusionFlow(ellipsoid((2, 1, 1), refinements=2))
    volume = flow.surface.volume
    history = flows.evolve(flow, until=2.0, tau=flows.Fixed(0.01), steps=40)
    assert abs(flow.surface.volume / volume - 1) < 1e-13
    assert np.all(np.diff(history["energy"]) < 0)
    assert np.all(history["defect"] <= 0)
    history = flows.evolve(flow, until=2.0, tau=0.1)
    assert abs(flow.surface.volume / volume - 1) < 1e-13
    assert np.all(np.diff(history["energy"]) < 1e-13)
    radius = np.cbrt(3 * volume / (4 * np.pi))
    x, _ = nodes(flow)
    r = np.linalg.norm(x, axis=1)
    assert comm.allreduce(np.abs(r / radius - 1).max(), MPI.MAX) < 0.02
    (H,) = flow.fields
    assert comm.allreduce(np.ptp(H.x.array), MPI.MAX) < 1e-4
    assert flow.surface.quality().angle > 35


def test_the_energy_law_holds_for_steps_of_any_size():
    for tau in (1e-4, 1.0, 1e4):
        flow = SurfaceDiffusionFlow(ellipsoid((2, 1, 0.7), refinements=2))
        before, volume = flow.energy(), flow.surface.volume
        report = flow.step(tau)
        assert report.energy + report.movement <= before
        assert report.movement > 0
        assert abs(flow.surface.volume / volume - 1) < 1e-13


def test_steady_spheres_converge_in_h():
    # The polyhedron of constant discrete curvature has the radius of the sphere up to O(h^2).
    errors = []
    for refinements in (1, 2, 3):
        flow = SurfaceDiffusionFlow(ellipsoid((1.2, 1, 1), refinements=refinements))
        flows.evolve(flow, until=3.0, tau=0.5)
        radius = np.cbrt(3 * flow.surface.volume / (4 * np.pi))
        H = flow.surface.curvature.x.array[0]
        errors.append((abs(flow.energy() / (4 * np.pi * radius**2) - 1), abs(H * radius / 2 - 1)))
    for column in zip(*errors, strict=True):
        assert abs(order([4, 2, 1], column) - 2) < 0.2, errors


def test_waves_on_the_sphere_decay_at_the_rate_of_the_linear_theory():
    for degree, P in LEGENDRE.items():
        rate = (degree - 1) * degree * (degree + 1) * (degree + 2)
        found = [
            decay(sphere(refinements=k), lambda x, P=P: P(x[2]), 1e-2 / rate) for k in (2, 3, 4)
        ]
        errors = [abs(f / rate - 1) for f in found]
        assert abs(order([4, 2, 1], errors) - 2) < 0.2, errors
        assert errors[-1] < 0.01
        assert abs((4 * found[2] - found[1]) / 3 / rate - 1) < 1e-3


@pytest.mark.serial
def test_waves_on_the_circle_decay_at_the_rate_of_the_linear_theory():
    for m in (2, 3):
        rate = m**2 * (m**2 - 1)

        def wave(x, m=m):
            return np.cos(m * np.arctan2(x[1], x[0]))

        errors = [abs(decay(circle(n=n), wave, 1e-5) / rate - 1) for n in (32, 64, 128)]
        assert abs(order([4, 2, 1], errors) - 2) < 0.2, errors
        assert errors[-1] < 5e-3


def test_curves_keep_their_area_and_become_circles():
    i, t = np.arange(96), 2 * np.pi * np.arange(96) / 96
    r = 1 + 0.4 * np.cos(3 * t)
    flower = from_arrays(
        np.column_stack([r * np.cos(t), r * np.sin(t)]),
        np.column_stack([i, (i + 1) % 96]),
        cell=CellType.interval,
    )
    flow = SurfaceDiffusionFlow(flower)
    area = flow.surface.volume
    history = flows.evolve(flow, until=0.5, tau=flows.Adaptive(1e-4))
    assert abs(flow.surface.volume / area - 1) < 1e-13
    assert np.all(np.diff(history["energy"]) < 1e-12)
    x, _ = nodes(flow)
    distance = np.linalg.norm(x, axis=1)
    assert comm.allreduce(np.abs(distance / np.sqrt(area / np.pi) - 1).max(), MPI.MAX) < 2e-3


def test_a_cuboid_becomes_round():
    mesh = sphere(refinements=3)
    x = mesh.geometry.x
    x /= np.abs(x).max(axis=1)[:, None]
    x[:, 0] *= 2
    flow = SurfaceDiffusionFlow(mesh)
    volume = flow.surface.volume
    history = flows.evolve(flow, until=2.0, tau=flows.Adaptive(1e-4))
    assert abs(flow.surface.volume / volume - 1) < 1e-13
    assert np.all(np.diff(history["energy"]) < 1e-12)
    x, _ = nodes(flow)
    r = np.linalg.norm(x, axis=1)
    assert comm.allreduce(np.abs(r / np.cbrt(3 * volume / (4 * np.pi)) - 1).max(), MPI.MAX) < 0.01


def test_steps_are_of_first_order_in_time():
    energies = []
    for steps in (2, 4, 8, 48):
        flow = SurfaceDiffusionFlow(ellipsoid((1.5, 1, 1), refinements=1))
        energies.append(flows.evolve(flow, until=0.05, tau=0.05 / steps)["energy"][-1])
    errors = np.array(energies[:3]) - energies[3]
    assert abs(order([4, 2, 1], errors) - 1) < 0.2, errors


def test_blocks_and_factorisation_take_the_same_steps(blocks):
    direct = {"ksp_type": "preonly", "pc_type": "lu", "pc_factor_mat_solver_type": "mumps"}
    ends = []
    for options in ({"ksp_rtol": 1e-11}, direct):
        flow = SurfaceDiffusionFlow(ellipsoid((2, 1, 1), refinements=3), petsc_options=options)
        iterations = []
        for tau in (1e-5, 1e-3, 1e-1):
            flow.step(tau)
            if isinstance(flow.solver, SurfaceSaddle):
                iterations.append(flow.solver.outer.getIterationNumber())
        assert iterations or type(flow.solver) is Solver
        assert all(0 < its < 50 for its in iterations), iterations
        ends.append((flow.energy(), flow.state.x.array.copy(), flow.surface.curvature.x.array))
    assert abs(ends[0][0] - ends[1][0]) < 1e-9
    assert comm.allreduce(np.abs(ends[0][1] - ends[1][1]).max(), MPI.MAX) < 1e-7
    assert comm.allreduce(np.abs(ends[0][2] - ends[1][2]).max(), MPI.MAX) < 1e-6


def test_blocks_need_as_many_iterations_on_any_mesh_and_for_any_step(blocks):
    for tau in (1e-6, 1e-3, 1.0):
        for refinements in (2, 3, 4):
            flow = SurfaceDiffusionFlow(ellipsoid((2, 1, 1), refinements=refinements))
            flow.step(max(tau, (2.0**-refinements) ** 4 / 10))
            assert flow.solver.outer.getConvergedReason() > 0
            assert flow.solver.outer.getIterationNumber() < 20


def test_a_stretched_mesh_is_solved_directly_until_it_is_better(blocks):
    flow = SurfaceDiffusionFlow(
        ellipsoid((4, 0.2, 0.2), refinements=3), petsc_options={"ksp_max_it": 30}
    )
    volume, iterate, tries = flow.surface.volume, flow.solver._iterate, []

    def counted():
        tries.append((flow.surface.quality().angle, iterate()))
        return tries[-1][1]

    flow.solver._iterate = counted
    history = flows.evolve(flow, tau=0.01, steps=24)
    angles, converged = zip(*tries, strict=True)
    assert not converged[0]
    assert converged[-1]
    assert angles[1] > 1.5 * angles[0]  # between them, steps without a try
    assert len(tries) < 24
    assert np.all(np.diff(history["energy"]) < 0)
    assert abs(flow.surface.volume / volume - 1) < 1e-13


def test_waves_on_a_wire_between_planes_grow_at_the_rate_of_the_linear_theory():
    # The instability of Plateau and Rayleigh: k^2 (1 - k^2) on a cylinder of radius 1.
    k, errors = 0.6, []
    for n in (16, 32):
        rows = round(n / (2 * k)) + 1
        i, j = (a.ravel() for a in np.meshgrid(np.arange(n), np.arange(rows), indexing="ij"))
        angle, z = 2 * np.pi * (i + j / 2) / n, np.pi / k * j / (rows - 1)
        a, b, up = i * rows + j, (i + 1) % n * rows + j, j < rows - 1
        cells = np.concatenate(
            [np.column_stack([a, b, a + 1])[up], np.column_stack([b, b + 1, a + 1])[up]]
        )
        wire = from_arrays(np.column_stack([np.cos(angle), np.sin(angle), z]), cells)
        flow = SurfaceDiffusionFlow(wire, edges=flows.PlaneEdge(2))
        x, size = flow.state.x.array.reshape(-1, 3), []
        x[:, :2] *= 1 + 1e-4 * np.cos(k * x[:, 2:])
        for _ in range(3):
            flow.step(1e-2)
            x, m = nodes(flow)
            wave, r = np.cos(k * x[:, 2]), np.hypot(x[:, 0], x[:, 1])
            size.append(comm.allreduce(m @ ((r - 1) * wave)))
        errors.append(abs((1 - size[1] / size[2]) / 1e-2 / (k**2 * (1 - k**2)) - 1))
    assert errors[1] < 0.02, errors
    assert errors[1] < 0.3 * errors[0], errors


def test_ranks_agree_with_one():
    def run(world):
        flow = SurfaceDiffusionFlow(ellipsoid((2, 1, 1), refinements=2, comm=world))
        return flows.evolve(flow, tau=1e-2, steps=5)["energy"]

    assert np.abs(run(comm) / run(MPI.COMM_SELF) - 1).max() < 1e-9


def test_a_resumed_run_repeats_itself(tmp, blocks):
    def make():
        return SurfaceDiffusionFlow(ellipsoid((2, 1, 1), refinements=2))

    whole, part, resumed = make(), make(), make()
    history = flows.evolve(
        whole, tau=1e-2, steps=4, observers=[flows.Checkpoint(tmp / "whole.h5", every=2)]
    )
    flows.evolve(part, tau=1e-2, steps=2, observers=[flows.Checkpoint(tmp / "part.h5", every=2)])
    again = flows.evolve(resumed, tau=1e-2, steps=2, resume=tmp / "part.h5")
    assert np.array_equal(history["t"], again["t"])
    assert np.abs(history["energy"] - again["energy"]).max() < 1e-12
    assert np.abs(resumed.state.x.array - whole.state.x.array).max() < 1e-12


def test_the_user_may_move_the_state():
    flow = SurfaceDiffusionFlow(sphere(refinements=2))
    flow.state.x.array[:] *= 2
    volume = 8 * flow.surface.volume
    flow.step(1e-3)
    assert abs(flow.surface.volume / volume - 1) < 1e-12


def test_a_failed_step_leaves_no_trace():
    flow = SurfaceDiffusionFlow(ellipsoid((2, 1, 1), refinements=2))
    flow.step(1e-2)
    state, H, A = flow.state.x.array.copy(), flow.surface.curvature.x.array.copy(), flow.energy()
    flow._judge = lambda *args: (_ for _ in ()).throw(flows.solver.SolveFailed("as a test"))
    with pytest.raises(flows.StepFailed, match="as a test"):
        flow.step(1e-2)
    assert np.array_equal(flow.state.x.array, state)
    assert np.array_equal(flow.surface.curvature.x.array, H)
    assert flow.energy() == A
