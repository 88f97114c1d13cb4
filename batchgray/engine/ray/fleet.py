"""A supervisor on each node of a cluster: begun on nodes that come, interrupted on nodes that go, begun again.

    COMING --facts--> STARTING --its number--> WORKING --drain, notice--> INTERRUPTED --exit--> ENDED
       any of them --the actor is lost--> LOST: the node is looked at anew, if Ray still calls it alive

A node is going when Ray drains it, or the queue tells of its instance. An event is deleted from the queue only when
the log has the "free" of that node's supervisor, or the supervisor has ended as one does that has nothing left to give
back. What a node that was lost had, others take over from its log; nothing here decides that.
"""

import enum
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from batchgray import errors
from batchgray._version import __version__
from batchgray.engine.crew import Progress, Standing
from batchgray.engine.ray import cluster
from batchgray.engine.ray.cluster import ActorLost, Call, Node, RemoteNode
from batchgray.engine.ray.node import Facts, News
from batchgray.notices.fleet import FleetListener
from batchgray.storage.locking import process_on

_LOOK_SECONDS = 1.0  # between two looks at the nodes
_AGAIN_SECONDS = 10.0  # before a supervisor that failed is begun anew on its node
_STAYED_SECONDS = 360.0  # a node that was to go, and is there after so long, was not taken away
_MOST_FAILURES = 5
_DRAIN_SECONDS = 15.0  # beyond --grace
_TICK_SECONDS = 0.2
_REFUSED = 2
_INTERRUPTED = 75


class State(enum.Enum):
    COMING = "coming"
    STARTING = "starting"
    WORKING = "working"
    INTERRUPTED = "interrupted"
    ENDED = "ended"


@dataclass(eq=False)
class _Member:
    """A node, and its supervisor."""

    node: Node
    remote: RemoteNode
    call: Call
    state: State = State.COMING
    facts: Facts | None = None
    owner: str = ""
    was_going: bool = False

    @property
    def instance_id(self) -> str:
        return self.facts.instance_id if self.facts else ""


@dataclass(eq=False)
class _Flushing:
    """An instance's event, and whose "free" is waited for. `exited` says that the supervisor has ended by itself."""

    instance_id: str
    owner: str
    since: float
    exited: bool = False


@dataclass
class _Record:
    """What is remembered of a node from one supervisor to the next."""

    not_before: float = 0.0
    failures: int = 0
    given_up: str = ""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`arguments` are of the command line that each supervisor is started with, `environment` what it may need of ours.

    `workers` None: as many on a node as it gives cores.
    """

    arguments: Sequence[str]
    environment: Mapping[str, str]
    workers: int | None
    grace: float
    metadata_url: str | None


@dataclass(eq=False)
class Fleet:
    """See `engine.crew.Crew`. `tell` is told of a node, by its name, what happens to it."""

    settings: Settings
    listener: FleetListener | None
    tell: Callable[[str, str], None]
    clock: Callable[[], float] = time.monotonic
    _members: dict[str, _Member] = field(default_factory=dict)
    _records: dict[str, _Record] = field(default_factory=dict)
    _looked_at: float = float("-inf")
    _flushing: list[_Flushing] = field(default_factory=list)
    _ending: bool = False  # all end, as the round is over or the driver is interrupted: that is told once, not by node

    def is_node(self, instance_id: str) -> bool:
        """Whether an instance is one of the nodes. Any thread may ask."""
        return any(member.instance_id == instance_id for member in list(self._members.values()))

    @property
    def workers(self) -> int:
        """See Crew."""
        return sum(self.settings.workers or node.cpus for node in cluster.alive().values())

    def tend(self, standing: Callable[[str], Standing]) -> Progress:
        """See Crew. Raises NodesRefuse where no node can work."""
        if self.clock() - self._looked_at >= _LOOK_SECONDS:
            self._look_at_nodes()
            self._looked_at = self.clock()
        self._interrupt_those_with_notice()
        progress = self._hear_members()
        self._acknowledge(standing)
        return progress

    def drain(self, standing: Callable[[str], Standing]) -> None:
        """See Crew."""
        self._ending = True
        for member in self._members.values():
            self._interrupt(member)
        until = self.clock() + self.settings.grace + _DRAIN_SECONDS
        while any(member.state is not State.ENDED for member in self._members.values()) and self.clock() < until:
            time.sleep(_TICK_SECONDS)
            self._hear_members()
        self._acknowledge(standing)
        self._ending = False  # another round may follow

    def close(self) -> None:
        """End the actors; a supervisor that is left hears SIGTERM."""
        for member in self._members.values():
            member.remote.end()
        if self.listener is not None:
            self.listener.stop()

    # nodes that come and go

    def _look_at_nodes(self) -> None:
        alive, going = cluster.alive(), cluster.going()
        for node_id in self._members.keys() - alive.keys():
            self._lose(self._members[node_id], "its node is gone")
        for node_id in going & self._members.keys():
            member = self._members[node_id]
            if not member.was_going:
                self.tell(member.node.name, "it is drained, and gives its share back")
            self._interrupt(member)
        for node_id in alive.keys() - going - self._members.keys():
            self._welcome(alive[node_id])
        self._refuse_if_none_can_work(alive)

    def _welcome(self, node: Node) -> None:
        record = self._records.setdefault(node.id, _Record())
        if not record.given_up and self.clock() >= record.not_before:
            remote = RemoteNode(node, self.settings.metadata_url)
            self._members[node.id] = _Member(node, remote, remote.ask_facts())

    def _refuse_if_none_can_work(self, alive: Mapping[str, Node]) -> None:
        """Raises NodesRefuse."""
        records = [self._records.get(node_id, _Record()) for node_id in alive]
        if records and all(record.given_up for record in records):
            raise errors.NodesRefuse(next(iter(alive.values())).name, records[0].given_up)

    def _interrupt_those_with_notice(self) -> None:
        for instance_id, _ in self.listener.heard() if self.listener else ():
            for member in self._members.values():
                if member.instance_id == instance_id:
                    self.tell(member.node.name, f"the queue tells that {instance_id} goes; it gives its share back")
                    self._flushing.append(_Flushing(instance_id, member.owner, self.clock()))
                    self._interrupt(member)

    def _interrupt(self, member: _Member) -> None:
        member.was_going |= not self._ending
        if member.state is State.WORKING:
            member.remote.interrupt()
            member.state = State.INTERRUPTED

    # what nodes tell

    def _hear_members(self) -> Progress:
        heard = Progress()
        for member in list(self._members.values()):
            try:
                if member.state is not State.ENDED and member.call.is_there:
                    heard += self._advance(member)
            except ActorLost as lost:
                self._lose(member, str(lost))
        for member in [each for each in self._members.values() if each.state is State.ENDED]:
            self._dismiss(member)
        return heard

    def _advance(self, member: _Member) -> Progress:
        """Its call was answered. Raises ActorLost."""
        if member.state is State.COMING:
            self._start(member, cluster.decoded(member.call, Facts))
        elif member.state is State.STARTING:
            member.owner = process_on(member.call.result(), member.facts.host if member.facts else "")
            member.state = State.WORKING
            member.call = member.remote.ask_news()
            self.tell(member.node.name, "it has joined")
            if member.was_going or self._ending:
                self._interrupt(member)
        else:
            return self._take_news(member, cluster.decoded(member.call, News))
        return Progress()

    def _start(self, member: _Member, facts: Facts) -> None:
        if facts.version != __version__:
            self._give_up(member, f"it has batchgray {facts.version}, and this one is {__version__}")
            return
        member.facts, member.state = facts, State.STARTING
        workers = self.settings.workers or member.node.cpus
        arguments = [*self.settings.arguments, "--workers", str(workers)]
        member.call = member.remote.ask_start(arguments, self.settings.environment)

    def _take_news(self, member: _Member, news: News) -> Progress:
        for message in news.messages:
            self.tell(member.node.name, message)
        if news.exit_code is None:
            member.call = member.remote.ask_news()
        else:
            member.state = State.ENDED
            for flushing in self._flushing:
                flushing.exited |= flushing.owner == member.owner
            self._judge(member, news)
        return news.progress

    def _judge(self, member: _Member, news: News) -> None:
        """Whether, and when, the node gets another supervisor."""
        record = self._records[member.node.id]
        words = news.words.strip().splitlines()
        reason = words[-1] if words else f"it ended with exit code {news.exit_code}"
        if news.exit_code == _REFUSED:
            record.given_up = reason
            self.tell(member.node.name, f"it can't work: {reason}")
        elif news.exit_code == _INTERRUPTED and self._ending and not member.was_going:
            pass  # it was told to, and may work on what follows
        elif news.exit_code == _INTERRUPTED or member.was_going:
            record.not_before = self.clock() + _STAYED_SECONDS
            self.tell(member.node.name, "it has given its share back")
        elif news.exit_code in (0, 3):
            record.not_before = self.clock() + _AGAIN_SECONDS  # all is done, unless there is another round
        else:
            self._count_failure(record, member, reason)

    def _count_failure(self, record: _Record, member: _Member, reason: str) -> None:
        record.failures += 1
        record.not_before = self.clock() + _AGAIN_SECONDS
        if record.failures >= _MOST_FAILURES:
            record.given_up = reason
        self.tell(member.node.name, reason)

    def _give_up(self, member: _Member, reason: str) -> None:
        self._records[member.node.id].given_up = reason
        self.tell(member.node.name, f"it can't work: {reason}")
        member.state = State.ENDED

    def _lose(self, member: _Member, reason: str) -> None:
        """Nothing is heard of it any more; it may still be at work. Others take its share over, if it is not."""
        self._count_failure(self._records[member.node.id], member, f"it is lost ({reason})")
        self._dismiss(member)

    def _dismiss(self, member: _Member) -> None:
        member.remote.end()
        del self._members[member.node.id]

    # notices

    def _acknowledge(self, standing: Callable[[str], Standing]) -> None:
        """Delete the events of those that have flushed; give back those of nodes that were lost before they could."""
        at_work = {member.owner for member in self._members.values()}
        for flushing in [each for each in self._flushing if each.owner not in at_work]:
            found = standing(flushing.owner) if flushing.owner else "nothing"
            if found == "free" or (flushing.exited and found == "nothing"):
                self._flushing.remove(flushing)
                self._delete_event(flushing.instance_id)
            elif flushing.exited or self.clock() - flushing.since > self.settings.grace + _DRAIN_SECONDS:
                self._flushing.remove(flushing)
                if self.listener is not None:
                    self.listener.drop(flushing.instance_id)

    def _delete_event(self, instance_id: str) -> None:
        failure = self.listener.acknowledge(instance_id) if self.listener else None
        if failure:
            self.tell(instance_id, f"its notice could not be acknowledged ({failure}); it may come again")
