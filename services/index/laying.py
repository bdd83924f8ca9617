"""Lays the static tree of an index, pages and documents about attestations: what readers of the bare bucket or folder
see.

The static tree follows the head and never leads. Any number of processes may lay at the same time, be killed, or wake
up late: a page is replaced only on condition that the one there is the one that was looked at and is not newer, and an
index counts as laid only when all its pages are.
Source: architecture sections 5, 6 and 11.2.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Generator, Iterator

import structlog

from countermark.core.names import page_target, parse_project_name
from services.index.laying_attested import AttestedLayer
from services.index.lists import ProjectLists
from services.index.replacing import TRIES, condition_of, lying_at
from services.index.settings import Limits
from shared.catalogue.heads import PageRef
from shared.catalogue.reading import laid_state, mark_laid, pages_since
from shared.catalogue.unit_of_work import UnitOfWork
from shared.faults import FaultPoint, reached
from shared.formats.python.html import project_list_html
from shared.formats.python.pages import project_list_json, static_link
from shared.formats.python.static import static_pages
from shared.ids import IndexId
from shared.objects.interface import (
    Key,
    ObjectExists,
    ObjectStore,
    ObjectStoreError,
    PreconditionFailed,
)
from shared.objects.keys import static_page_key, target_key
from shared.reading.loading import load_checked
from shared.resources import Resources

log = structlog.get_logger()

_SERIALS = {
    "json": re.compile(rb'\A\{"meta":\{[^{}]{0,300}?"_last-serial":([0-9]{1,18})[,}]'),
    "html": re.compile(rb"<!--SERIAL ([0-9]{1,18})-->\s*\Z"),
}
"""Where a static page says of which serial it is, by extension; both renderers write it (`shared.formats.python`)."""


async def lay(
    resources: Resources, limits: Limits, index_id: IndexId, *, full: bool = False, lists: ProjectLists | None = None
) -> int:
    """Bring the static pages of an index up to its head; returns how many projects' pages were looked at.

    A head that comes meanwhile has a job of its own.

    Args:
        full: lay all pages, not only those that changed since the last time: for a rebuild.
        lists: what this process knows of the projects of indexes; nothing when it is None.

    Raises:
        ExceptionGroup: pages could not be laid: a signed document is missing or damaged, or the store failed.
        ObjectStoreError: the lists could not be laid.
    """
    async with resources.engine.connect() as connection:
        state = await laid_state(connection, index_id)
        if state is None or state.serial == 0 or (state.laid >= state.serial and not full):
            return 0
        due = await pages_since(connection, index_id, -1 if full else state.laid)
        projects = await (lists or ProjectLists()).current(connection, index_id, state.serial)
    store = resources.objects.side(public=state.public)
    rest, attested = iter(due), AttestedLayer(resources.engine, store, index_id, state.name)
    since = None if full else state.laid
    async with asyncio.TaskGroup() as group:
        for _ in range(min(limits.laid_at_once, len(due))):
            group.create_task(_lay_pages(store, limits, attested, rest, since))
    for extension, render in (("json", project_list_json), ("html", project_list_html)):
        body = await asyncio.to_thread(render, state.serial, projects)
        await _lay(store, limits, static_page_key(state.name, None, extension), body)
    reached(FaultPoint.LAY_LISTS)
    async with UnitOfWork(resources.engine) as work:
        await mark_laid(work.connection, index_id, state.serial)
        await work.commit()
    log.info("pages_laid", index=str(state.name), serial=state.serial, projects=len(due), full=full)
    return len(due)


async def _lay_pages(
    store: ObjectStore, limits: Limits, attested: AttestedLayer, pages: Iterator[PageRef], since: int | None
) -> None:
    """Lay one page after the other of those that other tasks have not taken yet, and what is attested of its files."""
    name = attested.index
    for page in pages:
        project = parse_project_name(page.project)
        key = target_key(name, page_target(project), page.sha256)
        document = await load_checked(store, key, page.sha256, limits.document)
        forms = await _in_steps(static_pages(document, static_link))
        for extension, body in zip(("json", "html"), forms, strict=True):
            await _lay(store, limits, static_page_key(name, project, extension), body)
        await attested.lay(project, since=since)
        reached(FaultPoint.LAY_PAGE)


async def _in_steps(steps: Generator[None, None, tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """Run a generator to its end in threads, and this loop in between: one long run would keep it from its turn."""

    def step() -> tuple[bytes, bytes] | None:
        try:
            next(steps)
        except StopIteration as end:
            made: tuple[bytes, bytes] = end.value
            return made
        return None

    while (made := await asyncio.to_thread(step)) is None:
        pass
    return made


async def _lay(store: ObjectStore, limits: Limits, key: Key, body: bytes) -> None:
    """Put a static page unless the one there is newer, or the same."""
    for _ in range(TRIES):
        found = await lying_at(store, key, limits.document)
        if found is not None and (found.body == body or serial_in(key, found.body) > serial_in(key, body)):
            return
        try:
            await store.put(key, body, condition_of(found))
        except (ObjectExists, PreconditionFailed):
            continue
        return
    raise ObjectStoreError(f"{key} is replaced again and again by other processes")


def serial_in(key: Key, body: bytes) -> int:
    """Return the serial a static page says it is of, -1 when it does not say: such a page is never in the way."""
    match = _SERIALS[key.rpartition(".")[2]].search(body)
    return -1 if match is None else int(match[1])
