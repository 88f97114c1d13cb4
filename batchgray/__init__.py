"""batchgray converts folders of images to grayscale, is interrupted, and goes on as if nothing had happened.

`run` and `resume` are the program's two verbs for other programs, `to_gray` is its arithmetic for an array in memory;
docs/library.md shows them at work. Importing this package costs nothing: a name's module is imported when the name is
used, and numpy when `to_gray` is called.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from batchgray._version import __version__

if TYPE_CHECKING:
    from batchgray import events
    from batchgray.engine.runs import Result, resume, run
    from batchgray.errors import BatchgrayError
    from batchgray.kernels.arrays import to_gray
    from batchgray.notices.interrupter import Interrupter
    from batchgray.notices.signals import SignalSource
    from batchgray.options import EngineOptions, PixelOptions, ResumeOptions, RunOptions

__all__ = [
    "BatchgrayError",
    "EngineOptions",
    "Interrupter",
    "PixelOptions",
    "Result",
    "ResumeOptions",
    "RunOptions",
    "SignalSource",
    "__version__",
    "events",
    "resume",
    "run",
    "to_gray",
]

_HOMES = {
    "BatchgrayError": "batchgray.errors",
    "EngineOptions": "batchgray.options",
    "Interrupter": "batchgray.notices.interrupter",
    "PixelOptions": "batchgray.options",
    "Result": "batchgray.engine.runs",
    "ResumeOptions": "batchgray.options",
    "RunOptions": "batchgray.options",
    "SignalSource": "batchgray.notices.signals",
    "resume": "batchgray.engine.runs",
    "run": "batchgray.engine.runs",
    "to_gray": "batchgray.kernels.arrays",
}


def __getattr__(name: str) -> object:
    if name == "events":
        return import_module("batchgray.events")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
