"""From what waits to what is signed: changed files of the touched projects are read and their bytes checked, pointers
and page documents rendered. What a project lists is kept from batch to batch, so the cost is that of what changes.

Source: architecture sections 5.6 and 11.2.
"""

from __future__ import annotations

import asyncio

import structlog

from countermark.core.names import TargetPath, page_target
from services.signing.publication import rules, tree
from services.signing.publication.approving import unapproved
from services.signing.publication.batch import Batch, Rendered
from services.signing.publication.contradictions import contradiction
from services.signing.publication.listings import ListingCache
from services.signing.publication.rules import ProjectPlan
from services.signing.publication.verified import VerifiedFiles
from shared.catalogue import publications
from shared.catalogue.publication_rows import FileState, ProjectState
from shared.formats.interface import Listing
from shared.formats.registry import FORMATS
from shared.ids import FileId, OutboxId, ProjectId
from shared.resources import Resources

log = structlog.get_logger()

_INLINE = 200
"""Files, listed or looked at, up to which a batch is rendered on the event loop (about a millisecond); more go to a
thread."""

Work = list[tuple[ProjectState, list[FileState], Listing]]
"""Touched projects with their files that are looked at, and the listing before this batch."""


class Renderer:
    """Renders batches; remembers what projects list, and which bytes were found right until they are published."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._listings = ListingCache()
        self._verified = VerifiedFiles()

    async def render(self, batch: Batch) -> Rendered:
        """Check the new files' bytes and render what the batch signs.

        Raises:
            ObjectStoreError: the store cannot be read.
        """
        projects = {w.message.project_id for w in batch.waiting if w.message.project_id is not None}
        if not projects:
            return Rendered([], {}, {}, [], {}, {})
        work, refused = await self._read(batch, projects)
        if sum(len(files) + len(listing) for _, files, listing in work) > _INLINE:
            return await asyncio.to_thread(_render, batch, work, refused)
        return _render(batch, work, refused)

    def keep(self, batch: Batch, rendered: Rendered) -> None:
        """Remember what the projects of a batch list, now that it is committed."""
        for plan in rendered.plans:
            self._verified.forget(plan.added, public=batch.index.public)
            page = rendered.entries[page_target(plan.project.name)]
            self._listings.keep(plan.project, page.sha256, rendered.listings[plan.project.id])

    async def _read(self, batch: Batch, projects: set[ProjectId]) -> tuple[Work, dict[OutboxId, str]]:
        """Read the touched projects, and of their files those that may change and those not known here."""
        asked: dict[FileId, list[OutboxId]] = {}
        for waiting in batch.waiting:
            if waiting.message.file_id is not None:
                asked.setdefault(waiting.message.file_id, []).append(waiting.id)
        async with self._resources.engine.connect() as connection:
            states = await publications.project_states(connection, projects)
            versions = {state.id: rules.asked_releases(batch.requests_for(state.id)) for state in states}
            over = {state.id for state in states if batch.index.is_over(state)}
            known = {state.id: listing for state in states if (listing := self._listings.take(state)) is not None}
            # What a life of the index that has ended shows is read whole: all of it goes.
            known = {project: listing for project, listing in known.items() if project not in over}
            known = {project: listing for project, listing in known.items() if versions[project] is not None}
            releases = [(project, version) for project in known for version in versions[project] or ()]
            files = await publications.changed_files(connection, list(known), list(asked), releases)
            others = projects - known.keys()
            whole = {state.id for state in states if versions[state.id] is None}
            files += await publications.file_states(connection, others, list(asked), whole)
            kept_back = await unapproved(connection, batch.index, states, files, asked)
        # Files that arrived while their index was deleted are never shown, and need no look at their bytes.
        files = [file for file in files if file.project_id not in over or file.published]
        good, refused = await self._checked(batch, [file for file in files if file.id not in kept_back], asked)
        for file_id, fault in kept_back.items():
            refused |= dict.fromkeys(asked.get(file_id, ()), fault)
        by_project: dict[ProjectId, list[FileState]] = {}
        for file in good:
            by_project.setdefault(file.project_id, []).append(file)
        return [
            (state, by_project.get(state.id, []), known.get(state.id) or FORMATS[state.format].listing())
            for state in states
            # A later life may have a project of the same name, whose page this must not replace.
            if state.id not in over or state.id in by_project
        ], refused

    async def _checked(
        self, batch: Batch, files: list[FileState], asked: dict[FileId, list[OutboxId]]
    ) -> tuple[list[FileState], dict[OutboxId, str]]:
        """Return the files without those whose bytes or names contradict the catalogue, and why those are refused."""
        public = batch.index.public
        new = [
            file
            for file in files
            if not file.published and rules.is_visible(file) and not self._verified.has(file, public=public)
        ]
        found = await tree.faults_in_bytes(
            self._resources.objects.side(public=public), new, lambda file: self._verified.add(file, public=public)
        )
        coming = (file for file in files if not file.published and rules.is_visible(file))
        found |= {file.id: fault for file in coming if (fault := contradiction(file)) is not None}
        refused: dict[OutboxId, str] = {}
        for file_id, fault in found.items():
            log.error("file_refused_by_signing", file_id=str(file_id), index=str(batch.index.name), fault=fault)
            refused |= dict.fromkeys(asked.get(file_id, ()), fault)
        return [file for file in files if file.id not in found], refused


def _render(batch: Batch, work: Work, refused: dict[OutboxId, str]) -> Rendered:
    plans: list[ProjectPlan] = []
    targets: dict[TargetPath, bytes] = {}
    unset: list[TargetPath] = []
    arrived = {waiting.message.file_id for waiting in batch.waiting if waiting.message.file_id is not None}
    for state, files, listing in work:
        plan = rules.plan_project(
            batch.index.name,
            batch.serial,
            state,
            files,
            batch.requests_for(state.id),
            arrived=arrived,
            over=batch.index.is_over(state),
        )
        for file in plan.dropped:
            listing.drop(file.file_name)
        for listed in plan.page.files:
            listing.set(listed)
        targets |= listing.render(plan.page, {file.file_name for file in plan.added})
        unset += plan.unset(listing)
        plans.append(plan)
    entries = {path: rules.entry_of(path, content) for path, content in targets.items()}
    listings = {state.id: listing for state, _, listing in work}
    return Rendered(plans, targets, entries, unset, listings, refused)
