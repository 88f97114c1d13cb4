"""Fetch real photographs to try batchgray on: wallpapers that Debian ships, unpacked without being installed.

    python scripts/fetch_photos.py ./photos

Needs Debian or Ubuntu (apt-get, dpkg-deb) and about 450 MB while it works. Where there is no apt, any folder of your
own pictures does as well: batchgray run ~/Pictures --out ./gray
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGES = ("mate-backgrounds", "lomiri-wallpapers-16.04", "plasma-workspace-wallpapers")
PICTURES = {".jpg", ".jpeg", ".png"}
SMALLEST_BYTES = 100_000  # leaves out thumbnails and icons


def fetch(folder: Path) -> int:
    """Put the photographs into `folder`, one subfolder a package; returns how many."""
    count = 0
    with tempfile.TemporaryDirectory() as work:
        # -o: apt gives up its rights to a user who can't write here, and warns about it
        subprocess.run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *PACKAGES], cwd=work, check=True)
        for package in sorted(Path(work).glob("*.deb")):
            name = package.name.partition("_")[0]
            unpacked = Path(work) / name
            subprocess.run(["dpkg-deb", "-x", str(package), str(unpacked)], check=True)
            for path in sorted(unpacked.rglob("*")):
                if path.is_file() and path.suffix.lower() in PICTURES and path.stat().st_size >= SMALLEST_BYTES:
                    target = folder / name / path.relative_to(unpacked)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, target)
                    count += 1
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        sys.exit("There is no apt here. Put pictures of your own into the folder instead; any will do.")
    try:
        count = fetch(folder)
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}. Try `apt-get update` first, or put pictures of your own into {folder}.")
    print(f"{count} photographs in {folder}")


if __name__ == "__main__":
    main()
