"""The one error that crosses a boundary of the server: a kind and a sentence for the person who caused it.

Use cases raise it; `shared.problems` alone knows which HTTP status a kind becomes.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    UPSTREAM = "upstream-failed"
    """A server that we ask for this answered wrongly: asking us again will hardly help."""


class ServiceError(Exception):
    """A request that cannot be served.

    Attributes:
        kind: which row of the status table applies.
        detail: sentences for the client, the most telling first; ASCII, no secrets. Several faults stand on lines of
            their own.
        retry_after: when trying again makes sense, if it does.
        facts: what programs may read of it, JSON-ready; further members of the problem document.
    """

    def __init__(
        self,
        kind: ErrorKind,
        detail: str,
        *,
        retry_after: timedelta | None = None,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self.detail = detail
        self.retry_after = retry_after
        self.facts = facts or {}
        super().__init__(f"{kind}: {detail}")

    def again(self) -> ServiceError:
        """Return the same error to be raised once more: an exception collects the traceback of every raise."""
        return ServiceError(self.kind, self.detail, retry_after=self.retry_after, facts=self.facts)
