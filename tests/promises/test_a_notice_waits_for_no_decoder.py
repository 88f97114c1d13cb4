"""A notice ends every worker at once, wherever it is: in a decoder, which hears no signal, or not yet forked.

If this broke, a long decode would use up the grace, and the machine would go before the rest is on the disk.
"""

import signal

import psutil
import pytest
from harness import Running, batchgray, manifest_of, named, save_gradient, tree, wait_until
from recording import Recording, Rule, wait_for_stopped_worker

PATIENCE = ("--grace", 3600)  # longer than any test waits: nobody is killed
DECODING = Rule("decode", r"b\.jpg", hold=True)
IN_ITS_FINISHED_FILES = Rule("sync", r"\.out$", hold=True)
FINISHING = Rule("call", "batchgray.workers.committer:Committer.finish", times=0)


@pytest.fixture
def pictures(tmp_path):
    for number, name in enumerate(["a.png", "b.png", "c.png"]):
        save_gradient(tmp_path / "in" / name, 90, 70, seed=number)
    return tmp_path / "in"


def states(out):
    return {image["source"]: image["state"] for image in manifest_of(out)["images"]}


def goes_on(out, pictures):
    batchgray("resume", out / "manifest.json", "--progress", "none")
    whole = out.with_name("whole")
    batchgray("run", pictures, "--out", whole, "--progress", "none")
    assert tree(out) == tree(whole)


def test_sigterm_inside_a_decoder_is_not_held_up_by_it(pictures, tmp_path):
    recording, out = Recording(tmp_path / "record", DECODING), tmp_path / "out"
    arguments = ("run", pictures, "--out", out, "--workers", 1, *PATIENCE)
    with Running(*arguments, env=recording.environment) as run:
        recording.wait_until_met()
        run.signal(signal.SIGTERM)
        events = run.finish(expect=75)
    assert named(events, "flushed")[0]["pending"] == 2
    assert states(out) == {"a.png": "done", "b.png": "pending", "c.png": "pending"}
    goes_on(out, pictures)


def test_sigterm_inside_a_decoder_loses_no_file_that_is_finished(pictures, tmp_path):
    """It is on its way to the disk, beside the decoder, and the worker waits for it."""
    recording, out = Recording(tmp_path / "record", DECODING, IN_ITS_FINISHED_FILES, FINISHING), tmp_path / "out"
    arguments = ("run", pictures, "--out", out, "--workers", 1, *PATIENCE)
    with Running(*arguments, env=recording.environment) as run:
        recording.wait_until_met(0)
        recording.wait_until_met(1)
        run.signal(signal.SIGTERM)
        recording.wait_until_met(2)
        recording.let_go()
        run.finish(expect=75)
    assert states(out) == {"a.png": "done", "b.png": "pending", "c.png": "pending"}
    goes_on(out, pictures)


def test_a_worker_that_is_forked_after_the_notice_hears_of_it(pictures, tmp_path):
    """The first one is in a decoder when the notice comes; the second one is about to be forked."""
    for number in range(8):
        save_gradient(pictures / f"b{number}.png", 90, 70, seed=number)
    second_fork = Rule("call", "batchgray.workers.forkserver:os.fork", after=1)
    recording, out = Recording(tmp_path / "record", Rule("decode", ".", hold=True), second_fork), tmp_path / "out"
    arguments = ("run", pictures, "--out", out, "--workers", 2, *PATIENCE)
    with Running(*arguments, env=recording.environment) as run:
        run.wait_for("started")
        recording.wait_until_met(0)
        (server,) = psutil.Process(run.process.pid).children()
        wait_until(lambda: server.status() == psutil.STATUS_STOPPED)
        run.signal(signal.SIGTERM)
        run.wait_for("notice")
        server.resume()
        run.finish(expect=75)
    assert set(states(out).values()) == {"pending"}
    goes_on(out, pictures)


def test_a_second_signal_kills_what_the_first_one_can_not_end(pictures, tmp_path):
    """A worker that is stopped altogether hears nothing."""
    recording, out = Recording(tmp_path / "record", Rule("decode", r"a\.jpg")), tmp_path / "out"
    arguments = ("run", pictures, "--out", out, "--workers", 1, *PATIENCE)
    with Running(*arguments, env=recording.environment) as run:
        wait_for_stopped_worker(run)
        run.signal(signal.SIGTERM)
        run.wait_for("notice")
        run.signal(signal.SIGTERM)
        run.finish(expect=75)
    assert set(states(out).values()) == {"pending"}
    goes_on(out, pictures)
