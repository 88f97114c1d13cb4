"""Options, and the variables that give them too."""

import os
import sys

import click
from harness import (
    batchgray,
    events_of,
    manifest_of,
    named,
    save_gradient,
)

from batchgray.cli import main


def test_every_option_has_its_variable():
    def options_of(group):
        for each in group.commands.values():
            yield from options_of(each) if isinstance(each, click.Group) else each.params

    options = [option for option in options_of(main.cli) if isinstance(option, click.Option)]
    assert len(options) > 50
    for option in options:
        name = next(name for name in option.opts if name.startswith("--"))
        variables = [option.envvar] if isinstance(option.envvar, str) else option.envvar or []
        assert f"BATCHGRAY_{name[2:].upper().replace('-', '_')}" in variables, name


def test_options_can_come_from_the_environment(pictures, tmp_path):
    environment = os.environ | {
        "BATCHGRAY_OUT": str(tmp_path / "out"),
        "BATCHGRAY_TILE_ROWS": "16",
        "BATCHGRAY_FORMAT": "png",
        "BATCHGRAY_QUIET": "1",
    }
    assert batchgray("run", pictures, env=environment).stdout == ""
    assert manifest_of(tmp_path / "out")["options"]["tile_rows"] == 16
    assert (tmp_path / "out" / "a.png").exists()


def test_a_variable_of_an_option_that_may_be_repeated_has_one_value_a_line(pictures, tmp_path):
    save_gradient(pictures / "Screen Shots" / "x.png", 8, 8)
    save_gradient(pictures / "a:b" / "y.png", 8, 8)
    environment = os.environ | {"BATCHGRAY_EXCLUDE": "Screen Shots\nsub\n"}
    batchgray("run", pictures, "--out", tmp_path / "out", env=environment)
    assert {image["source"] for image in manifest_of(tmp_path / "out")["images"]} == {"a.png", "a:b/y.png"}
    moved = pictures.rename(tmp_path / "in: moved")
    environment = os.environ | {"BATCHGRAY_INPUT_ROOT": str(moved)}
    batchgray("resume", tmp_path / "out", env=environment)
    assert manifest_of(tmp_path / "out")["input_roots"] == [str(moved)]


def test_a_misspelt_variable_is_warned_of_by_name(pictures, tmp_path):
    environment = os.environ | {"BATCHGRAY_QUALTY": "90", "BATCHGRAY_Z\x1b": "", "BATCHGRAY_INPUT_ROOT": "/nowhere"}
    run = batchgray("run", pictures, "--out", tmp_path / "out", "--progress", "json", env=environment)
    assert run.stderr.splitlines() == [
        "batchgray: warning: BATCHGRAY_QUALTY in the environment is no option's, and is not used; "
        "did you mean BATCHGRAY_QUALITY?",
        "batchgray: warning: BATCHGRAY_Z\\x1b in the environment is no option's, and is not used; "
        f"`{sys.executable} -m batchgray run --help` lists the options",
    ]
    assert named(events_of(run.stdout), "summary")
    assert batchgray("--version", env=environment).stderr == ""
