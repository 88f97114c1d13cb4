"""The commands for the queue that interruption events come through: smq create and smq simulate."""

from typing import Any

import click

from batchgray.cli.flags import QUEUE_OPTIONS, option, queue_options
from batchgray.cli.help import EXIT_CODES, Group
from batchgray.cli.parsing import notice_options
from batchgray.cli.streams import say
from batchgray.cli.values import WORD


@click.group(cls=Group)
def smq() -> None:
    """The queue that interruption events come through."""


@smq.command(epilog=EXIT_CODES)
@click.argument("name", type=WORD)
@queue_options
def create(name: str, **given: Any) -> None:
    """Create the queue NAME; one that is there is left as it is."""
    from batchgray.notices import rehearsal

    made = rehearsal.create_queue(notice_options({"smq_queue": name, **given}))
    say(f"Queue {name} {'is made' if made else 'is there already, and was left as it is'}.")


@smq.command(epilog=EXIT_CODES)
@option("--instance-id", type=WORD, required=True, metavar="ID", help="Whose interruption to simulate.")
@QUEUE_OPTIONS[0]
@queue_options
def simulate(instance_id: str, **given: Any) -> None:
    """Send the interruption event that CloudMonitor's "Debug Event Subscription" would send."""
    from batchgray.notices import rehearsal

    message_id = rehearsal.simulate(notice_options(given), instance_id)
    say(f"Sent the interruption of {instance_id} to queue {given['smq_queue']} (message {message_id}).")
