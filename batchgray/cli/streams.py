"""Standard output and standard error: that they are there, and what they can show."""

import io
import os
from typing import TextIO


def hold_standard_descriptors() -> None:
    """Where one was closed, the next file that is opened would get its number, and be read or written for it."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)


def show_any_name(stream: TextIO | None) -> None:
    """Where the stream's encoding lacks a character, its code is written in its place."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


def write_utf8(stream: TextIO | None) -> None:
    """For JSON, which is UTF-8 whatever the terminal's encoding is."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8")
