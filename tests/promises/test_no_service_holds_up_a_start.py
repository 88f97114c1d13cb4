"""A queue or a metadata service that is silent, or sends a byte now and then, costs a start seconds; a signal ends it.

If this broke, a run on a machine with a bad network would never begin, and could not be stopped but by a kill.
"""

import math
import os
import signal

import pytest
from harness import DEADLINE, Running, batchgray, named, save_gradient
from recording import Recording, Rule, wait_for_stopped

QUEUE = "spot-interruption"


@pytest.fixture
def images(tmp_path):
    save_gradient(tmp_path / "images" / "a.png", 64, 64)
    return tmp_path / "images"


@pytest.fixture(params=["hang", "drip"])
def server(request, smq_local):
    with smq_local.LocalSMQ(instance_id="i-mine", role="reader") as server:
        server.create_queue(QUEUE)
        server.faults.append(smq_local.Fault("*", request.param, times=math.inf, seconds=DEADLINE))
        yield server


KEY = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "local", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "local"}
ROLE = dict.fromkeys(KEY, "")


@pytest.fixture(params=[KEY, ROLE], ids=["key", "role"])
def environment(request, server):
    services = {"MNS_ENDPOINT": server.endpoint, "BATCHGRAY_METADATA_URL": server.metadata_url}
    return os.environ | services | request.param


def test_the_run_begins_without_it_and_says_so(images, environment, tmp_path):
    with Running("run", images, "--out", tmp_path / "gray", env=environment) as run:
        events = run.finish(expect=0)
    assert named(events, "summary")[0]["done"] == 1
    if environment["ALIBABA_CLOUD_ACCESS_KEY_ID"]:
        assert "can't be heard (Network: " in named(events, "warned")[0]["message"]


def test_one_that_needs_it_is_refused(images, environment, tmp_path):
    asked = ["run", images, "--out", tmp_path / "gray", "--notices", "smq", "--instance-id", "i-mine"]
    assert QUEUE in batchgray(*asked, env=environment, expect=2).stderr
    assert not (tmp_path / "gray").exists()


def test_a_signal_ends_the_wait(images, environment, tmp_path):
    recording = Recording(tmp_path / "record", Rule("call", "batchgray.notices.smq:SmqListener._wait_for_check"))
    asked = ["run", images, "--out", tmp_path / "gray", "--notices", "smq", "--instance-id", "i-mine"]
    with Running(*asked, env=environment | recording.variables) as run:
        supervisor = wait_for_stopped(run)
        run.signal(signal.SIGTERM)
        supervisor.resume()
        run.finish(expect=75)
    assert "interrupted (SIGTERM)" in run.error
    assert not (tmp_path / "gray").exists()


@pytest.mark.parametrize(
    "command", [["doctor"], ["smq", "create", "q"], ["smq", "simulate", "--instance-id", "i-mine"]]
)
def test_what_asks_it_for_a_person_ends(command, environment):
    done = batchgray(*command, env=environment, expect=None)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
