"""The package as another program meets it: light to import, silent, and no lord over its signals or threads."""

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from harness import DEADLINE, is_alive, manifest_of, save_gradient, tree, wait_until

import batchgray
from batchgray import errors

ROOT = Path(__file__).parents[2]
HEAVY = {"numba", "numpy", "PIL", "simplejpeg", "imageio", "pyvips"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(6):
        save_gradient(folder / f"{number}.jpg", 400, 300, number)
    return folder


def python(code: str, *arguments: object, stdin: bool = False) -> str:
    """What a program of its own prints to standard output; nothing may come on the other."""
    source = ["-"] if stdin else ["-c", code]
    done = subprocess.run(
        [sys.executable, *source, *map(str, arguments)],
        input=code if stdin else "",
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_importing_it_and_all_its_names_imports_nothing_heavy():
    assert python("import sys, batchgray; print({'msgspec', 'batchgray.engine.runs'} & set(sys.modules))") == "set()\n"
    code = f"from batchgray import *; import sys; print(to_gray.__name__, {HEAVY} & set(sys.modules))"
    assert python(code) == "to_gray set()\n"


def test_its_names_are_there_and_no_others():
    assert {name for name in batchgray.__all__ if getattr(batchgray, name) is None} == set()
    assert set(batchgray.__all__) <= set(dir(batchgray))
    with pytest.raises(AttributeError, match="module 'batchgray' has no attribute 'to_grey'"):
        _ = batchgray.to_grey


def test_a_result_tells_what_there_is_and_what_went_wrong(pictures, tmp_path, capfd):
    twins = [tmp_path / name / "bad.png" for name in ("one", "two")]
    for twin in twins:
        twin.parent.mkdir()
        twin.write_text("no picture")
    told = []
    options = batchgray.RunOptions(inputs=[pictures, *(str(twin.parent) for twin in twins)], out=str(tmp_path / "out"))
    result = batchgray.run(options, on_event=told.append)
    assert result.exit_code == 3
    assert (result.out, result.manifest) == (tmp_path / "out", tmp_path / "out" / "manifest.json")
    assert result.failures.keys() == set(twins)
    assert all(result.failures.values())
    assert (result.summary.total, result.summary.done, result.summary.failed) == (8, 6, 2)
    assert type(told[0]) is batchgray.events.Planned
    assert told[-1] == result.summary
    again = batchgray.resume(batchgray.ResumeOptions(manifest=str(result.manifest)))
    assert (again.exit_code, again.failures.keys(), again.summary.converted) == (3, set(twins), 0)
    assert capfd.readouterr() == ("", "")


ANY_PROGRAM = """
import signal, sys, threading
from concurrent.futures import ThreadPoolExecutor
import batchgray
def handlers():
    return [signal.getsignal(signum) for signum in signal.valid_signals()]
before, seen = handlers(), []
def convert(out):
    options = batchgray.RunOptions(inputs=sys.argv[1], out=out)
    return batchgray.run(options, lambda event: seen.append(handlers() == before)).exit_code
with ThreadPoolExecutor(2) as pool:
    codes = list(pool.map(convert, sys.argv[2:]))
print(codes, all(seen), handlers() == before, threading.active_count())
"""


def test_it_runs_without_a_main_guard_from_standard_input_and_in_any_threads(pictures, tmp_path):
    outs = tmp_path / "one", tmp_path / "two"
    assert python(ANY_PROGRAM, pictures, *outs, stdin=True) == "[0, 0] True True 1\n"
    assert len(tree(outs[0])) == 6
    assert tree(outs[0]) == tree(outs[1])
    script = tmp_path / "script.py"
    script.write_text(ANY_PROGRAM)
    arguments = [sys.executable, script, pictures, tmp_path / "three"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[0] True True 1\n", "")


def test_an_interrupter_interrupts_and_a_later_run_goes_on(pictures, tmp_path):
    interrupter, told = batchgray.Interrupter(), []

    def on_event(event):
        told.append(type(event).__name__)
        if told.count("Started") == 1:
            thread = threading.Thread(target=interrupter.interrupt)
            thread.start()
            thread.join()

    engine = batchgray.EngineOptions(workers=1, memory=10**8)
    options = batchgray.RunOptions(inputs=pictures, out=tmp_path / "out", engine=engine)
    interrupted = batchgray.run(options, on_event, [interrupter])
    assert interrupted.exit_code == 75
    assert interrupted.summary.pending + interrupted.summary.partial > 0
    assert told.count("Flushed") == 1
    assert manifest_of(tmp_path / "out")["interruptions"][0]["source"] == "signal"
    resumed = batchgray.resume(
        batchgray.ResumeOptions(manifest=interrupted.manifest), notices=[batchgray.Interrupter()]
    )
    assert (resumed.exit_code, resumed.summary.done) == (0, 6)


def test_nothing_is_handed_out_while_a_listener_is_not_ready(pictures, tmp_path):
    started, at_each_no = [], []

    def count(event):
        if isinstance(event, batchgray.events.Started):
            started.append(event)

    def ready():
        at_each_no.append(len(started))
        return len(at_each_no) > 5

    options = batchgray.RunOptions(inputs=pictures, out=tmp_path)
    assert batchgray.run(options, count, ready=ready).exit_code == 0
    assert at_each_no[:6] == [0] * 6
    assert len(started) == 6


def test_a_listener_that_is_never_ready_holds_up_no_notice(pictures, tmp_path):
    interrupter = batchgray.Interrupter()

    def interrupt(event):
        if isinstance(event, batchgray.events.Planned):
            interrupter.interrupt()

    options = batchgray.RunOptions(inputs=pictures, out=tmp_path)
    result = batchgray.run(options, interrupt, notices=[interrupter], ready=lambda: False)
    assert (result.exit_code, result.summary.pending) == (75, 6)


def test_an_interruption_before_a_run_is_for_the_next_one_and_for_no_other(pictures, tmp_path):
    interrupter = batchgray.Interrupter()
    options = batchgray.RunOptions(inputs=pictures, out=tmp_path / "out")
    for _ in range(2):
        interrupter.interrupt()
        with pytest.raises(batchgray.BatchgrayError) as early:
            batchgray.run(options, notices=[interrupter])
        assert early.value.exit_code == 75
        assert not (tmp_path / "out").exists()
    assert batchgray.run(options, notices=[interrupter]).exit_code == 0


def test_signals_interrupt_where_they_are_asked_to_and_their_handlers_come_back(pictures, tmp_path):
    before = [signal.getsignal(signum) for signum in signal.valid_signals()]

    def on_event(event):
        if type(event) is batchgray.events.Started:
            os.kill(os.getpid(), signal.SIGTERM)

    options = batchgray.RunOptions(inputs=pictures, out=tmp_path / "out")
    assert batchgray.run(options, on_event, [batchgray.SignalSource()]).exit_code == 75
    assert [signal.getsignal(signum) for signum in signal.valid_signals()] == before


CTRL_C = """
import signal, sys, time
import psutil
import batchgray
signal.signal(signal.SIGINT, signal.default_int_handler)  # who starts it in the background has it ignored
def on_event(event):
    if type(event) is batchgray.events.Started:
        print("started", flush=True)
        time.sleep(1800)
try:
    batchgray.run(batchgray.RunOptions(inputs=sys.argv[1], out=sys.argv[2]), on_event)
except KeyboardInterrupt:
    print("interrupted", psutil.Process().children(recursive=True))
"""


def test_ctrl_c_is_a_keyboard_interrupt_and_leaves_what_resume_needs(pictures, tmp_path):
    arguments = [sys.executable, "-c", CTRL_C, str(pictures), str(tmp_path / "out")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as program:
        family = psutil.Process(program.pid)
        assert program.stdout.readline() == "started\n"
        workers = family.children(recursive=True)
        program.send_signal(signal.SIGINT)
        assert program.stdout.read() == "interrupted []\n"
    wait_until(lambda: not any(map(is_alive, workers)))
    result = batchgray.resume(batchgray.ResumeOptions(manifest=tmp_path / "out" / "manifest.json"))
    assert (result.exit_code, result.summary.done) == (0, 6)


def test_what_on_event_raises_comes_through_and_nothing_done_is_lost(pictures, tmp_path):
    done = []

    def on_event(event):
        if type(event) is batchgray.events.Done:
            done.append(event.source)
            raise LookupError("the caller's own")

    out = tmp_path / "out"
    with pytest.raises(LookupError, match="the caller's own"):
        batchgray.run(batchgray.RunOptions(inputs=pictures, out=out), on_event)
    assert psutil.Process().children(recursive=True) == []
    told = []
    assert batchgray.run(batchgray.RunOptions(inputs=pictures, out=out), told.append).exit_code == 0
    assert done[0] not in {event.source for event in told if type(event) is batchgray.events.Done}
    assert len(tree(out)) == 6


def test_an_error_says_with_which_code_the_command_would_end(tmp_path):
    with pytest.raises(batchgray.BatchgrayError, match="no such file or folder") as refusal:
        batchgray.run(batchgray.RunOptions(inputs=tmp_path / "nowhere", out=tmp_path / "out"))
    assert (refusal.value.exit_code, type(refusal.value)) == (2, errors.NoSuchInput)


@pytest.mark.processes  # by what the page's programs do
def test_the_page_on_the_library_does_what_it_says(tmp_path, monkeypatch):
    text = (ROOT / "docs" / "library.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == text.count("```") // 2 > 8
    for name in ("phone/IMG_0001.jpg", "phone/IMG_0002.jpg", "web/moving.gif", "web/palette.png"):
        save_gradient(tmp_path / "images" / name, 800, 600)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for block in blocks:
            exec(block, names)
    assert re.search(r"^images/broken.jpg: .|/images/broken.jpg: .", said.getvalue(), re.MULTILINE)
    assert sorted(tree(tmp_path / "gray-png")) == ["phone/IMG_0001.png", "phone/IMG_0002.png", "web/palette.png"]
    assert len(tree(tmp_path / "gray-later")) == 4
    assert names["result"].manifest == tmp_path / "gray-later" / "manifest.json"
