"""The commands that read: status, verify, doctor."""

import json
import signal
import subprocess
from types import SimpleNamespace

import pytest
from harness import (
    DEADLINE,
    Running,
    batchgray,
    command,
    events_of,
    named,
    save_gradient,
    tree,
)
from recording import Recording, Rule, wait_for_stopped


def test_status_in_words_and_json(pictures, tmp_path):
    out = tmp_path / "out"
    (pictures / "bad.png").write_bytes(b"bad")
    batchgray("run", pictures, "--out", out, "--progress", "none", expect=3)
    status = json.loads(batchgray("status", out / "manifest.json", "--json").stdout)
    assert status["state"] == "complete_with_failures"
    assert status["counts"] == {"total": 4, "done": 3, "partial": 0, "pending": 0, "failed": 1, "gone": 0}
    assert status["failures"][0]["source"] == "bad.png"
    told = batchgray("status", out / "manifest.json").stdout
    assert "3 of 4 images done" in told
    assert "Failed: 1 image\n  bad.png: " in told
    summary = named(
        events_of(batchgray("run", pictures, "--out", out, "--progress", "json", expect=3).stdout), "summary"
    )[0]
    again = json.loads(batchgray("status", out / "manifest.json", "--json").stdout)
    for fact in ("manifest", "resume", "reasons"):
        assert summary[fact] == again[fact] == status[fact], fact
    assert status["pixels"] == 3 * 320 * 240
    converted = [pictures / name for name in ("a.png", "sub/b.jpg", "sub/deep/c.webp")]
    assert status["source_bytes"] == sum(path.stat().st_size for path in converted)
    assert status["output_bytes"] == sum(map(len, tree(out).values()))
    assert 0 <= status["seconds"] < DEADLINE


def test_verify_finds_each_kind_of_damage_and_mends_exactly_those(pictures, tmp_path):
    out = tmp_path / "out"
    for number in range(3):
        save_gradient(pictures / f"{number}.png", 100 + number, 100, exact=True)
    batchgray("run", pictures, "--out", out, "--progress", "none")
    whole = tree(out)
    assert "6 outputs checked, 0 damaged" in batchgray("verify", out / "manifest.json").stdout
    (out / "a.jpg").unlink()
    (out / "sub" / "b.jpg").write_bytes(whole["sub/b.jpg"][:-9])
    (out / "0.jpg").write_bytes(whole["0.jpg"][:-9] + b"\x13" + whole["0.jpg"][-8:])
    (out / "1.jpg").write_bytes(whole["2.jpg"])
    verdict = json.loads(batchgray("verify", out / "manifest.json", "--json", expect=3).stdout)
    assert {damage["output"] for damage in verdict["damaged"]} == {"a.jpg", "sub/b.jpg", "0.jpg", "1.jpg"}
    assert tree(out).keys() == whole.keys() - {"a.jpg"}
    batchgray("verify", "--mend", out / "manifest.json", expect=3)
    with Running("resume", out / "manifest.json") as run:
        events = run.finish(expect=0)
    assert len(named(events, "done")) == 4
    assert tree(out) == whole


def test_doctor_tells_of_an_endpoint_that_is_none():
    said = batchgray("doctor", "--smq-endpoint", "http://h:abc", "--instance-id", "i-1", expect=1)
    assert "clock: can't be compared" in said.stdout
    assert "Traceback" not in said.stderr


def test_a_name_that_the_system_refuses_is_told_in_a_sentence(tmp_path):
    name = "a" * 300
    for arguments in (["status", name], ["resume", name], ["verify", name], ["report", name]):
        assert "can't read the manifest" in batchgray(*arguments, cwd=tmp_path, expect=2).stderr


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_not_told_as_the_end_of_a_run_where_there_is_none(pictures, tmp_path, signum):
    """`verify --mend` may have written by then."""
    batchgray("run", pictures, "--out", tmp_path / "out")
    recording = Recording(tmp_path / "record", Rule("call", "batchgray.cli.reading:say"))
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        arguments = command("verify", tmp_path / "out", "--mend")
        process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=recording.environment)
    finally:
        signal.signal(signal.SIGINT, earlier)
    verifying = wait_for_stopped(SimpleNamespace(process=process))
    process.send_signal(signum)
    verifying.resume()
    _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 75
    assert said.strip() == f"batchgray: interrupted ({signum.name}). Give the same command again."
