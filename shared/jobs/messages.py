"""Jobs: what work exists, and how a message travels. Pure; payloads are ids only.

The closed table `KINDS` decides what a message may ask for, so that bytes in the queue can never choose a function.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from shared.ids import AuditId, FileId, IndexId, OutboxId, ProjectId


class InvalidMessage(ValueError):
    """The queue or the outbox holds something that is no message of this version."""


@dataclass(frozen=True, slots=True)
class PublishIndex:
    """A change of `index_id` waits for its publication; `project_id` and `file_id` say of what, None for the empty
    first one.

    `audit_id` names what somebody asked for (yank, remove, status), which the publication writes into the journal. Its
    outbox row is settled by the publication itself, in the commit that makes the change visible.
    """

    kind: ClassVar[str] = "publish_index"
    queue: ClassVar[str] = "signing"
    settles_itself: ClassVar[bool] = True
    index_id: IndexId
    project_id: ProjectId | None = None
    file_id: FileId | None = None
    audit_id: AuditId | None = None


@dataclass(frozen=True, slots=True)
class RefreshIndex:
    """Online roles of `index_id` are due for a new signature."""

    kind: ClassVar[str] = "refresh_index"
    queue: ClassVar[str] = "signing"
    settles_itself: ClassVar[bool] = False
    index_id: IndexId


@dataclass(frozen=True, slots=True)
class LayPages:
    """Static pages of `index_id` must catch up with its head."""

    kind: ClassVar[str] = "lay_pages"
    queue: ClassVar[str] = "index"
    settles_itself: ClassVar[bool] = False
    index_id: IndexId


@dataclass(frozen=True, slots=True)
class HoldFile:
    """A file of `index_id` did not verify when it was read, and is to be held for review; `audit_id` says why."""

    kind: ClassVar[str] = "hold_file"
    queue: ClassVar[str] = "upload"
    settles_itself: ClassVar[bool] = False
    index_id: IndexId
    file_id: FileId
    audit_id: AuditId


Message = PublishIndex | RefreshIndex | LayPages | HoldFile

KINDS: dict[str, type[Message]] = {m.kind: m for m in (PublishIndex, RefreshIndex, LayPages, HoldFile)}
"""kind -> message class: everything that may be asked for."""

QUEUES = ("signing", "index", "upload")
"""Names of the queues, one per kind of worker."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message under way: its row in the outbox and what it asks for."""

    outbox_id: OutboxId
    message: Message


def ids_of(message: Message) -> dict[str, str]:
    """Return a message's ids as JSON-ready text, field name -> UUID or row number; absent ids are left out."""
    fields = {name: getattr(message, name) for name in message.__slots__}
    return {name: str(value) for name, value in fields.items() if value is not None}


def message_from(kind: str, ids: dict[str, str]) -> Message:
    """Build a message from its kind and ids.

    Raises:
        InvalidMessage: the kind is unknown, or an id is missing, superfluous or not of its form.
    """
    message = KINDS.get(kind)
    if message is None:
        raise InvalidMessage(f"unknown kind of job {kind[:50]!r}")
    try:
        return message(**{name: _NUMBERS.get(name, uuid.UUID)(value) for name, value in ids.items()})
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidMessage(f"{kind}: {error}") from error


def _row_number(text: str) -> int:
    if not _ROW_NUMBER.match(text):
        raise ValueError(f"{text[:30]!r} is no row's number")
    return int(text)


_ROW_NUMBER = re.compile(r"[1-9][0-9]{0,17}\Z")
_NUMBERS: dict[str, Callable[[str], Any]] = {"audit_id": _row_number}
