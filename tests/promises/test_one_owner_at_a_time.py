"""Two processes on one manifest: the second exits 2 and names the first.

If this broke, two runs would undo each other's work.
"""

import json
import signal

from harness import Running, batchgray


def test_the_second_run_and_resume_are_refused(samples, tmp_path):
    with Running("run", samples, "--out", tmp_path) as run:
        run.wait_for("done")
        run.process.send_signal(signal.SIGSTOP)  # it holds what it has while the others try
        for arguments in (
            ("run", samples, "--out", tmp_path),
            ("resume", tmp_path / "manifest.json"),
            ("verify", "--mend", tmp_path / "manifest.json"),
        ):
            second = batchgray(*arguments, expect=2)
            assert f"process {run.process.pid} " in second.stderr
        status = json.loads(batchgray("status", tmp_path / "manifest.json", "--json").stdout)
        assert status["state"] == "running"
        run.process.send_signal(signal.SIGCONT)
        run.finish(expect=0)


def test_the_lock_goes_with_its_owner(samples, tmp_path):
    with Running("run", samples, "--out", tmp_path) as run:
        run.wait_for("done")
        run.process.kill()
        run.finish()
        status = json.loads(batchgray("status", tmp_path / "manifest.json", "--json").stdout)
        assert status["state"] == "interrupted"
        batchgray("resume", tmp_path / "manifest.json", "--progress", "none")
