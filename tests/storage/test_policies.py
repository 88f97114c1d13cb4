"""The policy that is printed is the least: what is really asked for, and nothing else."""

import contextlib
import json
import re
from pathlib import Path

import jobs
import pytest
from harness import Running, batchgray, tree
from recording import Recording, Rule, interrupt, wait_for_stopped_worker
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


# a whole job


def without(policies, action):
    """The same with one action fewer, of the first policy that has it."""
    kept = json.loads(json.dumps(policies))
    for policy in kept:
        for statement in policy["Statement"]:
            if action in statement["Action"]:
                statement["Action"].remove(action)
                return kept
    raise ValueError(action)


def policies_of(stage):
    return [
        policies.policy(parse_url(stage.out)),
        policies.policy(parse_url(stage.input), policies.OF_INPUTS),
    ]


def test_a_job_that_is_interrupted_and_goes_on_needs_just_what_is_printed(tall, tall_converted, tmp_path):
    with jobs.oss(tall, tmp_path) as stage:
        stage.server.policies = policies_of(stage)
        recording = Recording(tmp_path / "record", Rule("tile", r"tall\.jpg", after=30))
        with Running(*stage.run(), env=stage.env(recording)) as run:
            interrupt(run, wait_for_stopped_worker(run))
            run.finish(expect=75)
        batchgray(*stage.run(), env=stage.env())
        batchgray("status", stage.out, env=stage.env())
        assert stage.outputs() == tree(tall_converted)
        assert "AccessDenied" not in {request.code for request in stage.server.log if request.actions}


@pytest.mark.parametrize(("of", "action"), [(0, action) for action in policies._OSS.values()] + [(1, "oss:GetObject")])
def test_with_one_action_fewer_a_job_says_which_it_is(tall, tmp_path, of, action):
    with jobs.oss(tall, tmp_path) as stage:
        granted = policies_of(stage)
        stage.server.policies = [*without(granted[of : of + 1], action), *granted[:of], *granted[of + 1 :]]
        run = batchgray(*stage.run(), env=stage.env(), expect=None)
        assert run.returncode in (2, 3)
        assert f"{action} is denied" in run.stdout + run.stderr


@pytest.mark.parametrize("url", ["oss://gray/2027", "oss://other/2026", "oss://gray/2026/deeper"])
def test_a_policy_of_another_prefix_opens_nothing(tall, tmp_path, url):
    with jobs.oss(tall, tmp_path) as stage:
        stage.server.policies = [policies.policy(parse_url(url)), policies_of(stage)[1]]
        assert "is denied" in batchgray(*stage.run(), env=stage.env(), expect=2).stderr
