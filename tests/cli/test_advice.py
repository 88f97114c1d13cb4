"""What a message advises can be done as it is printed: by the program as it was called, with options that there are."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from harness import batchgray, save_gradient

from batchgray import errors
from batchgray.cli import main

READING = ("run", "resume", "status", "verify", "report")
WRITING = ("run", "resume", "verify")
WORKING = ("run", "resume")
QUEUE = ("run", "resume", "doctor", "smq simulate")
RAISED_BY = {  # others by run alone
    **dict.fromkeys(
        ("NoSuchManifest", "UnreadableManifest", "ForeignManifest", "DamagedManifest", "FutureManifest"), READING
    ),
    **dict.fromkeys(
        ("UnwritableOutput", "ManifestLocked", "UnlockableManifest", "LinkInTheWay", "ForeignFile", "OutputsGone"),
        WRITING,
    ),
    **dict.fromkeys(("MovedOutput", "ManifestUnwritable"), WRITING),
    **dict.fromkeys(("PrunedIsSource", "Collisions", "WorkersCannotWork", "OutputLost", "DiskFullAtStart"), WORKING),
    **dict.fromkeys(("InterruptedEarly", "BadSize"), WORKING),
    **dict.fromkeys(("MovedInputs", "OtherInputs", "RootsMismatch"), ("resume",)),
    **dict.fromkeys(("ForeignReport", "UnwritableReport"), ("report",)),
    **dict.fromkeys(("BadMetadataUrl", "IncompleteSmq", "QueueDenied", "KeyRefused", "QueueUnreachable"), QUEUE),
    "QueueMissing": QUEUE,
}
OPTION = re.compile(r"(?<![-\w])--[a-z][-a-z]*")
DESCRIBING = {"--background", "--include", "--exclude"}  # what they have done is told
ROOT = Path(__file__).parents[2]
KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.BatchgrayError) and kind.__doc__ != "{0}"
]


def options_of(name):
    found = main.cli
    for part in name.split():
        found = found.commands[part]
    return {option for parameter in found.params if isinstance(parameter, click.Option) for option in parameter.opts}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_names_options_that_the_command_has(kind):
    parts = kind.__doc__.split("`")
    for given in (part for part in parts[1::2] if not part.startswith("ray ")):
        words = given.removeprefix("batchgray ").split()
        name = " ".join(words[:2]) if words[0] == "smq" else words[0]
        assert set(OPTION.findall(given)) <= options_of(name), given
    for command in RAISED_BY.get(kind.__name__, ("run",)):
        assert set(OPTION.findall(" ".join(parts[::2]))) <= options_of(command), command


def test_a_reason_that_an_image_failed_names_options_that_resume_has_too():
    """`status` and `resume` tell it as well; what only `run` can do is a command."""
    rooms = re.split(r"\n\nbatchgray/", (ROOT / "docs" / "messages.txt").read_text("utf-8"))
    reasons = [room for room in rooms if room.startswith(("codecs/", "workers/", "planning/", "engine/"))]
    assert len(reasons) > 10
    named = {option for room in reasons for part in room.split("`")[::2] for option in OPTION.findall(part)}
    assert named - DESCRIBING <= options_of("resume")
    given = {given for room in reasons for given in room.split("`")[1::2] if given.startswith("batchgray run")}
    assert len(given) > 3
    assert {option for each in given for option in OPTION.findall(each)} <= options_of("run")


@pytest.fixture
def failed(tmp_path):
    """An output folder with an image that failed."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.png").write_bytes(b"bad")
    save_gradient(tmp_path / "in" / "a.png", 32, 32)
    batchgray("run", tmp_path / "in", "--out", tmp_path / "out", expect=3)
    return tmp_path / "out"


def status_by(*called, cwd, env=None):
    arguments = [*map(str, called), "status", "out"]
    return subprocess.run(arguments, cwd=cwd, env=env, capture_output=True, text=True, check=True).stdout.splitlines()


def test_a_command_begins_as_the_program_was_called(failed, tmp_path):
    script = Path(sys.executable).with_name("batchgray")
    on_path = os.environ | {"PATH": os.pathsep.join([str(script.parent), os.environ["PATH"]])}
    (tmp_path / "my link").symlink_to(script)
    for called, shown in (
        ([sys.executable, "-m", "batchgray"], f"{sys.executable} -m batchgray"),
        ([script], str(script)),
        (["./my link"], "'./my link'"),
    ):
        command = f"{shown} resume {failed}/manifest.json"
        [line] = [line for line in status_by(*called, cwd=tmp_path) if line.startswith("To try what failed")]
        assert line.endswith(f": {command}")
        given = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert "bad.png" in given.stdout
    [line] = [line for line in status_by("batchgray", cwd=tmp_path, env=on_path) if line.startswith("To try")]
    assert line.endswith(f": batchgray resume {failed}/manifest.json")


def test_errors_and_usage_advise_the_program_as_it_was_called(tmp_path):
    as_module = f"{sys.executable} -m batchgray"
    assert f"`{as_module} run --help` lists its options" in batchgray("run", "--nothing", expect=2).stderr
    (tmp_path / "manifest.json").write_text("{}")
    refused = batchgray("status", tmp_path, expect=2).stderr
    assert f"`{as_module} run ... --manifest PATH`" in refused


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("BATCHGRAY_QUALITY", "abc", "BATCHGRAY_QUALITY takes a whole number from 1 to 100, not abc"),
        ("BATCHGRAY_FORMAT", "jpg", "BATCHGRAY_FORMAT takes jpeg or png, not jpg"),
        ("MNS_ENDPOINT", " ", "MNS_ENDPOINT is empty"),
        ("BATCHGRAY_MEMORY", "lots", "BATCHGRAY_MEMORY takes a number of bytes"),
        ("BATCHGRAY_GRACE", "-1", "BATCHGRAY_GRACE takes seconds"),
        ("BATCHGRAY_BACKGROUND", "nocolour", "BATCHGRAY_BACKGROUND takes"),
        ("BATCHGRAY_METADATA_URL", "http://h:abc", "Check BATCHGRAY_METADATA_URL."),
    ],
)
def test_a_bad_value_is_blamed_on_the_variable_that_gave_it(variable, value, said, tmp_path):
    save_gradient(tmp_path / "a.png", 8, 8)
    arguments = ("run", tmp_path / "a.png", "--out", tmp_path / "out")
    error = batchgray(*arguments, env=os.environ | {variable: value}, expect=2).stderr
    assert said in error
    option = f"--{variable.removeprefix('BATCHGRAY_').lower().replace('_', '-')}"
    assert option not in error
    if variable.startswith("BATCHGRAY_"):
        given = batchgray(*arguments, option, value, env=os.environ | {variable: value}, expect=2).stderr
        assert option in given
        assert variable not in given
