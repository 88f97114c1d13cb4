"""Values of options: each that is refused is told by option, what it takes, and what it was given."""

import click
import pytest

from batchgray.cli import main, values
from batchgray.errors import UsageError

LIMITED = values.Whole, values.Seconds, values.Choice, values.ShardName


def commands(group, path=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


OPTIONS = [
    pytest.param(path, parameter, id=" ".join((*path, max(parameter.opts, key=len))))
    for path, command in commands(main.cli)
    for parameter in command.params
]


def said(*arguments):
    with pytest.raises(UsageError) as caught:
        main.cli.main(args=list(arguments), prog_name="batchgray", standalone_mode=False)
    return str(caught.value)


@pytest.mark.parametrize(("path", "parameter"), OPTIONS)
def test_no_option_is_of_a_kind_that_refuses_in_words_of_the_library(path, parameter):
    assert type(parameter.type).__module__ == values.__name__ or parameter.type == click.STRING


@pytest.mark.parametrize(("path", "parameter"), [each for each in OPTIONS if isinstance(each.values[1].type, LIMITED)])
@pytest.mark.parametrize("given", ["most", "", "1e1000x"])
def test_a_bad_value_is_told_with_its_option_and_what_it_takes(path, parameter, given):
    named = [given] if isinstance(parameter, click.Argument) else [parameter.opts[0], given]
    name = path[-1] if isinstance(parameter, click.Argument) else parameter.opts[0]
    words = said(*path, *named)
    assert words.startswith(f"{name} takes ")
    assert f", not {given or chr(39) * 2}." in words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--quality 101", "--quality takes a whole number from 1 to 100, not 101."),
        ("--compression -1", "--compression takes a whole number from 0 to 9, not -1."),
        ("--workers 2.5", "--workers takes a whole number from 1 to 4194304, not 2.5."),
        ("--checkpoint soon", "--checkpoint takes seconds above 0, not soon."),
        ("--checkpoint -1", "--checkpoint takes seconds above 0, not -1."),
        ("--grace -0.5", "--grace takes seconds from 0 on, not -0.5."),
        ("--memory 100", "--memory takes 1M or more (a number without a unit is bytes), not 100."),
        ("--format jpg", "--format takes jpeg or png, not jpg. Did you mean jpeg?"),
        ("--notices sqm", "--notices takes auto, smq, metadata, 'smq,metadata' or none, not sqm. Did you mean smq?"),
        ("--shard 9/8", "--shard takes I/N with I from 1 to N, such as 3/8, not 9/8."),
        ("--background whiteish", "or a name such as white, not whiteish."),
    ],
)
def test_the_limits_are_told(arguments, words):
    assert words in said("run", "in", "--out", "out", *arguments.split())


@pytest.mark.parametrize("option", ["--out", "--manifest", "--instance-id", "--metrics"])
def test_an_empty_name_is_told_as_such(option):
    assert said("run", "in", option, "") == f"{option} is empty: it takes a name."
    assert said("run", "", "--out", "out") == "INPUT is empty: it takes a name."


@pytest.mark.parametrize(
    ("variable", "given", "words"),
    [
        ("BATCHGRAY_QUALITY", "abc", "BATCHGRAY_QUALITY takes a whole number from 1 to 100, not abc."),
        ("BATCHGRAY_CHECKPOINT", "-1", "BATCHGRAY_CHECKPOINT takes seconds above 0, not -1."),
        ("BATCHGRAY_PRUNE", "maybe", "BATCHGRAY_PRUNE takes yes or no, or 1 or 0, not maybe."),
        ("BATCHGRAY_METHOD", "bt602", "BATCHGRAY_METHOD takes bt601, bt709 or luma, not bt602. Did you mean bt601?"),
    ],
)
def test_a_variable_is_blamed_that_gave_a_bad_value(monkeypatch, variable, given, words):
    monkeypatch.setenv(variable, given)
    assert said("run", "in", "--out", "out") == words


def test_a_flag_s_variable_says_yes_or_no(monkeypatch):
    monkeypatch.setenv("BATCHGRAY_PRUNE", "yes")
    with main.cli.commands["run"].make_context("run", ["in", "--out", "out"]) as context:
        assert context.params["prune"] is True
    monkeypatch.setenv("BATCHGRAY_PRUNE", "0")
    with main.cli.commands["run"].make_context("run", ["in", "--out", "out"]) as context:
        assert context.params["prune"] is False
