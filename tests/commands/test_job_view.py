"""A job is told of by names: plan and logs are read only of what is not done, and no two clocks are compared."""

import pytest
from made_jobs import SIDE, MadeJob, name

from batchgray.commands import job_status
from batchgray.commands.job_figures import totals
from batchgray.commands.job_view import JobView, steadily
from batchgray.commands.status import status_lines
from batchgray.manifest import share_log, tally
from batchgray.manifest.mending import ToMend
from batchgray.manifest.tally import DoneTally, PlannedTally
from batchgray.storage.base import Missing


@pytest.fixture
def job():
    """Twelve images in six shares: two done, one of them with a failure; one open, one given back, two not begun."""
    made = MadeJob(12)
    made.tell_planned()
    made.finish(1)
    made.finish(2, failed=[1])
    made.take(3, done=[0])
    made.give_back(made.take(4, "machine 2", done=[1]))
    return made


def figures(view):
    found = totals(view.shares())
    return dict(found.counts), dict(found.shares), found.pixels // SIDE**2, found.source_bytes, found.output_bytes


EXPECTED = (
    {"done": 5, "failed": 1, "pending": 6},
    {"done": 2, "open": 1, "free": 1, "waiting": 2},
    5,
    50,
    25,
)


def test_tallies_and_what_is_not_done_add_up(job):
    assert figures(JobView(job.place)) == EXPECTED


@pytest.mark.parametrize("lost", ["planned", "done"])
def test_a_tally_that_is_missing_is_made_up_for(job, lost):
    for entry in list(job.place.list(f"{job.round.tally}/{lost}/")):
        job.place.delete(entry.key)
    assert figures(JobView(job.place)) == EXPECTED


def test_no_plan_and_no_log_of_a_share_that_is_done_is_read(job):
    view = JobView(job.place)
    job.place.got.clear()
    job.place.listed.clear()
    figures(view)
    read = {key.removeprefix(f"{job.round.prefix}/").partition("/")[2][:8] for key in job.place.got}
    assert read == {name(3), name(4)}
    logs = [after for prefix, after in job.place.listed if prefix == f"{job.round.logs}/0"]
    assert len(logs) == 2, "the logs of shares 1 and 2 are leapt over at once"
    assert logs[1].startswith(job.round.log(name(2)))


def test_what_was_split_off_a_done_share_is_not_leapt_over():
    made = MadeJob(6)
    made.tell_planned()
    for share in (1, 2, 3):
        made.finish(share, tallied=False)
    made.tell_done(DoneTally(name(1), 2, 0, 0, 0, 0, 0))
    made.tell_done(DoneTally(name(2), 1, 0, 0, 0, 0, 1))
    made.tell_done(DoneTally(name(3), 2, 0, 0, 0, 0, 0))
    tally.put_planned(made.place, made.round, PlannedTally(f"{name(2)}-1", 1, 10))
    found = totals(JobView(made.place).shares())
    assert dict(found.counts) == {"done": 5, "failed": 0, "pending": 1}
    assert dict(found.shares) == {"done": 3, "waiting": 1}


def test_a_sign_of_life_is_one_that_comes_while_status_looks(job):
    view = JobView(job.place)
    log = job.take(5, "machine 3")
    holders = totals(view.shares()).holders
    assert [holder.owner for holder in holders] == ["machine 1", "machine 3"]
    view.look_for_life(holders, sleep=lambda _: log.sync())
    assert [holder.alive for holder in holders] == [None, True]


def test_machines_that_give_no_sign_of_life_have_died(job, monkeypatch):
    monkeypatch.setattr(share_log, "RENEW_SECONDS", 0.0)
    found = job_status.first_status(JobView(job.place))
    assert (found.state, found.last_run) == ("interrupted", "died")
    assert [machine.alive for machine in found.job.machines] == [False]
    assert found.job.images_per_second is None
    lines = status_lines(found)
    assert lines[0] == "died: 5 of 12 images done, 0 partial, 6 pending, 1 failed"
    assert "shares: 2 done, 1 taken, 1 given back, 2 not begun" in lines
    assert any("machine 1, share 3: died after" in line for line in lines)
    assert "interrupted 2026-11-26T20:00:00Z by smq e1" in lines
    assert lines[-1].startswith("To go on: ")


def test_what_is_marked_to_be_made_anew_is_pending_and_not_done():
    made = MadeJob(2)
    made.finish(1)
    view = JobView(made.place)
    assert job_status.first_status(view).state == "complete"
    marked = ToMend(input=0, source="0000.png", output="0000.jpg")
    view.mark([marked])
    view.mark([marked])
    found = job_status.first_status(view)
    assert (found.state, found.counts.done, found.counts.pending) == ("interrupted", 1, 1)
    assert found.resume is not None


def test_of_many_failures_a_person_is_told_the_first_and_a_program_all(monkeypatch):
    monkeypatch.setattr(job_status, "_SHARES_READ", 2)
    made = MadeJob(60, share_images=20)
    for share in (1, 2, 3):
        made.finish(share, failed=range(20))
    view = JobView(made.place)
    lines = status_lines(job_status.first_status(view))
    assert "Failed: 60 images" in lines
    assert sum("memory://photos/" in line for line in lines) == 20
    assert any("and 40 more: " in line and "status --json memory://gray/manifest.json" in line for line in lines)
    whole = job_status.WholeStatus(view)
    assert whole.status().failures == []
    assert len(list(whole.failures())) == 60
    assert [(reason.error, reason.count) for reason in whole.status().reasons] == [("bad", 60)]


def test_a_round_that_ends_while_it_is_read_is_read_anew():
    made = MadeJob(4)
    made.tell_planned()
    made.finish(1)
    read = []

    def ending(view):
        read.append(view.round.number)
        if len(read) == 1:
            made.place.put(made.round.finished, b"")
            made.place.delete(f"{made.round.plan}/{name(1)}")
            view.images_of(name(1))
        return dict(totals(view.shares()).counts)

    assert steadily(JobView(made.place), ending) == {"done": 0, "failed": 0, "gone": 0}
    assert read == [1, 2]
    with pytest.raises(Missing):
        steadily(JobView(MadeJob(2).place), lambda view: view.images_of(name(9)))
