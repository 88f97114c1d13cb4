"""What standard output and standard error can show."""

import io
from typing import TextIO


def show_any_name(stream: TextIO | None) -> None:
    """Where the stream's encoding lacks a character, its code is written in its place."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


def write_utf8(stream: TextIO | None) -> None:
    """For JSON, which is UTF-8 whatever the terminal's encoding is."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8")
