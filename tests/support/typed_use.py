"""A program that uses the library, for `mypy --strict`: what type checkers see is what there is. Never run."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

import batchgray
from batchgray import (
    BatchgrayError,
    EngineOptions,
    Interrupter,
    PixelOptions,
    Result,
    ResumeOptions,
    RunOptions,
    SignalSource,
    events,
    resume,
    run,
    to_gray,
)


def arrays(eight: NDArray[np.uint8], sixteen: NDArray[np.uint16], real: NDArray[np.float64]) -> None:
    assert_type(to_gray(eight), NDArray[np.uint8])
    assert_type(to_gray(sixteen, method="luma"), NDArray[np.uint8])
    to_gray(real)  # type: ignore[arg-type]  # no fixed range
    to_gray(eight, "bt2020")  # type: ignore[arg-type]  # no such method


def folders(name: str, path: Path, entry: os.DirEntry[str], several: Sequence[Path | str]) -> Result:
    RunOptions(inputs=name, out=path)
    RunOptions(inputs=several, out=entry, manifest=name, exclude=["*.gif"])
    RunOptions(inputs=[name, path, entry], out=name, max_pixels=10**6, include=("*.jpg",), overwrite=True)
    RunOptions(inputs=3, out=path)  # type: ignore[arg-type]  # no path
    RunOptions(inputs=name)  # type: ignore[call-arg]  # no out
    RunOptions(inputs=name, out=path, quality=3)  # type: ignore[call-arg]  # that is of PixelOptions
    PixelOptions(method="bt709", format="png", quality=90, tile_rows=8, metadata="strip", background="white")
    PixelOptions(format="tiff")  # type: ignore[arg-type]  # no such format
    options = RunOptions(inputs=name, out=path, engine=EngineOptions(workers=2, memory=10**9, checkpoint=1, grace=10))
    assert_type(options.inputs, tuple[Path, ...])
    assert_type(options.manifest, Path | None)
    options.out = path  # type: ignore[misc]  # frozen
    interrupter = Interrupter()
    interrupter.interrupt()
    run(options, print, [interrupter, SignalSource()])
    return run(options, on_event=listen, notices=[interrupter])


def listen(event: events.Event) -> None:
    match event:
        case events.Done(source=source, width=width):
            assert_type(source, str)
            assert_type(width, int)
        case events.Summary():
            assert_type(event.failures, dict[str, str])


def results(first: Result) -> int:
    assert_type(first.manifest, Path)
    assert_type(first.failures, dict[Path, str])
    assert_type(first.summary, events.Summary)
    first.exit_code = 0  # type: ignore[misc]  # frozen
    try:
        again = resume(ResumeOptions(manifest=first.manifest, input_roots=["moved"], prune=True))
    except BatchgrayError as error:
        return error.exit_code
    assert_type(batchgray.__version__, str)
    return again.exit_code
