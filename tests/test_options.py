"""Options are validated when they are made."""

import ast
import inspect
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgray import errors, tiles
from batchgray.options import EngineOptions, PixelOptions, ResumeOptions, RunOptions, parse_size

ENGINE = EngineOptions(workers=1, memory=1)
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
    assert str(refusal.value).endswith(f"; {text} is not a size.")
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


@pytest.mark.parametrize("compression", [-1, 10])
def test_compression_is_from_0_to_9(compression):
    PixelOptions(compression=0), PixelOptions(compression=9)
    with pytest.raises(errors.UsageError, match="--compression"):
        PixelOptions(compression=compression)


BACKGROUNDS = [
    *(("none", "none"), ("NONE", "none"), ("white", "#ffffff"), ("Aqua", "#00ffff")),
    *(("#1A2b3c", "#1a2b3c"), ("#fA0", "#ffaa00"), (" #000000 ", "#000000")),
]


@pytest.mark.parametrize(("given", "held"), BACKGROUNDS)
def test_a_background_is_a_colour_or_none(given, held):
    assert PixelOptions(background=given).background == held
    assert PixelOptions(background=held) == PixelOptions(background=given)


@pytest.mark.parametrize(
    "text", ["", "rainbow", "#12", "#12345", "#1234567", "#12345g", "ffffff", "#ffffff80", "1,2,3"]
)
def test_what_is_no_background_is_refused_by_name(text):
    with pytest.raises(errors.UsageError, match="--background takes none, a colour such as '#ffffff'"):
        PixelOptions(background=text)


def test_pixel_options_of_before_there_were_backgrounds_and_compression_mean_the_defaults():
    older = b'{"method":"bt601","format":"jpeg","quality":75,"tile_rows":null,"metadata":"keep"}'
    assert msgspec.json.decode(older, type=PixelOptions) == PixelOptions()


def test_tile_rows_are_at_least_one_and_rounded_up_to_whole_blocks():
    with pytest.raises(errors.UsageError, match="--tile-rows"):
        PixelOptions(tile_rows=0)
    assert PixelOptions(tile_rows=1).rows_for(10**6) == 8
    assert PixelOptions(tile_rows=17).rows_for(1) == 24
    assert PixelOptions().rows_for(4000) == tiles.auto_rows(4000)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"workers": 0}, "--workers"),
        ({"workers": 2**63}, "--workers"),
        ({"memory": -1}, "--memory"),
        ({"checkpoint": 0}, "--checkpoint"),
        ({"grace": -1}, "--grace"),
    ],
)
def test_engine_options_out_of_range_are_refused_by_name(wrong, named):
    with pytest.raises(errors.UsageError, match=named):
        EngineOptions(**{"workers": 1, "memory": 1, **wrong})


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


class Somewhere:
    def __fspath__(self):
        return "some/where"


@pytest.mark.parametrize(
    ("given", "held"),
    [
        ("in", (Path("in"),)),
        (Path("in"), (Path("in"),)),
        (Somewhere(), (Path("some/where"),)),
        (["in", Path("b"), Somewhere()], (Path("in"), Path("b"), Path("some/where"))),
        ((name for name in "ab"), (Path("a"), Path("b"))),
    ],
)
def test_paths_are_given_as_anything_that_is_one_and_held_as_paths(given, held):
    run = RunOptions(inputs=given, out=Somewhere(), manifest="m.json", engine=ENGINE)
    assert (run.inputs, run.out, run.manifest) == (held, Path("some/where"), Path("m.json"))
    assert [type(path) for path in run.inputs] == [type(Path())] * len(held)
    assert ResumeOptions(manifest="m.json", engine=ENGINE).manifest == Path("m.json")
    assert ResumeOptions(manifest="m.json", engine=ENGINE, input_roots=Somewhere()).input_roots == (Path("some/where"),)


def test_a_run_of_nothing_is_refused():
    with pytest.raises(errors.NothingNamed):
        RunOptions(inputs=[], out="out", engine=ENGINE)


@pytest.mark.parametrize(
    ("make", "wrong", "words"),
    [
        (RunOptions, {"inputs": 5}, r"RunOptions.inputs takes str or os.PathLike, not 5"),
        (RunOptions, {"inputs": b"in"}, r"RunOptions.inputs takes str or os.PathLike, not b'in'"),
        (RunOptions, {"inputs": ["in", None]}, r"RunOptions.inputs takes .*, not None"),
        (RunOptions, {"out": None}, r"RunOptions.out takes .*, not None"),
        (RunOptions, {"out": ["out"]}, r"RunOptions.out takes .*, not \['out'\]"),
        (RunOptions, {"manifest": 1}, r"RunOptions.manifest takes .*, not 1"),
        (RunOptions, {"pixels": {"quality": 3}}, "RunOptions.pixels: Expected `PixelOptions`, got `dict`"),
        (RunOptions, {"engine": PixelOptions()}, "RunOptions.engine: Expected `EngineOptions`, got `PixelOptions`"),
        (RunOptions, {"max_pixels": 1e9}, "RunOptions.max_pixels: Expected `int`, got `float`"),
        (RunOptions, {"include": "*.jpg"}, "RunOptions.include: "),
        (RunOptions, {"exclude": ("*.jpg", 3)}, "RunOptions.exclude: "),
        (RunOptions, {"overwrite": "no"}, "RunOptions.overwrite: "),
        (ResumeOptions, {"manifest": None}, "ResumeOptions.manifest takes "),
        (ResumeOptions, {"input_roots": [3]}, "ResumeOptions.input_roots takes "),
        (PixelOptions, {"quality": "90"}, "PixelOptions.quality: Expected `int`, got `str`"),
        (PixelOptions, {"quality": True}, "PixelOptions.quality: "),
        (PixelOptions, {"method": 601}, "PixelOptions.method: "),
        (PixelOptions, {"tile_rows": 8.0}, "PixelOptions.tile_rows: "),
        (EngineOptions, {"workers": None}, "EngineOptions.workers: "),
        (EngineOptions, {"memory": "800M"}, "EngineOptions.memory: Expected `int`, got `str`"),
        (EngineOptions, {"grace": "long"}, "EngineOptions.grace: "),
        (EngineOptions, {"locked": 1}, "EngineOptions.locked: "),
    ],
)
def test_a_wrong_type_is_refused_with_the_fields_name(make, wrong, words):
    known = {
        RunOptions: {"inputs": "in", "out": "out", "engine": ENGINE},
        ResumeOptions: {"manifest": "m.json", "engine": ENGINE},
        PixelOptions: {},
        EngineOptions: {"workers": 1, "memory": 1},
    }[make]
    make(**known)
    with pytest.raises(TypeError, match=words):
        make(**known | wrong)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"method": "bt2020"}, "--method takes bt601, bt709 or luma, not bt2020"),
        ({"format": "tiff"}, "--format takes jpeg or png, not tiff"),
        ({"metadata": "all"}, "--metadata takes keep or strip, not all"),
    ],
)
def test_a_choice_that_is_none_is_refused_with_those_that_are(wrong, words):
    with pytest.raises(errors.UsageError, match=words):
        PixelOptions(**wrong)


def test_a_list_of_globs_is_held_as_a_tuple():
    assert RunOptions(inputs="in", out="out", engine=ENGINE, include=["*.jpg"]).include == ("*.jpg",)


@pytest.mark.parametrize("options", [RunOptions, ResumeOptions])
def test_what_type_checkers_are_told_may_be_given_is_what_there_is(options):
    methods = (node for node in ast.walk(ast.parse(inspect.getsource(options))) if isinstance(node, ast.FunctionDef))
    given = next(method.args for method in methods if method.name == "__init__")
    fields = msgspec.structs.fields(options)
    assert [argument.arg for argument in given.kwonlyargs] == [field.name for field in fields]
    assert [default is None for default in given.kw_defaults] == [field.required for field in fields]
