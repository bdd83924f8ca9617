"""What was signed of files that are visible already: their rows are compared with it before anything of their project
is signed anew.

A row that somebody changed in the catalogue, or added there, would else get its signature with the next publication of
the project. Marks of a published file may change, and what is attested of it; nothing else ever does. What was signed
is what this process signed last, or the page document by the digest that its bin states; and bins are verified.
Source: trust contract sections 2.6 and 6 (row 17); ADR 0040.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.digest import Sha256, sha256_of
from countermark.core.names import TargetPath, page_target, pointer_target
from services.signing.publication import rules, tree
from services.signing.publication.approving import pointer_bytes
from services.signing.publication.batch import Batch
from services.signing.publication.bins import bins_of, read_signed_bins
from services.signing.publication.contradictions import contradiction
from shared.catalogue.publication_rows import FileState, IndexFacts, ProjectState
from shared.formats.interface import Listing
from shared.formats.python.pages import changed_facts
from shared.objects.interface import ObjectStore

_AT_ONCE = 8
"""Page documents read at the same time."""


@dataclass(frozen=True, slots=True)
class Known:
    """What was signed of a project.

    Attributes:
        page: its signed page document, where this process does not know what it lists.
        pointers: digests of signed pointers: of files that get another one, and of all where the store has no page.
        fault: why it cannot be told what was signed.
    """

    page: bytes | None = None
    pointers: Mapping[TargetPath, Sha256] = field(default_factory=dict)
    fault: str | None = None


async def signed_before(
    connection: AsyncConnection,
    store: ObjectStore,
    batch: Batch,
    work: Iterable[tuple[ProjectState, Sequence[FileState], Listing | None]],
) -> dict[str, Known]:
    """Return what was signed of the projects of which visible files are looked at, by name.

    Args:
        work: projects with their files, and what this process knows that they list.

    Raises:
        BinDamaged: a bin is not what was signed.
        ObjectStoreError: the store cannot be read.
    """
    looked_at = [(state, _staying(state, files), listing) for state, files, listing in work]
    asked = {
        state.name: (state, files, listing is None)
        for state, files, listing in looked_at
        if files and (listing is None or any(file.repointed for file in files))
    }
    if not asked:
        return {}
    pages = await _pages(store, batch.index, [state for state, _, unknown in asked.values() if unknown])
    paths: list[TargetPath] = []
    for state, files, unknown in asked.values():
        paths += [page_target(state.name)] if unknown else []
        lost = unknown and pages[state.name] is None
        paths += [pointer_target(state.name, file.file_name) for file in files if lost or file.repointed]
    signed = await _signed(connection, batch, paths)
    return {
        state.name: _known(state, pages.get(state.name) if unknown else None, signed, unknown=unknown)
        for state, _, unknown in asked.values()
    }


def tampered(
    index: IndexFacts, project: ProjectState, files: Sequence[FileState], listing: Listing, known: Known | None
) -> str | None:
    """Return what is wrong with the rows of a project's visible files, as one sentence; None when nothing is.

    Args:
        listing: what this process knows that the project lists; nothing when `known` has the page.
    """
    staying = _staying(project, files)
    if not staying:
        return None
    known = known or Known()
    if known.fault is not None:
        return known.fault
    listed = None if known.page is None else {one["filename"]: one for one in orjson.loads(known.page)["files"]}
    for file in staying:
        path = pointer_target(project.name, file.file_name)
        if path in known.pointers:
            pointer = sha256_of(pointer_bytes(index, project.name, file.as_signed()))
            keys = [] if known.pointers[path] == pointer else ["pointer"]
        else:
            keys = []
        if listed is not None or path not in known.pointers or len(listing):
            entry: Any = listing.entry(file.file_name) if listed is None else listed.get(file.file_name)
            keys += ["it is not listed"] if entry is None else changed_facts(entry, rules.page_file(file))
        if keys or contradiction(file) is not None:
            said = ", ".join(keys) or "version"
            return (
                f"the catalogue's row of {file.file_name} is not what was published ({said}): nothing of "
                f"{project.name} is signed before that is repaired"
            )
    return None


def _staying(project: ProjectState, files: Iterable[FileState]) -> list[FileState]:
    """Return the visible files that stay so."""
    if project.status == rules.QUARANTINED:
        return []
    return [file for file in files if file.published and rules.is_visible(file)]


def _known(project: ProjectState, page: bytes | None, signed: Mapping[TargetPath, Sha256], *, unknown: bool) -> Known:
    if unknown and signed.get(page_target(project.name)) != project.page_sha256:
        return Known(
            fault=f"the page document of {project.name} that the catalogue names is not the one that is signed"
        )
    prefix = page_target(project.name).rpartition("/")[0] + "/"
    mine = {path: digest for path, digest in signed.items() if path.startswith(prefix)}
    return Known(page, mine)


async def _pages(store: ObjectStore, index: IndexFacts, projects: Sequence[ProjectState]) -> dict[str, bytes | None]:
    """Read page documents by the digests that the catalogue names; None for one that the store does not have so."""
    places = asyncio.Semaphore(_AT_ONCE)

    async def read(project: ProjectState) -> tuple[str, bytes | None]:
        if project.page_sha256 is None:
            return project.name, None
        async with places:
            found = await tree.read_target(store, index.name, page_target(project.name), project.page_sha256)
        return project.name, found if found is not None and sha256_of(found) == project.page_sha256 else None

    return dict(await asyncio.gather(*map(read, projects)))


async def _signed(connection: AsyncConnection, batch: Batch, paths: Sequence[TargetPath]) -> dict[TargetPath, Sha256]:
    """Return what the current bins say of targets; those that they do not list are left out."""
    registry = batch.shared["registry"].content
    roles, _ = bins_of(registry)
    by_path = {path: roles.get_role_for_target(path) for path in paths}
    names = sorted(set(by_path.values()) & batch.bins.keys())
    entries = await read_signed_bins(connection, batch.index.id, names, registry)
    return {
        path: Sha256(entries[name][path]["hashes"]["sha256"])
        for path, name in by_path.items()
        if path in entries.get(name, ())
    }
