"""From the message in the queue to exit 75 and an empty queue, with the real program, the real SDK, a real socket.

If this broke, the machine would be taken away while the batch still runs, or a batch would stop for somebody else.
"""

import os
import subprocess
import sys

import pytest
from harness import DEADLINE, Running, batchgray, manifest_of, named, tree
from recording import Recording, Rule, resume_when_told, wait_for_stopped_worker

from batchgray.notices.spot_event import parse

QUEUE = "spot-interruption"
SECRET = "a-secret-that-nobody-may-see"


@pytest.fixture
def server(smq_local):
    with smq_local.LocalSMQ(access_key_secret=SECRET, instance_id="i-mine") as server:
        yield server


@pytest.fixture
def environment(server):
    return os.environ | {
        "MNS_ENDPOINT": server.endpoint,
        "ALIBABA_CLOUD_ACCESS_KEY_ID": "local",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": SECRET,
        "BATCHGRAY_METADATA_URL": server.metadata_url,
    }


def simulate(environment, instance_id):
    batchgray("smq", "simulate", "--instance-id", instance_id, env=environment)


@pytest.fixture
def many(samples, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(8):
        (folder / f"{number}.jpg").symlink_to(samples / "large.jpg")
    return folder


@pytest.fixture
def in_the_fourth(environment, tmp_path):
    """An environment in which the worker stops itself in the middle of the fourth image."""
    return environment | Recording(tmp_path / "record", Rule("tile", r"^3\.jpg")).variables


def test_heard_flushed_acknowledged_resumed(server, environment, in_the_fourth, many, converted, tmp_path):
    batchgray("smq", "create", QUEUE, env=environment)
    assert "left as it is" in batchgray("smq", "create", QUEUE, env=environment).stdout
    out = tmp_path / "gray"
    arguments = ("run", many, "--out", out, "--tile-rows", 8, "--workers", 1)
    with Running(*arguments, env=in_the_fourth) as run:
        assert run.wait_for("planned")["notices"] == ["signals", f"queue {QUEUE}", "instance metadata"]
        worker = wait_for_stopped_worker(run)
        simulate(environment, "i-somebody-else")
        simulate(environment, "i-mine")
        notice = run.wait_for("notice")
        resume_when_told(worker)
        run.finish(expect=75)
    assert notice["source"] == "smq"
    interruption = manifest_of(out)["interruptions"][0]
    assert (interruption["source"], interruption["event_id"]) == ("smq", notice["event_id"])
    assert [simulated_instance(message) for message in server.messages(QUEUE)] == ["i-somebody-else"]
    batchgray("resume", out / "manifest.json", "--progress", "none", env=environment)
    assert tree(out) == {f"{number}.jpg": tree(converted)["large.jpg"] for number in range(8)}


def simulated_instance(message) -> str:
    return parse(message.body).instance_id


def test_the_termination_time_of_metadata_interrupts_too(server, in_the_fourth, many, tmp_path):
    del in_the_fourth["MNS_ENDPOINT"]
    out = tmp_path / "gray"
    with Running("run", many, "--out", out, "--workers", 1, env=in_the_fourth) as run:
        worker = wait_for_stopped_worker(run)
        server.termination_time = "2099-01-05T18:02:00Z"
        resume_when_told(worker)
        events = run.finish(expect=75)
    assert named(events, "notice")[0]["source"] == "metadata"
    assert manifest_of(out)["interruptions"][0]["deadline"] == "2099-01-05T18:02:00Z"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ["no queue spot-interruption", "batchgray smq create"]),
        ({"ALIBABA_CLOUD_ACCESS_KEY_SECRET": "another-secret"}, ["does not accept the access key"]),
        ({"MNS_ENDPOINT": ""}, ["MNS_ENDPOINT"]),
        ({"ALIBABA_CLOUD_ACCESS_KEY_SECRET": "", "BATCHGRAY_METADATA_URL": ""}, ["ALIBABA_CLOUD_ACCESS_KEY_ID"]),
        ({"BATCHGRAY_METADATA_URL": ""}, ["--instance-id"]),
        ({"MNS_ENDPOINT": "http://127.0.0.1:9"}, ["127.0.0.1:9"]),
    ],
)
def test_what_is_wrong_at_the_start_is_exit_2_before_any_work(environment, samples, tmp_path, change, words):
    out = tmp_path / "gray"
    changed = environment | change
    done = batchgray("run", samples, "--out", out, "--notices", "smq", env=changed, expect=2)
    for word in words:
        assert word in done.stderr
    assert "secret" not in done.stderr.lower().replace("access_key_secret", "").replace("..._secret", "")
    assert not (out / "manifest.json").exists()


def test_a_silent_metadata_service_delays_nothing(server, environment, smq_local, samples, tmp_path):
    server.create_queue(QUEUE)
    server.faults.append(smq_local.Fault("*", "hang", times=1000, seconds=10 * DEADLINE))
    slow = environment | {"ALIBABA_CLOUD_ACCESS_KEY_SECRET": ""}
    with Running("run", samples, "--out", tmp_path, env=slow) as run:
        assert run.wait_for("planned")["at"] < DEADLINE
        run.finish(expect=0)


def test_doctor_tells_what_would_stop_a_run(server, environment):
    healthy = "fine   queue"
    server.create_queue(QUEUE)
    assert healthy in batchgray("doctor", env=environment).stdout
    server.denied.add("DeleteMessage")
    sick = batchgray("doctor", env=environment, expect=1).stdout
    assert "wrong  permission mns:DeleteMessage" in sick
    assert SECRET not in sick


def test_a_secret_shows_nowhere(server, environment, samples, tmp_path):
    """Faults of every kind, and everything that is written or said."""
    server.create_queue(QUEUE)
    said = []
    for denied in (set(), {"BatchPeekMessage"}):
        server.denied.clear()
        server.denied.update(denied)
        done = batchgray("run", samples / "web", "--out", tmp_path / f"out{len(denied)}", env=environment, expect=None)
        said += [done.stdout, done.stderr]
    for arguments in (["doctor"], ["doctor", "--json"], ["smq", "simulate", "--instance-id", "i-mine"]):
        done = batchgray(*arguments, env=environment, expect=None)
        said += [done.stdout, done.stderr]
    probe = "from batchgray.cloud.instance import Credentials; print(Credentials(key_id='k', secret='SECRET'))"
    said.append(subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout)
    said += [path.read_text(errors="replace") for path in tmp_path.rglob("manifest*")]
    assert len(said) > 10
    assert not any(
        SECRET in text or "SECRET" in text.replace("ACCESS_KEY_SECRET", "").replace("..._SECRET", "") for text in said
    )
