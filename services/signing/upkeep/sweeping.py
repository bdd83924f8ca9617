"""Brings an index's tree back to what its head names: puts what the store lacks, removes metadata that no head named.

Nothing is signed here: metadata come from the catalogue's rows, targets are rendered anew and put only when they are
what the bins say. Whether something is missing is seen by its name and length; damage of the same length is found by
readers, which check digests, and mended by `rebuild`.
A file is put before the row that makes it current is committed, and no row is current again: so rows that are read
before the store is listed are never ahead of it, and no lease is needed.
Source: trust contract section 2.6 (a sweeper re-puts files of head that the store lacks).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from countermark.core.digest import Sha256, sha256_of
from countermark.core.names import IndexName, TargetPath
from services.signing.ceremonies.trust_targets import targets_of
from services.signing.publication import tree
from services.signing.publication.auditing import shown_head
from services.signing.upkeep.checking import kept_summaries, rendered_targets
from services.signing.upkeep.retention import ORPHANED_AFTER
from shared.catalogue import publications, tidying, trust
from shared.catalogue.publication_rows import HeadState, IndexFacts
from shared.objects.interface import Key, ObjectInfo, ObjectStore, Put
from shared.objects.keys import index_prefix, metadata_key, target_key, timestamp_key
from shared.outside_address import index_url
from shared.resources import Resources
from shared.trust.metadata import read_bin
from shared.trust.roles import SHARED, Role

log = structlog.get_logger()

TARGETS_LOOKED_FOR = 5000
"""Targets that one run looks for in the store, or one bin's when that has more."""

_ORPHANS = 2000
"""Metadata files that no head named and that one run removes at the most."""

_PART = 200
"""Files looked up, or put, at a time."""

_NUMBERED = re.compile(r"(?P<version>[1-9][0-9]{0,17})\.(?P<role>[A-Za-z0-9_-]{1,64})\.json\Z")

File = tuple[str, int]
"""Role and version of a metadata file."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What a run found: files it put again, orphans it removed, targets that are missing and cannot be made."""

    metadata: int = 0
    targets: int = 0
    orphans: int = 0
    lost: tuple[TargetPath, ...] = ()


async def sweep(resources: Resources, index: IndexFacts) -> Swept:
    """Put again what the store lacks of an index's head, and remove old metadata that no head ever named.

    Raises:
        ObjectStoreError: the store cannot be used; the next run begins anew.
    """
    async with resources.engine.connect() as connection:
        head = await publications.head_state(connection, index.id)
    if head is None:
        return Swept()
    metadata, orphans = await _sweep_metadata(resources, index, head)
    targets, lost = await _sweep_targets(resources, index)
    targets += await _sweep_targets_of_trust(resources, index, head)
    for path in lost:
        hint = "its rows are not what was signed: see 'The published tree' in docs/operating.md"
        log.error("target_lost", index=str(index.name), target=path, hint=hint)
    return Swept(metadata, targets, orphans, tuple(lost))


async def _sweep_metadata(resources: Resources, index: IndexFacts, head: HeadState) -> tuple[int, int]:
    """Compare the metadata folder with the rows; returns how many files were put, and how many orphans removed."""
    store = resources.objects.side(public=index.public)
    async with resources.engine.connect() as connection:
        expected = await tidying.current_lengths(connection, index.id)
        in_use = await trust.trust_files_in_use(connection, head.registry_version)
        roots = [root for root in await trust.roots(connection) if root.version <= head.root_version]
    # A newer root comes with the publication that takes it (`services.signing.publication.roots_to_take`), and not
    # before.
    shared = [*roots, *(file for role, file in in_use.items() if role != Role.ROOT)]
    lengths = expected | {(file.role, file.version): len(file.content) for file in shared}
    orphaned_before = resources.clock.now() - ORPHANED_AFTER
    suspects: list[File] = []
    removed, has_timestamp, prefix = 0, False, f"{index_prefix(index.name)}metadata/"
    async for info in store.list(prefix):
        has_timestamp = has_timestamp or info.key == timestamp_key(index.name)
        file = _file_of(info, prefix)
        if file is None:
            continue
        if lengths.get(file) == info.length:
            del lengths[file]
        elif file not in lengths and removed < _ORPHANS and _may_be_orphan(file, info, head, orphaned_before):
            suspects.append(file)
        if len(suspects) >= _PART:
            removed += await _remove_orphans(resources, index, suspects)
            suspects = []
    removed += await _remove_orphans(resources, index, suspects)
    content = {(file.role, file.version): file.content for file in shared}
    put = await _put_metadata(resources, index, store, list(lengths), content)
    if not has_timestamp:
        async with resources.engine.connect() as connection:
            timestamp = await publications.head_timestamp(connection, index.id)
        put += timestamp is not None and await tree.put_timestamp(store, index.name, timestamp)
    return put, removed


def _file_of(info: ObjectInfo, prefix: str) -> File | None:
    found = _NUMBERED.match(info.key.removeprefix(prefix))
    return None if found is None else (found["role"], int(found["version"]))


def _may_be_orphan(file: File, info: ObjectInfo, head: HeadState, before: datetime) -> bool:
    """Whether a file can be of a batch that never was published: what is newer than the head may yet be."""
    role, version = file
    return role not in SHARED and version < head.timestamp_version and info.modified <= before


async def _remove_orphans(resources: Resources, index: IndexFacts, files: Sequence[File]) -> int:
    if not files:
        return 0
    async with resources.engine.connect() as connection:
        known = await tidying.known_metadata(connection, index.id, files)
    orphans = [file for file in files if file not in known]
    store = resources.objects.side(public=index.public)
    await tree.remove(store, [metadata_key(index.name, role, version) for role, version in orphans])
    return len(orphans)


async def _put_metadata(
    resources: Resources, index: IndexFacts, store: ObjectStore, missing: Sequence[File], shared: Mapping[File, bytes]
) -> int:
    put = 0
    for start in range(0, len(missing), _PART):
        part = missing[start : start + _PART]
        async with resources.engine.connect() as connection:
            online = await tidying.contents(connection, index.id, [file for file in part if file not in shared])
        found = {file: content for file in part if (content := shared.get(file, online.get(file))) is not None}
        await tree.put_objects(
            store, {metadata_key(index.name, *file): content for file, content in found.items()}, Put.REPLACE
        )
        put += len(found)
    return put


async def _sweep_targets(resources: Resources, index: IndexFacts) -> tuple[int, list[TargetPath]]:
    """Look for the targets of some bins, going on where the last run ended; returns how many were put, and those that
    are lost."""
    store, looked_for = resources.objects.side(public=index.public), 0
    missing: dict[TargetPath, Sha256] = {}
    async with resources.engine.connect() as connection:
        begin = await tidying.next_bin(connection, index.id)
        names = sorted(await publications.current_files(connection, index.id))
    rest = [name for name in names if name >= begin]
    while rest and looked_for < TARGETS_LOOKED_FOR:
        part, rest = rest[:16], rest[16:]
        async with resources.engine.connect() as connection:
            contents = await publications.current_contents(connection, index.id, part)
        for content in contents.values():
            entries = read_bin(content)
            looked_for += len(entries)
            wanted = {TargetPath(path): _described(entry) for path, entry in entries.items()}
            missing |= await _missing(store, index.name, wanted)
    put, lost = await _put_targets(resources, index, missing)
    async with resources.engine.begin() as connection:
        # What was published again meanwhile could not be made as it was before, and need not be.
        now = await tidying.newest_digests(connection, index.id, lost)
        await tidying.note_bin(connection, index.id, rest[0] if rest else "")
    return put, [path for path in lost if now.get(path, missing[path]) == missing[path]]


async def _sweep_targets_of_trust(resources: Resources, index: IndexFacts, head: HeadState) -> int:
    """Put what key holders signed in the trust role where the store lacks it; returns how many."""
    store = resources.objects.side(public=index.public)
    async with resources.engine.connect() as connection:
        in_use = await trust.trust_files_in_use(connection, head.registry_version)
        signed = await targets_of(connection, in_use["trust"].content)
    keys = {path: target_key(index.name, path, sha256_of(content)) for path, content in signed.items()}
    lengths = await tree.lengths(store, {key: path for path, key in keys.items()})
    lacking = {path: content for path, content in signed.items() if lengths.get(keys[path]) != len(content)}
    await tree.put_targets(store, index.name, lacking, Put.REPLACE)
    return len(lacking)


def _described(entry: Mapping[str, Any]) -> tuple[Sha256, int]:
    return Sha256(entry["hashes"]["sha256"]), int(entry["length"])


async def _missing(
    store: ObjectStore, index: IndexName, wanted: Mapping[TargetPath, tuple[Sha256, int]]
) -> dict[TargetPath, Sha256]:
    keys: dict[Key, TargetPath] = {target_key(index, path, digest): path for path, (digest, _) in wanted.items()}
    lengths = await tree.lengths(store, keys)
    return {path: wanted[path][0] for key, path in keys.items() if lengths.get(key) != wanted[path][1]}


async def _put_targets(
    resources: Resources, index: IndexFacts, missing: Mapping[TargetPath, Sha256]
) -> tuple[int, list[TargetPath]]:
    put, paths = 0, sorted(missing)
    lost = []
    for start in range(0, len(paths), _PART):
        part = paths[start : start + _PART]
        async with resources.engine.connect() as connection:
            projects = await tidying.shown_projects(connection, index.id, {path.split("/")[1] for path in part})
            address = index_url(resources.settings, index.name)
            rendered = await rendered_targets(connection, index, projects, address)
            rendered |= await shown_head(connection, index)
            rendered |= await kept_summaries(connection, {path: missing[path] for path in part})
        good = {path: rendered[path] for path in part if _is(rendered.get(path), missing[path])}
        await tree.put_targets(resources.objects.side(public=index.public), index.name, good, Put.REPLACE)
        put += len(good)
        lost += [path for path in part if path not in good]
    return put, lost


def _is(content: bytes | None, digest: Sha256) -> bool:
    return content is not None and sha256_of(content) == digest
