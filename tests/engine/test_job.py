"""A job of several shares, in this process: totals over all of them, interruptions between and within, refusals."""

import contextlib
import functools
import os

import pytest
from harness import batchgray, save_gradient, tree

from batchgray import errors
from batchgray.engine import job
from batchgray.manifest import job_head, job_round
from batchgray.manifest.share_log import ShareLog
from batchgray.notices.inbox import InterruptionNotice
from batchgray.options import EngineOptions, JobOptions, PixelOptions
from batchgray.planning.shares import Planner
from batchgray.storage.folder import FolderPlace
from batchgray.storage.urls import StoreOptions
from batchgray.workers.forkserver import forking

NAMES = ("a.png", "b.jpg", "c.png", "d.jpg", "sub/e.png")


class Notices:
    """A source that gives notice when it is told to, and looks into the log when it is thanked."""

    name = "rehearsal"

    def __init__(self, out):
        self.out, self.acknowledged = out, []

    def start(self, inbox):
        self.inbox = inbox

    def give(self):
        self.inbox.put(InterruptionNotice(source="smq", event_id="2256A988"))

    def acknowledge(self, notice):
        self.acknowledged.append([entries[-1].kind for entries in logs(self.out) if entries])

    def stop(self):
        pass


def logs(out):
    """The entries of the log of each share of the round that is not finished."""
    with contextlib.closing(FolderPlace(out)) as place:
        round = job_round.current(place, job_head.read(place).prefix)
        shares = Planner(place, round.prefix, (), "jpeg", str).written()
        names = [job_round.name_of(share.number) for share in shares]
        return [ShareLog(place, round.log(name), "a test", round.finished).catch_up() for name in names]


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Five images in three shares."""
    monkeypatch.setattr(job, "Planner", functools.partial(Planner, share_images=2))
    for number, name in enumerate(NAMES):
        save_gradient(tmp_path / "in" / name, 64, 48, seed=number)
    return tmp_path / "in"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@contextlib.contextmanager
def means(events, sources=(), emit=lambda event: None):
    with forking() as server:

        def tell(event):
            events.append(event)
            emit(event)

        yield job.Means(stores=StoreOptions(), emit=tell, sources=sources, server=server, ready=lambda: True)


def run(images, out, sources=(), emit=lambda event: None, **settings):
    """The exit code, and all events."""
    events = []
    options = JobOptions(inputs=(str(images),), out=str(out), engine=EngineOptions(workers=1), **settings)
    with means(events, sources, emit) as given:
        return job.run_job(options, given), events


def resume(out, **settings):
    """The exit code, and all events."""
    events = []
    with means(events) as given:
        return job.resume_job(str(out), EngineOptions(workers=1), given), events


def outputs(out):
    return {name: data for name, data in tree(out).items() if not name.startswith(".batchgray")}


def test_totals_are_of_all_shares(images, out, tmp_path):
    (images / "d.jpg").write_bytes(b"none")
    exit_code, events = run(images, out)
    planned, summary = events[0], events[-1]
    assert (exit_code, planned.total, planned.todo, planned.new) == (3, 5, 5, 5)
    assert (summary.state, summary.total, summary.done, summary.converted) == ("complete_with_failures", 5, 4, 4)
    assert list(summary.failures) == ["d.jpg"]
    assert summary.reasons[0].sources == ["d.jpg"]
    assert logs(out) == []
    batchgray("run", images, "--out", tmp_path / "plain", "-q", expect=3)
    assert outputs(out) == tree(tmp_path / "plain")


def test_what_failed_is_tried_again_and_nothing_else(images, out):
    (images / "d.jpg").write_bytes(b"none")
    run(images, out)
    exit_code, events = run(images, out)
    names = [type(event).__name__ for event in events]
    assert (exit_code, names.count("Started"), names.count("Failed")) == (3, 1, 1)
    planned = next(event for event in events if type(event).__name__ == "Planned")
    assert (planned.done, planned.todo, planned.resumed) == (4, 1, True)


def test_a_notice_is_acknowledged_when_the_log_says_free_and_no_further_share_is_taken(images, out):
    source = Notices(out)

    def after_the_third(event):
        if type(event).__name__ == "Started" and event.source == "c.png":
            source.give()

    exit_code, events = run(images, out, [source], after_the_third)
    assert exit_code == 75
    assert source.acknowledged == [["done", "free"]]
    assert events[-1].resume is not None
    assert events[-1].done + events[-1].pending == 5
    assert logs(out)[1][-1].interruption.event_id == "2256A988"
    assert run(images, out)[0] == 0
    assert len(outputs(out)) == 5


def test_an_input_that_went_since_it_was_listed_costs_one_image(images, out):
    def remove(event):
        if type(event).__name__ == "Planned":
            (images / "a.png").unlink(missing_ok=True)

    exit_code, events = run(images, out, emit=remove)
    assert (exit_code, list(events[-1].failures)) == (3, ["a.png"])
    assert "not there any more" in events[-1].failures["a.png"]


def test_an_input_that_changed_since_it_was_listed_is_made_anew_by_the_same_run(images, out, tmp_path):
    changed = []

    def change(event):
        if type(event).__name__ == "Planned" and not changed:
            changed.append(save_gradient(images / "c.png", 80, 80))

    exit_code, events = run(images, out, emit=change)
    assert (exit_code, events[-1].done, events[-1].failures) == (0, 5, {})
    batchgray("run", images, "--out", tmp_path / "plain", "-q")
    assert outputs(out) == tree(tmp_path / "plain")


def test_a_later_run_takes_what_is_new_or_changed_and_nothing_else(images, out, tmp_path):
    run(images, out)
    save_gradient(images / "c.png", 80, 80, seed=9)
    save_gradient(images / "f.png", 64, 48, seed=8)
    (images / "d.jpg").unlink()
    exit_code, events = run(images, out)
    started = [event.source for event in events if type(event).__name__ == "Started"]
    planned = next(event for event in events if type(event).__name__ == "Planned")
    assert (exit_code, sorted(started)) == (0, ["c.png", "f.png"])
    assert (planned.total, planned.todo, planned.done, planned.new, planned.changed) == (6, 2, 3, 1, 1)
    assert (events[-1].done, events[-1].gone, events[-1].newly_gone) == (5, 1, ["d.jpg"])
    batchgray("run", images, "--out", tmp_path / "plain", "-q")
    assert outputs(out).items() >= tree(tmp_path / "plain").items()


def test_an_output_of_an_older_version_is_replaced_only_where_it_is_as_it_was_made(images, out):
    run(images, out)
    for name in ("a.png", "c.png"):
        save_gradient(images / name, 80, 80, seed=9)
    (out / "a.jpg").write_bytes(b"mine")
    exit_code, events = run(images, out)
    assert (exit_code, list(events[-1].failures)) == (3, ["a.png"])
    assert (out / "a.jpg").read_bytes() == b"mine"
    assert events[-1].converted == 1


def test_where_nothing_is_new_nothing_is_left_of_the_question(images, out):
    run(images, out)
    before = tree(out)
    exit_code, events = run(images, out)
    assert (exit_code, events[-1].already_done, events[-1].converted) == (0, 5, 0)
    assert tree(out) == before


def test_of_a_job_that_is_over_no_empty_folder_is_left(images, out):
    run(images, out)
    name = job_head.read(FolderPlace(out)).prefix
    assert sorted(path.name for path in (out / name / "1").iterdir()) == ["finished"]


def test_resume_tries_again_what_failed_and_looks_for_nothing_new(images, out):
    (images / "d.jpg").write_bytes(b"none")
    run(images, out)
    save_gradient(images / "d.jpg", 64, 48)
    save_gradient(images / "new.png", 64, 48)
    exit_code, events = resume(out)
    started = [event.source for event in events if type(event).__name__ == "Started"]
    assert (exit_code, started) == (0, ["d.jpg"])
    assert (events[-1].total, events[-1].done) == (5, 5)


def test_what_batchgray_did_not_make_stays(images, out):
    out.mkdir()
    (out / "b.jpg").write_bytes(b"mine")
    exit_code, events = run(images, out)
    assert (exit_code, list(events[-1].failures)) == (3, ["b.jpg"])
    assert (out / "b.jpg").read_bytes() == b"mine"


def test_a_job_with_other_options_is_refused(images, out):
    run(images, out)
    with pytest.raises(errors.JobDiffers, match="--quality 75"):
        run(images, out, pixels=PixelOptions(quality=5))
    with pytest.raises(errors.JobDiffers, match="exclude"):
        run(images, out, exclude=("*.png",))


def test_a_manifest_without_a_job_is_refused(images, out):
    batchgray("run", images, "--out", out, "-q")
    before = tree(out)
    with pytest.raises(errors.IsNoJob):
        run(images, out)
    assert tree(out) == before


def test_a_run_that_finds_nothing_leaves_nothing(images, out):
    with pytest.raises(errors.NothingFound):
        run(images, out, include=("*.gif",))
    assert not out.exists()


def test_what_a_kill_left_on_its_way_is_swept_up(images, out):
    out.mkdir()
    left = out / f".batchgray-put-{12 * '0'}-1-1-{16 * '0'}"
    left.write_bytes(b"half of an output")
    os.utime(left, (1, 1))
    run(images, out)
    assert not list(out.glob(".batchgray-put-*"))


def test_checkpoints_that_nobody_goes_on_from_are_removed(images, out):
    run(images, out)
    with contextlib.closing(FolderPlace(out)) as place:
        begun = job_head.read(place).begun
        place.put(f"{begun}/{'0' * 40}.tiles", b"no sidecar")
        run(images, out)
        assert not list(place.list(begun))


def test_names_that_are_not_utf_8(images, out, tmp_path):
    (images / "b.jpg").rename(images / "b\udcff.jpg")
    save_gradient(images / "sub\udcfe" / "f.png", 32, 32)
    assert run(images, out)[0] == 0
    assert run(images, out)[0] == 0
    batchgray("run", images, "--out", tmp_path / "plain", "-q")
    assert outputs(out) == tree(tmp_path / "plain")
