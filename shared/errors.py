"""The one error that crosses a boundary of the server: a kind and a sentence for the person who caused it.

Use cases raise it; `shared.problems` alone knows which HTTP status a kind becomes.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum


class ErrorKind(StrEnum):
    """What went wrong, in terms of the domain; one row of the table in `shared.problems` each."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    NOT_ACCEPTABLE = "not-acceptable"
    CONFLICT = "conflict"
    GONE = "gone"
    TOO_LARGE = "too-large"
    MALFORMED = "malformed"
    TOO_MANY = "too-many"
    UNAVAILABLE = "unavailable"


class ServiceError(Exception):
    """A request that cannot be served.

    Attributes:
        kind: which row of the status table applies.
        detail: sentences for the client, the most telling first; ASCII, no secrets. Several faults stand on lines of
            their own.
        retry_after: when trying again makes sense, if it does.
    """

    def __init__(self, kind: ErrorKind, detail: str, *, retry_after: timedelta | None = None) -> None:
        self.kind = kind
        self.detail = detail
        self.retry_after = retry_after
        super().__init__(f"{kind}: {detail}")
