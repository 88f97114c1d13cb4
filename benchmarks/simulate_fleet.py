"""How far joined machines go: a grid of simulated fleets (see `simulated_fleet`), by their number and their lifetimes.

    python benchmarks/simulate_fleet.py [--nodes 10 100 1000] [--lives 600 3600 36000] [--notices heard]
        [--shares 2000] [--processes 2] [--json FILE [--keep]] [--plot SVG]

Each cell of the grid is one run with one seed, on one core; that of a thousand machines takes some minutes, and up to
2.4 GB of memory. What is found is written as it comes, in the order of the grid. With --keep cells that the file has
of the same setting are not run again: so it may be filled in several goes.
"""

import argparse
import gc
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from simulated_fleet import Fleet, Setting

CELL = ("nodes", "life", "heard")  # what the cells of one grid differ by
NOTICES = {"heard": [True], "unheard": [False], "both": [True, False]}
PLACES = (  # what the rest of a setting is called here, and what it is
    ("put_price", "USD of a thousand PUT or LIST"),
    ("get_price", "USD of a thousand GET or HEAD"),
    ("node_price", "USD of a machine's hour"),
    ("plan_rate", "images a second that one machine plans"),
    ("results_rate", "images a second whose results one machine writes"),
    ("latency", "seconds a request takes"),
)


def main() -> None:
    given = parsed()
    found = json.loads(given.json.read_text()) if given.only_plot else simulate(given)
    if given.plot:
        plot(found, given.plot)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shares", type=int, default=2000)
    parser.add_argument("--images", type=int, default=100_000_000)
    parser.add_argument("--rate", type=float, default=170.0, help="images a second and node")
    parser.add_argument("--nodes", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--lives", type=float, nargs="+", default=[600.0, 3600.0, 36000.0], help="seconds")
    parser.add_argument("--notices", choices=NOTICES, default="both", help="whether machines hear theirs")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "simulate_fleet.json")
    parser.add_argument("--keep", action="store_true", help="run only the cells that --json has not")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="cells at once")
    for name, what in PLACES:
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=float, default=Setting._field_defaults[name], help=what)
    parser.add_argument("--plot", type=Path, metavar="SVG")
    parser.add_argument("--only-plot", action="store_true", help="draw what --json has")
    return parser.parse_args()


def simulate(given: argparse.Namespace) -> list[dict]:
    """Each cell's figures, written to --json as they come."""
    settings = list(grid(given))
    found = kept(given.json, settings[0]) if given.keep else {}
    given.json.parent.mkdir(exist_ok=True)
    for row in run([setting for setting in settings if cell_of(setting._asdict()) not in found], given.processes):
        print(json.dumps(row), flush=True)
        found[cell_of(row)] = row
        given.json.write_text(json.dumps(in_order(found), indent=1) + "\n")
    return in_order(found)


def grid(given: argparse.Namespace) -> Iterator[Setting]:
    rest = {name: getattr(given, name) for name, _ in PLACES}
    for nodes in given.nodes:
        for life in given.lives:
            for heard in NOTICES[given.notices]:
                yield Setting(nodes, given.shares, given.images // given.shares, given.rate, life, heard, **rest)


def kept(path: Path, like: Setting) -> dict[tuple, dict]:
    """What was found before, of settings that differ from this one by their cell alone."""
    rows = json.loads(path.read_text()) if path.exists() else []
    same = {name: value for name, value in like._asdict().items() if name not in CELL}
    return {cell_of(row): row for row in rows if same.items() <= row.items()}


def cell_of(row: dict) -> tuple:
    """Cells are in the order of the grid: heard comes first."""
    return row["nodes"], row["life"], not row["heard"]


def in_order(found: dict[tuple, dict]) -> list[dict]:
    return [found[cell] for cell in sorted(found)]


def run(settings: list[Setting], processes: int) -> Iterator[dict]:
    """Figures as they come. Large fleets take longest, and so begin first."""
    with ProcessPoolExecutor(processes) as pool:
        settings = sorted(settings, key=lambda setting: -setting.nodes)
        for future in as_completed([pool.submit(figures_of, setting) for setting in settings]):
            yield future.result()


def figures_of(setting: Setting) -> dict:
    gc.disable()  # a large fleet has millions of objects, in no circles: to look for some took 40% of the time
    return Fleet(setting).run()


def plot(found: list[dict], path: Path) -> None:
    """By the mean of lifetimes: time against the ideal, work that is made twice, and what the protocol asks."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "batchgray", "font.size": 8}
    panels = {
        "time / ideal": lambda row: row["ratio"],
        "images made twice, %": lambda row: 100 * row["lost_images"] / row["images"],
        "requests of the protocol a second": lambda row: row["requests_a_second"],
    }
    figure, axes = pyplot.subplots(1, len(panels), figsize=(9, 3), layout="constrained")
    for (title, value), axis in zip(panels.items(), axes, strict=True):
        for index, nodes in enumerate(dict.fromkeys(row["nodes"] for row in found)):
            for heard, style in ((True, "o-"), (False, "x--")):
                rows = [row for row in found if row["nodes"] == nodes and row["heard"] == heard]
                label = f"{nodes:,} machines, notices {'heard' if heard else 'not heard'}"
                lives = [row["life"] / 60 for row in rows]
                axis.plot(lives, [value(row) for row in rows], style, color=f"C{index}", label=label)
        axis.set(xscale="log", xlabel="mean lifetime, minutes")
        axis.set_title(title, loc="left", fontsize=9)
    axes[2].set_yscale("log")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
