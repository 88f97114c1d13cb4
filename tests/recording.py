"""Real runs whose durable operations are recorded, fail on purpose, or stop the process that does them.

`intercept/sitecustomize.py` is the part inside the processes of the run.
"""

import json
import os
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path

TESTS = Path(__file__).parent


@dataclass(frozen=True)
class Rule:
    """Meets operations of a kind whose path holds the regular expression; lets `after` of them pass, then fails `times`.

    `kind` is open, write, truncate, sync, sync folder, rename (by its new name), unlink, mkdir or rmdir. `error` is the
    errno; 0 lets the operation be done and stops its process with SIGSTOP. `times` None is for ever.
    """

    kind: str
    path: str
    error: int = 0
    after: int = 0
    times: int | None = 1


class Recording:
    """A folder with the log of what the runs with `environment` did; they may be several, one after another."""

    def __init__(self, folder: Path, *rules: Rule) -> None:
        self._folder = folder
        folder.mkdir()
        (folder / "log").touch()
        (folder / "counts").touch()
        self.set_rules(*rules)

    def set_rules(self, *rules: Rule) -> None:
        """For the runs that start from now on."""
        (self._folder / "rules").write_text(json.dumps([asdict(rule) for rule in rules]))
        (self._folder / "counts").write_bytes(b"")

    @property
    def environment(self) -> dict[str, str]:
        path = [str(TESTS / "intercept"), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
        return {**os.environ, "DURABLE_RECORD": str(self._folder), "PYTHONPATH": os.pathsep.join(filter(None, path))}

    def mark(self, *record: object) -> None:
        """Append to the log, between two runs."""
        with (self._folder / "log").open("ab") as file:
            pickle.dump(record, file)

    def met(self, rule: int = 0) -> int:
        """How many operations met the rule of this number."""
        return int.from_bytes((self._folder / "counts").read_bytes()[8 * rule : 8 * rule + 8], "little")

    def records(self) -> list[tuple]:
        found = []
        with (self._folder / "log").open("rb") as file:
            while file.peek(1):
                found.append(pickle.load(file))
        return found
