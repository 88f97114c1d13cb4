"""What a manifest's images came to: how they are called, why some failed, and how to go on with the rest."""

import os
import re
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from batchgray import program, texts
from batchgray.events import Reason
from batchgray.manifest.records import Image, Manifest
from batchgray.spelling import escaped, is_utf8


def naming(document: Manifest) -> Callable[[Image], str]:
    """How an image is called: below its input folder, or with it where there are several."""
    roots = document.input_roots
    return lambda image: image.source if len(roots) == 1 else os.path.join(roots[image.root], image.source)


def unique_naming(document: Manifest) -> Callable[[Image], str]:
    """A name that no other image has: below its input folder, in full where images of several folders have the same."""
    roots = document.input_roots
    counts = Counter(image.source for image in document.images) if len(roots) > 1 else Counter[str]()
    return lambda image: image.source if counts[image.source] <= 1 else os.path.join(roots[image.root], image.source)


def reasons(document: Manifest) -> list[Reason]:
    """Of the failed images, the commonest first. Reasons that differ in their numbers alone are one."""
    name_of = naming(document)
    failed = ((name_of(image), image.error or "") for image in document.images if image.state == "failed")
    alike = texts.shared(failed, lambda error: re.sub(r"\d[\d,.]*", "0", error))
    return [Reason(error=one.text, count=one.count, sources=one.names) for one in alike]


def resume_command(path: Path) -> str:
    """What to type to go on with the manifest."""
    return program.command("resume", quoted(str(path)))


def quoted(name: str) -> str:
    """A name as it is typed in a shell: `$'...'` where it is not UTF-8, which bash, zsh and ksh know."""
    if is_utf8(name):
        return shlex.quote(name)
    return "$'" + escaped(name.replace("\\", "\\\\").replace("'", "\\'")) + "'"
