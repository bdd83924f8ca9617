"""What lies in the queue is read as a message or refused, whatever it is."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.ids import AuditId, FileId, IndexId, OutboxId, ProjectId, new_uuid
from shared.jobs.messages import Envelope, InvalidMessage, LayPages, Message, PublishIndex, RefreshIndex, message_from
from shared.jobs.wire import FUNCTION, MAX_BYTES, dump_job, envelope_of, load_job, payload_of

INDEX = IndexId(new_uuid())
GOOD = {"outbox_id": 7, "kind": "lay_pages", "ids": {"index_id": str(INDEX)}}
EMPTY: dict[str, Any] = {"t": None, "f": FUNCTION, "a": (None,), "k": {}, "et": 0}


@pytest.mark.parametrize(
    "message",
    [
        LayPages(INDEX),
        RefreshIndex(INDEX),
        PublishIndex(INDEX),
        PublishIndex(INDEX, ProjectId(new_uuid()), FileId(new_uuid())),
    ],
)
def test_round_trip(message: Message) -> None:
    """An envelope survives the way through the queue, within the bound."""
    envelope = Envelope(OutboxId(2**62), message)
    job: dict[str, Any] = {"t": None, "f": FUNCTION, "a": (payload_of(envelope),), "k": {}, "et": 1_700_000_000_000}
    raw = dump_job(job)
    assert len(raw) < MAX_BYTES / 4
    assert load_job(raw)["et"] == 1_700_000_000_000
    assert envelope_of(load_job(raw)["a"][0]) == envelope


@pytest.mark.parametrize(
    "payload",
    [
        None,
        [],
        "lay_pages",
        {},
        GOOD | {"kind": "os.system"},
        GOOD | {"kind": ["lay_pages"]},
        GOOD | {"outbox_id": "7"},
        GOOD | {"outbox_id": True},
        GOOD | {"outbox_id": 0},
        GOOD | {"outbox_id": 2**63},
        GOOD | {"ids": {}},
        GOOD | {"ids": {"index_id": "not-a-uuid"}},
        GOOD | {"ids": {"index_id": 5}},
        GOOD | {"ids": {"index_id": str(INDEX), "file_id": str(INDEX)}},
        GOOD | {"ids": {"index_id": str(INDEX), "__class__": str(INDEX)}},
        GOOD | {"ids": [str(INDEX)]},
        GOOD | {"also": 1},
        {"outbox_id": 7, "kind": "lay_pages"},
    ],
)
def test_what_is_no_message_is_refused(payload: object) -> None:
    """Anything but exactly a known message is refused, and nothing else is raised."""
    with pytest.raises(InvalidMessage):
        envelope_of(payload)
    assert envelope_of(GOOD).message == LayPages(INDEX)


def job(**changes: Any) -> bytes:
    """Return a job as it lies in the queue, changed."""
    return json.dumps({"t": None, "f": FUNCTION, "a": [GOOD], "k": {}, "et": 1, **changes}).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b"\xff\xfe",
        pickle.dumps({"f": FUNCTION}),
        job(f="other"),
        job(f=["deliver"]),
        job(a=[]),
        job(a=[GOOD, GOOD]),
        job(a={"0": GOOD}),
        job(et="now"),
        job(et=-1),
        job(et=10**30),
        job(x="x" * MAX_BYTES),
        b"[" * 4000,
    ],
)
def test_what_is_no_job_becomes_one_without_a_message(raw: bytes) -> None:
    """A worker meets the one shape it expects, with a payload that is refused."""
    assert load_job(raw) == EMPTY


def test_pickled_code_is_never_run() -> None:
    """Bytes that would run code when unpickled are only bytes."""

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return exec, ("raise SystemExit('ran')",)

    assert load_job(pickle.dumps(Bomb())) == EMPTY


def test_parameters_of_a_job_are_not_taken_over() -> None:
    """Keyword arguments and a count of tries that somebody else wrote do not reach the worker."""
    assert load_job(job(k={"context": 1}, t="many")) == {"t": None, "f": FUNCTION, "a": (GOOD,), "k": {}, "et": 1}


@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(str).map(str.encode))
def test_no_bytes_raise(raw: bytes) -> None:
    """Reading never raises, whatever was written."""
    assert load_job(raw)["f"] == FUNCTION


def test_a_request_travels_by_its_row_number() -> None:
    """A publication carries which request it answers; anything but a positive number is no message."""
    message = PublishIndex(INDEX, audit_id=AuditId(7))
    envelope = Envelope(OutboxId(1), message)
    assert envelope_of(payload_of(envelope)) == envelope
    for value in ("0", "-1", "x", "1" * 19, "\u0661", ""):
        with pytest.raises(InvalidMessage):
            message_from("publish_index", {"index_id": str(INDEX), "audit_id": value})
