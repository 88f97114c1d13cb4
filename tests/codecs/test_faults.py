"""What libraries say of a file becomes one short line; what they warn of stays off the terminal."""

import errno
import os
import warnings

import pytest

from batchgray.codecs.faults import (
    ImageFailures,
    collected_warnings,
    image_failures,
    joined,
    library_reason,
    os_reason,
)
from batchgray.errors import ImageError


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("bad\n  header"), "ValueError: bad header"),
        (KeyError(7), "KeyError: 7"),
        (AssertionError(), "AssertionError"),
        (ValueError("\x1b[31mred"), r"ValueError: \x1b[31mred"),
    ],
)
def test_what_a_library_raised_is_told_on_one_line_that_no_terminal_obeys(error, reason):
    assert library_reason(error) == reason


def test_what_a_library_says_is_cut_and_says_so():
    assert library_reason(ValueError("a" * 100_000)).endswith("aaa...")
    assert len(library_reason(ValueError("a" * 100_000))) < 300


def test_the_systems_reason_has_no_number_and_no_name():
    assert os_reason(PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/a/b")) == "permission denied"
    assert os_reason(OSError("cannot identify image file")) == "OSError: cannot identify image file"


def test_notes_are_joined_where_there_are_some():
    assert joined("one", None, "", "two") == "one; two"
    assert joined(None, "") is None


def test_the_first_and_the_last_warning_are_kept(recwarn):
    with collected_warnings() as warned:
        for text in ("one", "two", "Palette images with Transparency", "three"):
            warnings.warn(text, stacklevel=1)
    assert warned == ["one", "three"]
    assert not recwarn.list


def test_a_warning_that_comes_again_is_heard_again():
    for _ in range(2):
        with collected_warnings() as warned:
            warnings.warn("the same", stacklevel=1)
        assert warned == ["the same"]


def test_an_unexpected_exception_is_the_images_failure_with_its_cause():
    reason = r"can't be read \(KeyError: 7\): it is damaged, or batchgray is wrong; please report it"
    with pytest.raises(ImageError, match=reason) as caught, image_failures:
        raise KeyError(7)
    assert isinstance(caught.value.__cause__, KeyError)


class Meant(Exception):
    """Something that is no failure."""


@pytest.mark.parametrize("error", [ImageError("why"), MemoryError(), ImportError(), Meant(), KeyboardInterrupt()])
def test_what_is_meant_comes_through_as_it_is(error):
    with pytest.raises(type(error)) as caught, ImageFailures(Meant):
        raise error
    assert caught.value is error
