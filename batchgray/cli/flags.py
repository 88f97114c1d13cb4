"""What the options of the commands have in common: their variables, and which several share."""

import difflib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click

from batchgray import options, program
from batchgray.cli.values import PATH, WORD, YES_OR_NO, Choice, Seconds, ShardName, Whole
from batchgray.errors import shown

_PREFIX = "BATCHGRAY_"

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]


class Repeatable(click.Option):
    """An option that may be repeated. Its variable has one value a line: names and globs have blanks and colons."""

    def value_from_envvar(self, ctx: click.Context) -> Any:
        text = self.resolve_envvar_value(ctx)
        return None if text is None else [line for line in text.split("\n") if line]


def option(*names: str, **settings: Any) -> Decorator:
    """A click option that BATCHGRAY_<OPTION> in the environment can give too."""
    long_name = next(name for name in names if name.startswith("--")).split("/")[0]
    variable = _PREFIX + long_name.removeprefix("--").upper().replace("-", "_")
    if settings.get("is_flag"):
        settings["type"] = YES_OR_NO
    kind = Repeatable if settings.get("multiple") else click.Option
    return click.option(*names, cls=kind, envvar=variable, **settings)


def unknown_variables(command: click.Command, environment: Iterable[str]) -> Iterator[str]:
    """In words: what looks like an option's variable in the environment, and is none of any command below `command`."""
    known = {name.removeprefix(_PREFIX) for name in _variables_of(command)}
    asking = program.command("run", "--help")
    for name in sorted(environment):
        if name.startswith(_PREFIX) and name.removeprefix(_PREFIX) not in known:
            near = difflib.get_close_matches(name.removeprefix(_PREFIX), known, 1)
            remedy = f"did you mean {_PREFIX}{near[0]}?" if near else f"`{asking}` lists the options"
            yield f"{shown(name)} in the environment is no option's, and is not used; {remedy}"


def _variables_of(command: click.Command) -> Iterator[str]:
    if isinstance(command, click.Group):
        for each in command.commands.values():
            yield from _variables_of(each)
    for parameter in command.params:
        yield from [parameter.envvar] if isinstance(parameter.envvar, str) else parameter.envvar or ()


NO_LOCK = option(
    "--no-lock",
    is_flag=True,
    help="Go on where the file system refuses to lock the manifest. Nothing then keeps a second process off it.",
)
QUEUE_OPTIONS: list[Decorator] = [
    option(
        "--smq-queue",
        type=WORD,
        default="spot-interruption",
        show_default=True,
        metavar="NAME",
        help="The SMQ queue.",
    ),
    click.option(
        "--smq-endpoint",
        envvar=["BATCHGRAY_SMQ_ENDPOINT", "MNS_ENDPOINT"],
        type=WORD,
        metavar="URL",
        help="The SMQ endpoint.  [default: MNS_ENDPOINT in the environment]",
    ),
]
IDENTITY_OPTIONS: list[Decorator] = [
    option("--instance-id", type=WORD, metavar="ID", help="Which instance this is.  [default: from instance metadata]"),
    option(
        "--metadata-url",
        type=WORD,
        metavar="URL",
        help="The instance metadata service.  [default: http://100.100.100.200, on Alibaba Cloud]",
    ),
]


def _together(*decorators: Decorator) -> Decorator:
    """Several options as one decorator; --help lists them in this order."""

    def decorate(command: Command) -> Command:
        return functools.reduce(lambda decorated, decorator: decorator(decorated), reversed(decorators), command)

    return decorate


# The options of run and resume that change no byte of any output.
options_of_both = _together(
    option(
        "--prune",
        is_flag=True,
        help="Remove outputs whose inputs are gone, if they are as they were made; INPUTs may have nothing any more.",
    ),
    option(
        "--times",
        is_flag=True,
        help="Outputs get the modification times of their inputs. Resumed, a run that had it goes on so.",
    ),
    option(
        "--workers",
        type=Whole(options.WORKERS),
        metavar="N",
        help="Worker processes.  [default: the physical cores to be had]",
    ),
    option(
        "--memory",
        metavar="SIZE",
        help="Upper bound for image planes in flight.  [default: 60% of what is available]",
    ),
    option(
        "--checkpoint",
        type=Seconds(options.CHECKPOINT),
        default=5.0,
        show_default=True,
        metavar="SECONDS",
        help="The most a power cut can cost.",
    ),
    option(
        "--grace",
        type=Seconds(options.GRACE),
        default=30.0,
        show_default=True,
        metavar="SECONDS",
        help="From SIGTERM to the workers until they are killed and salvaged.",
    ),
    option(
        "--progress",
        type=Choice(["auto", "bar", "plain", "json", "none"]),
        default="auto",
        show_default=True,
        help="How to tell what happens; json is one object a line on standard output.",
    ),
    option(
        "-q",
        "--quiet",
        is_flag=True,
        help="Tell only of warnings, interruptions and failures, on standard error.",
    ),
    option(
        "-v", "--verbose", is_flag=True, help="Tell of each image as it is done, and of each file that is left out."
    ),
    option(
        "--metrics",
        type=PATH,
        metavar="FILE",
        help="Write figures for Prometheus to FILE.prom, as node_exporter's textfile collector reads them.",
    ),
    option(
        "--notices",
        type=Choice(["auto", "smq", "metadata", "smq,metadata", "none"]),
        default="auto",
        show_default=True,
        help="Where interruption notices come from. Signals always count.",
    ),
    option(
        "--join",
        is_flag=True,
        help="Work on a job together with all machines that are given the same command, and take what nobody holds.",
    ),
    option(
        "--shard",
        type=ShardName(),
        metavar="I/N",
        help="Of a job, take every N-th share from the I-th on and no other; for schedulers that number their tasks.",
    ),
    option(
        "--engine",
        type=Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Who converts: this machine, or the nodes of a Ray cluster, as a job.",
    ),
    option(
        "--ray-address",
        type=WORD,
        metavar="ADDRESS",
        help="HOST:PORT of the Ray cluster.  [default: RAY_ADDRESS in the environment, or one on this machine]",
    ),
    NO_LOCK,
    option("--any-instance", is_flag=True, help="React to every instance's notice (a queue of one's own)."),
    *QUEUE_OPTIONS,
    *IDENTITY_OPTIONS,
)
queue_options = _together(*QUEUE_OPTIONS[1:], *IDENTITY_OPTIONS[1:])
