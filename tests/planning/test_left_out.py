"""What is left out is told by name, and kept by numbers and the first names."""

from batchgray.planning.left_out import LeftOut
from batchgray.records import LeftOutKind


def test_all_is_told_and_the_first_ten_names_of_a_kind_are_kept():
    told = []
    left_out = LeftOut(lambda path, kind: told.append((path, kind)))
    for number in range(1000):
        left_out.ignore(f"/in/{number}.txt", ".txt")
    left_out.pass_over("/in/.git", "hidden")
    assert len(told) == 1001
    assert told[-1] == ("/in/.git", "hidden")
    assert left_out.kinds() == [
        LeftOutKind(kind=".txt", count=1000, sources=[f"/in/{number}.txt" for number in range(10)]),
        LeftOutKind(kind="hidden", count=1, sources=["/in/.git"]),
    ]


def test_a_type_for_each_file_takes_no_memory_for_each():
    left_out = LeftOut()
    for number in range(10_000):
        left_out.ignore(f"/in/log.{number}", f".{number}")
    assert len(left_out.kinds()) == 101
    assert left_out.kinds()[0].count == 10_000 - 100
    assert left_out.kinds()[0].kind == "other types"
    assert len(left_out.kinds()[0].sources) == 10
    left_out.ignore("/in/more.5", ".5")
    assert left_out.ignored[".5"] == 2
