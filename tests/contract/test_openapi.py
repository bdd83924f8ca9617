"""The committed OpenAPI descriptions are a promise: what they say stays true, and what is new is written down."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from deploy.openapi import descriptions

_COMMITTED = Path(__file__).parent / "openapi"
_WORDS = frozenset({"description", "title", "summary", "operationId"})
"""What may change without breaking a client."""


def _broken(old: Any, new: Any, where: str) -> Iterator[str]:
    """Say what of `old` is no longer so in `new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old.keys() - _WORDS - {"required"}:
            if key in new:
                yield from _broken(old[key], new[key], f"{where}/{key}")
            else:
                yield f"{where}/{key} is gone"
        yield from _required(old, new, where)
    elif isinstance(old, list) and isinstance(new, list):
        by_name = {item["name"]: item for item in new if isinstance(item, dict) and "name" in item}
        for item in old:
            if isinstance(item, dict) and "name" in item:
                yield from _broken(item, by_name.get(item["name"]), f"{where}/{item['name']}")
            elif item not in new:
                yield f"{where}: {item} is gone"
    elif old != new:
        yield f"{where} was {old}, is {new}"


def _required(old: dict[str, Any], new: dict[str, Any], where: str) -> Iterator[str]:
    before, after = old.get("required"), new.get("required")
    if isinstance(before, bool) or isinstance(after, bool):
        if after and not before:
            yield f"{where} is required now"
        return
    # What is sent forbids unknown keys: there a new required key breaks clients, in an answer a missing one does.
    sent = old.get("additionalProperties") is False
    kept, given = (set(after or ()), set(before or ())) if sent else (set(before or ()), set(after or ()))
    if kept - given:
        yield f"{where}: {sorted(kept - given)} {'required now' if sent else 'no longer always there'}"


@pytest.fixture(scope="module")
def current() -> dict[str, dict[str, Any]]:
    """What the services say now."""
    return descriptions()


def _committed() -> dict[str, dict[str, Any]]:
    return {path.stem: orjson.loads(path.read_bytes()) for path in sorted(_COMMITTED.glob("*.json"))}


def test_nothing_that_was_promised_is_gone(current: dict[str, dict[str, Any]]) -> None:
    """Every path, parameter, key and value of the committed descriptions is still there."""
    committed = _committed()
    assert committed.keys() == {"gateway", "upload", "signing", "index", "download"}
    assert list(_broken(committed, current, "")) == []


def test_new_routes_are_written_down(current: dict[str, dict[str, Any]]) -> None:
    """A route that is not in the committed descriptions: run `python -m deploy.openapi`."""
    committed = _committed()
    for name, document in current.items():
        assert document["paths"].keys() == committed[name]["paths"].keys(), "run python -m deploy.openapi"


def test_a_broken_promise_is_noticed(current: dict[str, dict[str, Any]]) -> None:
    """A path, a parameter, a key of an answer that goes, and a key of a payload that is required all of a sudden."""
    changed = copy.deepcopy(current["gateway"])
    del changed["paths"]["/api/v1/audit"]
    changed["paths"]["/api/v1/jobs"]["get"]["parameters"].pop()
    del changed["schemas"]["Token"]["properties"]["label"]
    changed["schemas"]["TokenPayload"]["required"].append("days")
    assert len(list(_broken(current["gateway"], changed, ""))) == 4
    added = copy.deepcopy(current["gateway"])
    added["paths"]["/api/v1/more"] = {"get": {}}
    added["schemas"]["Token"]["properties"]["more"] = {"type": "string"}
    added["schemas"]["Token"]["required"].append("more")
    assert list(_broken(current["gateway"], added, "")) == []
