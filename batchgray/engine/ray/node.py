"""What runs on a node of the cluster: an actor, which starts a supervisor as a process of its own, and tells of it.

    driver --Ray--> NodeActor --pipe, signals--> launcher --exec--> batchgray run ... --join

The supervisor is the same program that joins a job without Ray. When the actor dies, whatever the reason, the kernel
sends it SIGTERM: it flushes, and gives its share back. The actor has one thread for calls, and the process is started
by it, since that signal comes when the thread ends that started the process.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

import msgspec

from batchgray._version import __version__
from batchgray.engine.crew import Progress

_KEPT_MESSAGES = 100  # between two calls
_KEPT_WORDS = 4000  # characters of what it says on standard error
_PIPE_BYTES = 1 << 16  # that a pipe holds
_PAUSE_SECONDS = 0.1  # before a pipe that had little is read again: to wake up for each image costs more than its line
_DRIVERS_OWN = {"MNS_ENDPOINT", "BATCHGRAY_SMQ_ENDPOINT"}  # it hears the queue for all nodes
# So early that no signal is lost: a parent that is gone by then is seen by its number.
_LAUNCHER = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(143)
os.execv(sys.executable, [sys.executable, "-m", "batchgray", *sys.argv[2:]])
"""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a node is: its version of batchgray, its name, and its instance id where metadata tells one."""

    version: str
    host: str
    instance_id: str


class News(msgspec.Struct, frozen=True, kw_only=True):
    """What came since the last call: what the supervisor warns of, and how much is done. `exit_code` is None while it
    runs; `words` are the last on its standard error.
    """

    messages: list[str] = []
    progress: Progress = Progress()
    exit_code: int | None = None
    words: str = ""


class _Line(msgspec.Struct):
    """Of a line of `--progress json`, what is of interest."""

    event: str
    message: str = ""
    width: int = 0
    height: int = 0
    source_bytes: int = 0
    output_bytes: int = 0


class _Told:
    """What a supervisor has said since it was asked last. Read in threads of its own, as it comes.

    No part of the actor: Ray wraps each of an actor's methods, and each image comes through here.
    """

    def __init__(self, lines: IO[bytes], words: IO[bytes]) -> None:
        self._lock = threading.Lock()
        self._messages: deque[str] = deque(maxlen=_KEPT_MESSAGES)
        self._progress = Progress()
        self._words = ""
        self._readers = [
            threading.Thread(target=read, args=[stream], daemon=True)
            for stream, read in ((lines, self._read_lines), (words, self._read_words))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def is_all(self) -> bool:
        """Whether nothing more comes."""
        return not any(reader.is_alive() for reader in self._readers)

    def news(self, exit_code: int | None) -> News:
        """It is told once."""
        with self._lock:
            messages, progress = list(self._messages), self._progress
            self._messages.clear()
            self._progress = Progress()
        words = self._words if exit_code is not None else ""
        return News(messages=messages, progress=progress, exit_code=exit_code, words=words)

    def _read_lines(self, stream: IO[bytes]) -> None:
        decoder = msgspec.json.Decoder(_Line)
        for lines in _batches(stream):
            told = []
            for line in lines:
                with contextlib.suppress(msgspec.DecodeError):
                    told.append(decoder.decode(line))
            self._take(told)

    def _take(self, told: list[_Line]) -> None:
        done = [line for line in told if line.event == "done"]
        progress = Progress(
            done=len(done),
            pixels=sum(line.width * line.height for line in done),
            source_bytes=sum(line.source_bytes for line in done),
            output_bytes=sum(line.output_bytes for line in done),
        )
        with self._lock:
            self._progress += progress
            self._messages.extend(line.message for line in told if line.event == "warned")

    def _read_words(self, stream: IO[bytes]) -> None:
        for lines in _batches(stream):
            words = "".join(f"{line.decode('utf-8', 'replace')}\n" for line in lines)
            self._words = (self._words + words)[-_KEPT_WORDS:]


def _batches(stream: IO[bytes]) -> Iterator[list[bytes]]:
    """Whole lines, as many as there are, to the end of a pipe. One that is filled quickly is read without a pause."""
    rest = b""
    with stream:
        while data := os.read(stream.fileno(), _PIPE_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            yield lines
            if len(data) < _PIPE_BYTES // 2:
                time.sleep(_PAUSE_SECONDS)
    if rest:
        yield [rest]


class NodeActor:
    """The actor. Each call returns at once."""

    def __init__(self, metadata_url: str | None) -> None:
        self._metadata_url = metadata_url
        self._process: subprocess.Popen[bytes] | None = None
        self._told: _Told | None = None

    def facts(self) -> bytes:
        """A msgpack of Facts."""
        facts = Facts(version=__version__, host=socket.gethostname(), instance_id=self._instance_id())
        return msgspec.msgpack.encode(facts)

    def start(self, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
        """Start the supervisor. `environment` stands back behind what this node has. Returns the process's number."""
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCHER, str(os.getpid()), *arguments],
            env={name: value for name, value in {**environment, **os.environ}.items() if name not in _DRIVERS_OWN},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # a signal for Ray's process group is none for it
        )
        if self._process.stdout is None or self._process.stderr is None:
            raise AssertionError("they are pipes")
        self._told = _Told(self._process.stdout, self._process.stderr)
        return self._process.pid

    def news(self) -> bytes:
        """A msgpack of News."""
        if self._process is None or self._told is None:
            return msgspec.msgpack.encode(News())
        exit_code = self._process.poll() if self._told.is_all else None
        return msgspec.msgpack.encode(self._told.news(exit_code))

    def interrupt(self) -> None:
        """Have the supervisor flush, and give its share back."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    def _instance_id(self) -> str:
        from batchgray.cloud.instance import MetadataService, Unknown, known_url

        url = known_url(self._metadata_url)
        if url is None:
            return os.environ.get("BATCHGRAY_INSTANCE_ID", "")
        try:
            return MetadataService(url).instance_id()
        except Unknown:
            return os.environ.get("BATCHGRAY_INSTANCE_ID", "")
