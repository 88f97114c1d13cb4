"""Two processes on one manifest: the second exits 2 and names the first.

If this broke, two runs would undo each other's work.
"""

import json

from harness import Running, batchgray
from recording import AT_THE_FIRST_DONE, Recording, wait_for_stopped


def test_the_second_run_and_resume_are_refused(samples, tmp_path):
    out, recording = tmp_path / "out", Recording(tmp_path / "record", AT_THE_FIRST_DONE)
    with Running("run", samples, "--out", out, env=recording.environment) as run:
        supervisor = wait_for_stopped(run)  # it holds what it has while the others try
        for arguments in (
            ("run", samples, "--out", out),
            ("resume", out / "manifest.json"),
            ("verify", "--mend", out / "manifest.json"),
        ):
            second = batchgray(*arguments, expect=2)
            assert f"process {run.process.pid} " in second.stderr
        status = json.loads(batchgray("status", out / "manifest.json", "--json").stdout)
        assert status["state"] == "running"
        supervisor.resume()
        run.finish(expect=0)


def test_the_lock_goes_with_its_owner(samples, tmp_path):
    out, recording = tmp_path / "out", Recording(tmp_path / "record", AT_THE_FIRST_DONE)
    with Running("run", samples, "--out", out, env=recording.environment) as run:
        wait_for_stopped(run)
        run.process.kill()
        run.finish()
        status = json.loads(batchgray("status", out / "manifest.json", "--json").stdout)
        assert status["state"] == "interrupted"
        batchgray("resume", out / "manifest.json", "--progress", "none")
