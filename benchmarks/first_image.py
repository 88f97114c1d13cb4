"""How soon the first image is converted: in buckets of a few and of a million objects, whose listing is made up.

    python benchmarks/first_image.py [--objects 1000 1000000] [--latency 0.04] [--runs 5]

Seconds from the start of the command to the first image whose output was put, over a local OSS that answers every
request so late. If the list came before the work, the second figure would be minutes.
"""

import argparse
import io
import os
import signal
import statistics

import numpy as np
from common import Watched, load_script
from PIL import Image


def picture() -> bytes:
    """A JPEG of 640 x 480."""
    rows, columns = np.mgrid[0:480, 0:640]
    pixels = np.stack([rows % 256, columns % 256, (rows + columns) % 256], axis=2).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def seconds_to_first(environment: dict[str, str], bucket: str, out: str) -> float:
    with Watched("run", f"oss://{bucket}", "--out", f"oss://gray/{out}", env=environment) as run:
        moment, _ = run.wait_for("done")
        run.process.send_signal(signal.SIGTERM)
        run.process.communicate()
        return moment - run.began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, nargs="+", default=[1000, 1_000_000])
    parser.add_argument("--latency", type=float, default=0.04, help="seconds")
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    with load_script("oss_local").LocalOSS(latency=given.latency) as server:
        server.create_bucket("gray")
        for count in given.objects:
            server.make_up_bucket(f"of-{count}", count, picture())
        environment = os.environ | server.environment
        found: dict[int, list[float]] = {count: [] for count in given.objects}
        for number in range(given.runs):
            for count in given.objects:
                found[count].append(seconds_to_first(environment, f"of-{count}", f"{count}-{number}"))
    for count, seconds in found.items():
        print(f"{count:,} objects: median {statistics.median(seconds):.2f} s, {min(seconds):.2f} to {max(seconds):.2f}")


if __name__ == "__main__":
    main()
