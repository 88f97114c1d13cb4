"""What is said of the project in several places is the same everywhere: Pythons, programs, scripts."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "tests.yml"


@pytest.fixture(scope="module")
def workflow() -> dict:
    return yaml.safe_load(WORKFLOW.read_text("utf-8"))


def test_the_tests_run_on_every_python_that_is_promised(workflow):
    classifiers = (ROOT / "setup.cfg").read_text("utf-8")
    promised = re.findall(r"Python :: (3\.\d+)$", classifiers, re.MULTILINE)
    assert workflow["jobs"]["tests"]["strategy"]["matrix"]["python"] == promised
    assert f"Python {promised[0]} to {promised[-1]}" in (ROOT / "README.md").read_text("utf-8")


def test_actions_are_pinned_by_their_major_version(workflow):
    used = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert used
    assert [name for name in used if not re.fullmatch(r"[\w-]+/[\w-]+@v\d+", name)] == []


def test_what_workflows_and_hooks_run_is_there(workflow):
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    hooks = ROOT / ".pre-commit-config.yaml"
    if hooks.exists():  # it is no part of an sdist
        commands += [
            hook["entry"] for repo in yaml.safe_load(hooks.read_text("utf-8"))["repos"] for hook in repo["hooks"]
        ]
    scripts = [word for command in commands for word in command.split() if word.startswith((".ci/", "scripts/"))]
    assert {".ci/run", "scripts/check_changelog.py"} <= set(scripts)
    assert [name for name in scripts if not (ROOT / name).exists()] == []
