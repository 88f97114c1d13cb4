"""What was checkpointed is there after a power cut, whatever of the rest reached the disk: little is lost.

If this broke, a power cut would cost hours of a large image, or a journal of a whole night.

A run with an interval of next to nothing is recorded, with an image in memory, one in bands, and one in bands that
turns out to be damaged (recording.py). After each operation the model of the disk (disk_model.py) tells in which states
a cut may leave it; each must hold all but the work of one interval.
"""

import random
import shutil
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import xxhash
from disk_model import Disk, Tree
from harness import Running, batchgray, leftovers, save_gradient, tree
from recording import Recording, Rule, interrupt, wait_for_stopped_worker

from batchgray.checkpoints import band_plane, preview, sidecar
from batchgray.manifest.files import files_of
from batchgray.manifest.store import load_manifest
from batchgray.planes import slots
from batchgray.storage import integrity
from batchgray.storage.durable import Folder

SEED = 20261122
GO_ON_FROM = 12  # states
ODD_STATES = 3  # a cut point, beside the extreme ones
TILE_ROWS = 64
WIDTH, HEIGHT = 2048, 2560  # of those in bands: they are called large, whatever memory there is
LARGE = {"LARGE_PIXELS": "1000000"}
MEMORY = 30_000_000
OPTIONS = ("--checkpoint", 0.000001, "--workers", 1, "--memory", MEMORY)


@dataclass
class Recorded:
    """`arguments` are those of the first run, `whole` is the tree that the three runs made."""

    arguments: tuple
    whole: dict[str, bytes]
    out: Path
    manifest: Path
    records: list[tuple]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Recorded:
    folder = tmp_path_factory.mktemp("recorded")
    pictures, out = folder / "in", folder / "disk" / "out"
    path = out.with_name("kept") / "manifest.json"  # where no output's folder is synced
    save_gradient(pictures / "big.png", 400, 1000, exact=True)
    for name in ("cut.png", "scan.png"):
        save_gradient(pictures / name, WIDTH, HEIGHT, compress_level=1, exact=True)
    for number in range(3):
        save_gradient(pictures / f"small-{number}.png", 90, 70, seed=number)
    damage(pictures / "cut.png")
    out.parent.mkdir()
    recording = Recording(folder / "record", Rule("band", r"cut\.jpg", after=1))
    environment = recording.environment | LARGE
    arguments = ("run", pictures, "--out", out, "--manifest", path, "--tile-rows", TILE_ROWS, *OPTIONS)
    with Running(*arguments, env=environment) as run:
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75)
    assert (out / "cut.partial.jpg").exists()
    recording.set_rules(Rule("rename", r"\.bands$", after=2))  # a checkpoint of the other one
    with Running("resume", path, *OPTIONS, env=environment) as run:
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75)
    recording.set_rules()
    batchgray("resume", path, *OPTIONS, env=environment, expect=3)
    states = {image.source: image.state for image in load_manifest(path).images}
    assert Counter(states.values()) == {"done": 5, "failed": 1}
    assert states["cut.png"] == "failed"
    return Recorded(arguments, tree(out), out, path, list(below(out.parent, recording.records())))


def below(root: Path, records: list[tuple]) -> Iterator[tuple]:
    """What was done there; machine code is kept elsewhere."""
    elsewhere = set()
    for record in records:
        paths = [word for word in record[1:] if isinstance(word, str) and word.startswith("/")]
        if any(not path.startswith(str(root)) for path in paths):
            elsewhere |= {record[2]} if record[0] == "open" else set()
        elif len(record) == 1 or record[1] not in elsewhere:
            yield record


def damage(path: Path) -> None:
    """From the middle of its pixels on, which only the decoder sees."""
    data = bytearray(path.read_bytes())
    at = len(data) * 6 // 10
    data[at : at + 64] = bytes(64)
    path.write_bytes(data)


def cuts(recorded: Recorded) -> Iterator[tuple[int, tuple, Disk, list[Tree]]]:
    """After each operation: its number, itself, the disk, and the states in which a cut may leave it."""
    disk, chance = Disk(str(recorded.out.parent)), random.Random(SEED)
    for number, record in enumerate(recorded.records):
        disk.apply(record)
        seen, states = set(), []
        for state in disk.states(chance, ODD_STATES):
            key = frozenset((path, data and xxhash.xxh3_64_digest(data)) for path, data in state.items())
            if key not in seen:
                seen.add(key)
                states.append(state)
        yield number, record, disk, states


def seen_now(disk: Disk) -> Tree:
    return disk.after_a_cut("new", "all", random.Random())


class Flight:
    """What is in flight in a state of the disk, as a resumed run would find it."""

    def __init__(self, recorded: Recorded, state: Tree, folder: Path) -> None:
        self.out, self._folder, self._held = recorded.out, folder, Folder.at(folder)
        weakref.finalize(self, self._held.close)
        for path in folder.iterdir():
            path.unlink()
        for path, data in state.items():
            if data is not None and "/.batchgray/" in path:
                (folder / Path(path).name).write_bytes(data)

    def tiles(self, output: str) -> int:
        """How many tiles of an image in memory are there to go on from."""
        header = sidecar.read_header(self._held, sidecar.name_of(output))
        if header is None:
            return 0
        fd = slots.make_memory()
        slots.resize_memory(fd, header.record.slot_bytes)
        image = sidecar.restore(self._held, output, slots.Slot(fd))
        return image.tiles_done if image else 0

    def bands(self, output: str) -> int:
        """How many bands of an image in bands are."""
        header = sidecar.read_header(self._held, sidecar.name_of(output))
        if header is None:
            return 0
        plane = band_plane.BandPlane(self._held, output, header.record, header.options)
        finished = sum(plane.finished(band.index) for band in plane.bands())
        plane.close()
        return finished

    def claimed(self) -> set[str]:
        headers = [sidecar.read_header(self._held, path.name) for path in self._folder.glob("*.tiles")]
        return {preview.name_of(header.output) for header in headers if header and header.owns_preview}


def begins_checkpoint(record: tuple, suffix: str, output: str) -> bool:
    """Whether it opens the temporary file of a checkpoint."""
    name = integrity.short_name(output)
    return record[0] == "open" and Path(record[1]).name == f"{name}.tmp" and suffix in (*record[1:], suffix)


@pytest.fixture
def scratch(tmp_path) -> Path:
    folder = tmp_path / "flight"
    folder.mkdir()
    return folder


def test_of_an_image_in_memory_no_more_than_the_last_interval_is_lost(recorded, scratch):
    """A checkpoint comes after every tile: when the next one begins, the one before must be there for good."""
    begun = most = 0
    target = str(recorded.out / "big.jpg")
    for number, record, _, states in cuts(recorded):
        begun += begins_checkpoint(record, ".tiles", "big.jpg")
        if record[0] == "rename" and record[2] == target:
            break
        for state in states:
            found = Flight(recorded, state, scratch).tiles("big.jpg")
            assert found >= begun - 1, f"{begun} tiles were finished, {found} are left, after {number}, {record[:3]}"
            most = max(most, found)
    assert most == -(-1000 // TILE_ROWS)


def test_of_an_image_in_bands_no_more_than_the_last_interval_is_lost(recorded, scratch):
    """What a checkpoint has is there from the moment on that the next one begins."""
    total = -(-HEIGHT // band_plane.band_rows(WIDTH))
    begun = kept = most = 0
    target = str(recorded.out / "scan.jpg")
    for number, record, disk, states in cuts(recorded):
        if begins_checkpoint(record, ".bands", "scan.jpg"):
            begun += 1
            kept = Flight(recorded, seen_now(disk), scratch).bands("scan.jpg") if begun > 1 else 0
        if record[0] == "rename" and record[2] == target:
            break
        if not begun:
            continue
        for state in states:
            found = Flight(recorded, state, scratch).bands("scan.jpg")
            assert found >= kept, f"{kept} finished bands were kept, {found} are left after {number}, {record[:3]}"
            most = max(most, found)
    assert begun > 1
    assert 1 <= kept <= most <= total


def test_what_the_journal_was_synced_with_is_never_lost(recorded, tmp_path):
    """Nor the whole of it, where its name never came to the disk."""
    known = 0
    handles = {}
    for number, record, disk, states in cuts(recorded):
        if record[0] == "open":
            handles[record[2]] = record[1]
        if record[0] == "sync" and handles[record[1]].endswith(".journal"):
            known = len(settled(recorded, seen_now(disk), tmp_path))
        for state in states if known else []:
            found = len(settled(recorded, state, tmp_path))
            assert found >= known, f"{known} images were known to be done, {found} are, after {number}, {record[:3]}"
    assert known >= 5


def settled(recorded: Recorded, state: Tree, folder: Path) -> set[str]:
    """The images that a manifest calls done or failed."""
    path = folder / "manifest.json"
    for there in (path, files_of(path).journal):
        there.unlink(missing_ok=True)
        data = state.get(str(recorded.manifest.with_name(there.name)))
        if data is not None:
            there.write_bytes(data)
    if not path.exists():
        return set()
    return {image.source for image in load_manifest(path).images if image.state in ("done", "failed")}


def test_of_a_discarded_image_no_partial_jpeg_is_left_that_nothing_claims(recorded, scratch):
    """It would stay for ever. Its sidecar goes when the end of its partial JPEG is durable, and not before."""
    seen = False
    preview = str(recorded.out / "cut.partial.jpg")
    for number, record, _, states in cuts(recorded):
        for state in states:
            if preview in state:
                seen = True
                claimed = Flight(recorded, state, scratch).claimed()
                assert "cut.partial.jpg" in claimed, f"after {number}, {record[:3]}"
    assert seen


def test_from_whatever_is_left_the_run_goes_on_to_the_same_end(recorded):
    """Half a plane, a header of bands that never came, a discarded image: nothing is taken for what it is not."""
    chance = random.Random(SEED)
    chosen = chance.sample([state for *_, states in cuts(recorded) for state in states], GO_ON_FROM)
    for number, state in enumerate(chosen):
        put_on_disk(recorded.out.parent, state)
        if recorded.manifest.exists():
            done = batchgray("resume", recorded.manifest, *OPTIONS, expect=None)
        else:
            done = batchgray(*recorded.arguments, expect=None)
        assert done.returncode == 3, f"state {number}: {done.stdout}{done.stderr}"
        assert tree(recorded.out) == recorded.whole
        assert leftovers(recorded.out) == []


def put_on_disk(root: Path, state: Tree) -> None:
    shutil.rmtree(root)
    root.mkdir()
    for path, data in sorted(state.items()):
        if data is None:
            Path(path).mkdir(parents=True, exist_ok=True)
        else:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(data)
