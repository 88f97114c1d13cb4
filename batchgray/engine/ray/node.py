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
from collections import deque
from collections.abc import Mapping, Sequence
from typing import IO

import msgspec

from batchgray._version import __version__
from batchgray.engine.crew import Progress

_KEPT_MESSAGES = 100  # between two calls
_KEPT_WORDS = 4000  # characters of what it says on standard error
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


class NodeActor:
    """The actor. Each call returns at once."""

    def __init__(self, metadata_url: str | None) -> None:
        self._metadata_url = metadata_url
        self._process: subprocess.Popen[bytes] | None = None
        self._readers: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._messages: deque[str] = deque(maxlen=_KEPT_MESSAGES)
        self._progress = Progress()
        self._words = ""

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
        for stream, read in ((self._process.stdout, self._read_lines), (self._process.stderr, self._read_words)):
            reader = threading.Thread(target=read, args=[stream], daemon=True)
            reader.start()
            self._readers.append(reader)
        return self._process.pid

    def news(self) -> bytes:
        """A msgpack of News."""
        ended = self._process is not None and not any(reader.is_alive() for reader in self._readers)
        exit_code = self._process.poll() if self._process and ended else None
        with self._lock:
            progress, self._progress = self._progress, Progress()
            news = News(
                messages=list(self._messages),
                progress=progress,
                exit_code=exit_code,
                words=self._words if exit_code is not None else "",
            )
            self._messages.clear()
        return msgspec.msgpack.encode(news)

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

    def _read_lines(self, stream: IO[bytes]) -> None:
        decoder = msgspec.json.Decoder(_Line)
        with stream:
            for line in stream:
                with contextlib.suppress(msgspec.DecodeError):
                    self._take(decoder.decode(line))

    def _take(self, told: _Line) -> None:
        with self._lock:
            if told.event == "done":
                self._progress += Progress(1, told.width * told.height, told.source_bytes, told.output_bytes)
            elif told.event == "warned":
                self._messages.append(told.message)

    def _read_words(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self._take_words(line)

    def _take_words(self, line: bytes) -> None:
        with self._lock:
            self._words = (self._words + line.decode("utf-8", "replace"))[-_KEPT_WORDS:]
