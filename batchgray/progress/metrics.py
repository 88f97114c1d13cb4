"""What a run comes to, for Prometheus: a file for node_exporter's textfile collector, as is the custom for batches.

    events --> Counts --> a thread, every 5 s and at the end --> .FILE.tmp --> FILE

A batch may have ended before a server would ask it, so it writes down what it came to. The thread may wait for a slow
disk; the run does not, but for a moment at its end. A file that can't be written is a warning, once.

It is written also while nothing happens: one that grows old, and says `running`, is of a run that died.
"""

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from batchgray import errors, events
from batchgray._version import __version__
from batchgray.errors import shown
from batchgray.storage import durable
from batchgray.storage.guards import may_be_cut_off

Listener = Callable[[events.Event], None]

WRITE_SECONDS = 5.0
END_SECONDS = 2.0  # that the end waits for the disk
STATES = ("running", "interrupted", "complete", "complete_with_failures", "fatal")
SOURCES = ("smq", "metadata", "signal", "disk")
_OURS = b"# HELP batchgray_"
_FOR_EVERYONE = 0o644  # node_exporter is another user


@contextlib.contextmanager
def measuring(path: Path, tell: Listener) -> Iterator[Listener]:
    """A listener that counts for the file at `path`, and passes events on to `tell`, which hears of faults too.

    Raises ForeignMetrics.
    """
    with contextlib.suppress(OSError):  # a place that can't be written to costs the metrics, not the run
        _refuse_foreign(path)
    metrics = _Metrics(path.absolute(), tell)
    try:
        yield metrics
    except BaseException:
        metrics.end_fatally()
        raise
    finally:
        metrics.stop()


class Counts:
    """What has come so far. `now` is the time in seconds since the epoch."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self.manifest = ""
        self.state = "running"
        self.workers = self.converted = self.pixels = self.input_bytes = self.output_bytes = 0
        self.image_seconds = 0.0
        self.images = dict.fromkeys(("done", "partial", "pending", "failed", "gone"), 0)
        self.interruptions = Counter(dict.fromkeys(SOURCES, 0))
        self.started: float | None = None
        self.checkpoint: float | None = None
        self.ended: float | None = None

    def count(self, event: events.Event) -> None:
        match event:
            case events.Planned():
                self._plan(event)
            case events.Listed():
                self._list(event)
            case events.Done():
                self._done(event)
            case events.Failed():
                self._move("failed")
            case events.Checkpoint():
                self.checkpoint = self._now()
            case events.Notice():
                self.interruptions[event.source] += not event.again
            case events.Flushed():
                self.images |= {"partial": event.partial, "pending": event.pending}
            case events.Summary():
                self.images = {state: getattr(event, state) for state in self.images}
                self.end(event.state)

    def end(self, state: str) -> None:
        self.state, self.ended = state, self._now()

    def families(self) -> Iterator[Metric]:
        """By the naming rules of Prometheus. Each has the manifest, which tells several runs on a machine apart."""
        yield self._gauge("batchgray_info", "The version that runs.", [({"version": __version__}, 1)])
        states = [({"state": state}, state == self.state) for state in STATES]
        yield self._gauge("batchgray_run_state", "1 for the state that the run is in, or ended with.", states)
        images = [({"state": state}, count) for state, count in self.images.items()]
        yield self._gauge(
            "batchgray_images", "Images of the manifest; of a running run, begun ones are pending.", images
        )
        yield self._gauge("batchgray_workers", "Worker processes.", [({}, self.workers)])
        yield from self._moments()
        yield self._counter("batchgray_converted_images", "Images that this run has converted.", self.converted)
        yield self._counter("batchgray_pixels", "Pixels of the images that this run has converted.", self.pixels)
        yield self._counter(
            "batchgray_input_bytes", "Bytes of the files that this run has converted.", self.input_bytes
        )
        yield self._counter("batchgray_output_bytes", "Bytes of the files that this run has made.", self.output_bytes)
        yield self._counter("batchgray_image_seconds", "Workers' seconds in converted images.", self.image_seconds)
        yield self._by_source("batchgray_interruptions", "Interruptions of this run.")

    def _plan(self, event: events.Planned) -> None:
        self.manifest, self.workers, self.started = shown(event.manifest), event.workers, self._now()
        pending = event.total - event.done - event.gone
        self.images |= {"done": event.done, "gone": event.gone, "pending": pending}
        self._listed, self._done_before = event.total, event.done

    def _list(self, event: events.Listed) -> None:
        done = event.done - self._done_before
        self.images["done"] += done
        self.images["pending"] += event.total - self._listed - done
        self._listed, self._done_before = event.total, event.done

    def _done(self, event: events.Done) -> None:
        self._move("done")
        self.converted += 1
        self.pixels += event.width * event.height
        self.input_bytes += event.source_bytes
        self.output_bytes += event.output_bytes
        self.image_seconds += event.seconds

    def _move(self, state: str) -> None:
        self.images[state] += 1
        self.images["pending"] -= 1

    def _moments(self) -> Iterator[Metric]:
        """Those that have been."""
        for name, what, moment in (
            ("start", "the run's work began", self.started),
            ("last_checkpoint", "the manifest was last brought to the disk", self.checkpoint),
            ("end", "the run ended", self.ended),
        ):
            if moment is not None:
                text = f"When {what}, in seconds since the epoch."
                yield self._gauge(f"batchgray_{name}_timestamp_seconds", text, [({}, moment)])

    def _gauge(self, name: str, text: str, values: Iterable[tuple[dict[str, str], float]]) -> Metric:
        values = list(values)
        family = GaugeMetricFamily(name, text, labels=["manifest", *values[0][0]])
        for labels, value in values:
            family.add_metric([self.manifest, *labels.values()], value)
        return family

    def _counter(self, name: str, text: str, value: float) -> Metric:
        family = CounterMetricFamily(name, text, labels=["manifest"])
        family.add_metric([self.manifest], value)
        return family

    def _by_source(self, name: str, text: str) -> Metric:
        family = CounterMetricFamily(name, text, labels=["manifest", "source"])
        for source, count in self.interruptions.items():
            family.add_metric([self.manifest, source], count)
        return family


class _Families(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


class _Metrics:
    """Counts, passes on, and tells of the first fault of the thread that writes. The thread starts with the plan."""

    def __init__(self, path: Path, tell: Listener) -> None:
        self._path, self._tell = path, tell
        self._counts = Counts()
        self._changed = threading.Condition()
        self._asked = self._written = 0
        self._stopping = False
        self._fault = ""
        self._told = False
        self._thread: threading.Thread | None = None

    def __call__(self, event: events.Event) -> None:
        with self._changed:
            self._counts.count(event)
        if isinstance(event, events.Summary):
            self._write_now()
        self._tell_fault(event.at)
        self._tell(event)
        if isinstance(event, events.Planned):  # told first, whatever is wrong with the file
            self._thread = threading.Thread(target=self._write_all, name="metrics", daemon=True)
            self._thread.start()

    def end_fatally(self) -> None:
        """The run ended without a summary, or with a fault after it."""
        with self._changed:
            self._counts.end("fatal")
        self._write_now()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def _write_now(self) -> None:
        """As far as the disk takes it in a moment."""
        if self._thread is None:
            return
        with self._changed:
            self._asked += 1
            asked = self._asked
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._written >= asked, END_SECONDS):
                self._fault = self._fault or f"nothing was written within {END_SECONDS:g} s"

    def _tell_fault(self, at: float) -> None:
        with self._changed:
            fault = "" if self._told else self._fault
        if fault:
            self._told = True
            self._tell(
                events.Warned(at=at, message=f"can't write metrics to {shown(str(self._path))}: {fault}; trying on")
            )

    # the thread

    def _write_all(self) -> None:
        while True:
            with self._changed:
                asked, families = self._asked, list(self._counts.families())
            fault = self._write(families)
            with self._changed:
                self._fault, self._written = self._fault or fault, asked
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._stopping or self._asked > self._written, WRITE_SECONDS)
                if self._stopping:
                    return

    def _write(self, families: list[Metric]) -> str:
        """Returns what went wrong, in words."""
        path = self._path
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            _refuse_foreign(path)
            _refuse_foreign(temporary)
            with durable.Folder.at(path.parent) as folder, folder.saving(path.name, temporary.name) as file:
                os.fchmod(file.fileno(), _FOR_EVERYONE)
                file.append(generate_latest(_Families(families)))
        except errors.ForeignMetrics:
            return "there is a file that is not of batchgray"
        except OSError as error:
            return error.strerror or type(error).__name__
        return ""


def _refuse_foreign(path: Path) -> None:
    """Raises ForeignMetrics where something is there that is not a file of metrics, or a ruin of one.

    Raises OSError where that can't be seen.
    """
    if os.path.lexists(path) and not may_be_cut_off(path, _OURS):
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        raise errors.ForeignMetrics(path)
