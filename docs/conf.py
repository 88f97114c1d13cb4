"""How Sphinx makes a site of these pages: `make docs`. Nothing is fetched, neither then nor by its readers."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "batchgray"))

from _version import __version__

project = "batchgray"
release = __version__
copyright = "the batchgray authors, Apache-2.0"

extensions = ["myst_parser"]
myst_heading_anchors = 3  # as far down as the pages link
highlight_language = "none"  # where a fence names no language
exclude_patterns = ["benchmarks", "schemas"]

html_theme = "furo"
html_title = "batchgray"
html_static_path = ["site"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
