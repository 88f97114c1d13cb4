"""Chromium without a window, and what a page has."""

import html
import re
import shutil
from html.parser import HTMLParser

import pytest

CHROMIUM = shutil.which("chromium")
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--dump-dom",
]

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")


class Page(HTMLParser):
    """What a browser would find: `tags` with their attributes, and the text of each element that has an id."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], text
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def of(self, name, **wanted):
        return [found for tag, found in self.tags if tag == name and wanted.items() <= found.items()]

    def counts(self):
        """The summary's numbers by their words."""
        found = re.findall(r"<dt>([^<]*)</dt><dd>([\d,.]+)", self.text)
        return {word: int(number.replace(",", "")) for word, number in found if "." not in number}

    def rows(self):
        """The failures that are drawn."""
        body = re.search(r'<tbody id="rows">(.*?)</tbody>', self.text, re.DOTALL)[1]
        cells = re.findall(r"<tr><td><bdi>(.*?)</bdi></td><td>(.*?)</td></tr>", body, re.DOTALL)
        return [(html.unescape(name), html.unescape(reason)) for name, reason in cells]
