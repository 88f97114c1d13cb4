"""What docs/spot.md and the files for deployment say is what the program does."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import click
import pytest
import stream
import yaml
from command_lines import all_commands, check_command
from harness import DEADLINE

from batchgray import errors, events
from batchgray.cli import main
from batchgray.cloud.instance import Credentials
from batchgray.commands import doctor
from batchgray.notices import own_event, rehearsal, smq, spot_event
from batchgray.notices.inbox import Inbox, InterruptionNotice
from batchgray.notices.listeners import NoticeOptions
from batchgray.notices.smq import SmqListener
from batchgray.options import EngineOptions
from batchgray.progress import metrics
from batchgray.progress.metrics import Counts

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "spot.md").read_text()
PROSE = " ".join(PAGE.split())
POLICY = ROOT / "scripts" / "ram-policy.json"
TRUE = shutil.which("true") or ""
UNIT = ROOT / "scripts" / "batchgray.service"
CLOUD_INIT = ROOT / "scripts" / "cloud-init.yaml"
QUEUE = "spot-interruption"
KEY = Credentials(key_id="local", secret="local", origin="the test")


@pytest.fixture
def server(smq_local):
    with smq_local.LocalSMQ() as server:
        server.create_queue(QUEUE)
        yield server


@pytest.fixture
def options(server):
    return NoticeOptions(
        notices="smq", queue=QUEUE, endpoint=server.endpoint, credentials=KEY, instance_id="i-mine", metadata_url=None
    )


@pytest.mark.filterwarnings("ignore:.*_messages.*:DeprecationWarning")  # the SDK, of a queue's counts of messages
class TestThePolicy:
    def test_the_page_shows_it_in_full(self):
        assert fenced("json")[0] == POLICY.read_text()

    def test_it_grants_exactly_what_listening_and_doctor_use(self, smq_local, server, options, monkeypatch):
        monkeypatch.setattr(smq, "POLL_SECONDS", 0.1)
        granted = actions_of(json.loads(POLICY.read_text()))
        server.denied |= set(resources(smq_local)) - set(granted)
        send(server, "i-other")
        send(server, "i-mine")
        listen_and_acknowledge(options)
        assert len(server.messages(QUEUE)) == 1
        assert {finding.verdict for finding in doctor.examine(options)} == {"fine"}
        assert granted == used(smq_local, server)

    def test_the_other_one_grants_exactly_what_creating_and_simulating_use(self, smq_local):
        granted = actions_of(json.loads(fenced("json")[1]))
        with smq_local.LocalSMQ(denied=set(resources(smq_local)) - set(granted)) as server:
            of_this = NoticeOptions(queue=QUEUE, endpoint=server.endpoint, credentials=KEY)
            assert rehearsal.create_queue(of_this)
            assert not rehearsal.create_queue(of_this)
            assert rehearsal.simulate(of_this, "i-mine")
            assert granted == used(smq_local, server)


class TestTheUnit:
    @pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
    def test_systemd_finds_nothing_wrong_with_it(self, tmp_path):
        check_with_systemd(tmp_path)

    @pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
    def test_systemd_finds_nothing_wrong_with_what_the_page_says_for_stores(self, tmp_path):
        (override,) = re.findall(r"^```ini\n(.*?)^```$", (ROOT / "docs" / "stores.md").read_text(), re.M | re.S)
        *_, started = re.findall(r"^ExecStart=(.+)$", override, re.M)
        check_command(started)
        assert override.count("ExecStart=\n") == override.count("ExecStartPre=\n") == 1  # what the unit has is void
        (tmp_path / f"{UNIT.name}.d").mkdir()
        (tmp_path / f"{UNIT.name}.d" / "places.conf").write_text(override.replace("/opt/batchgray/bin/batchgray", TRUE))
        check_with_systemd(tmp_path)

    def test_only_an_interruption_starts_it_again_and_only_when_the_machine_would_be_gone(self):
        unit = settings()
        assert unit["Restart"] == "no"
        assert unit["SuccessExitStatus"] == "75"
        # A SIGTERM before the program could hear it: systemd alone would take it for a success.
        assert unit["RestartForceExitStatus"] == "75 SIGTERM"
        assert seconds(unit["RestartSec"]) > spot_event.NOTICE.total_seconds()

    def test_stopping_waits_longer_than_a_flush_and_an_acknowledgement(self):
        unit = settings()
        assert unit["KillMode"] == "mixed"
        flush = EngineOptions(workers=1, memory=1).grace + 10
        assert seconds(unit["TimeoutStopSec"]) > flush + smq.ACKNOWLEDGE_SECONDS

    def test_starting_waits_longer_than_the_lock_of_a_machine_that_was_given_notice(self):
        unit = settings()
        wait = int(re.search(r"--timeout (\d+)", unit["ExecStartPre"])[1])
        assert spot_event.NOTICE.total_seconds() + 90 < wait < seconds(unit["TimeoutStartSec"])

    def test_its_command_line_is_one_of_batchgrays(self):
        line = settings()["ExecStart"]
        check_command(line)
        assert f"{shlex.split(line)[4]}/manifest.json.lock" in settings()["ExecStartPre"]
        assert settings()["ReadWritePaths"] == shlex.split(line)[4]

    @pytest.mark.skipif(not (sys.platform == "linux" and shutil.which("flock")), reason="flock is not installed")
    def test_its_lock_is_batchgrays(self, tmp_path):
        from batchgray.manifest import lock
        from batchgray.manifest.files import files_of

        path = tmp_path / "manifest.json"
        waiting = ["flock", "--exclusive", "--timeout", "0", files_of(path).lock, "true"]
        with lock.owning(path):
            assert subprocess.run(waiting, timeout=DEADLINE, check=False).returncode == 1
        assert subprocess.run(waiting, timeout=DEADLINE, check=False).returncode == 0


class TestCloudInit:
    def test_it_writes_the_unit_as_it_is(self):
        text = CLOUD_INIT.read_text()
        assert text.startswith("#cloud-config\n")
        written = re.search(
            r"path: /etc/systemd/system/batchgray\.service\n(?:    .*\n)*?    content: \|\n((?:      .*\n|\n)+)", text
        )
        assert textwrap.dedent(written[1]).strip() == UNIT.read_text().strip()

    def test_it_parses(self):
        config = yaml.safe_load(CLOUD_INIT.read_text())
        files = {file["path"]: file for file in config["write_files"]}
        assert files["/etc/systemd/system/batchgray.service"]["content"] == UNIT.read_text()
        assert files["/etc/batchgray.env"]["permissions"] == "0600"
        assert all(isinstance(command, str) for command in config["runcmd"])

    @pytest.mark.skipif(not shutil.which("cloud-init"), reason="cloud-init is not installed")
    def test_it_follows_the_schema(self):
        command = ["cloud-init", "schema", "--config-file", CLOUD_INIT]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


class TestTheMetrics:
    def test_the_table_has_every_figure_with_its_labels(self):
        counts = Counts()
        for event in (stream.PLANNED, events.Checkpoint(done=1, failed=0), stream.SUMMARY):
            counts.count(event)
        samples = [sample for family in counts.families() for sample in family.samples]
        labels = {
            sample.name: "".join(f"{{{name}=}}" for name in sample.labels if name != "manifest") for sample in samples
        }
        assert {name + labels for name, labels in labels.items()} == set(
            re.findall(r"`(batchgray_[a-z_]+(?:{\w+=})?)`", PAGE)
        )

    def test_alerts_ask_for_figures_that_there_are(self):
        (rules,) = (yaml.safe_load(block)["groups"][0]["rules"] for block in fenced("yaml"))
        expressions = " ".join(rule["expr"] for rule in rules)
        named = set(re.findall(r"\bbatchgray_[a-z_]+", expressions))
        assert len(named) > 3
        assert named <= set(re.findall(r"`(batchgray_[a-z_]+)", PAGE))
        states = set(re.findall(r'state="(\w+)"', expressions))
        assert states <= {*metrics.STATES, *Counts().images}


class TestThePage:
    def test_its_command_lines_are_batchgrays(self):
        lines = [line.removeprefix("$ ") for block in fenced("console") for line in block.splitlines()]
        lines += re.findall(r"`([^`\n]+)`", PAGE)
        commands = [line for line in lines if re.match(r"batchgray [a-z-]", line)]
        assert len(commands) > 10
        for line in commands:
            check_command(line)

    def test_every_option_that_it_names_exists(self):
        known = {name for command in all_commands(main.cli) for option in command.params for name in option.opts}
        of_others = {"--wheel-dir", "--timeout", "--collector", "--what"}  # pip, flock, node_exporter, systemctl
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) - of_others <= known

    @pytest.mark.parametrize("path", [ROOT / "docs" / "spot.md", CLOUD_INIT, UNIT], ids=lambda path: path.name)
    def test_every_variable_that_is_named_is_read(self, path):
        known = {name for command in all_commands(main.cli) for option in command.params for name in variables(option)}
        assert set(re.findall(r"\b(?:BATCHGRAY|MNS)_[A-Z_]+\b", path.read_text())) <= known

    @pytest.mark.parametrize(
        "error",
        [
            errors.IncompleteSmq,
            errors.QueueMissing,
            errors.QueueDenied,
            errors.KeyRefused,
            errors.QueueUnreachable,
            errors.ManifestLocked,
        ],
    )
    def test_every_refusal_that_concerns_notices_is_in_it(self, error):
        longest_fixed_part = max(re.split(r"\{\d\}", error.__doc__.split(". ")[0]), key=len)
        assert longest_fixed_part.strip(" :.(),") in PROSE

    def test_what_can_be_missing_is_in_it(self):
        missing = SmqListener(smq.SmqOptions(queue="q", endpoint=None, credentials=None, instance_id=None))._missing()
        for what in ("the endpoint is missing", "credentials are missing", "the instance is not known"):
            assert what in missing
            assert what in PROSE

    def test_its_figures_are_the_programs(self):
        hourly = 3600 / smq.POLL_SECONDS
        assert f"{hourly:.0f} requests an hour" in PROSE
        assert f"{hourly * 24 * 30:,.0f} in a month" in PROSE
        assert f"{own_event.HOLD_SECONDS} s at a time, renewed every {smq.RENEW_SECONDS:.0f} s" in PROSE
        assert f"waits for the answers for {smq.CHECK_SECONDS:.0f} s at most" in PROSE
        assert f"it goes on trying, every {smq.POLL_SECONDS:.0f} s" in PROSE


def fenced(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.S | re.M)


def actions_of(policy: dict) -> dict[str, str]:
    """Which actions are granted, each with its kind of resource."""
    assert policy["Version"] == "1"
    found = {}
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            found[action.removeprefix("mns:")] = statement["Resource"]
    return found


def resources(smq_local) -> dict[str, str]:
    """The operations on a queue, each with the resource that the vendor's documents name for it."""
    return {
        operation: "acs:mns:REGION:UID:/queues/NAME" + ("/messages" if pattern.endswith("/messages") else "")
        for _, pattern, _, operation, _ in smq_local.ROUTES
        if pattern.startswith("/queues/")
    }


def used(smq_local, server) -> dict[str, str]:
    known = resources(smq_local)
    return {operation: known[operation] for operation in server.requests if operation in known}


def send(server, instance_id: str) -> None:
    server.send(QUEUE, spot_event.simulated(instance_id, "cn-hangzhou").decode(), base64=False)


def listen_and_acknowledge(options: NoticeOptions) -> None:
    inbox, source = Inbox(), SmqListener(options.smq(required=True))
    source.start(inbox)
    try:
        until = time.monotonic() + DEADLINE
        heard = []
        while not heard and time.monotonic() < until:
            heard = [item for item in inbox.take() if isinstance(item, InterruptionNotice)]
            time.sleep(0.01)
        assert source.acknowledge(heard[0]) is None
    finally:
        source.stop()
        inbox.close()


def settings() -> dict[str, str]:
    lines = (line for line in UNIT.read_text().splitlines() if re.match(r"\w+=", line))
    return dict(line.split("=", 1) for line in lines)


def seconds(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(s|min)?", text).groups()
    return int(number) * (60 if unit == "min" else 1)


def variables(option: click.Parameter) -> list[str]:
    return [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or [])


def check_with_systemd(folder: Path) -> None:
    """The unit, with what is in `folder` to override it; its programs need not be here."""
    copy = folder / UNIT.name
    text, replaced = re.subn(r"^(Exec\w+=-?)/\S+", rf"\g<1>{TRUE}", UNIT.read_text(), flags=re.M)
    assert replaced == 2
    copy.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", copy], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert UNIT.name not in done.stderr  # what it only warns of
    assert "places.conf" not in done.stderr
