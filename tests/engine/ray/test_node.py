"""What runs on a node, without Ray: a supervisor as a process of its own, that ends with whoever started it."""

import os
import signal
import subprocess
import sys
import time

import msgspec
import psutil
import pytest
from harness import DEADLINE, batchgray, tree

from batchgray import __version__
from batchgray.engine.crew import Progress
from batchgray.engine.ray import node
from batchgray.engine.ray.node import Facts, News, NodeActor

BEGUN = """
import os, sys
from batchgray.engine.crew import Progress
from batchgray.engine.ray.node import NodeActor
actor = NodeActor(None)
print(actor.start(sys.argv[1:], {}), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def actor(monkeypatch):
    monkeypatch.delenv("BATCHGRAY_INSTANCE_ID", raising=False)
    return NodeActor(None)


def all_news(actor) -> News:
    """Everything until the supervisor has ended, summed up."""
    until, found = time.monotonic() + DEADLINE, []
    while time.monotonic() < until:
        found.append(msgspec.msgpack.decode(actor.news(), type=News))
        if found[-1].exit_code is not None:
            found.append(msgspec.msgpack.decode(actor.news(), type=News))
            return msgspec.structs.replace(found[-1], progress=sum((each.progress for each in found), Progress()))
        time.sleep(0.02)
    raise TimeoutError


def test_it_tells_its_version_and_instance(actor, monkeypatch):
    monkeypatch.setenv("BATCHGRAY_INSTANCE_ID", "i-1")
    facts = msgspec.msgpack.decode(actor.facts(), type=Facts)
    assert (facts.version, facts.instance_id) == (__version__, "i-1")


def test_its_supervisor_joins_a_job_and_what_is_done_is_counted(actor, samples, tmp_path):
    batchgray("run", samples, "--out", tmp_path / "one", "--progress", "none")
    job = tmp_path / "job"
    batchgray("run", samples, "--out", job, "--job", "--shard", "2/2", "--progress", "none")
    actor.start(["resume", str(job), "--join", "--progress", "json", "--workers", "1"], {})
    news = all_news(actor)
    images = {name for name in tree(tmp_path / "one") if name.endswith(".jpg")}
    assert (news.exit_code, news.progress.done) == (0, len(images))
    assert {name: data for name, data in tree(job).items() if name in images} == {
        name: data for name, data in tree(tmp_path / "one").items() if name in images
    }


def test_what_a_supervisor_that_is_refused_said_is_told(actor, tmp_path):
    actor.start(["resume", str(tmp_path), "--join", "--progress", "json"], {})
    news = all_news(actor)
    assert news.exit_code == 2
    assert "manifest.json" in news.words


def test_what_a_supervisor_tells_is_read_as_whole_lines_a_pause_at_a_time(monkeypatch):
    """In each pause the next piece comes into the pipe, and after the last one its end."""
    reading, writing = os.pipe()
    os.write(writing, b"a\nb\nc")
    pieces = [b"d\n", b"e"]
    monkeypatch.setattr(
        node.time, "sleep", lambda seconds: os.write(writing, pieces.pop(0)) if pieces else os.close(writing)
    )
    assert list(node._batches(os.fdopen(reading, "rb"))) == [[b"a", b"b"], [b"cd"], [], [b"e"]]


def test_a_pipe_that_is_full_is_read_without_a_pause(monkeypatch):
    monkeypatch.setattr(node.time, "sleep", pytest.fail)
    reading, writing = os.pipe()
    os.write(writing, b"x\n" * (node._PIPE_BYTES // 2))
    os.close(writing)
    assert [len(batch) for batch in node._batches(os.fdopen(reading, "rb"))] == [node._PIPE_BYTES // 2]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of no other system tells of a parent's death")
def test_a_supervisor_ends_with_its_actor(tmp_path):
    """It waits for what names a pipe gives, so it is at work for as long as that."""
    names = tmp_path / "names"
    os.mkfifo(names)
    line = ["run", "--files-from", str(names), "--out", str(tmp_path / "out"), "--progress", "none"]
    with subprocess.Popen(
        [sys.executable, "-c", BEGUN, *line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as actor:
        supervisor = psutil.Process(int(actor.stdout.readline()))
        with names.open("w"):  # open: the supervisor is there, and reads
            actor.send_signal(signal.SIGKILL)
            actor.wait(DEADLINE)
            supervisor.wait(DEADLINE)
    assert not supervisor.is_running()
