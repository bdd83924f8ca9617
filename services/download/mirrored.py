"""Files of mirrors: what memory holds of them, and what is said of one that a policy holds back.

Source: architecture sections 11.5 and 11.6; contract python-index sections 5.1 and 6.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from services.download.entries import (
    ABSENT,
    LASTING,
    OCTETS,
    PASSING,
    PROVENANCE,
    Entry,
    Refused,
    Stored,
    make_entry,
)
from services.download.inheriting import InView
from services.download.rules import FileWanted
from services.download.settings import Limits
from shared.auth.directory import IndexRecord
from shared.catalogue.mirror_files import Kept
from shared.errors import ErrorKind, ServiceError
from shared.fetching.fetching import Fetching
from shared.fetching.wanted import Wanted, wanted_file, wanted_metadata, wanted_provenance
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
    modified = file.origin.uploaded_at or UNDATED
    if wanted.beside:
        source = _source_beside(wanted, seen.owner, file)
        if source is None:
            words = "metadata for {}; take the file itself" if wanted.metadata else "provenance for {}"
            detail = f"There is no {words.format(wanted.file_name)}."
            return Refused(ServiceError(ErrorKind.NOT_FOUND, detail), groups, until)
        kept, body = await _had(fetching, source)
        form = (PROVENANCE, PASSING) if wanted.provenance else (OCTETS, LASTING)
        stored = Stored(None, source.key, False, kept.sha256, kept.length, modified, *form)
    else:
        source = wanted_file(seen.owner, file.project, file.file_name, file.origin, fetching.most)
        length, body = source.length, b""
        if length is None:
            kept = await fetching.whole(source)
            length = kept.length
            body = await fetching.body(source, kept) if length <= limits.small else b""
        elif length <= limits.small:
            _, body = await fetching.small(source)
        stored = Stored(None, source.key, False, file.sha256, length, modified)
    entry = make_entry(stored, body if stored.length <= limits.small else None, groups, open_=place.open)
    entry.source, entry.until = source, until
    entry.page = None if file.page_at is None else (seen.owner.id, file.page_at)
    return entry


def _source_beside(wanted: FileWanted, mirror: IndexRecord, file: MirroredFile) -> Wanted | None:
    """Return where the metadata or the provenance of a file is, None when its page announces none."""
    if wanted.provenance:
        return wanted_provenance(mirror, file.project, file.file_name, file.origin)
    return None if file.withdrawn else wanted_metadata(mirror, file.project, file.file_name, file.origin)


async def _had(fetching: Fetching, source: Wanted) -> tuple[Kept, bytes]:
    """Return what is beside a file.

    Raises:
        ServiceError: NOT_FOUND, UPSTREAM or UNAVAILABLE; core metadata is not announced any more then.
    """
    try:
        return await fetching.small(source)
    except ServiceError as error:
        if source.sha256 is None:
            raise
        await fetching.withdraw(source, error)
        raise _not_had(source, error) from error


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
