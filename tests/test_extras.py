"""What an extra reads is left out without it, and it is said what to install."""

from batchgray import extras


def test_there_is_a_remedy_only_for_what_an_extra_reads_and_only_without_it(monkeypatch):
    monkeypatch.setitem(extras.EXTRAS, "heif", ("no_such_module", ""))
    assert extras.remedy_for({".txt": 2, ".hif": 1, ".heic": 9}) == "install batchgray[heif], which reads .heic, .hif"
    assert extras.remedy_for({".txt": 2}) is None
    monkeypatch.setitem(extras.EXTRAS, "heif", ("json", ""))
    assert extras.remedy_for({".heic": 9}) is None
