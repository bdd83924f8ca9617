"""Serves what is attached to releases and files at its address below `+f/`: documentation as it was sent, test results.

Attachments are in no publication: they show when they were committed, and a removal shows within `staleness`.
Source: contract devpi sections 12 and 13; architecture section 11.7.
"""

from __future__ import annotations

import time

from services.download.entries import Entry, Refused, Stored, make_entry
from services.download.rules import FileWanted, names_attachment
from services.download.settings import Limits
from shared.catalogue.attachments import Attached, at_path
from shared.errors import ErrorKind, ServiceError
from shared.objects.keys import file_key
from shared.reading.access import Place
from shared.reading.loading import load_checked
from shared.resources import Resources


async def or_attached(
    resources: Resources, limits: Limits, place: Place, wanted: FileWanted, found: Entry | Refused
) -> Entry | Refused:
    """Return what was found of a file, else the attachment of this address, or why that is not served.

    Raises:
        ServiceError: UNAVAILABLE; a small attachment is missing in the store, damaged, or cannot be read.
    """
    if isinstance(found, Entry) or found.error.kind is not ErrorKind.NOT_FOUND or not names_attachment(wanted):
        return found
    until, record = time.monotonic() + resources.settings.staleness, place.record
    async with resources.engine.connect() as connection:
        attached = await at_path(connection, record.id, record.life, wanted.path_key, wanted.file_name)
    if attached is None:
        # It may be there in a moment, and no publication would tell.
        return Refused(found.error, found.groups, until)
    groups = ((record.id, attached.project),)
    refused = _refusal(attached)
    if refused is not None:
        return Refused(refused, groups, until)
    key = file_key(attached.sha256, attached.file_name)
    stored = Stored(None, key, record.public, attached.sha256, attached.length, attached.added_at)
    body = None
    if stored.length <= limits.small:
        store = resources.objects.side(public=record.public)
        body = await load_checked(store, key, stored.sha256, limits.small)
    entry = make_entry(stored, body, groups, open_=place.open)
    entry.until = until
    return entry


def _refusal(attached: Attached) -> ServiceError | None:
    if attached.removed:
        return ServiceError(ErrorKind.GONE, f"{attached.file_name} was removed from this index.")
    if attached.held_reason is not None:
        reason = f": {attached.held_reason}" if attached.held_reason else ""
        return ServiceError(ErrorKind.FORBIDDEN, f"{attached.file_name} is held for review{reason}")
    return None
