"""Pictures of the results, for people: the figures that matter of each JSON, as bars, in docs/benchmarks/.

python benchmarks/report.py [--results DIR] [--out DIR]      # make bench-report
"""

import argparse
import json
import re
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
from common import HERE, described, digits
from matplotlib.axes import Axes

_OURS, _FLOOR, _OTHERS, _LUMA = "#1f6f8b", "#9aa5ab", "#d9a441", "#efd9a0"
_WIDTH, _BAR_HEIGHT, _HEAD, _FOOT, _CHARACTERS = (
    9.0,
    0.25,
    0.8,
    0.7,
    175,
)  # inches, and characters in a line of the foot
_LARGER_IS_BETTER = {"MP/s", "Gpx/s", "1/s", "%"}

plt.rcParams |= {
    "svg.fonttype": "none",  # text stays text: small files that can be searched
    "svg.hashsalt": "batchgray",  # the same figures give the same file
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
}


class Picture(NamedTuple):
    """What of a result is drawn: the title, a panel for each of these figures, and no rows with these words."""

    title: str
    figures: tuple[str, ...]
    leave_out: str = " / "


_WORK = " / |start-up"
PICTURES = {
    "throughput": Picture("A batch of photographs (light: peers that never look at colour)", ("wall", "cpu"), _WORK),
    "thumbnails": Picture("Thumbnails of 256 x 256 (light: peers that never look at colour)", ("wall", "cpu"), _WORK),
    "png_output": Picture("Photographs to PNG", ("wall", "cpu", "encoding", "size"), _WORK),
    "formats": Picture("Photographs as PNG, TIFF and WebP", ("wall", "cpu"), _WORK),
    "kernel": Picture("The kernel alone, one thread", ("speed", "share of memcpy")),
    "startup": Picture("From the start of the process", ("wall",)),
    "checkpoint_cost": Picture("Checkpoints, and never one", ("wall", "cpu")),
    "resume_cost": Picture("Interrupted and resumed, and left alone", ("wall", "cpu")),
    "notice_latency": Picture("An interruption, 12 MP photographs in flight", ("sent to heard", "heard to exit")),
    "scaling": Picture("Workers", ("wall", "cpu"), _WORK),
    "memory": Picture("Peak memory of all processes together", ("peak PSS",)),
    "dispatch": Picture("Images of 8 x 8", ("images a second", "planning an image", "peak memory")),
    "large": Picture("One large image", ("wall", "cpu", "memory")),
    "stores": Picture("Over object stores, whose servers have the same cores", ("wall", "cpu", "waiting")),
    "joined": Picture("One machine, and two that join", ("finished", "both", "cpu"), _WORK),
    "planning": Picture("Planning a job of millions of images", ("planning", "merging", "plan", "results")),
    "fleet": Picture("An event on a shared queue", ("sent to heard", "requests an hour and instance")),
}


def draw(report: dict, picture: Picture, path: Path) -> None:
    """Panels side by side, a bar for each contender: the median, and a whisker from the smallest to the largest."""
    rows = [row for row in report["rows"] if row["figure"] in picture.figures]
    names = list(dict.fromkeys(row["name"] for row in rows if not re.search(picture.leave_out, row["name"])))
    height = _BAR_HEIGHT * len(names) + _HEAD + _FOOT
    figure, axes = plt.subplots(1, len(picture.figures), figsize=(_WIDTH, height), sharey=True, squeeze=False)
    for axis, name in zip(axes[0], picture.figures, strict=True):
        found = {row["name"]: row for row in rows if row["figure"] == name}
        _draw_panel(axis, name, [found[each] for each in names if each in found])
    axes[0, 0].invert_yaxis()
    figure.suptitle(picture.title, x=0.01, ha="left", weight="bold")
    words = "Bars are medians, whiskers go from the smallest to the largest run.\n" + described(report)
    figure.text(0.01, 0.08 / height, textwrap.fill(words, _CHARACTERS), fontsize=6.5, color="#555555", va="bottom")
    figure.tight_layout(rect=(0, _FOOT / height, 1, 1))
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _draw_panel(axis: Axes, name: str, rows: list[dict]) -> None:
    names, medians = [row["name"] for row in rows], [row["median"] for row in rows]
    spread = [[row["median"] - row["min"] for row in rows], [row["max"] - row["median"] for row in rows]]
    axis.barh(names, medians, xerr=spread, color=[_colour(row) for row in rows], ecolor="#444444", capsize=2)
    for row in rows:
        label = f" {row['median']:,.{digits(row['median'])}f}"
        axis.annotate(label, (row["max"], row["name"]), va="center", fontsize=8)
    axis.margins(x=0.2)
    axis.set_xlim(left=0)
    axis.grid(axis="x", color="#e5e5e5")
    unit = rows[0]["unit"]
    better = "more" if unit in _LARGER_IS_BETTER else "less"
    axis.set_title(f"{name}, {unit} ({better} is better)", loc="left", fontsize=9)


def _colour(row: dict) -> str:
    if re.search("floor|memcpy", row["name"]):
        return _FLOOR
    if row["name"].startswith("batchgray"):
        return _OURS
    return _LUMA if row["note"].startswith("as luma") else _OTHERS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "benchmarks")
    given = parser.parse_args()
    reports = sorted(given.results.glob("*.json"))
    if not reports:
        sys.exit(f"There are no results in {given.results}: make bench")
    given.out.mkdir(parents=True, exist_ok=True)
    for path in reports:
        report = json.loads(path.read_text(encoding="utf-8"))
        target = given.out / f"{path.stem}.svg"
        draw(report, PICTURES[report["name"]], target)
        print(target)


if __name__ == "__main__":
    main()
