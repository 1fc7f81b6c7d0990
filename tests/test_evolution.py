"""A run lands where it must, tells its observers the truth, and stops in good order."""

import flows
from flows.solver import SolveFailed

import numpy as np
import pytest
from dolfinx import fem
from tools import comm, nodal, waves

V = fem.functionspace(flows.mesh.interval(h=0.1), ("Lagrange", 1))


@pytest.fixture
def flow():
    made = flows.heat(V)
    made.state.interpolate(waves(1))
    return made


def fail_if(flow, monkeypatch, condition):
    """Let the solve fail where condition(t, tau) says; the state is spoilt as in earnest."""
    advance = flow._advance

    def attempt(tau):
        if condition(flow.time, tau):
            flow.state.x.array[:] = np.nan
            raise SolveFailed("made to fail")
        return advance(tau)

    monkeypatch.setattr(flow, "_advance", attempt)


def test_a_run_lands_exactly_on_its_end_and_its_times(flow):
    times = [0.1, 1 / 3, np.pi / 10]
    history = flows.evolve(flow, until=0.7, tau=0.03, times=times)
    assert flow.time == history["t"][-1] == 0.7
    assert set(times) < set(history["t"])
    assert np.all(history["tau"] <= 0.03 * (1 + 1e-9))
    assert np.all(history["tau"][1:] > 0.005)
    assert np.allclose(np.diff(history["t"]), history["tau"][1:], atol=1e-14)


def test_a_constant_step_stays_one_number(flow):
    # 0.1 is no binary fraction; matrices are kept by the value of the step.
    history = flows.evolve(flow, until=1.0, tau=0.1)
    assert set(history["tau"][1:]) == {0.1}
    assert history["t"].size == 11


def test_a_run_may_end_by_its_number_of_steps(flow):
    history = flows.evolve(flow, tau=0.1, steps=3)
    assert history["t"].size == 4
    assert flow.time == pytest.approx(0.3)
    assert flows.evolve(flow, until=10.0, tau=0.1, steps=2)["t"].size == 3
    assert flows.evolve(flow, tau=0.1, steps=0)["t"].size == 1
    assert flows.evolve(flow, until=flow.time, tau=0.1)["t"].size == 1


def test_times_of_observers_are_landed_on(flow):
    class Watcher:
        times = (0.05, 0.123)

        def __call__(self, flow):
            seen.append(flow.time)

    seen = []
    flows.evolve(flow, until=0.2, tau=0.1, observers=[Watcher()])
    assert {0.0, 0.05, 0.123, 0.2} <= set(seen)


def test_observers_see_the_start_and_accepted_steps_only(flow, monkeypatch):
    fail_if(flow, monkeypatch, lambda t, tau: tau > 0.03 and 0.08 < t < 0.3)
    seen = []
    history = flows.evolve(flow, 0.4, 0.04, observers=[lambda f: seen.append((f.time, f.energy()))])
    assert [t for t, _ in seen] == list(history["t"])
    assert [E for _, E in seen] == list(history["energy"])
    assert np.all(np.diff(history["t"]) > 0)
    assert np.isfinite(nodal(flow.state)).all()


def test_fixed_halves_and_doubles_back(flow, monkeypatch):
    fail_if(flow, monkeypatch, lambda t, tau: tau > 0.3 and 1.9 < t < 2.4)
    taus = flows.evolve(flow, until=6.0, tau=1.0)["tau"][1:]
    assert list(taus) == [1.0, 1.0, 0.25, 0.25, 0.5, 1.0, 1.0, 1.0]


def test_a_step_cut_by_a_landing_costs_nothing_after_it(flow):
    taus = flows.evolve(flow, until=2.0, tau=0.2, times=[0.5])["tau"][1:]
    assert np.sum(np.abs(taus - 0.2) > 1e-12) <= 4


def test_the_history_is_the_run(flow):
    start = flow.energy()
    history = flows.evolve(flow, until=0.1, tau=0.02)
    assert list(history) == ["t", "tau", "energy", "movement", "defect", "iterations"]
    assert len(history) == 6
    assert history["energy"][0] == start
    assert history["energy"][-1] == flow.energy()
    assert list(history["iterations"]) == [0, 1, 1, 1, 1, 1]
    assert np.allclose(np.diff(history["energy"]) + history["movement"][1:], history["defect"][1:])
    for column in history.values():
        assert column.dtype == np.float64
        assert all(np.array_equal(column, other) for other in comm.allgather(column))


def test_finished_ends_a_run_politely(flow):
    closed = []

    class Judge:
        def __call__(self, flow):
            if comm.rank == comm.size - 1 and flow.time > 0.25:
                raise flows.Finished

        def close(self):
            closed.append(flow.time)

    history = flows.evolve(flow, until=1.0, tau=0.1, observers=[Judge()])
    assert history["t"][-1] == flow.time == pytest.approx(0.3)
    assert closed == [flow.time]


def test_an_observer_that_fails_on_one_rank_stops_all(flow):
    closed = []

    class Broken:
        def __call__(self, flow):
            if comm.rank == 0 and flow.time > 0.15:
                raise KeyError("broken")

        def close(self):
            closed.append(True)

    expected = (KeyError, "broken") if comm.rank == 0 else (RuntimeError, "another rank")
    with pytest.raises(expected[0], match=expected[1]):
        flows.evolve(flow, until=1.0, tau=0.1, observers=[Broken()])
    assert closed == [True]
    assert flow.time == pytest.approx(0.2)


def test_a_run_that_cannot_go_on_keeps_all_up_to_the_last_good_step(flow, monkeypatch):
    fail_if(flow, monkeypatch, lambda t, tau: t > 0.25)
    kept = []
    with pytest.raises(flows.StepFailed, match=r"no step from t = 0.3 succeeds.*made to fail") as e:
        flows.evolve(
            flow,
            until=1.0,
            tau=flows.Fixed(0.1, smallest=0.02),
            observers=[lambda f: kept.append(nodal(f.state))],
        )
    assert list(e.value.history["t"]) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert flow.time == e.value.history["t"][-1]
    assert np.array_equal(nodal(flow.state), kept[-1])
    assert flow.energy() == e.value.history["energy"][-1]


def test_two_runs_are_one(flow):
    other = flows.heat(V)
    other.state.interpolate(waves(1))
    flows.evolve(flow, until=0.2, tau=0.02)
    flows.evolve(flow, until=0.4, tau=0.02)
    flows.evolve(other, until=0.4, tau=0.02)
    assert np.abs(nodal(flow.state) - nodal(other.state)).max() < 1e-13


SENSELESS = [
    ({"tau": 0.1}, "needs an end"),
    ({"until": 1.0}, "needs a time step"),
    ({"until": -1.0, "tau": 0.1}, "lies before the time of the flow"),
    ({"until": float("nan"), "tau": 0.1}, "lies before"),
    ({"until": 1.0, "tau": 0.0}, "positive, finite"),
    ({"until": 1.0, "tau": float("nan")}, "positive, finite"),
    ({"until": 1.0, "tau": "fast"}, "give a positive number"),
    ({"steps": -1, "tau": 0.1}, "0 or more"),
    ({"steps": 2.5, "tau": 0.1}, "0 or more"),
]


def test_senseless_runs_are_refused_before_any_work(flow):
    start = nodal(flow.state)
    for options, words in SENSELESS:
        with pytest.raises(ValueError, match=words):
            flows.evolve(flow, **options)
    assert np.array_equal(nodal(flow.state), start)
