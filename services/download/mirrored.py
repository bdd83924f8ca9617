"""Files of mirrors: what memory holds of them, and what is said of one that a policy holds back.

Source: architecture sections 11.5 and 11.6; contract python-index sections 5.1 and 6.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from services.download.entries import ABSENT, Entry, Refused, Stored, make_entry
from services.download.inheriting import InView
from services.download.rules import FileWanted
from services.download.settings import Limits
from shared.errors import ErrorKind, ServiceError
from shared.fetching.fetching import Fetching
from shared.fetching.wanted import Wanted, wanted_file, wanted_metadata
from shared.reading.access import Place
from shared.reading.mirrored import MirroredFile

UNDATED = datetime(1980, 1, 1, tzinfo=UTC)
"""Last-Modified of a file whose upstream does not date it: the same in every process, and older than all copies."""


async def mirrored_entry(
    fetching: Fetching, limits: Limits, place: Place, wanted: FileWanted, seen: InView, now: datetime
) -> Entry | Refused:
    """Return what memory holds of a mirrored file; a small one is fetched now, a large one when it is read.

    Core metadata that cannot be had is not announced from then on, and then it is not there.

    Args:
        seen: what the address means; a file of a mirror.

    Raises:
        ServiceError: NOT_FOUND, UPSTREAM or UNAVAILABLE; it cannot be fetched.
    """
    file = seen.file
    assert isinstance(file, MirroredFile)
    groups, until = place.groups(file.project), remembered_until(limits, seen, now)
    if wanted.metadata:
        source = wanted_metadata(seen.owner, file.project, file.file_name, file.origin)
        if source is None or await fetching.is_withdrawn(source):
            detail = f"There is no metadata for {wanted.file_name}; take the file itself."
            return Refused(ServiceError(ErrorKind.NOT_FOUND, detail), groups, until)
        try:
            kept = await fetching.whole(source)
        except ServiceError as error:
            await fetching.withdraw(source, error)
            raise _not_had(source, error) from error
        body = await fetching.body(source, kept)
    else:
        source = wanted_file(seen.owner, file.project, file.file_name, file.origin, fetching.most)
        kept, body = None, None
        if source.length is None or source.length <= limits.small:
            kept = await fetching.whole(source)
            body = await fetching.body(source, kept) if kept.length <= limits.small else None
    length = source.length if kept is None else kept.length
    assert source.sha256 is not None
    assert length is not None
    modified = file.origin.uploaded_at or UNDATED
    stored = Stored(None, source.key, public=False, sha256=source.sha256, length=length, modified=modified)
    entry = make_entry(stored, body, groups, open_=place.open)
    entry.source, entry.until = source, until
    return entry


def _not_had(source: Wanted, error: ServiceError) -> ServiceError:
    """Return what is said of core metadata that a page announced a moment ago: never that it is not there."""
    kind = ErrorKind.UPSTREAM if error.kind is ErrorKind.NOT_FOUND else error.kind
    detail = f"The metadata of {source.file_name} cannot be had, and is not announced any more: {error.detail}"
    return ServiceError(kind, detail, retry_after=error.retry_after)


def held_back(limits: Limits, place: Place, wanted: FileWanted, seen: InView, now: datetime) -> Refused:
    """Return what is said of a file that a policy hides: which rule, whose, why, and until when.

    Args:
        seen: what the address means; a hidden file.
    """
    hidden = seen.hidden
    assert hidden is not None
    facts = {"rule": str(hidden.rule), "index": str(hidden.index), "reason": hidden.reason}
    words = f"{wanted.file_name} is held back by {hidden.index} ({hidden.rule}): {hidden.reason}"
    if hidden.until is not None:
        facts["until"] = hidden.until.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
        words += f"; it will be served from {facts['until']}"
    detail = f"{words}.".encode("ascii", "replace").decode()
    error = ServiceError(ErrorKind.FORBIDDEN, detail, facts=facts)
    return Refused(error, place.groups(ABSENT), remembered_until(limits, seen, now))


def remembered_until(limits: Limits, seen: InView, now: datetime) -> float:
    """Return until when an answer may be remembered, in monotonic seconds: the clock may change it."""
    seconds = limits.absent_seconds
    if seen.until is not None:
        seconds = min(seconds, max(0.0, (seen.until - now).total_seconds()))
    return time.monotonic() + seconds
