"""The way out for lines: in order and whole for whoever reads, however slowly; who does not is not waited for."""

import contextlib
import fcntl
import os
import resource
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import StuckPipe, wait_until
from stream import Clock

from batchgray.progress import outlet
from batchgray.progress.outlet import Outlet

LIMIT = 1 << 23


def gap(lines):
    return f"{lines} left out\n".encode()


@pytest.fixture
def pipe():
    with contextlib.closing(StuckPipe()) as pipe:
        yield pipe


@pytest.fixture
def clock(monkeypatch):
    """The outlet's own, of what it believes of its reader."""
    clock = Clock(now=0.0)
    monkeypatch.setattr(outlet, "OwnClock", lambda step: clock)
    return clock


def test_who_reads_a_few_bytes_at_a_time_gets_all_of_it(pipe, clock):
    lines = [b"%d %s\n" % (number, b"." * size) for number, size in enumerate([0, 10, 5000, 4094, 4096, 9000, 3] * 20)]

    def read():
        data = b""
        while part := os.read(pipe.reader.fileno(), 100):
            data += part
        return data

    with ThreadPoolExecutor(1) as pool:
        out = Outlet(pipe.writer, LIMIT)
        for line in lines:
            out.put(line)
        reading = pool.submit(read)
        out.close(None)
        pipe.writer.close()
        assert reading.result().lstrip(b" ") == b"".join(lines)


def test_a_pipe_that_took_nothing_for_long_counts_as_not_read(pipe, clock):
    out = Outlet(pipe.writer, LIMIT)
    assert out.is_read(within=5)
    out.put(b"123456")
    assert not out.is_read(within=5)
    clock.now += outlet.STALLED_SECONDS - 0.1
    assert not out.is_read(within=5)
    clock.now += 0.1
    assert out.is_read(within=5)
    os.read(pipe.reader.fileno(), 4096)
    wait_until(lambda: not out.waiting)
    out.put(b"x" * 4096)
    out.put(b"123456")
    assert not out.is_read(within=5)


def test_the_end_does_not_wait_for_a_pipe_that_took_nothing_for_long(pipe, clock):
    out = Outlet(pipe.writer, LIMIT)
    out.put(b"1")
    assert not out.is_read(within=0)
    clock.now += outlet.STALLED_SECONDS
    out.close(None)
    assert out.waiting == 1


def test_whoever_reads_on_gets_the_last_line_where_there_is_no_time_for_all(pipe, clock, monkeypatch):
    out, drain = Outlet(pipe.writer, LIMIT, gap), Outlet._drain
    for number in range(1000):
        out.put(b"%03d\n" % number * 1024)

    def take_one_and_be_late(self, *limits):
        monkeypatch.setattr(Outlet, "_drain", take_the_rest)
        os.read(pipe.reader.fileno(), 4096)  # the filling
        self._changed.wait_for(lambda: self._written)
        return False

    def take_the_rest(self, *limits):
        taking = pool.submit(pipe.reader.read)
        done = drain(self, *limits)
        pipe.writer.close()
        assert done
        lines.extend(taking.result().decode().split())

    monkeypatch.setattr(Outlet, "_drain", take_one_and_be_late)
    lines: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        out.close(0)
    assert lines[:1024] == ["000"] * 1024
    assert lines[-1024:] == ["999"] * 1024
    (left_out,) = (int(lines[index - 1]) for index, word in enumerate(lines) if word == "left")
    assert left_out == 1000 - len([word for word in lines if word.isdigit()]) // 1024


def test_what_waits_is_bounded_and_what_is_dropped_is_told_in_its_place(pipe):
    out = Outlet(pipe.writer, 10, gap)
    for _ in range(5):
        out.put(b"12345\n")
    out.put(b"end\n", last=True)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(pipe.reader.read)
        out.close(None)
        pipe.writer.close()
        assert reading.result().split(b" ", 4096)[-1] == b"12345\n12345\n3 left out\nend\n"


def test_a_pipe_that_refuses_instead_of_waiting_is_waited_for(pipe):
    os.set_blocking(pipe.writer.fileno(), False)
    out = Outlet(pipe.writer, LIMIT)
    out.put(b"1")
    os.read(pipe.reader.fileno(), 4096)
    out.close(None)
    assert os.read(pipe.reader.fileno(), 4096) == b"1"


def test_one_with_a_high_descriptor_is_waited_for_too(pipe, monkeypatch):
    """As where whoever started the program left it a thousand open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    high = fcntl.fcntl(pipe.writer.fileno(), fcntl.F_DUPFD_CLOEXEC, 1500)
    monkeypatch.setattr(outlet, "_own_descriptor", lambda stream: high)
    write, refusals = os.write, [BlockingIOError]

    def refuse_once(fd, data):
        if fd == high and refusals:
            raise refusals.pop()
        return write(fd, data)

    monkeypatch.setattr(os, "write", refuse_once)
    os.read(pipe.reader.fileno(), 4096)
    try:
        out = Outlet(pipe.writer, LIMIT)
        out.put(b"1")
        out.close(None)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    os.set_blocking(pipe.reader.fileno(), False)
    assert os.read(pipe.reader.fileno(), 4096) == b"1"


def test_where_there_is_nothing_to_write_to_nothing_happens(pipe):
    pipe.writer.close()
    for stream in (None, pipe.writer):
        out = Outlet(stream, LIMIT)
        out.put(b"1")
        assert out.closed
        assert out.is_read(within=0)
        out.close(None)


def test_one_that_is_hung_up_is_closed(pipe):
    out = Outlet(pipe.writer, LIMIT)
    out.put(b"1")
    pipe.reader.close()
    wait_until(lambda: out.closed)
    out.put(b"2")
    out.close(None)
    assert out.waiting == 0
