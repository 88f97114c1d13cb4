"""What stands for the fork server and its workers where a test plays them itself. No process is started."""

from multiprocessing import Pipe

from batchgray.workers.messages import Channel, FromServer, FromWorker, ToWorker


class StubServer:
    """A fork server that forks nothing. `workers` are the other ends of the pipes; `signalled` is what it was asked."""

    def __init__(self):
        ours, self._theirs = Pipe()
        self.channel = Channel(ours, FromServer)
        self.booted, self.stopped, self.gone = True, False, False
        self.workers, self.signalled = [], []

    def fork(self, *_):
        if self.gone:
            raise BrokenPipeError
        ours, theirs = Pipe()
        self.workers.append(Channel(theirs, ToWorker))
        return Channel(ours, FromWorker)

    def tells(self, message):
        Channel(self._theirs, FromServer).send(message)

    def dies(self):
        self.gone = True
        self._theirs.close()

    def signal(self, pid, signum):
        self.signalled.append((pid, signum))

    def stop(self):
        self.stopped = True
