"""What images came to, and what the others will take."""

from batchgray.manifest import outcome
from batchgray.manifest.records import Image


def image(state, source="a.png", size=1_000, made=None):
    return Image(root=0, source=source, output="a.jpg", state=state, size=size, mtime_ns=1, output_size=made)


def test_the_space_that_is_needed_goes_by_all_images_that_are_done_and_by_their_kinds():
    """An earlier run's too: one that is resumed on a full disk has made none itself."""
    done = [
        image("done", "a.jpg", made=500),
        image("done", "b.JPG", made=700),
        image("done", "c.png", size=4_000, made=400),
    ]
    waiting = [image("pending", "d.jpg"), image("partial", "e.png", size=2_000), image("pending", "f.gif", size=600)]
    others = [image("failed", "g.jpg"), image("gone", "h.jpg")]
    of_all = 600 * 1_600 // 6_000
    assert outcome.space_needed(done + waiting + others) == 600 + 200 + of_all


def test_where_none_is_done_outputs_are_taken_to_be_as_large_as_inputs():
    assert outcome.space_needed([image("pending"), image("partial", "b.jpg", 500)]) == 1_500
    assert outcome.space_needed([]) == 0


def test_the_figures_of_images():
    images = [image("done", made=10), image("done", size=5, made=1), image("pending"), image("gone")]
    images[0].width = images[0].height = 10
    found = outcome.figures(images)
    assert found.counts == {"done": 2, "pending": 1, "gone": 1}
    assert (found.pixels, found.source_bytes, found.output_bytes) == (100, 1_005, 11)
