"""Help texts as answers like any other, and the exit codes that they tell."""

import re
from typing import Any

import click

from batchgray._version import __version__
from batchgray.cli import usage
from batchgray.cli.streams import say
from batchgray.cli.values import given_variable
from batchgray.errors import UsageError

_OPTION = re.compile(r"(?<![-\w])--[a-z][-a-z]*")
EXIT_CODES = """\b
Exit codes:
  0   every image is done
  1   a fatal error; what was done is kept
  2   usage or configuration error, found before any work
  3   finished, but some images failed (verify: some outputs are damaged)
  75  interrupted; everything is flushed, and `batchgray resume` goes on
"""


class Command(click.Command):
    """Its help is an answer like any other (see `say`); an error blames the variable that gave an option.

    What click refuses is told in words of our own (see `usage`).
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given, refusing = tuple(args), not (ctx.allow_extra_args or ctx.resilient_parsing)
        ctx.allow_extra_args = True  # what is left over is refused here
        try:
            rest = super().parse_args(ctx, args)
        except click.UsageError as error:
            raise usage.refusal(error, ctx, given) from None
        if rest and refusing:
            raise usage.refusal_of_rest(ctx, rest)
        return rest

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UsageError as error:
            raise _blaming_variable(error, ctx) from None

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        found = super().get_help_option(ctx)
        if found is not None:
            found.callback = _show_help
        return found


def _blaming_variable(error: UsageError, ctx: click.Context) -> UsageError:
    """What an error says of options, but for those of the commands that it advises, said of their variables."""
    variables = {
        name: variable
        for parameter in ctx.command.params
        if (variable := given_variable(ctx, parameter))
        for name in parameter.opts
    }
    text = str(error)
    if not variables or "\n" in text:
        return error
    parts = text.split("`")
    for index in range(0, len(parts), 2):
        parts[index] = _OPTION.sub(lambda found: variables.get(found[0], found[0]), parts[index])
    return UsageError("`".join(parts))


class Group(Command, click.Group):
    command_class = Command
    group_class = type

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand:
            raise usage.refusal_of_command(ctx, self.list_commands(ctx), args) from None


def _show_help(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        say(ctx.get_help())
        ctx.exit()


def show_version(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        say(f"batchgray {__version__}")
        ctx.exit()
