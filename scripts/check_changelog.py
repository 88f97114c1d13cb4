"""Whether what users see changed without a line in CHANGELOG.md.

Compared are a commit and the files as they are now: the sentences of docs/messages.txt (what batchgray says, the help
of its options among it) and the names of options. If one came, went or changed, CHANGELOG.md needs an entry that it did
not have. Where there is nothing for users in it, a commit since then says so in its last lines: `Changelog: none`.

    python scripts/check_changelog.py main     against where this branch left main
"""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOOKED_AT = CHANGELOG, MESSAGES, SOURCES = "CHANGELOG.md", "docs/messages.txt", "batchgray"

_FILLED_IN = re.compile(r"\{[^}]*\}")  # the name of a variable, which is no user's business
_OPTION = re.compile(r'"(--[a-z]+(?:-[a-z]+)*)')


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def sentences(text: str) -> Counter[str]:
    """The lines of docs/messages.txt, in whatever module they stand."""
    return Counter(_FILLED_IN.sub("{}", line.strip()) for line in text.splitlines() if line.startswith("  "))


def options(sources: str) -> Counter[str]:
    return Counter(sorted(set(_OPTION.findall(sources))))


def entries(text: str) -> set[str]:
    """The entries of a changelog, each by its first line."""
    return {line for line in text.splitlines() if line.startswith("- ")}


def changes(old: Counter[str], new: Counter[str]) -> list[str]:
    return [f"- {text}" for text in old - new] + [f"+ {text}" for text in new - old]


def unexplained(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """What users see changed, where no entry was added. Both have the texts of `LOOKED_AT`, by path."""
    if entries(now[CHANGELOG]) - entries(before[CHANGELOG]):
        return []
    return [
        *changes(options(before[SOURCES]), options(now[SOURCES])),
        *changes(sentences(before[MESSAGES]), sentences(now[MESSAGES])),
    ]


def read(commit: str | None) -> dict[str, str]:
    """The texts of `LOOKED_AT` in a commit; None: as they are now. Of the sources it is only lines with an option."""
    if commit is None:
        texts = {path: (ROOT / path).read_text("utf-8") for path in (CHANGELOG, MESSAGES)}
        return texts | {SOURCES: git("grep", "-h", '"--', "--", SOURCES)}
    texts = {path: git("show", f"{commit}:{path}") for path in (CHANGELOG, MESSAGES)}
    return texts | {SOURCES: git("grep", "-h", '"--', commit, "--", SOURCES)}


def main() -> int:
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/check_changelog.py COMMIT")
    base = git("merge-base", sys.argv[1], "HEAD").strip()
    found = unexplained(read(base), read(None))
    if not found or "none" in git("log", "--format=%(trailers:key=Changelog,valueonly)", f"{base}..HEAD").split():
        return 0
    print("These are for users to know, and CHANGELOG.md has no new entry:", *found, sep="\n  ", file=sys.stderr)
    print("Add one below [Unreleased]; or end a commit's message with `Changelog: none`.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
