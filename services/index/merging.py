"""Pages and project lists of indexes with bases: put together from what the members published.

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
from collections.abc import Mapping, Sequence

from countermark.core.names import page_target
from services.index.documents import Document
from services.index.rules import PageWanted
from services.index.settings import Limits
from services.index.usecases import empty_page, list_document, no_project, page_of_signed
from shared.auth.directory import IndexRecord
from shared.catalogue.heads import PageRef, newest_pages
from shared.catalogue.merged import InIndex, held_names, in_indexes, quarantined_projects
from shared.errors import ErrorKind, ServiceError
from shared.formats.python.merged import Part, merged_document
from shared.ids import IndexId
from shared.objects.keys import target_key
from shared.reading.access import Place
from shared.reading.loading import load_checked
from shared.reading.merging import ProjectUnion, members_showing
from shared.reading.views import View
from shared.resources import Resources

_AT_ONCE = 8
"""Members' page documents of one page that are read at the same time."""


async def load_merged_page(
    resources: Resources, limits: Limits, place: Place, view: View, wanted: PageWanted
) -> Document:
    """Return a project's page as an index with bases shows it; a document of status 404 when no member has it.

    Raises:
        ServiceError: UNAVAILABLE; a member's document is missing, damaged or cannot be read, or all together are larger
            than is served.
    """
    record, project = place.record, wanted.project
    async with resources.engine.connect() as connection:
        there = await in_indexes(connection, view.ids, project)
        hidden = await held_names(connection, record.id, project) if record.id in there else ()
    shown = members_showing(view.order, project, {index_id: found.standing for index_id, found in there.items()})
    holders = [member for member in shown if member.id in there and there[member.id].standing.holds]
    if not holders:
        return no_project(limits, place, project)
    # Also of members that removed it, or show nothing of it: the sum is not to fall when one of them does.
    serial = sum(found.serial for found in there.values())
    parts = await _parts(resources, limits, record, wanted, _pages(holders, there))
    if not parts:
        return empty_page(limits, place, project, serial)
    body = await asyncio.to_thread(merged_document, record.name, project, serial, parts, hidden)
    document = page_of_signed(place, project, serial, body)
    if hidden or len(parts) < len(holders):
        # What is held may be removed, and what is registered given up, without a publication that tells.
        document.until = time.monotonic() + limits.absent_seconds
    return document


async def load_merged_list(resources: Resources, limits: Limits, place: Place, view: View) -> Document:
    """Return the list of the projects that an index shows together with its bases."""
    serial = view_serial(resources, view)
    begun = time.monotonic()
    union = ProjectUnion()
    async with resources.engine.connect() as connection:
        quarantined = await quarantined_projects(connection, view.ids)
        for member in view.order:
            # One after the other, each as a few fields: the lists of all at once may be large.
            listed = [
                (page.project, page.serial, page.files)
                async for pages in newest_pages(connection, member.id)
                for page in pages
            ]
            await asyncio.to_thread(union.add, listed, quarantined.get(member.id, ()))
    projects = await asyncio.to_thread(union.listed)
    return await list_document(limits, place, serial, projects, begun)


def view_serial(resources: Resources, view: View) -> int:
    """Return the serial of a view as this process knows it: the sum of its members' heads."""
    heads = (resources.heads.get(index_id) for index_id in view.ids)
    return sum(head.serial for head in heads if head is not None)


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
