r"""Docstrings are Google style with MyST inside: `$...$`, `$$...$$`, ``{role}`text` ``.

Autodoc hands them to docutils as reStructuredText; here these get its spelling.
"""

import re

import flows

from sphinx.util import logging

log = logging.getLogger(__name__)
_CODE = r"(``.+?``)"
_INLINE = (
    # Roles before formulas: in `:math:` the end of $\tau_{old}$ would look like one.
    (re.compile(r"\{([a-z:]+)\}`([^`]+)`"), r":\1:`\2`"),
    # A bare name is meant wherever it lives: `flows.plot` is that of `flows.picture`.
    (re.compile(r":(func|class|meth|exc):`(\w+)`"), r":\1:`.\2`"),
    (re.compile(r"(?<![\\$])\$(?!\s)([^$]+?)(?<!\s)\$"), r":math:`\1`"),
)
_DISPLAY = re.compile(r"^([ \t]*)\$\$\s*(.+?)\s*\$\$", re.MULTILINE | re.DOTALL)


def to_rst(text: str) -> str:
    """Respell one docstring."""
    parts = re.split(_CODE, _DISPLAY.sub(_directive, text))
    parts[::2] = [_inline(part) for part in parts[::2]]
    return "".join(parts)


def _inline(text: str) -> str:
    for pattern, replacement in _INLINE:
        text = pattern.sub(replacement, text)
    return text


def _directive(match: re.Match[str]) -> str:
    indent, formula = match[1], match[2]
    lines = [line.strip() for line in formula.splitlines()]
    body = "\n".join(f"{indent}   {line}" for line in lines)
    return f"\n{indent}.. math::\n\n{body}\n"


def process(app, what, name, obj, options, lines: list[str]) -> None:
    """Listener of `autodoc-process-docstring`."""
    lines[:] = to_rst("\n".join(lines)).splitlines()


def shorten(app, what, name, obj, options, signature, returns):
    """Listener of `autodoc-process-signature`: measures are what users call them."""
    if not signature:
        return None
    return signature.replace("Measure('dx', subdomain_id='everywhere')", "dx"), returns


def complete(app, env) -> None:
    """Listener of `env-check-consistency`: what is public is in the reference."""
    documented = env.domains["py"].objects
    for name in flows.__all__:
        if f"flows.{name}" not in documented:
            log.warning("flows.%s is public, but on none of the pages of docs/api", name)


def setup(app) -> dict[str, bool]:
    app.setup_extension("sphinx.ext.autodoc")
    # Before napoleon, which turns sections into directives.
    app.connect("autodoc-process-docstring", process, priority=100)
    app.connect("autodoc-process-signature", shorten)
    app.connect("env-check-consistency", complete)
    return {"parallel_read_safe": True}
