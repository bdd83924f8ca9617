"""Lays the signed tree of an index again, from the catalogue alone: metadata as they were signed, targets rendered
anew.

Nothing is signed here. Every rendered target is compared with what the signed bins say of it; one that differs is
reported and not written, since no client would take it. Source: architecture section 5.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from countermark.core.digest import sha256_of
from countermark.core.names import TargetPath
from services.signing.ceremonies.trust_targets import targets_of
from services.signing.publication import tree
from services.signing.publication.auditing import shown_head
from services.signing.publication.signatures import SignedFile
from services.signing.upkeep.checking import PROJECTS_AT_ONCE, rendered_targets, signed_digests
from shared.catalogue import publications, trust
from shared.ids import IndexId
from shared.objects.interface import Put
from shared.resources import Resources
from shared.trust.roles import Role

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild wrote, and the targets that could not be rendered as they were signed."""

    index: str
    metadata_files: int
    targets: int
    differing: tuple[TargetPath, ...]


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
    written, differing = 0, []
    # Once more than there are parts: an index without a project has a head of the audit as well.
    for start in range(0, len(projects) + 1, PROJECTS_AT_ONCE):
        async with resources.engine.connect() as connection:
            part = await rendered_targets(connection, index, dict(projects[start : start + PROJECTS_AT_ONCE]))
        rendered, notes = notes | part, {}
        good = {path: content for path, content in rendered.items() if signed.get(path) == sha256_of(content)}
        differing += [path for path in rendered if path not in good]
        await tree.put_targets(store, index.name, good, Put.REPLACE)
        await tree.put_plain(store, index.name, good, ())
        written += len(good)
    await tree.put_timestamp(store, index.name, timestamp)
    for path in differing:
        log.error("rebuild_differs", index=str(index.name), target=path)
    return Rebuilt(str(index.name), len(files), written, tuple(differing))
