"""The program: its commands, its exit codes, and a sentence where one fails."""

import io
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

import click
from click.shell_completion import get_completion_class

from batchgray import errors, program
from batchgray.cli import queue, reading, running
from batchgray.cli.flags import unknown_variables
from batchgray.cli.help import EXIT_CODES, Group, show_version
from batchgray.cli.streams import hold_standard_descriptors, leave, say, show_any_name, tell
from batchgray.cli.values import Choice
from batchgray.errors import BatchgrayError, UsageError
from batchgray.progress import journal

_END_SECONDS = 3.0
_WARNING_SECONDS = 1.0
_COMPLETION_VARIABLE = "_BATCHGRAY_COMPLETE"


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=show_version,
    help="Show the version and exit.",
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Convert folders of images to grayscale, be interrupted, and go on as if nothing had happened."""
    warnings = [f"batchgray: warning: {message}" for message in unknown_variables(ctx.command, os.environ)]
    if warnings:
        tell("\n".join(warnings), _WARNING_SECONDS, journal.WARNING)


@cli.command(
    short_help="Print the script that completes in a shell.",
    epilog="""\b
To have it in every new shell:
  bash  echo 'eval "$(batchgray completion bash)"' >> ~/.bashrc
  zsh   echo 'eval "$(batchgray completion zsh)"' >> ~/.zshrc      (below compinit)
  fish  batchgray completion fish > ~/.config/fish/completions/batchgray.fish
""",
)
@click.argument("shell", metavar="bash|zsh|fish", type=Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes batchgray's commands, options and names in bash, zsh or fish."""
    kind = get_completion_class(shell)
    assert kind is not None  # click knows all three
    say(kind(cli, {}, "batchgray", _COMPLETION_VARIABLE).source())


for command in (
    running.run,
    running.resume,
    reading.status,
    reading.verify,
    reading.report,
    reading.doctor,
    queue.smq,
):
    cli.add_command(command)


def _name_called() -> str:
    """The program as it was called, to be called so again."""
    script = sys.argv[0]
    if os.path.basename(script) == "__main__.py":
        return f"{shlex.quote(sys.orig_argv[0])} -m batchgray"
    name = os.path.basename(script)
    return name if shutil.which(name) == os.path.abspath(script) else shlex.quote(script)


def _has_working_folder() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _fail(message: str, code: int) -> NoReturn:
    _end(f"batchgray: {message}", code)


def _end(words: str, code: int) -> NoReturn:
    """With words on standard error, as far as they are read; the exit code tells too."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)  # it ends already, and with this code
    tell(words, _END_SECONDS, journal.NOTICE if code == 75 else journal.ERROR)
    leave(code)


class _Stopped(BaseException):
    """Ctrl-C. Of a KeyboardInterrupt click tells standard error, which may be a pipe that is not read."""


def _stop(_signum: int, _frame: object) -> NoReturn:
    raise _Stopped


def _end_early(signum: int, _frame: object) -> NoReturn:
    raise errors.Stopped(signal.Signals(signum).name)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The program. Ends with the exit codes of the contract, and with a sentence instead of a traceback."""
    hold_standard_descriptors()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)  # until the run listens itself, as the others
    for signum in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) is signal.SIG_DFL:
            signal.signal(signum, _end_early)
    show_any_name(sys.stdout)
    show_any_name(sys.stderr)
    if sys.getfilesystemencoding() != "utf-8":
        encoding = sys.getfilesystemencoding()
        _fail(f"error: names are {encoding} in this locale, and UTF-8 in a manifest. Set PYTHONUTF8=1.", 2)
    try:
        program.was_called(_name_called())
        cli.main(
            args=arguments,
            prog_name=program.command(),
            complete_var=_COMPLETION_VARIABLE,
            standalone_mode=False,
        )
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        said = io.StringIO()
        error.show(said)
        _end(said.getvalue().rstrip("\n"), 2)
    except _Stopped:
        _end(f"\nbatchgray: {errors.Stopped('SIGINT')}", 75)
    except UsageError as error:
        _fail(f"error: {error}", error.exit_code)
    except BatchgrayError as error:
        _fail(f"{'' if error.exit_code == 75 else 'fatal: '}{error}", error.exit_code)
    except RuntimeError as error:
        if "new thread" not in str(error):
            raise
        _fail("fatal: no thread can be started; raise ulimit -u. What was done is kept, and resume goes on.", 1)
    except FileNotFoundError:
        if _has_working_folder():
            raise
        _fail("error: the working folder was deleted. Change to one that is there, or name all folders in full.", 2)
    sys.exit(0)
