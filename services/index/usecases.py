"""What the index service reads: pages, project lists, metadata and targets.

Each loader is called on a miss only, once however many ask (`services.index.reader`). The writing side is `laying`.
"""

from __future__ import annotations

import time
from datetime import datetime
from functools import partial

import orjson

from countermark.core.digest import Sha256
from countermark.core.names import FileName, NormalizedName, page_target
from services.index.documents import (
    IMMUTABLE_CACHING,
    TIMESTAMP_CACHING,
    Document,
    Shape,
    absent,
    page_shape,
)
from services.index.list_documents import list_document
from services.index.rules import SIGNED_ROOT, MetadataWanted, PageWanted, TargetWanted
from services.index.settings import Limits
from shared.catalogue.heads import current_page, current_pages
from shared.catalogue.merged import in_indexes
from shared.catalogue.reading import metadata_digest, root_content
from shared.formats.python.html import page_html
from shared.formats.python.merged import merged_document
from shared.formats.python.pages import signed_link
from shared.objects.interface import ObjectStore
from shared.objects.keys import metadata_key, target_key
from shared.reading.access import Place
from shared.reading.loading import load_checked
from shared.resources import Resources

ABSENT = "absent"
"""Group of what is known not to exist in an index; it ends with the index's next head."""

_SIGNED_LINK = b'"url":"' + SIGNED_ROOT.encode() + b"+f/"
"""How a link begins in a page document; within a text the quotation marks would be escaped."""

_TARGET_TYPES = {
    "json": b"application/json",
    "pointer": b"application/yaml",
    "yaml": b"application/yaml",
    "note": b"text/plain; charset=utf-8",
}
"""Content-Type by a target's extension; targets of trust have any. Source: RFC 9512 for YAML; a note is C2SP text."""

_AS_HTML = partial(page_html, link=signed_link)
"""Makes the HTML of a page whose links are as they are signed."""

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
        here = there.get(record.id)
        if here is None or not here.standing.registered:
            return no_project(limits, place, wanted.project)
        return empty_page(limits, place, wanted.project, here.serial)
    key = target_key(record.name, page_target(wanted.project), page.sha256)
    body = await load_checked(_store(resources, place), key, page.sha256, limits.document)
    return page_of_signed(place, wanted.project, page.serial, body)


def page_of_signed(
    place: Place, project: NormalizedName, serial: int, body: bytes, stale_since: datetime | None = None
) -> Document:
    """Return the page that a page document makes, signed or merged."""
    shape = page_shape(place.open, serial, stale_since)
    return Document(shape, body, place.groups(project), html=_AS_HTML)


def empty_page(limits: Limits, place: Place, project: NormalizedName, serial: int) -> Document:
    """Return the page of a project that is registered and has no published page. Source: contract devpi section 8.

    Args:
        serial: of what was published of it before it was removed, 0 for nothing.
    """
    document = page_of_signed(place, project, serial, merged_document(place.record.name, project, serial, ()))
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

    A file of a batch that is under way, or was never finished, is not shown, though the store may hold it. Roots come
    from the catalogue, as the timestamp does (trust contract section 2.6): without them no client goes anywhere.

    Raises:
        ServiceError: UNAVAILABLE; the stored file is missing, damaged or cannot be read.
    """
    assert wanted.version is not None
    record = place.record
    head = resources.heads.get(record.id)
    if head is None:
        return _absent(limits, place, _UNPUBLISHED.format(record.name))
    missing = f"Index {record.name} has no {wanted.version}.{wanted.role}.json.\n"
    if wanted.role == "root":
        body = None
        if wanted.version <= head.root_version:
            async with resources.engine.connect() as connection:
                body = await root_content(connection, wanted.version)
        return _absent(limits, place, missing) if body is None else _immutable(place, body)
    async with resources.engine.connect() as connection:
        digest = await metadata_digest(connection, record.id, wanted.role, wanted.version)
    if digest is None:
        return _absent(limits, place, missing)
    key = metadata_key(record.name, wanted.role, wanted.version)
    return _immutable(place, await load_checked(_store(resources, place), key, digest, limits.document))


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
    content_type = _TARGET_TYPES.get(wanted.target.rpartition(".")[2], b"application/octet-stream")
    shape = Shape(place.open, IMMUTABLE_CACHING, content_types=(content_type,))
    return Document(shape, body, ())


async def load_timestamp(resources: Resources, limits: Limits, place: Place) -> Document:
    """Return the timestamp from the head itself: the store's copy follows the head (architecture section 5)."""
    head = resources.heads.get(place.record.id)
    if head is None:
        return _absent(limits, place, _UNPUBLISHED.format(place.record.name))
    return Document(Shape(place.open, TIMESTAMP_CACHING), head.timestamp, ())


def _immutable(place: Place, body: bytes) -> Document:
    return Document(Shape(place.open, IMMUTABLE_CACHING), body, ())


def _absent(limits: Limits, place: Place, text: str) -> Document:
    until = time.monotonic() + limits.absent_seconds
    return absent(place.open, text.encode(), place.groups(ABSENT), until)


def _store(resources: Resources, place: Place) -> ObjectStore:
    return resources.objects.side(public=place.record.public)
