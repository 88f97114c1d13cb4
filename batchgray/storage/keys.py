"""Keys of a place that is a prefix of an object store: which there can be, and what they are in the bucket."""

from batchgray.errors import shown
from batchgray.storage.base import BadKey
from batchgray.storage.names import is_plain


class KeySpace:
    """The keys below a prefix of a bucket, `""` for all of it. A key in the bucket is the prefix, "/", and the key."""

    def __init__(self, prefix: str, most_bytes: int) -> None:
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._most_bytes = most_bytes

    def full(self, key: str) -> str:
        """What a key is in the bucket. Raises BadKey."""
        if reason := self._fault_of(key):
            raise BadKey(key, reason)
        return self.prefix + key

    def below(self, full: str) -> str:
        """The key of what a listing of the prefix shows."""
        return full.removeprefix(self.prefix)

    def _fault_of(self, key: str) -> str:
        if not key or not is_plain(key):
            return "a part of its name is empty, `.` or `..`, which no folder can hold; rename it"
        try:
            length = len((self.prefix + key).encode())
        except UnicodeEncodeError:
            return "its name is not UTF-8, as all names in an object store are; rename it"
        if length > self._most_bytes:
            return f"its name has {length:,} bytes with the prefix, and the store takes {self._most_bytes:,} at most"
        if "\\" in (self.prefix + key)[:1]:
            return "its name begins with a backslash, which the store refuses; rename it"
        return ""


def key_order(key: str) -> bytes:
    """What keys are sorted by: their bytes."""
    return key.encode("utf-8", "surrogateescape")


def is_marker(key: str, size: int) -> bool:
    """Whether it is what a console puts in the place of a folder: nothing, under the folder's name and a "/"."""
    return size == 0 and (not key or key.endswith("/"))


def bad_bucket(bucket: str) -> str:
    """What is wrong with a bucket's name; "" where nothing is."""
    plain = bucket.replace("-", "").replace(".", "").replace("_", "")
    if not bucket:
        return "it names no bucket"
    if not (plain.isalnum() and plain.isascii() and bucket == bucket.lower()):
        return f"{shown(bucket)} is no bucket's name: those have a-z, 0-9 and hyphens"
    return "" if 3 <= len(bucket) <= 63 else f"{bucket} is no bucket's name: those have 3 to 63 characters"
