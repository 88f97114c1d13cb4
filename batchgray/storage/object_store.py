"""Places in object stores through obstore: `s3://`, `gs://`, `az://`, and `memory://`.

obstore is the Rust crate object_store. What is to be known of it:

- it may be imported and constructed before a fork; once it was used, it hangs in a child;
- its own retries know no lost answer of a conditional put, so that all trying again is done here (retrying);
- a missing bucket is told apart from a missing object only where the answer has a document. For a HEAD, which has none,
  the bucket is listed, the first time;
- not every store lists in the order of the keys' bytes: one that does not is Unfit;
- it lists no object whose name has an empty part, or a part `.` or `..`, and nothing behind it: that is a BadKey;
- its limit of time for a request is a store's, whatever the size: what is large goes through a store of its own.

Outputs are single puts: there are no parts that could be left behind.
"""

import functools
import hashlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError

from batchgray.records import InputVersion
from batchgray.storage.base import Changed, Content, Entry, Missing, Put, Unfit, read_all
from batchgray.storage.cloud_errors import failure_of, meaning_of
from batchgray.storage.keys import KeySpace, key_order
from batchgray.storage.names import is_plain
from batchgray.storage.retrying import Again, persist

PATIENCE_SECONDS = 60.0
MOST_KEY_BYTES = 1024
_PAGE = 1000
_REQUEST_SECONDS = 60.0
_SLOWEST = 256_000  # bytes a second: a connection that is slower does not work

T = TypeVar("T")

Store = Any  # one of obstore's


class Stores:
    """One store of obstore's as several, whose requests have more seconds the larger they are.

    `make` makes it for requests of at most so many seconds. Each has connections of its own, so they are few.
    """

    def __init__(self, make: Callable[[float], Store]) -> None:
        """The one for what is small is made at once: raises what `make` does."""
        self._made = functools.cache(make)
        self.small = self._made(_REQUEST_SECONDS)

    def of(self, size: int) -> Store:
        """For a request that carries so many bytes, there or back."""
        seconds = _REQUEST_SECONDS
        while size / _SLOWEST > seconds:
            seconds *= 2
        return self._made(seconds)


class ObjectStorePlace:
    """See `Place`. Besides, any call may raise BadKey.

    `actions` has what the store calls the right to "list", "get", "put" and "delete".
    """

    def __init__(
        self,
        name: str,
        stores: Stores,
        prefix: str,
        actions: dict[str, str] | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self.name = name
        self._stores, self._store = stores, stores.small
        self._keys = KeySpace(prefix, MOST_KEY_BYTES)
        self._actions = actions or {}
        self._patience = patience
        self._is_bucket_seen = False

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """A page is asked for when the one before is used up; after a fault it goes on behind the last one."""
        wanted = self._keys.prefix + prefix
        listing = _Listing(self._store, wanted.rpartition("/")[0], self._keys.prefix + after if after else "")
        while page := self._call("list", "", listing.next_page):
            for found in page:
                full = found["path"]
                if full.startswith(wanted):
                    yield Entry(self._keys.below(full), found["size"], _version(found))
                elif key_order(full) > key_order(wanted):
                    return

    def stat(self, key: str) -> Entry:
        found = self._head(key)
        return Entry(key, found["size"], _version(found))

    def age(self, key: str) -> None:
        """See `Place`: whose clock it is that the times are of can't be told."""

    def get(self, key: str, version: InputVersion | None = None, start: int = 0, end: int | None = None) -> bytes:
        if end is not None and end <= start:
            found = self.stat(key).version
            if version is not None and not version.is_same(found):
                raise Changed(key, "it is another version")
            return b""
        options: dict[str, Any] = {} if version is None else {"if_match": f'"{version.etag}"'}
        if (start, end) != (0, None):
            options["range"] = {"offset": start} if end is None else (start, end)
        full = self._keys.full(key)
        size = (end if end is not None else version.size if version is not None else 0) - start
        store = self._stores.of(size)
        return self._call("get", key, lambda: self._read(store, full, options))

    def put(self, key: str, content: Content) -> None:
        full, body = self._keys.full(key), read_all(content)
        store = self._stores.of(memoryview(body).nbytes)
        self._call("put", key, lambda: obstore.put(store, full, body, use_multipart=False))

    def put_absent(self, key: str, content: Content) -> Put:
        full, body = self._keys.full(key), read_all(content)
        store = self._stores.of(memoryview(body).nbytes)

        def create() -> Put:
            try:
                obstore.put(store, full, body, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return self._compare(key, body)
            return Put.CREATED

        return self._call("put", key, create)

    def delete(self, key: str) -> None:
        full = self._keys.full(key)
        try:
            self._call("delete", key, lambda: obstore.delete(self._store, full))
        except Missing:
            pass  # which stores that are not S3 tell

    def close(self) -> None:
        """Connections end with the process."""

    def _head(self, key: str) -> Any:
        full = self._keys.full(key)
        try:
            return self._call("get", key, lambda: obstore.head(self._store, full))
        except Missing:
            if not self._is_bucket_seen:
                next(self.list(), None)  # raises NoPlace where it is the bucket that is not there
                self._is_bucket_seen = True
            raise

    def _read(self, store: Store, full: str, options: Any) -> bytes:
        try:
            return obstore.get(store, full, options=options).bytes().to_bytes()
        except BaseError as error:
            if failure_of(error).is_behind_the_end:
                return b""
            raise

    def _compare(self, key: str, body: bytes | bytearray | memoryview) -> Put:
        """What is under a name that is taken. It is read where neither its size nor its ETag tells."""
        try:
            found = self._head(key)
            if found["size"] != memoryview(body).nbytes:
                return Put.OTHER
            if _version(found).etag == hashlib.md5(body, usedforsecurity=False).hexdigest():
                return Put.SAME
            return Put.SAME if self.get(key, end=found["size"]) == body else Put.OTHER
        except Missing:  # it was removed meanwhile, and the name is free
            raise Again(Changed(key, "it comes and goes")) from None

    def _call(self, what: str, key: str, call: Callable[[], T]) -> T:
        """Raises PlaceError."""

        def attempt() -> T:
            try:
                return call()
            except (BaseError, FileNotFoundError, ValueError) as error:
                failure = failure_of(error)
                meant = meaning_of(failure, key, self._actions.get(what, what), self.name)
                raise (Again(meant) if failure.may_pass else meant) from None

        return persist(attempt, self._patience)


class _Listing:
    """The objects below a folder that come after a key, in pages; after a fault it goes on behind the last one."""

    def __init__(self, store: Store, folder: str, after: str) -> None:
        self._store, self._folder, self._after = store, folder, after
        self._stream: Any = None
        self._last = ""

    def next_page(self) -> list[Any]:
        """An empty one at the end. Raises Unfit, and what obstore raises."""
        if self._stream is None:
            self._stream, self._last = self._begin(), ""
        try:
            while page := next(self._stream, None):
                if wanted := [found for found in page if self._is_wanted(found["path"])]:
                    return wanted
        except Exception:
            self._stream = None
            raise
        return []

    def _begin(self) -> Any:
        """What comes may begin before the offset: Azure has it too, and obstore cuts a "/" off its end."""
        offset = self._after.rstrip("/")
        return obstore.list(
            self._store, self._folder or None, offset=offset if is_plain(offset) else None, chunk_size=_PAGE
        )

    def _is_wanted(self, full: str) -> bool:
        if key_order(full) <= key_order(self._last):
            raise Unfit(full, "the store lists it out of order, and plans are made in the order of names")
        self._last = full
        if key_order(full) <= key_order(self._after):
            return False
        self._after = full
        return True


def _version(found: Any) -> InputVersion:
    return InputVersion(size=found["size"], mtime_ns=0, etag=(found["e_tag"] or "").strip('"'))
