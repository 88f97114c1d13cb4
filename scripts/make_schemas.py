"""docs/schemas/*.json, from the records that are written and the words that docs/formats.md has for their fields.

Types come from the code and words from the document, so that neither is said twice. A field that only one of them
knows is an error.

    python scripts/make_schemas.py           writes the schemas
    python scripts/make_schemas.py --check   says which are not what would be written, and exits 1
"""

import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from batchgray import events
from batchgray.commands import doctor, status, verify
from batchgray.manifest.job_head import JobHead
from batchgray.manifest.journal import JournalLine
from batchgray.manifest.records import Manifest
from batchgray.manifest.share_log import LogEntry

DOCS = Path(__file__).parent.parent / "docs"
FOLDER = DOCS / "schemas"

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_WRITTEN: dict[str, Any] = {
    "manifest": Manifest,
    "journal": JournalLine,
    "events": events.Event | events.Dropped | events.WouldConvert,
    "status": status.Status,
    "job": JobHead,
    "job-log": LogEntry,
    "verify": verify.Verdict,
    "doctor": list[doctor.Finding],
}
_SEALED = ("Manifest", "JournalLine", "JobHead", "LogEntry")
# What is not told is left out; others leave out the bytes of UTF-8 names.
_SPARSE = ("JournalLine", "ImageChange", "LogEntry", "JobHead")


class Documented(NamedTuple):
    """A record of the document: its first words, and of each field the type and the meaning."""

    words: str
    fields: dict[str, tuple[str, str]]


def documented(text: str) -> dict[str, Documented]:
    """The records of docs/formats.md: a third-level heading with their name, words, and a table of fields."""
    found = {}
    for section in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        section = re.split(r"^## ", section, flags=re.MULTILINE)[0]
        name, _, body = section.partition("\n")
        rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", body, flags=re.MULTILINE)
        words = " ".join(body.partition("\n|")[0].split())
        found[name.strip("` ")] = Documented(words, {field: (kind, meaning) for field, kind, meaning in rows})
    return found


def generated() -> dict[str, dict[str, Any]]:
    """Each schema by its name. Raises ValueError where the document and the code differ."""
    records = documented((DOCS / "formats.md").read_text("utf-8"))
    common = records.pop("Every event")
    schemas, used = {}, set()
    for name, kind in _WRITTEN.items():
        schema = _without_defaults(msgspec.json.schema(kind))
        for record, definition in schema["$defs"].items():
            used.add(_describe(record, definition, records, common))
        schemas[name] = {"$schema": _DIALECT, "title": f"batchgray: {name}", **schema}
    if extra := set(records) - used:
        raise ValueError(f"docs/formats.md has records that are not written: {', '.join(sorted(extra))}")
    return schemas


def _describe(record: str, definition: dict[str, Any], records: dict[str, Documented], common: Documented) -> str:
    """Put the document's words into the definition. Returns the record's name there."""
    fields = definition["properties"]
    if record in _SEALED:
        fields["seal"] = {"type": "string"}
    name = fields["event"]["enum"][0] if "event" in fields else record
    if name not in records:
        raise ValueError(f"docs/formats.md has no section on {name}")
    words, known = records[name]
    if "event" in fields:
        fields["event"]["type"] = "string"
        known = {**common.fields, **known}
    if set(known) != set(fields):
        raise ValueError(f"docs/formats.md on {name}, and what is written: {', '.join(set(known) ^ set(fields))}")
    definition["description"] = words
    if record not in _SPARSE:
        definition["required"] = [field for field in fields if not field.endswith("_base64")]
    for field, schema in fields.items():
        kind, meaning = known[field]
        if kind != (right := in_words(schema)):
            raise ValueError(f"docs/formats.md on {name}, {field}: its type is {right}")
        schema["description"] = meaning
    return name


def in_words(schema: dict[str, Any]) -> str:
    """A type as the document writes it."""
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(in_words(choice) for choice in schema["anyOf"])
    if "type" not in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "array":
        return f"list of {in_words(schema['items'])}"
    if schema["type"] == "object":
        return f"object of {in_words(schema['additionalProperties'])}"
    return "time" if schema.get("format") == "date-time" else schema["type"]


def _without_defaults(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _without_defaults(value) for key, value in schema.items() if key != "default"}
    return [_without_defaults(value) for value in schema] if isinstance(schema, list) else schema


def as_text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    stale = []
    for name, schema in generated().items():
        path = FOLDER / f"{name}.schema.json"
        if not path.exists() or path.read_text("utf-8") != as_text(schema):
            stale.append(path)
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path} is not what scripts/make_schemas.py writes: run it", file=sys.stderr)
        return 1 if stale else 0
    FOLDER.mkdir(exist_ok=True)
    for name, schema in generated().items():
        (FOLDER / f"{name}.schema.json").write_text(as_text(schema), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
