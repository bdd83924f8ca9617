"""From what waits to what is signed: changed files of the touched projects are read and their bytes checked, pointers
and page documents rendered. What a project lists is kept from batch to batch, so the cost is that of what changes.

Source: architecture sections 5.6 and 11.2.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.names import TargetPath, page_target, summary_target
from services.signing.keys.signers import Signers
from services.signing.publication import rules, tree
from services.signing.publication.approved import approved
from services.signing.publication.batch import Batch, Rendered
from services.signing.publication.contradictions import contradiction
from services.signing.publication.judged import Judge
from services.signing.publication.known import Known, signed_before, tampered
from services.signing.publication.listings import ListingCache
from services.signing.publication.rules import ProjectPlan
from services.signing.publication.summaries import is_summary
from services.signing.publication.verified import VerifiedFiles
from shared.catalogue import file_states, publications, tidying
from shared.catalogue.publication_rows import FileState, ProjectState
from shared.formats.interface import Listing
from shared.formats.registry import FORMATS
from shared.ids import FileId, OutboxId, ProjectId
from shared.outside_address import index_url
from shared.resources import Resources
from shared.trust.roles import Role

log = structlog.get_logger()

_INLINE = 200
"""Files, listed or looked at, up to which a batch is rendered on the event loop (about a millisecond); more go to a
thread."""

Work = list[tuple[ProjectState, list[FileState], Listing, Known | None]]
"""Touched projects with their files that are looked at, the listing before this batch, and what else was signed."""


@dataclass(frozen=True, slots=True)
class Context:
    """What is known beside the projects.

    Attributes:
        index_url: what the addresses of provenance objects begin with.
        refused: changes that are not signed, with the reason.
        summaries: verification summaries of files that a policy took.
        stale: signed summaries of files that go, or whose pointers name something else.
    """

    index_url: str | None
    refused: dict[OutboxId, str]
    summaries: Mapping[FileId, bytes]
    stale: Collection[TargetPath]


class Renderer:
    """Renders batches; remembers what projects list, and which bytes were found right until they are published."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._listings = ListingCache()
        self._verified = VerifiedFiles()
        self._judge = Judge(resources)

    async def render(self, batch: Batch, signers: Signers) -> Rendered:
        """Check the new files' bytes and render what the batch signs.

        Args:
            signers: sign the summaries of files that a policy took.

        Raises:
            KeyUnusable: they cannot.
            ObjectStoreError: the store cannot be read.
        """
        projects = {w.message.project_id for w in batch.waiting if w.message.project_id is not None}
        if not projects:
            return Rendered([], {}, {}, [], {}, {})
        work, context = await self._read(batch, projects)
        if context.summaries:
            context = replace(context, summaries=await asyncio.to_thread(_signed, signers, context.summaries))
        if sum(len(files) + len(listing) for _, files, listing, _ in work) > _INLINE:
            return await asyncio.to_thread(_render, batch, work, context)
        return _render(batch, work, context)

    def keep(self, batch: Batch, rendered: Rendered) -> None:
        """Remember what the projects of a batch list, now that it is committed."""
        for plan in rendered.plans:
            self._verified.forget(plan.added, public=batch.index.public)
            page = rendered.entries[page_target(plan.project.name)]
            self._listings.keep(plan.project, page.sha256, rendered.listings[plan.project.id])

    async def _read(self, batch: Batch, projects: set[ProjectId]) -> tuple[Work, Context]:
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
            files = await file_states.changed_files(connection, list(known), list(asked), releases)
            others = projects - known.keys()
            whole = {state.id for state in states if versions[state.id] is None}
            files += await file_states.file_states(connection, others, list(asked), whole)
            said = await approved(connection, batch.index, states, files, asked)
        # Files that arrived while their index was deleted are never shown, and need no look at their bytes.
        files = [file for file in files if file.project_id not in over or file.published]
        files = [said.pinned.get(file.id, file) for file in files if file.id not in said.refused]
        files = [file.as_signed() if file.id in said.kept else file for file in files]
        good, faults, summaries = await self._checked(batch, states, files)
        refused = _refusals(batch, faults | said.refused | said.kept, asked)
        by_project: dict[ProjectId, list[FileState]] = {}
        for file in good:
            by_project.setdefault(file.project_id, []).append(file)
        living = [(one, by_project.get(one.id, []), known.get(one.id)) for one in states if one.id not in over]
        store = self._resources.objects.side(public=batch.index.public)
        async with self._resources.engine.connect() as connection:
            signed = await signed_before(connection, store, batch, living)
            stale = await _summaries_signed(connection, batch, states, good)
        work: Work = [
            (state, files, listing or FORMATS[state.format].listing(), signed.get(state.name) or Known())
            for state, files, listing in living
        ]
        # A later life may have a project of the same name, whose page this must not replace.
        work += [
            (state, by_project[state.id], FORMATS[state.format].listing(), None)
            for state in states
            if state.id in over and state.id in by_project
        ]
        return work, Context(index_url(self._resources.settings, batch.index.name), refused, summaries, stale)

    async def _checked(
        self, batch: Batch, projects: Sequence[ProjectState], files: Sequence[FileState]
    ) -> tuple[list[FileState], dict[FileId, str], dict[FileId, bytes]]:
        """Return the files as they may be signed, and what is wrong with those that may not: bytes or names that
        contradict the catalogue, attestations that do not satisfy the policy of now. Visible ones stay as they are.
        Third come the summaries of those that a policy took."""
        public = batch.index.public
        coming = [file for file in files if not file.published and rules.is_visible(file)]
        new = [file for file in coming if not self._verified.has(file, public=public)]
        found = await tree.faults_in_bytes(
            self._resources.objects.side(public=public), new, lambda file: self._verified.add(file, public=public)
        )
        found |= {file.id: fault for file in coming if (fault := contradiction(file)) is not None}
        repointed = [file for file in files if file.repointed and rules.is_visible(file)]
        judged = [file for file in (*coming, *repointed) if file.id not in found]
        said = await self._judge.judge(batch, projects, judged)
        found |= said.faults
        stay = [file.as_signed() if file.id in found else file for file in files]
        return [file for file in stay if file.published or file.id not in found], found, said.summaries


def _signed(signers: Signers, summaries: Mapping[FileId, bytes]) -> dict[FileId, bytes]:
    return {file_id: signers.attest(Role.BINS, statement) for file_id, statement in summaries.items()}


def _refusals(
    batch: Batch, faults: Mapping[FileId, str], asked: Mapping[FileId, Sequence[OutboxId]]
) -> dict[OutboxId, str]:
    """Return the changes that are not signed, with the reason."""
    refused: dict[OutboxId, str] = {}
    for file_id, fault in faults.items():
        jobs = asked.get(file_id, ())
        if jobs:
            log.error("file_refused_by_signing", file_id=str(file_id), index=str(batch.index.name), fault=fault)
        refused |= dict.fromkeys(jobs, fault)
    return refused


async def _summaries_signed(
    connection: AsyncConnection, batch: Batch, projects: Sequence[ProjectState], files: Sequence[FileState]
) -> set[TargetPath]:
    """Return the summaries that are signed of visible files which this batch may drop, or point elsewhere."""
    names = {project.id: project.name for project in projects}
    whole = {one.id for one in projects if one.status == rules.QUARANTINED or batch.index.is_over(one)}
    going = [
        summary_target(names[file.project_id], file.file_name)
        for file in files
        if file.published and (file.repointed or not rules.is_visible(file) or file.project_id in whole)
    ]
    signed = await tidying.newest_digests(connection, batch.index.id, going) if going else {}
    return {path for path, digest in signed.items() if digest is not None}


def _render(batch: Batch, work: Work, context: Context) -> Rendered:
    refused = context.refused
    plans: list[ProjectPlan] = []
    targets: dict[TargetPath, bytes] = {}
    unset: list[TargetPath] = []
    arrived = {waiting.message.file_id for waiting in batch.waiting if waiting.message.file_id is not None}
    listings: dict[ProjectId, Listing] = {}
    for state, files, listing, known in work:
        fault = None if known is None else tampered(batch.index, state, files, listing, known)
        if fault is not None:
            log.error("project_refused_by_signing", project=state.name, index=str(batch.index.name), fault=fault)
            refused |= {one.id: fault for one in batch.waiting if one.message.project_id == state.id}
            continue
        plan = rules.plan_project(
            batch.index.name,
            batch.serial,
            state,
            files,
            batch.requests_for(state.id),
            arrived=arrived,
            over=batch.index.is_over(state),
            index_url=context.index_url,
        )
        for file in plan.dropped:
            listing.drop(file.file_name)
        for listed in plan.page.files:
            listing.set(listed)
        targets |= listing.render(plan.page, {file.file_name for file in (*plan.added, *plan.repointed)})
        summaries = plan.summaries(context.summaries)
        targets |= summaries
        unset += plan.unset(listing)
        unset += [path for path in plan.former_summaries() if path in context.stale and path not in summaries]
        plans.append(plan)
        listings[state.id] = listing
    entries = {path: rules.entry_of(path, content) for path, content in targets.items()}
    keep = [content for path, content in targets.items() if is_summary(path)]
    return Rendered(plans, targets, entries, unset, listings, refused, keep)
