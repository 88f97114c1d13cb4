"""What was looked at before a run: how it is, and what to do about it."""

from typing import Literal

import msgspec

Verdict = Literal["fine", "note", "wrong"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`verdict` is "wrong" where a run as configured would stop, "note" where something is to be known."""

    what: str
    verdict: Verdict
    detail: str
    remedy: str = ""
