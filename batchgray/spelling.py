"""Names that are not UTF-8, in records that are: as escaped text, with their bytes in base64 beside it.

In memory a name is what `os.fsdecode` makes of it: bytes that are not UTF-8 are lone surrogates (PEP 383), which
neither JSON nor msgpack can hold. So a record that has such a name is written with `\\xff` for a byte, and a field
more: `source_base64` beside `source`. Beside a list it is a list of the same length, null for names that are UTF-8;
beside an object with names as keys it is an object with their bytes. A record whose names are all UTF-8 is written as
it is: it has no such field, and costs nothing.
"""

import base64
import functools
from typing import Any, TypeVar, get_args

import msgspec

# The field beside a name, beside a list of names and beside an object by names: set only in what is written.
Bytes = str | msgspec.UnsetType
ListBytes = list[str | None] | msgspec.UnsetType
KeyBytes = dict[str, str] | msgspec.UnsetType
_BYTES = "_base64"
_MARK = _BYTES.encode("ascii")
_Record = TypeVar("_Record", bound=msgspec.Struct)


def is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def escaped(name: str) -> str:
    """A name as text: bytes that are not UTF-8 as `\\xff`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def to_json(record: Any) -> bytes:
    """A record, or a list of some, as JSON, whatever its names are."""
    try:
        return msgspec.json.encode(record)
    except UnicodeEncodeError:
        return msgspec.json.encode(_spelled(record)[0])


def spelled(record: _Record) -> _Record:
    """The record as it can be written."""
    changes = {}
    for field in _fields_with(type(record), str):
        value = getattr(record, field)
        text, data = _spelled(value)
        if text is not value:
            changes[field] = text
            if data is not None and hasattr(record, field + _BYTES):
                changes[field + _BYTES] = data
    return msgspec.structs.replace(record, **changes) if changes else record


def decoded(decoder: Any, data: bytes | bytearray) -> Any:
    """What a msgspec decoder makes of `data`, with the names that were written. Raises ValueError, as it does."""
    record = decoder.decode(data)
    if _MARK in data:
        restore(record)
    return record


def restore(record: msgspec.Struct) -> None:
    """Give a record that was read, and those in it, the names that were written. Raises ValueError."""
    for field in _fields_beside(type(record)):
        data = getattr(record, field)
        if data is not msgspec.UNSET:
            name = field.removesuffix(_BYTES)
            msgspec.structs.force_setattr(record, name, _restored(getattr(record, name), data))
            msgspec.structs.force_setattr(record, field, msgspec.UNSET)
    for field in _fields_with(type(record), msgspec.Struct):
        value = getattr(record, field)
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, msgspec.Struct):
                restore(item)


@functools.cache
def _fields_beside(kind: type[msgspec.Struct]) -> list[str]:
    return [field for field in kind.__struct_fields__ if field.endswith(_BYTES)]


@functools.cache
def _fields_with(kind: type[msgspec.Struct], wanted: type) -> list[str]:
    """The fields that may hold one of the wanted type, or a record: a million images have few such fields."""
    return [field.name for field in msgspec.structs.fields(kind) if _may_hold(field.type, (wanted, msgspec.Struct))]


def _may_hold(kind: Any, wanted: tuple[type, ...]) -> bool:
    if isinstance(kind, type) and not get_args(kind):
        return issubclass(kind, wanted)
    return any(_may_hold(part, wanted) for part in get_args(kind))


def _spelled(value: Any) -> tuple[Any, Any]:
    """A value as it can be written, and what stands in the field beside it. It is itself where nothing has to be done.

    No deeper than the records' types are.
    """
    if isinstance(value, str):
        return (value, None) if is_utf8(value) else (escaped(value), _base64(value))
    if isinstance(value, msgspec.Struct):
        return spelled(value), None
    if isinstance(value, list):
        pairs = [_spelled(item) for item in value]
        if all(text is item for (text, _), item in zip(pairs, value, strict=True)):
            return value, None
        return [text for text, _ in pairs], [data for _, data in pairs]
    if isinstance(value, dict):
        return _spelled_keys(value)
    return value, None


def _spelled_keys(value: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str] | None]:
    utf8 = {key for key in value if is_utf8(key)}
    texts, data = {}, {}
    for key, item in value.items():
        text = key
        if key not in utf8:
            text = escaped(key)
            if text in utf8:  # another name is what this one is only written as
                text = f"{text} ({_base64(key)})"
            data[text] = _base64(key)
        texts[text] = _spelled(item)[0]
    return texts, data or None


def _restored(text: Any, data: Any) -> Any:
    if isinstance(data, str):
        return base64.b64decode(data, validate=True).decode("utf-8", "surrogateescape")
    names = zip(text, data, strict=True)
    return [name if item is None else _restored(name, item) for name, item in names]


def _base64(name: str) -> str:
    return base64.b64encode(name.encode("utf-8", "surrogateescape")).decode("ascii")
