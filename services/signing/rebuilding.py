"""Lays the signed tree of an index again, from the catalogue alone: metadata as they were signed, targets rendered
anew.

Nothing is signed here. Every rendered target is compared with what the signed bins say of it; one that differs is
reported and not written, since no client would take it. Source: architecture section 5.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from tuf.api.metadata import Metadata, Targets

from countermark.core.digest import sha256_of
from countermark.core.names import TargetPath
from services.signing import rules, tree
from services.signing.signatures import SignedFile
from shared.catalogue import publications, trust
from shared.catalogue.publication_rows import IndexFacts
from shared.formats.registry import FORMATS
from shared.ids import IndexId, ProjectId
from shared.objects.interface import Put
from shared.resources import Resources

log = structlog.get_logger()

_PROJECTS_AT_ONCE = 200
"""Projects whose files are read with one query."""


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
        shared = [*await trust.roots(connection), *in_use.values()]
        online = await publications.all_current_files(connection, index_id)
        projects = await publications.visible_projects(connection, index_id)
    store = resources.objects.side(public=index.public)
    files = [SignedFile(file.role, file.version, file.expires_at, file.content) for file in shared]
    files += [SignedFile(file.role, file.version, file.expires_at, file.content) for file in online]
    await tree.put_metadata(store, index.name, files, Put.REPLACE)
    signed = _signed_digests(files)
    written, differing = 0, []
    for start in range(0, len(projects), _PROJECTS_AT_ONCE):
        rendered = await render(resources, index, dict(projects[start : start + _PROJECTS_AT_ONCE]))
        good = {path: content for path, content in rendered.items() if signed.get(path) == sha256_of(content)}
        differing += [path for path in rendered if path not in good]
        await tree.put_targets(store, index.name, good, Put.REPLACE)
        await tree.put_plain(store, index.name, good, ())
        written += len(good)
    await tree.put_timestamp(store, index.name, timestamp)
    for path in differing:
        log.error("rebuild_differs", index=str(index.name), target=path)
    return Rebuilt(str(index.name), len(files), written, tuple(differing))


def _signed_digests(files: list[SignedFile]) -> dict[str, str]:
    """Return what the bins say: target path -> sha256."""
    digests: dict[str, str] = {}
    contents = {file.content for file in files if file.role not in {"root", "targets", "trust", "registry", "snapshot"}}
    for content in contents:
        targets = Metadata[Targets].from_bytes(content).signed.targets
        digests |= {path: target.hashes["sha256"] for path, target in targets.items()}
    return digests


async def render(resources: Resources, index: IndexFacts, serials: Mapping[ProjectId, int]) -> dict[TargetPath, bytes]:
    """Render the current targets of some projects, each as of the serial of its current page."""
    async with resources.engine.connect() as connection:
        states = await publications.project_states(connection, list(serials))
        files = await publications.file_states(connection, list(serials), ())
    targets: dict[TargetPath, bytes] = {}
    for state in states:
        mine = [file for file in files if file.project_id == state.id]
        plan = rules.plan_project(index.name, serials[state.id], state, mine, over=index.is_over(state))
        targets |= FORMATS[state.format].render(plan.page, {file.file_name for file in mine})
    return targets
