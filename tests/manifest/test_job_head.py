"""The head of a job: put once, and told apart from all else that may stand under its name."""

import pytest

from batchgray import errors
from batchgray.manifest import document, job_head
from batchgray.manifest.job_head import JobHead
from batchgray.options import PixelOptions
from batchgray.storage.memory import MemoryPlace

HEAD = JobHead(job="0a1b", options=PixelOptions(), max_pixels=9, inputs=["oss://b/x"], include=[], exclude=["raw"])


@pytest.fixture
def place():
    return MemoryPlace("oss://gray/x")


def test_the_first_one_stays(place):
    other = JobHead(job="ffff", options=PixelOptions(quality=5), max_pixels=9, inputs=[], include=[], exclude=[])
    assert job_head.find(place) is None
    assert job_head.begin(place, HEAD) == HEAD
    assert job_head.begin(place, other) == HEAD == job_head.find(place)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b'{"version":1,"batchgray":"0.1.0","state":"running"}', errors.IsNoJob),
        (b'{"version":3,"batchgray":"9.0.0","kind":"job"}', errors.FutureManifest),
        (b'{"name": "a web app"}', errors.ForeignManifest),
        (b"", errors.ForeignManifest),
    ],
)
def test_what_is_no_head(place, data, error):
    place.put("manifest.json", data)
    with pytest.raises(error, match=r"oss://gray/x/manifest\.json"):
        job_head.read(place)


def test_a_damaged_head(place):
    job_head.begin(place, HEAD)
    place.put("manifest.json", place.get("manifest.json").replace(b"raw", b"war"))
    with pytest.raises(errors.DamagedManifest):
        job_head.read(place)


def test_names_that_are_not_utf_8(place):
    head = JobHead(job="1", options=PixelOptions(), max_pixels=9, inputs=["/a\udcff"], include=[], exclude=[])
    job_head.begin(place, head)
    assert job_head.read(place).inputs == ["/a\udcff"]


def test_where_a_manifest_is_wanted_it_is_told_by_its_name(place, tmp_path):
    job_head.begin(place, HEAD)
    path = tmp_path / "manifest.json"
    path.write_bytes(place.get("manifest.json"))
    for read in (document.read, document.check_is_manifest):
        with pytest.raises(errors.IsJob):
            read(path)
