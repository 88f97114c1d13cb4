"""`doctor --out`: the place is tried, the least policy is printed, and the exit code says whether a run would stop."""

import json
import os
import re
from pathlib import Path

import pytest
from harness import batchgray

from batchgray import extras
from batchgray.commands.doctor import examine
from batchgray.notices.listeners import NoticeOptions


@pytest.fixture
def server(oss_local):
    with oss_local.LocalOSS() as server:
        server.create_bucket("photos")
        yield server


def doctor(out, *options, expect=0, **environment):
    return batchgray("doctor", "--out", out, *options, env=os.environ | environment, expect=expect)


def environment(server):
    return server.environment


def test_a_bucket_is_tried_and_its_policy_printed(server):
    said = doctor("oss://photos/gray", **environment(server)).stdout
    assert "conditional puts: granted" in said
    policy = json.loads(said[said.index("\n{\n") :])
    assert policy["Statement"][-1]["Resource"] == ["acs:oss:*:*:photos/gray/*"]
    assert server.objects("photos") == {}


def test_the_role_of_the_instance_is_used(server):
    server.metadata.role = "worker"
    given = {"OSS_ENDPOINT": server.endpoint, "OSS_REGION": server.region}
    doctor("oss://photos/gray", "--metadata-url", server.metadata_url, **given)
    assert server.requests["GetRoleCredentials"]
    assert server.requests["PutObject"] == 2


def test_what_would_stop_a_run_is_exit_1(server):
    server.denied = {"oss:PutObject"}
    said = doctor("oss://photos/gray", **environment(server), expect=1).stdout
    assert "wrong  conditional puts: oss:PutObject is denied" in said
    assert '"oss:PutObject"' in said


def trouble(server, **given):
    """Something that is wrong, by name; returns what the environment has then."""
    for name, value in given.items():
        setattr(server, name, value)
    return environment(server)


WRONG = [  # what is wrong, the URL, what is said about it, and what of the other faults is not
    (trouble, "oss://nowhere/gray", ["there is no bucket nowhere", "check its name"]),
    (lambda server: trouble(server, denied={"oss:ListObjects"}), "oss://photos/gray", ["oss:ListObjects is denied"]),
    (lambda server: trouble(server) | {"OSS_REGION": "cn-nowhere"}, "oss://photos/gray", ["is not the region of"]),
    (
        lambda server: trouble(server) | {"ALIBABA_CLOUD_ACCESS_KEY_SECRET": "x"},
        "oss://photos/gray",
        ["the signature is wrong", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"],
    ),
    (
        lambda server: trouble(server) | {"ALIBABA_CLOUD_ACCESS_KEY_ID": "x"},
        "oss://photos/gray",
        ["does not know the access key"],
    ),
    (lambda server: trouble(server, skew=3600), "oss://photos/gray", ["this machine's clock is", "set it"]),
    (
        lambda server: trouble(server) | {"OSS_ENDPOINT": "http://127.0.0.1:9", "STORE_PATIENCE": "0"},
        "oss://photos/gray",
        ["can't be reached"],
    ),
]
WORDS = [
    "there is no bucket",
    "is denied",
    "not the region",
    "signature is wrong",
    "access key;",
    "clock is",
    "reached",
]


@pytest.mark.parametrize(("wrong", "url", "words"), WRONG, ids=[words[0] for _, _, words in WRONG])
def test_each_fault_is_told_in_words_of_its_own(server, wrong, url, words):
    intercepted = {"PYTHONPATH": str(Path(__file__).parents[1] / "support" / "intercept")}
    said = doctor(url, expect=1, **intercepted, **wrong(server)).stdout
    for each in words:
        assert each in said
    assert sum(each in said for each in WORDS) == 1, said


def test_without_its_extra_a_url_says_what_to_install(tmp_path):
    (tmp_path / "alibabacloud_oss_v2.py").write_text("raise ImportError('not here')")
    refused = doctor("oss://photos/gray", expect=2, PYTHONPATH=str(tmp_path))
    assert "batchgray[oss]" in refused.stderr


def test_json_has_the_findings_alone(server):
    found = json.loads(doctor("oss://photos/gray", "--json", **environment(server)).stdout)
    assert "round trip" in {finding["what"] for finding in found}


def test_a_folder_is_tried(tmp_path):
    said = doctor(tmp_path / "gray").stdout
    assert "locks: work" in said
    assert "policy" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("os://photos", "knows no os://"),
        ("oss://", "names no bucket"),
        ("oss://photos/a//b", "a part of the prefix is empty"),
        ("oss://photos", "set OSS_REGION"),
    ],
)
def test_a_url_that_is_none_is_exit_2(url, words):
    assert words in doctor(url, expect=2).stderr


def test_extras_are_named_with_what_each_is_for(monkeypatch):
    def findings():
        found = {finding.what: finding for finding in examine(NoticeOptions())}
        return {name: found[f"extra {name}"] for name in extras.EXTRAS}

    assert {finding.verdict for finding in findings().values()} == {"fine"}
    monkeypatch.setitem(extras.EXTRAS, "heif", ("no_such_module", "HEIC and HEIF are read"))
    assert findings()["heif"].verdict == "note"
    assert findings()["heif"].remedy == "install batchgray[heif], and HEIC and HEIF are read"


def test_it_is_told_whose_messages_lie_in_the_queue_and_none_is_taken(smq_local):
    with smq_local.LocalSMQ() as server:
        environment = {
            **os.environ,
            "MNS_ENDPOINT": server.endpoint,
            "BATCHGRAY_METADATA_URL": server.endpoint,
            "ALIBABA_CLOUD_ACCESS_KEY_ID": "local",
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "local",
        }
        batchgray("smq", "create", "spot-interruption", env=environment)
        for instance in ("i-other", "i-local", "i-other"):
            batchgray("smq", "simulate", "--instance-id", instance, env=environment)
        said = batchgray("doctor", env=environment).stdout
        assert "fine   messages: 2 for i-other (the oldest " in said
        assert "note   messages for this instance: 1 for this instance, i-local (" in said
        assert "interrupted at once" in said
        assert server.requests["DeleteMessage"] == 1  # the trial of the permission, of no message
        counted = re.search(r"(\d) messages? to be had, (\d) hidden", batchgray("doctor", env=environment).stdout)
        assert sum(map(int, counted.groups())) == 3


def test_without_the_right_to_peek_the_rest_is_told(smq_local):
    with smq_local.LocalSMQ(denied={"BatchPeekMessage"}) as server:
        queue = {"MNS_ENDPOINT": server.endpoint, "BATCHGRAY_METADATA_URL": server.endpoint}
        key = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "local", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "local"}
        environment = {**os.environ, **queue, **key}
        batchgray("smq", "create", "spot-interruption", env=environment)
        said = batchgray("doctor", env=environment, expect=1).stdout
        assert "wrong  permission mns:BatchPeekMessage" in said
        assert "messages: " not in said
