"""What is asked of Ray, in one place: which nodes there are, which of them are going, and an actor on each.

Ray places, detects and transports. It can't say who owns a share: a node that is silent is called dead after a minute,
and goes on writing meanwhile. So nothing here decides about the work.
"""

import contextlib
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from batchgray import errors
from batchgray.engine.ray.node import NodeActor
from batchgray.texts import one_line

_CALL_SECONDS = 60.0  # for an actor to be there, or to answer: then its node is as good as gone
_CONNECT_SECONDS = 30
_ASK_SECONDS = 5
_WORDS = 200

Record = TypeVar("Record", bound=msgspec.Struct)


class Node(NamedTuple):
    """A node that Ray calls alive. `cpus` is what it gives to work."""

    id: str
    name: str
    cpus: int


class ActorLost(Exception):
    """The actor does not answer any more: it died, or its node did, or is silent. The text says how Ray calls that."""


class Call:
    """An answer that is waited for, or not."""

    def __init__(self, reference: Any) -> None:
        self._reference = reference

    @property
    def is_there(self) -> bool:
        import ray

        ready, _ = ray.wait([self._reference], timeout=0)
        return bool(ready)

    def result(self, seconds: float = _CALL_SECONDS) -> Any:
        """Raises ActorLost."""
        import ray

        try:
            return ray.get(self._reference, timeout=seconds)
        except ray.exceptions.RayError as error:  # died, unavailable, or too late: each may be alive, and each is lost
            raise ActorLost(one_line(str(error), _WORDS)) from None


class RemoteNode:
    """A node's actor. Calls raise nothing; their answers may raise ActorLost."""

    def __init__(self, node: Node, metadata_url: str | None) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(node_id=node.id, soft=False)
        remote: Any = ray.remote(NodeActor)
        # No cores: those are the supervisor's. Never restarted: another node may have the share by then.
        self._actor = remote.options(num_cpus=0, max_restarts=0, max_task_retries=0, scheduling_strategy=here).remote(
            metadata_url
        )

    def ask_facts(self) -> Call:
        """For Facts."""
        return Call(self._actor.facts.remote())

    def ask_start(self, arguments: Sequence[str], environment: Mapping[str, str]) -> Call:
        """For the supervisor's process number."""
        return Call(self._actor.start.remote(list(arguments), dict(environment)))

    def ask_news(self) -> Call:
        """For News."""
        return Call(self._actor.news.remote())

    def interrupt(self) -> None:
        self._actor.interrupt.remote()

    def end(self) -> None:
        """The actor; its supervisor, if there is one, hears SIGTERM from the kernel."""
        import ray

        with contextlib.suppress(Exception):
            ray.kill(self._actor)


def decoded(call: Call, form: type[Record]) -> Record:
    """Raises ActorLost, also where a node of another version answers in another form."""
    try:
        return msgspec.msgpack.decode(call.result(), type=form)
    except msgspec.DecodeError as error:
        raise ActorLost(str(error)) from None


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """A connection to the cluster. Raises ExtraMissing, RayUnreachable, RayTokenUnfit."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the cluster by our doing
    ray = _imported()
    where = address or os.environ.get("RAY_ADDRESS") or "auto"
    if where.startswith("ray://"):
        raise errors.RayUnreachable(where, "a client's address can't tell which nodes are going")
    if where not in ("auto", "local"):
        _refuse_silent(where)
    already = ray.is_initialized()
    try:
        if not already:
            ray.init(address=where, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    except Exception as error:  # a ConnectionError, a RuntimeError, or what the library beneath raises
        _refuse_without_token(where, error)
        raise errors.RayUnreachable(where, one_line(str(error), _WORDS)) from None
    try:
        yield
    finally:
        if not already:
            ray.shutdown()


def alive() -> dict[str, Node]:
    """The nodes, by their ids, but for those that give no cores to work."""
    import ray

    nodes = (
        Node(each["NodeID"], _name_of(each), int(each["Resources"].get("CPU", 0)))
        for each in ray.nodes()
        if each["Alive"]
    )
    return {node.id: node for node in nodes if node.cpus}


def _name_of(node: Mapping[str, Any]) -> str:
    """As people know it; a machine may have several nodes, one after another."""
    return f"{node['NodeManagerHostname'] or node['NodeName']}-{node['NodeID'][:6]}"


def going() -> set[str]:
    """Ids of nodes that are drained. Ray tells of them through a private interface; where that is gone, of none."""
    from ray._private.state import state

    try:
        return set(state.get_draining_nodes())
    except Exception:
        return set()


def _refuse_silent(address: str) -> None:
    """Ray tries for minutes. Raises RayUnreachable where nothing listens."""
    import socket

    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS):
            pass
    except ValueError:
        raise errors.RayUnreachable(address, "it is no HOST:PORT") from None
    except OSError as error:
        raise errors.RayUnreachable(address, error.strerror or "no answer") from None


def _refuse_without_token(address: str, error: Exception) -> None:
    """Raises RayTokenUnfit where a token is why there is no connection.

    Ray says so itself where it was told to use one and has none; one that the cluster refuses it calls no connection.
    """
    if type(error).__name__ == "AuthenticationError":  # of no version before 2.52
        raise errors.RayTokenUnfit(address, one_line(getattr(error, "message", str(error)), _WORDS)) from None
    named = re.search(r"\S+:\d+", str(error))  # where the address was found by Ray
    if named and _wants_token(named[0]):
        is_on = os.environ.get("RAY_AUTH_MODE", "").lower() == "token"
        reason = "it refuses the one that is set here" if is_on else "RAY_AUTH_MODE is not token here"
        raise errors.RayTokenUnfit(address, reason) from None


def _wants_token(address: str) -> bool:
    """Whether the cluster refuses to answer who brings no token."""
    try:
        import grpc
    except ModuleNotFoundError:  # it came with Ray; a version that does without can't be asked
        return False
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetClusterId")
        try:
            ask(b"", timeout=_ASK_SECONDS)
        except grpc.RpcError as error:
            return bool(error.code() is grpc.StatusCode.UNAUTHENTICATED)
    return False


def _imported() -> Any:
    """Raises ExtraMissing."""
    try:
        import ray
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "ray":
            raise
        raise errors.ExtraMissing("--engine ray", "ray", "ray") from None
    return ray
