from batchgray.planes.slots import SlotRecord
from batchgray.records import InputVersion, Task
from batchgray.workers.messages import Flushed, flushed

VERSION = InputVersion(size=9, mtime_ns=7)


def test_what_is_durable_is_reported_as_the_record_has_it():
    task = Task(index=3, source="a.png", output="a.jpg", version=InputVersion(size=1, mtime_ns=1))
    record = SlotRecord(version=VERSION, width=5, height=20, tile_rows=8, colour=True, exif_bytes=0, note=None)
    assert flushed(task, record, 2) == Flushed(
        index=3, version=VERSION, width=5, height=20, tiles_done=2, tiles_total=3
    )
