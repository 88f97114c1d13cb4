"""From the notice to the end, while photographs of 12 megapixels are being converted: by the queue, and by SIGTERM.

    python benchmarks/notice_latency.py [--images DIR] [--count 960] [--runs 20] [--workers N] [--json FILE]

The queue is scripts/smq_local.py on loopback, the SDK the real one. `sent to exit` is from the moment the event is in
the queue, or the signal is sent, `heard to exit` from the moment batchgray says that it has it. At the exit everything
is durable: the manifest on disk says so, and the message is gone from the queue.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable

import pictures
from common import Ended, Measured, Row, Watched, fresh, load_script, main, paired

from batchgray.notices.spot_event import simulated

_QUEUE = "spot-interruption"
_INSTANCE = "i-benchmark"


def options(parser) -> None:
    parser.add_argument("--count", type=int, default=960, help="images; more where a run ends too early")


def measure(given, work) -> Measured:
    photographs = pictures.flat_copy(given.images, work / "photographs")
    folder = pictures.twelve_megapixels(photographs, work / "12", given.count)
    pictures.warm(folder)
    chance = random.Random(1)

    def interrupted(options: tuple, send: Callable[[Watched], None], env: dict[str, str]) -> dict[str, float]:
        nonlocal folder
        while True:
            try:
                arguments = ("run", folder, "--workers", given.workers, *options, "--out", fresh(work))
                return _interrupted(arguments, chance, send, env)
            except Ended:
                count = 2 * len(list(folder.iterdir()))
                folder = pictures.twelve_megapixels(photographs, work / f"12-{count}", count)

    with load_script("smq_local").LocalSMQ() as server:
        server.create_queue(_QUEUE)
        queue = ("--notices", "smq", "--smq-endpoint", server.endpoint, "--instance-id", _INSTANCE)
        keys = {
            "ALIBABA_CLOUD_ACCESS_KEY_ID": server.access_key_id,
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET": server.access_key_secret,
        }

        def by_queue() -> dict[str, float]:
            def send(run: Watched) -> None:
                server.send(_QUEUE, simulated(_INSTANCE, "cn-hangzhou").decode(), base64=False)

            found = interrupted(queue, send, os.environ | keys)
            if server.messages(_QUEUE):
                sys.exit("the message is still in the queue")
            return found

        def by_signal() -> dict[str, float]:
            def send(run: Watched) -> None:
                run.process.send_signal(signal.SIGTERM)

            return interrupted(("--notices", "none"), send, dict(os.environ))

        found = paired(given.runs, {"notice from the queue": by_queue, "SIGTERM": by_signal})
    rows = [
        Row(name, figure, "s", [round_[figure] for round_ in rounds])
        for name, rounds in found.items()
        for figure in rounds[0]
    ]
    return Measured(rows, {"images": len(list(folder.iterdir())), "megapixels_each": 12})


def _interrupted(
    arguments: tuple, chance: random.Random, send: Callable[[Watched], None], env: dict[str, str]
) -> dict[str, float]:
    """Raises Ended where the run was over before it heard."""
    with Watched(*arguments, env=env) as run:
        run.wait_for("done")
        time.sleep(chance.uniform(0, 0.5))  # so that every phase of a conversion is met
        sent = time.monotonic()
        send(run)
        heard, _ = run.wait_for("notice")
        ended = run.finish(75)
    state = json.loads((arguments[-1] / "manifest.json").read_bytes())["state"]
    if state != "interrupted":
        sys.exit(f"the manifest says {state}")
    return {"sent to heard": heard - sent, "heard to exit": ended - heard, "sent to exit": ended - sent}


if __name__ == "__main__":
    main(__file__, __doc__, measure, runs=20, options=options)
