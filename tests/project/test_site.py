"""The documentation site, as `make docs` makes it: whole, without network, and fit for a phone."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import click
import pytest
from harness import DEADLINE

from batchgray.cli.help import EXIT_CODES
from batchgray.cli.main import cli

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium")
QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
PHONE = 390
FETCHING = {
    ("link", "href"),
    ("script", "src"),
    ("img", "src"),
    ("iframe", "src"),
    ("source", "src"),
    ("object", "data"),
}


class Page(HTMLParser):
    """What a page fetches, what it links to, and the ids it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = {""}
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if (tag, name) in FETCHING:
                self.fetched.append(value or "")
            elif tag == "a" and name == "href":
                self.links.append(value or "")
            elif name == "id":
                self.ids.add(value or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Built as by `make docs`: a warning, as of a link that leads nowhere, is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", folder / "doctrees"]
    done = subprocess.run(
        [*command, ROOT / "docs", folder / "html"], capture_output=True, text=True, check=False, timeout=DEADLINE
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.glob("*.html"))}


def test_every_document_is_a_page_and_the_first_one_leads_to_it(pages, site):
    documents = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert {site / f"{name}.html" for name in documents} <= set(pages)
    assert {f"{name}.html" for name in documents - {"index"}} <= set(pages[site / "index.html"].links)


def test_nothing_is_fetched_from_elsewhere(pages, site):
    fetched = {address for page in pages.values() for address in page.fetched}
    assert len(fetched) > 5
    assert [address for address in fetched if re.match(r"(https?:)?//", address)] == []
    for path in [*site.rglob("*.css"), *site.rglob("*.js")]:
        assert (
            re.findall(r"(?:@import|url\(|fetch\(|import\()\s*['\"]?(?:https?:)?//[^'\")]*", path.read_text("utf-8"))
            == []
        ), path


def test_every_link_inside_leads_somewhere(pages):
    broken = []
    for page in pages.values():
        for link in [*page.links, *page.fetched]:
            address, fragment = urldefrag(link)
            if re.match(r"[a-z]+:", address):
                continue
            target = page.path.parent / unquote(address.partition("?")[0]) if address else page.path
            if not target.exists() or (target in pages and unquote(fragment) not in pages[target].ids):
                broken.append(f"{page.path.name}: {link}")
    assert broken == []


def commands(command: click.Command, path: str = "batchgray") -> list[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        return [(path, command)]
    return [found for name, each in command.commands.items() for found in commands(each, f"{path} {name}")]


def test_every_command_and_option_is_on_the_reference_page():
    text = (ROOT / "docs" / "commands.md").read_text("utf-8")
    for path, command in commands(cli):
        _, heading, section = text.partition(f"\n## {path}\n")
        assert heading, path
        rows = re.findall(r"^\| (`-.*?) \|", section.partition("\n## ")[0], re.MULTILINE)
        shown = {name for row in rows for name in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", row)}
        assert shown == {name for option in command.params if isinstance(option, click.Option) for name in option.opts}


def test_every_exit_code_is_on_its_page():
    shown = re.findall(r"^\| (\d+) \|", (ROOT / "docs" / "exit_codes.md").read_text("utf-8"), re.MULTILINE)
    assert shown == re.findall(r"^  (\d+) ", EXIT_CODES, re.MULTILINE)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
def test_no_page_is_wider_than_a_phone(pages, site, tmp_path):
    """Tables and code may scroll in themselves; nothing else may reach over the edge."""
    frames = "".join(f'<iframe name="{path.name}" src="{path.as_uri()}"></iframe>' for path in pages)
    script = """
    const has_bar = (element) => /auto|scroll/.test(getComputedStyle(element).overflowX);
    const scrolls = (element) => element.tagName !== "ARTICLE" && (has_bar(element)
      ? element.getBoundingClientRect().right <= WIDTH : scrolls(element.parentElement));
    const right = (element) => scrolls(element) ? 0 : element.getBoundingClientRect().right;
    addEventListener("load", () => {
      for (const frame of document.querySelectorAll("iframe")) {
        const shown = [...frame.contentDocument.querySelectorAll("article *")];
        document.body.append(`[${frame.name} ${shown.length} ${Math.floor(Math.max(0, ...shown.map(right)))}]`);
      }
    })""".replace("WIDTH", str(PHONE))
    (tmp_path / "phones.html").write_text(
        f"<style>iframe {{ width: {PHONE}px; height: 800px; border: 0 }}</style>{frames}<script>{script}</script>"
    )
    done = subprocess.run(
        [
            CHROMIUM,
            *QUIET,
            "--allow-file-access-from-files",
            f"--user-data-dir={tmp_path / 'browser'}",
            "--dump-dom",
            (tmp_path / "phones.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE,
    )
    widths = {name: int(width) for name, width in re.findall(r"\[(\S+\.html) [1-9]\d* (\d+)\]", done.stdout)}
    assert set(widths) == {path.name for path in pages}
    assert {name: width for name, width in widths.items() if width > PHONE} == {}
