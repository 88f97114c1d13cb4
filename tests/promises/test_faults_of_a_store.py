"""A store that fails: said in a sentence, with the exit code of the contract; nothing untrue in the log, and the same
command finishes the work when the cause is gone.

If this broke, a throttled bucket or a key that was revoked would end a night's work with a hang, a lie, or litter that
is paid for.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import jobs
import pytest
from harness import Running, batchgray, named, save_gradient, tree
from oss_local import Fault
from recording import Recording, Rule, wait_for_stopped_worker

DONE, FATAL, SOME_FAILED, INTERRUPTED = 0, 1, 3, 75
LEASE = 3.0
IN_THE_MIDDLE = Rule("tile", r"a\.jpg", after=30)
EVERYTHING = math.inf


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A folder with an image of 100 tiles, which comes first, and two small ones."""
    folder = tmp_path_factory.mktemp("several")
    save_gradient(folder / "a.jpg", 600, 800, quality=90)
    save_gradient(folder / "b" / "small.jpg", 60, 80, quality=90)
    save_gradient(folder / "c.png", 64, 48)
    return folder


@pytest.fixture(scope="module")
def several_converted(several, tmp_path_factory):
    out = tmp_path_factory.mktemp("several-converted") / "gray"
    batchgray("run", several, "--out", out, "--tile-rows", 8, "--progress", "none")
    return out


@pytest.fixture
def stage(several, tmp_path):
    with jobs.oss(several, tmp_path) as stage:
        stage.environment["SHARE_LEASE"] = str(LEASE)
        yield stage


def failing(*given, **named) -> Callable[[jobs.Stage], None]:
    return lambda stage: stage.server.faults.append(Fault(*given, **named))


def clear(stage) -> None:
    stage.server.clear_faults()


def setting(**values) -> Callable[[jobs.Stage], None]:
    return lambda stage: [setattr(stage.server, name, value) for name, value in values.items()]


def without_bucket(name: str) -> Callable[[jobs.Stage], None]:
    def remove(stage) -> None:
        stage.bucket = stage.server.buckets.pop(name)

    return remove


def with_bucket(name: str) -> Callable[[jobs.Stage], None]:
    return lambda stage: stage.server.buckets.update({name: stage.bucket})


@dataclass(frozen=True)
class Trouble:
    """What goes wrong while the first image is converted, and how it is mended after the end."""

    name: str
    begins: Callable[[jobs.Stage], None]
    ends: Callable[[jobs.Stage], None] = clear
    exit_code: int = DONE
    says: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    is_of_what_is_read: bool = False  # the next image is not to be read before it begins
    is_there: bool = False  # from the start


IMPATIENT = {"STORE_PATIENCE": "1"}
TROUBLES = [
    Trouble("500 for a while", failing("*", "error", times=5)),
    Trouble("told to slow down for a while", failing("*", "error", code="SlowDown", seconds=0, times=5)),
    Trouble("hung up on before the work for a while", failing("*", "drop", times=5)),
    Trouble("answers lost for a while", failing("*", "lose", times=5)),
    Trouble("answers cut for a while", failing("*", "cut", times=5)),
    Trouble("bits turned for a while", failing("GetObject", "flip", times=5)),
    Trouble(
        "gone for good",
        failing("*", "drop", times=EVERYTHING),
        exit_code=FATAL,
        says="can't be reached",
        environment={**IMPATIENT, "BATCHGRAY_GRACE": "1"},
    ),
    Trouble(
        "throttled for good",
        failing("*", "error", code="SlowDown", seconds=0, times=EVERYTHING),
        exit_code=FATAL,
        says="fewer requests",
        environment={**IMPATIENT, "BATCHGRAY_GRACE": "1"},
    ),
    Trouble(
        "the key is revoked",
        setting(access_key_id="another"),
        setting(access_key_id="local"),
        FATAL,
        "does not know the access key",
    ),
    Trouble(
        "the secret is changed", setting(access_key_secret="x"), setting(access_key_secret="local"), FATAL, "SECRET"
    ),
    Trouble("the clock is off", setting(skew=3600), setting(skew=0.0), FATAL, "clock"),
    Trouble(
        "bills that are not paid", failing("*", "error", code="UserDisable", times=EVERYTHING), clear, FATAL, "bills"
    ),
    Trouble(
        "puts are denied", setting(denied={"oss:PutObject"}), setting(denied=set()), FATAL, "oss:PutObject is denied"
    ),
    Trouble(
        "an output may not be put",
        failing("PutObject", "error", code="AccessDenied", key="2026/c.jpg", times=EVERYTHING),
        exit_code=SOME_FAILED,
        says="oss:PutObject is denied",
    ),
    Trouble("the bucket of the outputs is deleted", without_bucket("gray"), with_bucket("gray"), FATAL, "no bucket"),
    Trouble(
        "the bucket of the inputs is deleted",
        without_bucket("photos"),
        with_bucket("photos"),
        FATAL,
        "no bucket",
        is_of_what_is_read=True,
    ),
    Trouble(
        "full",
        failing("PutObject", "error", code="QuotaExceeded", times=EVERYTHING),
        exit_code=INTERRUPTED,
        says="is full",
        environment={"BATCHGRAY_GRACE": "1"},
    ),
    Trouble(
        "inputs that may not be read",
        failing("GetObject", "error", code="AccessDenied", key="2026/b/*", times=EVERYTHING),
        exit_code=SOME_FAILED,
        is_there=True,
        says="oss:GetObject is denied",
    ),
    Trouble(
        "an input that is shorter than it is",
        failing("GetObject", "cut", key="2026/b/*", times=EVERYTHING),
        exit_code=SOME_FAILED,
        is_there=True,
        says="ends before",
        environment=IMPATIENT,
    ),
    Trouble(
        "an input that comes with other bytes",
        failing("GetObject", "flip", key="2026/b/*", times=EVERYTHING),
        exit_code=SOME_FAILED,
        is_there=True,
        says="other bytes",
        environment=IMPATIENT,
    ),
]


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.name)
def test_trouble_in_the_middle(stage, several_converted, tmp_path, trouble):
    stage.environment |= trouble.environment
    recording = Recording(tmp_path / "record", IN_THE_MIDDLE)
    ahead = Fault("GetObject", "hold", key="2026/b/*")
    stage.server.faults += [ahead] if trouble.is_of_what_is_read else []
    if trouble.is_there:
        trouble.begins(stage)
    with Running(*stage.run(), env=stage.env(recording)) as run:
        worker = wait_for_stopped_worker(run)
        if not trouble.is_there:
            trouble.begins(stage)
        stage.server.release(ahead)
        worker.resume()
        run.finish()
    said = run.error + json.dumps(run.events)
    assert "Traceback" not in said
    assert run.process.returncode == trouble.exit_code, said
    assert trouble.says in said
    trouble.ends(stage)
    log_tells_nothing_that_is_not_there(stage)
    if trouble.exit_code != DONE:
        batchgray(*stage.run(), env=stage.env())
    assert stage.outputs() == tree(several_converted)
    assert set(stage.kept()) - {"2/finished"} == jobs.FINISHED  # what failed is a round of its own


def log_tells_nothing_that_is_not_there(stage) -> None:
    done = [change for entry in stage.log() for change in entry.changes if change.state == "done"]
    assert len(done) <= sum(".partial." not in name for name in stage.outputs())


# what is said at the start


@pytest.mark.parametrize(
    "trouble",
    [each for each in TROUBLES if each.exit_code in (FATAL, INTERRUPTED)],
    ids=lambda trouble: trouble.name,
)
def test_trouble_from_the_start_is_refused_in_the_same_words(stage, trouble):
    stage.environment |= IMPATIENT
    trouble.begins(stage)
    run = batchgray(*stage.run(), env=stage.env(), expect=2)
    assert "Traceback" not in run.stderr
    assert trouble.says.replace("is full", "quota") in run.stderr


# what needs more than a fault


def test_a_token_that_expires_in_the_middle_is_renewed_by_every_process(stage, several_converted, tmp_path):
    server = stage.server
    server.metadata.role = "worker"
    for name in ("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"):
        stage.environment[name] = ""
    stage.environment["BATCHGRAY_METADATA_URL"] = server.metadata_url
    recording = Recording(tmp_path / "record", IN_THE_MIDDLE)
    with Running(*stage.run(), env=stage.env(recording)) as run:
        worker = wait_for_stopped_worker(run)
        server.metadata.advance(server.metadata.credential_lifetime + 1)
        server.faults.append(Fault("GetRoleCredentials", "error", code="InternalError", times=2))
        worker.resume()
        run.finish(expect=0)
    assert "SecurityTokenExpired" in {request.code for request in server.log}
    assert stage.outputs() == tree(several_converted)


def test_an_input_that_was_replaced_after_it_was_listed_is_never_taken_for_the_old_one(
    stage, several, several_converted, tmp_path
):
    ahead = Fault("GetObject", "hold", key="2026/b/*")
    stage.server.faults.append(ahead)
    recording = Recording(tmp_path / "record", IN_THE_MIDDLE)
    with Running(*stage.run(), env=stage.env(recording)) as run:
        worker = wait_for_stopped_worker(run)
        stage.server.put("photos", "2026/b/small.jpg", (several / "a.jpg").read_bytes())
        stage.server.release(ahead)
        worker.resume()
        run.finish()
    converted = tree(several_converted)
    outputs = stage.outputs()
    assert outputs.pop("b/small.jpg", converted["a.jpg"]) == converted["a.jpg"]
    assert outputs == {name: data for name, data in converted.items() if name != "b/small.jpg"}


def test_other_bytes_under_an_outputs_name_stay_whoever_made_them(stage, several_converted):
    """Another's, or an earlier version's of batchgray that was cut off before the log told of them."""
    stage.server.put("gray", "2026/c.jpg", b"others")
    run = batchgray(*stage.run(), env=stage.env(), expect=SOME_FAILED)
    assert "look at them, remove them, and resume" in run.stdout + run.stderr
    assert stage.outputs() == {**tree(several_converted), "c.jpg": b"others"}


def test_an_empty_object_costs_one_image(stage, several_converted):
    stage.server.put("photos", "2026/b/small.jpg", b"")
    run = batchgray(*stage.run("--progress", "json"), env=stage.env(), expect=SOME_FAILED)
    (failed,) = (event for event in map(json.loads, run.stdout.splitlines()) if event["event"] == "failed")
    assert failed["source"] == "b/small.jpg"
    assert failed["error"]
    converted = tree(several_converted)
    del converted["b/small.jpg"]
    assert stage.outputs() == converted


def test_a_store_that_is_gone_for_a_while_is_waited_for(stage, several_converted, tmp_path):
    """Longer than the lease: nobody took the share meanwhile, so the work goes on."""
    stage.environment["SHARE_LEASE"] = str(jobs.LEASE)
    fault = Fault("*", "drop", times=EVERYTHING)
    recording = Recording(tmp_path / "record", IN_THE_MIDDLE)
    with Running(*stage.run(), env=stage.env(recording)) as run:
        worker = wait_for_stopped_worker(run)
        stage.server.faults.append(fault)
        worker.resume()
        assert "does not answer" in run.wait_for("warned")["message"]
        stage.server.clear_faults()
        assert "answers again" in run.wait_for("warned")["message"]
        run.finish(expect=0)
    assert stage.outputs() == tree(several_converted)


def test_a_store_that_never_comes_back_is_given_up_while_a_put_waits_for_the_lease(tall, tmp_path):
    recording = Recording(tmp_path / "record", Rule("tile", r"tall\.jpg", after=30))
    with jobs.oss(tall, tmp_path) as stage:
        stage.environment |= {"STORE_AWAY": "4", **IMPATIENT}
        with Running(*stage.run(), env=stage.env(recording)) as run:
            worker = wait_for_stopped_worker(run)
            stage.server.faults.append(Fault("*", "drop", times=EVERYTHING))
            run.wait_for("warned")
            worker.resume()
            run.finish(expect=FATAL)
        assert "has not answered for 4 s" in run.error


def test_where_the_store_is_gone_a_killed_worker_holds_up_nothing_for_long(stage, several_converted, tmp_path):
    """Each of the workers that die with finished tiles would wait for the store as long as its patience lasts."""
    stage.environment |= IMPATIENT
    recording = Recording(tmp_path / "record", Rule("tile", r".", after=3, times=None))
    with Running(*stage.run("--workers", 2), "--grace", 0, env=stage.env(recording)) as run:
        wait_for_stopped_worker(run)
        stage.server.faults.append(Fault("*", "drop", times=EVERYTHING))
        run.process.terminate()
        warned = [event["message"] for event in named(run.finish(expect=INTERRUPTED), "warned")]
    assert "the share is not given back" in warned[-1]
    stage.server.clear_faults()
