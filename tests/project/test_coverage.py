"""What `make coverage` measures: the supervisor, the fork server and the forked workers of the runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

from harness import DEADLINE, save_gradient

ROOT = Path(__file__).parents[2]
ONLY_THERE = {  # a function's lines are seen in this process alone
    "supervisor": ("batchgray/engine/supervisor.py", "Supervisor.run"),
    "fork server": ("batchgray/workers/forkserver.py", "_obey"),
    "worker": ("batchgray/workers/in_memory.py", "Converter._run_kernel"),
}


def test_every_process_of_a_run_is_seen(tmp_path):
    save_gradient(tmp_path / "in" / "a.jpg", 640, 480)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    data, out = tmp_path / "seen", tmp_path / "seen.json"

    def coverage(*arguments: object) -> None:
        command = [sys.executable, "-m", "coverage", *map(str, arguments)]
        subprocess.run(command, cwd=ROOT, env=environment, timeout=DEADLINE, check=True, stdout=subprocess.DEVNULL)

    coverage("run", "--data-file", data, "-m", "batchgray", "run", tmp_path / "in", "--out", tmp_path / "out")
    coverage("combine", "--data-file", data, tmp_path)
    coverage("json", "--data-file", data, "-o", out)
    files = json.loads(out.read_text())["files"]
    for process, (file, function) in ONLY_THERE.items():
        assert files[file]["functions"][function]["executed_lines"], process
