"""A command line that can't be taken: what is wrong with it, in this program's words, and what to give instead."""

import difflib
import os
import shlex
from collections.abc import Iterator, Sequence

import click

from batchgray.cli.values import name_of
from batchgray.errors import UsageError

_LONG = 200  # characters of a command line: to be read at a glance


def refusal(error: click.UsageError, ctx: click.Context, arguments: Sequence[str]) -> click.UsageError | UsageError:
    """What click refuses of a command's arguments, in our words. A help text, which is such an error too, stays."""
    match error:
        case click.MissingParameter(param=click.Parameter() as parameter):
            what = f"{_as_given(parameter, ctx)} is missing"
            return UsageError(f"{what}. Give `{_whole(ctx)}`; {_asking(ctx, 'tells more')}.")
        case click.NoSuchOption(option_name=name):
            return UsageError(_no_such_option(name, ctx, arguments))
        case click.BadOptionUsage(option_name=name):
            return UsageError(_misused(name, ctx))
    return error


def refusal_of_rest(ctx: click.Context, arguments: Sequence[str]) -> UsageError:
    """Of what is left over when a command has taken all that it takes."""
    what = f"{shlex.join(arguments)} is too much"
    return UsageError(f"{what}. Give `{_whole(ctx)}`, options, and nothing else; a name with blanks needs quotes.")


def refusal_of_command(ctx: click.Context, commands: Sequence[str], arguments: Sequence[str]) -> UsageError:
    """Of a first word that is no command: one that is spelt nearly so, or the INPUT of one that was forgotten."""
    word, *rest = arguments
    near = difflib.get_close_matches(word, commands, 1)
    if near and not os.path.exists(word):
        return UsageError(f"there is no command {word}. Did you mean `{_line(ctx, near[0], *rest)}`?")
    if "run" not in commands:
        return UsageError(f"there is no command {word}. {_asking(ctx, 'lists them')}.")
    return UsageError(f"{word} is no command. {_to_convert(ctx, arguments)}")


def _to_convert(ctx: click.Context, arguments: Sequence[str]) -> str:
    out = [] if any(word.split("=")[0] == "--out" for word in arguments) else ["--out", "DIR"]
    line = _line(ctx, "run", *arguments, *out)
    if len(line) > _LONG:  # as where a shell made names of *.jpg
        line = f"{ctx.command_path} run INPUT... --out DIR"
    return f"To convert images, give `{line}`; {_asking(ctx, 'lists all commands')}."


def _no_such_option(name: str, ctx: click.Context, arguments: Sequence[str]) -> str:
    if isinstance(ctx.command, click.Group) and name in _options_of(ctx.command.commands.get("run")):
        return f"{name} comes after a command. {_to_convert(ctx, arguments)}"
    known = [*_options_of(ctx.command), *ctx.help_option_names]
    near = difflib.get_close_matches(name, known, 1)
    remedy = f"Did you mean {near[0]}? " if near else ""
    command = ctx.info_name if ctx.parent else "batchgray"
    return f"{command} has no option {name}. {remedy}{_asking(ctx, 'lists its options')}."


def _misused(name: str, ctx: click.Context) -> str:
    option = next(param for param in ctx.command.get_params(ctx) if name in param.opts)
    if isinstance(option, click.Option) and option.is_flag:
        return f"{name} takes no value: it is given alone, or left out."
    return f"{name} is given without a value. Give `{_as_given(option, ctx)}`; {_asking(ctx, 'tells more')}."


def _options_of(command: click.Command | None) -> Iterator[str]:
    for parameter in command.params if command else ():
        yield from parameter.opts


def _as_given(parameter: click.Parameter, ctx: click.Context) -> str:
    """An option with the word for its value, or the word for an argument."""
    metavar = parameter.make_metavar(ctx)
    return f"{name_of(parameter, ctx)} {metavar}" if isinstance(parameter, click.Option) else metavar


def _whole(ctx: click.Context) -> str:
    """A command with all that it must have."""
    arguments = [parameter for parameter in ctx.command.params if isinstance(parameter, click.Argument)]
    others = [parameter for parameter in ctx.command.params if parameter.required and parameter not in arguments]
    return " ".join([ctx.command_path, *(_as_given(parameter, ctx) for parameter in (*arguments, *others))])


def _line(ctx: click.Context, *words: str) -> str:
    return " ".join([ctx.command_path, *map(shlex.quote, words)])


def _asking(ctx: click.Context, what: str) -> str:
    return f"`{ctx.command_path} --help` {what}"
