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


@pytest.mark.serial
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


def test_porous_medium(run):
    demo = run("porous_medium", h=1 / 16)
    star, point = demo["runs"]["star"], demo["runs"]["Barenblatt"]
    for name, flow in {"star": star, "Barenblatt": point}.items():
        assert np.ptp(flow["mass"]) < 1e-12 * demo["mass"]
        assert demo["rise"][name] < 0
    assert point["distance"].max() < 0.05
    assert np.abs(point["radius"] / demo["front"] - 1).max() < 0.1
    assert star["distance"][0] > 0.8
    assert star["distance"][-1] < 0.1
    assert star["radius"][-1] == pytest.approx(demo["front"][-1], rel=0.1)


@pytest.mark.serial
def test_reaction_diffusion(run):
    demo = run("reaction_diffusion", h=1 / 8)
    assert demo["drift"] < 1e-12
    assert demo["rise"] < 0
    assert demo["history"]["least"][1:].min() > 0
    assert demo["tops"] == pytest.approx(demo["end"], rel=0.05)
    assert demo["history"]["energy"][-1] == pytest.approx(demo["energy"], rel=1e-4)
    assert demo["measured"] == pytest.approx(demo["exact"], rel=0.05)


def test_aggregation(run):
    demo = run("aggregation", h=1 / 80, until=3)
    assert demo["rates"] == pytest.approx(demo["exact"], rel=0.02, abs=0.05)
    assert demo["drift"] < 1e-12
    assert demo["rise"] < 0
    assert demo["history"]["least"].min() > 0
    assert np.max(demo["states"]) > 10


def test_fokker_planck(run):
    demo = run("fokker_planck", h=0.1, until=30)
    assert demo["gap"] < 1e-12
    assert demo["drift"] < 1e-12
    assert demo["rate"] == pytest.approx(demo["exact"], rel=0.02)
    assert demo["rate"] == pytest.approx(2 * demo["slow"], rel=0.02)
    fall = -np.diff(demo["excess"]) / np.diff(demo["t"])
    lost = demo["history"]["fisher"][1:] / demo["beta"] ** 2
    assert fall.min() > 0
    late = demo["late"][1:]
    assert np.allclose(fall[late], lost[late], rtol=0.05)
    assert 0.4 < demo["history"]["right"][-1] < 0.5


def test_heat_two_geometries(run):
    demo = run("heat_two_geometries", h=0.1)
    assert demo["orders"][-1] == pytest.approx(2, abs=0.25)
    assert max(demo["distances"][-1]) < 0.03
    for name in demo["histories"]:
        assert demo["rise"][name] < 0
        assert demo["drift"][name] < 1e-12
        assert demo["rates"][name] == pytest.approx(2 * demo["slow"], rel=0.04)


def test_langevin(run):
    demo = run("langevin", particles=20_000, h=0.1)
    assert demo["slope"] == pytest.approx(-0.5, abs=0.1)
    assert np.allclose(demo["errors"], demo["exact"], rtol=0.2)
    assert demo["p"].sum() == pytest.approx(1, abs=1e-12)
    # The places that this rank alone would have found, to the last bit.
    assert np.array_equal(np.hstack([demo["block"](k) for k in range(20)]), demo["places"])


@pytest.mark.serial
def test_clifford_torus(run):
    demo = run("clifford_torus", h=0.4, until=0.5)
    assert 0 < demo["error"] < 1.5e-3
    assert demo["rise"] < 0
    assert demo["worst"] <= 1e-10


@pytest.mark.serial
def test_red_blood_cell(run):
    demo = run("red_blood_cell", refinements=2, until=0.1)
    for name, tolerance in {"E / 8 pi": 2e-3, "radius": 3e-3, "thickness": 5e-3}.items():
        assert demo["measured"][name] == pytest.approx(demo["exact"][name], abs=tolerance)
    assert max(map(abs, demo["drift"].values())) < 1e-12
    assert demo["rise"] <= 1e-12 * 50


@pytest.mark.serial
def test_curve_shortening(run):
    demo = run("curve_shortening", n=80, turns=1)
    assert demo["rate"] == pytest.approx(-2 * np.pi, rel=0.02)
    assert demo["roundness"][-1] < 1.01


def test_catenoid(run):
    demo = run("catenoid", h=0.2)
    assert max(map(abs, demo["error"].values())) < 5e-3
    assert demo["ends"]["far"] < 2


def test_dumbbell(run):
    demo = run("dumbbell", neck=0.3, h=0.2, until=0.01)
    assert max(demo["rise"].values()) <= 1e-12 * 50
    assert demo["drift"] < 1e-12
    assert demo["ends"]["surface diffusion"] > demo["ball"]


def test_scan(run):
    demo = run("scan", h=0.2, until=0.0002)
    assert demo["worst"] <= 1e-12 * demo["area"][0]
    assert demo["fall"].min() > 0
    assert demo["area"][-1] < 0.95 * demo["area"][0]


def test_harmonic_map(run):
    demo = run("harmonic_map", h=0.1, until=0.3)
    (event,) = demo["events"]["a bubble"]
    assert not demo["events"]["untwisting"]
    assert event.kind == "bubble"
    assert np.hypot(*event.place[:2]) < 0.1
    for name, energy in demo["ends"].items():
        assert energy == pytest.approx(2 * np.pi, rel=0.02)
        assert demo["rise"][name] < 0
        assert demo["length"][name] < 1e-14


def test_hedgehog(run):
    demo = run("hedgehog", n=8)
    assert max(demo["rise"].values()) < 0
    assert max(demo["energies"]) < demo["exact"]
    assert demo["limit"] == pytest.approx(demo["exact"], rel=0.02)


def test_grain_growth(run):
    demo = run("grain_growth", n=9, eps=0.1, until=0.05)
    assert demo["rise"] < 0
    assert demo["born"] == 0
    assert demo["missing"] < 1e-12
    assert demo["history"]["grains"][-1] < 9


def test_spinodal_on_sphere(run):
    demo = run("spinodal_on_sphere", h=0.25, eps=0.25, until=20, every=30)
    assert demo["drift"] < 1e-12
    assert demo["rise"] < 0
    assert demo["tau"].max() > 1e4 * demo["tau"].min()
    assert demo["measured"]["energy"] == pytest.approx(demo["exact"]["energy"], rel=0.03)
    assert demo["measured"]["potential"] == pytest.approx(demo["exact"]["potential"], rel=0.25)


def test_ricci_flow(run):
    demo = run("ricci_flow", h=0.1, steps=12)
    assert max(demo["gap"].values()) < 1e-6
    assert demo["spread"]["two holes"][0] > 10
    assert max(demo["rise"].values()) < 1e-11
