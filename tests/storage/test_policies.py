"""The policy that is printed is the least: what is really asked for, and nothing else."""

import contextlib
import json
import re
from pathlib import Path

import pytest
from stores import oss_options

from batchgray.storage import policies
from batchgray.storage.trial import try_store
from batchgray.storage.urls import open_url, parse_url


def actions(policy):
    return {action for statement in policy["Statement"] for action in statement["Action"]}


@pytest.fixture
def server(oss_local):
    with oss_local.LocalOSS() as server:
        server.create_bucket("photos")
        yield server


def use_all(place):
    place.put("a.jpg", b"1")
    place.put_absent("a.jpg", b"2")
    entry = place.stat("a.jpg")
    place.get("a.jpg", entry.version, 0, 1)
    list(place.list())
    place.delete("a.jpg")


def test_outputs_on_oss_take_just_these_actions(server):
    with contextlib.closing(open_url("oss://photos/gray", oss_options(server))) as place:
        use_all(place)
        list(try_store(place))
    asked = {action for request in server.log if request.bucket for action in request.actions}
    assert actions(policies.policy(parse_url("oss://photos/gray"))) == asked


def test_inputs_on_oss_take_just_these_actions(server):
    server.put("photos", "in/a.jpg", b"1")
    with contextlib.closing(open_url("oss://photos/in", oss_options(server))) as place:
        for entry in place.list():
            place.get(entry.key, entry.version)
    asked = {action for request in server.log for action in request.actions}
    assert actions(policies.policy(parse_url("oss://photos/in"), policies.OF_INPUTS)) == asked


def test_all_that_is_granted_lies_below_the_prefix(server):
    with contextlib.closing(open_url("oss://photos/gray/2026", oss_options(server))) as place:
        use_all(place)
        list(try_store(place))
    policy = policies.policy(parse_url("oss://photos/gray/2026"))
    assert policy["Statement"][-1]["Resource"] == ["acs:oss:*:*:photos/gray/2026/*"]
    assert policy["Statement"][0]["Condition"] == {"StringLike": {"oss:Prefix": ["gray/2026/*"]}}
    assert all(request.key.startswith("gray/2026/") for request in server.log if request.key)


def test_other_clouds_have_their_own_words():
    policy = policies.policy(parse_url("s3://photos/gray"))
    assert actions(policy) == {"s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"}
    assert policy["Version"] == "2012-10-17"
    assert policy["Statement"][-1]["Resource"] == ["arn:aws:s3:::photos/gray/*"]
    assert policies.policy(parse_url("gs://photos")) is None
    assert policies.roles(parse_url("gs://photos")) == "roles/storage.objectUser"
    assert policies.roles(parse_url("az://photos"), policies.OF_INPUTS) == "Storage Blob Data Reader"


@pytest.mark.parametrize("url", ["oss://photos/gray", "s3://photos/gray"])
def test_the_page_has_what_is_printed(url):
    page = (Path(__file__).parents[2] / "docs" / "stores.md").read_text("utf-8")
    assert json.dumps(policies.policy(parse_url(url))) in {
        json.dumps(json.loads(block)) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    }
