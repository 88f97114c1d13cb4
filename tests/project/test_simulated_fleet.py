"""The simulation of a fleet runs, on the real board and logs, and its figures hang together."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import simulate_fleet
from simulated_fleet import BOOT_SECONDS, Fleet, Setting

SMALL = Setting(nodes=6, shares=30, share_images=5000, images_a_second=100.0, life=None, heard=True)


def test_a_fleet_that_nobody_leaves_takes_hardly_longer_than_the_ideal():
    figures = Fleet(SMALL).run()
    assert 1 <= figures["ratio"] < 1.3
    assert (figures["deaths"], figures["lost_images"]) == (0, 0)
    assert figures["longest_search"] < 200


@pytest.mark.parametrize("heard", [True, False])
def test_machines_that_die_cost_their_replacement_and_at_most_a_checkpoint(heard):
    figures = Fleet(SMALL._replace(life=2 * BOOT_SECONDS, heard=heard)).run()
    assert figures["deaths"] > 3
    assert figures["lost_images"] <= (0 if heard else figures["deaths"] * SMALL.images_a_second)
    assert figures["ratio"] < 2.5


def test_what_it_costs_is_told_in_requests_and_money():
    figures = Fleet(SMALL._replace(node_price=1.0)).run()
    assert figures["queue_requests_an_hour"] == 1200 * SMALL.nodes
    assert figures["money"]["machines"] == pytest.approx(figures["node_hours"], abs=0.05)
    priced = SMALL.shares * SMALL.share_images * (SMALL.put_price + SMALL.get_price) / 1000
    assert figures["money"]["images"] == pytest.approx(priced, abs=0.01)
    assert figures["requests_a_second"] > SMALL.nodes
    assert figures["requests_a_second_in_the_busiest_minute"] > 0.9 * figures["requests_a_second"]  # the last is short


def test_what_a_machine_asks_hardly_grows_with_their_number():
    few, many = Fleet(SMALL).run(), Fleet(SMALL._replace(nodes=60, shares=300)).run()
    assert many["requests_an_hour_and_node"] < 1.3 * few["requests_an_hour_and_node"]


# the grid


@pytest.fixture
def fill(tmp_path, monkeypatch):
    """Fill a file with cells of a small grid; its rows."""
    path = tmp_path / "grid.json"

    def fill(*options):
        small = ["--shares", "4", "--images", "4000", "--processes", "2", "--json", str(path)]
        monkeypatch.setattr(sys, "argv", ["simulate_fleet.py", *small, *options])
        simulate_fleet.main()
        return json.loads(path.read_text())

    fill.path = path
    return fill


def cells(rows):
    return [(row["nodes"], row["life"], row["heard"]) for row in rows]


@pytest.mark.processes
def test_cells_that_run_side_by_side_are_in_the_order_of_the_grid(fill):
    rows = fill("--nodes", "2", "3", "--lives", "600", "3600")
    heard_or_not = [(nodes, life, heard) for nodes in (2, 3) for life in (600, 3600) for heard in (True, False)]
    assert cells(rows) == heard_or_not
    assert rows[0] == Fleet(Setting(2, 4, 1000, 170.0, 600.0, True)).run()


@pytest.mark.processes
def test_a_grid_is_filled_in_several_goes_and_no_cell_is_run_twice(fill):
    (row,) = fill("--nodes", "2", "--lives", "600", "--notices", "heard")
    fill.path.write_text(json.dumps([row | {"ratio": "kept"}]))
    rows = fill("--nodes", "1", "2", "--lives", "600", "--keep")
    assert cells(rows) == [(1, 600, True), (1, 600, False), (2, 600, True), (2, 600, False)]
    assert [row["ratio"] == "kept" for row in rows] == [False, False, True, False]
    assert cells(fill("--nodes", "3", "--lives", "600", "--notices", "unheard", "--keep"))[-1] == (3, 600, False)


@pytest.mark.processes
def test_cells_of_another_setting_are_not_kept(fill):
    fill("--nodes", "2", "--lives", "600", "--notices", "heard")
    rows = fill("--nodes", "3", "--lives", "600", "--notices", "heard", "--keep", "--latency", "0.5")
    assert cells(rows) == [(3, 600, True)]
