"""Bounds of the download service's memory and time."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.fetching.flight import SMALL
from shared.fetching.receiving import FetchLimits


@dataclass(frozen=True, slots=True)
class Limits:
    """What the download service keeps at the most; the defaults fit the smallest deployment we support.

    Attributes:
        memory: bytes of small files, `.metadata` and of what is known about large ones, kept in memory.
        small: bytes up to which a file is read whole, checked and kept; larger ones are streamed.
        absent_seconds: seconds for which it is remembered that a file does not exist; a new head ends it earlier.
        stall_seconds: seconds in which a client must take a chunk; then the connection is closed, since a body of the
            store is held open for it.
        flush_seconds: seconds for which download counts lie in memory only.
        page_seconds: that a client waits for the page of a file that is not known.
        fetching: from upstreams of mirrors.
        evict_seconds: between two looks whether too much is kept of them.
        evict_grace: seconds between the mark that something is removed and its removal, for clients that were sent to
            the store for it.
        verify_seconds: that verifying the whole chain of a file may take, its bytes are read for it.
        verified_seconds: for which what was found is told again, where head, rows and objects are as they were.
        holds_seconds: for which an index that verifies on read asks for no chain anew, under the same conditions.
    """

    memory: int = 48 << 20
    small: int = SMALL
    absent_seconds: float = 30.0
    stall_seconds: float = 60.0
    flush_seconds: float = 5.0
    page_seconds: float = 8.0
    fetching: FetchLimits = field(default_factory=FetchLimits)
    evict_seconds: float = 60.0
    evict_grace: float = 120.0
    verify_seconds: float = 300.0
    verified_seconds: float = 10.0
    holds_seconds: float = 60.0
