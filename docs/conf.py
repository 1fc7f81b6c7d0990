"""Sphinx builds the pages from this; `make docs` calls it with warnings as errors."""

import importlib.util
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # docstrings.py and gallery.py
import flows

project = "flows"
author = "The flows authors"
copyright = "The flows authors"
release = version = flows.__version__

extensions = [
    "docstrings",
    "gallery",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_design",
    "sphinxcontrib.bibtex",
]
# Formulas without a network, where the package that brings MathJax along is installed.
if importlib.util.find_spec("sphinx-mathjax-offline"):
    extensions.append("sphinx-mathjax-offline")
exclude_patterns = ["_build"]

myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_dmath_double_inline = True

default_role = "code"  # `name` in a docstring is code, as it is in Markdown
bibtex_bibfiles = ["refs.bib"]
bibtex_reference_style = "author_year"
bibtex_default_style = "plain"

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the text says what an argument is; UFL's types are all Any
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
napoleon_use_ivar = True
napoleon_use_rtype = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 76

html_theme = "pydata_sphinx_theme"
html_title = "flows"
html_static_path = ["_static"]
html_css_files = ["flows.css"]
html_logo = html_favicon = "_static/logo.svg"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "flows"},
    "navbar_align": "left",
    "header_links_before_dropdown": 8,
    "navbar_end": ["theme-switcher"],
    "navigation_with_keys": False,
    "show_nav_level": 2,
    "show_toc_level": 2,
    "secondary_sidebar_items": {"*": ["page-toc"], "api/*": ["page-toc"], "gallery/*": []},
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "xcode",
    "pygments_dark_style": "github-dark",
}
html_sidebars = {
    "**": ["sidebar-nav-bs"],
    "index": [],
    "getting_started": [],
    "theory": [],
    "your_own_flow": [],
    "densities": [],
    "surfaces": [],
    "maps": [],
    "running": [],
    "parallel": [],
    "meshes": [],
    "claims": [],
    "references": [],
}
