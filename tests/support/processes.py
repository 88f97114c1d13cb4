"""Which tests start processes: found in their code, and held against what they do.

`make check` leaves these tests out. A test starts processes if its code, its fixtures, or whatever of this repository
they name leads to one of `STARTERS`; it gets the marker `processes` then. Any other test fails in the moment it starts
one, wherever it is run: what this reading of the code does not see can't stay unseen. Such a test takes
`@pytest.mark.processes` by hand.
"""

import contextlib
import functools
import inspect
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, MethodType, ModuleType

import pytest

STARTERS = (subprocess.Popen, os.fork, os.forkpty, os.posix_spawn, os.posix_spawnp, os.system)
EVENTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}
NOT_OURS = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))

_started: list[str] | None = None  # by a test that is to start none; None while there is no such test


class ProcessStarted(BaseException):
    """Not an Exception, which the code under test might take for a failure of the system."""


def _refuse(event: str, arguments: tuple) -> None:
    if _started is not None and event in EVENTS:
        _started.append(f"{event} {arguments[:2]}")
        raise ProcessStarted(_started[-1])


sys.addaudithook(_refuse)  # for good: hooks can't be taken off


@pytest.hookimpl(tryfirst=True)  # before those are left out that have a marker
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    for item in items:
        if _starts_some(item):
            item.add_marker("processes")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    with _as_marked(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with _as_marked(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    with _as_marked(item):
        return (yield)


@contextlib.contextmanager
def _as_marked(item: pytest.Item) -> Iterator[None]:
    """Around what a test does: fails if it starts a process and is not marked, whoever caught the exception."""
    global _started  # noqa: PLW0603 - so is the hook
    if item.get_closest_marker("processes"):
        yield
        return
    _started = found = []
    try:
        yield
    finally:
        _started = None
        if found:
            pytest.fail(f"it starts a process without the marker for it (see tests/support/processes.py): {found[0]}")


def _starts_some(item: pytest.Function) -> bool:
    """Whether the code of a test and of its fixtures leads to a process."""
    test = getattr(getattr(item.function, "hypothesis", None), "inner_test", item.function)
    fixtures = [each.func for several in item._fixtureinfo.name2fixturedefs.values() for each in several]
    methods = _attributes(item.cls, _names(test.__code__)) if item.cls else []
    waiting = list(_functions([test, *fixtures, *methods]))
    seen: set[Callable] = set()
    while waiting:
        function = inspect.unwrap(waiting.pop())
        if function not in seen:
            seen.add(function)
            found = _named_in(function)
            if not found.isdisjoint(STARTERS):
                return True
            waiting += found
    return False


@functools.cache
def _named_in(function: FunctionType) -> set[Callable]:
    """The functions that the code of one names, and every method of the classes."""
    names = _names(function.__code__)
    closure = inspect.getclosurevars(function).nonlocals if function.__closure__ else {}
    found: set[Callable] = set()
    for name in names:
        there = next((place[name] for place in (closure, function.__globals__) if name in place), _module(name))
        opened = isinstance(there, ModuleType) and (there in (os, subprocess) or _is_ours(there))
        found |= set(_functions(_attributes(there, names) if opened else there))
    return found


def _names(code: CodeType) -> set[str]:
    inner = [_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return {*code.co_names, *code.co_freevars}.union(*inner)


def _module(name: str) -> ModuleType | None:
    """One that a function imports for itself."""
    ours = (each for path, each in sys.modules.items() if path.startswith("batchgray.") and path.endswith(f".{name}"))
    return sys.modules.get(name) or next(ours, None)


def _attributes(owner: object, names: set[str]) -> list[object]:
    return [getattr(owner, name) for name in names if hasattr(owner, name)]


def _functions(thing: object) -> Iterator[Callable]:
    """What may be called where a thing is named: itself, the methods of a class, the entries of a table."""
    if isinstance(thing, (list, tuple)):
        for each in thing:
            yield from _functions(each)
    elif isinstance(thing, dict):
        yield from _functions(list(thing.values()))
    elif any(thing is starter for starter in STARTERS):
        yield thing
    elif isinstance(thing, type) and _is_ours(sys.modules.get(thing.__module__)):
        yield from _functions([getattr(each, "__func__", each) for each in vars(thing).values()])
    elif isinstance(thing, MethodType):
        yield from _functions(thing.__func__)
    elif isinstance(thing, property):
        yield from _functions(thing.fget)
    elif isinstance(thing, FunctionType) and (_is_ours(inspect.getmodule(thing)) or thing.__module__ == "subprocess"):
        yield thing


def _is_ours(module: ModuleType | None) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and not file.startswith(NOT_OURS)
