"""What is no job, or can't be reached, is told in a sentence, and in the same one by every command that reads."""

import os

import pytest
from harness import batchgray, environment_with, save_gradient

COMMANDS = ["status", "verify", "report", "resume"]


@pytest.fixture(scope="module")
def store():
    oss_local = pytest.importorskip("oss_local")
    pytest.importorskip("alibabacloud_oss_v2", reason="batchgray[oss] is not installed")
    with oss_local.LocalOSS() as server:
        server.create_bucket("gray")
        yield server


@pytest.fixture(scope="module")
def environment(store):
    return os.environ | store.environment


@pytest.fixture(scope="module")
def plain(tmp_path_factory, store):
    """The document of a run without --job, which somebody has copied into a bucket."""
    folder = tmp_path_factory.mktemp("plain")
    save_gradient(folder / "in" / "a.png", 64, 48)
    batchgray("run", folder / "in", "--out", folder / "out", "-q")
    store.put("gray", "plain/manifest.json", (folder / "out" / "manifest.json").read_bytes())
    store.put("gray", "foreign/manifest.json", b'{"kind": "of another program"}')


def refused(command, url, environment, folder):
    said = batchgray(command, url, env=environment, cwd=folder, expect=2)
    assert said.stdout == ""
    assert list(folder.iterdir()) == []
    return said.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_where_there_is_no_job(command, environment, plain, tmp_path):
    nothing = refused(command, "oss://gray/nothing", environment, tmp_path)
    assert "there is no manifest at oss://gray/nothing/manifest.json" in nothing
    told = refused(command, "oss://gray/plain/manifest.json", environment, tmp_path)
    assert "is the manifest of a run without --job" in told
    assert "it is not a manifest" in refused(command, "oss://gray/foreign", environment, tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
def test_what_can_not_be_reached(command, environment, tmp_path):
    assert "missing-bucket" in refused(command, "oss://missing-bucket/x", environment, tmp_path)
    wrong = environment | {"ALIBABA_CLOUD_ACCESS_KEY_SECRET": "wrong"}
    assert "ALIBABA_CLOUD_ACCESS_KEY_SECRET" in refused(command, "oss://gray/x", wrong, tmp_path)
    assert "batchgray knows no os://" in refused(command, "os://gray/x", environment, tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_extra_that_is_missing(command, tmp_path):
    code = "import sys; sys.modules['alibabacloud_oss_v2'] = None"
    (tmp_path / "here").mkdir()
    environment = environment_with(code, tmp_path)
    assert "install batchgray[oss]" in refused(command, "oss://gray/x", environment, tmp_path / "here")
