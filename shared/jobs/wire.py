"""How a message lies in the queue: JSON of one shape. Who can write to the queue chooses no function and no type."""

from __future__ import annotations

import json
from typing import Any, Final

from shared.ids import OutboxId
from shared.jobs.messages import Envelope, InvalidMessage, ids_of, message_from

FUNCTION: Final = "deliver"
"""The one function that workers know."""

MAX_BYTES: Final = 4096
"""Bytes of a job as it lies in the queue; a message holds four ids at the most."""


def payload_of(envelope: Envelope) -> dict[str, Any]:
    """Return an envelope as JSON-ready data."""
    message = envelope.message
    return {"outbox_id": envelope.outbox_id, "kind": message.kind, "ids": ids_of(message)}


def envelope_of(payload: object) -> Envelope:
    """Read an envelope from what lay in the queue.

    Raises:
        InvalidMessage: it is not exactly `{"outbox_id": positive integer, "kind": text, "ids": {text: text}}`, or no
            message of this version.
    """
    match payload:
        case {"outbox_id": int(outbox_id), "kind": str(kind), "ids": dict(ids), **superfluous} if not superfluous:
            if isinstance(outbox_id, bool) or not 0 < outbox_id < 1 << 63:
                raise InvalidMessage("outbox_id is no row's number")
            if not all(isinstance(value, str) for value in ids.values()):
                raise InvalidMessage("an id is no text")
            return Envelope(OutboxId(outbox_id), message_from(kind, ids))
        case _:
            raise InvalidMessage("not a message")


def dump_job(job: dict[str, Any]) -> bytes:
    """Write arq's description of a job. Used in place of pickle, with which the queue could run code in a worker."""
    return json.dumps(job, separators=(",", ":")).encode()


def load_job(raw: bytes) -> dict[str, Any]:
    """Read arq's description of a job, keeping only the payload and the time it was queued.

    Whatever is wrong with it becomes a job with the payload None, which `envelope_of` refuses: a worker meets no shape
    that it does not expect.
    """
    payload, queued_at = None, 0
    if len(raw) <= MAX_BYTES:
        try:
            match json.loads(raw):
                case {"f": str(name), "a": [found], "et": int(moment)} if name == FUNCTION and 0 <= moment < 1 << 45:
                    payload, queued_at = found, moment
        except (ValueError, RecursionError):
            pass
    return {"t": None, "f": FUNCTION, "a": (payload,), "k": {}, "et": queued_at}
