"""Pages of indexes with bases: put together from what the members published.

What is shown is decided by `shared.reading.merging`, as it is for files. A merged document belongs to the groups of all
members, so that it is dropped with the next publication of any of them.

Its serial is the sum of the members' own: it grows whenever one of them changes the project, and never falls while the
bases stay the same. When a base is taken away or deleted it falls by what that one had: what every view ever counted is
stored nowhere (docs/reference/devpi.md).
Source: architecture sections 5.9 and 11.5; contract devpi section 15.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from countermark.core.names import FileName, page_target
from services.index.documents import Document
from services.index.mirrored_parts import mirrored_parts, unavailable
from services.index.mirroring import Mirroring
from services.index.rules import PageWanted
from services.index.settings import Limits
from services.index.usecases import empty_page, no_project, page_of_signed
from shared.auth.directory import IndexRecord
from shared.catalogue.heads import PageRef
from shared.catalogue.merged import InIndex, held_names, in_indexes
from shared.errors import ErrorKind, ServiceError
from shared.formats.python.merged import Part, merged_document, with_provenance
from shared.ids import IndexId
from shared.objects.keys import target_key
from shared.outside_address import index_url
from shared.reading.access import Place
from shared.reading.loading import load_checked
from shared.reading.merging import members_showing
from shared.reading.resolution import MIRROR
from shared.reading.views import View
from shared.resources import Resources
from shared.threads import sized

_AT_ONCE = 8
"""Members' page documents of one page that are read at the same time."""


async def load_merged_page(
    resources: Resources, limits: Limits, mirroring: Mirroring, place: Place, view: View, wanted: PageWanted
) -> Document:
    """Return a project's page as an index with bases, or a mirror, shows it; a document of status 404 when no member
    has it.

    Raises:
        ServiceError: UNAVAILABLE; a member's document is missing, damaged or cannot be read, all together are larger
            than is served, or no member has the project and an upstream that may have it is away.
    """
    record, project = place.record, wanted.project
    there: Mapping[IndexId, InIndex] = {}
    hidden: Collection[FileName] = ()
    if record.type != MIRROR:
        async with resources.engine.connect() as connection:
            there = await in_indexes(connection, view.ids, project)
            hidden = await held_names(connection, record.id, project) if record.id in there else ()
    shown = members_showing(view.order, project, {index_id: found.standing for index_id, found in there.items()})
    holders = [member for member in shown if member.id in there and there[member.id].standing.holds]
    mirrors, now = [member for member in shown if member.type == MIRROR], resources.clock.now()
    mirrored = await mirrored_parts(mirroring, record, mirrors, project, now)
    if not holders and not mirrored.parts:
        if mirrored.away:
            raise unavailable(mirrored.away)
        return _lasting(no_project(limits, place, project), mirrored.until, now)
    # Also of members that removed it, or show nothing of it: the sum is not to fall when one of them does.
    serial = mirrored.serial + sum(found.serial for found in there.values())
    parts = [*await _parts(resources, limits, record, wanted, _pages(holders, there)), *mirrored.parts]
    if not parts:
        return empty_page(limits, place, project, serial)
    weight = sum(len(part.document) for part in parts)
    body = await sized(weight, merged_document, record.name, project, serial, parts, hidden)
    if mirrored.parts or any(part.index != record.name for part in parts):
        body = await sized(weight, with_provenance, body, index_url(resources.settings, record.name))
    document = _lasting(page_of_signed(place, project, serial, body, mirrored.stale_since), mirrored.until, now)
    document.upstreams = mirrored.upstreams
    if hidden or len(parts) < len(holders) + len(mirrored.parts):
        # What is held may be removed, and what is registered given up, without a publication that tells.
        absent_until = time.monotonic() + limits.absent_seconds
        document.until = min(document.until or absent_until, absent_until)
    return document


def _lasting(document: Document, until: datetime | None, now: datetime) -> Document:
    """Return a document that is put together again at some moment, if it is not anyway before."""
    if until is not None:
        moment = time.monotonic() + max(0.0, (until - now).total_seconds())
        document.until = moment if document.until is None else min(moment, document.until)
    return document


def _pages(holders: Sequence[IndexRecord], there: Mapping[IndexId, InIndex]) -> list[tuple[IndexRecord, PageRef]]:
    """Return the holders that ever published the project, with its current page."""
    pages = ((member, there[member.id].page) for member in holders)
    return [(member, page) for member, page in pages if page is not None]


async def _parts(
    resources: Resources,
    limits: Limits,
    record: IndexRecord,
    wanted: PageWanted,
    pages: Sequence[tuple[IndexRecord, PageRef]],
) -> list[Part]:
    """Read the members' page documents, each from where its index keeps them.

    Raises:
        ServiceError: UNAVAILABLE.
    """
    if not pages:
        return []
    if sum(page.length for _, page in pages) > limits.document:
        detail = f"The page of {wanted.project} in {record.name} and its bases is larger than {limits.document} bytes."
        raise ServiceError(ErrorKind.UNAVAILABLE, detail)
    places = asyncio.Semaphore(_AT_ONCE)

    async def read(member: IndexRecord, page: PageRef) -> Part:
        async with places:
            store = resources.objects.side(public=member.public)
            key = target_key(member.name, page_target(wanted.project), page.sha256)
            return Part(member.name, await load_checked(store, key, page.sha256, limits.document))

    return list(await asyncio.gather(*(read(member, page) for member, page in pages)))
