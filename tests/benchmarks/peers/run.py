"""Times flows and its peers side by side and rewrites `docs/benchmarks.md`; `make bench` calls it.

    python tests/benchmarks/peers/run.py [--cases heat2d mean_curvature] [--repetitions 5]

Each repetition is a process of its own, and the codes take turns: flows, a peer, another one, flows
again. Times are compared only after the solutions have been found to agree. `environment.sh` makes
the environment of the peers. The page is written after three repetitions or more of a whole case;
cases that are not chosen keep their place on it.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import page
from races import CASES, Code, Race

HERE = Path(__file__).parent
PEERS = HERE.parents[2] / ".venv-peers" / "bin"
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)


@dataclass
class Times:
    """Seconds of one code in one race, and how far it is from flows, or from the exact solution.

    Attributes:
        code: Its name.
        seconds: Those of first assembly, factorisations and steps.
        processes: Those of the whole processes: imports, mesh and compilation besides.
        difference: To the sample of flows, or the sample itself where it is an error.
    """

    code: str
    seconds: list[float]
    processes: list[float]
    difference: float


def spent() -> float:
    """CPU seconds of all processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def solve(code: Code, race: Race) -> tuple[float, float, np.ndarray]:
    """Run a worker once; its seconds, those of the whole process, and its samples."""
    begun = spent()
    ours = code.script == "ours.py"
    python = sys.executable if ours else str(PEERS / "python")
    # NGSolve looks for its compiler on the path.
    path = os.environ["PATH"] if ours else f"{PEERS}:{os.environ['PATH']}"
    run = subprocess.run(
        [python, HERE / code.script, race.function, json.dumps(race.options | code.options)],
        capture_output=True,
        text=True,
        env=os.environ | ONE_THREAD | {"PATH": path},
        check=False,
    )
    if run.returncode:
        sys.exit(f"{code.name} failed on {race.problem}:\n{run.stderr[-2000:]}")
    answer = json.loads(run.stdout.splitlines()[-1])
    return answer["seconds"], spent() - begun, np.asarray(answer["sample"])


def hold(race: Race, repetitions: int) -> list[Times]:
    """Let the codes take turns; refuse to compare solutions that differ."""
    times = [Times(code.name, [], [], 0.0) for code in race.codes]
    ours = np.zeros(0)
    for turn in range(repetitions):
        for code, row in zip(race.codes, times, strict=True):
            if turn >= max(code.repetitions, 3):
                continue
            seconds, process, sample = solve(code, race)
            if code is race.codes[0]:
                ours = sample
            apart = sample if race.exact else (sample - ours) / np.abs(ours).max()
            row.difference = float(np.abs(apart).max())
            if not row.difference <= race.agreement:
                sys.exit(
                    f"{code.name}, {race.problem}: off by {row.difference:.2e}, more than "
                    f"{race.agreement:g}: times would mean nothing."
                )
            row.seconds.append(seconds)
            row.processes.append(process)
    return times


def show(race: Race, times: list[Times]) -> None:
    """Print what was found."""
    ours = times[0]
    print(f"  {race.problem} (solutions agree to {race.agreement:g})")
    for row in times:
        least, middle = min(row.seconds), median(row.seconds)
        ratios = f"{least / min(ours.seconds):6.2f} {middle / median(ours.seconds):6.2f}"
        print(
            f"    {row.code:34} {least:8.3f} {middle:8.3f} s   ratio {ratios}   "
            f"process {min(row.processes):6.1f} s   differs by {row.difference:.0e}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--problems", default="", help="only those whose line holds this text")
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    if not (PEERS / "python").exists():
        subprocess.run([HERE / "environment.sh"], check=True)
    print(
        "CPU seconds, min and median; ratio of the minima, of the medians: above 1 flows is ahead"
    )
    for case in options.cases:
        print(case, flush=True)
        rows = []
        for race in CASES[case].races():
            if options.problems in race.problem:
                rows.append((race, hold(race, options.repetitions)))
                show(*rows[-1])
        if options.repetitions >= 3 and not options.problems:
            page.write(case, CASES[case], rows)


if __name__ == "__main__":
    main()
