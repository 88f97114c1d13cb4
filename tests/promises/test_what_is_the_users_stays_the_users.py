"""No input, and no file that batchgray did not make, is replaced, truncated or removed.

If this broke, a mistyped --manifest or --overwrite would cost somebody the picture itself.
"""

import pytest
from harness import Running, batchgray, manifest_of, save_gradient, tree
from recording import Recording, Rule, interrupt, wait_for_stopped_worker


@pytest.fixture
def pictures(tmp_path):
    for name in ("a.png", "b.png"):
        save_gradient(tmp_path / "in" / name, 90, 70)
    return tmp_path / "in"


@pytest.mark.parametrize("content", [None, b""], ids=["a picture", "an empty one"])
@pytest.mark.parametrize("way", ["in", "link", "in/../in"])
def test_overwrite_replaces_no_input_by_the_manifest(pictures, tmp_path, content, way):
    (tmp_path / "link").symlink_to(pictures)
    if content is not None:
        (pictures / "b.png").write_bytes(content)
    before = tree(pictures)
    arguments = ("run", pictures, "--out", tmp_path / "out", "--manifest", tmp_path / way / "b.png")
    refused = batchgray(*arguments, "--overwrite", expect=2).stderr
    assert "--manifest" in refused
    told = batchgray(*arguments, expect=2).stderr
    assert "--overwrite" not in told or content == b""
    assert {name: tree(pictures)[name] for name in before} == before


def test_overwrite_is_not_meant_for_what_comes_later(pictures, tmp_path):
    """An image failed in that run; its file is mended, and another one stands under its output's name, long after."""
    out, sound = tmp_path / "out", (pictures / "a.png").read_bytes()
    (pictures / "a.png").write_bytes(b"broken")
    arguments = ("run", pictures, "--out", out)
    batchgray(*arguments, "--overwrite", "--progress", "none", expect=3)
    (pictures / "a.png").write_bytes(sound)
    (out / "a.jpg").write_bytes(b"mine")
    for command in (arguments, ("resume", out)):
        assert "did not make the file" in batchgray(*command, expect=3).stdout
        assert (out / "a.jpg").read_bytes() == b"mine"
    batchgray(*arguments, "--overwrite", "--progress", "none")
    assert (out / "a.jpg").read_bytes() != b"mine"


def test_a_manifest_lies_nowhere_where_it_would_be_cleaned_up(pictures, tmp_path):
    """The run of another manifest takes what it finds there for what a kill left."""
    out = tmp_path / "out"
    arguments = ("run", pictures, "--out", out, "--manifest", out / ".batchgray" / "default" / "m.json")
    assert "would lie in the folder of what is in flight" in batchgray(*arguments, expect=2).stderr
    assert not out.exists()


def test_overwrite_replaces_no_file_of_somebody_elses_by_the_manifest(pictures, tmp_path):
    mine = tmp_path / "mine.json"
    mine.write_text('{"dependencies": {"batchgray": "1.0"}}')
    arguments = ("run", pictures, "--out", tmp_path / "out", "--manifest", mine, "--overwrite")
    assert "Move it away" in batchgray(*arguments, expect=2).stderr
    assert mine.read_text() == '{"dependencies": {"batchgray": "1.0"}}'
    assert not (tmp_path / "out" / "a.jpg").exists()


@pytest.mark.parametrize("left", [0, 20, 900])
def test_overwrite_replaces_the_ruin_of_a_manifest(pictures, tmp_path, left):
    out = tmp_path / "out"
    batchgray("run", pictures, "--out", out, "--progress", "none")
    whole = (out / "manifest.json").read_bytes()
    (out / "manifest.json").write_bytes(whole[:left])
    assert "--overwrite" in batchgray("run", pictures, "--out", out, expect=2).stderr
    batchgray("run", pictures, "--out", out, "--overwrite", "--progress", "none")
    assert [image["state"] for image in manifest_of(out)["images"]] == ["done", "done"]


@pytest.mark.parametrize("name", ["manifest.json.journal", ".manifest.json.tmp"])
def test_what_lies_beside_the_manifest_is_not_removed(pictures, tmp_path, name):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_bytes(b"mine")
    for arguments in ((), ("--overwrite",)):
        assert name in batchgray("run", pictures, "--out", out, *arguments, expect=2).stderr
    assert (out / name).read_bytes() == b"mine"
    assert not (out / "a.jpg").exists()
    batchgray("run", pictures, "--out", out, "--manifest", tmp_path / "m.json", "--progress", "none")
    assert (out / name).read_bytes() == b"mine"


DISK = bytes(32768) + b"\1CD001" + bytes(900)  # as an image of a CD begins


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m", DISK),
        ("m", bytes(1000) + b'{"text": "but not where a block begins"}'),
        ("m.lock", DISK),
        ("m.lock", bytes(8) + b"mine"),
        ("m.lock", b"process all of these pictures before Friday\n"),
        ("m.journal", DISK),
        (".m.tmp", DISK),
    ],
)
def test_what_begins_as_a_crash_would_leave_it_is_not_replaced(pictures, tmp_path, name, content):
    mine = tmp_path / "disks" / name
    mine.parent.mkdir()
    mine.write_bytes(content)
    for arguments in ((), ("--overwrite",)):
        batchgray("run", pictures, "--out", tmp_path / "out", "--manifest", tmp_path / "disks/m", *arguments, expect=2)
        assert mine.read_bytes() == content


@pytest.mark.parametrize("lost", [100, 512, 5120, None])
def test_what_a_power_cut_left_is_replaced(pictures, tmp_path, lost):
    out = tmp_path / "out"
    batchgray("run", pictures, "--out", out, "--progress", "none")
    whole = (out / "manifest.json").read_bytes() + b" " * 9999
    lost = len(whole) if lost is None else lost
    (out / "manifest.json").write_bytes(bytes(lost) + (whole[lost:] if lost >= 512 else b""))
    (out / ".manifest.json.tmp").write_bytes((out / "manifest.json").read_bytes())
    (out / "manifest.json.lock").write_bytes(bytes(40))
    batchgray("run", pictures, "--out", out, "--overwrite", "--progress", "none")
    assert [image["state"] for image in manifest_of(out)["images"]] == ["done", "done"]


def test_what_lies_beside_the_report_is_not_removed(pictures, tmp_path):
    out = tmp_path / "out"
    batchgray("run", pictures, "--out", out, "--progress", "none")
    (out / ".report.html.tmp").write_bytes(b"mine")
    assert ".report.html.tmp" in batchgray("report", out, expect=2).stderr
    assert (out / ".report.html.tmp").read_bytes() == b"mine"
    batchgray("report", out, "--html", tmp_path / "r.html")
    torn = (tmp_path / "r.html").read_bytes()[:999]
    (out / ".report.html.tmp").write_bytes(torn)
    batchgray("report", out)
    assert not (out / ".report.html.tmp").exists()


def test_overwrite_replaces_no_input_by_the_output_of_another(tmp_path):
    """One INPUT is a link to a folder below the output folder; another one's outputs go there."""
    mine = save_gradient(tmp_path / "out" / "sub" / "p.jpg", 90, 70).read_bytes()
    (tmp_path / "alias").symlink_to(tmp_path / "out" / "sub")
    save_gradient(tmp_path / "other" / "sub" / "p.png", 40, 40)
    arguments = ("run", tmp_path / "alias", tmp_path / "other" / "sub", "--out", tmp_path / "out", "--overwrite")
    assert "would replace the input" in batchgray(*arguments, expect=2).stderr
    assert (tmp_path / "out" / "sub" / "p.jpg").read_bytes() == mine


@pytest.fixture
def begun(tmp_path):
    """Inputs and outputs of a run that was interrupted in the middle of `a.jpg`."""
    photos, out = tmp_path / "photos", tmp_path / "gray"
    save_gradient(photos / "a.jpg", 400, 1000, quality=90, exact=True)
    interrupt_in(photos, out, tmp_path / "record 1")
    return photos, out


def interrupt_in(photos, out, record):
    arguments = ("run", photos, "--out", out, "--tile-rows", 64, "--workers", 1)
    with Running(*arguments, env=Recording(record, Rule("tile", r"^a\.jpg$", after=3)).environment) as run:
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75)


def test_a_partial_jpeg_makes_way_for_the_output_of_that_name(begun, tmp_path):
    """It is converted first, as its file is large, and `a.jpg` is interrupted once more after it."""
    photos, out = begun
    assert (out / "a.partial.jpg").exists()
    save_gradient(photos / "a.partial.bmp", 700, 700, seed=5, exact=True)
    batchgray("run", photos, "--out", tmp_path / "whole", "--tile-rows", 64, "--progress", "none")
    whole = tree(tmp_path / "whole")
    interrupt_in(photos, out, tmp_path / "record 2")
    assert [image["state"] for image in manifest_of(out)["images"]] == ["partial", "done"]
    assert (out / "a.partial.jpg").read_bytes() == whole["a.partial.jpg"]
    batchgray("resume", out, "--progress", "none")
    assert tree(out) == whole


def test_a_partial_jpeg_makes_way_before_there_is_an_output_of_that_name(begun, tmp_path):
    photos, out = begun
    save_gradient(photos / "a.partial.jpg", 90, 70, seed=5, exact=True)
    interrupt_in(photos, out, tmp_path / "record 2")
    assert [image["state"] for image in manifest_of(out)["images"]] == ["partial", "pending"]
    assert not (out / "a.partial.jpg").exists()
    batchgray("resume", out, "--progress", "none")
    batchgray("run", photos, "--out", tmp_path / "whole", "--tile-rows", 64, "--progress", "none")
    assert tree(out) == tree(tmp_path / "whole")


@pytest.mark.parametrize("end", ["killed", "interrupted"])
def test_what_somebody_puts_under_a_partial_jpegs_name_stays(tmp_path, end):
    """There is no partial JPEG yet when the first finished tiles are on the disk; then they put theirs there."""
    photos, out = tmp_path / "photos", tmp_path / "gray"
    save_gradient(photos / "a.jpg", 400, 1000, quality=90, exact=True)
    recording = Recording(tmp_path / "record", Rule("rename", r"\.tiles$"))
    arguments = ("run", photos, "--out", out, "--tile-rows", 64, "--workers", 1, "--checkpoint", 0.000001)
    with Running(*arguments, env=recording.environment) as run:
        worker = wait_for_stopped_worker(run)
        (out / "a.partial.jpg").write_bytes(b"mine")
        if end == "killed":
            run.kill()
        else:
            interrupt(run, worker)
            run.finish(expect=75)
    assert list(out.glob(".batchgray/*/*.tiles"))
    batchgray("resume", out, "--progress", "none")
    assert (out / "a.partial.jpg").read_bytes() == b"mine"
    assert (out / "a.jpg").exists()
