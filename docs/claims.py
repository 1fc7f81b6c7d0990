"""Measures what the project claims and rewrites `docs/claims.md`; `make claims` calls it.

A claim is the first paragraph of a script's docstring (of `tests/benchmarks`), or the paragraph
"Known answer" of a demo; its measurement is what the script prints. With names as arguments those
alone are measured, and the others stay as they are.
"""

import ast
import datetime as dt
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from gallery import DEMOS, cells, names

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "claims.md"
HEAD = """# Claims

What the project says of itself, the command that checks it, and what was measured. Rewritten by
`make claims`; errors, orders and conserved quantities do not depend on the machine, seconds do.
The test suite holds small versions of all of these.
"""
SECTION = """## {name}

{claim}

| | |
|---|---|
| command | `{command}` |
| machine | {machine} |

```text
{measured}
```
"""


def machine() -> str:
    """What a reader must know to judge the seconds."""
    model = platform.machine()
    if Path("/proc/cpuinfo").exists():
        model = re.search(r"model name\s*:\s*(.+)|$", Path("/proc/cpuinfo").read_text())[1] or model
    import flows

    import dolfinx
    from petsc4py import PETSc

    versions = f"flows {flows.__version__}, DOLFINx {dolfinx.__version__}"
    petsc = ".".join(map(str, PETSc.Sys.getVersion()))
    day = dt.date.today().isoformat()
    return f"{model}, {os.cpu_count()} cores; {versions}, PETSc {petsc}; {day}"


def scripts() -> dict[str, tuple[str, list[str]]]:
    """Claim and command of every script that makes one."""
    found = {}
    for name in names():
        parts = [p for _, text in cells(DEMOS / f"{name}.py") for p in text.split("\n\n")]
        said = [p for p in parts if p.startswith("**Known answer.**")]
        if said:
            claim = said[0].removeprefix("**Known answer.**").strip()
            found[name] = (claim, ["python", f"demos/{name}.py"])
    for path in sorted((ROOT / "tests" / "benchmarks").glob("[!_]*.py")):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or path.stem
        found[f"benchmarks/{path.stem}"] = (
            doc.split("\n\n")[0],
            ["python", f"tests/benchmarks/{path.name}"],
        )
    return found


def measure(command: list[str]) -> str:
    """What a command prints, without the banners of libraries."""
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode:
        return f"failed with exit code {run.returncode}\n{run.stderr[-500:]}"
    return tidy(run.stdout)


def tidy(text: str) -> str:
    """Lines that say something: no colours, no stars, no report of Gmsh on the file it wrote."""
    lines = (line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", text).splitlines())
    return "\n".join(line for line in lines if line and not re.match(r"\*| Step File", line))


def kept() -> dict[str, str]:
    """The sections of the page as it is."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    return {part.split("\n", 1)[0]: f"## {part}" for part in text.split("\n## ")[1:]}


def main(wanted: list[str]) -> None:
    sections, all_of_them = kept(), scripts()
    for name in wanted or all_of_them:
        claim, command = all_of_them[name]
        print(" ".join(command), flush=True)
        sections[name] = SECTION.format(
            name=name,
            claim=claim,
            command=" ".join(command),
            machine=machine(),
            measured=measure(command),
        )
    order = [name for name in all_of_them if name in sections]
    PAGE.write_text(
        "\n".join([HEAD, *(sections[n].strip() + "\n" for n in order)]), encoding="utf-8"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
