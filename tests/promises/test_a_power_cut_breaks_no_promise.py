"""Whatever moment the power goes, and whatever of the unsynced reached the disk: no promise is broken.

If this broke, a power cut would leave torn pictures, images that everybody believes done and nobody has, or a run that
can't go on.

Real runs are recorded with all that their processes did durably (recording.py). A model of the disk (disk_model.py)
tells for every moment in which states the disk may be found. Every state is checked; from a sample of them the program
goes on for real. TEST_BATCHGRAY_RESUMES is the size of that sample, `all` for every state.
"""

import ast
import os
import random
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from itertools import zip_longest
from pathlib import Path

import pytest
import xxhash
from disk_model import Disk, Tree
from harness import DEADLINE, Running, batchgray, leftovers, save_gradient, tree
from recording import Recording, Rule, interrupt, wait_for_stopped_worker

from batchgray import errors
from batchgray.checkpoints import preview, sidecar
from batchgray.commands import verify
from batchgray.manifest.files import files_of
from batchgray.manifest.records import Image, Manifest
from batchgray.manifest.store import load_manifest
from batchgray.storage import durable, integrity, intents

SEED = 20261122
ODD_STATES = 6  # a cut point, beside the extreme ones
RESUMES = os.environ.get("TEST_BATCHGRAY_RESUMES", "25")
OPTIONS = ("--tile-rows", 64, "--checkpoint", 0.000001, "--progress", "none")

# The interruption comes from a source that gives notice when a worker has stopped itself, and writes into the record
# when it is thanked.
RESUME_UNTIL_A_WORKER_STOPS = """
import sys
import threading
import time
from pathlib import Path
import psutil
from sitecustomize import gate
from batchgray.engine import runs
from batchgray.notices.inbox import InterruptionNotice
from batchgray.options import EngineOptions, ResumeOptions

class Source:
    name = "rehearsal"
    def start(self, inbox):
        self.inbox = inbox
        threading.Thread(target=self.watch, daemon=True).start()
    def watch(self):
        while not any(child.status() == "stopped" for child in psutil.Process().children(recursive=True)):
            time.sleep(0.01)
        self.inbox.put(InterruptionNotice(source="smq", event_id="2256A988"))
    def stop(self):
        pass
    def acknowledge(self, notice):
        gate.mark(("acknowledged",))

options = ResumeOptions(manifest=Path(sys.argv[1]), engine=EngineOptions(workers=2, checkpoint=0.00001, grace=3))
sys.exit(runs.resume(options, lambda event: None, [Source()]).exit_code)
"""


@dataclass
class Recorded:
    """What was run, what it did, and what it was to come to.

    `pictures` is the INPUT, in its last version. `inputs` and `whole` are by version: a copy of the folder, and the
    tree that one uninterrupted run makes of it. `real` is what really was on disk at each ("ended", ...) record.
    """

    pictures: Path
    out: Path
    inputs: dict[str, Path]
    whole: dict[str, dict[str, bytes]]
    damaged: bytes
    records: list[tuple] = field(default_factory=list)
    real: list[dict[str, bytes]] = field(default_factory=list)

    @property
    def images(self) -> set[str]:
        return set().union(*self.whole.values())


def draw_inputs(folder: Path) -> dict[str, Path]:
    """The second version has one image changed and one more; in the third, which no run saw, all are changed."""
    first, second, third = (folder / name for name in ("first", "second", "third"))
    for number, name in enumerate(["a/1.png", "a/2.png", "b/3.png", "c/d/4.png", "c/d/5.png", "6.png"]):
        save_gradient(first / name, 90, 70, seed=number)
        save_gradient(third / name, 90, 80, seed=number)
    save_gradient(first / "b" / "big.png", 400, 1000)
    save_gradient(third / "b" / "big.png", 400, 1001)
    shutil.copytree(first, second)
    save_gradient(second / "a" / "2.png", 90, 60, seed=20)
    for number in range(7, 31):
        save_gradient(second / "e" / f"{number}.png", 80, 70, seed=number)
    return {path.name: path for path in (first, second, third)}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Recorded:
    folder = tmp_path_factory.mktemp("recorded")
    inputs = draw_inputs(folder)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        whole = dict(zip(inputs, pool.map(converted_at_once, inputs.values()), strict=True))
    pictures, out = folder / "in", folder / "disk" / "out"
    out.parent.mkdir()
    shutil.copytree(inputs["first"], pictures)
    recording = Recording(folder / "record")
    found = Recorded(pictures, out, inputs, whole, damaged=b"damaged " * 100)
    path = out / "manifest.json"

    def ended(command: str, version: str) -> None:
        """The run is over; with what the user gives next after a power cut from now on, and the inputs then."""
        recording.mark("ended", command, version)
        found.real.append(bytes_below(out))

    recording.mark("begins", "run", "first")
    kill_after_a_rename(recording, pictures, out)
    recording.mark("begins", "resume", "first")
    interrupt_in_the_middle_of_an_image(recording, path)
    ended("resume", "first")
    be_interrupted_with_a_worker_that_hears_nothing(recording, path)
    ended("resume", "first")
    recording.set_rules()
    batchgray("resume", path, "--workers", 2, "--progress", "none", env=recording.environment)
    ended("resume", "first")
    shutil.rmtree(pictures)
    shutil.copytree(inputs["second"], pictures)
    recording.mark("begins", "run again", "second")
    # The first output waits while all the others gather, for one syncfs.
    recording.set_rules(Rule("sync", r"\.out$", until=12), Rule("write", r"\.out$", times=0))
    batchgray("run", pictures, "--out", out, *OPTIONS[:2], "--workers", 1, env=recording.environment)
    recording.set_rules()
    ended("mend", "second")
    (out / "b" / "3.jpg").write_bytes(found.damaged)
    recording.mark("damage", str(out / "b" / "3.jpg"), found.damaged)
    batchgray("verify", "--mend", path, env=recording.environment, expect=3)
    ended("mend", "second")
    batchgray("resume", path, *OPTIONS[2:], env=recording.environment)
    ended("mend", "second")
    found.records = recording.records()
    return found


def converted_at_once(pictures: Path) -> dict[str, bytes]:
    out = pictures.with_name(f"{pictures.name} whole")
    batchgray("run", pictures, "--out", out, *OPTIONS[:2])
    return tree(out)


def kill_after_a_rename(recording: Recording, pictures: Path, out: Path) -> None:
    """The worker stops itself when an output has its name, and nobody has heard of it; then all are killed.

    How far it is with the large image by then is a matter of luck, so that one gets no checkpoint yet.
    """
    recording.set_rules(Rule("rename", r"/out/a/.\.jpg$", after=1))
    arguments = ("run", pictures, "--out", out, *OPTIONS[:2], "--workers", 1)
    with Running(*arguments, env=recording.environment) as run:
        wait_for_stopped_worker(run)
        with recording.holding():
            run.kill()


def interrupt_in_the_middle_of_an_image(recording: Recording, path: Path) -> None:
    """The worker stops itself after the third checkpoint of the large image; then comes SIGTERM."""
    recording.set_rules(Rule("rename", rf"/{integrity.short_name('b/big.jpg')}\.tiles$", after=2))
    with Running("resume", path, *OPTIONS[2:-2], "--workers", 1, env=recording.environment) as run:
        interrupt(run, wait_for_stopped_worker(run))
        run.finish(expect=75)
    assert partial_tiles(path).keys() == {"b/big.jpg"}


def be_interrupted_with_a_worker_that_hears_nothing(recording: Recording, path: Path) -> None:
    """It stopped itself in the middle of the large image again; it is killed, and the supervisor saves its tiles."""
    before = partial_tiles(path)
    recording.set_rules(Rule("rename", rf"/{integrity.short_name('b/big.jpg')}\.tiles$", after=2))
    arguments = [sys.executable, "-c", RESUME_UNTIL_A_WORKER_STOPS, path]
    subprocess.run(arguments, env=recording.environment, timeout=DEADLINE, check=False)
    assert load_manifest(path).interruptions[-1].event_id == "2256A988"
    assert partial_tiles(path)["b/big.jpg"] > before["b/big.jpg"]


def partial_tiles(path: Path) -> dict[str, int]:
    return {image.output: image.tiles_done for image in load_manifest(path).images if image.state == "partial"}


def bytes_below(folder: Path) -> dict[str, bytes]:
    """Every file but the lock, which holds nothing that must last."""
    return {
        str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")
    }


@dataclass(frozen=True, eq=False)
class Cut:
    """A state of the disk after a power cut, what was going on, and what the user does then."""

    number: int
    operation: tuple
    command: str
    version: str
    tree: Tree
    settled: dict[str, bytes] | None = None  # what was there when the last run had ended, if none has begun since
    acknowledged: bool = False
    damaged: bool = False

    @property
    def group(self) -> tuple:
        """What kind of moment it is; the sample is taken from all kinds alike."""
        names = [Path(word) for word in self.operation if isinstance(word, str) and word.startswith("/")]
        kinds = (path.suffix if path.suffix != ".jpg" else ".jpg" for path in names[-1:])
        return self.command, self.version, self.operation[0], *kinds


def cuts(recorded: Recorded) -> Iterator[Cut]:
    """Every state in which the disk may be found after every operation; each but once."""
    disk, chance = Disk(str(recorded.out.parent)), random.Random(SEED)
    command, version, settled, damaged, acknowledged = "run", "first", None, False, False
    ended = iter(recorded.real)
    for number, record in enumerate(recorded.records):
        disk.apply(record)
        if record[0] in ("begins", "ended"):
            _, command, version = record
            settled = next(ended) if record[0] == "ended" else None
            acknowledged = False
        else:
            settled = None
        acknowledged |= record[0] == "acknowledged"
        damaged |= record[0] == "damage"
        seen = set()
        for state in disk.states(chance, ODD_STATES):
            key = frozenset((path, data and xxhash.xxh3_64_digest(data)) for path, data in state.items())
            if key not in seen:
                seen.add(key)
                yield Cut(number, record, command, version, state, settled, acknowledged, damaged)


# What changes a disk, whoever it is asked of. `replace` with one argument is a path's, with more a string's.
CHANGES = {"fsync", "fdatasync", "rename", "renames", "unlink", "rmdir", "mkdir", "makedirs", "removedirs", "truncate"}
CHANGES |= {"touch", "write_text", "write_bytes", "symlink", "symlink_to", "link", "hardlink_to", "rmtree", "move"}
CHANGES |= {"copy", "copy2", "copyfile", "copytree", "NamedTemporaryFile", "mkstemp", "mkdtemp", "posix_fallocate"}
WRITING = re.compile("[rb]*[wax+][wax+bt]*")
READING = re.compile(r"os\.O_RDONLY( \| os\.O_(NONBLOCK|CLOEXEC|DIRECTORY))*")
# The lock, which holds nothing that must last, is opened by way of guards; streams opens /dev/null.
PERMITTED = {("guards.py", "open"), ("streams.py", "open")}
# What a job has on this machine is worth nothing after a power cut: the next run removes it.
PERMITTED |= {("machine_folder.py", name) for name in ("mkdtemp", "open", "rmtree")}
PERMITTED |= {("lease.py", name) for name in ("open", "write_bytes")}
# A picture that the report decodes is in memory, or in a file that goes at once.
PERMITTED |= {("pictures.py", name) for name in ("fdopen", "NamedTemporaryFile")}


def test_no_other_module_changes_the_disk():
    """Else the record would not be complete."""
    package = Path(durable.__file__).parents[1]
    found = {
        (path.name, name)
        for path in package.rglob("*.py")
        if path.name != "durable.py"
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and (name := changing_call(call)) is not None
    }
    assert found == PERMITTED


def changing_call(call: ast.Call) -> str | None:
    """The name of a call that may change the disk, unless it is one of batchgray.storage.durable's."""
    function = call.func
    owner = ast.unparse(function.value) if isinstance(function, ast.Attribute) else ""
    name = getattr(function, "attr", None) or getattr(function, "id", "")
    if owner == "durable":
        return None
    if owner == "os" and name == "open":
        return None if READING.fullmatch(ast.unparse(call.args[1])) else name
    if name in ("open", "fdopen", "imopen"):
        words = [word.value for word in call.args if isinstance(word, ast.Constant) and isinstance(word.value, str)]
        words += [word.value.value for word in call.keywords if isinstance(word.value, ast.Constant)]
        return name if any(isinstance(word, str) and WRITING.fullmatch(word) for word in words) else None
    if name == "remove":
        return name if owner == "os" else None
    if name == "copy":
        return name if owner in ("", "shutil") else None
    if name == "replace":
        return name if owner == "os" or (len(call.args) == 1 and not call.keywords) else None
    return name if name in CHANGES else None


@pytest.mark.parametrize(
    "line",
    [
        "os.fsync(fd)",
        "os.replace(a, b)",
        "path.replace(other)",
        "path.open('wb')",
        "open(path, mode='a')",
        "os.open(path, os.O_RDWR | os.O_CREAT)",
        "path.write_bytes(data)",
        "shutil.rmtree(path)",
    ],
)
def test_a_module_that_changes_the_disk_would_be_found(line):
    assert changing_call(ast.parse(line).body[0].value) is not None


def test_the_record_tells_of_all_that_is_on_disk(recorded):
    """Else the states below would be none that a disk can be in."""
    disk, ended = Disk(str(recorded.out.parent)), iter(recorded.real)
    for record in recorded.records:
        disk.apply(record)
        if record[0] == "ended":
            state = disk.after_a_cut("new", "all", random.Random())
            assert {path: data for path, data in state.items() if data is not None} == next(ended)
    if durable._has_honest_syncfs(recorded.out.stat().st_dev):
        assert ("sync all",) in recorded.records, "no group of files came together"


def test_in_every_state_that_a_cut_may_leave(recorded, tmp_path):
    cut_points, states = set(), 0
    for cut in cuts(recorded):
        cut_points.add(cut.number)
        states += 1
        try:
            check_final_names(recorded, cut)
            found = check_manifest(recorded, cut, tmp_path)
            if cut.acknowledged:
                assert found.interruptions[-1].event_id == "2256A988"
            if cut.settled is not None:
                check_nothing_that_was_told_is_lost(recorded, cut, found, tmp_path)
        except (AssertionError, errors.BatchgrayError) as error:
            raise AssertionError(f"after operation {cut.number}, {cut.operation[:3]}: {error}") from error
    print(f"{len(cut_points)} cut points, {states} states")
    assert len(cut_points) > 200


def test_nobody_takes_our_files_for_theirs(recorded, tmp_path):
    """What stands under the name of an image that is not done is known to be ours, whatever its input is by now."""
    for cut in cuts(recorded):
        intended = set()
        for copy in copies_in_flight(cut, intents.SUFFIX, tmp_path):
            intended |= {(intent.output, intent.checksum) for intent in intents.read(durable.Folder.at(tmp_path), copy)}
        for image, data in not_done_but_there(recorded, cut, manifest_in(recorded, cut.tree, tmp_path)):
            checksum = integrity.checksum([data])
            ours = image.mend or checksum == image.checksum or (image.output, checksum) in intended
            assert ours, f"nothing says that {image.output} is ours, after operation {cut.number}, {cut.operation[:3]}"


def test_no_partial_jpeg_is_forgotten(recorded, tmp_path):
    """One that no sidecar claims would stay for ever."""
    for cut in cuts(recorded):
        copies = copies_in_flight(cut, ".tiles", tmp_path)
        headers = [sidecar.read_header(durable.Folder.at(tmp_path), copy) for copy in copies]
        claimed = {preview.name_of(header.output) for header in headers if header and header.owns_preview}
        there = {os.path.relpath(path, recorded.out) for path in cut.tree if ".partial." in path}
        assert there <= claimed, f"after operation {cut.number}, {cut.operation[:3]}"


def copies_in_flight(cut: Cut, suffix: str, scratch: Path) -> Iterator[str]:
    for path, data in cut.tree.items():
        if data is not None and path.endswith(suffix):
            (scratch / "copy").write_bytes(data)
            yield "copy"


def check_final_names(recorded: Recorded, cut: Cut) -> None:
    """What stands under a final name is whole."""
    for name in recorded.images:
        data = cut.tree.get(f"{recorded.out}/{name}")
        whole = [recorded.whole["first"].get(name), recorded.whole["second"].get(name)]
        if cut.damaged and name == "b/3.jpg":
            whole.append(recorded.damaged)
        assert data is None or data in whole, f"{name} is torn"


def check_manifest(recorded: Recorded, cut: Cut, scratch: Path) -> Manifest | None:
    """It can be read, and what it calls done is there. None where there is none yet."""
    found = manifest_in(recorded, cut.tree, scratch)
    if found is None:
        assert cut.command == "run", "the manifest is gone"
        return None
    for image in found.images:
        if image.state == "done":
            data = cut.tree.get(f"{recorded.out}/{image.output}")
            if cut.damaged and data == recorded.damaged and found.generation <= generation_before_mending(recorded):
                continue  # that is not what it was when it was done
            assert data is not None, f"{image.output} is done and gone"
            assert integrity.checksum([data]) == image.checksum, f"{image.output} is done and another"
    return found


def not_done_but_there(recorded: Recorded, cut: Cut, found: Manifest | None) -> list[tuple[Image, bytes]]:
    """The images that the manifest does not call done, and what stands under their output's name."""
    images = [image for image in (found.images if found else []) if image.state != "done"]
    there = [(image, cut.tree.get(f"{recorded.out}/{image.output}")) for image in images]
    return [(image, data) for image, data in there if data is not None]


def check_nothing_that_was_told_is_lost(recorded: Recorded, cut: Cut, found: Manifest, scratch: Path) -> None:
    """When a run has ended, all it left is durable: the manifest, the outputs, the begun image's tiles and picture."""
    told = manifest_in(recorded, cut.settled, scratch)
    assert found == told
    for path, data in cut.settled.items():
        assert cut.tree.get(path) == data, f"{path} was there when the run had ended"
    if told.state == "complete":
        more = {path for path, data in cut.tree.items() if data is not None} - set(cut.settled)
        assert more <= {str(files_of(recorded.out / "manifest.json").journal)}


def manifest_in(recorded: Recorded, state: Tree, scratch: Path) -> Manifest | None:
    path = scratch / "manifest.json"
    for there in (path, files_of(path).journal):
        data = state.get(f"{recorded.out}/{there.name}")
        there.unlink(missing_ok=True)
        if data is not None:
            there.write_bytes(data)
    return load_manifest(path) if path.exists() else None


@cache
def _generation(path: Path, records: int) -> int:
    return load_manifest(path).generation


def generation_before_mending(recorded: Recorded) -> int:
    """The manifest of the last run is two commits after that of the mending, the run's start and its end."""
    return _generation(recorded.out / "manifest.json", len(recorded.records)) - 3


def sample(found: list[Cut], size: str) -> list[Cut]:
    """A state of each kind of moment in turn, in an order by chance."""
    chance = random.Random(SEED)
    groups = defaultdict(list)
    for cut in found:
        groups[cut.group].append(cut)
    for group in groups.values():
        chance.shuffle(group)
    in_turn = [
        cut
        for row in zip_longest(*chance.sample(sorted(groups.values(), key=str_of_group), len(groups)))
        for cut in row
        if cut is not None
    ]
    return in_turn if size == "all" else in_turn[: int(size)]


def str_of_group(group: list[Cut]) -> str:
    return str(group[0].group)


def test_the_run_goes_on_to_the_same_tree(recorded, tmp_path):
    chosen = sample(list(cuts(recorded)), RESUMES)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda pair: go_on(recorded, pair[1], tmp_path / str(pair[0])), enumerate(chosen)))
    print(f"{len(chosen)} states gone on from")


def test_an_input_that_is_changed_before_the_run_goes_on_is_made_anew(recorded, tmp_path):
    """The output is there, and the manifest doesn't know it yet; its bytes are no longer what the input comes to."""
    (tmp_path / "scratch").mkdir()
    chosen = []
    for cut in cuts(recorded):
        if cut.version == "first":
            lagging = not_done_but_there(recorded, cut, manifest_in(recorded, cut.tree, tmp_path / "scratch"))
            # All of them would be another folder's images, and refused.
            chosen += [(cut, sorted(image.output for image, _ in lagging)[:2])] if lagging else []
    random.Random(SEED).shuffle(chosen)
    assert chosen
    for number, (cut, outputs) in enumerate(chosen if RESUMES == "all" else chosen[: max(2, int(RESUMES) // 10)]):
        out = put_on_disk(recorded, cut.tree, tmp_path / str(number))
        pictures = out.with_name("in")
        shutil.copytree(recorded.inputs["first"], pictures)
        for output in outputs:
            name = Path(output).with_suffix(".png")
            shutil.copy2(recorded.inputs["third"] / name, pictures / name)
        done = batchgray("resume", out / "manifest.json", "--input-root", pictures, *OPTIONS[2:], expect=None)
        changed = {name: data for name, data in recorded.whole["third"].items() if name in outputs}
        assert (done.returncode, done.stderr) == (0, ""), f"after operation {cut.number}, {cut.operation[:3]}"
        assert tree(out) == recorded.whole["first"] | changed
        assert leftovers(out) == []


def test_a_folder_that_another_worker_is_making_is_durable_before_what_is_in_it_is_done(tmp_path):
    """One worker has made the folder and not synced it; the other finds it there and puts its images in."""
    pictures, out = tmp_path / "in", tmp_path / "disk" / "out"
    for number in range(8):
        save_gradient(pictures / "a" / f"{number}.png", 90, 70, seed=number)
    out.parent.mkdir()
    others_wait = Rule("open", r"\.intents$", after=1, times=None, until=1)
    both_begin = Rule("decode", "^a/", until=2), Rule("decode", "^a/", times=0)
    recording = Recording(tmp_path / "record", others_wait, Rule("mkdir", "/out/a$"), *both_begin)
    with Running("run", pictures, "--out", out, "--workers", 2, env=recording.environment) as run:
        run.wait_for("done")
        wait_for_stopped_worker(run).resume()
        run.finish(expect=0)
    disk, chance, scratch = Disk(str(out.parent)), random.Random(SEED), tmp_path / "scratch"
    scratch.mkdir()
    whole = {"first": tree(out)}
    recorded = Recorded(pictures, out, {}, whole, b"")
    for number, record in enumerate(recording.records()):
        disk.apply(record)
        for state in disk.states(chance, ODD_STATES):
            found = manifest_in(recorded, state, scratch)
            for image in found.images if found else []:
                there = state.get(f"{out}/{image.output}") == whole["first"][image.output]
                assert there or image.state != "done", f"{image.output} is done and gone, after operation {number}"


def go_on(recorded: Recorded, cut: Cut, folder: Path) -> None:
    """As a user does: `resume`, or `run` again; after damage was seen, `verify --mend` first."""
    out = put_on_disk(recorded, cut.tree, folder)
    path = out / "manifest.json"
    try:
        if cut.command == "mend":
            batchgray("verify", "--mend", path, expect=None)
        if cut.command == "run again":
            done = batchgray("run", recorded.pictures, "--out", out, *OPTIONS)
        elif path.exists():
            done = batchgray("resume", path, "--input-root", recorded.inputs[cut.version], *OPTIONS[2:])
        else:
            done = batchgray("run", recorded.inputs[cut.version], "--out", out, *OPTIONS)
        assert done.stdout + done.stderr == ""
        assert tree(out) == recorded.whole[cut.version]
        assert leftovers(out) == []
        assert verify.verify(path).damaged == []
    except AssertionError as error:
        raise AssertionError(f"after operation {cut.number}, {cut.operation[:3]}, in {folder}: {error}") from error
    shutil.rmtree(folder)


def put_on_disk(recorded: Recorded, state: Tree, folder: Path) -> Path:
    for path, data in state.items():
        there = folder / Path(path).relative_to(recorded.out.parent)
        if data is None:
            there.mkdir(parents=True, exist_ok=True)
        else:
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_bytes(data)
    folder.mkdir(exist_ok=True)
    return folder / recorded.out.name
