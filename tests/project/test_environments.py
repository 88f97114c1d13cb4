"""Places that a run is put into: small limits, missing folders, refused locks, closed descriptors, dead terminals.

Each must work, or end with a sentence that says what to do.
"""

import codecs
import fcntl
import json
import os
import pty
import re
import shutil
import signal
import stat
import struct
import subprocess
import tempfile
import termios
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
from harness import (
    DEADLINE,
    Running,
    batchgray,
    can,
    cgroup,
    command,
    confined,
    events_of,
    leftovers,
    manifest_of,
    named,
    save_gradient,
    tree,
    wait_until,
)
from recording import AT_THE_FIRST_CHUNK, Recording, Rule, resume_when_told, stopped_worker_of, wait_for_stopped
from stream import lines_on_screen

import batchgray as package

NAMES = ["0.jpg", "sub/1.jpg", "sub/线é.jpg"]
LIBRARY = Path(package.__file__).parent

# A user who has no name and no rights but to read: the interpreter may lie in a folder that is closed to others.
_READER = "-all,+dac_read_search"
NOBODY = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
NOBODY += [f"--inh-caps={_READER}", f"--ambient-caps={_READER}", f"--bounding-set={_READER}"]

needs_mounts = pytest.mark.skipif(not can("unshare", "--mount"), reason="no mount namespaces here")
needs_nobody = pytest.mark.skipif(not can(*NOBODY), reason="can't become another user here")
needs_prlimit = pytest.mark.skipif(not can("prlimit"), reason="there is no prlimit here")


def open_to_all(folder: Path) -> None:
    base = Path(tempfile.gettempdir())
    for each in (folder, *(parent for parent in folder.parents if parent != base and parent.is_relative_to(base))):
        each.chmod(0o755)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for seed, name in enumerate(NAMES):
        save_gradient(folder / Path(name).with_suffix(".png"), 700, 500, seed)
    open_to_all(folder)
    return folder


@pytest.fixture(scope="module")
def whole(pictures, tmp_path_factory) -> dict[str, bytes]:
    """What every run of the pictures must make."""
    out = tmp_path_factory.mktemp("whole")
    batchgray("run", pictures, "--out", out, "--progress", "none")
    return tree(out)


@pytest.fixture(scope="module")
def stamps(tmp_path_factory) -> Path:
    """Many small images."""
    folder = tmp_path_factory.mktemp("stamps")
    first = save_gradient(folder / "000.png", 32, 32)
    for number in range(1, 200):
        shutil.copy(first, folder / f"{number:03}.png")
    return folder


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


def shell(script: str) -> list[str]:
    return ["sh", "-c", script, "sh"]


def private_mounts(script: str) -> list[str]:
    return ["unshare", "--mount", *shell(f'set -e; {script}; exec "$@"')]


# folders


_TINY_SHM = "mount -t tmpfs -o size=64k none /dev/shm"
_NO_SHM = (
    "mount -t tmpfs none /mnt; touch /mnt/null /mnt/urandom; "
    "mount --bind /dev/null /mnt/null; mount --bind /dev/urandom /mnt/urandom; "
    "mount --rbind /mnt /dev; test ! -e /dev/shm"
)


@needs_mounts
@pytest.mark.parametrize("mounts", [_TINY_SHM, _NO_SHM], ids=["64 kB", "none"])
def test_shared_memory_needs_no_dev_shm(mounts, pictures, whole, out):
    confined(private_mounts(mounts), "run", pictures, "--out", out)
    assert tree(out) == whole


@needs_mounts
def test_nothing_but_the_output_needs_to_be_writable(pictures, whole, out):
    out.mkdir()
    script = f'mount --bind "{out}" "{out}"; mount -o bind,ro "{LIBRARY}" "{LIBRARY}"; mount -o remount,bind,ro /; '
    script += f'if touch "{LIBRARY}/probe" 2>/dev/null || touch /tmp/probe 2>/dev/null; then exit 9; fi'
    environment = {**os.environ, "HOME": "/nowhere", "TMPDIR": "/nowhere"}
    confined(private_mounts(script), "run", pictures, "--out", out, env=environment)
    assert tree(out) == whole


@needs_nobody
def test_a_user_without_name_and_home_leaves_no_folder_of_that_name(pictures, whole, tmp_path):
    os.chown(tmp_path, 54321, 54321)
    open_to_all(tmp_path)
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    environment["PYTHONPATH"] = str(LIBRARY.parent)
    confined(NOBODY, "run", pictures, "--out", "out", env=environment, cwd=tmp_path)
    assert tree(tmp_path / "out") == whole
    assert os.listdir(tmp_path) == ["out"]


def test_a_torn_cache_of_the_kernels_harms_nobody(pictures, whole, out, tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    batchgray("run", pictures, "--out", tmp_path / "first", env=environment)
    for path in (tmp_path / "cache").iterdir():
        os.truncate(path, path.stat().st_size // 2)
    batchgray("run", pictures, "--out", out, env=environment)
    assert tree(tmp_path / "first") == tree(out) == whole


def modes(folder: Path) -> set[tuple[bool, str]]:
    """Of all below the folder: whether it is a folder, and its mode."""
    return {(path.is_dir(), f"{stat.S_IMODE(path.stat().st_mode):o}") for path in folder.rglob("*")}


@pytest.fixture
def first_chunk(tmp_path) -> dict[str, str]:
    """An environment in which the supervisor stops itself when the first images are handed out."""
    return Recording(tmp_path / "record", AT_THE_FIRST_CHUNK).environment


def test_the_umask_decides_the_modes_also_of_what_is_in_flight(stamps, out, first_chunk):
    with Running("run", stamps, "--out", out, umask=0o077, env=first_chunk) as run:
        supervisor = wait_for_stopped(run)
        run.signal(signal.SIGTERM)
        supervisor.resume()
        run.finish(expect=75)
    assert (out / ".batchgray").is_dir()
    assert modes(out) == {(True, "700"), (False, "600")}


def test_a_folder_that_hands_its_group_on_goes_on_doing_so(pictures, out):
    out.mkdir()
    groups = os.getgroups()
    os.chown(out, -1, 100 if os.geteuid() == 0 else groups[-1])
    out.chmod(0o2775)
    batchgray("run", pictures, "--out", out, umask=0o022)
    assert modes(out) == {(True, "2755"), (False, "644")}
    assert {path.stat().st_gid for path in out.rglob("*")} == {out.stat().st_gid}


@needs_mounts
def test_the_output_may_be_on_a_file_system_of_its_own(pictures, whole, out, tmp_path):
    out.mkdir()
    (tmp_path / "copy").mkdir()
    mounts = f'mount -t tmpfs none "{out}"; mkdir "{out}/real" "{out}/bound"; mount --bind "{out}/real" "{out}/bound"'
    copying = shell(f'{mounts}; "$@"; code=$?; cp -r "{out}/real/." "{tmp_path}/copy"; exit $code')
    confined(["unshare", "--mount", *copying], "run", pictures, "--out", out / "bound")
    assert tree(tmp_path / "copy") == whole


@needs_mounts
def test_a_file_system_below_the_output_folder_costs_its_own_images_and_is_named(pictures, whole, out):
    (out / "sub").mkdir(parents=True)
    said = confined(
        private_mounts(f'mount -t tmpfs none "{out}/sub"'), "run", pictures, "--out", out, expect=3, cwd=out.parent
    )
    reason = "can't write its output: its folder is on another file system than the output folder"
    assert re.search(rf"^  sub/1.png, sub/线é.png: {reason}", said, re.MULTILINE)
    assert tree(out) == {"0.jpg": whole["0.jpg"]}


def test_a_working_folder_that_was_deleted(pictures, whole, out, tmp_path):
    gone = shell(f'mkdir "{tmp_path}/gone"; cd "{tmp_path}/gone"; rmdir "{tmp_path}/gone"; exec "$@"')
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY.parent)}
    confined(gone, "run", pictures, "--out", out, env=environment)
    assert tree(out) == whole
    said = confined(gone, "run", pictures, "--out", "here", env=environment, expect=2)
    assert "the working folder was deleted" in said


# locks


@pytest.fixture
def no_locks(tmp_path):
    """The environment of a program to which every file system refuses locks."""
    (tmp_path / "shim").mkdir()
    shim = "import errno, fcntl, os\ndef flock(*_):\n    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))\n"
    (tmp_path / "shim" / "sitecustomize.py").write_text(f"{shim}fcntl.flock = flock\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "shim"), str(LIBRARY.parent)])}


def test_a_refused_lock_is_told_with_what_to_do_and_can_be_gone_without(no_locks, pictures, whole, out):
    refused = batchgray("run", pictures, "--out", out, env=no_locks, expect=2)
    assert "--no-lock" in refused.stderr
    assert f"{out}/manifest.json.lock" in refused.stderr
    batchgray("run", pictures, "--out", out, "--no-lock", env=no_locks)
    (out / "0.jpg").write_bytes(b"damaged")
    assert "--no-lock" in batchgray("verify", "--mend", out / "manifest.json", env=no_locks, expect=2).stderr
    batchgray("verify", "--mend", out / "manifest.json", "--no-lock", env=no_locks, expect=3)
    batchgray("resume", out / "manifest.json", env={**no_locks, "BATCHGRAY_NO_LOCK": "1"})
    assert tree(out) == whole


def test_a_lock_that_is_to_be_had_is_taken_and_heeded_all_the_same(stamps, out, first_chunk):
    with Running("run", stamps, "--out", out, "--no-lock", env=first_chunk) as run:
        wait_for_stopped(run)
        assert f"process {run.process.pid} " in batchgray("run", stamps, "--out", out, "--no-lock", expect=2).stderr


# who reads


@pytest.mark.parametrize(
    "ending",
    ['"$@" <&- >&- 2>&-', '"$@" >/dev/full', '"$@" | head -n 1', '"$@" --progress json | head -c 1'],
)
def test_the_work_is_done_whoever_reads_of_it(ending, pictures, whole, out):
    confined(["bash", "-o", "pipefail", "-c", ending, "sh"], "run", pictures, "--out", out)
    assert tree(out) == whole


def test_who_asks_and_reads_no_further_gets_the_answers_exit_code(pictures, out):
    batchgray("run", pictures, "--out", out)
    (out / "0.jpg").unlink()
    (out / "sub/1.jpg").unlink()
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as dead:
        confined([], "verify", out / "manifest.json", expect=3, stdout=dead, stderr=None)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command("status", out / "manifest.json"), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "can't write to standard output: No space left on device" in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["run", "-h"], ["--version"], ["completion", "zsh"]])
def test_an_answer_that_cannot_be_written_is_told_and_one_that_is_not_read_is_not(arguments):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command(*arguments), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "batchgray: fatal: can't write to standard output: No space left on device. " + (
        "Send it to where there is room.\n"
    )
    assert confined(["bash", "-o", "pipefail", "-c", '"$@" | true', "sh"], *arguments) == ""


def test_an_error_that_nobody_can_read_has_its_exit_code_all_the_same():
    for arguments in (["stauts"], ["status", "/nowhere/manifest.json"]):
        with Path("/dev/full").open("wb") as full:
            assert subprocess.run(command(*arguments), stderr=full, check=False).returncode == 2


def test_a_run_from_cron_needs_nothing_of_a_login(pictures, whole, out):
    """Neither HOME nor TERM, a PATH of two folders, no terminal; what is printed is mailed, so -q is for it."""
    environment = {"PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": "root", "PYTHONPATH": str(LIBRARY.parent)}
    assert confined([], "run", pictures, "--out", out, "-q", env=environment) == ""
    assert tree(out) == whole
    assert "Done: 3 of 3 images" in confined([], "run", pictures, "--out", out, env=environment)


@pytest.mark.skipif(not can("systemd-run", "--pipe", "--wait", "--quiet"), reason="no systemd here")
def test_a_unit_that_is_stopped_is_interrupted(stamps, out, tmp_path):
    unit = f"batchgray-test-{os.getpid()}"
    recording = Recording(tmp_path / "record", AT_THE_FIRST_CHUNK)
    asked = ["systemd-run", "--pipe", "--wait", "--quiet", f"--unit={unit}"]
    asked += [f"--setenv={name}={value}" for name, value in recording.variables.items()]
    run = subprocess.Popen(
        [*asked, *command("run", stamps, "--out", out, "--progress", "json")], stdout=subprocess.PIPE, text=True
    )
    recording.wait_until_met()
    subprocess.run(["systemctl", "stop", unit], check=True)  # sends SIGCONT after SIGTERM
    assert json.loads(run.communicate(timeout=DEADLINE)[0].splitlines()[-1])["state"] == "interrupted"
    assert run.returncode == 75


class Terminal:
    """A program with a terminal of its own, of this size, that finds `before` typed. `text` grows as it is read."""

    def __init__(
        self,
        arguments: list[str],
        rows: int = 24,
        columns: int = 80,
        env: Mapping[str, str] = os.environ,
        before: str = "",
        **settings,
    ) -> None:
        self._ours, theirs = pty.openpty()
        self.type(before)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.text = ""
        # A read may end in the middle of a character, and what the terminal echoes may come there.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.process = subprocess.Popen(
            # setsid --ctty makes it the terminal's own: it is hung up with it.
            ["setsid", "--ctty", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**env, "TERM": "xterm", "COLUMNS": "", "LINES": ""},
            **settings,
        )
        os.close(theirs)

    def read_all(self) -> None:
        while self._read():
            pass

    def _read(self) -> bool:
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # nobody is at the other side any more
            data = b""
        self.text += self._decoder.decode(data)
        return bool(data)

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def hang_up(self) -> None:
        os.close(self._ours)


needs_setsid = pytest.mark.skipif(not can("setsid"), reason="there is no setsid here")


@needs_setsid
@pytest.mark.parametrize("size", [(24, 1), (0, 0)])
def test_a_terminal_of_any_size_has_room_for_the_bar(size, pictures, whole, out):
    terminal = Terminal(command("run", pictures, "--out", out), *size)
    terminal.read_all()
    terminal.hang_up()
    assert terminal.process.wait(DEADLINE) == 0
    assert "Converted 3 images" in terminal.text
    assert tree(out) == whole


@needs_setsid
def test_ctrl_c_leaves_a_tidy_screen(stamps, out, first_chunk):
    terminal = Terminal(command("run", stamps, "--out", out), columns=300, env=first_chunk)
    supervisor = wait_for_stopped(terminal)
    terminal.type("\x03")
    supervisor.resume()
    terminal.read_all()
    terminal.hang_up()
    assert terminal.process.wait(DEADLINE) == 75
    lines = lines_on_screen(terminal.text)
    assert [line.partition(" ")[0] for line in lines if line] == [
        *("Converting", "Interrupted", "Everything", "Converted", "Done:", "To")
    ]
    assert "^C" in terminal.text
    assert "\x1b[?25l" not in terminal.text
    assert lines[-1] == ""
    assert "" not in lines[:-1]


@needs_setsid
def test_a_terminal_that_was_stopped_by_ctrl_s_keeps_no_signal_from_being_heard(stamps, out, first_chunk):
    terminal = Terminal(command("run", stamps, "--out", out, "-v"), env=first_chunk, before="\x13")
    supervisor = wait_for_stopped(terminal)
    supervisor.send_signal(signal.SIGTERM)
    supervisor.resume()
    assert terminal.process.wait(DEADLINE) == 75
    assert manifest_of(out)["state"] == "interrupted"
    terminal.hang_up()


@needs_setsid
def test_a_terminal_that_is_closed_interrupts_the_run(stamps, out, first_chunk):
    terminal = Terminal(command("run", stamps, "--out", out), env=first_chunk)
    supervisor = wait_for_stopped(terminal)
    terminal.hang_up()
    supervisor.resume()
    assert terminal.process.wait(DEADLINE) == 75
    document = manifest_of(out)
    assert document["state"] == "interrupted"
    assert document["interruptions"][0]["event_id"] == "SIGHUP"
    batchgray("resume", out / "manifest.json")
    assert len(tree(out)) == 200
    assert leftovers(out) == []


@needs_setsid
def test_nohup_keeps_a_run_going_without_its_terminal(stamps, out, tmp_path):
    terminal = Terminal(["nohup", *command("run", stamps, "--out", out)], cwd=tmp_path)
    said = tmp_path / "nohup.out"
    wait_until(lambda: said.exists() and "Converting" in said.read_text())
    terminal.hang_up()
    assert terminal.process.wait(DEADLINE) == 0
    assert len(tree(out)) == 200


# the interpreter's settings


def test_json_is_utf_8_in_any_locale(pictures, whole, tmp_path):
    out = tmp_path / "ö"
    environment = {name: value for name, value in os.environ.items() if name != "LANG" and not name.startswith("LC_")}
    environment |= {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii", "PYTHONOPTIMIZE": "2"}

    def said(*arguments) -> str:
        done = subprocess.run(command(*arguments), stdout=subprocess.PIPE, env=environment, check=True)
        return done.stdout.decode("utf-8")

    events = events_of(said("run", pictures, "--out", out, "--progress", "json"))
    assert {event["output"] for event in named(events, "done")} == set(NAMES)
    assert events[-1]["manifest"] == str(out / "manifest.json")
    assert tree(out) == whole
    assert json.loads(said("status", out / "manifest.json", "--json"))["state"] == "complete"


def test_a_locale_whose_names_are_not_utf_8_is_refused(pictures, out):
    latin = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = batchgray("run", pictures, "--out", out, env={**os.environ, **latin}, expect=2)
    assert "PYTHONUTF8=1" in done.stderr
    assert not out.exists()


# limits


@pytest.mark.skipif(not can("taskset", "1"), reason="there is no taskset here")
def test_a_process_bound_to_one_cpu_has_one_worker(pictures, out):
    cpu = min(os.sched_getaffinity(0))
    said = confined(["taskset", "-c", cpu], "run", pictures, "--out", out, "--progress", "json")
    assert named(events_of(said), "planned")[0]["workers"] == 1


def test_half_a_cpu_by_cgroup_is_one_worker(pictures, out):
    with cgroup(cpu=50000) as (inside, _):
        said = confined(inside, "run", pictures, "--out", out, "--progress", "json")
    assert named(events_of(said), "planned")[0]["workers"] == 1


@needs_prlimit
def test_thirty_two_open_files_are_enough(stamps, out):
    confined(["prlimit", "--nofile=32"], "run", stamps, "--out", out, "--workers", 2)
    assert len(tree(out)) == 200


@needs_prlimit
def test_too_few_open_files_for_the_workers_are_told(pictures, out):
    said = confined(["prlimit", "--nofile=20"], "run", pictures, "--out", out, "--workers", 20, expect=1)
    assert "ulimit -n" in said


@needs_prlimit
def test_what_a_limit_of_file_sizes_refuses_the_memory_for_is_converted_in_bands(pictures, stamps, out):
    confined(["prlimit", "--fsize=1000000"], "run", stamps / "000.png", pictures / "0.png", "--out", out)
    assert list(tree(out)) == ["0.jpg", "000.jpg"]


@needs_prlimit
def test_a_limit_of_file_sizes_below_all_use_is_told(pictures, out):
    said = confined(["prlimit", "--fsize=40000"], "run", pictures, "--out", out, expect=1)
    assert "ulimit -f" in said


@needs_nobody
@needs_prlimit
@pytest.mark.parametrize("processes", [1, 3])
def test_too_few_processes_are_told(processes, pictures, tmp_path):
    os.chown(tmp_path, 54321, 54321)
    open_to_all(tmp_path)
    limited = [*NOBODY, "prlimit", f"--nproc={processes}"]
    said = confined(limited, "run", pictures, "--out", tmp_path / "out", "--workers", 2, expect=1)
    assert "can be started" in said


@pytest.mark.skipif(not can("unshare", "--pid", "--fork", "--mount-proc"), reason="no process namespaces here")
def test_the_first_process_of_a_container_hears_signals_and_leaves_nobody(stamps, out, tmp_path):
    recording = Recording(tmp_path / "record", Rule("decode", r"100\.jpg"))  # the first process itself can't be stopped
    run = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--mount-proc", *command("run", stamps, "--out", out, "--progress", "json")],
        stdout=subprocess.PIPE,
        text=True,
        env=recording.environment,
    )
    wait_until(lambda: psutil.Process(run.pid).children())
    first = psutil.Process(run.pid).children()[0]
    worker = stopped_worker_of(first)
    everybody = first.children(recursive=True)
    first.terminate()
    resume_when_told(worker)
    last = run.communicate(timeout=DEADLINE)[0].splitlines()[-1]
    assert run.returncode == 75
    assert json.loads(last)["state"] == "interrupted"
    assert not any(process.is_running() for process in everybody)
