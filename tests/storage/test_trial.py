"""What a run needs of a place is tried there: what is missing is told with a remedy, and nothing stays behind."""

import contextlib
import math
import os

import pytest
from stores import LocalS3, oss_options

from batchgray.storage import durable, retrying
from batchgray.storage.base import Busy, Put, Unreachable
from batchgray.storage.locking import CannotLock, FolderLock
from batchgray.storage.memory import MemoryPlace
from batchgray.storage.trial import try_folder, try_store
from batchgray.storage.urls import StoreOptions, open_url


def wrong(findings):
    return {finding.what: finding.detail for finding in findings if finding.verdict == "wrong"}


@pytest.fixture
def server(oss_local, monkeypatch):
    monkeypatch.setattr(retrying, "_FIRST_SECONDS", 0.001)
    with oss_local.LocalOSS() as server:
        server.create_bucket("photos")
        yield server


def tried(server, bucket="photos", **given):
    with contextlib.closing(open_url(f"oss://{bucket}/gray", oss_options(server, **given))) as place:
        return list(try_store(place))


def test_a_bucket_that_has_all_is_fine_and_left_as_it_was(server):
    findings = tried(server)
    assert {finding.verdict for finding in findings} == {"fine"}
    assert "round trip" in findings[-1].what
    assert server.objects("photos") == {}


@pytest.mark.parametrize("seed", range(5))
def test_lost_answers_are_no_fault(server, oss_local, seed):
    server.seed = seed
    server.faults.append(oss_local.Fault("*", "lose", times=math.inf, share=0.4))
    server.faults.append(oss_local.Fault("PutObject", "lose"))
    assert wrong(tried(server)) == {}
    assert server.objects("photos") == {}


@pytest.mark.parametrize("state", ["Enabled", "Suspended"])
def test_versioning_is_told(server, state):
    server.create_bucket("kept", state)
    found = wrong(tried(server, "kept"))
    assert state in found["versioning"]
    assert "conditional puts" in found  # OSS keeps no condition there


@pytest.mark.parametrize(
    ("action", "what"),
    [
        ("oss:ListObjects", "listing"),
        ("oss:PutObject", "conditional puts"),
        ("oss:GetObject", "reading"),
        ("oss:DeleteObject", "deleting"),
        ("oss:GetBucketVersioning", "versioning"),
    ],
)
def test_each_right_that_is_missing_is_named(server, action, what):
    server.denied = {action}
    findings = tried(server)
    assert f"{action} is denied" in wrong(findings)[what]
    assert all(finding.remedy for finding in findings if finding.verdict == "wrong")


def test_where_nothing_works_no_more_is_asked(server):
    findings = tried(server, "nowhere")
    assert list(wrong(findings)) == ["listing"]
    assert server.requests["PutObject"] == 0
    server.skew = 3600
    assert list(wrong(tried(server))) == ["clock of the store", "listing"]


def test_a_store_that_ignores_the_condition_is_unfit():
    class Forgetful(MemoryPlace):
        def put_absent(self, key, content):
            self.put(key, content)
            return Put.CREATED

    place = Forgetful()
    assert "ignores the condition" in wrong(try_store(place))["conditional puts"]
    assert list(place.list()) == []


@pytest.mark.parametrize("kind", [Busy, Unreachable])
def test_a_store_that_stops_answering_is_asked_no_more(kind):
    class Gone(MemoryPlace):
        def put_absent(self, key, content):
            raise kind(key, "gone")

    assert [finding.what for finding in try_store(Gone())][1:] == ["conditional puts"]


def test_a_bucket_on_s3_is_tried_alike(monkeypatch):
    with LocalS3() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        place = open_url(f"s3://{server.bucket()}/gray", StoreOptions())
        assert {finding.verdict for finding in try_store(place)} == {"fine"}
        assert list(place.list()) == []


# folders


def test_a_folder_that_has_all_is_fine_and_left_as_it_was(tmp_path):
    findings = list(try_folder(tmp_path))
    assert wrong(findings) == {}
    assert {"output folder", "free space", "writing", "renames", "locks"} == {finding.what for finding in findings}
    assert list(tmp_path.iterdir()) == []


def test_of_a_folder_that_is_not_there_yet_the_one_above_is_tried(tmp_path):
    findings = list(try_folder(tmp_path / "a" / "b"))
    assert str(tmp_path) in findings[0].detail
    assert wrong(findings) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_its_place_is_told(tmp_path):
    (tmp_path / "out").write_text("mine")
    assert "Not a directory" in wrong(try_folder(tmp_path / "out"))["output folder"]


def test_what_can_not_be_written_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    def refuse(folder, name, other, target):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(durable.Folder, "rename_new", refuse)
    assert "No space left" in wrong(try_folder(tmp_path))["writing"]
    assert list(tmp_path.iterdir()) == []


def test_renames_that_may_replace_are_noted(tmp_path, monkeypatch):
    monkeypatch.setattr(durable, "_renameat2", None)
    (found,) = [finding for finding in try_folder(tmp_path) if finding.what == "renames"]
    assert found.verdict == "note"
    assert list(tmp_path.iterdir()) == []


def test_locks_that_do_not_work_are_told(tmp_path, monkeypatch):
    def refuse(lock, *given):
        raise CannotLock("No locks available")

    monkeypatch.setattr(FolderLock, "acquire", refuse)
    assert wrong(try_folder(tmp_path)) == {"locks": "No locks available"}


def test_little_room_is_noted(tmp_path, monkeypatch):
    found = os.statvfs(tmp_path)
    little = os.statvfs_result((*found[:4], 1000, *found[5:]))
    monkeypatch.setattr(os, "fstatvfs", lambda fd: little)
    (space,) = [finding for finding in try_folder(tmp_path) if finding.what == "free space"]
    assert (space.verdict, bool(space.remedy)) == ("note", True)
