"""The report: its numbers are the manifest's, it harms no reader, and a browser draws it without a request."""

import base64
import html
import io
import itertools
import json
import os
import re
import subprocess
import time
from datetime import UTC, datetime
from urllib.parse import quote

import numpy as np
import pytest
import tiffs
from boxed import codestream, heic
from browser import CHROMIUM, QUIET, Page, needs_browser
from harness import DEADLINE, Running, batchgray, manifest_of, save_gradient
from PIL import Image as Pillow
from recording import Recording, Rule, interrupt, wait_for_stopped_worker

from batchgray import errors
from batchgray.commands.report import page as report
from batchgray.commands.report import pictures, thumbnails
from batchgray.errors import shown
from batchgray.manifest.records import Image, Interruption, Manifest, Run
from batchgray.manifest.store import Store
from batchgray.options import PixelOptions

HOSTILE = [
    "<script>alert('name')</script>.jpg",
    "</script ><img src=x onerror=alert(1)>.jpg",
    '"quoted" \'name\' onmouseover="alert(2)".jpg',
    "]]> --> <!-- </textarea></title></style>.jpg",
    "control\x01\n\x1b[31m.jpg",
    "right-to-left \u202egpj.exe.jpg",
    "{{ 7 * 7 }} {% raw %} ${8 * 8} &lt;&amp; %3C.jpg",
    "javascript:alert(3).jpg",
    "\u2028line\u2029 separators.jpg",
]


def image(name, state="done", **fields):
    known = {"size": 1, "mtime_ns": 1, "width": 64, "height": 48, "output_size": 1, "tiles_done": 6, "tiles_total": 6}
    if state == "done":
        known["checksum"] = "xxh3-128:0"
    return Image(root=0, source=name, output=name, state=state, **{**known, **fields})


def written(folder, images, state="complete", **settings):
    """The path of a manifest in `folder` of images below `folder`/in."""
    document = Manifest(
        run_id="default",
        state=state,
        options=PixelOptions(),
        max_pixels=10**9,
        output_root=".",
        input_roots=[str(folder / "in")],
        images=images,
        **settings,
    )
    folder.mkdir(exist_ok=True)
    Store(folder / "manifest.json").commit(document)
    return folder / "manifest.json"


def with_files(folder, name, state="done", **fields):
    """An image whose source and output are there."""
    source, output = save_gradient(folder / "in" / name, 64, 48), folder / name
    save_gradient(output, 64, 48)
    found = source.stat()
    facts = {"size": found.st_size, "mtime_ns": found.st_mtime_ns, "output_size": output.stat().st_size}
    return image(name, state, **{**facts, **fields})


def page_of(manifest):
    return Page(report.write(manifest).read_text("utf-8"))


def reasons(page):
    return [html.unescape(reason) for reason in re.findall(r'<span class="no-picture">(.*?)</span>', page.text)]


def in_browser(path, folder, fragment=""):
    """The page after its script has run, and what the browser's console said."""
    done = subprocess.run(
        [CHROMIUM, *QUIET, f"--user-data-dir={folder / 'browser'}", f"{path.as_uri()}{fragment}"],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    return Page(done.stdout), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


# the numbers


def test_the_numbers_and_pictures_are_the_manifests(converted, tmp_path):
    target = tmp_path / "page.html"
    done = batchgray("report", converted / "manifest.json", "--html", target)
    assert str(target) in done.stdout
    document, page = manifest_of(converted), Page(target.read_text("utf-8"))
    images = document["images"]
    counts = page.counts()
    assert counts["images in all"] == counts["done"] == len(images)
    assert (counts["failed"], counts["partial"], counts["pending"]) == (0, 0, 0)
    megapixels = sum(image["width"] * image["height"] for image in images) / 1e6
    assert f"<dt>Converted</dt><dd>{megapixels:,.0f} MP</dd>" in page.text
    drawn = page.of("img")
    assert len(drawn) == 2 * len(images) <= pictures.MOST
    for picture in drawn:
        small = Pillow.open(io.BytesIO(base64.b64decode(picture["src"].removeprefix("data:image/jpeg;base64,"))))
        assert max(small.size) <= pictures._SIDE
        assert small.mode == "L" or picture["alt"].startswith("Source of")
        assert picture["alt"]
    assert page.text.count("the first of 2 frames or pages") >= 2
    assert "1 .txt" in page.text
    assert re.search(r'<th scope="row" class="number">1</th>', page.text)
    assert str(document["runs"][0]["workers"]) in page.text


def test_a_run_records_its_start_its_end_and_when_each_image_was_done(tmp_path):
    for index in range(2):
        save_gradient(tmp_path / "in" / f"{index}.jpg", 64, 64)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    out, before = tmp_path / "out", time.time()
    recording = Recording(tmp_path / "record", Rule("decode", r"0\.jpg"))
    with Running("run", tmp_path / "in", "--out", out, "--workers", 1, env=recording.environment) as running:
        interrupt(running, wait_for_stopped_worker(running))
        running.finish(expect=75)
    batchgray("resume", out / "manifest.json", "--workers", 2)
    batchgray("run", tmp_path / "in", "--out", out)  # nothing to do
    document, after = manifest_of(out), time.time()
    assert document["ignored"] == {".txt": 1}
    assert [(run["workers"], run["found"]) for run in document["runs"]] == [(1, None), (2, "interrupted")]
    assert document["interruptions"][0]["run"] == 0
    starts = [datetime.fromisoformat(run["at"]).timestamp() for run in document["runs"]]
    assert before <= starts[0] <= starts[1] <= after
    assert all(starts[1] <= image["done_at_ms"] / 1000 + 0.001 <= after for image in document["images"])
    page = page_of(out / "manifest.json")
    assert '<span class="ending interrupted">interrupted</span>' in page.text
    assert "<code>SIGTERM</code>" in page.text
    assert '<span class="ending finished">finished</span>' in page.text


def test_a_manifest_without_times_is_told_as_it_is(tmp_path):
    page = page_of(written(tmp_path, [image("a.jpg"), image("b.jpg", "pending")], state="interrupted"))
    assert "No run with a known start yet." in page.text
    assert page.counts()["done"] == 1
    assert "batchgray resume" in page.text


# the pictures


def test_what_can_not_be_drawn_says_why(tmp_path):
    changed = with_files(tmp_path, "changed.jpg", mtime_ns=5)
    damaged = with_files(tmp_path, "damaged.jpg", output_size=7)
    failed = with_files(tmp_path, "fatal.jpg", "failed", error="the worker died of SIGSEGV")
    broken = with_files(tmp_path, "broken.jpg")
    broken.output_size -= 50
    os.truncate(tmp_path / "broken.jpg", broken.output_size)
    found = reasons(page_of(written(tmp_path, [changed, damaged, image("gone.jpg"), failed, broken])))
    size = (tmp_path / "damaged.jpg").stat().st_size
    assert found[:2] == ["the worker died of SIGSEGV", "its file has changed since"]
    assert found[2:5] == [f"{size} bytes instead of 7", "no such file or directory", "no such file or directory"]
    assert found[5].startswith("damaged: ")
    assert len(found) == 6


def test_a_failed_source_is_never_decoded(tmp_path, monkeypatch):
    """What killed a worker would kill the report."""
    decoded = []
    monkeypatch.setattr(thumbnails, "thumbnail", lambda path, side: decoded.append(path) or b"jpeg")
    images = [with_files(tmp_path, "fatal.jpg", "failed", error="died"), with_files(tmp_path, "new.jpg", "pending")]
    page_of(written(tmp_path, [*images, with_files(tmp_path, "good.jpg")], state="interrupted"))
    assert sorted(decoded) == [str(tmp_path / "good.jpg"), str(tmp_path / "in" / "good.jpg")]


def test_a_partial_image_is_shown_with_its_partial_picture(tmp_path):
    begun = with_files(tmp_path, "begun.jpg", "partial", tiles_done=2)
    other = with_files(tmp_path, "other.jpg", "partial")
    save_gradient(tmp_path / "begun.partial.jpg", 64, 48)
    namesake = with_files(tmp_path, "other.partial.jpg")  # another image's output
    page = page_of(written(tmp_path, [begun, other, namesake], state="interrupted"))
    assert "partial: 2 of 6 tiles" in page.text
    assert [picture["alt"] for picture in page.of("img")] == [
        "Source of begun.jpg",
        "Partial result of begun.jpg",
        "Source of other.jpg",
        "Source of other.partial.jpg",
        "Result of other.partial.jpg",
    ]
    assert {"href": "begun.partial.jpg"} in page.of("a")


def test_the_choice_is_even_and_has_one_of_each_kind():
    images = [image(str(index)) for index in range(1000)]
    for index in range(100, 200):
        images[index] = image(str(index), "failed", error=f"bad byte {index}" if index % 2 else "empty")
    images[777].note, images[333].state = "the first of 3 frames or pages", "partial"
    images[5].state = "pending"
    chosen = pictures.choose(images)
    assert len(chosen) == len(set(chosen)) == pictures.MOST
    assert chosen[:3] == [333, 100, 101]
    assert 777 in chosen
    assert 5 not in chosen
    done = chosen[3:]
    assert done == sorted(done)
    assert max(after - before for before, after in itertools.pairwise(done)) < 150


def test_a_choice_of_few_is_all_of_them():
    assert pictures.choose([image("a"), image("b", "pending"), image("c", "partial")]) == [2, 0]
    assert pictures.choose([]) == []


@pytest.mark.parametrize("mode", ["I;16", "P", "LA", "RGBA", "1", "CMYK"])
def test_a_small_picture_of_any_mode(tmp_path, mode):
    gray = np.full((300, 400), 40, np.uint8)
    gray[:, 200:] = 200
    path = tmp_path / "picture.tif"
    pixels = Pillow.fromarray(gray)
    picture = Pillow.fromarray(gray.astype(np.uint16) << 8) if mode == "I;16" else pixels.convert(mode)
    picture.save(path)
    small = Pillow.open(io.BytesIO(thumbnails.thumbnail(str(path), 100))).convert("L")
    assert small.size == (100, 75)
    assert abs(np.asarray(small)[:, 10:40].mean() - 40) < 12
    assert abs(np.asarray(small)[:, 60:90].mean() - 200) < 12


@pytest.mark.parametrize("name", ["a.png", "a.webp", "sixteen.tif"])
def test_squares_show_through_what_is_transparent(tmp_path, name):
    """Black strokes on a black ground that is transparent: else it would be a black square."""
    pixels = np.zeros((200, 200, 4), np.uint8)
    pixels[:, 80:120, 3] = 255
    if name == "sixteen.tif":
        gray = pixels[..., [0, 3]].astype(np.uint16) * 257
        (tmp_path / name).write_bytes(tiffs.tiff(gray, bits=16, photometric=tiffs.BLACK_IS_ZERO, extras=(2,)))
    else:
        Pillow.fromarray(pixels).save(tmp_path / name, lossless=True, exact=True)
    small = Pillow.open(io.BytesIO(thumbnails.thumbnail(str(tmp_path / name), 100))).convert("L")
    shown = np.asarray(small).astype(int)
    assert shown.shape == (100, 100)
    assert shown[:, 44:56].max() < 30
    ground = shown[:, :32]
    assert ground.min() > 180
    assert abs(ground[:8, :8].mean() - ground[:8, 8:16].mean()) > 40


@pytest.mark.parametrize("white_is_zero", [False, True])
def test_a_small_picture_has_the_shades_of_its_source(tmp_path, white_is_zero):
    shades = np.tile(np.arange(0, 4096, 16), (128, 1))
    samples = 4095 - shades if white_is_zero else shades
    photometric = tiffs.WHITE_IS_ZERO if white_is_zero else tiffs.BLACK_IS_ZERO
    (tmp_path / "a.tif").write_bytes(tiffs.tiff(samples[..., None], bits=12, photometric=photometric))
    small = Pillow.open(io.BytesIO(thumbnails.thumbnail(str(tmp_path / "a.tif"), 256)))
    assert np.abs(np.asarray(small).astype(int) - shades // 16).max() < 8


def test_a_small_picture_stands_upright(tmp_path):
    exif = Pillow.Exif()
    exif[0x0112] = 6
    path = save_gradient(tmp_path / "turned.jpg", 400, 200, exif=exif.tobytes())
    assert Pillow.open(io.BytesIO(thumbnails.thumbnail(str(path), 100))).size == (50, 100)


def test_a_broken_exif_block_costs_no_picture(tmp_path):
    path = save_gradient(tmp_path / "odd.jpg", 400, 200, exif=b"Exif\0\0no TIFF header at all")
    assert Pillow.open(io.BytesIO(thumbnails.thumbnail(str(path), 100))).size == (100, 50)


def test_an_enormous_picture_is_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(thumbnails, "MOST_SCRATCH_BYTES", 1000)
    path = save_gradient(tmp_path / "large.png", 2000, 1000, exact=True)
    with pytest.raises(errors.ImageError, match="too large to draw small: 2 megapixels"):
        thumbnails.thumbnail(str(path), 100)


# where it goes


def test_it_lies_beside_the_manifest_and_its_own_is_replaced(tmp_path):
    manifest = written(tmp_path, [image("a.jpg")])
    batchgray("report", manifest)
    first = (tmp_path / "report.html").read_bytes()
    written(tmp_path, [image("a.jpg"), image("b.jpg")])
    batchgray("report", manifest)
    assert (tmp_path / "report.html").read_bytes() != first
    assert sorted(os.listdir(tmp_path)) == ["manifest.json", "report.html"]


@pytest.mark.parametrize("content", [b"", b"<!doctype html><title>mine</title>", b"x" * 600 + report._OURS])
def test_a_foreign_file_is_not_overwritten(tmp_path, content):
    manifest = written(tmp_path, [image("a.jpg")])
    (tmp_path / "report.html").write_bytes(content)
    with pytest.raises(errors.ForeignReport, match="--html") as refused:
        report.write(manifest)
    assert refused.value.exit_code == 2
    assert (tmp_path / "report.html").read_bytes() == content


def test_a_folder_or_a_dangling_link_is_not_replaced(tmp_path):
    manifest = written(tmp_path, [image("a.jpg")])
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "refused").symlink_to("x" * 300)
    for name in ("folder", "link", "refused"):
        with pytest.raises(errors.ForeignReport):
            report.write(manifest, tmp_path / name)
    assert (tmp_path / "link").is_symlink()


def test_nothing_to_read_and_nowhere_to_write_exit_2(tmp_path):
    assert "no manifest" in batchgray("report", tmp_path / "manifest.json", expect=2).stderr
    manifest = written(tmp_path, [image("a.jpg")])
    with pytest.raises(errors.UnwritableReport, match="--html"):
        report.write(manifest, tmp_path / "no" / "folder" / "page.html")


# hostile names


def hostile_manifest(folder):
    """Each name twice: of an image with pictures, and of a failed one."""
    images = [
        *(with_files(folder / "<h1>'out'", name, note=f"note {name}") for name in HOSTILE),
        *(image(f"bad/{name}", "failed", error=f"reason: {name}") for name in HOSTILE),
    ]
    interruption = Interruption(at="<i>", source="smq", event_id="<img src=x onerror=alert(4)>", deadline="'\">", run=0)
    run = Run(at=datetime(2026, 1, 1, tzinfo=UTC), workers=1, batchgray="<u>", found=None)
    return written(
        folder / "<h1>'out'", images, ignored={".<svg onload=alert(5)>": 1}, runs=[run], interruptions=[interruption]
    )


def check_harmless(page):
    assert len(page.of("script")) == 2
    assert len(page.of("h1")) == 1
    assert {tag for tag, _ in page.tags}.isdisjoint({"b", "i", "u", "textarea", "iframe", "object", "link", "base"})
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert all(picture["src"].startswith("data:image/jpeg;base64,") for picture in page.of("img"))
    assert not [link for link in page.of("a") if re.match(r"(?!#)[^/]*:", link["href"])]
    assert not set("\x01\x1b\u202e\u2028") & set(page.text)


def test_hostile_names_are_only_text(tmp_path):
    page = page_of(hostile_manifest(tmp_path))
    check_harmless(page)
    assert page.rows() == [(shown(f"bad/{name}"), shown(f"reason: {name}")) for name in HOSTILE]
    data = re.search(r'id="failures-data">(.*?)</script>', page.text, re.DOTALL)[1]
    assert "<" not in data
    assert json.loads(data) == [list(row) for row in page.rows()]


@needs_browser
def test_a_browser_draws_hostile_names_and_says_nothing(tmp_path):
    path = report.write(hostile_manifest(tmp_path))
    page, console = in_browser(path, tmp_path, f"#filter={quote('</SCRIPT  onerror')}")
    assert console == []
    check_harmless(page)
    name = HOSTILE[1]
    assert page.rows() == [(f"bad/{name}", f"reason: {name}")]


# many images


@needs_browser
def test_a_hundred_thousand_images_open_quickly(tmp_path):
    images = [
        image(f"some/folder/{index % 100}/picture-{index}.jpg", "done", done_at_ms=1_795_000_000_000 + index)
        for index in range(100_000)
    ]
    for index in range(0, 100_000, 5):
        images[index].state, images[index].error = "failed", f"reason {index % 7}"
    run = Run(at=datetime.fromtimestamp(1_795_000_000, UTC), workers=2, found=None)
    manifest = written(tmp_path / "many", images, runs=[run])
    began = time.monotonic()
    path = report.write(manifest)
    assert time.monotonic() - began < DEADLINE
    assert path.stat().st_size < 5_000_000
    plain = Page(path.read_text("utf-8"))
    assert plain.counts()["failed"] == 20_000
    assert len(plain.rows()) == report._ROWS
    assert "60 of 100,000 images" in plain.text
    began = time.monotonic()
    page, console = in_browser(path, tmp_path, "#filter=picture-99995.jpg")
    assert time.monotonic() - began < DEADLINE
    assert console == []
    assert page.rows() == [("some/folder/95/picture-99995.jpg", "reason 0")]
    assert "1 of 20,000" in page.text


@pytest.mark.parametrize("kind", ["heic", "jp2", "ppm", "pgm"])
def test_formats_with_readers_of_their_own_are_drawn_too(tmp_path, kind):
    samples = np.full((40, 80, 3), (200, 100, 50), np.uint8)
    data = {
        "heic": lambda: heic(samples),
        "jp2": lambda: codestream(samples),
        "ppm": lambda: b"P6 80 40 255\n" + samples.tobytes(),
        "pgm": lambda: b"P2 80 40 255\n" + b"117 " * 3200,
    }
    path = tmp_path / f"a.{kind}"
    path.write_bytes(data[kind]())
    small = Pillow.open(io.BytesIO(thumbnails.thumbnail(str(path), 40))).convert("RGB")
    assert small.size == (40, 20)
    expected = (117, 117, 117) if kind == "pgm" else (200, 100, 50)
    assert all(abs(one - other) <= 3 for one, other in zip(small.getpixel((20, 10)), expected, strict=True))


@pytest.mark.parametrize("kind", ["manifest", "job"])
def test_a_failed_image_is_called_by_its_path_below_the_only_input(tmp_path, kind):
    save_gradient(tmp_path / "in" / "good.png", 90, 70)
    (tmp_path / "in" / "day").mkdir()
    (tmp_path / "in" / "day" / "bad.png").write_bytes(b"")
    batchgray("run", tmp_path / "in", "--out", tmp_path / "out", "-q", *(["--job"] if kind == "job" else []), expect=3)
    batchgray("report", tmp_path / "out")
    page = Page((tmp_path / "out" / "report.html").read_text("utf-8"))
    assert page.rows() == [("day/bad.png", "an empty file (0 bytes)")]
    assert "shares" not in page.counts()  # of a job that is over there are none
    assert page.counts().get("Interruptions") == (0 if kind == "manifest" else None)  # and what was is not known
