"""Ray's own test cluster: several raylets on this machine, in a network of their own. See `make test-ray`."""

import contextlib
import fcntl
import itertools
import math
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import oss_local
import psutil
import pytest
from harness import DEADLINE, batchgray, tree
from jobs import LEASE, LEASE_ALONE
from stores import oss_options

from batchgray.storage.base import Place
from batchgray.storage.urls import open_place

ASKED = "TEST_BATCHGRAY_RAY" in os.environ
_NUMBERS = itertools.count()
QUICK_TO_CALL_A_NODE_DEAD = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1


# Elsewhere they are not even looked at: see `make test-ray`.
collect_ignore_glob = [] if ASKED else ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.processes)


class Fleet:
    """A cluster whose head gives no cores, nodes by their names, each of which is its instance id, and a store.

    The job's output place is called `out`.
    """

    out: str
    place: Place

    def __init__(self, server: oss_local.LocalOSS, environment: dict[str, str]) -> None:
        from ray.cluster_utils import Cluster

        self.server = server
        self.environment = {**os.environ, **LEASE_ALONE, **environment}
        self._cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": True, "env_vars": environment}
        )
        self._variables = environment
        self._nodes: dict[str, object] = {}
        self._processes: list[psutil.Process] = []
        self._holding: oss_local.Fault | None = None

    @property
    def address(self) -> str:
        return self._cluster.address

    @property
    def dashboard(self) -> str:
        return f"http://{self._cluster.head_node.webui_url}"

    def add(self, *names: str) -> None:
        for name in names:
            variables = {**self._variables, "BATCHGRAY_INSTANCE_ID": name}
            self._nodes[name] = self._cluster.add_node(num_cpus=1, env_vars=variables)

    def kill(self, name: str) -> None:
        """The node, with all that is on it."""
        for process in self._all_of(name):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._cluster.remove_node(self._nodes.pop(name), allow_graceful=False)

    def silence(self, name: str) -> None:
        """Stop all that is on it, as a hypervisor does."""
        for process in self._all_of(name):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def wake(self, name: str) -> None:
        for process in self._all_of(name):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def drain(self, name: str) -> None:
        """As an autoscaler tells Ray that a node is taken away."""
        from ray._raylet import GcsClient
        from ray.core.generated import autoscaler_pb2

        node = self._nodes[name]
        accepted, why = GcsClient(address=self.address).drain_node(
            bytes.fromhex(node.node_id),
            autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"),
            "it is taken away",
            2**62,
        )
        assert accepted, why

    def remove_nodes(self) -> None:
        for name in list(self._nodes):
            self.wake(name)
            self.kill(name)

    def close(self) -> None:
        self.remove_nodes()
        self._cluster.shutdown()
        for process in self._processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _all_of(self, name: str) -> list[psutil.Process]:
        """The raylet, its actors, and what they have started, sessions of their own included."""
        raylets = [info.process for infos in self._nodes[name].all_processes.values() for info in infos]
        found: list[psutil.Process] = []
        for raylet in raylets:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(raylet.pid)
                found += [process, *process.children(recursive=True)]
        self._processes = [*self._processes, *found][-200:]
        return found

    # the job

    def command(self, *options: object) -> list[str]:
        line = ["run", "oss://photos/2026", "--out", self.out, "--engine", "ray", "--ray-address", self.address]
        line += ["--tile-rows", "8", "--progress", "plain", "--checkpoint", "1", *options]
        return [sys.executable, "-m", "batchgray", *map(str, line)]

    def start(self, *options: object, **variables: str) -> "subprocess.Popen[str]":
        """A driver."""
        return subprocess.Popen(
            self.command(*options),
            env={**self.environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def hold_outputs(self) -> None:
        """Let go of outputs that wait, and hold those that come next; return when one waits.

        So the job stands still at a moment of its work, and goes on a step at a time.
        """
        held, self._holding = self._holding, oss_local.Fault("PutObject", "hold", times=math.inf, key="test_*.jpg")
        self.server.faults.append(self._holding)
        if held is not None:
            self.server.release(held)
        self.server.wait_until(lambda: self.server.held > 0, DEADLINE)

    def let_go(self) -> None:
        self.server.clear_faults()
        self._holding = None

    @contextlib.contextmanager
    def another_picture(self) -> Iterator[str]:
        """A picture more among the inputs, which goes again. Yields the name of its output."""
        with contextlib.closing(open_place("oss://photos/2026", oss_options(self.server))) as inputs:
            first = next(iter(inputs.list()))
            inputs.put("zzz.jpg", inputs.get(first.key))
            try:
                yield "zzz.jpg"
            finally:
                inputs.delete("zzz.jpg")

    def outputs(self) -> dict[str, bytes]:
        keys = [entry.key for entry in self.place.list()]
        return {key: self.place.get(key) for key in keys if key != "manifest.json" and not key.startswith(".batchgray")}


@pytest.fixture(scope="session")
def _loopback() -> None:
    """A new network namespace has its loopback down."""
    request = struct.pack("16sh", b"lo", _IFF_UP)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)


@pytest.fixture(scope="session")
def pictures(samples, tmp_path_factory) -> Path:
    """The samples some times over, so that a job has many shares."""
    folder = tmp_path_factory.mktemp("pictures")
    for copy in range(4):
        shutil.copytree(samples, folder / f"day {copy}")
    return folder


@pytest.fixture(scope="session")
def cluster(pictures, _loopback) -> Iterator[Fleet]:
    """One for all tests, as it takes its time to start."""
    with oss_local.LocalOSS() as server:
        server.create_bucket("photos")
        server.create_bucket("gray")
        for name, data in tree(pictures).items():
            server.put("photos", f"2026/{name}", data)
        environment = {
            **server.environment,
            "PYTHONPATH": LEASE_ALONE["PYTHONPATH"],
            "SHARE_LEASE": str(LEASE),
            "SHARE_IMAGES": "4",
        }
        with pytest.MonkeyPatch.context() as patch:
            for name, value in QUICK_TO_CALL_A_NODE_DEAD.items():
                patch.setenv(name, value)
            fleet = Fleet(server, environment)
            try:
                yield fleet
            finally:
                fleet.close()


@pytest.fixture
def fleet(cluster, request) -> Iterator[Fleet]:
    """The cluster without nodes, and an output place of the test's own."""
    cluster.out = f"oss://gray/{request.node.originalname}/{next(_NUMBERS)}"
    with contextlib.closing(open_place(cluster.out, oss_options(cluster.server))) as cluster.place:
        try:
            yield cluster
        finally:
            cluster.let_go()
            cluster.remove_nodes()


@pytest.fixture(scope="session")
def converted(pictures, tmp_path_factory) -> dict[str, bytes]:
    """What one machine makes of the same."""
    out = tmp_path_factory.mktemp("one")
    batchgray("run", pictures, "--out", out, "--tile-rows", 8, "--progress", "none")
    return {name: data for name, data in tree(out).items() if not name.startswith("manifest.json")}
