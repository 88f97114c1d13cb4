"""Images whose names look alike to a short checksum are two images all the same.

If this broke, one picture would stand under another's name, and the manifest would call both done.
"""

import psutil
from harness import Running, batchgray, save_gradient, tree, wait_until
from recording import Recording, Rule

from batchgray import integrity

# XXH3 with 64 bits, by which temporary files went, is the same for both.
PAIR = ["j\\ho3L[3plim.jpg", "57\\H;``Reaom.jpg"]


def test_two_that_are_written_at_once_stay_apart(tmp_path):
    """Each worker stops when it has written its output, and before that has its name; then both go on, one by one."""
    for number, name in enumerate(PAIR):
        save_gradient(tmp_path / "in" / name, 200, 160 + 8 * number, seed=1000 * number)
    batchgray("run", tmp_path / "in", "--out", tmp_path / "whole", "--workers", 1)
    out, recording = tmp_path / "out", Recording(tmp_path / "record", Rule("write", r"\.out$", times=2))
    with Running("run", tmp_path / "in", "--out", out, "--workers", 2, env=recording.environment) as run:
        wait_until(lambda: len(stopped(run)) == 2 or run.process.poll() is not None)
        for worker in stopped(run):
            worker.resume()
            run.wait_for("done")
        run.finish(expect=0)
    assert tree(out) == tree(tmp_path / "whole")
    assert "0 damaged" in batchgray("verify", out / "manifest.json").stdout


def stopped(run: Running) -> list[psutil.Process]:
    return [worker for worker in run.workers() if worker.status() == psutil.STATUS_STOPPED]


def test_the_names_of_what_is_in_flight_differ():
    assert integrity.short_name(PAIR[0]) != integrity.short_name(PAIR[1])
