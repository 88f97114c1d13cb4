"""The kinds of values that options take. All refuse alike: which option, what it takes, and what it was given."""

import difflib
import os
from pathlib import Path
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from batchgray import errors
from batchgray.errors import shown
from batchgray.options import Bounds
from batchgray.storage.names import is_url


def given_variable(ctx: click.Context | None, parameter: click.Parameter) -> str | None:
    """The variable in the environment that gave a parameter its value, if one did."""
    if ctx is None or ctx.get_parameter_source(parameter.name or "") is not click.core.ParameterSource.ENVIRONMENT:
        return None
    names = [parameter.envvar] if isinstance(parameter.envvar, str) else parameter.envvar or ()
    return next((name for name in names if os.environ.get(name)), None)


def name_of(parameter: click.Parameter, ctx: click.Context) -> str:
    """How a value is to be blamed: by its option or its variable, by the word for an argument, or by its command."""
    if isinstance(parameter, click.Option):
        return given_variable(ctx, parameter) or max(parameter.opts, key=len)
    word = parameter.make_metavar(ctx).removesuffix("...")
    return word if word.isalpha() else str(ctx.info_name)


class _Value(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.4
    """A value with limits of its own."""

    name = "text"

    def refuse(self, value: Any, takes: str, param: click.Parameter | None, ctx: click.Context | None) -> NoReturn:
        """Raises BadValue."""
        raise errors.BadValue(_blamed(param, ctx), takes, str(value) or "''")


def _blamed(param: click.Parameter | None, ctx: click.Context | None) -> str:
    return "it" if param is None or ctx is None else name_of(param, ctx)


class Whole(_Value):
    """A whole number within bounds."""

    name = "number"

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            self.refuse(value, str(self._bounds), param, ctx)
        if not self._bounds.hold(number):
            self.refuse(value, str(self._bounds), param, ctx)
        return number


class Seconds(_Value):
    """A time in seconds; within which limits is known to its record."""

    def __init__(self, takes: str) -> None:
        self._takes = takes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return float(value)
        except ValueError:
            self.refuse(value, self._takes, param, ctx)


class YesOrNo(click.types.BoolParamType):
    """A flag: given or not on the command line; its variable says which."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            raise errors.BadValue(_blamed(param, ctx), "yes or no, or 1 or 0", str(value)) from None


class Choice(click.Choice):  # type: ignore[type-arg]  # generic only since click 8.2
    """One of a few words; of one that is none of them, it says the nearest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in self.choices:
            return value
        given, takes = str(value) or "''", errors.alternatives(self.choices)
        near = difflib.get_close_matches(given, self.choices, 1)
        if near:
            raise errors.MisspeltValue(_blamed(param, ctx), takes, given, near[0])
        raise errors.BadValue(_blamed(param, ctx), takes, given)


class Name(click.Path):
    """The name of a file or folder. Whether it can be read is found out by reading: os.access is wrong with ACLs."""

    def __init__(self, folder: bool = False, **settings: Any) -> None:
        super().__init__(readable=False, **settings)
        self._kind = "dir" if folder else "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not os.fspath(value):  # as from a variable that is not set; it would be the working folder
            raise errors.EmptyValue(_blamed(param, ctx))
        return super().convert(value, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type=self._kind)]


class ManifestName(Name):
    """The name of a manifest, or of the folder where it has its usual name. Of a URL that of the place, as a str."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if is_url(os.fspath(value)):
            return os.fspath(value).rstrip("/").removesuffix("/manifest.json")
        path = super().convert(value, param, ctx)
        return path / "manifest.json" if os.path.isdir(path) else path


class PlaceName(Name):
    """The name of a file or folder, or the URL of a place in an object store; as it was given."""

    def __init__(self, folder: bool = False) -> None:
        super().__init__(folder=folder, path_type=str)


class Word(_Value):
    """What names something elsewhere: an instance, a queue, a service.

    Empty, or with what is no text, it would be asked for in vain.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        word = str(value).strip()
        if not word:
            raise errors.EmptyValue(_blamed(param, ctx))
        if not word.isprintable():
            raise errors.StrayCharacter(_blamed(param, ctx), shown(word))
        return word


class ShardName(_Value):
    """I/N: the I-th of N parts."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        number, slash, count = str(value).partition("/")
        if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            self.refuse(value, "I/N with I from 1 to N, such as 3/8", param, ctx)
        return int(number), int(count)


PATH = Name(path_type=Path)
WORD = Word()
MANIFEST = ManifestName(path_type=Path)
ANY_PLACE = PlaceName()
PLACE = PlaceName(folder=True)
YES_OR_NO = YesOrNo()
