"""What the index service reads: pages, project lists, metadata and targets.

Each loader is called on a miss only, once however many ask (`services.index.reader`). The writing side is `laying`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import datetime
from functools import partial

import orjson

from countermark.core.digest import Sha256
from countermark.core.names import FileName, NormalizedName, page_target
from services.index.documents import (
    IMMUTABLE_CACHING,
    PAGE_CACHING,
    TIMESTAMP_CACHING,
    Document,
    Shape,
    absent,
    page_shape,
)
from services.index.json_api import (
    Addresses,
    Composer,
    SignedPage,
    latest_version,
    read_page,
    release_origin,
    shown_version,
)
from services.index.list_documents import list_document
from services.index.rules import SIGNED_ROOT, JsonWanted, MetadataWanted, PageWanted, TargetWanted
from services.index.settings import Limits
from shared.catalogue.heads import current_page, current_pages
from shared.catalogue.merged import in_indexes
from shared.catalogue.reading import file_details, metadata_digest, release_details
from shared.formats.python.html import page_html
from shared.formats.python.merged import merged_document
from shared.formats.python.pages import signed_link
from shared.objects.interface import ObjectStore
from shared.objects.keys import metadata_key, target_key
from shared.reading.access import Place
from shared.reading.advisories import vulnerabilities
from shared.reading.loading import load_checked
from shared.resources import Resources

ABSENT = "absent"
"""Group of what is known not to exist in an index; it ends with the index's next head."""

_SIGNED_LINK = b'"url":"' + SIGNED_ROOT.encode() + b"+f/"
"""How a link begins in a page document; within a text the quotation marks would be escaped."""

_NOWHERE_KEPT = b"no-store"
"""Cache-Control of pages that depend on the Host header, which caches do not tell apart."""

_TARGET_TYPES = {"json": b"application/json", "pointer": b"application/yaml", "note": b"text/plain; charset=utf-8"}
"""Content-Type by a target's extension. Source: RFC 9512 for YAML; a note is C2SP text."""

_UNPUBLISHED = "Index {} has no publication yet: nothing of it is signed.\n"


async def load_page(resources: Resources, limits: Limits, place: Place, wanted: PageWanted) -> Document:
    """Return a project's page from its signed document; a document of status 404 when it never was published.

    Raises:
        ServiceError: UNAVAILABLE; the stored document is missing, damaged or cannot be read.
    """
    record = place.record
    async with resources.engine.connect() as connection:
        page = await current_page(connection, record.id, wanted.project)
        there = {} if page is not None else await in_indexes(connection, [record.id], wanted.project)
    if page is None:
        # Registered without files: the name is taken, and nobody is to look for it elsewhere.
        return (empty_page if there else no_project)(limits, place, wanted.project)
    key = target_key(record.name, page_target(wanted.project), page.sha256)
    body = await load_checked(_store(resources, place), key, page.sha256, limits.document)
    return page_of_signed(place, wanted.project, page.serial, body)


def page_of_signed(
    place: Place, project: NormalizedName, serial: int, body: bytes, stale_since: datetime | None = None
) -> Document:
    """Return the page that a page document makes, signed or merged."""
    shape = page_shape(place.open, serial, stale_since)
    return Document(shape, body, place.groups(project), html=partial(page_html, link=signed_link))


def empty_page(limits: Limits, place: Place, project: NormalizedName) -> Document:
    """Return the page of a project that is registered and never was published. Source: contract devpi section 8."""
    document = page_of_signed(place, project, 0, merged_document(place.record.name, project, 0, ()))
    # No publication tells when the name is given up.
    document.until = time.monotonic() + limits.absent_seconds
    return document


def no_project(limits: Limits, place: Place, project: NormalizedName) -> Document:
    """Return what is kept of a project that is not there."""
    among = "" if place.view is None or len(place.view.order) == 1 else " and its bases"
    return _absent(limits, place, f"There is no project {project} in index {place.record.name}{among}.\n")


def respelled_page(place: Place, root: str, signed: Document) -> Document:
    """Return a page whose links begin with another root than those of signed documents.

    Args:
        root: where the index is.
        signed: the page with links as they are signed, or what is kept of its absence.
    """
    if signed.status != 200:
        assert signed.until is not None
        return absent(place.open, signed.body, signed.groups, signed.until)
    spelled = orjson.dumps(root)[1:-1]
    body = signed.body.replace(_SIGNED_LINK, b'"url":"' + spelled + b"+f/")

    def link(sha256: Sha256, file_name: FileName) -> str:
        return root + signed_link(sha256, file_name).removeprefix(SIGNED_ROOT)

    return Document(signed.shape, body, signed.groups, html=partial(page_html, link=link), until=signed.until)


def absolute_page(place: Place, root: str, signed: Document) -> Document:
    """Return a page with absolute links; made for one request, and kept by nobody: its root is what that request says
    of its own host. Arguments as for `respelled_page`."""
    page = respelled_page(place, root, signed)
    page.shape = replace(page.shape, caching=(_NOWHERE_KEPT, _NOWHERE_KEPT))
    return page


async def load_json(
    resources: Resources, limits: Limits, place: Place, wanted: JsonWanted, signed: Document
) -> Document:
    """Return a document of the JSON API; one of status 404 when the project lists nothing, or not that version.

    It is cached like the page it comes from, and not for the 900 seconds of the public index (see `PAGE_CACHING`): a
    bot that is told of a release is to find it here.

    Args:
        signed: the project's page, or what is kept of its absence.
    """
    record, project = place.record, wanted.project
    nothing = f"There is no {_named(wanted)} in index {record.name}.\n"
    if signed.status != 200:
        return _absent(limits, place, nothing)
    page, chosen = await asyncio.to_thread(_listed, signed.body, wanted.version)
    if not page.versions or (wanted.version is not None and chosen is None):
        return _absent(limits, place, nothing)
    members = {record.name: record} if place.view is None else {member.name: member for member in place.view.order}
    async with resources.engine.connect() as connection:
        details = await file_details(connection, [member.id for member in members.values()], project, chosen)
    version = await asyncio.to_thread(latest_version, page, details) if chosen is None else chosen
    origin = release_origin(page, version, details, record.name)
    async with resources.engine.connect() as connection:
        release = await release_details(connection, members[origin].id, project, version)
        known = await vulnerabilities(connection, project, version)
    if release is None:
        return _absent(limits, place, nothing)
    addresses = Addresses(f"{outside_url(resources)}/{record.name}/", project)
    composer = Composer(origin, addresses, page, details)
    body = await asyncio.to_thread(composer.compose, version, release, known, all_releases=wanted.version is None)
    shape = Shape(place.open, PAGE_CACHING, page.serial)
    return Document(shape, body, place.groups(project))


async def load_list(resources: Resources, limits: Limits, place: Place) -> Document:
    """Return the list of an index's projects; that of an index without a publication is empty."""
    record = place.record
    head = resources.heads.get(record.id)
    serial = 0 if head is None else head.serial
    begun = time.monotonic()
    async with resources.engine.connect() as connection:
        pages = await current_pages(connection, record.id)
    return await list_document(limits, place, serial, [(page.project, page.serial) for page in pages], begun)


async def load_metadata(resources: Resources, limits: Limits, place: Place, wanted: MetadataWanted) -> Document:
    """Return a versioned metadata file that a publication has made current at some time, else a document of status 404.

    A file of a batch that is under way, or was never finished, is not shown, though the store may hold it.

    Raises:
        ServiceError: UNAVAILABLE; the stored file is missing, damaged or cannot be read.
    """
    assert wanted.version is not None
    record = place.record
    head = resources.heads.get(record.id)
    if head is None:
        return _absent(limits, place, _UNPUBLISHED.format(record.name))
    digest = None
    if wanted.role != "root" or wanted.version <= head.root_version:
        async with resources.engine.connect() as connection:
            digest = await metadata_digest(connection, record.id, wanted.role, wanted.version)
    if digest is None:
        return _absent(limits, place, f"Index {record.name} has no {wanted.version}.{wanted.role}.json.\n")
    key = metadata_key(record.name, wanted.role, wanted.version)
    body = await load_checked(_store(resources, place), key, digest, limits.document)
    return Document(Shape(place.open, IMMUTABLE_CACHING), body, ())


async def load_target(resources: Resources, limits: Limits, place: Place, wanted: TargetWanted) -> Document:
    """Return a target under the digest asked for, or a document of status 404.

    Raises:
        ServiceError: UNAVAILABLE; the stored target is damaged or cannot be read.
    """
    store = _store(resources, place)
    key = target_key(place.record.name, wanted.target, wanted.sha256)
    if await store.head(key) is None:
        return _absent(limits, place, f"Index {place.record.name} has no such target.\n")
    body = await load_checked(store, key, wanted.sha256, limits.document)
    content_type = _TARGET_TYPES[wanted.target.rpartition(".")[2]]
    shape = Shape(place.open, IMMUTABLE_CACHING, content_types=(content_type,))
    return Document(shape, body, ())


async def load_timestamp(resources: Resources, limits: Limits, place: Place) -> Document:
    """Return the timestamp from the head itself: the store's copy follows the head (architecture section 5)."""
    head = resources.heads.get(place.record.id)
    if head is None:
        return _absent(limits, place, _UNPUBLISHED.format(place.record.name))
    return Document(Shape(place.open, TIMESTAMP_CACHING), head.timestamp, ())


def _listed(document: bytes, version: str | None) -> tuple[SignedPage, str | None]:
    """Read a page document, and find the version on it that is asked for, if one is."""
    page = read_page(document)
    return page, None if version is None else shown_version(page, version)


def _named(wanted: JsonWanted) -> str:
    return f"project {wanted.project}" if wanted.version is None else f"release {wanted.project} {wanted.version}"


def outside_url(resources: Resources) -> str:
    """Return the API host as clients see it, else as this process is told it listens."""
    settings = resources.settings
    host = f"[{settings.listen.host}]" if ":" in settings.listen.host else settings.listen.host
    return (settings.outside_url or f"http://{host}:{settings.listen.api_port}").rstrip("/")


def _absent(limits: Limits, place: Place, text: str) -> Document:
    until = time.monotonic() + limits.absent_seconds
    return absent(place.open, text.encode(), place.groups(ABSENT), until)


def _store(resources: Resources, place: Place) -> ObjectStore:
    return resources.objects.side(public=place.record.public)
