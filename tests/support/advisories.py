"""Advisories in the OSV format for tests."""

from __future__ import annotations

from typing import Any

import orjson


def record(name: str, *entries: dict[str, Any], package: str = "thing", **fields: Any) -> bytes:
    """Return a record; a field that is None is left out.

    Args:
        entries: of `affected`, for one PyPI package.
        package: its name.
    """
    about = {"package": {"ecosystem": "PyPI", "name": package}}
    document = {
        "id": name,
        "modified": "2026-01-02T03:04:05Z",
        "affected": [{**about, **entry} for entry in entries],
        **fields,
    }
    return orjson.dumps({key: value for key, value in document.items() if value is not None})


def fixed(name: str, version: str, package: str = "thing", **fields: Any) -> bytes:
    """Return a record of something that every version before one has."""
    events = [{"introduced": "0"}, {"fixed": version}]
    return record(name, {"ranges": [{"type": "ECOSYSTEM", "events": events}]}, package=package, **fields)
