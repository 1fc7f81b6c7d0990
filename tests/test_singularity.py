"""Singularities are events: announced at their time and place, with all files complete."""

import logging

import flows
from flows.flow import Event

import numpy as np
import pytest
from dolfinx import fem
from tools import comm

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
