"""The screen: what a terminal shows after what was written to it, at any width."""

import io
import re

import pytest
from rich.cells import cell_len
from stream import FAILED, FLUSHED, NOTICE, PLANNED, SUMMARY, Clock, done, lines_on_screen, replaced, started

from batchgray.progress.bar import Bar

NAMES = ["a.png", "deep/folder/with a very long name of a picture/线线线线線線線線/東京タワー.png", "b\x1b[31m\n.jpg"]


class Screen(io.StringIO):
    """A terminal of so many columns."""

    encoding = "utf-8"
    busy = False

    def __init__(self, columns):
        super().__init__()
        self.columns = columns

    def isatty(self):
        return True

    @property
    def lines(self):
        return lines_on_screen(self.getvalue())


@pytest.fixture
def screen_of(monkeypatch):
    """Makes a screen of so many columns, and the bar on it."""

    def screen_of(columns, lines=24, **settings):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("LINES", str(lines))
        monkeypatch.setenv("TERM", "xterm")
        screen = Screen(columns)
        return screen, Bar(screen, **settings)

    return screen_of


def shown_while(bar, screen, *given):
    for event in given:
        bar(event)
    bar._live.refresh()
    return screen.lines


def test_a_running_screen_has_the_bar_the_workers_and_where_notices_come_from(screen_of):
    clock = Clock()
    screen, bar = screen_of(80, clock=clock)
    with bar:
        shown_while(bar, screen, replaced(PLANNED, notices=["signals", "smq"]), started("0.png"))
        clock.now += 2
        lines = shown_while(
            bar, screen, done("0.png", seconds=2.0), started("1.png", worker=1), started("2.png", worker=2)
        )
        clock.now += 3
        lines = shown_while(bar, screen, started("3.png", worker=2))
    assert lines[0].startswith("Converting 8 images")
    assert re.fullmatch(r" 30%  ━{8}─{20,}  3/10 images  36 MP  6\.0 MP/s  \d+ s left", lines[1])
    assert lines[2:] == ["1  1.png  3 s", "2  2.png  3 s", "notices: signals, smq"]


@pytest.mark.parametrize("columns", [1, 5, 10, 20, 30, 40, 60, 80, 200])
def test_every_line_fits_and_leaves_room_for_what_the_terminal_echoes(columns, screen_of):
    screen, bar = screen_of(columns)
    with bar:
        events = [started(name, worker=number) for number, name in enumerate(NAMES)]
        lines = shown_while(bar, screen, replaced(PLANNED, total=2_000_000), *events, done("z.png"), FAILED)
    drawn = lines[1:]
    assert len(drawn) == 5
    assert max(map(cell_len, drawn)) <= max(1, columns - 5)
    if columns >= 40:
        assert any("━" in line or "─" in line for line in drawn)
        assert drawn[-1].startswith("1 failed; notices: signals"[: columns - 5])


def test_nothing_is_drawn_until_the_terminal_has_taken_what_was_drawn_before(screen_of):
    screen, bar = screen_of(80, verbose=True)
    with bar:
        shown_while(bar, screen, PLANNED, started("0.png"))
        with bar._live._lock:  # none of rich's own is under way
            screen.busy, before = True, screen.getvalue()
        shown_while(bar, screen, *(done(f"{number}.png") for number in range(2000)), NOTICE)
        assert screen.getvalue() == before
        screen.busy = False
        lines = shown_while(bar, screen)
        assert lines[1].startswith("1001.png: ")  # the latest thousand lines: more would be gone from any screen
        assert [line.partition(" ")[0] for line in lines[999:1002]] == ["1999.png:", "Interrupted", "100%"]
        screen.busy = True
        bar(SUMMARY)
    assert screen.lines[-2] == "To go on: batchgray resume /out/manifest.json"


@pytest.mark.parametrize("ending", [[SUMMARY], [NOTICE, FLUSHED, SUMMARY], []])
def test_nothing_of_the_bar_is_left_at_the_end(ending, screen_of):
    screen, bar = screen_of(80)
    with bar:
        shown_while(bar, screen, PLANNED, started("a.png"), started("b.png", worker=2), done("a.png"))
        for event in ending:
            bar(event)
    lines = screen.lines
    assert not any("━" in line or "b.png" in line or line.startswith("notices") for line in lines)
    assert lines[0].startswith("Converting 8 images")
    assert lines[-1] == ""
    assert "" not in lines[:-1]
    if ending:
        assert lines[-2] == "To go on: batchgray resume /out/manifest.json"
    assert "\x1b[?25l" not in screen.getvalue()


def test_words_go_above_the_bar_as_they_are(screen_of):
    screen, bar = screen_of(80, verbose=True)
    with bar:
        lines = shown_while(bar, screen, PLANNED, started("[bold] :heart:.png"), done("[bold] :heart:.png"), FAILED)
    assert lines[1].startswith("[bold] :heart:.png: 12000 x 1000")
    assert lines[2] == "c.png failed: truncated"
    assert "━" in lines[3]


def test_a_terminal_that_gets_narrower_has_broken_the_lines_that_are_drawn_over(screen_of):
    screen, bar = screen_of(100)
    with bar:
        lines = shown_while(bar, screen, PLANNED, started("a.png"))
        assert list(map(len, lines[1:])) == [95, 8, 16]
        before = len(screen.getvalue())
        bar._console.width = 40
        bar._live.refresh()
        assert screen.getvalue()[before:].count("\x1b[1A") == 2 + 2


def test_before_the_plan_is_made_the_screen_says_what_takes_so_long(screen_of):
    clock = Clock()
    screen, bar = screen_of(80, clock=clock)
    with bar:
        clock.now += 7
        assert shown_while(bar, screen) == ["Looking for images  7 s"]


def test_an_event_that_is_only_counted_draws_nothing(screen_of):
    screen, bar = screen_of(80, verbose=True)
    bar(PLANNED)
    before = screen.getvalue()
    for number in range(100):
        bar(started(f"{number}.png"))
        bar(done(f"{number}.png"))
    assert screen.getvalue() == before


def test_an_interruption_is_seen_until_its_end(screen_of):
    clock = Clock()
    screen, bar = screen_of(80, clock=clock)
    with bar:
        shown_while(bar, screen, PLANNED, started("a.png"))
        clock.now += 1
        shown_while(bar, screen, done("a.png"), started("b.png"), NOTICE)
        clock.now += 10
        lines = shown_while(bar, screen)
        assert lines[-1] == "Flushing, at most 20 s more; Ctrl-C stops at once"
        assert " left" not in lines[-3]
        assert shown_while(bar, screen, replaced(NOTICE, again=True))[-1] == "Stopping"


def test_more_workers_than_fit_are_counted(screen_of):
    screen, bar = screen_of(80, lines=12)
    with bar:
        lines = shown_while(bar, screen, PLANNED, *(started(f"{number}.png", worker=number) for number in range(64)))
    assert [line.split() for line in lines[2:6]] == [[f"{number}", f"{number}.png"] for number in range(4)]
    assert lines[6:] == ["... and 60 more workers", "notices: signals"]


def test_a_run_with_nothing_to_do_draws_no_bar(screen_of):
    screen, bar = screen_of(80)
    with bar:
        assert shown_while(bar, screen, replaced(PLANNED, todo=0)) == ["10 images, nothing to do.", ""]


def test_without_unicode_and_colours_what_is_done_can_be_told_from_what_is_left(screen_of, monkeypatch):
    monkeypatch.setattr(Screen, "encoding", "ascii")
    monkeypatch.setenv("NO_COLOR", "1")
    screen, bar = screen_of(80)
    with bar:
        lines = shown_while(bar, screen, PLANNED, started(), done())
    assert re.match(r" 30%  #+-+  3/10 images", lines[1])
    assert "\x1b[3" not in screen.getvalue()
