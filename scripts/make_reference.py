"""The commands in docs/commands.md: what `--help` says of each, from the program itself.

python scripts/make_reference.py           writes them
python scripts/make_reference.py --check   says whether they are not what would be written, and exits 1
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from batchgray.cli.help import EXIT_CODES
from batchgray.cli.main import cli

TARGET = Path(__file__).parent.parent / "docs" / "commands.md"
BEGIN, END = "<!-- commands: written by scripts/make_reference.py -->", "<!-- end of the commands -->"

_REMARK = re.compile(r"\s*\[([^\[\]]*)\]$")  # the default and the limits, as a help text ends with them


def commands(command: click.Command, parent: click.Context | None = None) -> Iterator[click.Context]:
    """A context for each command that does something, in the order of `--help`, groups opened."""
    name = "batchgray" if parent is None else command.name
    context = click.Context(command, parent, info_name=name, max_content_width=sys.maxsize)
    if not isinstance(command, click.Group):
        yield context
        return
    for each in command.list_commands(context):
        yield from commands(command.commands[each], context)


def section(context: click.Context) -> Iterator[str]:
    """The lines on one command."""
    command = context.command
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield from (f"## {context.command_path}", "", "```", usage, "```", "", *_prose(command.help or ""))
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    if options:
        yield from ("", "| option | meaning |", "| --- | --- |")
        yield from (_row(option, context) for option in options)
    if command.epilog and command.epilog != EXIT_CODES:
        yield from ("", "```", command.epilog.replace("\b\n", "").strip(), "```")


def _prose(text: str) -> Iterator[str]:
    """One sentence a line, as in all pages."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    for number, paragraph in enumerate(paragraphs):
        yield from [""] * bool(number)
        yield from re.split(r"(?<=\.) (?=[A-Z])", paragraph)


def _row(option: click.Option, context: click.Context) -> str:
    record = option.get_help_record(context)
    assert record is not None  # no option is hidden
    names, meaning = record
    remarks: list[str] = []
    while remark := _REMARK.search(meaning):
        remarks.insert(0, remark[1])
        meaning = meaning[: remark.start()]
    if isinstance(option.type, click.Choice):
        names = ", ".join(option.opts)
        meaning += f" One of {', '.join(f'`{choice}`' for choice in option.type.choices)}."
    named = "<br>".join(f"`{name}`" for name in names.split(", "))
    said = f" ({'; '.join(remarks)})" if remarks else ""
    return f"| {named} | {_escaped(meaning + said)} |"


def _escaped(text: str) -> str:
    return text.replace("|", r"\|").replace("*", r"\*")


def rendered() -> str:
    """The whole page."""
    before, _, rest = TARGET.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    sections = "\n\n".join("\n".join(section(context)) for context in commands(cli))
    return f"{before}{BEGIN}\n\n{sections}\n\n{END}{after}"


def main() -> int:
    text = rendered()
    if "--check" in sys.argv[1:]:
        if TARGET.read_text("utf-8") == text:
            return 0
        print(f"{TARGET} is not what scripts/make_reference.py writes: run it", file=sys.stderr)
        return 1
    TARGET.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
