"""Serves what is attested of hosted files: provenance objects, put together on demand, and the bundles themselves.

Whoever may read a file may read both, and is refused as for the file. A bundle is bytes of a digest; an object changes
when an attestation is added, which is a publication of its project and so drops what memory holds of it.
Source: contract python-index sections 1.8 and 4.1; architecture sections 11.5 and 11.8.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from countermark.core.attestations.bundle import MAX_BUNDLE_BYTES
from countermark.core.digest import Length, sha256_of
from services.download.entries import ABSENT, JSON, OCTETS, PASSING, PROVENANCE, Entry, Refused, Stored, make_entry
from services.download.rules import AttestedAt, FileWanted, Named, refusal
from services.download.settings import Limits
from shared.auth.directory import IndexRecord
from shared.catalogue.attestations import Stored as StoredAttestation
from shared.catalogue.attestations import object_name, of_file
from shared.catalogue.bundles import bundle_at, files_called
from shared.catalogue.mirror_pages import MirrorId
from shared.errors import ErrorKind, ServiceError
from shared.formats.python.names import release_key
from shared.objects.keys import file_key
from shared.reading.access import Place
from shared.reading.answered import known_origins
from shared.reading.attested import other_bundles, provenance_of
from shared.reading.facts import FileFacts
from shared.reading.loading import load_checked
from shared.reading.mirrored import judged_file
from shared.reading.resolution import MIRROR
from shared.resources import Resources


async def hosted_provenance(
    resources: Resources, limits: Limits, place: Place, owner: IndexRecord, facts: FileFacts
) -> Entry | Refused:
    """Return the provenance object of a hosted file that is shown, or that it has none.

    Args:
        owner: the index that the file belongs to.

    Raises:
        ServiceError: UNAVAILABLE; a bundle is missing in the store, damaged, or cannot be read.
    """
    async with resources.engine.connect() as connection:
        rows = await of_file(connection, facts.id)
    store = resources.objects.side(public=owner.public)

    async def read(row: StoredAttestation) -> bytes:
        key = file_key(row.sha256, object_name(facts.file_name))
        return await load_checked(store, key, row.sha256, MAX_BUNDLE_BYTES)

    try:
        body = await provenance_of(rows, read)
    except ValueError as error:
        detail = f"An attestation of {facts.file_name} cannot be shown: {error}."
        raise ServiceError(ErrorKind.UNAVAILABLE, detail) from error
    if body is None:
        return _none(limits, place, facts, f"There is no provenance for {facts.file_name}.")
    return _document(limits, place, owner, (facts, rows), _Made(body, PROVENANCE))


async def hosted_bundle_list(
    resources: Resources, limits: Limits, place: Place, owner: IndexRecord, facts: FileFacts
) -> Entry | Refused:
    """Return the list of the bundles of a hosted file that is shown which are in no provenance object, or that there
    is none.

    Args:
        owner: the index that the file belongs to.
    """
    async with resources.engine.connect() as connection:
        rows = await of_file(connection, facts.id)
    body = other_bundles(rows, facts.file_name)
    if body is None:
        return _none(limits, place, facts, f"No bundle of {facts.file_name} is outside of its provenance object.")
    return _document(limits, place, owner, (facts, rows), _Made(body, JSON))


@dataclass(frozen=True, slots=True)
class _Made:
    """A document that was put together, and its Content-Type."""

    body: bytes
    kind: bytes


def _none(limits: Limits, place: Place, facts: FileFacts, words: str) -> Refused:
    until = time.monotonic() + limits.absent_seconds
    return Refused(ServiceError(ErrorKind.NOT_FOUND, words), place.groups(facts.project), until)


def _document(
    limits: Limits, place: Place, owner: IndexRecord, of: tuple[FileFacts, Sequence[StoredAttestation]], made: _Made
) -> Entry:
    facts, rows = of
    key, digest = file_key(facts.sha256, facts.file_name), sha256_of(made.body)
    modified = max(row.added_at for row in rows)
    stored = Stored(None, key, owner.public, digest, Length(len(made.body)), modified, made.kind, PASSING)
    entry = make_entry(stored, made.body, place.groups(facts.project), open_=place.open)
    # Rows show when they are committed; the publication that follows is what drops this, and may be late.
    entry.until = time.monotonic() + limits.absent_seconds
    return entry


async def address_in_tree(resources: Resources, place: Place, named: AttestedAt) -> FileWanted | None:
    """Return what the tree's name of a document about attestations means in an index, None where it has no such file.

    Of several files of the name, removed ones and another, the one that is shown counts.
    """
    if place.record.type == MIRROR:
        return None
    async with resources.engine.connect() as connection:
        found = await files_called(connection, place.record.id, named.project, named.file_name)
    return named.of(found[0].path_key, found[0].facts.sha256) if found else None


async def bundle_entry(resources: Resources, limits: Limits, place: Place, wanted: FileWanted) -> Entry | Refused:
    """Return the bundle that the `uri` of a pointer means, or why it is not served: as the file that it is about.

    Raises:
        ServiceError: UNAVAILABLE; it is missing in the store, damaged, or cannot be read.
    """
    assert wanted.sha256 is not None, "addresses of bundles have all of the digest"
    record = place.record
    async with resources.engine.connect() as connection:
        found = await bundle_at(connection, record.id, wanted.sha256, wanted.file_name)
    about = FileWanted(wanted.path_key, wanted.file_name, metadata=False)
    refused = refusal(about, None if found is None else found.file)
    if found is None or refused is not None:
        assert refused is not None, "what is not known is refused"
        what = ABSENT if found is None else found.file.project
        return Refused(refused, place.groups(what), time.monotonic() + limits.absent_seconds)
    name = object_name(wanted.file_name)
    key = file_key(found.sha256, name)
    body = await load_checked(resources.objects.side(public=record.public), key, found.sha256, MAX_BUNDLE_BYTES)
    stored = Stored(None, key, record.public, found.sha256, Length(len(body)), found.file.uploaded_at, OCTETS)
    return make_entry(stored, body, place.groups(found.file.project), open_=place.open)


async def addresses(resources: Resources, place: Place, named: Named) -> Sequence[FileWanted]:
    """Return where the provenance object of a file that is named may be, the likeliest first; the same rules count
    there as for its address in pages.

    Of mirrors only what is kept of their pages is looked at: who has an address has asked for the page.
    """
    record, keys = place.record, list[str]()
    view = (record,) if place.view is None else place.view.order
    async with resources.engine.connect() as connection:
        for member in view:
            if member.type != MIRROR:
                hosted = await files_called(connection, member.id, named.project, named.file_name)
                shown = [file for file in hosted if member.id == record.id or file.facts.visible]
                keys += [file.path_key for file in shown if release_key(file.version) == release_key(named.version)]
        mirrors = [member for member in view if member.type == MIRROR]
        ids = [MirrorId(one.id, one.life) for one in mirrors]
        now = resources.clock.now()
        kept = await known_origins(connection, resources.answered, ids, named.project, now) if mirrors else {}
    for page in kept.values():
        if page.origins is not None:
            file = await asyncio.to_thread(judged_file, page.origins, [], named.project, named.file_name, now)
            if file is not None and release_key(file.version) == release_key(named.version):
                keys.append(file.sha256[:16])
    return [FileWanted(key, named.file_name, metadata=False, provenance=True) for key in dict.fromkeys(keys)]
