"""Moments of the work that a rule may meet although nothing durable is done in them (see `sitecustomize`).

    tile          a tile of an image in memory is finished (path: the name of its output)
    band          a band of an image in bands is finished (likewise)
    decode        its decoder is at work; no signal handler of Python's runs meanwhile
    encode        all its tiles are finished, and its encoder begins
    call, return  before and after a call (path: `MODULE:NAME`, by whatever that module knows the function)

What is watched is the module that calls, as soon as it is imported; a call is watched if a rule named it when the
process began.
"""

import functools
import importlib.util
import sys
from types import SimpleNamespace


def watch(gate) -> None:
    """From now on, whatever module is imported is watched."""
    calls = {}
    for target in gate.targets():
        module, _, name = target.partition(":")
        calls.setdefault(module, []).append((target, name))
    sys.meta_path.insert(0, _Watcher(gate, calls, _CHANGES))


class _Watcher:
    """A finder that lets the others find a module, and changes it when it has been executed."""

    def __init__(self, gate, calls: dict[str, list[tuple[str, str]]], changes: dict) -> None:
        self._gate, self._calls, self._changes = gate, calls, changes
        self._looking: set[str] = set()

    def find_spec(self, name, path=None, target=None):
        if (name not in self._calls and name not in self._changes) or name in self._looking:
            return None
        self._looking.add(name)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._looking.discard(name)
        execute = spec.loader.exec_module

        def execute_and_change(module) -> None:
            execute(module)
            if name in self._changes:
                self._changes[name](self._gate, module)
            for point, attribute in self._calls.get(name, ()):
                _watch_call(self._gate, module, point, attribute)

        spec.loader.exec_module = execute_and_change
        return spec


def _watch_call(gate, module, point: str, attribute: str) -> None:
    *parents, last = attribute.split(".")
    owner = functools.reduce(getattr, parents, module)
    function = getattr(owner, last)

    @functools.wraps(function)
    def watched(*given, **named):
        gate.reach("call", point)
        result = function(*given, **named)
        gate.reach("return", point)
        return result

    setattr(owner, last, watched)


def _change_in_memory(gate, in_memory) -> None:
    real_tiles, real_opening, converter = in_memory.tiles, in_memory.opening, in_memory.Converter
    real_make, real_encode = converter.make, converter._encode
    output = ""

    def make(self, task, *given):
        nonlocal output
        output = task.output
        return real_make(self, task, *given)

    def unfinished(*given):
        for tile in real_tiles.unfinished(*given):
            yield tile
            gate.reach("tile", output)

    def open_image(*given):
        source = real_opening.open_image(*given)
        decode = source.decode

        def watched(planes):
            gate.reach("decode", output)
            return decode(planes)

        source.decode = watched
        return source

    def encode(self, image):
        gate.reach("encode", output)
        return real_encode(self, image)

    converter.make, converter._encode = make, encode
    in_memory.tiles = SimpleNamespace(**{**vars(real_tiles), "unfinished": unfinished})
    in_memory.opening = SimpleNamespace(**{**vars(real_opening), "open_image": open_image})


def _change_band_plane(gate, band_plane) -> None:
    write = band_plane.BandPlane.write

    def watched(self, *given):
        write(self, *given)
        gate.reach("band", self._output)

    band_plane.BandPlane.write = watched


_CHANGES = {"batchgray.workers.in_memory": _change_in_memory, "batchgray.checkpoints.band_plane": _change_band_plane}


def shorten_the_lease(seconds: float) -> None:
    """From now on a share's owner is taken for dead after so long."""
    sys.meta_path.insert(0, _Watcher(None, {}, {"batchgray.manifest.share_log": _change_share_log(seconds)}))


def give_up_after(seconds: float) -> None:
    """From now on a place that does not answer is given up after so long."""
    change = {"batchgray.manifest.share_log": lambda _gate, share_log: setattr(share_log, "AWAY_SECONDS", seconds)}
    sys.meta_path.insert(0, _Watcher(None, {}, change))


def shorten_the_patience(seconds: float) -> None:
    """From now on nothing that a place is asked for is tried again for longer."""

    def change(_gate, retrying) -> None:
        persist = retrying.persist
        retrying.persist = lambda attempt, patience: persist(attempt, min(seconds, patience))

    sys.meta_path.insert(0, _Watcher(None, {}, {"batchgray.storage.retrying": change}))


def _change_share_log(seconds: float):
    def change(_gate, share_log) -> None:
        share_log.STALE_SECONDS, share_log.DOUBT_SECONDS, share_log.RENEW_SECONDS = seconds, seconds / 1.5, seconds / 3

    return change


def call_large(pixels: int) -> None:
    """From now on images of so many pixels are converted in bands, whatever memory there is, and no others."""
    sys.meta_path.insert(0, _Watcher(None, {}, {"batchgray.workers.in_memory": _change_what_is_large(pixels)}))


def _change_what_is_large(pixels: int):
    def change(_gate, in_memory) -> None:
        in_memory.LARGE_PIXELS = pixels

    return change


def cut_shares(images: int) -> None:
    """From now on a share has so many images."""

    def change(_gate, shares) -> None:
        make = shares.Planner.__init__
        shares.Planner.__init__ = functools.partialmethod(make, share_images=images)

    sys.meta_path.insert(0, _Watcher(None, {}, {"batchgray.planning.shares": change}))


def shorten_the_parts(seconds: float) -> None:
    """From now on a part that is split off a share need take no longer than this."""

    def change(_gate, share) -> None:
        share.SPLIT_SECONDS = seconds

    sys.meta_path.insert(0, _Watcher(None, {}, {"batchgray.engine.share": change}))
