"""From what click was given, and the environment, to the records that the other rooms take."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batchgray import errors, options
from batchgray.errors import UsageError
from batchgray.storage.names import is_url

_NOT_FOR_JOBS = {
    "manifest": "the head of a job is the manifest.json of its output place",
}
_LEAST_MEMORY = 1 << 20  # less is a forgotten unit


def engine_options(given: dict[str, Any]) -> options.EngineOptions:
    known = {name: given[name] for name in ("workers", "checkpoint", "grace") if given[name] is not None}
    if given["memory"] is not None:
        known["memory"] = options.parse_size(given["memory"])
        if known["memory"] < _LEAST_MEMORY:
            raise errors.BadValue("--memory", "1M or more (a number without a unit is bytes)", given["memory"])
    return options.EngineOptions(**known, locked=not given["no_lock"], times=given["times"])


def pixel_options(given: dict[str, Any]) -> options.PixelOptions:
    return options.PixelOptions(
        method=given["method"],
        format=given["format_"],
        quality=given["quality"],
        compression=given["compression"],
        tile_rows=given["tile_rows"],
        metadata=given["metadata"],
        background=given["background"],
    )


def run_options(given: dict[str, Any]) -> dict[str, Any]:
    """What a run is given, with a manifest or with a job."""
    same = "out", "base", "max_pixels", "include", "exclude", "follow_links", "overwrite", "prune"
    return {name: given[name] for name in same} | {"pixels": pixel_options(given), "engine": engine_options(given)}


def is_job(inputs: Sequence[str], given: dict[str, Any]) -> bool:
    """Whether a run keeps a job: where it is asked for, where others work on it, and where a place is in a store."""
    together = given["join"] or given["shard"] or given["engine"] == "ray"
    places = (*inputs, given["out"], given["manifest"] or "", given["base"] or "")
    return given["job"] or together or any(map(is_url, places))


def fleet_options(given: dict[str, Any]) -> options.FleetOptions:
    return options.FleetOptions(join=given["join"], shard=given["shard"])


def refuse_for_jobs(given: dict[str, Any]) -> None:
    """Raises NotForJobs for an option that a job does not know yet, UsageError for two that exclude each other."""
    if given.get("overwrite") and (given["join"] or given["shard"]):
        raise UsageError("--overwrite is for one machine: begin the job anew with it, and have others --join without.")
    for name, reason in _NOT_FOR_JOBS.items():
        if given.get(name):
            raise errors.NotForJobs(f"--{name.replace('_', '-')}", reason)


def node_arguments(place: str, given: dict[str, Any]) -> list[str]:
    """The command line of a supervisor that joins the job in a place, on a node of a cluster."""
    place = place if is_url(place) else os.path.realpath(place)
    notices = {"auto": "auto", "none": "none", "smq": "none"}.get(given["notices"], "metadata")
    line = ["resume", place, "--join", "--progress", "json", "--notices", notices]
    for name in ("memory", "checkpoint", "grace", "metadata_url"):
        if given[name] is not None:
            line += [f"--{name.replace('_', '-')}", str(given[name])]
    return line


def notice_options(given: dict[str, Any]) -> Any:
    from batchgray.notices.listeners import NoticeOptions

    return NoticeOptions(
        notices=given.get("notices", "auto"),
        queue=given["smq_queue"],
        endpoint=given["smq_endpoint"],
        credentials=_credentials(),
        instance_id=given.get("instance_id"),
        any_instance=given.get("any_instance", False),
        metadata_url=given.get("metadata_url"),
    )


def store_options(given: dict[str, Any]) -> Any:
    from batchgray.storage.urls import StoreOptions

    return StoreOptions(
        oss_region=os.environ.get("OSS_REGION", ""),
        oss_endpoint=os.environ.get("OSS_ENDPOINT", ""),
        credentials=_credentials(),
        metadata_url=given.get("metadata_url"),
    )


def _credentials() -> Any:
    """Alibaba Cloud's from the environment; None where it has none."""
    from batchgray.cloud.instance import Credentials

    key_id = os.environ.get("ALIBABA_CLOUD_ACCESS_KEY_ID")
    secret = os.environ.get("ALIBABA_CLOUD_ACCESS_KEY_SECRET")
    token = os.environ.get("ALIBABA_CLOUD_SECURITY_TOKEN", "")
    if key_id and secret:
        return Credentials(key_id=key_id, secret=secret, token=token, origin="the environment")
    return None


def listed_in(name: str) -> tuple[str, ...]:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise errors.UnreadableList(name, error.strerror) from None
    names = data.split(b"\0") if b"\0" in data else data.splitlines()
    return tuple(os.fsdecode(line) for line in names if line.strip())
