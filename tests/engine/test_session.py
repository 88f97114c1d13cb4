"""What a thread waits for may be set at any time, after its end too."""

import contextlib
import os

from batchgray.engine.session import Wake
from batchgray.notices.inbox import Inbox


def test_who_sets_it_late_writes_into_nobodys_file(tmp_path):
    with contextlib.closing(Inbox()) as inbox:
        wake = Wake(inbox)
        wake.close()
        fds = [os.open(tmp_path / str(number), os.O_CREAT | os.O_RDWR) for number in range(4)]
        wake.set()
        for number, fd in enumerate(fds):
            os.close(fd)
            assert (tmp_path / str(number)).read_bytes() == b""
