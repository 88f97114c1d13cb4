"""An opened image: its decoder's failures are told, and a second opinion is none."""

from types import SimpleNamespace

import pytest

from batchgray.codecs.metadata import Besides
from batchgray.codecs.opened import OpenedImage, SecondOpinion
from batchgray.errors import ImageError
from batchgray.records import InputVersion

PLANES = SimpleNamespace()


class Opened(OpenedImage):
    """Its decoder raises what it is given, or returns a note."""

    raised: BaseException | None = None

    def _decode(self, planes):
        assert planes is PLANES
        if self.raised is not None:
            raise self.raised
        return "a note"


def image() -> Opened:
    about = {"exif": b"", "besides": Besides(), "note": None}
    return Opened(InputVersion(1, 1), width=4, height=3, colour=True, **about, scratch_bytes=0)


def test_a_decoders_note_is_handed_on():
    assert image().decode(PLANES) == "a note"


def test_a_decoder_that_raises_fails_its_image():
    failing = image()
    failing.raised = ZeroDivisionError("division by zero")
    with pytest.raises(ImageError, match=r"can't be read \(ZeroDivisionError: division by zero\)"):
        failing.decode(PLANES)


@pytest.mark.parametrize("raised", [ImageError("damaged"), MemoryError(), SecondOpinion(image())])
def test_what_a_decoder_means_comes_through(raised):
    meaning = image()
    meaning.raised = raised
    with pytest.raises(type(raised)) as caught:
        meaning.decode(PLANES)
    assert caught.value is raised
