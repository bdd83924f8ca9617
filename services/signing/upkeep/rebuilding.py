"""Lays the signed tree of an index again, from the catalogue alone: metadata as they were signed, targets rendered
anew.

Nothing is signed here. Every rendered target is compared with what the signed bins say of it; one that differs is
reported and not written, since no client would take it. But a page that differs in the addresses of provenance objects
alone, because the setting `outside_url` was changed, is asked to be published again.
Source: architecture sections 5.3 and 11.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import orjson
import structlog

from countermark.core.digest import Sha256, sha256_of
from countermark.core.names import IndexName, TargetPath, page_target
from services.signing.ceremonies.trust_targets import targets_of
from services.signing.publication import tree
from services.signing.publication.auditing import shown_head
from services.signing.publication.signatures import SignedFile
from services.signing.publication.summaries import is_summary
from services.signing.upkeep.checking import PROJECTS_AT_ONCE, kept_summaries, rendered_targets, signed_digests
from shared.catalogue import publications, trust
from shared.catalogue.publication_rows import IndexFacts
from shared.catalogue.unit_of_work import UnitOfWork
from shared.ids import IndexId, ProjectId
from shared.jobs.messages import PublishIndex
from shared.objects.interface import ObjectStore, Put
from shared.outside_address import index_url
from shared.resources import Resources
from shared.trust.roles import Role

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild wrote, the targets that could not be rendered as they were signed, and how many pages are
    published again because their addresses changed."""

    index: str
    metadata_files: int
    targets: int
    differing: tuple[TargetPath, ...]
    again: int = 0


async def rebuild(resources: Resources, index_id: IndexId) -> Rebuilt | None:
    """Write metadata, targets and their plain copies of an index again; None when it was never published.

    Clients are not disturbed: every name gets the bytes it had, and the timestamp comes last.

    Raises:
        ObjectStoreError: the store cannot be used.
    """
    async with resources.engine.connect() as connection:
        index = await publications.index_facts(connection, index_id)
        timestamp = await publications.head_timestamp(connection, index_id)
        head = await publications.head_state(connection, index_id)
        if index is None or timestamp is None or head is None:
            return None
        in_use = await trust.trust_files_in_use(connection, head.registry_version)
        # A newer root comes with the publication that takes it.
        roots = [root for root in await trust.roots(connection) if root.version <= head.root_version]
        shared = [*roots, *(file for role, file in in_use.items() if role != Role.ROOT)]
        of_trust = await targets_of(connection, in_use["trust"].content)
        online = await publications.all_current_files(connection, index_id)
        projects = await publications.visible_projects(connection, index_id)
        notes = await shown_head(connection, index)
    store = resources.objects.side(public=index.public)
    files = [SignedFile(file.role, file.version, file.expires_at, file.content) for file in shared]
    files += [SignedFile(file.role, file.version, file.expires_at, file.content) for file in online]
    await tree.put_targets(store, index.name, of_trust, Put.REPLACE)
    await tree.put_metadata(store, index.name, files, Put.REPLACE)
    signed = signed_digests(file.content for file in online if file.role != "snapshot")
    address, moved = index_url(resources.settings, index.name), dict[TargetPath, ProjectId]()
    written, differing = 0, []
    # Once more than there are parts: an index without a project has a head of the audit as well.
    for start in range(0, len(projects) + 1, PROJECTS_AT_ONCE):
        async with resources.engine.connect() as connection:
            some = dict(projects[start : start + PROJECTS_AT_ONCE])
            part = await rendered_targets(connection, index, some, address)
            states = await publications.project_states(connection, list(some))
        rendered, notes = notes | part, {}
        good = {path: content for path, content in rendered.items() if signed.get(path) == sha256_of(content)}
        of_pages = {page_target(state.name): state.id for state in states}
        for path in rendered.keys() - good.keys():
            was = await _read(store, index.name, path, signed.get(path)) if path in of_pages else None
            if was is not None and _plain(was) == _plain(rendered[path]):
                moved[path] = of_pages[path]
            else:
                differing.append(path)
        await tree.put_targets(store, index.name, good, Put.REPLACE)
        await tree.put_plain(store, index.name, good, ())
        written += len(good)
    written += await _put_summaries(resources, index, signed)
    await tree.put_timestamp(store, index.name, timestamp)
    for path in differing:
        log.error("rebuild_differs", index=str(index.name), target=path)
    async with UnitOfWork(resources.engine) as work:
        await work.enqueue_all([PublishIndex(index.id, project) for project in moved.values()])
        await work.commit()
    return Rebuilt(str(index.name), len(files), written, tuple(differing), len(moved))


async def _put_summaries(resources: Resources, index: IndexFacts, signed: Mapping[str, str]) -> int:
    """Write the verification summaries again, which are kept as they were signed; returns how many."""
    store, paths, written = resources.objects.side(public=index.public), [*filter(is_summary, signed)], 0
    for start in range(0, len(paths), PROJECTS_AT_ONCE):
        some = {path: signed[path] for path in paths[start : start + PROJECTS_AT_ONCE]}
        async with resources.engine.connect() as connection:
            kept = await kept_summaries(connection, some)
        await tree.put_targets(store, index.name, kept, Put.REPLACE)
        await tree.put_plain(store, index.name, kept, ())
        written += len(kept)
    return written


async def _read(store: ObjectStore, index: IndexName, path: TargetPath, digest: str | None) -> bytes | None:
    """Return a target as it was signed, None when the store does not have it so."""
    found = None if digest is None else await tree.read_target(store, index, path, Sha256(digest))
    return found if found is not None and sha256_of(found) == digest else None


def _plain(page: bytes) -> Mapping[str, object]:
    """Return what a page document says beside the addresses of provenance objects."""
    document: dict[str, object] = orjson.loads(page)
    files: list[dict[str, object]] = document["files"]  # type: ignore[assignment]
    return document | {"files": [{**file, "provenance": None} for file in files]}
