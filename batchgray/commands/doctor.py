"""What this machine has for a run, what would stop one, and what to do about it."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from batchgray import extras, machine, quantities
from batchgray.cloud.clock import compare_clock
from batchgray.cloud.instance import MetadataService, Unknown
from batchgray.errors import BatchgrayError
from batchgray.findings import Finding, Verdict
from batchgray.notices.listeners import NoticeOptions
from batchgray.notices.queue import QueueFault, SmqQueue, trials_of_taking, try_action, usage_error
from batchgray.notices.queue_contents import findings_of
from batchgray.notices.rehearsal import open_queue
from batchgray.planes import slots
from batchgray.storage import policies
from batchgray.storage.names import is_url
from batchgray.storage.trial import try_folder, try_store
from batchgray.storage.urls import StoreOptions, open_url, parse_url

NO_STORES = StoreOptions()
_LEAST_MEMORY = 200_000_000
_KERNEL_PIXELS = 4_000_000


def examine(options: NoticeOptions, out: str | None = None, stores: StoreOptions = NO_STORES) -> list[Finding]:
    """Look at everything, the queue only where one is configured, and at `out`, a path or a URL, where it is given.

    Nothing is changed; what is tried in `out` is taken away again. Raises BadUrl, ExtraMissing, BadStoreSettings.
    """
    own, identity = _identity(options)
    findings = [_cores(), _memory(), _shared_memory(), _kernel(), *_extras(), identity, _credentials(options)]
    if options.endpoint:
        findings += [compare_clock(options.endpoint), *_queue(options, own)]
    else:
        remedy = "set MNS_ENDPOINT or --smq-endpoint to hear interruption events; signals always count"
        findings.append(Finding(what="queue", verdict="note", detail="no endpoint is configured", remedy=remedy))
    return [*findings, *(_output(out, stores) if out is not None else [])]


def policy_lines(out: str | None) -> list[str]:
    """The least rights that a run needs at a URL, to be pasted where they are granted; nothing for a folder."""
    if out is None or not is_url(out):
        return []
    url = parse_url(out)
    if roles := policies.roles(url):
        return [f"The least role for {url}: {roles}"]
    if (policy := policies.policy(url)) is None:
        return []
    title = f"The least policy for outputs in {url} (one for inputs needs to list and to get):"
    *first, last = (json.dumps(statement) for statement in policy["Statement"])
    head = ["{", f'  "Version": "{policy["Version"]}",', '  "Statement": [']
    return [title, *head, *(f"    {statement}," for statement in first), f"    {last}", "  ]", "}"]


def finding_lines(findings: list[Finding]) -> list[str]:
    """For people."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.verdict:5}  {finding.what}: {finding.detail}")
        if finding.remedy:
            lines.append(f"       -> {finding.remedy}")
    return lines


def _cores() -> Finding:
    cores, all_cores = machine.usable_cores(), os.cpu_count() or 1
    return Finding(what="cores", verdict="fine", detail=f"{cores} to be used, of {all_cores} processors of the machine")


def _memory() -> Finding:
    available = machine.available_memory()
    detail = f"{quantities.size(available)} available to this process"
    if available >= _LEAST_MEMORY:
        return Finding(what="memory", verdict="fine", detail=detail)
    return Finding(what="memory", verdict="wrong", detail=detail, remedy="free some, or raise the cgroup's limit")


def _shared_memory() -> Finding:
    try:
        fd = slots.make_memory()
        slots.resize_memory(fd, 1 << 20)
        slot = slots.Slot(fd)
        slot.announce(0)
        os.close(fd)
    except OSError as error:
        return Finding(what="shared memory", verdict="wrong", detail=str(error), remedy="allow memfd_create")
    kind = "memfd" if hasattr(os, "memfd_create") else "a nameless temporary file"
    return Finding(what="shared memory", verdict="fine", detail=f"works ({kind}; /dev/shm is not needed)")


def _kernel() -> Finding:
    began = time.perf_counter()
    try:
        import numpy

        from batchgray.kernels import methods
    except Exception as error:
        detail = f"{type(error).__name__}: {error}"
        return Finding(
            what="kernel", verdict="wrong", detail=detail, remedy="install batchgray into a fresh environment"
        )
    ready = time.perf_counter() - began
    rgb, gray = numpy.zeros(3 * _KERNEL_PIXELS, numpy.uint8), numpy.zeros(_KERNEL_PIXELS, numpy.uint8)
    methods.bt601(rgb, gray)
    began = time.perf_counter()
    methods.bt601(rgb, gray)
    speed = _KERNEL_PIXELS / 1e9 / (time.perf_counter() - began)
    return Finding(
        what="kernel", verdict="fine", detail=f"ready in {ready:.1f} s, {speed:.1f} gigapixels a second and core"
    )


def _extras() -> Iterator[Finding]:
    for extra, (_, use) in extras.EXTRAS.items():
        what = f"extra {extra}"
        if extras.is_installed(extra):
            yield Finding(what=what, verdict="fine", detail=f"is installed: {use}")
        else:
            remedy = f"install batchgray[{extra}], and {use}"
            yield Finding(what=what, verdict="note", detail="is not installed", remedy=remedy)


def _identity(options: NoticeOptions) -> tuple[str | None, Finding]:
    """This instance's id, None where it is not known, and what is to be said of it."""
    if options.instance_id:
        detail = f"{options.instance_id}, as given"
        return options.instance_id, Finding(what="instance", verdict="fine", detail=detail)
    url = options.known_metadata_url
    if url is None:
        remedy = "for the queue's events give --instance-id (a run: or --any-instance), or --metadata-url"
        return None, Finding(what="instance", verdict="note", detail="not an Alibaba Cloud instance", remedy=remedy)
    try:
        own = MetadataService(url).instance_id()
    except Unknown as error:
        return None, Finding(what="instance", verdict="wrong", detail=str(error), remedy="give --instance-id")
    return own, Finding(what="instance", verdict="fine", detail=f"{own}, from metadata")


def _credentials(options: NoticeOptions) -> Finding:
    remedy = "set ALIBABA_CLOUD_ACCESS_KEY_ID and ..._SECRET, or give the instance a RAM role"
    verdict: Verdict = "wrong" if options.endpoint else "note"
    if options.credentials is not None:
        return Finding(what="credentials", verdict="fine", detail=f"from {options.credentials.origin}")
    if options.known_metadata_url is None:
        return Finding(what="credentials", verdict=verdict, detail="none", remedy=remedy)
    try:
        credentials, left = MetadataService(options.known_metadata_url).role_credentials()
    except Unknown as error:
        return Finding(what="credentials", verdict=verdict, detail=str(error), remedy=remedy)
    detail = f"from {credentials.origin}, for {quantities.duration(left)}"
    return Finding(what="credentials", verdict="fine", detail=detail)


def _output(out: str, stores: StoreOptions) -> Iterator[Finding]:
    if not is_url(out):
        yield from try_folder(Path(out))
        return
    with contextlib.closing(open_url(out, stores)) as place:
        yield from try_store(place)


def _queue(options: NoticeOptions, own: str | None) -> Iterator[Finding]:
    try:
        queue = open_queue(options)
    except BatchgrayError as error:
        yield Finding(what="queue", verdict="wrong", detail=str(error))
        return
    try:
        yield from _queue_findings(queue, own)
    finally:
        queue.close()


def _queue_findings(queue: SmqQueue, own: str | None) -> Iterator[Finding]:
    try:
        attributes = queue.attributes()
    except QueueFault as fault:
        yield _queue_fault("queue", fault, queue)
        if fault.kind != "AccessDenied":
            return
    else:
        active = f"{attributes.active_messages} message{'' if attributes.active_messages == 1 else 's'} to be had"
        counted = f"{active}, {attributes.inactive_messages} hidden, as a consumer has received them"
        detail = f"{queue.name} is there: {counted}; visibility time-out {attributes.visibility_timeout} s"
        yield Finding(what="queue", verdict="fine", detail=detail)
    with contextlib.suppress(QueueFault):  # the permission's finding tells of it
        yield from findings_of(queue.peek(), own)
    trials = {"BatchPeekMessage": queue.peek, **trials_of_taking(queue)}
    for name, trial in trials.items():
        yield _permission(name, trial, queue)


def _permission(name: str, trial: Callable[[], object], queue: SmqQueue) -> Finding:
    try:
        try_action(trial)
    except QueueFault as fault:
        return _queue_fault(f"permission mns:{name}", fault, queue)
    return Finding(what=f"permission mns:{name}", verdict="fine", detail="granted")


def _queue_fault(what: str, fault: QueueFault, queue: SmqQueue) -> Finding:
    return Finding(what=what, verdict="wrong", detail=str(usage_error(fault, queue.name, queue.endpoint)))
