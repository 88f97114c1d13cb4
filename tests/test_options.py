"""Options are validated when they are made."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgray import errors, tiles
from batchgray.options import EngineOptions, PixelOptions, ResumeOptions, RunOptions, parse_size

UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


@settings(deadline=None)
@given(
    count=st.integers(0, 10**6),
    unit=st.sampled_from(sorted(UNITS)),
    tail=st.sampled_from(["", "B", "iB"]),
    space=st.sampled_from(["", " "]),
    lower=st.booleans(),
)
def test_a_size_is_a_number_of_bytes_in_powers_of_1024(count, unit, tail, space, lower):
    text = f" {count}{space}{unit}{tail if unit else ''} "
    assert parse_size(text.lower() if lower else text) == count * 1024 ** UNITS[unit]


@pytest.mark.parametrize(("text", "size"), [("1.5K", 1536), ("0.5G", 512 << 20), ("0", 0), ("10 B", 10), ("1.9", 1)])
def test_a_size_may_have_decimals(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", " ", "M", "-1", "+1", "1,5G", "1.G", ".5G", "1e9", "1P", "1 M B", "1MM", "0x10"])
def test_what_is_not_a_size_is_refused_by_name(text):
    with pytest.raises(errors.BadSize) as refusal:
        parse_size(text)
    assert str(refusal.value).startswith(f"{text} is not a size")
    assert refusal.value.exit_code == 2


@settings(deadline=None)
@given(st.text(max_size=12))
def test_any_text_is_a_size_or_a_bad_size(text):
    try:
        assert parse_size(text) >= 0
    except errors.BadSize:
        pass


def test_a_number_of_hundreds_of_digits_is_refused_or_taken():
    try:
        assert parse_size("9" * 400) > 0
    except errors.BadSize:
        pass


@pytest.mark.parametrize("quality", [0, 101, -1])
def test_quality_is_from_1_to_100(quality):
    PixelOptions(quality=1), PixelOptions(quality=100)
    with pytest.raises(errors.UsageError, match="--quality"):
        PixelOptions(quality=quality)


def test_tile_rows_are_at_least_one_and_rounded_up_to_whole_blocks():
    with pytest.raises(errors.UsageError, match="--tile-rows"):
        PixelOptions(tile_rows=0)
    assert PixelOptions(tile_rows=1).rows_for(10**6) == 8
    assert PixelOptions(tile_rows=17).rows_for(1) == 24
    assert PixelOptions().rows_for(4000) == tiles.auto_rows(4000)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"workers": 0}, "--workers"), ({"checkpoint": 0}, "--checkpoint"), ({"grace": -1}, "--grace")],
)
def test_engine_options_out_of_range_are_refused_by_name(wrong, named):
    with pytest.raises(errors.UsageError, match=named):
        EngineOptions(memory=1, **{"workers": 1, **wrong})


@pytest.mark.parametrize("name", ["checkpoint", "grace"])
def test_seconds_that_are_not_a_number_are_refused(name):
    with pytest.raises(errors.UsageError, match=f"--{name}"):
        EngineOptions(workers=1, memory=1, **{name: float("nan")})


def test_no_grace_at_all_is_a_choice():
    assert EngineOptions(workers=1, memory=1, grace=0).grace == 0


def test_by_default_the_machine_is_used_with_room_left(monkeypatch):
    monkeypatch.setattr("batchgray.machine.available_memory", lambda: 1000)
    assert EngineOptions().workers >= 1
    assert EngineOptions().memory == 600


def test_a_run_refuses_no_pixels_and_knows_its_manifest():
    known = {"inputs": (Path("in"),), "out": Path("out"), "engine": EngineOptions(workers=1, memory=1)}
    with pytest.raises(errors.UsageError, match="--max-pixels"):
        RunOptions(**known, max_pixels=0)
    assert RunOptions(**known).manifest_path == Path("out/manifest.json")
    assert RunOptions(**known, manifest=Path("m.json")).manifest_path == Path("m.json")


def test_options_can_not_be_changed_afterwards():
    for made in PixelOptions(), EngineOptions(workers=1, memory=1), ResumeOptions(manifest=Path("m.json")):
        with pytest.raises(AttributeError):
            setattr(made, made.__struct_fields__[0], None)
