"""Every demo runs, small, and its known answer comes out."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI

DEMOS = Path(__file__).parents[1] / "demos"


@pytest.fixture
def run(tmp, monkeypatch):
    """Run a demo as a user does, in an empty folder; its names are returned."""

    def demo(name, **options):
        monkeypatch.chdir(tmp)
        arguments = [f"--{key}={value}" for key, value in options.items()]
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        names = runpy.run_path(str(DEMOS / f"{name}.py"), run_name="__main__")
        MPI.COMM_WORLD.Barrier()
        pictures = sorted((tmp / "output" / name).glob("*.png"))
        assert pictures
        assert all(picture.stat().st_size > 5000 for picture in pictures)
        return names

    return demo


def test_all_demos_are_tested():
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {path.stem for path in DEMOS.glob("*.py")} <= tested


def test_heat(run):
    demo = run("heat", levels=3)
    for name, order in demo["promised"].items():
        assert demo["measured"][name] == pytest.approx(order, abs=0.1)


def test_one_energy_two_metrics(run):
    demo = run("one_energy_two_metrics", h=1 / 24, eps=0.06, until=0.05)
    for name, history in demo["histories"].items():
        assert demo["rise"][name] < 0
        assert history["energy"][-1] < 0.5 * history["energy"][0]
    assert demo["drift"]["Cahn-Hilliard"] < 1e-12
    assert demo["drift"]["Allen-Cahn"] > 1e-3


def test_mean_curvature(run):
    demo = run("mean_curvature", h=0.2, until=0.01)
    assert demo["worst"] <= 1e-12 * demo["area"][0]
    assert np.diff(demo["area"]).max() < 0
    for name, tolerance in {"area": 0.1, "volume": 0.05}.items():
        assert demo["lost"][name] == pytest.approx(demo["exact"][name], rel=tolerance)


def test_soap_film(run):
    demo = run("soap_film", h=0.2)
    for name, history in demo["histories"].items():
        assert demo["error"][name] < 3e-3
        assert history["energy"][-1] == pytest.approx(demo["area"], rel=1e-4)
        assert np.diff(history["energy"]).max() <= 1e-12
    flat, own = (u.x.array for u in demo["ends"].values())
    assert np.abs(flat - own).max() < 1e-5


def test_custom_energy(run):
    demo = run("custom_energy", waves=3, cells=4, until=100)
    for name in demo["histories"]:
        assert demo["waves"][name] == pytest.approx(1, abs=0.05)
        assert demo["rise"][name] < 0
    assert demo["drift"]["Phase-field crystal"] < 1e-13


def test_custom_weak_form(run):
    demo = run("custom_weak_form", n=24, until=5)
    assert demo["order"] == pytest.approx(2, abs=0.1)
    assert demo["frequency"] == pytest.approx(demo["omega"], rel=1e-3)
