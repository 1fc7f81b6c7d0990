"""Writes `docs/benchmarks.md`: a section for each case, and first of all what flows loses."""

import datetime as dt
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from races import CASES

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

flows and its peers on the same problems, side by side. `make bench` installs the peers in an
environment of their own, `.venv-peers`, measures everything in about an hour and rewrites this
page. One case, or a quick look at a few lines of it, is

    python tests/benchmarks/peers/run.py --cases heat2d --repetitions 1 --problems "n = 256"

and `tests/benchmarks/peers` holds the scripts: the problems, the races, one worker for each code.

Seconds are CPU seconds of one process on one thread, for the first assembly, factorisations and all
steps; meshes, function spaces, imports and the compilation of forms do not count. Each repetition
is a process of its own, and the codes take turns. The column *process* has the CPU seconds of the
whole process that needs least, with imports, meshes and what it compiles: flows keeps its compiled
forms on disk, py-pde and NGSolve compile anew each time. Solutions are compared before times are:
the column *differs by* is the largest difference to the solution of flows at the nodes of a
lattice, relative to its largest value. A ratio is that of the least seconds, of the code over those
of flows: above 1 flows is faster. Ratios between 0.8 and 1.25 are ties on a machine that does other
work as well.

flows runs with its default options. The peers run as their documentation advises, with the old
solution as the first guess of iterations, which stop at a relative residual of 1e-8. CHOLMOD is
that of SuiteSparse with OpenBLAS. Not among the peers are FreeFEM, and NGSolve with the PARDISO of
MKL.

"""
ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \| [^|]+ \| [^|]+ \| ([\d.]+) \|", re.MULTILINE)


def write(name: str, case: Any, rows: Sequence[tuple[Any, Sequence[Any]]]) -> None:
    """Put the section of a case on the page; the others stay as they are."""
    sections = kept()
    lines = [f"## {case.title}\n", f"{case.about}\n", f"{setting()}; `--cases {name}`.\n"]
    lines += ["| problem | code | min [s] | median [s] | ratio | process [s] | differs by | runs |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for race, times in rows:
        lines += [line(race, times, row) for row in times]
    sections[case.title] = "\n".join(lines) + "\n"
    titles = [case.title for case in CASES.values()]
    sections = {title: sections[title] for title in titles if title in sections}
    PAGE.write_text(HEAD + losses(sections) + "\n".join(sections.values()), encoding="utf-8")


def line(race: Any, times: Sequence[Any], row: Any) -> str:
    """A line of the table."""
    ours = row is times[0]
    ratio = min(row.seconds) / min(times[0].seconds)
    cells = [
        race.problem,
        row.code,
        f"{min(row.seconds):.3f}",
        f"{median(row.seconds):.3f}",
        "" if ours else f"{ratio:.2f}",
        f"{min(row.processes):.1f}",
        "" if ours and not race.exact else f"{row.difference:.1e}",
        str(len(row.seconds)),
    ]
    return "| " + " | ".join(cells) + " |"


def losses(sections: dict[str, str]) -> str:
    """What flows loses, in a list."""
    lost = [
        f"* {title}, {problem}: {code} takes {float(ratio):.2f} of the time of flows."
        for title, text in sections.items()
        for problem, code, ratio in ROW.findall(text)
        if float(ratio) < 1
    ]
    return "## Where flows is slower\n\n" + ("\n".join(lost) or "In no case below.") + "\n\n"


def kept() -> dict[str, str]:
    """The sections of the page as it is."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    parts = [part.strip() for part in text.split("\n## ")[2:]]
    return {part.split("\n", 1)[0]: f"## {part}\n" for part in parts}


def setting() -> str:
    """The machine, the codes and their versions, the day."""
    model = platform.machine()
    if Path("/proc/cpuinfo").exists():
        model = re.search(r"model name\s*:\s*(.+)|$", Path("/proc/cpuinfo").read_text())[1] or model
    names = [line.split("==")[0] for line in (HERE / "requirements.txt").read_text().split()]
    code = f"from importlib.metadata import version as v; print(*map(v, {json.dumps(names)}))"
    python = ROOT / ".venv-peers" / "bin" / "python"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    versions = {"flows": metadata.version("gradient-flows"), "DOLFINx": dolfinx()}
    versions |= dict(zip(names, found.stdout.split(), strict=True))
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    day = dt.date.today().isoformat()
    return f"{model}, {os.cpu_count()} cores, {day}; Python {platform.python_version()}, {listed}"


def dolfinx() -> str:
    """The version of DOLFINx."""
    code = "import flows, dolfinx; print(dolfinx.__version__)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.split()[-1]
