"""A crash in the codec, the OOM killer, a decoder that never returns: the image is tried once more, alone, then failed.

If this broke, one file that kills its decoder would end the run, or be tried for ever.
"""

import re

import pytest
from harness import batchgray, environment_with, events_of, leftovers, manifest_of, named, save_gradient, tree

# In the fork server, and so in every worker: what the end of a file says happens in its decoder.
FATAL_DECODER = """
import os, signal, sys
if any("forkserver" in argument for argument in sys.orig_argv):
    import simplejpeg
    decode = simplejpeg.decode_jpeg
    def decode_or_die(data, *arguments, **settings):
        wish = bytes(data[-4:])
        if wish == b"SEGV": os.kill(os.getpid(), signal.SIGSEGV)
        if wish == b"KILL": os.kill(os.getpid(), signal.SIGKILL)
        if wish == b"ONCE" and not os.path.exists(os.environ["DIED_ONCE"]):
            open(os.environ["DIED_ONCE"], "x").close()
            os.kill(os.getpid(), signal.SIGKILL)
        if wish == b"BUGS": os._exit(7)
        while wish == b"HANG": pass
        return decode(data, *arguments, **settings)
    simplejpeg.decode_jpeg = decode_or_die
"""

WISHES = ["SEGV", "KILL", "ONCE", "BUGS", "HANG"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(8):
        save_gradient(folder / f"{number} good.jpg", 300, 200, seed=number)
    for wish in WISHES:
        whole = save_gradient(folder / f"{wish.lower()}.jpg", 300, 200)
        whole.write_bytes(whole.read_bytes() + wish.encode())
    return folder


def test_each_death_is_told_with_its_cause_and_the_rest_go_on(pictures, tmp_path):
    out = tmp_path / "out"
    environment = environment_with(FATAL_DECODER, tmp_path, DIED_ONCE=str(tmp_path / "died"))
    run = batchgray("run", pictures, "--out", out, "--workers", 2, "--progress", "json", expect=3, env=environment)
    events = events_of(run.stdout)
    failed = {event["source"]: event["error"] for event in named(events, "failed")}
    assert failed.keys() == {"segv.jpg", "kill.jpg", "bugs.jpg", "hang.jpg"}
    assert "SIGSEGV" in failed["segv.jpg"]
    assert "SIGKILL, as when memory runs out" in failed["kill.jpg"]
    assert "MB in use" in failed["kill.jpg"]
    assert "exit status 7" in failed["bugs.jpg"]
    assert re.search("it took over (10 s of processor time|60 s), and was stopped", failed["hang.jpg"])
    assert all("2 workers died on it, the last one alone" in reason for reason in failed.values())
    assert {event["source"] for event in named(events, "done")} == {"once.jpg"} | {f"{n} good.jpg" for n in range(8)}
    check_tried_twice_and_the_second_time_alone(events)
    assert leftovers(out) == []

    # Without what killed its decoder, each is converted, and nothing else is.
    good = {name: (out / name).stat().st_ino for name in tree(out)}
    again = batchgray("resume", out / "manifest.json", "--progress", "json")
    assert {event["source"] for event in named(events_of(again.stdout), "done")} == failed.keys()
    assert {name: (out / name).stat().st_ino for name in good} == good
    assert manifest_of(out)["state"] == "complete"


def check_tried_twice_and_the_second_time_alone(events: list[dict]) -> None:
    for source in ("segv.jpg", "kill.jpg", "once.jpg", "bugs.jpg", "hang.jpg"):
        started = [at for at, event in enumerate(events) if event["event"] == "started" and event["source"] == source]
        assert len(started) == 2, source
        # Whatever was started before the second time had ended by then.
        before = {event["source"] for event in named(events[: started[1]], "started")}
        waiting = {f"{wish.lower()}.jpg" for wish in WISHES}
        ended = {event["source"] for event in events[: started[1]] if event["event"] in ("done", "failed")}
        assert before - ended <= waiting, source


IMPORTED = "from batchgray.workers import worker"


@pytest.mark.parametrize(
    ("shim", "words"),
    [
        (f"def broken(*_): os._exit(9)\n{IMPORTED}\nworker.Worker.__init__ = broken", "exit status 9"),
        (f"def broken(*_): os.kill(os.getpid(), 9)\n{IMPORTED}\nworker.main = broken", "SIGKILL"),
        ("sys.modules['batchgray.workers.worker'] = None", "batchgray.workers.worker"),
    ],
)
def test_a_worker_that_can_not_even_start_ends_the_run(pictures, tmp_path, shim, words):
    guarded = "import os, sys\nif any('forkserver' in argument for argument in sys.orig_argv):\n"
    environment = environment_with(guarded + "".join(f"    {line}\n" for line in shim.splitlines()), tmp_path)
    out = tmp_path / "out"
    run = batchgray("run", pictures, "--out", out, "--progress", "none", expect=1, env=environment)
    assert words in run.stderr
    assert "the worker processes can't work" in run.stderr
    assert "Traceback" not in run.stderr
    batchgray("resume", out / "manifest.json", "--progress", "none")
    assert len(tree(out)) == 13
