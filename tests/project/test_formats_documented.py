"""docs/formats.md and the schemas tell what is written, to the field: real output is held against them."""

import json
import os
import re
import zlib
from pathlib import Path

import msgspec
import pytest
from conftest import script
from harness import Running, batchgray, events_of, manifest_of, named, save_gradient
from jsonschema import Draft202012Validator
from PIL import Image
from recording import Recording, Rule, interrupt_held

from batchgray.commands import status, verify

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
CONTRACT_EVENTS = {"planned", "started", "done", "failed", "checkpoint", "notice", "flushed", "summary"}


@pytest.fixture(scope="module")
def make_schemas():
    return script("make_schemas")


def check(name, value):
    """`value` is what the schema says, and has no field that it doesn't know."""
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    for record in schema["$defs"].values():
        record["additionalProperties"] = False
    faults = [error.message for error in Draft202012Validator(schema).iter_errors(value)]
    assert faults == []


def check_lines(name, text):
    for line in text.splitlines():
        check(name, json.loads(line))


def test_the_schemas_are_what_the_script_makes(make_schemas):
    """Else run scripts/make_schemas.py. It also refuses a field or an event that only the code or the page knows."""
    made = {f"{name}.schema.json": make_schemas.as_text(schema) for name, schema in make_schemas.generated().items()}
    assert {path.name: path.read_text("utf-8") for path in SCHEMAS.iterdir()} == made


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("| `done_at_ms` | integer or null |", "| `done_at` | integer or null |", "on Image, .*: done_at"),
        ("| `width` | integer or null |", "| `width` | string |", "on Image, width: its type is integer or null"),
        ("### notice", "### notices", "no section on notice"),
        ("### Counts", "### Extra\n\n### Counts", "not written: Extra"),
    ],
)
def test_the_script_refuses_a_page_that_differs(make_schemas, tmp_path, monkeypatch, before, after, words):
    text = (make_schemas.DOCS / "formats.md").read_text("utf-8")
    assert before in text
    (tmp_path / "formats.md").write_text(text.replace(before, after, 1), "utf-8")
    monkeypatch.setattr(make_schemas, "DOCS", tmp_path)
    with pytest.raises(ValueError, match=words):
        make_schemas.generated()


def test_the_page_links_every_schema():
    text = (SCHEMAS.parent / "formats.md").read_text("utf-8")
    assert set(re.findall(r"\(schemas/(.*?)\)", text)) == {path.name for path in SCHEMAS.iterdir()}


def test_an_interrupted_and_a_finished_run_write_what_is_documented(tmp_path):
    for index in range(12):
        save_gradient(tmp_path / "in" / f"{index:02}.jpg", 240, 160)
    (tmp_path / "in" / "00-empty.jpg").write_bytes(b"")
    out, recording = tmp_path / "out", Recording(tmp_path / "record", Rule("tile", r"05\.jpg", after=1, hold=True))
    arguments = ("run", tmp_path / "in", "--out", out, "--workers", 1, "--checkpoint", 0.02, "--tile-rows", 8)
    with Running(*arguments, env=recording.environment) as running:
        seen_before = {running.wait_for(name)["event"] for name in ("done", "checkpoint")}
        assert seen_before == {"done", "checkpoint"}
        journal = (out / "manifest.json.journal").read_text()
        interrupt_held(running, recording)
        seen = running.finish(expect=75)
    check_lines("journal", journal.rpartition("\n")[0])
    assert '"done_at_ms"' in journal
    check("manifest", json.loads((out / "manifest.json").read_text()))
    check("status", msgspec.to_builtins(status.status(out / "manifest.json")))
    seen += events_of(batchgray("resume", out / "manifest.json", "--progress", "json", expect=3).stdout)
    assert {event["event"] for event in seen} >= CONTRACT_EVENTS
    for event in seen:
        check("events", event)
    assert named(seen, "failed")
    check("manifest", json.loads((out / "manifest.json").read_text()))
    (out / "01.jpg").write_bytes(b"damaged")
    check("verify", msgspec.to_builtins(verify.verify(out / "manifest.json")))


def test_names_that_are_not_utf_8_are_written_as_documented(tmp_path):
    inputs = [tmp_path / os.fsdecode(b"in\xff"), tmp_path / "in"]
    for folder in inputs:
        save_gradient(folder / os.fsdecode(b"a\xff.gif"), 8, 8)
        save_gradient(
            folder / os.fsdecode(b"pages\xff.tif"), 8, 8, save_all=True, append_images=[Image.new("L", (8, 8))]
        )
        (folder / os.fsdecode(b"bad\xff.jpg")).write_bytes(b"")
        (folder / os.fsdecode(b"x.\xff")).touch()
    out = tmp_path / os.fsdecode(b"out\xff")
    seen = batchgray("run", *inputs, "--out", out, "--progress", "json", expect=3).stdout
    check_lines("events", seen)
    summary = named(events_of(seen), "summary")[0]
    assert len(summary["notes_base64"]) == len(summary["failures_base64"]) == 2
    check_lines(
        "events", batchgray("run", *inputs, "--out", tmp_path / "new", "--dry-run", "--progress", "json").stdout
    )
    check("manifest", manifest_of(out))
    check("status", json.loads(batchgray("status", out, "--json").stdout))
    (out / os.fsdecode(b"in\xff/a\xff.jpg")).unlink()
    verdict = json.loads(batchgray("verify", out, "--json", expect=3).stdout)
    check("verify", verdict)
    assert "output_base64" in verdict["damaged"][0]


def test_a_dry_run_and_the_doctor_write_what_is_documented(tmp_path):
    save_gradient(tmp_path / "in" / "a.jpg", 64, 64)
    planned = batchgray("run", tmp_path / "in", "--out", tmp_path / "out", "--dry-run", "--progress", "json").stdout
    check_lines("events", planned)
    assert events_of(planned)[0]["event"] == "would_convert"
    check("doctor", json.loads(batchgray("doctor", "--json", "--instance-id", "i-1").stdout))


def shape(key):
    """A key with every figure as N, and the names that a job makes up as the page writes them."""
    key = re.sub(r"^\.batchgray/[0-9a-f]{8}/", ".batchgray/JOB/", key)
    key = re.sub(r"(?<=/mend/).+", "NAME", re.sub(r"(?<=/begun/)[0-9a-f]+", "HASH", key))
    return re.sub(r"\d+", "N", key)


def keys_below(out):
    return {path.relative_to(out).as_posix() for path in out.glob(".batchgray/**/*") if path.is_file()}


def test_a_job_writes_what_is_documented(tmp_path):
    for name in ("a.png", "c.png"):
        save_gradient(tmp_path / "in" / name, 64, 480, exact=True)
    (tmp_path / "in" / "b.jpg").write_bytes(b"none")
    out, recording = tmp_path / "out", Recording(tmp_path / "record", Rule("tile", r"c\.jpg", after=1, hold=True))
    arguments = ("run", tmp_path / "in", "--out", out, "--job", "--workers", 1, "--tile-rows", 8)
    with Running(*arguments, env=recording.environment) as running:
        interrupt_held(running, recording)
        check_lines("events", "\n".join(map(json.dumps, running.finish(expect=75))))
    check("job", json.loads((out / "manifest.json").read_text("utf-8")))
    entries = sorted(out.glob(".batchgray/*/1/log/*/*"))
    assert {entry.parent.name for entry in entries} == {"plan", "00000001"}
    for entry in entries:
        check("job-log", json.loads(zlib.decompress(entry.read_bytes())))
    check("status", json.loads(batchgray("status", out, "--json").stdout))
    (share,) = out.glob(".batchgray/*/1/plan/00000001")
    planned = json.loads(zlib.decompress(share.read_bytes()))
    assert [image[:2] for image in planned["images"]] == [["a.png", "a.jpg"], ["b.jpg", "b.jpg"], ["c.png", "c.jpg"]]
    keys = keys_below(out)
    batchgray("resume", out, "-q", expect=3)
    (out / "a.jpg").write_bytes(b"damaged")
    batchgray("verify", out, "--mend", expect=3)
    check("status", json.loads(batchgray("status", out, "--json").stdout))
    keys |= keys_below(out)
    found = {shape(key) for key in keys}
    assert {".batchgray/JOB/begun/HASH.tiles", ".batchgray/JOB/mend/NAME", ".batchgray/JOB/results/N-failed-N"} <= found
    table = (SCHEMAS.parent / "formats.md").read_text("utf-8").partition("\n## Jobs\n")[2].partition("\n### ")[0]
    assert found <= {shape(key) for key in re.findall(r"^\| `(\.batchgray/\S+)` \|", table, re.MULTILINE)}
