"""Singularities are events: announced at their time and place, with all files complete."""

import logging
from importlib.util import find_spec
from pathlib import Path

import flows
from flows.flow import Event
from flows.mesh import circle, dumbbell, from_arrays, read, sphere, torus

import axisymmetric
import numpy as np
import pytest
from dolfinx import fem
from mpi4py import MPI
from test_observe import frames
from tools import comm, nodal
from ufl import dx

V = fem.functionspace(flows.mesh.interval(h=0.1), ("Lagrange", 1))


def heat():
    flow = flows.heat(V)
    flow.state.interpolate(lambda x: np.cos(np.pi * x[0]))
    return flow


def event(flow, **options):
    return Event("spot", flow.time, (0.0,), f"a spot at t = {flow.time:.4g}", **options)


class Log(flows.Observer):
    def __init__(self, **when):
        super().__init__(**when)
        self.seen, self.closed = [], False

    def observe(self, flow):
        self.seen.append(flow.time)

    def finish(self):
        self.closed = True


def end(mesh, tolerance=2e-3):
    """Mean curvature flow until an event ends it: the event and its history."""
    flow = flows.mean_curvature(mesh)
    tau = flows.Adaptive(1e-3, tolerance=tolerance)
    history = flows.evolve(flow, until=np.inf, tau=tau)
    assert history.event.t == flow.time
    assert np.all(np.diff(history["energy"]) < 0)
    return history.event, history


def spheres():
    """A unit sphere and one of half its radius beside it."""
    points, cells, count = [], [], 0
    for radius, place in ((1.0, 0.0), (0.5, 2.0)):
        mesh = sphere(radius, refinements=2, comm=MPI.COMM_SELF)
        points.append(mesh.geometry.x + np.array([place, 0, 0]))
        cells.append(mesh.geometry.dofmaps[0] + count)
        count += len(points[-1])
    return from_arrays(np.concatenate(points), np.concatenate(cells))


# -- what evolve does with events ------------------------------------------------------------------
def test_a_final_event_ends_a_run_politely_with_the_last_state_seen(monkeypatch, caplog, tmp):
    flow, log = heat(), Log(every=10)
    monkeypatch.setattr(flow, "review", lambda: [event(flow)] if flow.time > 0.035 else [])
    recorder = flows.Recorder(tmp / "run.csv", every=10)
    with caplog.at_level(logging.WARNING, logger="flows"):
        history = flows.evolve(flow, until=1.0, tau=0.01, observers=[log, recorder])
    assert history["t"][-1] == flow.time == pytest.approx(0.04)
    assert history.event is history.events[0]
    assert history.event.kind == "spot"
    assert log.seen == [0.0, flow.time]
    assert log.closed
    assert recorder.columns["t"] == [0.0, flow.time]
    assert len(caplog.records) == (1 if comm.rank == 0 else 0)
    assert all("a spot at t = 0.04" in r.getMessage() for r in caplog.records)


def test_a_run_goes_on_after_an_event_that_is_not_final(monkeypatch):
    flow = heat()
    monkeypatch.setattr(flow, "review", lambda: [event(flow, final=False)])
    history = flows.evolve(flow, until=0.03, tau=0.01)
    assert [e.t for e in history.events] == list(history["t"][1:])
    assert history.event is None


def test_an_event_may_explain_why_no_step_succeeds(monkeypatch):
    flow, log = heat(), Log(every=10)
    advance = flow._advance

    def fail(tau):
        if flow.time + tau > 0.025:
            raise flows.flow.SolveFailed("made to fail")
        return advance(tau)

    monkeypatch.setattr(flow, "_advance", fail)
    with pytest.raises(flows.StepFailed, match=r"no step from t = 0\.02"):
        flows.evolve(flow, until=1.0, tau=flows.Fixed(0.01, smallest=0.008), observers=[log])
    monkeypatch.setattr(flow, "despair", lambda failure: event(flow))
    history = flows.evolve(flow, until=1.0, tau=flows.Fixed(0.01, smallest=0.008))
    assert history.event.t == flow.time == 0.02
    assert log.seen == [0.0, 0.02]


@pytest.mark.serial
# -- singularities of mean curvature flow ----------------------------------------------------------
def test_a_sphere_vanishes_when_its_squared_radius_is_four_times_the_time():
    seen, history = end(sphere(1.5, refinements=3))
    assert seen.kind == "extinction"
    assert "shrinks to a point near (0, 0, 0)" in str(seen)
    assert seen.estimate == pytest.approx(1.5**2 / 4, rel=0.02)
    assert history["energy"][-1] < 2e-3 * history["energy"][0]


def test_a_circle_vanishes_when_its_area_is_two_pi_times_the_time():
    # Steps of a hundredth of the time left are late by 1.5 %, those here by twice that.
    seen, _ = end(circle(n=48), tolerance=4e-3)
    assert seen.kind == "extinction"
    assert seen.estimate == pytest.approx(0.5, rel=0.04)


def test_large_constant_steps_end_at_a_singularity_too():
    flow = flows.mean_curvature(sphere(refinements=2))
    history = flows.evolve(flow, until=1.0, tau=flows.Fixed(0.01, smallest=2e-3))
    assert history.event.kind == "extinction"
    assert history.event.estimate == pytest.approx(0.25, rel=0.1)
    assert 0 < flow.energy() < history["energy"][0] / 2


@pytest.mark.serial
def test_a_thin_neck_pinches_off():
    seen, history = end(dumbbell(0.2, h=0.2), tolerance=1e-3)
    assert seen.kind == "pinch"
    t, local = axisymmetric.flow(*axisymmetric.dumbbell(0.2), pole=True)
    assert local
    assert seen.estimate == pytest.approx(t, rel=0.02)
    assert np.linalg.norm(seen.place) < 0.05
    assert history["energy"][-1] > 0.4 * history["energy"][0]


@pytest.mark.serial
def test_a_thick_neck_does_not_pinch_and_the_dumbbell_shrinks_to_a_point():
    seen, history = end(dumbbell(0.4, h=0.25), tolerance=4e-3)
    assert [e.kind for e in history.events] == ["extinction"]
    assert "point" in str(seen)
    t, local = axisymmetric.flow(*axisymmetric.dumbbell(0.4), pole=True)
    assert not local
    assert seen.estimate == pytest.approx(t, rel=0.04)


@pytest.mark.serial
@pytest.mark.parametrize(("r", "kind", "h"), [(0.5, "extinction", 0.2), (0.7, "hole", 0.25)])
def test_a_thin_torus_shrinks_to_a_circle_and_a_thick_one_closes_its_hole(r, kind, h):
    seen, _ = end(torus(1.0, r, h=h))
    t, local = axisymmetric.flow(*axisymmetric.torus(1.0, r), pole=False)
    assert seen.kind == kind
    assert local == (kind == "hole")
    assert seen.estimate == pytest.approx(t, rel=0.04)
    assert np.linalg.norm(seen.place) < 0.05


def test_a_body_from_a_file_runs_to_an_announced_end():
    folder = Path(find_spec("pyvista").origin).parent / "examples"
    seen, _ = end(read(folder / "nut.ply"), tolerance=5e-3)
    assert seen.kind in ("extinction", "hole")


# -- other meshes ----------------------------------------------------------------------------------
def run(tmp, name, **options):
    """Two spheres, past the end of the smaller one."""
    flow = flows.mean_curvature(spheres())
    recorder = flows.Recorder(
        tmp / f"{name}.csv",
        square=lambda flow: flow.surface.curvature**2 * dx,
        parts=lambda flow: flow.watch.count,
    )
    writer = flows.Writer(tmp / f"{name}.pvd", every=40)
    history = flows.evolve(
        flow,
        until=0.1,
        tau=flows.Adaptive(1e-3, tolerance=4e-3),
        observers=[writer, recorder, *options.pop("observers", [])],
        **options,
    )
    return flow, history


def test_a_part_that_vanishes_is_taken_out_and_the_rest_goes_on(tmp):
    saved = flows.Checkpoint(tmp / "run.h5", times=[0.08])
    flow, history = run(tmp, "whole", observers=[saved])
    (seen,) = history.events
    assert (seen.kind, seen.final) == ("extinction", False)
    assert seen.estimate == pytest.approx(0.5**2 / 4, rel=0.05)
    assert seen.place == pytest.approx((2, 0, 0), abs=1e-6)
    assert flow.surface.area == pytest.approx(4 * np.pi * (1 - 4 * 0.1), rel=0.04)
    assert np.abs(nodal(flow.state)).max() < 1
    before, after = history["t"] < seen.t, history["t"] >= seen.t
    assert set(history["parts"][before]) == {2}
    assert set(history["parts"][after]) == {1}
    assert history["square"][-1] == pytest.approx(16 * np.pi, rel=0.1)
    sizes = [cells for _, _, _, cells in frames(tmp / "whole.pvd")]
    assert sizes[0] == 640
    assert sizes[-1] == 320
    # A new flow on the first mesh finds its way to the mesh of the checkpoint.
    again, resumed = run(tmp, "whole", resume=saved.path)
    assert resumed.events == []
    assert list(resumed["t"]) == list(history["t"])
    assert np.allclose(nodal(again.state), nodal(flow.state), atol=1e-10)


def test_what_lives_on_a_mesh_that_the_flow_has_left_is_refused_in_words(tmp):
    flow = flows.mean_curvature(sphere(refinements=1))
    flow.step(1e-3)
    recorder = flows.Recorder(square=flow.surface.curvature**2 * dx)
    writer = flows.Writer(tmp / "u.pvd", fields=flow.fields)
    for observer in (recorder, writer):
        observer(flow)
    mesh, time = flow.mesh, flow.time
    flow.adopt(sphere(0.9, refinements=2))
    assert flow.mesh is not mesh
    assert (flow.time, flow.report.t) == (time, time)
    flow.step(1e-3)
    with pytest.raises(ValueError, match="square: the form lives on a mesh that the flow has left"):
        recorder(flow)
    with pytest.raises(ValueError, match="leave them out"):
        writer(flow)


def test_a_neck_is_meshed_anew_when_its_cells_are_bad():
    flow = flows.mean_curvature(dumbbell(0.2, h=0.25), remesh=flows.watched.Remesh(angle=15))
    history = flows.evolve(flow, until=0.024, tau=1e-3)
    assert {e.kind for e in history.events} == {"new mesh"}
    assert not any(e.final for e in history.events)
    assert "the energy changes by" in str(history.events[0])
    assert flow.surface.quality().angle > 15
    assert flow.energy() == pytest.approx(history["energy"][-1], rel=0.05)
    words = str(flow.remesh(h=0.1))
    assert "smallest angle" in words
    assert flow.time == 0.024
