"""A listing held against earlier rounds: what a dictionary of all names would say, from two sorted streams."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgray.errors import Collisions, TakenNames
from batchgray.manifest import mending
from batchgray.manifest.job_head import JobHead
from batchgray.manifest.layers import Layers
from batchgray.manifest.mending import ToMend
from batchgray.manifest.results import Result, order_of, totals_of
from batchgray.options import PixelOptions
from batchgray.planning import ranges
from batchgray.planning.merging import Input
from batchgray.planning.shares import Planner
from batchgray.storage.memory import MemoryPlace

HEAD = JobHead(job="job", options=PixelOptions(), max_pixels=9, inputs=["in"], include=[], exclude=[])


def unwanted(key: str) -> str | None:
    return None if key.endswith((".jpg", ".png", ".tif")) else "other"


class Job:
    """A job of one input in memory, round after round; whatever is planned is done at once, or fails."""

    def __init__(self, share_images: int = 2) -> None:
        self.job, self.place, self.round = MemoryPlace(), MemoryPlace("in"), 0
        self.layers = Layers(self.job, HEAD.prefix, 3)
        self.pruned: list[str] = []
        self._share_images = share_images

    def put(self, *keys: str) -> None:
        for key in keys:
            self.place.put(key, key.encode())

    def plan(self, prune: bool = False, only_failed: bool = False) -> Planner:
        self.round += 1
        planner = Planner(
            self.job,
            f"job/{self.round}",
            [Input(self.place, "")],
            "jpeg",
            unwanted,
            self._share_images,
            self.layers,
            only_failed,
            list(mending.marked(self.job, HEAD)),
            self._prune if prune else lambda gone: False,
        )
        self.shares = list(planner.plan())
        return planner

    def run(self, failing: tuple[str, ...] = (), **given) -> dict[str, str]:
        """Returns what was converted: sources, with their outputs."""
        planner = self.plan(**given)
        images = [image for share in self.shares for image in share.images]
        results = [each for share in self.shares for each in share.noted]
        results += [self._result(image, image.source in failing) for image in images]
        end = planner.end()
        assert len(results) == end.images
        self.layers.write(self.round, end.images, sorted(results, key=order_of), end.all_kept)
        assert self.layers.totals() == totals_of(self.layers.read())
        return {image.source: image.output for image in images}

    def states(self) -> dict[str, str]:
        return {each.source: each.state for each in self.layers.read()}

    def _result(self, image, fails: bool) -> Result:
        made = {} if fails else {"checksum": f"a:{image.output}", "output_size": 5, "width": 2, "height": 3}
        return Result(
            input=0,
            source=image.source,
            output=image.output,
            state="failed" if fails else "done",
            size=image.size,
            mtime_ns=image.mtime_ns,
            etag=image.etag,
            error="broken" if fails else None,
            **made,
        )

    def _prune(self, gone: Result) -> bool:
        self.pruned.append(gone.output)
        return True


@pytest.fixture
def job():
    return Job()


def test_what_is_done_and_as_it_was_costs_nothing(job):
    job.put("a.jpg", "b.png", "c/d.tif")
    assert job.run() == {"a.jpg": "a.jpg", "b.png": "b.jpg", "c/d.tif": "c/d.jpg"}
    job.put("bb.jpg")
    assert job.run() == {"bb.jpg": "bb.jpg"}
    assert job.run() == {}
    assert job.shares == []
    assert job.states() == dict.fromkeys(["a.jpg", "b.png", "bb.jpg", "c/d.tif"], "done")


def test_what_changed_is_made_anew_and_may_replace_what_was_made_of_it(job):
    job.put("a.jpg", "b.jpg")
    job.run()
    job.put("b.jpg")
    assert job.run() == {"b.jpg": "b.jpg"}
    (share,) = job.shares
    assert (share.changed, share.images[0].replaces) == (1, "a:b.jpg")


def test_what_failed_is_tried_again(job):
    job.put("a.jpg", "b.jpg")
    job.run(failing=("b.jpg",))
    assert job.run() == {"b.jpg": "b.jpg"}
    (share,) = job.shares
    assert (share.changed, share.retried, share.images[0].replaces) == (0, 1, "")


def test_a_round_of_what_failed_lists_nothing(job):
    job.put("a.jpg", "b.jpg", "c.jpg", "d.jpg")
    job.run(failing=("b.jpg", "c.jpg", "d.jpg"))
    job.put("d.jpg", "new.jpg")
    job.place.delete("c.jpg")
    job.place.list = None
    assert job.run(only_failed=True) == {"b.jpg": "b.jpg", "d.jpg": "d.jpg"}
    assert job.states() == {"a.jpg": "done", "b.jpg": "done", "c.jpg": "gone", "d.jpg": "done"}
    assert job.run(only_failed=True) == {}


def test_what_is_gone_is_told_once_and_done_again_without_work_when_it_comes_back(job):
    job.put("a.jpg", "b.jpg", "c.jpg")
    job.run(failing=("c.jpg",))
    away = job.place._objects.pop("b.jpg"), job.place._objects.pop("c.jpg")
    assert job.run() == {}
    assert [each.source for share in job.shares for each in share.noted] == ["b.jpg", "c.jpg"]
    assert job.run() == {}
    assert job.shares == []
    assert job.layers.totals().gone == 2
    job.place._objects["b.jpg"], job.place._objects["c.jpg"] = away
    assert job.run() == {"c.jpg": "c.jpg"}
    assert job.states() == dict.fromkeys(["a.jpg", "b.jpg", "c.jpg"], "done")


def test_an_output_keeps_its_name_when_another_comes_that_would_have_shared_it(job):
    job.put("a.png")
    assert job.run() == {"a.png": "a.jpg"}
    job.put("a.tif")
    assert job.run() == {"a.tif": "a.tif.jpg"}
    assert job.states() == {"a.png": "done", "a.tif": "done"}


@pytest.mark.parametrize("share_images", [1, 2, 9])
def test_names_that_could_come_out_as_one_are_told_apart_across_a_folder_between_them(share_images):
    """`a.raw/` stands between `a.jpg` and `a.tif` in the order of names."""
    job = Job(share_images)
    job.put("a.bmp.png", "a.jpg", "a.raw/1.jpg", "a.raw/2.jpg", "a.s/1.jpg", "a.tif", "a/x.jpg", "b.jpg")
    expected = {"a.bmp.png": "a.bmp.jpg", "a.jpg": "a.jpg", "a.tif": "a.tif.jpg", "a/x.jpg": "a/x.jpg"}
    assert {key: output for key, output in job.run().items() if "/" not in key or "x" in key} == {
        **expected,
        "b.jpg": "b.jpg",
    }
    assert job.run() == {}
    job.place.delete("a.jpg")
    job.put("a.png")
    assert job.run() == {"a.png": "a.png.jpg"}
    job.place.delete("a.raw/1.jpg")
    assert job.run() == {}
    assert job.states()["a.jpg"] == job.states()["a.raw/1.jpg"] == "gone"


def test_what_was_made_of_what_is_gone_is_never_replaced(job):
    job.put("a.jpg")
    job.run()
    job.place.delete("a.jpg")
    job.put("a.png")
    assert job.run() == {"a.png": "a.png.jpg"}
    job.place.delete("a.png")
    job.put("a.png.jpg")
    with pytest.raises(TakenNames, match=r"a\.png"):
        job.run()


def test_what_is_pruned_is_forgotten(job):
    job.put("a.jpg", "b.jpg")
    job.run()
    job.place.delete("a.jpg")
    assert job.run(prune=True) == {}
    assert job.pruned == ["a.jpg"]
    assert job.states() == {"b.jpg": "done"}
    assert job.layers.totals().images == 1
    job.put("a.jpg")
    assert job.run() == {"a.jpg": "a.jpg"}


@pytest.mark.parametrize("only_failed", [False, True])
def test_what_is_marked_is_made_anew_whatever_is_there_and_the_mark_is_removed(job, only_failed):
    job.put("a.jpg", "b.jpg", "b.jpg.jpg", "c.jpg", "d.jpg")
    job.run(failing=("a.jpg",))
    marked = [ToMend(input=0, source=name, output=name) for name in ("d.jpg", "b.jpg", "a.jpg", "never.jpg")]
    mending.mark(job.job, HEAD, marked)
    assert job.run(only_failed=only_failed) == {name: name for name in ("a.jpg", "b.jpg", "d.jpg")}
    assert [image.replaces for share in job.shares for image in share.images] == ["*", "*", "*"]
    assert job.states() == dict.fromkeys(["a.jpg", "b.jpg", "b.jpg.jpg", "c.jpg", "d.jpg"], "done")
    assert job.run() == {}


def test_what_is_not_read_any_more_is_no_less_done(job, monkeypatch):
    job.put("a.jpg", "b.png")
    job.run()
    monkeypatch.setattr(__name__ + ".unwanted", lambda key: None if key.endswith(".jpg") else "other")
    assert job.run() == {}
    assert job.shares == []
    assert job.states() == {"a.jpg": "done", "b.png": "done"}


NAMES = st.tuples(
    st.sampled_from(["a", "b", "a/c", "ä", "a.q/c"]), st.sampled_from([".jpg", ".png", ".tif", ".x.png", ".txt"])
).map("".join)
CHANGES = st.dictionaries(NAMES, st.sampled_from(["put", "delete"]), max_size=8)


@given(st.lists(st.tuples(CHANGES, st.sets(NAMES)), max_size=5), st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_round_after_round_it_is_what_a_dictionary_would_say(rounds, share_images):
    job, known = Job(share_images), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "MANY_NAMES", 2)
        for changes, failing in rounds:
            for key, change in changes.items():
                job.put(key) if change == "put" else job.place.delete(key)
            now = {entry.key: entry.version for entry in job.place.list() if unwanted(entry.key) is None}
            try:
                converted = job.run(failing=tuple(failing))
            except Collisions:
                return
            wanted = {
                key
                for key, version in now.items()
                if key not in known or known[key] == "failed" or known[key] != ("done", version)
            }
            assert set(converted) - {key for key in now if key in known} == wanted - set(known)
            assert wanted <= set(converted)
            for key in wanted | set(converted):
                known[key] = "failed" if key in failing else ("done", now[key])
            expected = {
                key: ("gone" if key not in now else "failed" if state == "failed" else "done")
                for key, state in known.items()
            }
            assert job.states() == expected
            outputs = [each.output for each in job.layers.read() if each.state != "gone"]
            assert len(set(outputs)) == len(outputs)
