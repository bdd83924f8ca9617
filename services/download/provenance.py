"""Serves what is attested of hosted files: provenance objects, put together on demand, and the bundles themselves.

Whoever may read a file may read both, and is refused as for the file. A bundle is bytes of a digest; an object changes
when an attestation is added, which is a publication of its project and so drops what memory holds of it.
Source: contract python-index sections 1.8 and 4.1; architecture sections 11.5 and 11.8.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from countermark.core.attestations.bundle import MAX_BUNDLE_BYTES
from countermark.core.digest import Length, sha256_of
from services.download.entries import ABSENT, OCTETS, PASSING, PROVENANCE, Entry, Refused, Stored, make_entry
from services.download.rules import FileWanted, Named, refusal
from services.download.settings import Limits
from shared.auth.directory import IndexRecord
from shared.catalogue.attestations import Stored as StoredAttestation
from shared.catalogue.attestations import object_name, of_file
from shared.catalogue.bundles import bundle_at, files_called
from shared.catalogue.mirror_pages import MirrorId, kept_origins
from shared.errors import ErrorKind, ServiceError
from shared.formats.python.names import release_key
from shared.objects.keys import file_key
from shared.reading.access import Place
from shared.reading.facts import FileFacts
from shared.reading.loading import load_checked
from shared.reading.mirrored import judged_file
from shared.reading.provenance import Publisher, attestation_of, provenance_object, publisher_in_object
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
    shown = [(row, publisher) for row in rows if (publisher := _publisher(row)) is not None]
    groups = place.groups(facts.project)
    until = time.monotonic() + limits.absent_seconds
    if not shown:
        detail = f"There is no provenance for {facts.file_name}."
        return Refused(ServiceError(ErrorKind.NOT_FOUND, detail), groups, until)
    bodies = await asyncio.gather(*(_bundle(resources, owner, facts, row) for row, _ in shown))
    try:
        found = [(publisher, attestation_of(body)) for (_, publisher), body in zip(shown, bodies, strict=True)]
    except ValueError as error:
        detail = f"An attestation of {facts.file_name} cannot be shown: {error}."
        raise ServiceError(ErrorKind.UNAVAILABLE, detail) from error
    body = provenance_object(found)
    modified = max(row.added_at for row, _ in shown)
    key = file_key(facts.sha256, facts.file_name)
    stored = Stored(None, key, owner.public, sha256_of(body), Length(len(body)), modified, PROVENANCE, PASSING)
    entry = make_entry(stored, body, groups, open_=place.open)
    # Rows show when they are committed; the publication that follows is what drops this, and may be late.
    entry.until = until
    return entry


def _publisher(row: StoredAttestation) -> Publisher | None:
    return publisher_in_object(row.publisher, row.predicate_type, row.facts)


async def _bundle(resources: Resources, owner: IndexRecord, facts: FileFacts, row: StoredAttestation) -> bytes:
    store = resources.objects.side(public=owner.public)
    return await load_checked(store, file_key(row.sha256, object_name(facts.file_name)), row.sha256, MAX_BUNDLE_BYTES)


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
        kept = await kept_origins(connection, ids, named.project) if mirrors else {}
    for page in kept.values():
        if page.origins is not None:
            now = resources.clock.now()
            file = await asyncio.to_thread(judged_file, page.origins, [], named.project, named.file_name, now)
            if file is not None and release_key(file.version) == release_key(named.version):
                keys.append(file.sha256[:16])
    return [FileWanted(key, named.file_name, metadata=False, provenance=True) for key in dict.fromkeys(keys)]
