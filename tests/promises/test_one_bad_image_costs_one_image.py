"""Truncated, hostile, enormous, unreadable: it fails with its reason, and the rest go on.

If this broke, one bad file among thousands would cost the night.
"""

import os
import struct
import zlib
from pathlib import Path

import pytest
from harness import batchgray, can_be_refused, environment_with, events_of, manifest_of, named, save_gradient
from PIL import Image

from batchgray.errors import shown


def png(width: int, height: int, data: bytes = b"") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mixed")
    whole = save_gradient(folder / "good.jpg", 800, 600, quality=90, exact=True).read_bytes()
    save_gradient(folder / "good too.png", 800, 600, exact=True)
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "without its end.jpg").write_bytes(whole[:-2])
    (folder / "truncated.png").write_bytes((folder / "good too.png").read_bytes()[:2000])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("this is no image")
    (folder / "header only.jpg").write_bytes(whole[:20])
    (folder / "bomb.png").write_bytes(png(30000, 30000, zlib.compress(b"\0" * 90001)))
    (folder / "no pixels.png").write_bytes(png(0, 10))
    (folder / "float.tif").write_bytes(b"")
    Image.new("F", (8, 8)).save(folder / "float.tif")
    (folder / os.fsdecode(b"not utf-8 \xff.jpg")).write_bytes(b"")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "escape \x1b[31m.jpg").write_bytes(b"")
    return folder


REASONS = {
    "truncated.jpg": "truncated",
    "without its end.jpg": "truncated",
    "truncated.png": "damaged",
    "empty.jpg": "empty",
    "text.jpg": "in none of the formats",
    "header only.jpg": "damaged",
    "bomb.png": "can't hold",
    "no pixels.png": "",
    "float.tif": "32-bit",
    "not utf-8 \\xff.jpg": "empty",
    "gone.jpg": "no such file",
    "pipe.jpg": "a pipe, not a file",
    "escape \\x1b[31m.jpg": "empty",
}


def test_each_fails_with_its_reason_and_the_rest_go_on(mixed, tmp_path):
    run = batchgray("run", mixed, "--out", tmp_path, "--max-pixels", 500_000_000, "--progress", "json", expect=3)
    events = events_of(run.stdout)
    failed = {shown(event["source"]): event["error"] for event in named(events, "failed")}
    assert failed.keys() == REASONS.keys()
    for source, reason in REASONS.items():
        assert reason in failed[source], source
    assert {event["source"] for event in named(events, "done")} == {"good.jpg", "good too.png"}
    assert {shown(name): error for name, error in named(events, "summary")[0]["failures"].items()} == failed
    assert run.stderr == ""


def test_every_input_ends_in_exactly_one_state(mixed, tmp_path):
    batchgray("run", mixed, "--out", tmp_path, "--max-pixels", 500_000_000, "--progress", "none", expect=3)
    manifest = manifest_of(tmp_path)
    assert manifest["state"] == "complete_with_failures"
    states = {shown(image["source"]): image["state"] for image in manifest["images"]}
    assert states == dict.fromkeys(REASONS, "failed") | {"good.jpg": "done", "good too.png": "done"}
    assert all(image["error"] for image in manifest["images"] if image["state"] == "failed")
    outputs = sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("manifest"))
    assert outputs == ["good too.jpg", "good.jpg"]


def test_failed_images_are_tried_again(mixed, tmp_path):
    broken = tmp_path / "in" / "a.jpg"
    save_gradient(broken, 64, 64)
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-30])
    out = tmp_path / "out"
    batchgray("run", broken.parent, "--out", out, "--progress", "none", expect=3)
    broken.write_bytes(whole)
    batchgray("resume", out / "manifest.json", "--progress", "none")
    assert manifest_of(out)["images"][0]["error"] is None


@pytest.mark.skipif(not can_be_refused(), reason="root can read everything, and there is no setpriv to give that up")
def test_a_folder_without_permission_is_named(tmp_path):
    pictures, out = tmp_path / "in", tmp_path / "out"
    save_gradient(pictures / "good.png", 64, 64)
    save_gradient(pictures / "locked" / "b.png", 64, 64)
    (pictures / "locked").chmod(0)
    run = batchgray("run", pictures, "--out", out, "--progress", "json", expect=3, privileged=False)
    (pictures / "locked").chmod(0o755)
    failed = named(events_of(run.stdout), "failed")
    assert [event["source"] for event in failed] == ["locked/"]
    assert "permission denied" in failed[0]["error"]
    again = batchgray("run", pictures, "--out", out, "--progress", "json")
    assert {event["source"] for event in named(events_of(again.stdout), "done")} == {"locked/b.png"}


FAILING_PARSER = """
from batchgray.codecs.png_outline import PngOutline

walk = PngOutline.walk
PngOutline.walk = lambda data: walk(data) if data[16:20] != (77).to_bytes(4) else data[len(data)]
"""


def test_a_parser_with_a_fault_of_its_own_costs_the_image_and_no_worker(tmp_path):
    pictures, out = tmp_path / "in", tmp_path / "out"
    for name, width in (("bad.png", 77), ("good.png", 78), ("good.jpg", 77)):
        save_gradient(pictures / name, width, 64, exact=True)
    env = environment_with(FAILING_PARSER, tmp_path)
    run = batchgray("run", pictures, "--out", out, "--workers", 1, "--progress", "json", expect=3, env=env)
    events = events_of(run.stdout)
    (failed,) = named(events, "failed")
    assert failed["source"] == "bad.png"
    assert failed["error"].startswith("can't be read (IndexError: index out of range): it is damaged, or batchgray")
    assert {event["source"] for event in named(events, "done")} == {"good.png", "good.jpg"}
    assert len(named(events, "worker_ended")) == 1  # at the end
    assert named(events, "warned") == []
