"""Machines that join a job and are stopped, killed and given notice at random moments; the server loses answers, too.

A machine is a process group of its own with all that its processes start, and a folder of its own for what is
temporary: what is killed leaves it for good, as a disk that dies with its instance.
"""

import contextlib
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import oss_local
import psutil
from harness import command
from recording import TESTS

from batchgray.engine.session import INTERRUPTED
from batchgray.manifest.share_log import _ENTRIES, LogEntry
from batchgray.notices.spot_event import simulated

QUEUE = "spot-interruption"
LOSING = 3  # answers at a time
_ENTRY = re.compile(r"(.*)/log/([\d-]+)/(\d+)")
_OUTPUT = re.compile(r"(?!.*\.batchgray/).*\.jpg(?<!\.partial\.jpg)")


class KeepingOSS(oss_local.LocalOSS):
    """Keeps the entries of logs that are removed. `puts` counts what made, or found, an output."""

    def __init__(self, **given) -> None:
        super().__init__(**given)
        self.entries: dict[str, dict[int, LogEntry]] = {}
        self.puts: Counter[str] = Counter()
        self._late: set[str] = set()

    def _try(self, request):
        match = _ENTRY.fullmatch(request.key)
        if match and request.operation == "PutObject" and self._is_late(request.key, match[1]):
            self._late.add(request.key)
        if match and request.operation == "DeleteObject" and request.key not in self._late:
            self._keep(match[2], int(match[3]), request.key)
        answer, code = super()._try(request)
        if answer and request.operation == "PutObject" and answer.status in (200, 409) and _OUTPUT.match(request.key):
            self.puts[request.key] += 1
        return answer, code

    def _is_late(self, key: str, job: str) -> bool:
        """Whether it becomes an entry after the end: one that is there already stays what it is."""
        with self._changed:
            keys = self.buckets["gray"].keys
            return f"{job}/finished" in keys and key not in keys

    def _keep(self, share: str, number: int, key: str) -> None:
        with self._changed:
            version = self.buckets["gray"].get(key)
        if version:
            self.entries.setdefault(share, {})[number] = _ENTRIES.unpack(version.read())


class Machine:
    """Started again and again, until it says that the job is done."""

    def __init__(self, name: str, arguments: list, environment: dict[str, str], folder: Path) -> None:
        self.name, self.starts = name, 0
        self._arguments, self._environment, self._folder = arguments, environment, folder
        self.start()

    def start(self) -> None:
        self.starts += 1
        folder = self._folder / f"{self.name}-{self.starts}"
        folder.mkdir(parents=True)
        self._said = folder / "said"
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                command(*self._arguments, "--instance-id", self.name),
                env={**self._environment, "TMPDIR": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self._said.read_text(errors="replace")

    @property
    def is_at_work(self) -> bool:
        """Whether it has begun: one that can't reach its queue at once gives up, as it may when it sleeps just then."""
        return self.is_running and '"event":"planned"' in self.said

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def all(self) -> list[psutil.Process]:
        """Its processes, wherever they moved to."""
        with contextlib.suppress(psutil.NoSuchProcess):
            own = psutil.Process(self.process.pid)
            return [own, *own.children(recursive=True)]
        return []

    def send(self, signum: signal.Signals) -> None:
        for process in self.all():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signum)

    def kill(self) -> None:
        self.send(signal.SIGSTOP)  # nothing is started while the others are looked for
        self.send(signal.SIGKILL)
        self.process.wait()


class Survived(NamedTuple):
    """What was done to the machines, by kind, and how they ended."""

    events: Counter[str]
    codes: list[int]
    machines: list[Machine]


class Chaos:
    """So many events, with a seed, on machines that join the job of the command; `lease` in seconds."""

    def __init__(self, server: KeepingOSS, queue, seed: int, lease: float, pause: float) -> None:
        self.events: Counter[str] = Counter()
        self._server, self._queue = server, queue
        self._chance, self._lease, self._pause = random.Random(seed), lease, pause
        self._waking: list[threading.Timer] = []
        self._asleep: set[str] = set()

    def rage(self, machines: list[Machine], events: int) -> Survived:
        """Until the job is done. Raises AssertionError where a machine ends as it should not."""
        codes: list[int] = []
        try:
            while not codes or any(machine.is_running for machine in machines):
                time.sleep(self._chance.uniform(0.2, 1) * self._pause)
                for machine in machines:
                    self._look_after(machine, codes)
                if self.events.total() < events and not codes:
                    self._strike(self._chance.choice(machines))
        finally:
            for timer in self._waking:
                timer.cancel()
            for machine in machines:
                if machine.is_running:
                    machine.kill()
        return Survived(self.events, codes, machines)

    def _look_after(self, machine: Machine, codes: list[int]) -> None:
        if machine.is_running or (machine.process.returncode == 0 and machine.name in self._asleep):
            return
        code = machine.process.returncode
        if code == 0:
            codes.append(code)
            self._asleep.add(machine.name)  # it is through
        else:
            late = "can't talk to queue" in machine.said  # before any work: who starts machines starts it again
            assert late or code in (INTERRUPTED, -signal.SIGKILL), f"{machine.name}: {code}\n{machine.said[-3000:]}"
            machine.start()

    def _strike(self, machine: Machine) -> None:
        if not machine.is_running or machine.name in self._asleep:
            return
        kind = self._chance.choice(("stop", "stop", "kill", "kill", "notice", "lost answers"))
        if kind == "stop" and not machine.is_at_work:
            return
        if kind == "stop":
            self._asleep.add(machine.name)
            machine.send(signal.SIGSTOP)
            timer = threading.Timer(self._lease * self._chance.uniform(1.1, 2), self._wake, (machine,))
            self._waking.append(timer)
            timer.start()
        elif kind == "kill":
            machine.kill()
            machine.start()
        elif kind == "notice":
            self._queue.send(QUEUE, simulated(machine.name, "cn-hangzhou").decode(), base64=False)
        else:
            operation = self._chance.choice(("PutObject", "PutObject", "DeleteObject"))
            self._server.faults.append(oss_local.Fault(operation, "lose", times=LOSING, lasts=self._lease))
        self.events[kind] += 1

    def _wake(self, machine: Machine) -> None:
        machine.send(signal.SIGCONT)
        self._asleep.discard(machine.name)


def environment(server: KeepingOSS, lease: float, share_images: int, split_seconds: float) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS / "intercept"), os.environ.get("PYTHONPATH", "")])),
        **server.environment,
        "SHARE_LEASE": str(lease),
        "SHARE_IMAGES": str(share_images),
        "SPLIT_SECONDS": str(split_seconds),
    }
