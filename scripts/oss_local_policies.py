"""RAM policies, as the local OSS enforces them: Allow alone, with wildcards, and StringLike as the one condition."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any


def grants(policies: Iterable[Mapping[str, Any]], action: str, resource: str, conditions: Mapping[str, str]) -> bool:
    """Whether one of the policies allows it. `resource` is `BUCKET` or `BUCKET/KEY`, `conditions` has `oss:Prefix`."""
    return any(
        _allows(statement, action, f"acs:oss:*:*:{resource}", conditions)
        for policy in policies
        for statement in policy["Statement"]
    )


def _allows(statement: Mapping[str, Any], action: str, resource: str, conditions: Mapping[str, str]) -> bool:
    wanted = statement.get("Condition", {})
    if statement["Effect"] != "Allow" or wanted.keys() - {"StringLike"}:
        raise ValueError(f"this server knows no such statement: {statement}")
    return (
        any(fnmatchcase(action, pattern) for pattern in statement["Action"])
        and any(fnmatchcase(resource, pattern) for pattern in statement["Resource"])
        and all(
            any(fnmatchcase(conditions.get(name, ""), pattern) for pattern in patterns)
            for name, patterns in wanted.get("StringLike", {}).items()
        )
    )
