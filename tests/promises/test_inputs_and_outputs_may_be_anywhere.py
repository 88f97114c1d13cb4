"""Folders and stores of any kind, in any mixture: the tree is that of a run on folders, and nothing else is left.

If this broke, it would matter to the pictures where they lie.
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import jobs
import oss_local
import pytest
from harness import batchgray, tree
from stores import LocalAzure, LocalS3, oss_options

from batchgray.storage.base import Place
from batchgray.storage.folder import FolderPlace
from batchgray.storage.urls import StoreOptions, open_url

KINDS = ["folder", "oss", "s3", *(["az"] if LocalAzure.program() else [])]


@pytest.fixture
def opened(tmp_path, monkeypatch) -> Iterator[Callable[[str], tuple[str, Place]]]:
    """Makes places of a kind: each is a name and a place, empty, that a run can reach."""
    numbers = itertools.count()
    with contextlib.ExitStack() as stack:

        def folder() -> tuple[str, Place]:
            path = tmp_path / f"place{next(numbers)}"
            path.mkdir()
            return str(path), FolderPlace(path)

        def oss() -> tuple[str, Place]:
            server = stack.enter_context(oss_local.LocalOSS())
            server.create_bucket("photos")
            for name, value in server.environment.items():
                monkeypatch.setenv(name, value)
            return "oss://photos/deep", open_url("oss://photos/deep", oss_options(server))

        def cloud(scheme: str) -> tuple[str, Place]:
            server = stack.enter_context({"s3": LocalS3, "az": LocalAzure}[scheme]())
            for name, value in server.environment.items():
                monkeypatch.setenv(name, value)
            name = f"{scheme}://{server.bucket()}/deep"
            return name, open_url(name, StoreOptions())

        def of_kind(kind: str) -> tuple[str, Place]:
            name, place = {"folder": folder, "oss": oss}.get(kind, lambda: cloud(kind))()
            stack.callback(place.close)
            return name, place

        yield of_kind


@pytest.fixture(scope="module")
def plain(samples, tmp_path_factory) -> tuple[Path, dict[str, bytes]]:
    """Pictures, and the tree of a run on folders."""
    out = tmp_path_factory.mktemp("plain") / "gray"
    batchgray("run", samples / "web", "--out", out, "--progress", "none")
    return samples / "web", tree(out)


@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(KINDS, 2)))
def test_from_one_kind_of_place_to_another(plain, opened, source, target):
    images, expected = plain
    (input, inputs), (out, outputs) = opened(source), opened(target)
    for name, data in tree(images).items():
        inputs.put(name, data)
    batchgray("run", input, "--out", out, "--job", "--workers", 1, env=os.environ | jobs.LEASE_ALONE)
    keys = [entry.key for entry in outputs.list()]
    own = [key for key in keys if key == "manifest.json" or key.startswith(".batchgray/")]
    assert {key: outputs.get(key) for key in keys if key not in own} == expected
    kept = {key.split("/", 2)[2].partition("/")[0] for key in own if key != "manifest.json"}
    assert kept == {"results", "1"}
    assert [entry.key for entry in inputs.list()] == sorted(tree(images), key=str.encode)


@pytest.mark.parametrize("kind", ["folder", "oss"])
def test_the_output_place_may_be_within_an_input(plain, opened, kind):
    """What is made there is nobody's input, however often the command is given."""
    (images, expected), (name, place) = plain, opened(kind)
    for key, data in tree(images).items():
        place.put(key, data)
    out, env = f"{name}/gray/all", os.environ | jobs.LEASE_ALONE
    for _ in range(2):
        batchgray("run", name, "--out", out, "--job", "--workers", 1, "-q", env=env)
        made = {entry.key: place.get(entry.key) for entry in place.list("gray/") if "/.batchgray/" not in entry.key}
        assert made.pop("gray/all/manifest.json")
        assert made == {f"gray/all/{key}": data for key, data in expected.items()}
    place.put("gray/all/sub/a.jpg", b"")
    assert "within the output place" in batchgray("run", f"{out}/sub", "--out", out, "--job", env=env, expect=2).stderr
