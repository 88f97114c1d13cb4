"""The commands of the README and of the pages, given as a reader would give them: they work, and say those words."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from conftest import script
from harness import DEADLINE, batchgray, save_gradient, tree
from PIL import Image
from recording import Recording, Rule, resume_when_told, stopped_worker_of

from batchgray.cloud.instance import Credentials
from batchgray.storage.urls import StoreOptions, open_place

ROOT = Path(__file__).parents[2]
PLACEHOLDERS = {"INPUT...": "photos", " DIR": " gray-photos"}
SMALLER = {
    "make run": "batchgray run images --out gray",
    "24000, 16000": "9000, 6000",
    "15000, 10000": "9000, 6000",
    "range(12)": "range(4)",
}
ELSEWHERE = ("make ", ". .venv", "pip ", "pipx ", "batchgray run oss:")
SERVERS = ("python scripts/oss_local.py", "python scripts/smq_local.py")
EXPORTS = (*SERVERS, "export ")  # the server runs already; it is found from here on
NOT_WORDS = r"\S*[/.]\S*\w|\b[kMG]?B\b|\b(min|h|s)\b|\b[0-9A-F]{32}\b|\d\w*"  # names, sizes, times, message ids

PICTURES = 40
SIDE = 400


class Command(NamedTuple):
    line: str
    said: list[str]
    code: int = 0


def commands_of(page: Path, section: str = "") -> Iterator[Command]:
    text = page.read_text("utf-8")
    if section:
        text = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for block in blocks:
        if "━" in block:  # the bar, which only a terminal sees; tests/progress/test_bar.py draws it
            continue
        shown = [command.splitlines() for command in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
        for (line, *said), following in pairwise([*shown, [""]]):
            if line != "echo $?":
                yield Command(line, said, int(following[1]) if following[0] == "echo $?" else 0)


class Reader:
    """Somebody with a shell, who follows a page. `heard` is all that the commands said.

    Runs that the page interrupts stop where `stop` says.
    """

    def __init__(
        self, folder: Path, exports: dict[str, str], stop: tuple[Rule, ...], placeholders: dict[str, str]
    ) -> None:
        self._stop, self._placeholders = stop, placeholders
        self._recording = Recording(folder / "record")
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._environment, self._exports = {"PATH": path, "HOME": str(folder), **self._recording.variables}, exports
        self._environment["BATCHGRAY_WORKERS"] = "2"  # as many as the pages show
        self._settings = {"cwd": folder, "env": self._environment, "stdin": subprocess.DEVNULL, "text": True}
        self._background: subprocess.Popen | None = None
        self._servers: list[subprocess.Popen] = []
        self.heard = ""

    def gives(self, command: Command) -> None:
        line = command.line
        for placeholder, meant in self._placeholders.items():
            line = line.replace(placeholder, meant)
        shown = "\n".join(command.said)
        if line.startswith(SERVERS) and not self._exports:
            self._starts_a_server(line)
        elif line.startswith(EXPORTS):
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
            self._hears(self._starts(line), expect=command.code)
        if self._background and "smq simulate" in line:
            self._hears_of_an_interruption(self._background)
            self._background = None

    def _starts_a_server(self, line: str) -> None:
        """On a port that is free; what it prints to be exported is pasted."""
        server = subprocess.Popen(["bash", "-c", f"exec {line} --port 0"], stdout=subprocess.PIPE, **self._settings)
        self._servers.append(server)
        for said in iter(server.stdout.readline, ""):
            self.heard += said
            if not said.startswith("export "):
                break
            name, _, value = said.removeprefix("export ").rstrip("\n").partition("=")
            self._environment[name] = value

    def sees(self, url: str) -> dict[str, bytes]:
        """The outputs in the store that was started."""
        known = self._environment
        key_id, secret = (known[name] for name in KEY)
        options = StoreOptions(
            oss_endpoint=known["OSS_ENDPOINT"],
            oss_region=known["OSS_REGION"],
            credentials=Credentials(key_id=key_id, secret=secret),
        )
        with contextlib.closing(open_place(url, options)) as place:
            keys = [entry.key for entry in place.list()]
            return {key: place.get(key) for key in keys if key != "manifest.json" and not key.startswith(".batchgray/")}

    def close(self) -> None:
        """Stop the servers that were started."""
        for server in self._servers:
            with server:
                server.terminate()

    def _starts_and_stops(self, line: str) -> subprocess.Popen:
        """A run in which a worker stops itself in the middle of an image."""
        self._recording.set_rules(*self._stop)
        run = self._starts(line)
        self._stopped = stopped_worker_of(run)
        assert self._stopped, line
        self._recording.set_rules()
        return run

    def _hears_of_an_interruption(self, run: subprocess.Popen) -> None:
        resume_when_told(self._stopped)
        self._hears(run, expect=75)

    def _starts(self, line: str) -> subprocess.Popen:
        run = subprocess.Popen(["bash", "-c", f"exec env {line}"], stdout=subprocess.PIPE, **self._settings)
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
        yield tmp_path, exports


KEY = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "local", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "local"}
MIDWAY = (Rule("tile", rf"{PICTURES // 2:04}\.jpg"),)  # with others done before
IN_A_WIDE_ONE = (Rule("tile", r"wide2\.jpg", after=2),)
IN_THE_LARGE_ONE = (Rule("band", "panorama", after=2),)


def follow(page: str, reader: Reader, section: str = "") -> None:
    """Give the page's commands, and hold what they say against what it shows."""
    given = [command for command in commands_of(ROOT / page, section) if not command.line.startswith(ELSEWHERE)]
    assert len(given) > 3
    for command in given:
        reader.gives(command)
    shown = "\n".join(line for command in given for line in command.said if not line.startswith("export "))
    assert words_in(shown) - words_in(reader.heard) == set()


@pytest.mark.parametrize(
    ("page", "credentials"),
    [("README.md", KEY), ("docs/spot.md", {}), ("docs/photographs.md", {})],  # or the instance's role
)
def test_a_reader_who_follows_the_page_gets_what_it_shows(page, credentials, desk):
    folder, exports = desk
    follow(page, Reader(folder, exports | credentials, MIDWAY, PLACEHOLDERS))


def test_a_newcomer_who_follows_the_tutorial_gets_what_it_shows(samples, tmp_path):
    shutil.copytree(samples, tmp_path / "images")
    reader = Reader(tmp_path, {}, IN_THE_LARGE_ONE, SMALLER)
    reader.gives(Command("make run", []))
    follow("docs/tutorial.md", reader)
    assert (tmp_path / "again" / "report.html").exists()


def test_a_rehearsal_with_buckets_ends_in_the_tree_of_folders(samples, tmp_path):
    """One machine is taken away, its disk is lost, and the next one goes on."""
    pytest.importorskip("alibabacloud_oss_v2", reason="batchgray[oss] is not installed")
    shutil.copytree(samples, tmp_path / "images")
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    reader = Reader(tmp_path, {}, IN_A_WIDE_ONE, SMALLER)
    reader.gives(Command("make run", []))
    with contextlib.closing(reader):
        follow("docs/stores.md", reader, "A rehearsal on one machine")
        outputs = reader.sees("oss://gray/2026")
    assert not (tmp_path / "machine-1").exists()
    batchgray("run", tmp_path / "images", "--out", tmp_path / "plain", "--progress", "none")
    assert outputs == tree(tmp_path / "plain")


def test_a_fleet_converts_part_by_part_as_the_page_shows(tmp_path):
    for part in ("day1", "day2"):
        save_gradient(tmp_path / "photos" / part / f"{part}.jpg", 64, 48)
    follow("docs/fleet.md", Reader(tmp_path, {}, MIDWAY, {}))
    shutil.rmtree(tmp_path / "gray")
    listing, task = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs/fleet.md").read_text("utf-8"), re.M | re.S)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for lines, number in ((listing, 0), (task, 1), (task, 2)):
        environment = {**os.environ, "PATH": path, "TASK": str(number)}
        subprocess.run(["sh", "-euc", lines], cwd=tmp_path, env=environment, check=True, timeout=DEADLINE)
    assert {path.name for path in (tmp_path / "gray").glob("day?/*.jpg")} == {"day1.jpg", "day2.jpg"}


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


def test_the_reference_says_what_the_program_says():
    """Else run scripts/make_reference.py, and read what it wrote."""
    make_reference = script("make_reference")
    assert make_reference.TARGET.read_text("utf-8") == make_reference.rendered()
