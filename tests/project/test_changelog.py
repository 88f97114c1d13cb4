"""What users see does not change without an entry in the changelog: scripts/check_changelog.py."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import script
from harness import DEADLINE

ROOT = Path(__file__).parents[2]
BEFORE = {
    "CHANGELOG.md": "## [Unreleased]\n\n- One thing.\n",
    "docs/messages.txt": "errors\n  2  no file {name}. Check it.\n\nbatchgray/cli.py\n  Print the plan only.\n",
    "batchgray": 'option("--out")\noption("--dry-run", "dry")\n',
}


@pytest.mark.parametrize(
    ("path", "old", "new", "found"),
    [
        ("docs/messages.txt", "Check it.", "Mount it.", ["- 2  no file {}. Check it.", "+ 2  no file {}. Mount it."]),
        ("docs/messages.txt", "  Print the plan only.\n", "", ["- Print the plan only."]),
        ("batchgray", 'option("--out")\n', "", ["- --out"]),
        ("batchgray", '"--dry-run"', '"--plan"', ["- --dry-run", "+ --plan"]),
        ("docs/messages.txt", "{name}", "{path}", []),
        ("docs/messages.txt", "batchgray/cli.py", "batchgray/cli/commands.py", []),
        ("batchgray", '"dry"', '"only_plan"', []),
    ],
)
def test_a_sentence_or_an_option_that_changes_wants_an_entry(path, old, new, found):
    check = script("check_changelog")
    now = BEFORE | {path: BEFORE[path].replace(old, new)}
    assert now != BEFORE
    assert check.unexplained(BEFORE, now) == found
    assert check.unexplained(BEFORE, now | {"CHANGELOG.md": BEFORE["CHANGELOG.md"] + "- And that.\n"}) == []


def test_an_entry_that_a_release_moves_is_no_new_one():
    released = BEFORE["CHANGELOG.md"].replace("[Unreleased]", "[Unreleased]\n\n## [0.1.0]")
    now = BEFORE | {"CHANGELOG.md": released, "batchgray": ""}
    assert script("check_changelog").unexplained(BEFORE, now) == ["- --dry-run", "- --out"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for path, text in {**BEFORE, "batchgray/cli.py": BEFORE["batchgray"]}.items():
        if path != "batchgray":
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_text(text)
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "check_changelog.py", tmp_path / "scripts")
    git(tmp_path, "init", "-q", "-b", "main")
    commit(tmp_path, "Begin")
    git(tmp_path, "checkout", "-q", "-b", "change")
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, timeout=DEADLINE)


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", message)


def check(folder: Path) -> tuple[int, str]:
    command = [sys.executable, "scripts/check_changelog.py", "main"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=DEADLINE, check=False)
    return done.returncode, done.stderr


def test_a_branch_is_held_against_where_it_left_main(repository):
    assert check(repository) == (0, "")
    (repository / "batchgray" / "cli.py").write_text('option("--out")\noption("--dry-run")\noption("--new")\n')
    code, said = check(repository)
    assert (code, "+ --new" in said, "Changelog: none" in said) == (1, True, True)
    commit(repository, "An option\n\nChangelog: later")
    assert check(repository)[0] == 1
    git(repository, "commit", "-q", "--allow-empty", "-m", "Only for tests\n\nChangelog: none")
    assert check(repository) == (0, "")
