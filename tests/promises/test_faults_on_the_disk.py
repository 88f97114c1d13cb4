"""A disk that fails: said in a sentence, with the exit code of the contract; nothing untrue in the manifest, and
`resume` finishes the work when the cause is gone.

If this broke, a full or dying disk would end a night's work with a traceback, a lie, or files that nobody cleans up.

TEST_BATCHGRAY_FAULTS=all tries every operation with every error; else every other operation meets one of them.
"""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import psutil
import pytest
from harness import Running, batchgray, events_of, leftovers, named, save_gradient, tree
from recording import Recording, Rule, interrupt, wait_for_stopped_worker

from batchgray.commands import verify
from batchgray.storage import integrity

ALL = os.environ.get("TEST_BATCHGRAY_FAULTS") == "all"
DONE, FATAL, REFUSED, SOME_FAILED, INTERRUPTED = 0, 1, 2, 3, 75
FULL = (errno.ENOSPC, errno.EDQUOT)
BROKEN = (errno.EIO, errno.EROFS)
OPTIONS = ("--tile-rows", 64, "--checkpoint", 0.000001)


@dataclass(frozen=True)
class Operation:
    """One that a run does. `full` and `broken` are the exit codes that are right when it fails for that reason."""

    name: str
    kind: str
    path: str
    after: int = 0
    full: tuple[int, ...] = (INTERRUPTED,)
    broken: tuple[int, ...] = (FATAL,)


# Before the first document is written there is nothing to resume, and the output folder is to blame: a usage error.
REFUSING = {"full": (REFUSED, INTERRUPTED), "broken": (FATAL, REFUSED)}
# What a checkpoint saves is needed only after a power cut; a warning is enough.
CHECKPOINT = {"full": (DONE, INTERRUPTED), "broken": (DONE, FATAL)}
# What can be cleaned up later stops nobody.
CLEANING = {"full": (DONE,), "broken": (DONE,)}

OPERATIONS = [
    Operation("make the output folder", "mkdir", r"/out$", **REFUSING),
    Operation("make the folder of what is in flight", "mkdir", r"/\.batchgray$", **REFUSING),
    Operation("sync that folder", "sync folder", r"/\.batchgray$", **REFUSING),
    Operation("create the first document", "open", r"manifest\.json\.tmp$", **REFUSING),
    Operation("write the first document", "write", r"manifest\.json\.tmp$", **REFUSING),
    Operation("sync the first document", "sync", r"manifest\.json\.tmp$", **REFUSING),
    Operation("rename the first document", "rename", r"manifest\.json$", **REFUSING),
    Operation("create the journal", "open", r"\.journal$"),
    Operation("begin the journal", "write", r"\.journal$"),
    Operation("append to the journal", "write", r"\.journal$", after=2),
    Operation("sync the journal", "sync", r"\.journal$", after=1),
    Operation("create an output", "open", r"\.out$", after=1),
    Operation("write an output", "write", r"\.out$", after=1),
    Operation("sync an output", "sync", r"\.out$", after=1),
    Operation("make an output's folder", "mkdir", r"/out/b$"),
    Operation("sync the folder above", "sync folder", r"/out$", after=2),
    Operation("create the intents", "open", r"\.intents$"),
    Operation("write an intent", "write", r"\.intents$", after=1),
    Operation("sync an intent", "sync", r"\.intents$"),
    Operation("rename an output", "rename", r"/out/a/.\.jpg$", after=1),
    Operation("sync an output's folder", "sync folder", r"/out/a$"),
    Operation("create a sidecar", "open", r"default/\w+\.tmp$", **CHECKPOINT),
    Operation("write a sidecar", "write", r"default/\w+\.tmp$", after=1, **CHECKPOINT),
    Operation("sync a sidecar", "sync", r"default/\w+\.tmp$", after=1, **CHECKPOINT),
    Operation("rename a sidecar", "rename", r"\.tiles$", after=1, **CHECKPOINT),
    Operation("remove a sidecar", "unlink", r"\.tiles$", **CLEANING),
    Operation("remove the intents", "unlink", r"\.intents$", **CLEANING),
    Operation("remove the folder of what was in flight", "rmdir", r"/default$", **CLEANING),
    Operation("create the last document", "open", r"manifest\.json\.tmp$", after=1),
    Operation("write the last document", "write", r"manifest\.json\.tmp$", after=1),
    Operation("sync the last document", "sync", r"manifest\.json\.tmp$", after=1),
    Operation("rename the last document", "rename", r"manifest\.json$", after=1),
    Operation("remove the journal", "unlink", r"\.journal$", after=1, full=(INTERRUPTED, DONE), broken=(FATAL, DONE)),
]


def some(choices: Iterable) -> list:
    """Every other one, or all."""
    return [*choices] if ALL else [*choices][::2]


@dataclass(frozen=True)
class Case:
    operation: Operation
    error: int
    for_ever: bool

    @property
    def rule(self) -> Rule:
        times = None if self.for_ever else 1
        return Rule(self.operation.kind, self.operation.path, self.error, self.operation.after, times)

    @property
    def codes(self) -> tuple[int, ...]:
        return self.operation.full if self.error in FULL else self.operation.broken

    def __str__(self) -> str:
        return f"{self.operation.name}-{errno.errorcode[self.error]}-{'for ever' if self.for_ever else 'once'}"


def cases() -> Iterator[Case]:
    ways = list(product((*FULL, *BROKEN), (True, False)))
    if ALL:
        yield from (Case(operation, *way) for operation in OPERATIONS for way in ways)
    else:
        # Five and eight have no common divisor: neighbours meet different errors, and each has its turn.
        yield from (Case(operation, *ways[5 * index % 8]) for index, operation in enumerate(OPERATIONS[::2]))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("faults") / "in"
    for number, name in enumerate(["a/1.png", "a/2.png", "b/3.png", "a/4.png"]):
        save_gradient(folder / name, 90, 70, seed=number)
    save_gradient(folder / "b" / "big.png", 400, 1000)
    return folder


@pytest.fixture(scope="module")
def whole(pictures, tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "out"
    batchgray("run", pictures, "--out", out, *OPTIONS)
    return tree(out)


@pytest.fixture(scope="module")
def outcomes(request, pictures, whole, tmp_path_factory) -> Iterator[dict[Case, Future]]:
    """All cases that were asked for, side by side."""
    asked = [item.callspec.params["case"] for item in request.session.items if "outcomes" in item.fixturenames]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {case: pool.submit(try_out, case, pictures, whole, tmp_path_factory.mktemp("case")) for case in asked}


@pytest.mark.parametrize("case", [*cases()], ids=str)
def test_it_is_said_and_the_work_goes_on_when_the_cause_is_gone(case, outcomes):
    outcomes[case].result()


def try_out(case: Case, pictures: Path, whole: dict[str, bytes], folder: Path) -> None:
    out, recording = folder / "out", Recording(folder / "record", case.rule)
    arguments = ("run", pictures, "--out", out, *OPTIONS, "--workers", 2, "--progress", "plain")
    run = batchgray(*arguments, expect=None, env=recording.environment)
    assert recording.met() > case.operation.after, "the operation never came"
    check_words(run, os.strerror(case.error), case.codes)
    assert strays(recording) == []
    check_what_is_there(out, whole)
    again = ("resume", out / "manifest.json") if (out / "manifest.json").exists() else arguments[:4]
    batchgray(*again, "--progress", "none")
    assert tree(out) == whole
    assert leftovers(out) == []


def test_a_disk_that_is_broken_is_not_called_full(pictures, tmp_path):
    recording = Recording(tmp_path / "record", Rule("sync", r"\.out$", errno.EIO, times=None))
    arguments = ("run", pictures, "--out", tmp_path / "out", "--progress", "plain")
    run = batchgray(*arguments, expect=FATAL, env=recording.environment)
    assert "full" not in run.stdout + run.stderr


def check_words(run: subprocess.CompletedProcess, why: str, codes: tuple[int, ...]) -> None:
    """The exit code is one of `codes`; what happened is told in sentences, and once what to do."""
    told = f"exit {run.returncode}\n{run.stdout}\n{run.stderr}"
    assert "Traceback" not in told, told
    assert run.returncode in codes, told
    if run.returncode == INTERRUPTED:
        assert "disk is full" in run.stdout + run.stderr, told
        assert "resume" in run.stdout + run.stderr, told
    elif run.returncode in (FATAL, REFUSED):
        assert run.stderr.count("\n") == 1, told
        assert run.stderr.startswith("batchgray: "), told
        assert why in run.stderr, told
    else:
        assert run.stderr == "", told


def check_what_is_there(out: Path, whole: dict[str, bytes]) -> None:
    """What has a final name is whole, and what the manifest calls done is there."""
    assert all(whole[name] == data for name, data in tree(out).items() if name in whole)
    if (out / "manifest.json").exists():
        assert verify.verify(out / "manifest.json").damaged == []


# Errors that an output's own name or folder can be to blame for. The second image is the first worker's second output.
ONE_IMAGE = [
    ("rename", r"/out/a/2\.jpg$", errno.EACCES),
    ("rename", r"/out/a/2\.jpg$", errno.ENAMETOOLONG),
    ("rename", r"/out/a/2\.jpg$", errno.EPERM),
    ("open", r"/1-2\.out$", errno.EACCES),
]


@pytest.mark.parametrize(("kind", "path", "error"), some(ONE_IMAGE))
def test_a_fault_of_one_output_costs_one_image(pictures, whole, tmp_path, kind, path, error):
    out, recording = tmp_path / "out", Recording(tmp_path / "record", Rule(kind, path, error, times=None))
    arguments = ("run", pictures, "--out", out, *OPTIONS, "--workers", 1, "--progress", "json")
    run = batchgray(*arguments, expect=SOME_FAILED, env=recording.environment)
    failed = {event["source"]: event["error"] for event in named(events_of(run.stdout), "failed")}
    assert failed.keys() == {"a/2.png"}
    assert os.strerror(error) in failed["a/2.png"]
    assert run.stderr == ""
    assert tree(out) == {name: data for name, data in whole.items() if name != "a/2.jpg"}
    assert leftovers(out) == []
    batchgray("resume", out / "manifest.json", "--progress", "none")
    assert tree(out) == whole
    assert leftovers(out) == []


def test_a_file_where_a_folder_is_to_be_costs_what_is_in_that_folder(pictures, whole, tmp_path):
    (tmp_path / "b").write_bytes(b"mine")
    run = batchgray("run", pictures, "--out", tmp_path, "--progress", "json", expect=SOME_FAILED)
    assert {event["source"] for event in named(events_of(run.stdout), "failed")} == {"b/3.png", "b/big.png"}
    assert (tmp_path / "b").read_bytes() == b"mine"
    (tmp_path / "b").unlink()
    batchgray("resume", tmp_path / "manifest.json", "--progress", "none")
    assert tree(tmp_path) == whole


IN_THE_MIDDLE = Rule("rename", rf"/{integrity.short_name('b/big.jpg')}\.tiles$", after=2)
FAULTS_WHILE_FLUSHING = [
    ("write", r"\.preview$", errno.ENOSPC, (INTERRUPTED,)),
    ("sync", r"\.preview$", errno.EIO, (INTERRUPTED,)),
    ("rename", r"\.partial\.jpg$", errno.EROFS, (INTERRUPTED,)),
    ("sync", rf"/{integrity.short_name('b/big.jpg')}\.tmp$", errno.ENOSPC, (INTERRUPTED,)),
    ("sync", rf"/{integrity.short_name('b/big.jpg')}\.tmp$", errno.EIO, (INTERRUPTED, FATAL)),
    ("sync", r"manifest\.json\.tmp$", errno.ENOSPC, (INTERRUPTED,)),
    ("sync", r"manifest\.json\.tmp$", errno.EIO, (FATAL,)),
    ("sync", r"\.journal$", errno.EIO, (FATAL,)),
]


@pytest.mark.parametrize(("kind", "path", "error", "codes"), some(FAULTS_WHILE_FLUSHING))
def test_a_fault_while_an_interruption_is_flushed(pictures, whole, tmp_path, kind, path, error, codes):
    out, recording = tmp_path / "out", Recording(tmp_path / "record", IN_THE_MIDDLE)
    with Running("run", pictures, "--out", out, *OPTIONS, "--workers", 1, env=recording.environment) as run:
        worker = wait_for_stopped_worker(run)
        recording.set_rules(Rule(kind, path, error, times=None))
        interrupt(run, worker)
        events = run.finish()
        told = f"exit {run.process.returncode}, {run.error}"
    assert run.process.returncode in codes, told
    assert recording.met() > 0
    assert "Traceback" not in run.error
    if run.process.returncode == INTERRUPTED:
        assert named(events, "summary")[0]["resume"]
        assert run.error == ""
    else:
        assert os.strerror(error) in run.error
    assert strays(recording) == []
    check_what_is_there(out, whole)
    batchgray("resume", out / "manifest.json", "--progress", "none")
    assert tree(out) == whole
    assert leftovers(out) == []


@pytest.fixture
def failing_disk(tmp_path) -> Iterator[Path]:
    """A small ext4 file system that can be made to fail."""
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(32 << 20)
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("only root can mount a file system, and mkfs.ext4 makes it")
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    mounted = subprocess.run(["mount", "-o", "loop", image, folder], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"can't mount a file system here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_becomes_read_only(pictures, whole, failing_disk, tmp_path):
    """As the kernel does it when it meets an error in a file system."""
    out, recording = failing_disk / "out", Recording(tmp_path / "record", Rule("write", r"\.out$", after=2))
    with Running("run", pictures, "--out", out, *OPTIONS, "--workers", 1, env=recording.environment) as run:
        worker = wait_for_stopped_worker(run)
        subprocess.run(["mount", "-o", "remount,abort", failing_disk], check=True)
        worker.resume()
        run.finish(expect=FATAL)
    check_fatal_words(run.error, out)
    assert strays(recording) == []
    again = batchgray("resume", out / "manifest.json", expect=REFUSED)
    assert "can't write to the output folder" in again.stderr
    subprocess.run(["umount", failing_disk], check=True)
    subprocess.run(["mount", "-o", "loop", tmp_path / "image", failing_disk], check=True)
    check_what_is_there(out, whole)
    batchgray("resume", out / "manifest.json", "--progress", "none")
    assert tree(out) == whole
    assert leftovers(out) == []


MOMENTS = {
    "an output is written": Rule("write", r"\.out$", after=2),
    "an output is synced": Rule("sync", r"\.out$", after=2),
    "an output is at its name": Rule("rename", r"/out/a/.\.jpg$", after=1),
    "a checkpoint is written": Rule("write", r"default/\w+\.tmp$", after=8),
}


@pytest.mark.parametrize("moment", some(MOMENTS))
def test_an_output_folder_that_is_removed(pictures, whole, tmp_path, moment):
    out, recording = tmp_path / "out", Recording(tmp_path / "record", MOMENTS[moment])
    with Running("run", pictures, "--out", out, *OPTIONS, "--workers", 1, env=recording.environment) as run:
        worker = wait_for_stopped_worker(run)
        shutil.rmtree(out)
        worker.resume()
        run.finish(expect=FATAL)
    check_fatal_words(run.error, out)
    assert strays(recording) == []
    batchgray("run", pictures, "--out", out, *OPTIONS, "--progress", "none")
    assert tree(out) == whole
    assert leftovers(out) == []


def check_fatal_words(error: str, out: Path) -> None:
    """One sentence that names the folder and says what to do."""
    assert error.startswith("batchgray: fatal: "), error
    assert error.count("\n") == 1, error
    assert str(out) in error, error
    assert "resume" in error, error


def strays(recording: Recording) -> list[psutil.Process]:
    """Processes of a run that has ended."""
    mark = recording.environment["DURABLE_RECORD"]
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("DURABLE_RECORD") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            pass  # gone, or somebody else's
    return found
