"""A cluster that wants a token: who has none, or another, is told so in a sentence before any work."""

import os
import socket
import subprocess
import sys

import pytest
from harness import DEADLINE

TOKEN = "the-token-of-this-cluster-and-of-no-other"


@pytest.fixture(scope="module")
def address(_loopback):
    """A head that wants TOKEN, and gives no cores. It ends with this fixture, and all that it started."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    line = ["start", "--head", "--block", "--node-ip-address", "127.0.0.1", "--port", str(port), "--num-cpus", "0"]
    head = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", *line, "--include-dashboard", "false", "--disable-usage-stats"],
        env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = []
    for text in head.stdout:
        said.append(text)
        if "Ray runtime started" in text:
            break
    else:
        pytest.fail("".join(said))
    try:
        yield f"127.0.0.1:{port}"
    finally:
        head.terminate()
        head.communicate(timeout=DEADLINE)


def refused(address, tmp_path, **variables):
    """What a driver with these variables says at its end."""
    (tmp_path / "in").mkdir()
    line = ["run", tmp_path / "in", "--out", tmp_path / "out", "--engine", "ray", "--ray-address", address]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    done = subprocess.run(
        [sys.executable, "-m", "batchgray", *map(str, line)],
        env={**environment, "HOME": str(tmp_path), **variables},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert TOKEN not in done.stderr
    return done.returncode, done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({}, "RAY_AUTH_MODE is not token here"),
        ({"RAY_AUTH_MODE": "token"}, "no authentication token was found"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "another-token"}, "it refuses the one that is set here"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/nowhere"}, "cannot be opened or is empty"),
    ],
    ids=["off", "none", "another", "no such file"],
)
def test_who_has_not_its_token_is_told_so_and_what_to_do(address, tmp_path, variables, why):
    code, last = refused(address, tmp_path, **variables)
    assert code == 2
    assert f"The Ray cluster at {address} needs a token" in last
    assert why in last
    assert "Set RAY_AUTH_MODE=token" in last


def test_who_has_it_is_connected(address, tmp_path):
    code, last = refused(address, tmp_path, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN)
    assert code == 2
    assert "no image was found" in last
