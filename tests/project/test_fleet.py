"""The files that start a fleet are valid, and do what their comments say."""

import json
import lzma
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from command_lines import check_command
from harness import DEADLINE

from batchgray.options import EngineOptions

ROOT = Path(__file__).parents[2]
FLEET = ROOT / "scripts" / "fleet"
SCHEMAS = Path(__file__).parent / "schemas"
FLUSH = EngineOptions(workers=1, memory=1).grace + 10


def load(name: str) -> dict:
    return yaml.safe_load((FLEET / name).read_text())


def written(path: str) -> str:
    (file,) = (file for file in load("cloud-init.yaml")["write_files"] if file["path"] == path)
    return file["content"]


@pytest.mark.parametrize(
    ("name", "schema"), [("kubernetes-job.yaml", "job-batch-v1.json.xz"), ("rayjob.yaml", "rayjob-v1.json.xz")]
)
class TestTheSchemas:
    def test_the_file_follows_its_schema(self, name, schema):
        validator(schema).validate(load(name))

    def test_a_misspelt_field_would_be_found(self, name, schema):
        document = load(name)
        document["spec"]["complettions"] = 1
        assert not validator(schema).is_valid(document)


class TestKubernetes:
    def test_its_command_line_is_batchgrays(self):
        (container,) = load("kubernetes-job.yaml")["spec"]["template"]["spec"]["containers"]
        check_command(shlex.join(["batchgray", *container["args"]]))
        assert "--join" in container["args"]

    def test_it_is_given_time_to_flush_before_it_is_killed(self):
        pod = load("kubernetes-job.yaml")["spec"]["template"]["spec"]
        hook = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][2]
        assert FLUSH < int(re.search(r"sleep\((\d+)\)", hook)[1]) < pod["terminationGracePeriodSeconds"]

    def test_an_interruption_is_no_failure_and_a_mistake_is_not_repeated(self):
        rules = load("kubernetes-job.yaml")["spec"]["podFailurePolicy"]["rules"]
        by_code = {
            code: rule["action"] for rule in rules if "onExitCodes" in rule for code in rule["onExitCodes"]["values"]
        }
        assert by_code == {75: "Ignore", 2: "FailJob", 3: "FailJob"}


class TestKubeRay:
    def test_its_command_line_is_batchgrays(self):
        check_command(load("rayjob.yaml")["spec"]["entrypoint"])

    def test_the_driver_is_started_again_and_workers_are_given_time_to_flush(self):
        spec = load("rayjob.yaml")["spec"]
        assert spec["backoffLimit"] > 0
        (group,) = spec["rayClusterSpec"]["workerGroupSpecs"]
        assert group["template"]["spec"]["terminationGracePeriodSeconds"] > FLUSH


class TestTheDockerfile:
    def test_it_says_what_batchgray_needs_to_hear(self):
        steps = instructions()
        assert steps["ENTRYPOINT"] == '["batchgray"]'
        assert steps["STOPSIGNAL"] == "SIGTERM"
        assert steps["USER"] == "batchgray"

    def test_its_command_lines_are_batchgrays(self):
        text = (FLEET / "Dockerfile").read_text()
        for line in re.findall(r"^RUN (batchgray .*)$", text, re.M):
            check_command(line)


class TestCloudInit:
    @pytest.mark.skipif(not shutil.which("cloud-init"), reason="cloud-init is not installed")
    def test_it_follows_the_schema(self):
        command = ["cloud-init", "schema", "--config-file", FLEET / "cloud-init.yaml"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    @pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
    def test_systemd_finds_nothing_wrong_with_the_unit(self, tmp_path):
        unit = tmp_path / "batchgray-join.service"
        text = written("/etc/systemd/system/batchgray-join.service")
        text, replaced = re.subn(r"^(Exec\w+=\+?)/\S+", rf"\g<1>{shutil.which('true')}", text, flags=re.M)
        assert replaced == 3
        unit.write_text(text)
        done = subprocess.run(
            ["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=DEADLINE, check=False
        )
        assert done.returncode == 0, done.stderr
        assert unit.name not in done.stderr  # what it only warns of

    def test_the_units_command_line_is_batchgrays(self):
        text = written("/etc/systemd/system/batchgray-join.service")
        check_command(re.search(r"^ExecStart=(.*)$", text, re.M)[1])
        assert int(re.search(r"TimeoutStopSec=(\d)min", text)[1]) * 60 > FLUSH


class TestAfterwards:
    """What the script does that systemd runs when batchgray has ended, with the cloud's own programs stood in for."""

    @pytest.fixture
    def after(self, tmp_path):
        script = tmp_path / "after"
        script.write_text(written("/usr/local/sbin/batchgray-after"))
        script.chmod(0o755)
        calls = tmp_path / "calls"
        program(tmp_path / "aliyun", f'echo "$@" >>{calls}')
        program(tmp_path / "curl", "echo i-this")

        def run(code: str, status: str) -> str:
            calls.write_text("")
            environment = {
                "PATH": f"{tmp_path}:{os.defpath}",
                "RUNTIME_DIRECTORY": str(tmp_path),
                "EXIT_CODE": code,
                "EXIT_STATUS": status,
                "SCALING_GROUP": "asg-1",
                "RAM_ROLE": "role",
                "OSS_REGION": "cn-hangzhou",
            }
            subprocess.run([script], env=environment, timeout=DEADLINE, check=True)
            return calls.read_text()

        return run

    @pytest.mark.parametrize("status", ["0", "3"])
    def test_when_the_job_is_done_the_group_goes_to_nothing(self, after, status):
        assert "ModifyScalingGroup --ScalingGroupId asg-1 --MinSize 0 --DesiredCapacity 0" in after("exited", status)

    def test_a_machine_with_wrong_options_gives_itself_back_and_is_not_replaced(self, after):
        said = after("exited", "2")
        assert "RemoveInstances --ScalingGroupId asg-1 --InstanceId.1 i-this --DecreaseDesiredCapacity true" in said

    def test_a_machine_that_fails_again_and_again_gives_itself_back(self, after):
        assert [after("exited", "1") for _ in range(4)] == [""] * 4
        assert "RemoveInstances" in after("exited", "1")

    def test_an_interrupted_machine_waits_before_it_joins_again(self, after, tmp_path):
        assert after("exited", "75") == ""
        assert (tmp_path / "interrupted").exists()
        after("killed", "KILL")
        assert not (tmp_path / "interrupted").exists()

    def test_a_killed_supervisor_is_started_again_by_the_unit_and_changes_nothing(self, after):
        assert after("killed", "KILL") == ""
        assert "\nRestart=on-abnormal\n" in written("/etc/systemd/system/batchgray-join.service")

    def test_the_policy_grants_what_it_asks_for(self, after):
        policy = json.loads((FLEET / "ram-policy.json").read_text())
        granted = {action for statement in policy["Statement"] for action in statement["Action"]}
        said = after("exited", "0") + after("exited", "2")
        assert {f"ess:{action}" for action in re.findall(r"\bess (\w+)", said)} == {
            action for action in granted if action.startswith("ess:")
        }


def validator(schema: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(lzma.decompress((SCHEMAS / schema).read_bytes())))


def instructions() -> dict[str, str]:
    """The last of each kind of the Dockerfile's instructions."""
    lines = (FLEET / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    return dict(line.split(" ", 1) for line in lines if re.match(r"[A-Z]+ ", line))


def program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
