"""What the README prints must run as printed."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_readme_snippets_run(tmp, monkeypatch):
    monkeypatch.chdir(tmp)
    names = {}
    snippets = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(snippets) >= 3
    for snippet in snippets:
        exec(compile(snippet, str(README), "exec"), names)
    assert (tmp / "mcf.pvd").is_file()
    assert (tmp / "mcf.png").is_file()


@pytest.mark.serial
def test_readme_links_exist():
    links = re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", README.read_text())
    paths = {a or b for a, b in links if not (a or b).startswith("http")}
    assert paths
    missing = [path for path in sorted(paths) if not (README.parent / path).exists()]
    assert not missing
