"""The gallery: every demo becomes a page with its pictures.

Demos are not run here: their text is in the scripts, their pictures in `docs/images`, where
`python docs/pictures.py` puts them.
"""

import re
from pathlib import Path

import jupytext

DOCS = Path(__file__).parent
DEMOS, IMAGES = DOCS.parent / "demos", DOCS / "images"
# The order of the gallery; demos that are not named here come after these.
ORDER = ("one_energy_two_metrics", "mean_curvature", "soap_film", "custom_energy", "heat")

INDEX = """# Gallery

Each page is a script of the folder `demos/`: the story, the equation, the energy and the metric,
the code, and an answer known beforehand that the tests check. They run as they are,

    mpirun -n 2 python demos/NAME.py

and leave their pictures and files in `output/NAME`.

:::::{{grid}} 1 2 2 2
:gutter: 3

{cards}
:::::

```{{toctree}}
:hidden:

{pages}
```
"""
CARD = """::::{{grid-item-card}} {title}
:link: {name}
:link-type: doc
{image}
{words}
::::
"""


def cells(path: Path) -> list[tuple[str, str]]:
    """Text and code of a demo, in their order."""
    notebook = jupytext.read(path, fmt="py:light")
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def pictures(name: str) -> list[Path]:
    """The pictures of a demo: `NAME.webp`, then `NAME-2.webp` and so on."""
    found = (p for p in IMAGES.glob(f"{name}*") if p.stem.split("-")[0] == name)
    return sorted(found, key=lambda p: (len(p.stem), p.stem))


def page(name: str) -> tuple[str, str, str]:
    """Title, first words and Markdown of the page of a demo."""
    parts = cells(DEMOS / f"{name}.py")
    first = parts[0][1]
    title, _, text = first.partition("\n")
    words = _first_sentence(text)
    shown = [f"```{{image}} ../images/{p.name}\n:class: plate\n```" for p in pictures(name)]
    body = [title, *shown[:1], text]
    body += [
        source if kind == "markdown" else f"```python\n{source}\n```" for kind, source in parts[1:]
    ]
    script = f"{{download}}`{name}.py <../../demos/{name}.py>`"
    body += [*shown[1:], f"---\n\nThe whole script: {script}."]
    return title.removeprefix("# "), words, "\n\n".join(body) + "\n"


def _first_sentence(text: str) -> str:
    sentence = re.search(r"\*\*What you see\.\*\*\s+(.+?\.)(\s|$)", text, re.DOTALL)
    return " ".join(sentence[1].split()) if sentence else ""


def names() -> list[str]:
    """All demos, in the order of the gallery."""
    found = {p.stem for p in DEMOS.glob("*.py")}
    return [n for n in ORDER if n in found] + sorted(found - {*ORDER})


def build(folder: Path) -> None:
    """Write the pages; a page that is as it was stays untouched, so that Sphinx does too."""
    folder.mkdir(exist_ok=True)
    cards, wanted = [], {"index.md"}
    for name in names():
        title, words, text = page(name)
        image = f":img-top: ../images/{pictures(name)[0].name}\n" if pictures(name) else ""
        cards.append(CARD.format(title=title, name=name, image=image, words=words))
        wanted.add(f"{name}.md")
        _write(folder / f"{name}.md", text)
    _write(folder / "index.md", INDEX.format(cards="\n".join(cards), pages="\n".join(names())))
    for path in folder.glob("*.md"):
        if path.name not in wanted:
            path.unlink()


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def relink(app, path: Path, parent: str, content: list[str]) -> None:
    """Links of a README that a page includes point into its own folder."""
    folder = path.parent.as_posix()
    content[0] = re.sub(r"(?<!!)(\[[^\]]+\])\(([\w-]+\.geo)\)", rf"\1({folder}/\2)", content[0])


def setup(app) -> dict[str, bool]:
    app.connect("include-read", relink)
    app.connect("builder-inited", lambda app: build(Path(app.srcdir) / "gallery"))
    return {"parallel_read_safe": True}
