"""Sphinx configuration: ``sphinx-build -W docs site`` builds the documentation."""

from __future__ import annotations

import msinet_core

project = "msinet"
author = "the msinet developers"
project_copyright = "2026, the msinet developers"
version = release = msinet_core.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
root_doc = "index"
exclude_patterns = ["conf.py", "generate.py"]
html_theme = "furo"
html_title = f"msinet {version}"
html_static_path = ["_static"]
html_css_files = ["msinet.css"]
html_copy_source = False
html_show_sourcelink = False

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "fieldlist"]

highlight_language = "text"  # of blocks that name none
default_role = "code"  # docstrings put names in single backticks
add_module_names = False
python_maximum_signature_line_length = 88
toc_object_entries = False
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
