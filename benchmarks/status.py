"""How long `batchgray status` takes over a job of millions of images, in a local OSS that made them up.

    python benchmarks/status.py [--images 10000000] [--done 0.9] [--machines 8] [--runs 5]

Shares of 5,000 images: most of them done, eight in the hands of machines that give signs of life, the others waiting.
The logs of done shares have as many entries as an hour of work leaves. Of a share that is done nothing but its tally
may be read, so plan and log of these hold no sense here: were they read, status would fail.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import threading
import time

from common import load_script

from batchgray.cloud.instance import Credentials
from batchgray.manifest import job_head
from batchgray.manifest.job_head import JobHead
from batchgray.manifest.job_round import Round, name_of
from batchgray.manifest.records import ImageChange
from batchgray.manifest.share_log import ShareLog
from batchgray.manifest.tally import DoneTally, PlannedTally
from batchgray.options import PixelOptions
from batchgray.planning import shares
from batchgray.planning.planned import Share, planned_image
from batchgray.planning.shares import SHARE_IMAGES
from batchgray.records import InputVersion
from batchgray.storage.base import Place
from batchgray.storage.urls import StoreOptions, open_place

ENTRIES = 30  # in the log of a share that is done
IMAGE_BYTES, OUTPUT_BYTES, PIXELS = 3_000_000, 1_000_000, 12_000_000
RENEW_SECONDS = 5.0  # `--checkpoint`
BUCKET, URL = "gray", "oss://gray/job"


def make_job(server, place: Place, given: argparse.Namespace) -> list[ShareLog]:
    """Returns the logs of the shares that machines have."""
    head = job_head.begin(
        place,
        JobHead(
            job="made-up",
            options=PixelOptions(),
            max_pixels=10**9,
            inputs=["oss://photos"],
            include=[],
            exclude=[],
        ),
    )
    round = Round(head.prefix, 1)
    count = -(-given.images // SHARE_IMAGES)
    done = int(given.done * count)
    plan = packed_share()
    for number in range(1, count + 1):
        name, is_done = name_of(number), number <= done
        put(server, tally_key(round, "planned", PlannedTally(name, SHARE_IMAGES, SHARE_IMAGES * IMAGE_BYTES)), b"")
        put(server, f"{round.plan}/{name}", b"not to be read" if is_done else plan)
        if is_done:
            figures = DoneTally(
                name,
                SHARE_IMAGES,
                0,
                SHARE_IMAGES * PIXELS,
                SHARE_IMAGES * IMAGE_BYTES,
                SHARE_IMAGES * OUTPUT_BYTES,
                0,
            )
            put(server, tally_key(round, "done", figures), b"")
            for entry in range(1, ENTRIES + 1):
                put(server, f"{round.log(name)}/{entry:08d}", b"not to be read")
    logs = [
        ShareLog(place, round.log(name_of(done + 1 + index)), f"process 1 on machine {index}", round.finished)
        for index in range(given.machines)
    ]
    for log in logs:
        log.take()
        for entry in range(ENTRIES // 2):
            log.record([changed(SHARE_IMAGES * entry // ENTRIES + index) for index in range(SHARE_IMAGES // ENTRIES)])
            log.sync()
    return logs


def put(server, key: str, data: bytes) -> None:
    server.put(BUCKET, f"job/{key}", data)


def tally_key(round: Round, kind: str, figures: PlannedTally | DoneTally) -> str:
    return f"{round.tally}/{kind}/{'.'.join(map(str, figures))}"


def packed_share() -> bytes:
    version = InputVersion(IMAGE_BYTES, 0, "0123456789abcdef")
    images = [planned_image(f"{number:08d}.jpg", f"{number:08d}.jpg", version) for number in range(SHARE_IMAGES)]
    return shares._SHARES.packed(Share(number=1, input=0, ignored={}, images=images))


def changed(index: int) -> ImageChange:
    return ImageChange(
        image=index,
        state="done",
        width=4000,
        height=3000,
        tiles_done=1,
        tiles_total=1,
        output_size=OUTPUT_BYTES,
        checksum=f"xxh3-128:{index:032x}",
    )


def give_signs(logs: list[ShareLog], over: threading.Event) -> None:
    """As machines do, each in its own rhythm."""
    while not over.wait(RENEW_SECONDS / len(logs)):
        logs.append(logs.pop(0))
        logs[0].sync()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000_000)
    parser.add_argument("--done", type=float, default=0.9)
    parser.add_argument("--machines", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    with load_script("oss_local").LocalOSS() as server:
        server.create_bucket(BUCKET)
        key = Credentials(key_id=server.access_key_id, secret=server.access_key_secret, origin="a benchmark")
        options = StoreOptions(oss_region=server.region, oss_endpoint=server.endpoint, credentials=key)
        logs = make_job(server, open_place(URL, options), given)
        over = threading.Event()
        machines = threading.Thread(target=give_signs, args=(logs, over))
        machines.start()
        environment = os.environ | server.environment
        try:
            measure(server, environment, given.runs)
        finally:
            over.set()
            machines.join()


def measure(server, environment: dict[str, str], runs: int) -> None:
    command = [sys.executable, "-m", "batchgray", "status", URL]
    seconds, processor = [], resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(runs):
        server.requests.clear()
        began = time.monotonic()
        told = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
        seconds.append(time.monotonic() - began)
    print(told)
    print(f"requests: {dict(server.requests)}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = (after.ru_utime + after.ru_stime - processor.ru_utime - processor.ru_stime) / runs
    print(f"seconds: median {statistics.median(seconds):.2f}, {min(seconds):.2f} to {max(seconds):.2f}")
    print(f"its own processor time: {used:.2f} s a run; memory: {after.ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
