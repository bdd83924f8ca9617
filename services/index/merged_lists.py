"""Lists of the projects that indexes with bases, or mirrors, show.

A mirror has the list of its upstream, asked for and kept as pages are. Where it has none, the projects count of which
it keeps a page. What of it shows is decided by `shared.reading.listing`, as it is for pages.
Source: architecture sections 5.9, 11.5 and 11.6; contract devpi sections 8, 14 and 15.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.index.documents import Document
from services.index.list_documents import list_document, packed_list
from services.index.mirror_subjects import MirroredList, UpstreamAway
from services.index.mirrored_parts import unavailable
from services.index.mirroring import Mirroring
from services.index.settings import Limits
from shared.auth.directory import IndexRecord
from shared.catalogue.first_published import published_until
from shared.catalogue.heads import newest_pages
from shared.catalogue.merged import quarantined_projects
from shared.catalogue.mirror_listings import kept_projects
from shared.catalogue.mirror_pages import MirrorId
from shared.catalogue.projects import NAMES_AT_ONCE, living_names
from shared.formats.python.packed_lists import Row, joined_rows, pack_rows, unpack_rows
from shared.reading.access import Place
from shared.reading.listing import NameRules, StageNames, united
from shared.reading.merging import ProjectUnion
from shared.reading.mirrored import policies_of
from shared.reading.resolution import MIRROR
from shared.reading.views import View
from shared.resources import Resources

_DOUBTFUL_FOR = timedelta(seconds=30)
"""How long a list is used that is stale, or is not the upstream's: the largest takes a second to put together."""


@dataclass(frozen=True, slots=True)
class _Names:
    """What a mirror lists, packed, and until when it is used."""

    mirror: IndexRecord
    packed: bytes
    serial: int
    until: datetime
    stale_since: datetime | None


async def load_merged_list(
    resources: Resources, limits: Limits, mirroring: Mirroring, place: Place, view: View, at: datetime | None = None
) -> Document:
    """Return the list of the projects that an index shows together with its bases, or that a mirror shows.

    Args:
        at: only those that had a file then, of mirrors as far as pages are kept; None for the list as it is.

    Raises:
        ServiceError: UNAVAILABLE; a mirror was asked of whose upstream no list is kept, and it gives no answer.
    """
    heads, begun = view_serial(resources, view), time.monotonic()
    mirrors = [member for member in view.order if member.type == MIRROR]
    union, stages = ProjectUnion(), StageNames(view.order)
    async with resources.engine.connect() as connection:
        quarantined = await quarantined_projects(connection, view.ids)
        for member in view.order:
            if member.type != MIRROR:
                closed = quarantined.get(member.id, frozenset())
                then = None if at is None else await published_until(connection, member.id, at)
                await _add_stage(connection, member, closed, union, stages if mirrors else None, then)
    rows: Sequence[Row] = await asyncio.to_thread(union.listed)
    if not mirrors:
        return await list_document(limits, place, heads, rows, begun)
    found = await asyncio.gather(*(_names_of(resources, mirroring, place.record, mirror, at) for mirror in mirrors))
    shown = [_shown(place.record, names, stages) for names in found]
    packed = await asyncio.to_thread(lambda: pack_rows(united(rows, shown)))
    stale = [names.stale_since for names in found if names.stale_since is not None]
    serial = heads + sum(names.serial for names in found)
    document = await packed_list(limits, place, serial, min(stale, default=None), packed, begun)
    left = min(names.until for names in found) - resources.clock.now()
    document.heads, document.ends = heads, time.monotonic() + max(0.0, left.total_seconds())
    return document


def view_serial(resources: Resources, view: View) -> int:
    """Return the serial of a view as this process knows it: the sum of its members' heads."""
    heads = (resources.heads.get(index_id) for index_id in view.ids)
    return sum(head.serial for head in heads if head is not None)


async def _add_stage(
    connection: AsyncConnection,
    stage: IndexRecord,
    quarantined: frozenset[str],
    union: ProjectUnion,
    stages: StageNames | None,
    then: Collection[str] | None,
) -> None:
    """Add what a stage lists to a union, and what it holds to what mirrors may not show, where there are any.

    Args:
        then: the projects that count as listed, None for all.
    """
    # Each as a few fields: the lists of all stages at once may be large.
    listed = [
        (page.project, page.serial, page.files) async for pages in newest_pages(connection, stage.id) for page in pages
    ]
    with_files = {name for name, _, files in listed if files}
    # Whose quarantine shows is decided by what the stage lists now.
    closed = quarantined - with_files
    if then is not None:
        listed = [(name, serial, files if name in then else 0) for name, serial, files in listed]
    await asyncio.to_thread(union.add, listed, closed)
    if stages is None:
        return
    await asyncio.to_thread(stages.add, stage.id, with_files, closed)
    after: str | None = None
    while names := await living_names(connection, stage.id, stage.life, after=after):
        stages.add(stage.id, names, closed)
        if len(names) < NAMES_AT_ONCE:
            break
        after = names[-1]


async def _names_of(
    resources: Resources, mirroring: Mirroring, asked: IndexRecord, mirror: IndexRecord, at: datetime | None
) -> _Names:
    """Return what a mirror lists.

    Raises:
        ServiceError: UNAVAILABLE; it was asked itself, and neither has a list nor gets one.
    """
    until = resources.clock.now() + _DOUBTFUL_FOR
    if at is not None:
        return _Names(mirror, await _kept(resources.engine, mirror, at), 0, until, None)
    try:
        listed = await mirroring.projects(mirror)
    except UpstreamAway as error:
        if asked.id == mirror.id:
            raise unavailable([error]) from error
        listed = MirroredList(None, 0, until)
    if listed.packed is None:
        return _Names(mirror, await _kept(resources.engine, mirror), 0, until, None)
    stale = listed.stale_since
    return _Names(mirror, listed.packed, listed.serial, listed.fresh_until if stale is None else until, stale)


async def _kept(engine: AsyncEngine, mirror: IndexRecord, at: datetime | None = None) -> bytes:
    """Return the projects of which a mirror keeps files, packed; with `at` those that had one then."""
    names: list[str] = []
    async with engine.connect() as connection:
        mirror_id = MirrorId(mirror.id, mirror.life)
        while found := await kept_projects(connection, mirror_id, names[-1] if names else "", at):
            names += found
    # As Python sorts: the catalogue's order may be another.
    return (await asyncio.to_thread(lambda: pack_rows((name, None) for name in sorted(names))))[0]


def _shown(asked: IndexRecord, names: _Names, stages: StageNames) -> Iterator[str]:
    """Yield the names that an index shows of a mirror's list. Blocking."""
    rules, mirror = NameRules(policies_of(asked, names.mirror)), names.mirror.id
    for name, _ in joined_rows(unpack_rows(names.packed)):
        if rules.let(name) and stages.leave(mirror, name):
            yield name
