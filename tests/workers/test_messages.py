from batchgray.planes.slots import SlotRecord
from batchgray.records import SourceIdentity, Task
from batchgray.workers.messages import Flushed, flushed

IDENTITY = SourceIdentity(size=9, mtime_ns=7)


def test_what_is_durable_is_reported_as_the_record_has_it():
    task = Task(index=3, source="a.png", output="a.jpg", identity=SourceIdentity(size=1, mtime_ns=1))
    record = SlotRecord(identity=IDENTITY, width=5, height=20, tile_rows=8, colour=True, exif_bytes=0, note=None)
    assert flushed(task, record, 2) == Flushed(
        index=3, identity=IDENTITY, width=5, height=20, tiles_done=2, tiles_total=3
    )
