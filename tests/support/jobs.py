"""Jobs between places of several kinds, and what they leave there."""

import contextlib
import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import oss_local
import pytest
from harness import tree
from stores import oss_options

from batchgray.manifest import job_head, tally
from batchgray.manifest.job_round import Round
from batchgray.manifest.share_log import LogEntry, ShareLog
from batchgray.storage.base import Place
from batchgray.storage.folder import FolderPlace
from batchgray.storage.urls import open_place

FINISHED = {"results", "1/finished"}  # what stays of a job's first round
LEASE = 3.0  # seconds after which a share's owner is taken for dead; a test whose owner dies waits for it once


class Stage:
    """An INPUT and an output place. `environment` is what a run needs to reach them, on top of its own."""

    def __init__(self, images: Path, out: str, place: Place, environment: dict[str, str], input: str) -> None:
        self.images, self.out, self.place, self.input = images, out, place, input
        self.environment = {**environment, "SHARE_LEASE": str(LEASE)}

    def run(self, *options: object) -> list[object]:
        """The command's arguments."""
        return ["run", self.input, "--out", self.out, "--job", "--tile-rows", 8, "--workers", 1, *options]

    def env(self, recording=None) -> dict[str, str]:
        return {**(recording.environment if recording else {**os.environ, **LEASE_ALONE}), **self.environment}

    def outputs(self) -> dict[str, bytes]:
        """All but what is the job's own."""
        keys = [entry.key for entry in self.place.list()]
        return {key: self.place.get(key) for key in keys if key != "manifest.json" and not key.startswith(".batchgray")}

    def kept(self) -> list[str]:
        """What is the job's own, by what it is: `begun`, `results`, and of a round `1/plan`, `1/log`, `1/finished`."""
        parts = [entry.key.split("/")[2:] for entry in self.place.list(".batchgray/")]
        return ["/".join(each[:2]) if each[0].isdecimal() else each[0] for each in parts]

    def taken(self, round: int = 1) -> list[str]:
        """The shares of which a tally says that they were taken."""
        of = Round(job_head.read(self.place).prefix, round)
        return [each.share for each in tally.taken(self.place, of)]

    def log(self, share: str = "00000001", round: int = 1) -> list[LogEntry]:
        of = Round(job_head.read(self.place).prefix, round)
        return ShareLog(self.place, of.log(share), "a test", of.finished).catch_up()


def first_round(stage: Stage) -> Round:
    """What the keys of the job's first round are."""
    return Round(job_head.read(stage.place).prefix, 1)


INTERCEPT = Path(__file__).parent / "intercept"
LEASE_ALONE = {"PYTHONPATH": os.pathsep.join([str(INTERCEPT), os.environ.get("PYTHONPATH", "")])}


@contextlib.contextmanager
def folders(images: Path, path: Path) -> Iterator[Stage]:
    out = path / "out"
    out.mkdir()
    with contextlib.closing(FolderPlace(out)) as place:
        yield Stage(images, str(out), place, {}, str(images))
        assert not list(out.glob(".batchgray-put-*"))


@contextlib.contextmanager
def oss(images: Path, path: Path) -> Iterator[Stage]:
    if importlib.util.find_spec("alibabacloud_oss_v2") is None:
        pytest.skip("batchgray[oss] is not installed")
    with oss_local.LocalOSS() as server:
        server.create_bucket("photos")
        server.create_bucket("gray")
        for name, data in tree(images).items():
            server.put("photos", f"2026/{name}", data)
        environment = server.environment
        with contextlib.closing(open_place("oss://gray/2026", oss_options(server))) as place:
            stage = Stage(images, "oss://gray/2026", place, environment, "oss://photos/2026")
            stage.server = server
            yield stage


STAGES = {"folders": folders, "oss": oss}


def copied(source: Path, target: Path) -> Path:
    """Some pictures of a test's own."""
    shutil.copytree(source, target)
    return target
