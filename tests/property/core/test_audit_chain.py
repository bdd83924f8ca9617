"""The audit chain notices every change, whatever the rows hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from countermark.core.audit import (
    GENESIS,
    AuditHead,
    AuditRow,
    ChainBroken,
    Link,
    MalformedAudit,
    hash_of,
    parse_head,
    parse_line,
    verify_export,
)
from countermark.core.names import IndexName

INDEX = IndexName("root", "stable")
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""On a busy machine an example may take long to make; that says nothing of the chain."""
MOMENTS = st.timedeltas(timedelta(0), timedelta(days=3_652_000)).map(datetime(1, 1, 3, tzinfo=UTC).__add__)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FACTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
ROWS = st.builds(
    AuditRow,
    id=st.integers(1, 2**62),
    at=MOMENTS,
    source=st.none() | WORDS,
    actor=WORDS,
    action=WORDS,
    subject=WORDS,
    detail=st.dictionaries(WORDS, FACTS, max_size=4),
)


def chained(rows: list[AuditRow]) -> list[Link]:
    """Return rows as a chain."""
    links, previous = [], GENESIS
    for position, row in enumerate(rows, 1):
        link = Link(position, previous, row, hash_of(previous, position, row))
        links.append(link)
        previous = link.sha256
    return links


def head_of(links: list[Link]) -> AuditHead:
    """Return the head of a whole chain."""
    return AuditHead(INDEX, links[-1].position, links[-1].sha256, datetime(2026, 1, 1, tzinfo=UTC))


def exported(links: list[Link]) -> list[bytes]:
    """Return the lines of an export."""
    return [link.to_line() for link in links]


@PATIENT
@given(st.lists(ROWS, min_size=1, max_size=6), st.data())
def test_an_export_is_proven_from_wherever_it_begins(rows: list[AuditRow], data: st.DataObject) -> None:
    """Lines are read back as they were written, and the head proves them from any first position."""
    links = chained(rows)
    start = data.draw(st.integers(0, len(links) - 1))
    lines = exported(links[start:])
    assert [parse_line(line) for line in lines] == links[start:]
    proven = verify_export(lines, [head_of(links)])
    assert (proven.first, proven.last, proven.proven) == (start + 1, len(links), len(links))


CHANGES: dict[str, Any] = {
    "id": lambda row: replace(row, id=row.id + 1),
    "at": lambda row: replace(row, at=row.at + timedelta(microseconds=1)),
    "source": lambda row: replace(row, source="" if row.source is None else None),
    "actor": lambda row: replace(row, actor=row.actor + "x"),
    "action": lambda row: replace(row, action=row.action + "x"),
    "subject": lambda row: replace(row, subject=row.subject + "x"),
    "detail": lambda row: replace(row, detail={**row.detail, "more": [row.detail.get("more")]}),
}


@PATIENT
@given(ROWS, st.sampled_from(sorted(CHANGES)))
def test_every_field_is_in_the_hash(row: AuditRow, field: str) -> None:
    """A row that differs in any field has another hash, and so have its place and what it follows."""
    changed = CHANGES[field](row)
    assert hash_of(GENESIS, 1, changed) != hash_of(GENESIS, 1, row)
    assert hash_of(GENESIS, 2, row) != hash_of(GENESIS, 1, row)
    assert hash_of(hash_of(GENESIS, 1, row), 1, row) != hash_of(GENESIS, 1, row)


@PATIENT
@given(ROWS, WORDS)
def test_nothing_moves_between_fields(row: AuditRow, word: str) -> None:
    """What one field loses and the next gains is another row."""
    one, other = replace(row, actor=row.actor + word, action="a"), replace(row, actor=row.actor, action=word + "a")
    assert (hash_of(GENESIS, 1, one) == hash_of(GENESIS, 1, other)) == (one == other)


@PATIENT
@given(st.lists(ROWS, min_size=3, max_size=6), st.sampled_from(["alter", "drop", "insert", "swap", "twice"]), st.data())
def test_what_is_altered_dropped_added_or_moved_breaks_the_chain(
    rows: list[AuditRow], how: str, data: st.DataObject
) -> None:
    """The first line that differs is where it breaks, whichever line it is."""
    links = chained(rows)
    place = data.draw(st.integers(0, len(links) - 2))
    tampered = list(links)
    if how == "alter":
        tampered[place] = replace(links[place], row=CHANGES["actor"](links[place].row))
    elif how == "drop":
        del tampered[place]
    elif how == "insert":
        tampered.insert(place, replace(links[place], row=CHANGES["actor"](links[place].row)))
    elif how == "twice":
        tampered.insert(place, links[place])
    else:
        tampered[place], tampered[place + 1] = tampered[place + 1], tampered[place]
    if how == "drop" and place == 0:
        # What is left is an honest export from the second position on.
        assert verify_export(exported(tampered), [head_of(links)]).first == 2
        return
    with pytest.raises(ChainBroken):
        verify_export(exported(tampered), [head_of(links)])


@PATIENT
@given(st.lists(ROWS, min_size=2, max_size=6), st.data())
def test_a_chain_that_was_hashed_anew_differs_from_the_head(rows: list[AuditRow], data: st.DataObject) -> None:
    """Who alters a row and hashes everything after it again is found by the published head."""
    place = data.draw(st.integers(0, len(rows) - 1))
    forged = [*rows[:place], CHANGES["subject"](rows[place]), *rows[place + 1 :]]
    with pytest.raises(ChainBroken) as caught:
        verify_export(exported(chained(forged)), [head_of(chained(rows))])
    assert caught.value.position == len(rows)


@PATIENT
@given(st.lists(ROWS, min_size=2, max_size=4))
def test_an_export_without_the_heads_position_proves_nothing(rows: list[AuditRow]) -> None:
    """One that ends before the head, or begins after it, is refused."""
    links = chained(rows)
    with pytest.raises(ChainBroken, match="not in the export"):
        verify_export(exported(links[:-1]), [head_of(links)])
    with pytest.raises(ChainBroken, match="not in the export"):
        verify_export(exported(links[1:]), [head_of(links[:1])])


@PATIENT
@given(ROWS, MOMENTS)
def test_a_head_is_read_back_as_it_was_written(row: AuditRow, at: datetime) -> None:
    """Position, hash, time and index survive."""
    head = AuditHead(INDEX, row.id, hash_of(GENESIS, 1, row), at)
    assert parse_head(head.to_bytes()) == head


@PATIENT
@given(st.binary(max_size=200))
def test_bytes_that_are_no_line_are_refused(content: bytes) -> None:
    """Whatever it is, it is one error."""
    with pytest.raises(MalformedAudit):
        parse_line(content)
    with pytest.raises(MalformedAudit):
        parse_head(content)
