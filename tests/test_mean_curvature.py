"""Mean curvature flow beyond the basics: smooth mode, edges, volume, tangential motion, curves."""

import itertools

import flows
from flows.curvature_solver import CurvatureSolver
from flows.mesh import circle, ellipsoid, from_arrays, hemisphere, sphere, tube
from flows.smooth import SmoothFlow
from flows.tangential import Free, NormalOnly, Redistribute

import numpy as np
import pytest
from dolfinx.mesh import CellType
from mpi4py import MPI
from scipy.optimize import brentq
from tools import comm, order


def radii(mesh):
    """Distances of the nodes from the origin."""
    owned = mesh.geometry.index_map().size_local
    return np.concatenate(comm.allgather(np.linalg.norm(mesh.geometry.x[:owned], axis=1)))


def octahedral(n, octants, axes=(1.0, 1.0, 1.0), shift=(0.0, 0.0, 0.0)):
    """An ellipsoid, or some octants of it: the coordinate planes run along edges."""
    number, cells = {}, []
    for sign in octants:
        for i, j in itertools.product(range(n), repeat=2):
            up = [(i, j), (i + 1, j), (i, j + 1)]
            down = [(i + 1, j), (i + 1, j + 1), (i, j + 1)]
            for corners in (up, down):
                if all(a + b <= n for a, b in corners):
                    at = [(sign[0] * a, sign[1] * b, sign[2] * (n - a - b)) for a, b in corners]
                    cells.append([number.setdefault(p, len(number)) for p in at])
    points = np.sin(np.pi / 2 * np.array(list(number)) / n)
    points /= np.linalg.norm(points, axis=1)[:, None]
    return from_arrays(points * axes + shift, cells)


ALL = list(itertools.product((1, -1), repeat=3))


@pytest.mark.serial
# -- the smooth mode -------------------------------------------------------------------------------
def test_smooth_spheres_are_second_order_in_tau():
    errors, steps = [], (10, 20, 40)
    for n in steps:
        flow = SmoothFlow(sphere(refinements=3, order=2))
        history = flows.evolve(flow, until=0.1, tau=0.1 / n)
        assert np.diff(history["energy"]).max() < 0
        errors.append(np.abs(radii(flow.mesh) - np.sqrt(0.6)).max())
    assert -2.1 < order(steps, errors) < -1.8, errors
    assert errors[-1] < 1.65e-5


@pytest.mark.serial
def test_smooth_circles_are_second_order_in_tau():
    errors, steps = [], (10, 20, 40)
    for n in steps:
        flow = SmoothFlow(circle(n=32, order=2))
        flows.evolve(flow, until=0.2, tau=0.2 / n)
        errors.append(np.abs(radii(flow.mesh) - np.sqrt(0.6)).max())
    assert -2.1 < order(steps, errors) < -1.8, errors
    assert errors[-1] < 1e-5


def test_a_smooth_flow_takes_adaptive_steps_and_loses_area_by_the_squared_curvature():
    flow = SmoothFlow(ellipsoid((1, 1.2, 1.5), refinements=2, order=2))
    control = flows.Adaptive(1e-3, tolerance=1e-5)
    history = flows.evolve(flow, until=0.2, tau=control)
    assert np.diff(history["energy"]).max() < 0
    fixed = SmoothFlow(ellipsoid((1, 1.2, 1.5), refinements=2, order=2))
    flows.evolve(fixed, until=0.2, tau=2.5e-3)
    assert abs(flow.energy() / fixed.energy() - 1) < 2e-4
    fall = history["energy"][0] - history["energy"][-1]
    assert abs(2 * history["movement"].sum() / fall - 1) < 0.03


def test_a_smooth_flow_resumes_where_it_was_saved(tmp):
    flow = SmoothFlow(sphere(refinements=1, order=2))
    flows.evolve(flow, steps=3, tau=0.01)
    flows.save(tmp / "flow.h5", flow)
    flows.evolve(flow, steps=3, tau=0.02)
    other = SmoothFlow(sphere(refinements=1, order=2))
    other.state.x.array[:] *= 1.5
    flows.load(tmp / "flow.h5", other)
    flows.evolve(other, steps=3, tau=0.02)
    assert np.array_equal(flow.state.x.array, other.state.x.array)


def test_the_user_may_move_a_smooth_state():
    flow = SmoothFlow(sphere(refinements=2, order=2))
    flow.step(1e-3)
    flow.state.x.array[:] *= 2 / np.sqrt(1 - 4e-3)
    flow.step(1e-3)
    assert np.abs(radii(flow.mesh) - np.sqrt(4 - 4e-3)).max() < 1e-4
    (H,) = flow.fields
    assert np.abs(H.x.array - 1).max() < 0.01


def test_a_smooth_step_that_would_destroy_the_surface_is_refused():
    flow = SmoothFlow(sphere(refinements=1, order=2))
    flow.step(0.01)
    points, state = flow.mesh.geometry.x.copy(), flow.state.x.array.copy()
    with pytest.raises(flows.StepFailed, match=r"turns over|shrinks|left the surface|breaks|rises"):
        flow.step(5.0)
    assert np.array_equal(flow.mesh.geometry.x, points)
    assert np.array_equal(flow.state.x.array, state)
    flow.step(0.01)
    assert np.abs(radii(flow.mesh) - np.sqrt(1 - 0.08)).max() < 2e-3


def test_flat_cells_are_refused_by_the_smooth_mode():
    with pytest.raises(ValueError, match="degree 2"):
        SmoothFlow(sphere(refinements=1))


# -- edges -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("constraints", [[], [flows.Volume()]], ids=["free", "volume kept"])
def test_a_piece_between_mirrors_is_the_whole(constraints):
    axes, shift = (1.0, 1.2, 1.5), (0.7, 0.3, 0.2)
    exact = {"ksp_rtol": 1e-12}
    whole = flows.mean_curvature(
        octahedral(4, ALL, axes), constraints=constraints, petsc_options=exact
    )
    walls = [
        flows.PlaneEdge(i, where=lambda x, i=i: np.abs(x[i] - shift[i]) < 1e-9) for i in range(3)
    ]
    half = octahedral(4, [sign for sign in ALL if sign[2] > 0], axes, shift)
    eighth = octahedral(4, [(1, 1, 1)], axes, shift)
    energies = flows.evolve(whole, steps=4, tau=5e-3)["energy"]
    for share, mesh, edges in ((2, half, [walls[2]]), (8, eighth, walls)):
        flow = flows.mean_curvature(mesh, edges=edges, constraints=constraints)
        assert flow.surface.volume > 0
        history = flows.evolve(flow, steps=4, tau=5e-3)
        assert np.abs(share * history["energy"] / energies - 1).max() < 1e-10
        assert abs(share * flow.surface.volume / whole.surface.volume - 1) < 1e-10


def test_a_hemisphere_on_a_wall_shrinks_like_a_sphere():
    errors, sizes = [], (0.2, 0.1)
    for h in sizes:
        flow = flows.mean_curvature(hemisphere(h=h), edges=flows.PlaneEdge(2))
        flows.evolve(flow, until=0.1, tau=h**2 / 4)
        errors.append(abs(flow.energy() / (2 * np.pi * 0.6) - 1))
        rim = np.abs(flow.mesh.geometry.x[:, 2]).min(initial=1)
        assert comm.allreduce(rim, MPI.MIN) < 1e-14
    assert order(sizes, errors) > 1.7, errors


def test_the_volume_of_a_tube_between_two_walls_is_kept():
    flow = flows.mean_curvature(
        tube(1.0, 1.0, h=0.25), edges=flows.PlaneEdge(2), constraints=[flows.Volume()]
    )
    x = flow.state.x.array.reshape(-1, 3)
    x[:, :2] *= 1 + 0.1 * np.cos(2 * np.pi * x[:, 2:])
    flow.energy()
    volume = flow.surface.volume
    assert abs(volume / (np.pi * 1.005) - 1) < 0.05
    history = flows.evolve(flow, until=0.1, tau=0.01)
    assert abs(flow.surface.volume / volume - 1) < 1e-13
    assert np.diff(history["energy"]).max() < 0


def test_a_volume_that_no_flux_closes_is_refused():
    piece = octahedral(2, [(1, 1, 1)])
    with pytest.raises(ValueError, match="at most one PlaneEdge"):
        flows.mean_curvature(
            piece, edges=[flows.PlaneEdge(i) for i in range(3)], constraints=[flows.Volume()]
        )


def test_a_film_between_near_rings_is_a_catenoid_to_second_order():
    a = brentq(lambda a: a * np.cosh(0.5 / a) - 1, 0.6, 1)
    exact, errors, sizes = np.pi * a * (1 + a * np.sinh(1 / a)), [], (0.25, 0.125)
    for h in sizes:
        flow = flows.mean_curvature(tube(1.0, 1.0, h=h), edges=flows.FixedEdge())
        history = flows.evolve(flow, until=3, tau=0.1)
        assert np.diff(history["energy"]).max() <= 1e-12
        errors.append(abs(flow.energy() / exact - 1))
    assert order(sizes, errors) > 1.8, errors
    assert errors[-1] < 2e-3


def test_a_film_between_far_rings_closes():
    def neck(flow):
        x = flow.mesh.geometry.x
        return comm.allreduce(np.hypot(x[:, 0], x[:, 1]).min(initial=1), MPI.MIN)

    flow = flows.mean_curvature(tube(1.0, 1.5, h=0.2), edges=flows.FixedEdge())
    stop = flows.Stop(lambda flow: neck(flow) < 0.4)
    flows.evolve(flow, until=5, tau=0.02, observers=[stop])
    assert flow.time < 2
    assert neck(flow) < 0.4


# -- volume ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", [2, 3])
def test_a_wave_on_a_sphere_of_fixed_volume_decays_at_its_rate(mode):
    # V = mean(H) - H: harmonics of degree l decay like exp(-(l - 1)(l + 2) t) on the unit sphere.
    flow = flows.mean_curvature(sphere(refinements=3), constraints=[flows.Volume()])
    harmonic = np.polynomial.legendre.Legendre.basis(mode)
    x = flow.state.x.array.reshape(-1, 3)
    x *= 1 + 0.02 * harmonic(x[:, 2:])
    flow.energy()
    volume = flow.surface.volume

    def height(flow):
        n, x = flow.surface.owned, flow.state.x.array.reshape(-1, 3)
        r = np.linalg.norm(x, axis=1)
        wave = flow.surface.mass.x.array * r * harmonic(x[:, 2] / r)
        return comm.allreduce(wave[:n].sum())

    record = flows.Recorder(height=height)
    history = flows.evolve(flow, until=0.02, tau=1e-3, observers=[record])
    rate = -np.polyfit(history["t"][2:], np.log(history["height"][2:]), 1)[0]
    assert rate == pytest.approx((mode - 1) * (mode + 2), rel=0.02)
    assert abs(flow.surface.volume / volume - 1) < 1e-13
    assert np.diff(history["energy"]).max() < 0
    assert history["defect"].max() <= 1e-12


# -- tangential motion -----------------------------------------------------------------------------
def test_tangential_motion_changes_the_mesh_and_not_the_shape():
    found = {}
    for rule in (Free(), NormalOnly(), Redistribute()):
        flow = flows.mean_curvature(flows.mesh.dumbbell(0.4, h=0.2), tangential=rule)
        history = flows.evolve(flow, until=0.03, tau=3e-3)
        assert np.diff(history["energy"]).max() < 0
        assert history["defect"].max() <= 1e-12
        found[type(rule)] = flow.surface.quality().angle, flow.surface.volume
    angles, volumes = (np.array(column) for column in zip(*found.values(), strict=True))
    assert np.ptp(volumes) < 0.05 * volumes.mean()
    free, normal, slipping = angles
    assert min(free, slipping) > normal + 3


# -- solver ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "rule",
    [{}, {"tangential": NormalOnly()}, {"constraints": [flows.Volume()]}],
    ids=["free", "normal only", "volume kept"],
)
def test_steps_from_extrapolated_velocities_are_those_of_factors(rule):
    factors = {"ksp_type": "preonly", "pc_type": "cholesky", "pc_factor_mat_solver_type": "mumps"}
    rtol, found = 1e-8 if "constraints" in rule else 1e-11, []
    for options in ({"ksp_rtol": rtol}, factors):
        flow = flows.mean_curvature(
            ellipsoid((1, 1.2, 1.5), refinements=3), petsc_options=options, **rule
        )
        for tau in (1e-3, 1e-3, 2e-3, 1e-3, 1e-4):
            flow.step(tau)
        found.append(flow)
    quick, direct = found
    assert isinstance(quick.solver, CurvatureSolver)
    assert not quick.solver.general
    assert not isinstance(direct.solver, CurvatureSolver)
    assert np.abs(quick.state.x.array - direct.state.x.array).max() < 1e-9


def test_a_long_step_at_fixed_volume_is_left_to_newton():
    flow = flows.mean_curvature(ellipsoid((1, 1, 1.5), refinements=2), constraints=[flows.Volume()])
    volume = flow.surface.volume
    assert flow.step(0.2).iterations > 1
    assert abs(flow.surface.volume / volume - 1) < 1e-12
    assert flow.step(1e-3).defect < 0


MULTIGRID = {"petsc_options": {"pc_type": "gamg", "ksp_type": "cg", "snes_lag_preconditioner": -2}}


@pytest.mark.parametrize(
    "options",
    [MULTIGRID, {}, {"constraints": [flows.Volume()]}],
    ids=["multigrid", "velocities", "volume"],
)
def test_what_steps_keep_from_earlier_ones_does_not_change_a_resumed_run(tmp, options):
    def start():
        return flows.mean_curvature(ellipsoid(refinements=3), **options)

    flow = start()
    flows.evolve(flow, steps=3, tau=2e-3)
    flows.save(tmp / "flow.h5", flow)
    flows.evolve(flow, steps=3, tau=2e-3)
    other = start()
    flows.load(tmp / "flow.h5", other)
    flows.evolve(other, steps=3, tau=2e-3)
    assert np.abs(flow.state.x.array - other.state.x.array).max() < 1e-12


@pytest.mark.serial
# -- curves ----------------------------------------------------------------------------------------
def test_a_star_loses_area_at_two_pi_and_becomes_round():
    n = 128
    t, i = 2 * np.pi * np.arange(n) / n, np.arange(n)
    r = 1 + 0.4 * np.cos(5 * t)
    star = from_arrays(
        np.column_stack([r * np.cos(t), r * np.sin(t)]),
        np.column_stack([i, (i + 1) % n]),
        cell=CellType.interval,
    )
    flow = flows.mean_curvature(star)
    area = flow.surface.volume
    until = 0.8 * area / (2 * np.pi)
    history = flows.evolve(flow, until=until, tau=until / 400)
    assert abs((area - flow.surface.volume) / (2 * np.pi * until) - 1) < 0.02
    assert flow.energy() ** 2 / (4 * np.pi * flow.surface.volume) < 1.001
    assert np.diff(history["energy"]).max() < 0


def test_factors_stand_in_for_iterations_that_fail_until_these_may_try_again():
    # Tiny steps hold the nodes along the normals alone: the multigrid of long ones fails there.
    flow = flows.mean_curvature(
        ellipsoid((1, 1, 1.5), refinements=5), petsc_options={"ksp_type": "cg"}
    )
    flow.step(1e-3)
    report = flow.step(1e-7)
    assert flow.solver.factored == 10
    assert report.defect < 0
    for _ in range(10):
        assert flow.solver.ksp.getType() == "preonly"
        assert flow.step(1e-3).defect < 0
    assert flow.solver.ksp.getType() == "cg"
