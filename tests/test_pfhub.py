"""PFHub benchmark 7a at two resolutions; tests/benchmarks/pfhub7a.py runs the whole table."""

import sys
from pathlib import Path

import numpy as np
import pytest
from tools import comm, order

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

from pfhub7a import solve


@pytest.mark.serial
def test_the_benchmark_is_as_exact_as_its_published_solutions():
    errors, sizes = [], (25, 50)
    for n in sizes:
        found, _, history = solve(n, 0.1)
        errors.append(found)
        assert history["t"][-1] == 8.0
        assert history["t"].size == 81
    assert errors[0] < 1.96e-2
    assert errors[1] < 4.4e-3
    assert abs(order(sizes, errors) + 2.16) < 0.1, errors
    assert len(set(comm.allgather(tuple(errors)))) == 1


def test_the_balance_of_energy_and_work_holds_all_the_way():
    # AVF: the energy changes by the work of the source and the dissipation, exactly.
    _, _, history = solve(25, 0.4)
    assert np.abs(history["defect"]).max() < 1e-10
