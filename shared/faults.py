"""Named points between the steps of the flow, at which a test ends the process.

A point costs one look-up while nobody listens, which is always so outside tests: no setting, variable or request makes
anybody listen. The listener is a context variable, so that it reaches every task and thread of the process that set it
before its event loop began, without a parameter through all layers.
Source: `docs/flow.md` (what a crash leaves behind); architecture section 5, invariant 1.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from enum import StrEnum


class FaultPoint(StrEnum):
    """What has just been done, in the order of the flow."""

    UPLOAD_RECEIVED = "upload.received"
    """The body lies in the staging folder."""

    UPLOAD_STORED = "upload.stored"
    """The bytes and their core metadata lie in the object store."""

    UPLOAD_KEPT = "upload.kept"
    """Project, release, file and outbox row are committed; nobody was answered."""

    PUSH_CARRIED = "push.carried"
    """What a push takes along lies on the target's side of the store; no row says so."""

    PUSH_KEPT = "push.kept"
    """All rows of a push are committed; nobody was answered."""

    RELAY_CLAIMED = "relay.claimed"
    """Rows of the outbox are claimed, none was sent."""

    RELAY_SENT = "relay.sent"
    """A row was handed to the queue."""

    SIGN_LEASED = "sign.leased"
    """The lease of an index is held."""

    SIGN_RENDERED = "sign.rendered"
    """A batch is read, its new bytes are re-hashed and its targets rendered."""

    SIGN_NUMBERED = "sign.numbered"
    """Its number is given out and its intent committed."""

    SIGN_SIGNED = "sign.signed"
    """Bins, snapshot and timestamp are signed, in memory."""

    PUBLISH_TARGETS = "publish.targets"
    """Pointers and page documents lie in the object store."""

    PUBLISH_METADATA = "publish.metadata"
    """Bins and snapshot lie in the object store."""

    SWITCH_COMMITTED = "switch.committed"
    """The head is committed."""

    STORE_TIMESTAMP = "store.timestamp"
    """The timestamp lies in the object store."""

    STORE_PLAIN = "store.plain"
    """The plain copies of the targets lie in the object store."""

    LAY_PAGE = "lay.page"
    """A static page of a project is laid, its index is not marked."""

    LAY_LISTS = "lay.lists"
    """All static pages are laid, the index is not marked."""


Listener = Callable[[FaultPoint], None]
"""Called at every point that is reached; may not return."""

_listener: ContextVar[Listener | None] = ContextVar("fault_listener", default=None)


def listen(listener: Listener) -> None:
    """Have `listener` called at every point that this context, or a task or thread begun in it, reaches."""
    _listener.set(listener)


def reached(point: FaultPoint) -> None:
    """Say that a step of the flow is done."""
    listener = _listener.get()
    if listener is not None:
        listener(point)
