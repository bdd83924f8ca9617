"""What the download service does: finds a file in an index, and streams its bytes while checking them."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from services.download.entries import ABSENT, Entry, Hosted, Refused, Stored, make_entry
from services.download.inheriting import InView, in_view
from services.download.mirrored import held_back, mirrored_entry, remembered_until
from services.download.provenance import bundle_entry, hosted_bundle_list, hosted_provenance
from services.download.rules import FileWanted, Span, refusal
from services.download.settings import Limits
from shared.auth.directory import IndexRecord
from shared.catalogue.engine import one_by_one
from shared.catalogue.reading import file_facts
from shared.errors import ErrorKind, ServiceError
from shared.fetching.asking import Questions
from shared.fetching.fetching import Fetching
from shared.objects.interface import ByteRange, ObjectNotFound, ObjectStoreError, OpenObject, Presigner
from shared.objects.keys import core_metadata_key, file_key
from shared.reading.access import Place
from shared.reading.facts import FileFacts
from shared.reading.loading import RETRY_AFTER, load_checked, unavailable
from shared.reading.mirrored import MirroredFile
from shared.reading.resolution import MIRROR
from shared.resources import Resources

log = structlog.get_logger()

OPEN_LIFETIME, CLOSED_LIFETIME = timedelta(hours=1), timedelta(minutes=5)
"""How long a URL of the store works, for a file that everyone may read and for others: nobody can take it back, and
whoever has it needs no credentials. A download that has begun goes on after its end."""


class BrokenOff(Exception):
    """A stream cannot be finished; the connection is to be closed without the rest, so that nobody takes it for all."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What finding a file needs."""

    resources: Resources
    limits: Limits
    fetching: Fetching
    questions: Questions


async def find(finding: Finding, place: Place, wanted: FileWanted) -> Entry | Refused:
    """Return the file that an address of an index means, with its bytes when it is small, or why it is not served.

    What the index itself shows is served, else what its merged view shows under this address; else the index's own rows
    say why not.

    Raises:
        ServiceError: UNAVAILABLE; a small file is missing in the store, damaged, or cannot be read. NOT_FOUND, UPSTREAM
            or UNAVAILABLE; a small file of a mirror cannot be fetched.
    """
    resources, limits = finding.resources, finding.limits
    if wanted.bundle:
        return await bundle_entry(resources, limits, place, wanted)
    own, seen, now = await looked(resources, place, wanted)
    if seen.file is None and seen.doubts:
        asked = await finding.questions.ask(seen.doubts)
        if asked.now:
            own, seen, now = await looked(resources, place, wanted)
        if asked.in_vain and own is None and seen.file is None and seen.hidden is None:
            # Not "not found": it may be there, and installers would go on to another index.
            detail = f"An upstream that may have {wanted.file_name} gives no answer; try again in a few seconds."
            raise ServiceError(ErrorKind.UNAVAILABLE, detail, retry_after=RETRY_AFTER)
    if isinstance(seen.file, MirroredFile):
        return await mirrored_entry(finding.fetching, limits, place, wanted, seen, now)
    if seen.hidden is not None:
        return held_back(limits, place, wanted, seen, now)
    shown = own if seen.file is None else seen.file
    refused = refusal(wanted, shown)
    if shown is None or refused is not None:
        assert refused is not None, "what is not known is refused"
        what = ABSENT if shown is None or refused.kind is ErrorKind.NOT_FOUND else shown.project
        return Refused(refused, place.groups(what), remembered_until(limits, seen, now))
    if wanted.others:
        return await hosted_bundle_list(resources, limits, place, seen.owner, shown)
    if wanted.provenance:
        return await hosted_provenance(resources, limits, place, seen.owner, shown)
    return await _hosted_entry(finding, place, wanted, seen.owner, shown)


async def _hosted_entry(
    finding: Finding, place: Place, wanted: FileWanted, owner: IndexRecord, shown: FileFacts
) -> Entry:
    """Return a hosted file that is served, with its bytes when it is small.

    Where files are verified on read, bytes that cannot be had are for the chain to tell: it says what is wrong.

    Raises:
        ServiceError: UNAVAILABLE.
    """
    stored = _stored(shown, wanted, public=owner.public)
    body, until = None, None
    if stored.length <= finding.limits.small:
        store = finding.resources.objects.side(public=owner.public)
        try:
            body = await load_checked(store, stored.key, stored.sha256, finding.limits.small)
        except ServiceError:
            if not (owner.verify_on_read or place.record.verify_on_read):
                raise
            until = time.monotonic() + RETRY_AFTER.total_seconds()
    entry = make_entry(stored, body, place.groups(shown.project), open_=place.open)
    entry.hosted = Hosted(owner.id, shown.id, shown.file_name, shown.sha256)
    entry.until = until
    return entry


async def looked(resources: Resources, place: Place, wanted: FileWanted) -> tuple[FileFacts | None, InView, datetime]:
    """Return what an index itself has under an address, what the address means in its merged view, and when."""
    record, now = place.record, resources.clock.now()
    async with one_by_one(resources.engine) as connection:
        own = None
        if record.type != MIRROR:
            own = await file_facts(connection, record.id, wanted.path_key, wanted.file_name)
        if place.view is None or wanted.own or (own is not None and own.visible):
            return own, InView(record, own), now
        return own, await in_view(connection, resources.answered, place.view, wanted, own, now), now


@asynccontextmanager
async def open_file(resources: Resources, entry: Entry, span: Span | None) -> AsyncIterator[OpenObject]:
    """Open a file, or a span of it, in the store.

    Raises:
        ServiceError: UNAVAILABLE; it is missing, has another length, or the store failed.
    """
    store = resources.objects.side(public=entry.public)
    try:
        async with store.open(entry.key, None if span is None else ByteRange(span.start, span.stop)) as opened:
            if opened.info.length != entry.length:
                raise unavailable("stored_object_corrupt", entry.key, "the stored file is damaged")
            yield opened
    except ObjectNotFound as error:
        raise unavailable("stored_object_missing", entry.key, "the stored file is missing") from error
    except ObjectStoreError as error:
        log.warning("store_failed", key=entry.key, error=str(error)[:500])
        detail = "The object store cannot be read right now; try again in a few seconds."
        raise ServiceError(ErrorKind.UNAVAILABLE, detail, retry_after=RETRY_AFTER) from error


async def presigned(resources: Resources, entry: Entry, *, open_: bool) -> str | None:
    """Return a URL of the store that reads a file, None where the store has none: then the file is streamed.

    Args:
        open_: whether everyone may read the file.
    """
    store = resources.objects.side(public=entry.public)
    if not isinstance(store, Presigner):
        return None
    try:
        return await store.presign(entry.key, OPEN_LIFETIME if open_ else CLOSED_LIFETIME)
    except ObjectStoreError as error:
        log.warning("store_failed", key=entry.key, error=str(error)[:500])
        return None


async def checked(entry: Entry, opened: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield the whole of a file, hashing it; the last chunk only when the digest is right.

    So a client never has all bytes of a file that is not the one that was uploaded, whatever it checks itself.

    Raises:
        BrokenOff: the store holds other bytes than were uploaded, or fewer.
    """
    digest, length = hashlib.sha256(), 0
    async with aclosing(ahead(opened)) as chunks:
        async for chunk in chunks:
            # A chunk is at most 256 KiB: 0.2 ms, less than handing it to a thread and back is worth.
            digest.update(chunk)
            length += len(chunk)
            if length >= entry.length and (length > entry.length or digest.hexdigest() != entry.sha256):
                log.error("stored_object_corrupt", key=entry.key, found=digest.hexdigest(), length=length)
                raise BrokenOff(f"{entry.key} is damaged in the store")
            yield chunk
    if length < entry.length:
        log.error("stored_object_corrupt", key=entry.key, length=length)
        raise BrokenOff(f"{entry.key} is cut short in the store")


async def ahead(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield chunks while the next one is already being read: the store and the network work at the same time."""
    # The first is waited for as it is: there is nothing to send meanwhile, and a task would wait for its turn.
    chunk = await anext(chunks, None)
    if chunk is None:
        return
    pending = asyncio.ensure_future(anext(chunks, None))
    try:
        while chunk is not None:
            yield chunk
            if (chunk := await pending) is not None:
                pending = asyncio.ensure_future(anext(chunks, None))
    finally:
        # The store may close the body only when nobody reads it any more.
        pending.cancel()
        await asyncio.wait([pending])
        if not pending.cancelled():
            pending.exception()


def _stored(facts: FileFacts, wanted: FileWanted, *, public: bool) -> Stored:
    """Return where the bytes of an address lie; the address is known to be served."""
    if not wanted.metadata:
        key = file_key(facts.sha256, facts.file_name)
        return Stored(facts.id, key, public, facts.sha256, facts.length, facts.uploaded_at)
    assert facts.core_metadata_sha256 is not None
    assert facts.core_metadata_length is not None
    key = core_metadata_key(facts.sha256, facts.file_name)
    return Stored(None, key, public, facts.core_metadata_sha256, facts.core_metadata_length, facts.uploaded_at)
