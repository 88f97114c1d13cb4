"""The commands of the README and of docs/spot.md, given as a reader would give them: they work, and say those words."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from conftest import script
from PIL import Image
from recording import Recording, Rule, resume_when_told, stopped_worker_of

ROOT = Path(__file__).parents[2]
PLACEHOLDERS = {"INPUT...": "photos", "--out DIR": "--out gray-photos", "DIR/": "gray-photos/"}
ELSEWHERE = ("make ", "echo $?")
EXPORTS = ("python scripts/smq_local.py", "export ")  # the server runs already; it is found from here on
NOT_WORDS = r"\S*[/.]\S*\w|\b[kMG]?B\b|\b(min|h|s)\b|\b[0-9A-F]{32}\b|\d\w*"  # names, sizes, times, message ids

PICTURES = 40
SIDE = 400


class Command(NamedTuple):
    line: str
    said: list[str]


def commands_of(page: Path) -> Iterator[Command]:
    blocks = re.findall(r"^```console\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    for block in blocks:
        if "━" in block:  # the bar, which only a terminal sees; tests/progress/test_bar.py draws it
            continue
        for command in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, *said = command.splitlines()
            yield Command(line, said)


class Reader:
    """Somebody with a shell, who follows a page. `heard` is all that the commands said."""

    def __init__(self, folder: Path, exports: dict[str, str]) -> None:
        self._recording = Recording(folder / "record")
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._environment, self._exports = {"PATH": path, "HOME": str(folder), **self._recording.variables}, exports
        self._environment["BATCHGRAY_WORKERS"] = "2"  # as many as the pages show
        self._settings = {"cwd": folder, "env": self._environment, "stdin": subprocess.DEVNULL, "text": True}
        self._background: subprocess.Popen | None = None
        self.heard = ""

    def gives(self, command: Command) -> None:
        line = command.line
        for placeholder, meant in PLACEHOLDERS.items():
            line = line.replace(placeholder, meant)
        shown = "\n".join(command.said)
        if line.startswith(EXPORTS):
            self._environment |= self._exports
        elif line.endswith("&"):
            self._background = self._starts_and_stops(line.removesuffix("&"))
        elif "Interrupted by SIGINT" in shown:
            run = self._starts_and_stops(line)
            run.send_signal(signal.SIGINT)
            self._hears_of_an_interruption(run)
        elif "(notice from smq)" in shown and not self._background:
            run = self._starts_and_stops(line)
            self._hears(self._starts("batchgray smq simulate --instance-id i-local"), expect=0)
            self._hears_of_an_interruption(run)
        else:
            self._hears(self._starts(line), expect=0)
        if self._background and "smq simulate" in line:
            self._hears_of_an_interruption(self._background)
            self._background = None

    def _starts_and_stops(self, line: str) -> subprocess.Popen:
        """A run in which a worker stops itself in the middle of an image, with others done before."""
        self._recording.set_rules(Rule("tile", rf"{PICTURES // 2:04}\.jpg"))
        run = self._starts(line)
        self._stopped = stopped_worker_of(run)
        assert self._stopped, line
        self._recording.set_rules()
        return run

    def _hears_of_an_interruption(self, run: subprocess.Popen) -> None:
        resume_when_told(self._stopped)
        self._hears(run, expect=75)

    def _starts(self, line: str) -> subprocess.Popen:
        run = subprocess.Popen(["bash", "-c", f"exec {line}"], stdout=subprocess.PIPE, **self._settings)
        self.heard += run.stdout.readline()
        return run

    def _hears(self, run: subprocess.Popen, expect: int) -> None:
        with run:
            said = run.stdout.read()  # communicate knows nothing of what readline has read ahead
        self.heard += said
        assert run.returncode == expect, f"{run.args[-1]}\n{said}"


def words_in(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z']+", re.sub(NOT_WORDS, " ", text)))


@pytest.fixture
def desk(tmp_path, smq_local) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder with pictures, and what to export for the local queue."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    for folder in ("photos", "images"):
        (tmp_path / folder).mkdir()
        original = tmp_path / folder / "0000.jpg"
        Image.fromarray(pixels).save(original, quality=90)
        for number in range(1, PICTURES):
            (tmp_path / folder / f"{number:04}.jpg").hardlink_to(original)
        for number in range(4):
            Image.new("RGBA", (8, 8)).save(tmp_path / folder / f"veiled{number}.png")
    with smq_local.LocalSMQ(role="batchgray") as server:
        exports = {
            "MNS_ENDPOINT": server.endpoint,
            "BATCHGRAY_METADATA_URL": server.endpoint,
        }
        (tmp_path / ".config" / "fish" / "completions").mkdir(parents=True)
        yield tmp_path, exports


KEY = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "local", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "local"}


@pytest.mark.parametrize(("page", "credentials"), [("README.md", KEY), ("docs/spot.md", {})])  # or the instance's role
def test_a_reader_who_follows_the_page_gets_what_it_shows(page, credentials, desk):
    folder, exports = desk
    reader = Reader(folder, exports | credentials)
    given = [command for command in commands_of(ROOT / page) if not command.line.startswith(ELSEWHERE)]
    assert len(given) > 3
    for command in given:
        reader.gives(command)
    shown = "\n".join(line for command in given for line in command.said if not line.startswith("export "))
    assert words_in(shown) - words_in(reader.heard) == set()


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")], ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page):
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8"))
    assert [link for link in linked if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")], ids=lambda page: page.name)
def test_the_modules_that_a_page_names_are_there(page):
    named = set(re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", page.read_text("utf-8")))
    assert [
        name for name in sorted(named) if not any((top / name).exists() for top in (ROOT, ROOT / "batchgray"))
    ] == []


def test_the_rooms_are_drawn_as_they_are():
    """Else run scripts/make_map.py, and read what it wrote."""
    make_map = script("make_map")
    assert make_map.TARGET.read_text("utf-8") == make_map.rendered()
