"""Help texts as answers like any other, and the exit codes that they tell."""

import click

from batchgray._version import __version__
from batchgray.cli.streams import say

EXIT_CODES = """\b
Exit codes:
  0   every image is done
  1   a fatal error; what was done is kept
  2   usage or configuration error, found before any work
  3   finished, but some images failed (verify: some outputs are damaged)
  75  interrupted; everything is flushed, and `batchgray resume` goes on
"""


class Command(click.Command):
    """Its help is an answer like any other (see `say`)."""

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        found = super().get_help_option(ctx)
        if found is not None:
            found.callback = _show_help
        return found


class Group(Command, click.Group):
    command_class = Command
    group_class = type


def _show_help(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        say(ctx.get_help())
        ctx.exit()


def show_version(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        say(f"batchgray {__version__}")
        ctx.exit()
