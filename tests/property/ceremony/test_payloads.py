"""Properties of payloads: one form each, and no two that are allowed read the same."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from countermark.core.ceremony.changes import Change, build, parse_change
from countermark.core.ceremony.differences import describe
from countermark.core.ceremony.documents import parse_event
from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.ceremony.keys import parse_key
from countermark.core.ceremony.payload import (
    canonical_bytes,
    canonical_payload,
    metadata_bytes,
    parse_payload,
    read_metadata,
    read_published,
)
from countermark.core.ceremony.rules import check
from countermark.core.ceremony.tree import KEYED_BY, WINDOWS
from tests.support.ceremonies import NOW, first_files, signer

FILES = first_files()
RENEWALS = {role: FILES.payload(role, Change()) for role in FILES.newest}
WIDE = (timedelta(0), timedelta(days=4000))

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from(["", "a", "root", "2027-01-01T00:00:00Z", "0" * 64]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "keyids"]), inner, max_size=2),
    max_leaves=4,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value of a document."""
    yield path
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(inner, (*path, name))


def _edit(document: Any, path: tuple[Any, ...], kind: str, value: Any) -> Any:
    """Return a document with one change at a place: set, removed, added beside, twice, or in another order."""
    document = copy.deepcopy(document)
    if not path:
        return document | {"x": value}
    holder = document
    for step in path[:-1]:
        holder = holder[step]
    last = path[-1]
    if kind == "set":
        holder[last] = value
    elif kind == "remove":
        del holder[last]
    elif isinstance(holder, dict):
        holder[str(value)[:80]] = holder[last]
    elif kind == "turn":
        holder.reverse()
    else:
        holder.insert(last, value)
    return document


@given(st.sampled_from(sorted(RENEWALS)), st.data())
def test_any_single_change_is_told_or_refused(role: str, data: st.DataObject) -> None:
    """A payload that differs in one place from another is refused, or its description differs."""
    document = json.loads(RENEWALS[role])
    path = data.draw(st.sampled_from(list(_places(document))))
    kind = data.draw(st.sampled_from(["set", "remove", "add", "turn"]))
    edited = canonical_bytes(_edit(document, path, kind, data.draw(values)))
    if edited == RENEWALS[role]:
        return
    try:
        check(role, edited, FILES.newest[role], WIDE, NOW)
    except CeremonyFault:
        return
    before = FILES.newest[role]
    assert describe(role, before, edited) != describe(role, before, RENEWALS[role])
    assert describe(role, None, edited) != describe(role, None, RENEWALS[role])


@given(st.sampled_from(sorted(RENEWALS)), st.data())
def test_describe_alone_leaves_out_nothing_but_keys_of_a_false_id(role: str, data: st.DataObject) -> None:
    """Whatever can be read as metadata, rules or not, is described differently when anything but a key differs."""
    document = json.loads(RENEWALS[role])
    places = [path for path in _places(document) if "keys" not in path]
    path = data.draw(st.sampled_from(places))
    edited = canonical_bytes(
        _edit(document, path, data.draw(st.sampled_from(["set", "remove", "add"])), data.draw(values))
    )
    try:
        parse_payload(role, edited)
    except CeremonyFault:
        return
    if edited != RENEWALS[role]:
        assert describe(role, FILES.newest[role], edited) != describe(role, FILES.newest[role], RENEWALS[role])


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, Change]:
    """Draw a role and a change that fits it, usable or not."""
    role = draw(st.sampled_from(sorted(RENEWALS)))
    names = KEYED_BY[role]
    keys = st.integers(0, 4)
    pairs = st.tuples(st.sampled_from(names or ("root",)), keys)
    added = draw(st.lists(pairs, max_size=3 if names else 0, unique=True))
    removed = draw(st.lists(pairs, max_size=3 if names else 0, unique=True))
    paths = st.sampled_from(["trust/policy.yaml", "trust/b", "trusted_root.json"])
    change = Change(
        add=tuple((name, signer(name, number).public_key) for name, number in added),
        remove=tuple((name, signer(name, number).public_key.keyid) for name, number in removed),
        thresholds=draw(st.dictionaries(st.sampled_from(names), st.integers(0, 5), max_size=2)) if names else {},
        bins=draw(st.none() | st.integers(0, 15)) if role == "registry" else None,
        targets=draw(st.dictionaries(paths, st.binary(max_size=4), max_size=2)) if role == "trust" else {},
        untargets=tuple(draw(st.lists(paths, max_size=1))) if role == "trust" else (),
    )
    return role, change


@given(changes())
def test_a_change_is_built_and_round_trips_or_is_refused(drawn: tuple[str, Change]) -> None:
    """What is built is one byte string through payload and file; a change is the same through its JSON."""
    role, change = drawn
    assert parse_change(json.loads(json.dumps(change.to_document()))) == change
    try:
        built = build(role, read_published(role, FILES.newest[role]), change, NOW, WINDOWS[role][1])
    except CeremonyFault:
        return
    payload = canonical_payload(built)
    try:
        assert canonical_payload(parse_payload(role, payload)) == payload
    except CeremonyFault:
        return
    assert read_metadata(metadata_bytes(payload, [signer("root").sign(payload)]))[0] == payload
    told = describe(role, FILES.newest[role], payload)
    assert (told[-1] == "nothing else changes") == (
        {**json.loads(payload), "expires": 0, "version": 0}
        == {**json.loads(read_metadata(FILES.newest[role])[0]), "expires": 0, "version": 0}
    )


@given(st.sampled_from(sorted(RENEWALS)), st.binary(max_size=60), values)
def test_any_bytes_and_json_are_refused_with_the_one_error(role: str, data: bytes, value: Any) -> None:
    """Hostile input meets the one error of ceremonies, nothing else."""
    for hostile in (data, json.dumps(value).encode(), json.dumps({"_type": "root", "signed": value}).encode()):
        for read in (lambda d: parse_payload(role, d), read_metadata, parse_event):
            try:
                read(hostile)
            except CeremonyFault:
                continue
            raise AssertionError(hostile)
    for parse in (parse_key, parse_change):
        try:
            parse(value)
        except CeremonyFault:
            continue
