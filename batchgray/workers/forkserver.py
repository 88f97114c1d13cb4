"""The fork server: one child that has imported the worker and compiled the kernel, and forks workers in milliseconds.

    supervisor --Preload, Fork, Kill--> fork server --fork--> worker, worker, ...
               <--Booted, Forked, Exited--

The supervisor talks to each worker over a pipe of its own, whose other end the fork server hands on and forgets.
No process outlives the supervisor: the fork server kills its workers when the supervisor's end closes, and each worker
dies with the fork server. Only the fork server signals workers, because only their parent can't hit a stranger who
got a dead worker's number.

multiprocessing's own fork server was not taken: its workers import the caller's main module again, at each start, and
it brings a resource tracker process for what has no names here.
"""

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

from batchgray import errors
from batchgray.workers import allocator
from batchgray.workers.messages import (
    Booted,
    Broken,
    Channel,
    Exited,
    Fork,
    Forked,
    FromServer,
    FromWorker,
    Kill,
    Preload,
    ToServer,
)

# -P: without it the working folder comes first on the path, and a user's own numpy.py is imported.
_BOOT = """import sys
sys.path.append(sys.argv[1])
from batchgray.workers import allocator
allocator.import_much()
from batchgray.workers.forkserver import serve
serve(int(sys.argv[2]))"""

# Workers are processes; threads inside the libraries would only fight over their cores.
_ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


class Worker(Protocol):
    """The module of that name, which only the fork server imports."""

    def main(self, pipe_fd: int, slot_fd: int, out_fd: int, flight_fd: int, *_lock: int) -> None: ...
    def preload(self, what: Preload) -> None: ...


_PR_SET_PDEATHSIG = 1
_STOP_SECONDS = 5
_MOST_DESCRIPTORS = 5  # its pipe, its slot, the output folder, the folder of what is in flight and that one's lock
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # getrusage(2) counts in bytes there, in KiB elsewhere


class ForkServer:
    """The supervisor's end. Raises WorkersCannotWork where the system lets no process start."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            package_parent = str(Path(__file__).parents[2])
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-c", _BOOT, package_parent, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # what goes wrong comes as Broken; libraries' chatter is not wanted
                    env={**os.environ, **_ONE_THREAD},
                )
            except OSError as error:
                ours.close()
                raise errors.WorkersCannotWork(f"no process can be started ({error.strerror})") from None
        self._socket = ours
        self.booted = False  # for whoever hears Booted to set
        self.channel = Channel(Connection(os.dup(ours.fileno())), FromServer)

    def fork(self, *fds: int) -> Channel:
        """Ask for a worker with these descriptors (see `Worker.main`); `Forked` tells its process id.

        Raises OSError when the fork server is gone.
        """
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.channel.send(Fork())
            socket.send_fds(self._socket, [b"\0"], [theirs.fileno(), *fds])
            return Channel(Connection(ours.detach()), FromWorker)

    def preload(self, *modules: str) -> None:
        """Have the workers to come share modules of this package. Without it each imports them by itself.

        To import one must neither start a thread nor open anything: workers would inherit it.
        """
        with contextlib.suppress(OSError):  # it is gone; whoever forks will be told
            self.channel.send(Preload(modules=frozenset(modules)))

    def signal(self, pid: int, signum: int) -> None:
        """Signal a worker. Where it is gone already, or the fork server is, Exited or EOF will tell."""
        with contextlib.suppress(OSError):
            self.channel.send(Kill(pid=pid, signal=signum))

    def stop(self) -> None:
        """End the fork server and with it every worker. May be called again."""
        if self._process.returncode is not None:
            return
        if not self.booted:
            self.kill()  # it has no worker to end, and is busy importing
            return
        self.channel.close()
        self._socket.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once, whatever it is importing; workers die with it. May be called again."""
        if self._process.returncode is None:
            self._process.kill()
            self._process.wait()
        self.channel.close()
        self._socket.close()


@contextlib.contextmanager
def forking() -> Iterator[ForkServer]:
    """A fork server that ends with the block, and with it every worker."""
    server = ForkServer()
    try:
        yield server
    finally:
        server.kill()


def serve(fd: int) -> None:
    """The fork server itself, talking over the socket `fd` until its other end closes."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)  # a terminal, or systemd, signals the whole group; the supervisor decides
    control = socket.socket(fileno=fd)
    channel = Channel(Connection(os.dup(fd)), ToServer)
    try:
        from batchgray.workers import worker
    except Exception as error:
        channel.send(Broken(reason=f"{type(error).__name__}: {error}"))
        return
    allocator.share_objects()
    children: set[int] = set()
    child_signals = _wake_on_child()
    either: list[Channel | int] = [channel, child_signals]
    with contextlib.suppress(EOFError, OSError):  # the supervisor is gone
        channel.send(Booted())
        while True:
            ready, _, _ = select.select(either, [], [])
            if child_signals in ready:
                os.read(child_signals, 4096)
                _report_exits(children, channel)
            if channel in ready:
                _obey(channel, control, children, worker)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    os._exit(0)  # the supervisor waits for it, and there is nothing to tidy up


def _obey(channel: Channel, control: socket.socket, children: set[int], worker: Worker) -> None:
    message = channel.receive()
    if isinstance(message, Preload):
        worker.preload(message)
        allocator.share_objects()
        return
    if isinstance(message, Kill):
        if message.pid in children:
            os.kill(message.pid, message.signal)
        return
    _, fds, _, _ = socket.recv_fds(control, 1, _MOST_DESCRIPTORS)
    # A SIGTERM that comes before the worker can hear it must wait for it, and not be ignored as it is here.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        pid = os.fork()
    except OSError as error:
        channel.send(Broken(reason=f"no process can be started ({error.strerror})"))
        raise
    if pid == 0:
        try:
            _become_worker(channel, control, fds, worker)
        finally:
            os._exit(1)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    for fd in fds:
        os.close(fd)
    children.add(pid)
    channel.send(Forked(pid=pid))


def _become_worker(channel: Channel, control: socket.socket, fds: list[int], worker: Worker) -> None:
    _die_with_parent()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    channel.close()
    control.close()
    worker.main(*fds)
    os._exit(0)


def _die_with_parent() -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _report_exits(children: set[int], channel: Channel) -> None:
    for pid in list(children):
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            children.remove(pid)
            peak = usage.ru_maxrss * _MAXRSS_UNIT
            channel.send(Exited(pid=pid, status=os.waitstatus_to_exitcode(status), peak_bytes=peak))


def _wake_on_child() -> int:
    """A descriptor that becomes readable when a child ends."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) if hasattr(os, "pipe2") else os.pipe()
    os.set_blocking(writer, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader
