"""Nodes of a Ray cluster come, are drained, told of by the queue, killed and silenced: the tree is one machine's."""

import signal
import subprocess
import sys

import pytest
from harness import DEADLINE

from batchgray.notices.spot_event import simulated

QUEUE = "spot-interruption"


def test_two_nodes_make_what_one_machine_makes(fleet, converted):
    fleet.add("i-1", "i-2")
    code, said = end(fleet.start())
    assert code == 0, said
    assert fleet.outputs() == converted
    assert said.count("it has joined") == 2


def test_nodes_that_come_and_are_drained_killed_and_silenced_change_nothing(fleet, converted):
    fleet.add("i-1", "i-2")
    driver = fleet.start()
    fleet.hold_outputs()
    fleet.drain("i-1")
    fleet.add("i-3")
    fleet.hold_outputs()
    fleet.kill("i-2")
    fleet.add("i-4")
    fleet.hold_outputs()
    fleet.silence("i-3")
    fleet.let_go()
    code, said = end(driver)
    fleet.wake("i-3")
    assert code == 0, said
    assert fleet.outputs() == converted


def test_the_queue_tells_of_a_node_and_its_event_is_deleted_when_its_share_is_free(fleet, converted, smq_local):
    with smq_local.LocalSMQ() as queue:
        queue.create_queue(QUEUE)
        fleet.add("i-1", "i-2")
        driver = fleet.start("--notices", "smq", MNS_ENDPOINT=queue.endpoint)
        fleet.hold_outputs()
        other = queue.send(QUEUE, simulated("i-other", "cn-hangzhou").decode(), base64=False)
        queue.send(QUEUE, simulated("i-1", "cn-hangzhou").decode(), base64=False)
        queue.wait_until(lambda: queue.requests["BatchReceiveMessage"] > 1)
        fleet.let_go()
        code, said = end(driver)
        assert code == 0, said
        assert "i-1 goes" in said
        assert [message.message_id for message in queue.messages(QUEUE)] == [other]
    assert fleet.outputs() == converted


def test_a_driver_that_is_killed_is_started_again_and_goes_on(fleet, converted):
    fleet.add("i-1", "i-2")
    first = fleet.start()
    fleet.hold_outputs()
    first.kill()
    first.communicate()
    fleet.let_go()
    code, said = end(fleet.start())
    assert code == 0, said
    assert fleet.outputs() == converted


def test_an_interrupted_driver_has_all_nodes_flush(fleet, converted):
    fleet.add("i-1", "i-2")
    first = fleet.start()
    fleet.hold_outputs()
    first.send_signal(signal.SIGTERM)
    fleet.let_go()
    code, said = end(first)
    assert code == 75, said
    assert f"batchgray resume {fleet.out}" in said
    with fleet.another_picture() as name:  # for a round that follows at once, on the same nodes
        code, said = end(fleet.start())
    assert code == 0, said
    outputs = fleet.outputs()
    assert outputs.pop(name)
    assert outputs == converted


def test_it_can_be_submitted_as_a_ray_job(fleet, converted):
    fleet.add("i-1")
    line = ["ray", "job", "submit", "--address", fleet.dashboard, "--", *fleet.command()]
    done = subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", *line[1:]],
        env=fleet.environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert fleet.outputs() == converted


@pytest.mark.parametrize(
    ("address", "why"),
    [("127.0.0.1:9", "Connection refused"), ("nonsense", "it is no HOST:PORT"), ("ray://h:1", "a client's address")],
)
def test_a_cluster_that_does_not_answer_is_told_in_a_sentence(fleet, address, why):
    line = [*fleet.command()]
    line[line.index("--ray-address") + 1] = address
    done = subprocess.run(line, env=fleet.environment, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 2
    assert why in done.stderr
    assert "ray start --head" in done.stderr


def end(driver: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for a driver; its exit code and what it said."""
    said, _ = driver.communicate(timeout=DEADLINE)
    return driver.returncode, said
