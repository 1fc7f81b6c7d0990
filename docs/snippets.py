"""Runs the Python snippets of the pages that are named, each page as one program."""

import re
import sys
from pathlib import Path

PAGES = (
    "index",
    "getting_started",
    "your_own_flow",
    "densities",
    "phase_fields",
    "surfaces",
    "maps",
)
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def program(page: str) -> str:
    """The snippets of a page at the lines at which they stand, so that errors point to them."""
    text = (Path(__file__).parent / f"{page}.md").read_text(encoding="utf-8")
    lines = [""] * text.count("\n")
    for block in _BLOCK.finditer(text):
        start = text.count("\n", 0, block.start(1))
        code = block[1].splitlines()
        lines[start : start + len(code)] = code
    return "\n".join(lines)


if __name__ == "__main__":
    for page in sys.argv[1:] or PAGES:
        print(f"-- {page}", flush=True)
        exec(compile(program(page), f"{page}.md", "exec"), {"__name__": page})
