"""docs/install.md names what is installed, and no more."""

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "install.md").read_text("utf-8")
SETUP = configparser.ConfigParser()
SETUP.read_string((ROOT / "setup.cfg").read_text("utf-8"))
DEVELOPERS = {"bench", "docs", "fuzz", "test"}


def required(text: str) -> set[str]:
    return {re.match(r"[\w-]+", line)[0] for line in text.split("\n") if line.strip()}


def test_every_package_that_is_installed_has_its_reason():
    rows = re.findall(r"^\| ([^|]+) \| \d+ \|", PAGE.partition("| extra |")[0], re.MULTILINE)
    named = set(re.findall(r"[a-z][\w-]+", " ".join(row.partition(", with")[0] for row in rows))) - {"itself"}
    assert named == required(SETUP["options"]["install_requires"]) | {"llvmlite", "batchgray"}


def test_every_extra_of_a_user_is_told_of():
    told = dict(re.findall(r"^\| `(\w+)` \| \d+ \| ([\w-]+)", PAGE, re.MULTILINE))
    extras = SETUP["options.extras_require"]
    assert set(told) == set(extras) - DEVELOPERS
    for extra, package in told.items():
        assert package in required(extras[extra])
