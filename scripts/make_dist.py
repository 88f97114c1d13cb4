"""Make the sdist and the wheel of a release, the same bytes each time, and what they are to be checked with.

    python scripts/make_dist.py dist            # of the last commit, into the folder dist: `make dist`
    python scripts/make_dist.py dist --tag v1.2 # and refuse if this is not the version's tag

What is not committed is not in them. Of one commit and one version of setuptools, whoever makes them anywhere gets the
same files, and can compare them with SHA256SUMS: all times are the commit's, and there are no names of users.
"""

import argparse
import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
_BUILD = "import setuptools.build_meta as backend; print(backend.build_{}({!r}))"


def build(sources: Path, target: Path, epoch: int) -> list[Path]:
    """Make the sdist of `sources`, and the wheel from what is in the sdist. Nothing is left in `sources`' place.

    `epoch` is the time that all files get, in seconds since 1970. Raises CalledProcessError.
    """
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        sdist = _backend("sdist", sources, Path(scratch), epoch)
        _settle(sdist, epoch)
        with tarfile.open(sdist) as archive:
            archive.extractall(scratch, filter="data")
        unpacked = Path(scratch) / sdist.name.removesuffix(".tar.gz")
        wheel = _backend("wheel", unpacked, Path(scratch), epoch)
        made = [made.replace(target / made.name) for made in (sdist, wheel)]
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in made)
    (target / "SHA256SUMS").write_text(sums)
    return [*made, target / "SHA256SUMS"]


def _backend(kind: str, sources: Path, target: Path, epoch: int) -> Path:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    code = _BUILD.format(kind, str(target))
    settings = {"cwd": sources, "env": environment, "umask": 0o022}  # it decides over the modes in a wheel
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True, **settings)
    return target / done.stdout.splitlines()[-1]


def _settle(sdist: Path, epoch: int) -> None:
    """Write it anew with sorted names, the one time, and no user's name: here setuptools heeds no SOURCE_DATE_EPOCH."""
    with tarfile.open(sdist) as archive:
        files = [(each, archive.extractfile(each)) for each in archive.getmembers()]
        contents = [(each, file.read() if file else b"") for each, file in files]
    with (
        sdist.open("wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, mtime=epoch) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for each, data in sorted(contents, key=lambda content: content[0].name):
            archive.addfile(_settled(each, epoch), io.BytesIO(data))


def _settled(member: tarfile.TarInfo, epoch: int) -> tarfile.TarInfo:
    settled = tarfile.TarInfo(member.name)
    settled.type, settled.size, settled.linkname = member.type, member.size, member.linkname
    settled.mtime, settled.mode = epoch, 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return settled


def _committed(folder: Path) -> int:
    """Lay out the last commit's files in `folder`. Returns its time."""
    tar = subprocess.run(["git", "-C", ROOT, "archive", "HEAD"], check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        archive.extractall(folder, filter="data")
    command = ["git", "-C", ROOT, "log", "-1", "--format=%ct"]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _version(sources: Path) -> str:
    text = (sources / "batchgray" / "_version.py").read_text("utf-8")
    return text.partition('__version__ = "')[2].partition('"')[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("--tag", help="refuse if this is not v and the version")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            epoch = _committed(Path(folder))
        except (OSError, subprocess.CalledProcessError):
            sys.exit("A release is made of a commit: run this in a clone of the repository, with git.")
        version = _version(Path(folder))
        if options.tag and options.tag != f"v{version}":
            sys.exit(f"The tag {options.tag} is not that of version {version}: tag the commit v{version}.")
        for path in build(Path(folder), options.target.absolute(), epoch):
            print(path)


if __name__ == "__main__":
    main()
