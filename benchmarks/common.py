"""What the benchmarks share: paired runs, time and processor time of a command, the machine, the table, the JSON.

Processor time is user + system of a command and of every process below it, as the kernel counts it when they are
waited for (getrusage, RUSAGE_CHILDREN).

The JSON: `name`, `date`, `machine` (processor, cores, memory, kernel, file system, load, versions), `parameters`, and
`rows`, each with `name` (who), `figure` (what), `unit`, `median`, `min`, `max`, `runs` in the order they were taken,
and `note`.
"""

import argparse
import contextlib
import importlib
import importlib.metadata
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

import psutil
from rich.console import Console
from rich.table import Table

from batchgray import machine

HERE = Path(__file__).resolve().parent
QUALITY = 75
Figures = TypeVar("Figures")

_PACKAGES = ("batchgray", "simplejpeg", "numba", "numpy", "pillow", "opencv-python-headless", "pyvips-binary")
_PROGRAMS = {"jpegtran": ["-version"], "gm": ["version"], "mogrify": ["-version"]}


@dataclass(frozen=True)
class Row:
    """One quantity of one contender, over all rounds."""

    name: str
    figure: str
    unit: str
    runs: Sequence[float]
    note: str = ""

    def summary(self) -> dict:
        spread = {"median": statistics.median(self.runs), "min": min(self.runs), "max": max(self.runs)}
        return {**asdict(self), **spread, "runs": list(self.runs)}


class Measured(NamedTuple):
    rows: list[Row]
    parameters: dict


class Timing(NamedTuple):
    """Seconds."""

    wall: float
    cpu: float

    def __sub__(self, other: "Timing") -> "Timing":
        return Timing(self.wall - other.wall, self.cpu - other.cpu)


def paired(runs: int, ways: Mapping[str, Callable[[], Figures]]) -> dict[str, list[Figures]]:
    """A B C, A B C, ...: what each way returns, a list of `runs`. Whatever slows the machine down, slows all of them.

    Between two of them the disk gets what is still in the page cache, so that nobody pays for another's writing.
    """
    found: dict[str, list[Figures]] = {name: [] for name in ways}
    for number in range(runs):
        for name, way in ways.items():
            os.sync()
            figures = way()
            found[name].append(figures)
            print(f"round {number + 1} of {runs}: {name}: {_brief(figures)}", file=sys.stderr)
    return found


@contextlib.contextmanager
def timing() -> Iterator[Callable[[], Timing]]:
    """The time of the block so far, and of the processes that it has waited for."""
    wall, cpu = time.perf_counter(), children_seconds()
    yield lambda: Timing(time.perf_counter() - wall, children_seconds() - cpu)


def timed(command: Sequence[object], expect: int = 0, **settings) -> Timing:
    """Run a command to its end. One that fails ends the benchmark: its time means nothing."""
    with timing() as spent:
        done = subprocess.run(list(map(str, command)), capture_output=True, check=False, **settings)
        found = spent()
    if done.returncode != expect:
        sys.exit(f"{' '.join(map(str, command))}\nexit {done.returncode}: {done.stderr.decode(errors='replace')}")
    return found


def batchgray(*arguments: object) -> list[str]:
    """The command as it is installed, in this interpreter. Everything is on that a user has by default."""
    return [sys.executable, "-P", "-m", "batchgray", *map(str, arguments)]


class Ended(Exception):
    """A run was over before what was waited for."""


class Watched:
    """A run whose `--progress json` is read as it comes: iterate over (moment, event), moments by `time.monotonic`."""

    def __init__(self, *arguments: object, env: dict[str, str] | None = None) -> None:
        command = batchgray(*arguments, "--progress", "json")
        self.began = time.monotonic()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=env)

    def __iter__(self) -> Iterator[tuple[float, dict]]:
        for line in self.process.stdout:
            yield time.monotonic(), json.loads(line)

    def wait_for(self, name: str) -> tuple[float, dict]:
        """The next event of this name. Raises Ended."""
        for moment, event in self:
            if event["event"] == name:
                return moment, event
        if self.process.wait() != 0:
            sys.exit(f"batchgray ended with {self.process.returncode}, and said nothing of {name!r}")
        raise Ended

    def finish(self, *expect: int) -> float:
        """Read on to the end; returns its moment. The exit code must be one of `expect`."""
        self.process.communicate()
        ended = time.monotonic()
        if self.process.returncode not in expect:
            sys.exit(f"batchgray ended with {self.process.returncode} and not {' or '.join(map(str, expect))}")
        return ended

    def __enter__(self) -> "Watched":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def fresh(work: Path) -> Path:
    """The name of a folder that is not there yet. The one before it is emptied, its files are of no length, but there.

    Removed files would slow down whoever makes the next ones: ext4 looks at each inode that was freed in the last
    minutes, and passes over it.
    """
    number = len(list(work.glob("out-*")))
    for path in (work / f"out-{number - 1}").rglob("*"):
        if path.is_file():
            os.truncate(path, 0)
    return work / f"out-{number}"


def rows_of(found: Mapping[str, Sequence[Timing]], notes: Mapping[str, str] | None = None) -> list[Row]:
    """Wall and processor time of each."""
    return [
        Row(name, figure, "s", [getattr(timing, figure) for timing in timings], (notes or {}).get(name, ""))
        for name, timings in found.items()
        for figure in ("wall", "cpu")
    ]


def ratios(name: str, above: Sequence[Timing], below: Sequence[Timing], note: str = "") -> list[Row]:
    """How many times as long the first took as the second, round by round."""
    pairs = list(zip(above, below, strict=True))
    return [
        Row(name, f"{figure} ratio", "x", [getattr(a, figure) / getattr(b, figure) for a, b in pairs], note)
        for figure in ("wall", "cpu")
    ]


def less(timings: Sequence[Timing], startups: Sequence[Timing]) -> list[Timing]:
    """Start-up taken off, round by round."""
    return [timing - startup for timing, startup in zip(timings, startups, strict=True)]


def main(
    file: str,
    doc: str,
    measure: Callable[[argparse.Namespace, Path], Measured],
    runs: int = 5,
    options: Callable[[argparse.ArgumentParser], object] = lambda parser: None,
) -> None:
    """A benchmark's main program: options, a folder to work in, the table, the JSON."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    name = Path(file).stem
    parser.add_argument("--images", type=Path, default=Path("photos"), help="a folder of photographs (make photos)")
    parser.add_argument("--runs", type=int, default=runs, help=f"rounds (default: {runs})")
    parser.add_argument("--workers", type=int, default=machine.usable_cores(), help="processes (default: the cores)")
    parser.add_argument("--json", type=Path, default=HERE / "results" / f"{name}.json", metavar="FILE")
    parser.add_argument("--work", type=Path, default=HERE / "scratch", help="where outputs go: a disk that counts")
    parser.add_argument("--keep", action="store_true", help="leave the outputs, which slows down no further benchmark")
    options(parser)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=given.work))
    try:
        surroundings = _surroundings(work)
        measured = measure(given, work)
    finally:
        if not given.keep:
            shutil.rmtree(work)
    report = {
        "name": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": surroundings,
        "parameters": {"runs": given.runs, "workers": given.workers, **measured.parameters},
        "rows": [row.summary() for row in measured.rows],
    }
    show(report)
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(given.json)


def show(report: dict) -> None:
    """Who by what, median (smallest to largest)."""
    rows = report["rows"]
    columns = list(dict.fromkeys((row["figure"], row["unit"]) for row in rows))
    cells = {(row["name"], row["figure"]): row for row in rows}
    notes = {row["name"]: row["note"] for row in rows}
    table = Table(title=f"{report['name']}: median (min to max)", title_justify="left")
    table.add_column("")
    for figure, unit in columns:
        table.add_column(f"{figure}, {unit}", justify="right")
    table.add_column("", max_width=60)
    for name, note in notes.items():
        table.add_row(name, *(_cell(cells.get((name, figure))) for figure, _ in columns), note)
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
    console.print(described(report), highlight=False, soft_wrap=True)


def described(report: dict) -> str:
    """Machine, versions, parameters and date in words."""
    of = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in of["versions"].items())
    parameters = ", ".join(f"{name} {value}" for name, value in report["parameters"].items())
    return (
        f"{of['processor']}, {of['cores']} cores, {of['memory_bytes'] / 2**30:.0f} GiB, {of['kernel']}, "
        f"{of['file_system']}, load {of['load']:.1f} at the start, {report['date']}\n{versions}\n{parameters}"
    )


def load_script(name: str):
    """A program of scripts/ as a module."""
    scripts = str(HERE.parent / "scripts")
    if scripts not in sys.path:
        sys.path.append(scripts)  # they import one another
    return importlib.import_module(name)


def _cell(row: dict | None) -> str:
    if row is None:
        return ""
    median, low, high = (f"{row[key]:,.{digits(row['median'])}f}" for key in ("median", "min", "max"))
    return median if low == high else f"{median} ({low} to {high})"


def digits(value: float) -> int:
    """After the point: three or four figures count."""
    return 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 1 else 3


def _brief(figures: object) -> str:
    named = figures._asdict() if isinstance(figures, tuple) else figures
    return ", ".join(f"{name} {value:.{digits(value)}f}" for name, value in named.items())


def children_seconds() -> float:
    """Processor time of all that was waited for so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _surroundings(work: Path) -> dict:
    return {
        "processor": _processor(),
        "cores": machine.usable_cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": f"{platform.system()} {platform.release()}",
        "file_system": _file_system(work),
        "load": os.getloadavg()[0],
        "versions": {"python": platform.python_version(), **_package_versions(), **_program_versions()},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _file_system(work: Path) -> str:
    mounts = [part for part in psutil.disk_partitions(all=True) if work.resolve().is_relative_to(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown file system"


def _package_versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _program_versions() -> dict[str, str]:
    found = {}
    for program, arguments in _PROGRAMS.items():
        if shutil.which(program):
            done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
            words = (done.stdout or done.stderr).split()
            found[program] = next((word for word in words if word[0].isdigit()), "unknown")
    return found
