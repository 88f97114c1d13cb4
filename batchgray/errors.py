"""Exceptions: the docstring is the message, `exit_code` what the command ends with.

An `ImageError` costs one image and is an event; everything else here ends the command. A message advises only what the
command that fails can do; what another command does is a command of its own, in backquotes.
"""

from collections.abc import Sequence

from batchgray import program


def shown(name: str) -> str:
    """`name` made safe for a terminal, a log and JSON: control characters, escapes and undecodable bytes as `\\xNN`."""
    if name.isprintable():
        return name
    return "".join(char if char.isprintable() else _escaped(char) for char in name)


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte that os.fsdecode could not decode (PEP 383)
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


# Why an image of a job fails whose input is another than it was when it was listed. The next round makes it anew.
INPUT_CHANGED = "it has changed since it was listed; `batchgray run` with the same options makes it anew"


def alternatives(words: Sequence[str]) -> str:
    """`a, b or c`; what has a comma itself is quoted."""
    *first, last = (f"'{word}'" if "," in word else word for word in words)
    return " or ".join([*([", ".join(first)] if first else []), last])


class _Lines(str):
    """Text whose line breaks are meant."""


class ImageError(Exception):
    """One image can't be converted. The text is the reason, for the manifest and the summary."""


class BatchgrayError(Exception):
    """{0}"""

    exit_code = 1

    def __str__(self) -> str:
        text = program.as_called(self.__doc__ or "")
        return text.format(*(arg if isinstance(arg, _Lines) else shown(str(arg)) for arg in self.args))


class UsageError(BatchgrayError):
    """{0}"""

    exit_code = 2


class BadValue(UsageError):
    """{0} takes {1}, not {2}."""


class MisspeltValue(UsageError):
    """{0} takes {1}, not {2}. Did you mean {3}?"""


class EmptyValue(UsageError):
    """{0} is empty: it takes a name."""


class StrayCharacter(UsageError):
    """{0} takes text, and {1} has a character that can't be shown; look for a stray one."""


class NoSuchInput(UsageError):
    """no such file or folder: {0}. Check the spelling of the INPUT."""


class UnreadableInput(UsageError):
    """can't read {0}: {1}. Change its permissions, or leave it out."""


class NothingFound(UsageError):
    """no image was found in {0}; there {1}. Check the INPUT, --include and --exclude."""


class InputGone(UsageError):
    """the INPUT {0} held {1} in an earlier run, and {2}. Mount it, or put it back. If it moved, use `batchgray resume \
MANIFEST --input-root DIR`; if it is not to come back, --prune removes what was made of it."""


class NothingNamed(UsageError):
    """no INPUT given: name folders or files to convert, or a list of them with --files-from."""


class BaseNotFolder(UsageError):
    """--base takes a folder, and {0} is none. Name the folder below which all INPUTs are."""


class NotBelowBase(UsageError):
    """the INPUT {0} is not below --base {1}, so it has no path there to keep. Leave it out, or name a folder that is \
above all INPUTs."""


class OutputIsSource(UsageError):
    """the output {0} would replace the input of that name. Choose another --out."""


class PrunedIsSource(UsageError):
    """the output {0} is an input too, and --prune would remove it: what it was made of is gone. Move it away, or \
leave --prune out."""


class OutputIsInput(UsageError):
    """the output folder {0} is an INPUT too: its results would be taken for images. Choose another --out."""


class ManifestIsInput(UsageError):
    """{0} is an INPUT, and would be replaced by what the manifest needs. Name another manifest with --manifest."""


class UnreadableList(UsageError):
    """can't read the list {0}: {1}. Name a readable file with one name a line, or - for standard input."""


class UnwritableOutput(UsageError):
    """can't write to the output folder {0}: {1}. Change its permissions, or choose another: `batchgray run ... \
--out DIR`."""


class OutputNotFolder(UsageError):
    """--out takes a folder, not a file, and {0} {1}. Name the folder that the image is to go to, such as {2}; it \
keeps its own name there."""


class BadSize(UsageError):
    """--memory takes a number of bytes, or one with K, M, G or T, such as 800M; {0} is not a size."""


class Collisions(UsageError):
    """different inputs would share an output name; rename one of each pair, run them into different folders, or \
keep the folders that they are in: `batchgray run ... --base DIR`, with one above them all:{0}"""

    @classmethod
    def of(cls, pairs: list[str]) -> "Collisions":
        """From lines that are safe to show already."""
        return cls(_Lines("".join(f"\n{pair}" for pair in pairs)))


class TakenNames(Collisions):
    """an input and one of an earlier run would share an output name. If a folder moved, `batchgray resume MANIFEST \
--input-root DIR` goes on; if inputs of this INPUT are gone for good, --prune frees their names; else rename one of \
each pair, or use another --out:{0}"""


class LinkInTheWay(UsageError):
    """{0} is a link: what is written and removed there would be elsewhere. Remove it, or choose \
another place: `batchgray run ... --out DIR`."""


class ManifestInFlight(UsageError):
    """the manifest {0} would lie in the folder of what is in flight, which is cleaned up. Name another --manifest."""


class OutputInTheWay(UsageError):
    """{0}. Rename the input that it would be made of, or choose another --out."""


class OtherOutput(UsageError):
    """the manifest {0} is of the output folder {1}, and not of {2}. Give that --out, or another --manifest."""


class NoSuchManifest(UsageError):
    """there is no manifest at {0}. Name the manifest.json in the output folder of the run."""


class UnreadableManifest(UsageError):
    """can't read the manifest {0}: {1}. Name a manifest.json that can be read."""


class ForeignManifest(UsageError):
    """{0} was not written by batchgray ({1}). Move it away, or name another manifest: `batchgray run ... \
--manifest PATH`."""


class ForeignFile(UsageError):
    """{0} was not written by batchgray, which needs its name for the manifest. Move it away, or keep the \
manifest elsewhere: `batchgray run ... --manifest PATH`."""


class DamagedManifest(UsageError):
    """{0} is damaged: {1}. Restore it from a copy, or start afresh with `batchgray run ... --overwrite`."""


class FutureManifest(UsageError):
    """{0} is of version {1}, newer than this batchgray understands ({2}). Update batchgray."""


class IsJob(UsageError):
    """{0} is the head of a job. Give the same command with --job; `resume`, `status`, `verify` and `report` take it \
as it is, and --overwrite does not."""


class IsNoJob(UsageError):
    """{0} is the manifest of a run without --job. Give the command without --job, or choose another --out."""


class JobDiffers(UsageError):
    """{0} is of a job with other options ({1}). Use the same options, another --out, or --overwrite."""


class NotForJobs(UsageError):
    """{0} can't be used with --job or a URL yet: {1}. What jobs do not know yet is listed in docs/stores.md."""


class UnfitPlace(UsageError):
    """can't keep a job in {0}: {1}. Choose another place: `batchgray run ... --out PLACE`."""


class PlaceUnusable(UsageError):
    """can't use {0}: {1}. Check it with `batchgray doctor --out PLACE`."""


class PlaceLost(BatchgrayError):
    """the job can't go on: {0}. What was done is kept; mend the cause and resume."""


class ManifestLocked(UsageError):
    """the manifest {0} is in use by {1}. Wait for it to end, or stop it with SIGTERM."""


class UnlockableManifest(UsageError):
    """can't lock {0}: {1}. Clear its way, keep the manifest where locks work (`batchgray run ... \
--manifest PATH`), or use --no-lock."""


class OptionsDiffer(UsageError):
    """{0} belongs to a run with other options ({1}). Use the same options, another --out, or --overwrite."""


class MovedInputs(UsageError):
    """the input folder {0} held {1}, and {2}. Mount it, or say where it moved to with --input-root DIR. If it is not \
to come back: `batchgray run` with other INPUTs goes on without it, and --prune removes what was made of it."""


class OtherInputs(UsageError):
    """{0} is another folder than {1} was: of {2} that have names of the run's, {3} are other files. Say the right one \
with --input-root DIR."""


class RootsMismatch(UsageError):
    """the run has {1} input folders ({2}), and --input-root was given for {0}. Give it for each, in this order."""


class MovedOutput(UsageError):
    """the output folder {0} of this manifest is not there. Mount or move it back to that place."""


class OutputsGone(UsageError):
    """the output folder {0} held what was made of {1}, as the manifest {2} says, and now holds none of it. Mount it, \
or put its files back; to make all anew, use `batchgray run ... --overwrite`."""


class ForeignReport(UsageError):
    """{0} is not a report of batchgray, and is not overwritten. Name another file with --html, or move it away."""


class UnwritableReport(UsageError):
    """can't write the report {0}: {1}. Name another file with --html."""


class UnservableReport(UsageError):
    """can't serve the report at {0}, port {1}: {2}. Choose another: `batchgray report ... --host HOST --port PORT`."""


class ForeignMetrics(UsageError):
    """{0} is not a metrics file of batchgray, and is not overwritten. Name another file with --metrics, or move it \
away."""


class WorkersCannotWork(BatchgrayError):
    """the worker processes can't work: {0}. What was done is kept; mend the cause and resume."""


class OutputLost(BatchgrayError):
    """can't write to the output folder {0} any more: {1}. What was done is kept; mend the cause and resume."""


class ManifestUnwritable(BatchgrayError):
    """can't write the manifest {0}: {1}. What was done is kept; mend the cause and resume."""


class DiskFullAtStart(BatchgrayError):
    """the disk is full: {0} can't be written ({1}). What was done is kept; make room, and resume."""

    exit_code = 75


class PlaceFull(BatchgrayError):
    """{0} is full: {1}. What was done is kept; make room, and resume."""

    exit_code = 75


class UnwritableStdout(BatchgrayError):
    """can't write to standard output: {0}. Send it to where there is room."""


class Stopped(BatchgrayError):
    """interrupted ({0}). Give the same command again."""

    exit_code = 75


class InterruptedEarly(BatchgrayError):
    """interrupted ({0}) while the list of images was being made; no image was begun. Give the same command again."""

    exit_code = 75


class BadMetadataUrl(UsageError):
    """can't ask for instance metadata at {0}: {1}. Check --metadata-url."""


class IncompleteSmq(UsageError):
    """can't use queue {0}: {1}. Give what is missing, or have a run go without it: `batchgray run ... \
--notices none`."""


class QueueMissing(UsageError):
    """there is no queue {0} at {1}. Create it with `batchgray smq create {0}`, or name another with --smq-queue."""


class QueueDenied(UsageError):
    """{2} on queue {0} at {1} is denied. Grant the actions of the policy in docs/spot.md to this key or role."""


class KeyRefused(UsageError):
    """{1} does not accept the access key for queue {0} ({2}). Check ALIBABA_CLOUD_ACCESS_KEY_ID and ..._SECRET."""


class QueueUnreachable(UsageError):
    """can't talk to queue {0} at {1}: {2}. Check --smq-endpoint and the network, or have a run go without it: \
`batchgray run ... --notices none`."""


class BadUrl(UsageError):
    """can't use {0}: {1}. Write it as oss://BUCKET/PREFIX, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or \
az://CONTAINER/PREFIX."""


class ExtraMissing(UsageError):
    """{0} needs a package that is not installed ({1}): install batchgray[{2}]."""


class RayUnreachable(UsageError):
    """No Ray cluster answers at {0} ({1}). Start one (`ray start --head`), or name it: --ray-address HOST:6379."""


class NodesRefuse(UsageError):
    """No node of the Ray cluster can work; {0}: {1}. Install the same batchgray on the driver and on all nodes."""


class BadStoreSettings(UsageError):
    """can't tell how to reach {0}: {1}. docs/stores.md has the settings of each store."""
