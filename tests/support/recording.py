"""Real runs whose durable operations are recorded, fail on purpose, or stop the process that does them.

`intercept/sitecustomize.py` is the part inside the processes of the run.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import pickle
import signal
import subprocess
import weakref
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import psutil
from harness import Running, is_alive, wait_until, workers_of

TESTS = Path(__file__).parent

_libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class Rule:
    """Meets operations of a kind whose path holds the regular expression; lets `after` pass, then `times` fail.

    `kind` is open, write, truncate, sync, sync folder, sync all, rename (by its new name), unlink, mkdir or rmdir; or a
    point of the work: tile, band, decode, encode (by the name of the output), call or return (see
    `intercept/points.py`). `error` is the errno; 0 lets the operation be done, and then stops its process with SIGSTOP;
    or holds up its thread until `until` operations have met the next rule; or, with `hold`, in a call that no signal
    ends, until `Recording.let_go`. `times` None is for ever.
    """

    kind: str
    path: str
    error: int = 0
    after: int = 0
    times: int | None = 1
    until: int = 0
    hold: bool = False


class Recording:
    """A folder with the log of what the runs with `environment` did; they may be several, one after another."""

    def __init__(self, folder: Path, *rules: Rule) -> None:
        self._folder = folder
        folder.mkdir()
        (folder / "log").touch()
        (folder / "counts").touch()
        self._held = os.open(folder / "held", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._held)
        fcntl.flock(self._held, fcntl.LOCK_EX)
        self.set_rules(*rules)

    def set_rules(self, *rules: Rule) -> None:
        """For all operations from now on. Of calls only those that were named before the process began are met."""
        self._after = rules[0].after if rules else 0
        with self.holding():
            (self._folder / "rules").write_text(json.dumps([asdict(rule) for rule in rules]))
            (self._folder / "counts").write_bytes(b"")

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """Nothing durable is done meanwhile, so that nobody can be killed between what it does and its record."""
        with (self._folder / "log").open("ab") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)  # let go when it is closed
            yield

    @property
    def variables(self) -> dict[str, str]:
        """What makes a run that has them in its environment keep to the rules."""
        path = [str(TESTS / "intercept"), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
        return {"DURABLE_RECORD": str(self._folder), "PYTHONPATH": os.pathsep.join(filter(None, path))}

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.variables}

    def mark(self, *record: object) -> None:
        """Append to the log, between two runs."""
        with (self._folder / "log").open("ab") as file:
            pickle.dump(record, file)

    def met(self, rule: int = 0) -> int:
        """How many operations met the rule of this number."""
        return int.from_bytes((self._folder / "counts").read_bytes()[8 * rule : 8 * rule + 8], "little")

    def wait_until_met(self, rule: int = 0, times: int = 1) -> None:
        """Return when so many operations have met the rule of this number."""
        wait_until(lambda: self.met(rule) >= times)

    def wait_until_held(self) -> None:
        """Return when the first rule has met the operation that it is to hold."""
        self.wait_until_met(times=self._after + 1)

    def let_go(self) -> None:
        """Of all that is held, and will be."""
        fcntl.flock(self._held, fcntl.LOCK_UN)

    def records(self) -> list[tuple]:
        found = []
        with (self._folder / "log").open("rb") as file:
            while file.peek(1):
                found.append(pickle.load(file))
        return found


# The supervisor stops itself when a worker has its first images, and most of the work is still to be handed out.
AT_THE_FIRST_CHUNK = Rule("return", "batchgray.engine.supervisor:Supervisor._send_chunk")


def wait_for_stopped_worker(run: Running) -> psutil.Process:
    """The worker that a rule has stopped."""
    worker = stopped_worker_of(run.process)
    assert worker, f"the run ended before, with {run.process.returncode}: {run.finish()}\n{run.error}"
    return worker


def stopped_worker_of(program: subprocess.Popen | psutil.Process) -> psutil.Process | None:
    """The worker of a running program that a rule has stopped; None when the program ended before."""
    stopped: list[psutil.Process] = []
    supervisor = psutil.Process(program.pid)

    def look() -> bool:
        stopped.extend(filter(is_stopped, workers_of(program)))
        return bool(stopped) or not is_alive(supervisor)

    wait_until(look)
    return stopped[0] if stopped else None


def is_stopped(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_STOPPED
    return False


class Program(Protocol):
    """A run, or a terminal with one."""

    process: subprocess.Popen


def wait_for_stopped(run: Program) -> psutil.Process:
    """The run's supervisor, when a rule has stopped it."""
    supervisor = psutil.Process(run.process.pid)
    wait_until(lambda: supervisor.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE))
    assert supervisor.status() == psutil.STATUS_STOPPED, f"the run ended before, with {run.process.wait()}"
    return supervisor


def interrupt(run: Running, worker: psutil.Process, signum: signal.Signals = signal.SIGTERM) -> None:
    """A signal to a run; its stopped worker goes on when it has SIGTERM before it."""
    run.signal(signum)
    resume_when_told(worker)


def interrupt_held(run: Running, recording: Recording) -> None:
    """SIGTERM to a run whose one worker a rule holds; it is let go when it has the signal before it."""
    recording.wait_until_held()
    (worker,) = run.workers()
    with recording.holding():  # a worker that is stopped with the log in hand would hold up everybody
        worker.suspend()
        wait_until(lambda: is_stopped(worker))
    run.signal(signal.SIGTERM)
    recording.let_go()
    resume_when_told(worker)


def resume_when_told(worker: psutil.Process) -> None:
    """Let a stopped worker go on when it has SIGTERM before it.

    Any of its threads may take what its process was sent, while the first one goes on; so that one is sent its own.
    """
    wait_until(lambda: _is_pending(worker.pid, signal.SIGTERM))
    _libc.tgkill(worker.pid, worker.pid, signal.SIGTERM)
    worker.resume()


def _is_pending(pid: int, signum: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(line for line in lines if line.startswith("ShdPnd:")).split()[1]
    return bool(int(mask, 16) & 1 << signum - 1)
