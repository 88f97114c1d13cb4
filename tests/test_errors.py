"""What can be said to a user, read as a whole: docs/messages.txt. Else run scripts/make_messages.py, and read it."""

import re

import pytest
from conftest import script

from batchgray import errors


@pytest.fixture(scope="module")
def make_messages():
    return script("make_messages")


def test_the_list_of_messages_is_what_the_code_says(make_messages):
    assert make_messages.TARGET.read_text("utf-8") == make_messages.rendered()


def test_an_error_without_a_sample_is_found(make_messages, monkeypatch):
    monkeypatch.delitem(make_messages._SAMPLES, "BadSize")
    with pytest.raises(KeyError, match="BadSize"):
        make_messages.rendered()


def test_every_error_says_what_to_do(make_messages):
    """Its last clause has words of its own, and the samples fill every gap."""
    kinds = make_messages._errors()
    assert len(kinds) > 30
    for kind in kinds:
        remedy = re.split(r"(?<!\.\.)[.:;]\s", kind.__doc__.removesuffix(":{0}"))[-1]
        assert len(re.sub(r"\{\d\}", "", remedy).split()) >= 2, kind.__doc__
        message = str(kind(*make_messages._SAMPLES.get(kind.__name__, [])))
        assert message.endswith((".", "?")) or issubclass(kind, errors.Collisions), message
        assert not re.search(r"\{\d\}", message), message


def test_names_in_errors_harm_no_terminal():
    assert str(errors.NoSuchInput("a\x1b[2J\n\udcff")) == (
        "no such file or folder: a\\x1b[2J\\n\\xff. Check the spelling of the INPUT."
    )
