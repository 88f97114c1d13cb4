"""Which tests `make check` runs: what their code tells, and what becomes of one whose code does not tell it."""

import os
import subprocess
import sys
from pathlib import Path

from harness import DEADLINE

TESTS = """
import functools, os, subprocess
import pytest
from hypothesis import given, strategies

class Running:
    def __init__(self):
        self.process = subprocess.Popen(["true"])

    def end(self):
        self.process.wait()

def true():
    return subprocess.run(["true"]).returncode

def arranged(function):
    @functools.wraps(function)
    def inner(*given, **named):
        return function(*given, **named)
    return inner

@pytest.fixture
def run():
    return true()

@pytest.fixture(autouse=True)
def harmless():
    pass

def test_fixture(run): assert run == 0
def test_method(): Running().end()
def test_helper(): assert [true() for _ in range(2)] == [0, 0]
def test_table(): assert WAYS["one"]() == 0
def test_inner():
    from os import fork
    if not fork():
        os._exit(0)

WAYS = {"one": true}

@arranged
def test_wrapped(): assert true() == 0

@given(strategies.just(0))
def test_property(code): assert true() == code

class TestClass:
    def goes(self): return true()
    def test_own(self): assert self.goes() == 0
    def test_none(self): pass

@pytest.mark.processes
def test_marked(): assert hidden() == 0

def test_none(): assert subprocess.list2cmdline(["a"]) == "a"

def hidden(): return vars(os)["system"]("true")
"""

UNTRUE = """
import os

def hidden(): return vars(os)["system"]("true")

def test_hides(): hidden()
def test_swallows():
    try:
        hidden()
    except BaseException:
        pass
def test_none(): pass
"""


def results(folder: Path, text: str, *options: str) -> dict[str, str]:
    """Each test's outcome by its name; and what was said, as ""."""
    (folder / "test_some.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = processes\n")
    command = [sys.executable, "-m", "pytest", "-p", "processes", "-p", "no:cacheprovider", "-v", *options, folder]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "support")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, env=environment, check=False)
    lines = [line.split() for line in done.stdout.splitlines() if line.endswith("%]")]
    return {"": done.stdout} | {words[0].rpartition("::")[2]: words[1] for words in lines}


def test_those_that_start_none_are_found(tmp_path):
    found = results(tmp_path, TESTS, "-m", "not processes")
    assert found.keys() - {""} == {"test_none"}
    assert "2 passed, 9 deselected" in found[""]  # there is one of that name in the class, too


def test_those_that_start_some_may(tmp_path):
    found = results(tmp_path, TESTS)
    del found[""]
    assert set(found.values()) == {"PASSED"}


def test_one_that_starts_one_all_the_same_fails_whatever_it_catches(tmp_path):
    found = results(tmp_path, UNTRUE, "-m", "not processes")
    assert "it starts a process without the marker for it" in found.pop("")
    assert found == {"test_hides": "FAILED", "test_swallows": "FAILED", "test_none": "PASSED"}
