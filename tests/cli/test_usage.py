"""Command lines that can't be taken: what is wrong is said in this program's words, with what to give instead."""

import shlex

import click
import pytest

from batchgray.cli import main
from batchgray.errors import UsageError


def said(line):
    with pytest.raises(UsageError) as caught:
        main.cli.main(args=shlex.split(line), prog_name="batchgray", standalone_mode=False)
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("./photos", "batchgray run ./photos --out DIR"),
        ("photos --out gray", "batchgray run photos --out gray"),
        ("photos --out=gray -v", "batchgray run photos --out=gray -v"),
        ("'my photos' --out gray", "batchgray run 'my photos' --out gray"),
        ("oss://photos/2026 --out gray", "batchgray run oss://photos/2026 --out gray"),
        ("--out gray photos", "batchgray run --out gray photos"),
        ("--quality 90 photos", "batchgray run --quality 90 photos --out DIR"),
        (" ".join(f"{number:04}.jpg" for number in range(100)), "batchgray run INPUT... --out DIR"),
    ],
)
def test_where_the_command_was_forgotten_the_line_to_give_is_told(line, given):
    assert f"To convert images, give `{given}`;" in said(line)


def test_a_folder_that_is_there_is_no_misspelt_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said("reports") == "there is no command reports. Did you mean `batchgray report`?"
    (tmp_path / "reports").mkdir()
    assert "`batchgray run reports --out DIR`" in said("reports")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("stauts gray", "there is no command stauts. Did you mean `batchgray status gray`?"),
        ("smq craete q", "there is no command craete. Did you mean `batchgray smq create q`?"),
        ("smq q", "there is no command q. `batchgray smq --help` lists them."),
        ("run photos", "--out DIR-OR-URL is missing. Give `batchgray run INPUT... --out DIR-OR-URL`"),
        ("resume", "MANIFEST is missing. Give `batchgray resume MANIFEST`; `batchgray resume --help` tells more."),
        ("smq simulate", "--instance-id ID is missing. Give `batchgray smq simulate --instance-id ID`"),
        ("resume my folder", "folder is too much. Give `batchgray resume MANIFEST`, options, and nothing else"),
        ("doctor 'a b'", "'a b' is too much. Give `batchgray doctor`, options, and nothing else"),
        (
            "run a --out b --qualty 5",
            "run has no option --qualty. Did you mean --quality? `batchgray run --help`",
        ),
        ("status a --hlep", "Did you mean --help?"),
        (
            "verify a --format png",
            "verify has no option --format. `batchgray verify --help` lists its options.",
        ),
        ("-z", "batchgray has no option -z. `batchgray --help` lists its options."),
        ("run a --out", "--out is given without a value. Give `--out DIR-OR-URL`"),
        ("run a --out b --quality", "--quality is given without a value. Give `--quality 1..100`"),
        ("run a --out b --prune=yes", "--prune takes no value: it is given alone, or left out."),
        ("run --help=x", "--help takes no value: it is given alone, or left out."),
        ("--help=x", "--help takes no value: it is given alone, or left out."),
    ],
)
def test_what_is_wrong_is_told_with_what_to_give(line, words):
    assert words in said(line)


def test_a_group_alone_shows_its_help():
    with pytest.raises(click.exceptions.NoArgsIsHelpError, match="Usage: batchgray smq"):
        main.cli.main(args=["smq"], prog_name="batchgray", standalone_mode=False)
