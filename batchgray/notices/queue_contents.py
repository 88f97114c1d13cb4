"""Whose messages lie in a queue, told by peeking: nothing is received, hidden or deleted."""

from collections.abc import Iterator

from batchgray.findings import Finding
from batchgray.notices.inbox import OLD_SECONDS
from batchgray.notices.queue import PAGE, Message
from batchgray.notices.spot_event import Unreadable, parse
from batchgray.quantities import rounded_duration

_MOST_NAMED = 5
_OTHER, _UNREADABLE = "of another kind", "that can't be read as an event"
_CLEAR = "delete them at the SMQ console (the queue's Receive Message), or let its retention end them"


def findings_of(page: list[Message], own: str | None) -> Iterator[Finding]:
    """What a page that was peeked at tells; `own` is this machine's instance id, if it is known."""
    by_whom: dict[str, list[Message]] = {}
    for message in page:
        by_whom.setdefault(_whose(message), []).append(message)
    mine = by_whom.pop(f"for {own}", [])
    yield _others(by_whom, len(page))
    if mine:
        yield _mine(mine, own or "")


def _whose(message: Message) -> str:
    try:
        event = parse(message.body)
    except Unreadable:
        return _UNREADABLE
    return f"for {event.instance_id}" if event else _OTHER


def _others(by_whom: dict[str, list[Message]], seen: int) -> Finding:
    if not by_whom:
        return Finding(what="messages", verdict="fine", detail="none for other instances")
    named = [_group(whose, messages) for whose, messages in list(by_whom.items())[:_MOST_NAMED]]
    more = len(by_whom) - len(named)
    behind = f"; {PAGE} were looked at, and there may be more behind them" if seen == PAGE else ""
    detail = ", ".join(named) + (f", and for {more} more" if more else "") + behind
    old = sum(message.age > OLD_SECONDS for messages in by_whom.values() for message in messages)
    if not old:
        return Finding(what="messages", verdict="fine", detail=f"{detail}: a run leaves them alone")
    remedy = f"{old} older than ten minutes, of machines that are gone or of rehearsals: {_CLEAR}"
    return Finding(what="messages", verdict="note", detail=detail, remedy=remedy)


def _group(whose: str, messages: list[Message]) -> str:
    oldest = "the oldest " if len(messages) > 1 else ""
    return f"{len(messages)} {whose} ({oldest}{rounded_duration(max(message.age for message in messages))} old)"


def _mine(messages: list[Message], own: str) -> Finding:
    """Of this very instance: a run that begins now would heed a fresh one at once."""
    fresh = [message for message in messages if message.age <= OLD_SECONDS]
    detail = _group(f"for this instance, {own}", messages)
    ids = ", ".join(message.message_id for message in messages)
    if not fresh:
        remedy = f"the instance has outlived it, and a run leaves it alone: delete message {ids} at the SMQ console"
    else:
        detail += ": a run that begins now is interrupted at once"
        remedy = (
            f"after a rehearsal delete message {ids} at the SMQ console, or wait until it is ten minutes old; "
            "else this machine is about to be taken away: begin elsewhere"
        )
    return Finding(what="messages for this instance", verdict="note", detail=detail, remedy=remedy)
