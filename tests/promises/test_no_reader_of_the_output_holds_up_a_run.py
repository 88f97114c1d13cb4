"""A pipe that nobody reads and a terminal that takes nothing keep neither the work, nor notices, nor the flush waiting.

If this broke, a hung ssh session or a pager would make the machine's end come before the flush.
"""

import contextlib
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import DEADLINE, StuckPipe, batchgray, command, events_of, manifest_of, named, save_gradient, tree
from recording import AT_THE_FIRST_CHUNK, Recording, Rule, wait_for_stopped

IMAGES = 120


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number in range(IMAGES):
        save_gradient(folder / f"{number:03}.jpg", 64, 64, number)
    return folder


@pytest.fixture
def stuck():
    with contextlib.closing(StuckPipe()) as stuck:
        yield stuck


class Started:
    """A run whose standard output is this, and standard error too."""

    def __init__(self, *arguments, output, env=os.environ):
        self.process = subprocess.Popen(
            command(*arguments), stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


MODES = {
    "json": ["--progress", "json"],
    "plain": ["--progress", "plain", "-v"],
    "quiet": ["--progress", "plain", "-q"],
}


@pytest.mark.parametrize("mode", MODES)
def test_a_signal_is_heard_and_the_flush_is_made(mode, images, stuck, tmp_path):
    recording = Recording(tmp_path / "record", AT_THE_FIRST_CHUNK)
    out = tmp_path / "gray"
    arguments = ["run", images, "--out", out, "--workers", 1, *MODES[mode]]
    with Started(*arguments, output=stuck.writer, env=recording.environment) as run:
        supervisor = wait_for_stopped(run)
        run.process.send_signal(signal.SIGTERM)
        supervisor.resume()
        assert run.process.wait(DEADLINE) == 75
    assert manifest_of(out)["state"] == "interrupted"
    batchgray("resume", out / "manifest.json", "--progress", "none")
    assert len(tree(out)) == IMAGES


@pytest.mark.parametrize("mode", MODES)
def test_the_work_goes_on_to_its_end(mode, images, stuck, tmp_path):
    with Started("run", images, "--out", tmp_path, *MODES[mode], output=stuck.writer) as run:
        assert run.process.wait(DEADLINE) == 0
    assert manifest_of(tmp_path)["state"] == "complete"


def test_a_warning_of_the_environment_does_not_keep_the_work_from_its_beginning(images, stuck, tmp_path):
    arguments = ["run", images, "--out", tmp_path, "--progress", "none"]
    with Started(*arguments, output=stuck.writer, env=os.environ | {"BATCHGRAY_QUALTY": "90"}) as run:
        assert run.process.wait(DEADLINE) == 0


def test_an_interruption_before_any_work_has_its_exit_code(images, stuck, tmp_path):
    """Its words go to standard error, which takes nothing either."""
    recording = Recording(tmp_path / "record", Rule("call", "batchgray.engine.runs:plan_run"))
    arguments = ["run", images, "--out", tmp_path / "gray"]
    with Started(*arguments, output=stuck.writer, env=recording.environment) as run:
        supervisor = wait_for_stopped(run)
        run.process.send_signal(signal.SIGTERM)
        supervisor.resume()
        assert run.process.wait(DEADLINE) == 75


@pytest.fixture
def heeding_ctrl_c():
    """Whoever starts the tests in the background has it ignored, and what they start inherits that."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, earlier)


def test_a_second_signal_at_the_end_changes_no_exit_code(images, stuck, heeding_ctrl_c, tmp_path):
    """The first outlet is that of the events, the second one that of the last words."""
    before = Rule("call", "batchgray.cli.running:_sources")
    closing = Rule("call", "batchgray.progress.outlet:Outlet.close", after=1)
    recording = Recording(tmp_path / "record", before, closing)
    arguments = ["run", images, "--out", tmp_path / "gray"]
    with Started(*arguments, output=stuck.writer, env=recording.environment) as run:
        for times in (0, 1):
            recording.wait_until_met(1, 2 * times)
            supervisor = wait_for_stopped(run)
            run.process.send_signal(signal.SIGINT)
            supervisor.resume()
        assert run.process.wait(DEADLINE) == 75


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_waiting_for_who_reads_slowly(signum, stuck, heeding_ctrl_c, tmp_path):
    """The run is through, and its exit code is that of its work; who reads goes on reading, a little at a time."""
    (tmp_path / "images").mkdir()
    for number in range(3000):
        (tmp_path / "images" / f"{number}.jpg").touch()
    recording = Recording(tmp_path / "record", Rule("call", "batchgray.progress.outlet:Outlet.close"))
    arguments = ["run", tmp_path / "images", "--out", tmp_path / "gray", *MODES["plain"]]
    with Started(*arguments, output=stuck.writer, env=recording.environment) as run:
        supervisor = wait_for_stopped(run)
        run.process.send_signal(signum)
        supervisor.resume()
        stuck.writer.close()
        said = b""
        while run.process.poll() is None:
            said += os.read(stuck.reader.fileno(), 4096)
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.process.wait(1)
        assert run.process.returncode == 3
        assert b"Done: 0 of 3,000 images" not in said + stuck.reader.read(), "all was read, and nothing ended it"


def events_in(said):
    return events_of(said.decode().lstrip(StuckPipe.FILLING))


def test_who_reads_slowly_gets_every_event_in_its_order(images, stuck, tmp_path):
    """Nothing is read before the run is at work and its pipe has no room; then a few bytes at a time."""
    recording = Recording(tmp_path / "record", AT_THE_FIRST_CHUNK)
    arguments = ["run", images, "--out", tmp_path / "gray", "--workers", 1, "--progress", "json"]
    with Started(*arguments, output=stuck.writer, env=recording.environment) as run:
        wait_for_stopped(run).resume()
        stuck.writer.close()
        said = b""
        while part := os.read(stuck.reader.fileno(), 50):
            said += part
        assert run.process.wait(DEADLINE) == 0
    events = events_in(said)
    assert (events[0]["event"], events[-1]["event"]) == ("planned", "summary")
    assert sorted(event["source"] for event in named(events, "done")) == [f"{n:03}.jpg" for n in range(IMAGES)]
    assert len(named(events, "started")) == IMAGES
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)


def test_who_reads_again_after_the_notice_gets_the_last_words(images, stuck, tmp_path):
    recording = Recording(tmp_path / "record", AT_THE_FIRST_CHUNK, Rule("call", "batchgray.engine.summary:summarize"))
    arguments = ["run", images, "--out", tmp_path / "gray", "--workers", 1, "--progress", "json"]
    with ThreadPoolExecutor(1) as pool, Started(*arguments, output=stuck.writer, env=recording.environment) as run:
        supervisor = wait_for_stopped(run)
        stuck.writer.close()
        run.process.send_signal(signal.SIGTERM)
        supervisor.resume()
        recording.wait_until_met(1)
        reading = pool.submit(stuck.reader.read)
        wait_for_stopped(run).resume()
        events = events_in(reading.result(DEADLINE))
        assert run.process.wait(DEADLINE) == 75
    assert events[-1]["event"] == "summary"
    assert len(named(events, "notice")) == len(named(events, "flushed")) == 1
