"""Command lines in documents and files for deployment, held against the program."""

import shlex
from collections.abc import Iterator

import click

from batchgray.cli import main


def all_commands(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        yield from all_commands(command) if isinstance(command, click.Group) else [command]


def check_command(line: str) -> None:
    """That a command line names a command and options that exist."""
    words = shlex.split(line)[1:]
    command: click.Command = main.cli
    while isinstance(command, click.Group) and words:
        name = words.pop(0)
        assert name in command.commands, line
        command = command.commands[name]
    known = {name for option in command.params for name in option.opts}
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= known, line
