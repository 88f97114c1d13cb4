"""Runs of the real program: started as a user starts it, watched over its NDJSON, stopped with real signals."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from PIL import Image

from batchgray.codecs.opened import OpenedImage, SecondOpinion
from batchgray.records import InputVersion, Task
from batchgray.storage import durable
from batchgray.storage.scratch import Scratch
from batchgray.workers import committer
from batchgray.workers.messages import ImageDone

SCALE = float(os.environ.get("TEST_BATCHGRAY_SCALE", "1"))
DEADLINE = 900.0  # seconds until a test gives up: it makes a failure slower, and never causes one


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "batchgray", *map(str, arguments)]


_AS_ANYBODY = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]


def can_be_refused() -> bool:
    """Whether a run with `privileged=False` is refused what a folder's mode forbids."""
    return os.geteuid() != 0 or shutil.which("setpriv") is not None


def batchgray(
    *arguments: object, expect: int | None = 0, privileged: bool = True, timeout: float = DEADLINE, **settings
) -> subprocess.CompletedProcess:
    """Run to the end. `expect` is the exit code, None for any."""
    prefix = [] if privileged or os.geteuid() != 0 else _AS_ANYBODY
    done = subprocess.run(
        prefix + command(*arguments),
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        check=False,
        **settings,
    )
    if expect is not None:
        assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def environment_with(code: str, folder: Path, **variables: str) -> dict[str, str]:
    """An environment in which every Python process runs `code` before anything else."""
    shim = folder / "shim"
    shim.mkdir()
    (shim / "sitecustomize.py").write_text(code)
    path = os.pathsep.join(filter(None, [str(shim), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **variables}


def confined(prefix: Sequence[object], *arguments: object, expect: int = 0, **settings) -> str:
    """Run to the end behind `prefix` (unshare, prlimit, sh -c). Returns all that it said, no traceback."""
    settings = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **settings}
    done = subprocess.run(
        [*map(str, prefix), *command(*arguments)],
        text=True,
        errors="replace",
        timeout=DEADLINE,
        check=False,
        **settings,
    )
    said = done.stdout or ""
    assert "Traceback" not in said, said
    assert done.returncode == expect, f"exit {done.returncode}\n{said}"
    return said


def can(*prefix: str) -> bool:
    """Whether a command behind `prefix` works here."""
    try:
        return subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


_CGROUPS = Path("/sys/fs/cgroup")
_CGROUP_FILES = {  # of version 1 (its controller and file), then of version 2
    "memory": ("memory", "memory.limit_in_bytes", "memory.max"),
    "cpu": ("cpu", "cpu.cfs_quota_us", "cpu.max"),
}


@contextlib.contextmanager
def cgroup(**limits: int) -> Iterator[tuple[list[str], list[Path]]]:
    """A cgroup of the test's own: `memory` in bytes, `cpu` in microseconds of each 100,000.

    Yields the prefix of a command that is to run in it, and its folders. Skips where none can be made.
    """
    folders: list[Path] = []
    try:
        for kind, value in limits.items():
            controller, legacy_file, file = _CGROUP_FILES[kind]
            legacy = (_CGROUPS / controller / legacy_file.replace("limit", "usage")).exists()
            folder = (_CGROUPS / controller if legacy else _CGROUPS) / f"batchgray-test-{os.getpid()}"
            if folder not in folders:
                folder.mkdir()
                folders.append(folder)
            (folder / (legacy_file if legacy else file)).write_text(str(value))
    except OSError as error:
        for folder in folders:
            folder.rmdir()
        pytest.skip(f"can't make a cgroup here: {error}")
    joins = "".join(f'echo $$ > "{folder}/cgroup.procs" && ' for folder in folders)
    try:
        yield ["sh", "-c", f'{joins}exec "$@"', "sh"], folders
    finally:
        for folder in folders:
            wait_until(lambda folder=folder: not (folder / "cgroup.procs").read_text())
            folder.rmdir()


def events_of(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def named(events: list[dict], name: str) -> list[dict]:
    return [event for event in events if event["event"] == name]


class Running:
    """A run in the background, with `--progress json`. `events` grows as they are read; `error` is there at the end."""

    def __init__(self, *arguments: object, **settings) -> None:
        self.events: list[dict] = []
        self.process = subprocess.Popen(
            command(*arguments, "--progress", "json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            **settings,
        )
        self._tree = psutil.Process(self.process.pid)

    def wait_for(self, wanted: str) -> dict:
        """The next event of this name."""
        for line in self.process.stdout:
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == wanted:
                return self.events[-1]
        raise AssertionError(f"ended before {wanted}: {self.events[-3:]}\n{self.process.stderr.read()}")

    def finish(self, expect: int | None = None) -> list[dict]:
        """Wait for the end; returns all events."""
        out = self.process.stdout.read()  # what `wait_for` has read ahead as well, of which communicate knows nothing
        _, self.error = self.process.communicate(timeout=DEADLINE)
        with contextlib.suppress(json.JSONDecodeError):  # a killed run may tear its last line
            self.events += events_of(out)
        if expect is not None:
            assert self.process.returncode == expect, f"exit {self.process.returncode}\n{out}\n{self.error}"
        return self.events

    def signal(self, signum: signal.Signals) -> None:
        self.process.send_signal(signum)

    def descendants(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return self._tree.children(recursive=True)
        return []

    def workers(self) -> list[psutil.Process]:
        return workers_of(self.process)

    def __enter__(self) -> "Running":
        return self

    def kill(self) -> None:
        """SIGKILL to all its processes; returns when they are gone."""
        family = [*self.descendants(), self._tree]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.communicate(timeout=DEADLINE)
        wait_until(lambda: not any(map(is_alive, family)))

    def __exit__(self, *_: object) -> None:
        self.kill()


class StuckPipe:
    """A pipe that has no room, until it is read: FILLING comes first, then what was written."""

    FILLING = " "

    def __init__(self) -> None:
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, self.FILLING.encode() * 4096)
        os.set_blocking(writer, True)
        self.reader, self.writer = os.fdopen(reader, "rb"), os.fdopen(writer, "w", encoding="utf-8")

    def close(self) -> None:
        self.reader.close()  # first: whoever still writes then fails
        self.writer.close()


def workers_of(process: subprocess.Popen | psutil.Process) -> list[psutil.Process]:
    """A running program's processes that hold a slot and were forked from its fork server."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [worker for server in psutil.Process(process.pid).children() for worker in server.children()]
    return []


def is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def wait_until(condition: Callable[[], bool], seconds: float = DEADLINE) -> None:
    """To look costs at most a tenth of a core: what is waited for may need them all."""
    end = time.monotonic() + seconds
    while True:
        before = time.thread_time()
        if condition():
            return
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.001 + 9 * (time.thread_time() - before))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file's bytes by its name, but for the manifest and what belongs to it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("manifest.json")
    }


def manifest_of(out: Path) -> dict:
    return json.loads((out / "manifest.json").read_text())


def leftovers(out: Path) -> list[str]:
    """What a finished run must not leave."""
    return [str(path) for path in out.rglob("*") if re.search(r"\.partial\.|\.tmp$|\.journal$|/\.batchgray", str(path))]


@contextlib.contextmanager
def deep_tree(top: Path, depth: int, name: str = "d") -> Iterator[Callable[[int, str, bytes], None]]:
    """A chain of folders below `top`, each with the same name, deeper than Python or a path can go.

    Yields a function that writes a file (its name, its data) so many folders down. All of it is gone afterwards.
    """
    top.mkdir(parents=True)

    @contextlib.contextmanager
    def opened(levels: int, make: bool = False) -> Iterator[int]:
        fd = os.open(top, os.O_RDONLY)
        try:
            for _ in range(levels):
                if make:
                    os.mkdir(name, dir_fd=fd)
                inner = os.open(name, os.O_RDONLY, dir_fd=fd)
                os.close(fd)
                fd = inner
            yield fd
        finally:
            os.close(fd)

    def put(level: int, file: str, data: bytes) -> None:
        with opened(level) as fd, os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, dir_fd=fd), "wb") as target:
            target.write(data)

    try:
        with opened(depth, make=True):
            pass
        yield put
    finally:
        subprocess.run(["rm", "-rf", top], check=True)  # which is deeper than shutil goes


def scaled(side: int) -> int:
    """The side of a picture so many pixels long, in pictures TEST_BATCHGRAY_SCALE times smaller: for a machine that is
    as many times as fast.
    """
    return max(1, round(side / SCALE**0.5))


def gradient(width: int, height: int, seed: int = 0) -> np.ndarray:
    """uint8 (height, width, 3): smooth, quick to encode, no two tiles alike."""
    y, x = np.arange(height, dtype=np.uint16)[:, None], np.arange(width, dtype=np.uint16)
    return np.stack([((x * 3 + y + seed) >> 4).astype(np.uint8), ((y * 5 + seed + x) >> 3).astype(np.uint8)] * 2, -1)[
        ..., :3
    ]


def save_gradient(path: Path, width: int, height: int, seed: int = 0, exact: bool = False, **settings) -> Path:
    """Draw a picture; `exact` where its size is what the test is about, and stays the same at any scale."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = (width, height) if exact else (scaled(width), scaled(height))
    Image.fromarray(gradient(*size, seed)).save(path, **settings)
    return path


@contextlib.contextmanager
def removed_afterwards(folder: Path) -> Iterator[None]:
    """For what is too deep for pytest to remove."""
    try:
        yield
    finally:
        subprocess.run(["rm", "-rf", folder], check=True)


@contextlib.contextmanager
def shared_memory_unchanged() -> Iterator[None]:
    folder = Path("/dev/shm")
    before = set(folder.iterdir()) if folder.is_dir() else set()
    yield
    assert not folder.is_dir() or set(folder.iterdir()) <= before


def decode(opened: OpenedImage, plane: memoryview) -> str | None:
    """Decode as a worker does, by whichever library can, into one plane for colours or gray. Returns the note."""
    try:
        return opened.decode(SimpleNamespace(rgb=plane, gray=plane))
    except SecondOpinion as wanted:
        with contextlib.closing(wanted.opened):
            return wanted.opened.decode(SimpleNamespace(rgb=plane, gray=plane))


def written(flight: durable.Folder, index: int) -> committer.Written:
    """A finished output for a committer: `picture INDEX`, to become INDEX.jpg."""
    file = Scratch(flight, index).write_file([b"picture %d" % index])
    task = Task(index=index, source=f"{index}.png", output=f"{index}.jpg", version=InputVersion(1, 1))
    done = ImageDone(
        index=index,
        version=task.version,
        width=1,
        height=1,
        tiles_total=1,
        tiles_computed=1,
        decoded=True,
        output_size=file.size,
        checksum=file.checksum,
        note=None,
        seconds=0.0,
    )
    return committer.Written(file, task, done)
