"""How Sphinx makes a site of these pages: `make docs`. Nothing is fetched, neither then nor by its readers."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "batchgray"))

from _version import __version__

project = "batchgray"
release = __version__
copyright = "the batchgray authors, Apache-2.0"

extensions = ["myst_parser"]
myst_heading_anchors = 3  # as far down as the pages link
smartquotes = False  # of --out it would make a dash
highlight_language = "none"  # where a fence names no language
exclude_patterns = ["benchmarks", "schemas"]

html_theme = "furo"
html_title = "batchgray"
html_static_path = ["site"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False


def _errors() -> str:
    """The errors of messages.txt, a section for each exit code."""
    text = Path(__file__).with_name("messages.txt").read_text("utf-8").partition("\nerrors\n")[2].partition("\n\n")[0]
    found = re.findall(r"^  (\d+)  (.*?)(?=^  \d+  |\Z)", text, re.MULTILINE | re.DOTALL)
    sections: dict[str, list[str]] = {}
    for code, words in sorted(found, key=lambda error: (int(error[0]), error[1].lower())):
        sections.setdefault(code, [f"## Exit code {code}", ""]).append(f"- {' '.join(words.split())}")
    return "\n\n".join("\n".join(section) for section in sections.values())


def _insert_errors(_app: object, page: str, source: list[str]) -> None:
    if page == "messages":
        source[0] = source[0].replace("<!-- errors -->", _errors().replace("<", "\\<"))


def setup(app) -> None:  # of Sphinx; its types are not needed here
    app.connect("source-read", _insert_errors)
