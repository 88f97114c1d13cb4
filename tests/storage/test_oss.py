"""OSS on a bad day: what fails for a time is tried again, what is refused is told in words, no lost answer lies."""

import base64
import contextlib
import hashlib
import math
import threading
import time

import oss_local_service
import pytest
from harness import DEADLINE
from stores import oss_options

from batchgray.cloud import instance
from batchgray.cloud.instance import Credentials
from batchgray.storage import oss, oss_http, retrying
from batchgray.storage.base import (
    BadKey,
    Busy,
    Changed,
    Denied,
    Full,
    LockedOut,
    Missing,
    NoPlace,
    Put,
    Unfit,
    Unreachable,
)
from batchgray.storage.urls import open_url

OPERATIONS = {
    "PutObject": lambda place: place.put("a", b"mine"),
    "GetObject": lambda place: place.get("a"),
    "HeadObject": lambda place: place.stat("a"),
    "DeleteObject": lambda place: place.delete("a"),
    "ListObjectsV2": lambda place: list(place.list()),
}


@pytest.fixture
def server(oss_local):
    with oss_local.LocalOSS() as server:
        server.create_bucket("photos")
        yield server


@pytest.fixture
def opened(server):
    """Opens a place of the server."""
    with contextlib.ExitStack() as stack:

        def open_place(bucket="photos", **given):
            return stack.enter_context(contextlib.closing(open_url(f"oss://{bucket}/in", oss_options(server, **given))))

        yield open_place


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(retrying, "_FIRST_SECONDS", 0.001)


def failing(oss_local, *given, **named):
    return oss_local.Fault(*given, **{"times": math.inf, **named})


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("kind", ["drop", "lose", "error"])
def test_what_fails_for_a_time_works_in_the_end(server, opened, oss_local, operation, kind):
    server.put("photos", "in/a", b"mine")
    server.faults.append(oss_local.Fault(operation, kind, times=4))
    OPERATIONS[operation](opened())
    assert server.requests[operation] == 5


@pytest.mark.parametrize("operation", ["GetObject", "ListObjectsV2"])
def test_half_an_answer_is_asked_for_again(server, opened, oss_local, operation):
    server.put("photos", "in/a", b"mine")
    server.faults.append(oss_local.Fault(operation, "cut", times=3))
    OPERATIONS[operation](opened())
    assert server.requests[operation] == 4
    assert opened().get("a") == b"mine"


@pytest.mark.parametrize(("kind", "words"), [("flip", "other bytes"), ("cut", "ends before")])
def test_an_object_that_always_comes_torn_is_a_fault_of_its_own(server, opened, oss_local, kind, words):
    server.put("photos", "in/torn", b"mine")
    server.put("photos", "in/a", b"mine")
    server.faults.append(failing(oss_local, "GetObject", kind, key="*/torn"))
    place = opened(patience=0.1)
    with pytest.raises(BadKey, match=words):
        place.get("torn")
    assert place.get("a") == b"mine"


@pytest.mark.parametrize("has_crc64", [True, False])
def test_bytes_that_turned_on_their_way_are_asked_for_again(server, opened, oss_local, monkeypatch, has_crc64):
    if not has_crc64:
        monkeypatch.setattr(oss, "crc64", None)  # as where there is no liblzma
    server.put("photos", "in/a", b"mine")
    for ask in (lambda place: place.get("a"), lambda place: place.get("a", start=0, end=4)):
        server.faults.append(oss_local.Fault("GetObject", "flip", times=2))
        server.clear_log()
        assert ask(opened()) == b"mine"
        assert server.requests["GetObject"] == 3
    assert opened().get("a", start=1, end=3) == b"in"  # a part has no digest


def test_who_is_told_to_slow_down_does(server, opened, oss_local, monkeypatch):
    slept = []
    monkeypatch.setattr(retrying.time, "sleep", slept.append)
    server.faults.append(oss_local.Fault("PutObject", "error", code="SlowDown", seconds=3, times=2))
    opened().put("a", b"mine")
    assert slept == pytest.approx([3, 3], abs=0.01)


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("SlowDown", Busy, "503 SlowDown"),
        ("TotalQpsLimitExceeded", Busy, "fewer requests"),
        ("InternalError", Unreachable, "500 InternalError"),
        ("QuotaExceeded", Full, "quota"),
        ("UserDisable", LockedOut, "bills"),
        ("InDebt", LockedOut, "bills"),
    ],
)
def test_what_does_not_pass_is_told_after_a_bounded_time(server, opened, oss_local, code, kind, words):
    server.faults.append(failing(oss_local, "*", "error", code=code, seconds=0))
    with pytest.raises(kind, match=words):
        opened(patience=0.1).put("a", b"mine")


def test_a_store_that_is_gone_is_unreachable(server, opened, oss_local):
    server.faults.append(failing(oss_local, "*", "drop"))
    with pytest.raises(Unreachable, match="can't be reached"):
        opened(patience=0.1).get("a")


@pytest.mark.parametrize("kind", ["hang", "drip"])
def test_a_whole_request_is_bounded(server, opened, oss_local, monkeypatch, kind):
    monkeypatch.setattr(oss_http, "REQUEST_SECONDS", 0.2)
    server.put("photos", "in/a", b"x" * 1000)
    seconds = 10 * DEADLINE if kind == "hang" else 0.05
    server.faults.append(failing(oss_local, "GetObject", kind, seconds=seconds))
    place, began = opened(patience=0.1), time.monotonic()
    with pytest.raises(Unreachable, match="no answer within"):
        place.get("a")
    assert time.monotonic() - began < DEADLINE


def test_a_larger_request_has_more_time(server, opened, oss_local, monkeypatch):
    monkeypatch.setattr(oss_http, "REQUEST_SECONDS", 0.01)
    monkeypatch.setattr(oss_http, "_SLOWEST", 1)
    server.put("photos", "in/a", b"x" * 100)
    server.faults.append(oss_local.Fault("PutObject", "hang", seconds=0.5))
    opened(patience=0.0).put("a", b"x" * 100)


# put_absent


def test_a_free_name_whose_answer_was_lost_is_ones_own(server, opened, oss_local):
    server.faults.append(oss_local.Fault("PutObject", "lose"))
    assert opened().put_absent("log/1", b"mine") is Put.SAME
    assert server.objects("photos") == {"in/log/1": b"mine"}


def test_of_many_lost_answers_none_is_a_lost_race(server, opened, oss_local):
    server.faults.append(failing(oss_local, "*", "lose", share=0.3))
    place = opened()
    results = [place.put_absent(f"log/{number}", b"entry %d" % number) for number in range(60)]
    assert set(results) == {Put.CREATED, Put.SAME}
    assert len(server.objects("photos")) == 60


def test_a_name_that_is_taken_is_looked_at_and_not_read(server, opened):
    place = opened()
    server.put("photos", "in/a", b"mine")
    assert place.put_absent("a", b"mine") is Put.SAME
    assert place.put_absent("a", b"them") is Put.OTHER
    assert (server.requests["HeadObject"], server.requests["GetObject"]) == (2, 0)


def test_what_has_no_digest_is_read(server, opened, oss_local, monkeypatch):
    told = oss_local_service.headers_of_get

    def without_digest(*given):
        return {name: value for name, value in told(*given).items() if name != "Content-MD5"}

    monkeypatch.setattr(oss_local_service, "headers_of_get", without_digest)
    server.put("photos", "in/a", b"mine")
    assert opened().put_absent("a", b"mine") is Put.SAME
    assert opened().put_absent("a", b"them") is Put.OTHER
    assert server.requests["GetObject"] == 2


def test_a_name_that_was_freed_while_it_was_compared_is_taken(server, opened, oss_local):
    server.put("photos", "in/a", b"theirs")
    fault = oss_local.Fault("HeadObject", "hold")
    server.faults.append(fault)
    place, results = opened(), []
    thread = threading.Thread(target=lambda: results.append(place.put_absent("a", b"mine")))
    thread.start()
    server.wait_until(lambda: server.held)
    opened().delete("a")
    server.release(fault)
    thread.join()
    assert results == [Put.CREATED]


def test_a_bucket_with_versioning_is_unfit_for_it(server, opened):
    server.create_bucket("kept", versioning="Enabled")
    place = opened("kept")
    with pytest.raises(Unfit, match="versioning"):
        place.put_absent("a", b"mine")
    assert place.versioning() == "Enabled"
    assert opened().versioning() == ""


def test_what_is_sent_is_checked_by_the_store(server, opened, monkeypatch):
    monkeypatch.setattr(oss, "_digest", lambda body: base64.b64encode(hashlib.md5(b"others").digest()).decode())
    with pytest.raises(Unreachable, match="InvalidDigest"):
        opened().put("a", b"mine")


# what is refused


def test_a_missing_bucket_is_told_from_a_missing_object(server, opened):
    with pytest.raises(Missing):
        opened().stat("a")
    for ask in OPERATIONS.values():
        with pytest.raises(NoPlace, match="no bucket nowhere at http"):
            ask(opened("nowhere"))


@pytest.mark.parametrize(
    ("action", "operation"),
    [
        ("oss:PutObject", "PutObject"),
        ("oss:GetObject", "GetObject"),
        ("oss:GetObject", "HeadObject"),
        ("oss:DeleteObject", "DeleteObject"),
        ("oss:ListObjects", "ListObjectsV2"),
    ],
)
def test_what_is_denied_is_told_by_its_action(server, opened, action, operation):
    server.denied = {action}
    with pytest.raises(Denied, match=f"{action} is denied"):
        OPERATIONS[operation](opened())
    assert server.requests[operation] == 1


def test_how_old_an_object_is_is_told_by_the_stores_clock_alone(server, opened):
    server.skew = -300
    place = opened()
    place.put("a", b"A")
    server.skew = 300
    assert 590 < place.age("a") < 600 + DEADLINE
    with pytest.raises(Missing):
        place.age("b")


@pytest.mark.parametrize("skew", [3600, -3600])
def test_a_clock_that_is_off_is_told_with_how_much(server, opened, skew):
    server.skew = skew
    words = "behind" if skew > 0 else "ahead of"
    with pytest.raises(Denied, match=rf"clock is 3,(599|600|601) s {words} OSS's"):
        opened().get("a")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_wrong_region_is_told_as_such(server, opened, operation):
    with pytest.raises(NoPlace, match=r"cn-nowhere is not the region of http.*OSS_REGION"):
        OPERATIONS[operation](opened(oss_region="cn-nowhere"))


def test_a_wrong_key_and_a_wrong_secret_are_told_apart(server, opened):
    with pytest.raises(Denied, match=r"signature is wrong.*SECRET") as caught:
        opened(credentials=Credentials(key_id="local", secret="OTHER")).get("a")
    assert "OTHER" not in str(caught.value)
    with pytest.raises(Denied, match="ACCESS_KEY_ID"):
        opened(credentials=Credentials(key_id="nobody", secret="local")).get("a")


def test_without_credentials_nothing_is_asked(server, opened, monkeypatch):
    monkeypatch.setattr(instance, "on_alibaba_cloud", lambda: False)
    with pytest.raises(Denied, match="no credentials"):
        opened(credentials=None).get("a")
    assert not server.requests


# credentials


@pytest.fixture
def by_role(server, opened):
    server.metadata.role = "worker"
    return opened(credentials=None, metadata_url=server.metadata_url)


def test_the_role_of_the_instance_opens_it(server, by_role):
    by_role.put("a", b"mine")
    by_role.get("a")
    assert server.requests["GetRoleCredentials"] == 1


def test_a_token_that_was_refused_is_renewed_once(server, by_role):
    by_role.put("a", b"mine")
    server.metadata.advance(server.metadata.credential_lifetime + 1)
    assert by_role.get("a") == b"mine"
    assert server.requests["GetRoleCredentials"] == 2


def test_while_the_instance_metadata_does_not_answer_a_token_may_still_be_renewed(server, by_role, oss_local):
    by_role.put("a", b"mine")
    server.metadata.advance(server.metadata.credential_lifetime + 1)
    server.faults.append(oss_local.Fault("GetRoleCredentials", "drop", times=3))
    assert by_role.get("a") == b"mine"
    assert server.requests["GetRoleCredentials"] == 5


def test_a_first_token_is_waited_for_too(server, by_role, oss_local):
    server.faults.append(oss_local.Fault("GetRoleCredentials", "drop", times=3))
    by_role.put("a", b"mine")
    server.metadata.role = None
    server.metadata.advance(server.metadata.credential_lifetime + 1)
    server.clear_log()
    with pytest.raises(LockedOut):
        by_role.get("a")
    assert server.requests["GetObject"] == 1


def test_a_token_that_nobody_renews_is_told_to_have_expired(server, opened):
    server.metadata.role = "worker"
    given, _ = instance.MetadataService(server.metadata_url).role_credentials()
    server.metadata.advance(server.metadata.credential_lifetime + 1)
    with pytest.raises(Denied, match="token has expired"):
        opened(credentials=given).get("a")


# keys and versions


def test_a_version_is_asked_for_in_the_same_request(server, opened):
    place = opened()
    place.put("a", b"one")
    version = place.stat("a").version
    place.put("a", b"two")
    server.clear_log()
    with pytest.raises(Changed):
        place.get("a", version)
    assert server.requests == {"GetObject": 1}


def test_an_object_of_many_pages_is_listed_page_by_page(server, opened):
    server.make_up_bucket("many", 2500, b"picture", prefix="in/")
    listing = opened("many").list()
    assert next(listing).size == 7
    assert server.requests["ListObjectsV2"] == 1
    assert sum(1 for _ in listing) == 2499
    assert server.requests["ListObjectsV2"] == 3


def test_markers_of_folders_are_no_objects(server, opened):
    for key in ("in/", "in/2026/", "in/2026/a"):
        server.put("photos", key, b"" if key.endswith("/") else b"mine")
    assert [entry.key for entry in opened().list()] == ["2026/a"]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("a//b", "empty"),
        ("a/../b", "empty, `.` or `..`"),
        ("", "empty"),
        ("/a", "empty"),
        ("caf\udce9.jpg", "UTF-8"),
        ("x" * 1021, "1,024 bytes"),
    ],
)
def test_a_key_that_there_can_not_be_is_refused_in_words(server, opened, key, words):
    for ask in (lambda place: place.put(key, b""), lambda place: place.get(key), lambda place: place.delete(key)):
        with pytest.raises(BadKey, match=words):
            ask(opened())
    assert not server.requests


def test_what_lies_under_such_a_key_is_listed(server, opened):
    server.put("photos", "in/a//b", b"mine")
    assert [entry.key for entry in opened().list()] == ["a//b"]
