"""What a project's signed page document says of its files: the digest of their core metadata, which no pointer has.

The page is a target as pointers are, and is verified as they are. What it says is remembered for as long as the head
is the same, so that a project's page is read once for all of its files.
Source: architecture section 11.4; PEP 658; ADR 0044.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime

import orjson

from countermark.core.digest import InvalidDigest, Sha256, parse_sha256
from countermark.core.names import FileName, IndexName, NormalizedName, page_target
from countermark.core.page import MAX_PAGE_BYTES
from services.download.verification.metadata import HeadRow, checked_metadata
from services.download.verification.stored import read_object
from shared.auth.directory import IndexRecord
from shared.objects.keys import target_key
from shared.resources import Resources
from shared.threads import sized

_MOST_FILES = 20_000
"""Files that are remembered, some 5 MB; a page of more is remembered alone."""


class NoPage(Exception):
    """A project's signed page cannot be had, or does not hold; the message says why."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as its signed page lists it."""

    sha256: Sha256
    core_metadata: Sha256 | None


@dataclass(frozen=True, slots=True)
class _Page:
    files: Mapping[str, bytes]
    until: datetime


class SignedPages:
    """Pages that were verified."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, _Page] = OrderedDict()
        self._files = 0

    async def listed(
        self,
        resources: Resources,
        record: IndexRecord,
        head: HeadRow,
        project: NormalizedName,
        file_name: FileName,
        now: datetime,
    ) -> Listed | None:
        """Return how the page that an index signs lists a file, None where it does not.

        Raises:
            NoPage: there is none that holds.
            ServiceError: UNAVAILABLE; nothing can be checked now.
            ObjectStoreError: the store cannot be read now.
        """
        key = (record.id, head, project)
        page = self._kept.get(key)
        if page is None or page.until <= now:
            page = await _verified(resources, record, head, project, now)
            self._keep(key, page)
        found = page.files.get(file_name)
        if found is None:
            return None
        return Listed(Sha256(found[:32].hex()), Sha256(found[32:].hex()) if len(found) > 32 else None)

    def _keep(self, key: Hashable, page: _Page) -> None:
        if (before := self._kept.pop(key, None)) is not None:
            self._files -= len(before.files)
        self._kept[key] = page
        self._files += len(page.files)
        while self._files > _MOST_FILES and len(self._kept) > 1:
            _, gone = self._kept.popitem(last=False)
            self._files -= len(gone.files)


async def _verified(
    resources: Resources, record: IndexRecord, head: HeadRow, project: NormalizedName, now: datetime
) -> _Page:
    target = page_target(project)
    report = await checked_metadata(resources, record, head, target, now)
    broken = next((link for link in report.links if link.code), None)
    if broken is not None or report.sha256 is None or report.expires is None:
        raise NoPage(f"its signed page does not hold: {'nothing is signed' if broken is None else broken.reason}")
    if report.length > MAX_PAGE_BYTES:
        raise NoPage(f"its signed page has {report.length} bytes, and {MAX_PAGE_BYTES} are read")
    key = target_key(record.name, target, report.sha256)
    found = await read_object(resources.objects.side(public=record.public), key, report.length)
    if found is None:
        raise NoPage(f"its signed page {key} is missing in the object store")
    if (found.sha256, found.length) != (report.sha256, report.length):
        raise NoPage(f"its page {key} is not what was signed: it has sha256 {found.sha256}")
    return _Page(await sized(found.length, _read, found.body, record.name, project), report.expires)


def _read(body: bytes, index: IndexName, project: NormalizedName) -> Mapping[str, bytes]:
    """Return the digests of the files that a page lists: 32 bytes of the file's, and 32 of its core metadata's.

    Raises:
        NoPage: it is no page of this project and index.
    """
    try:
        document = orjson.loads(body)
        if (document["meta"]["_index"], document["name"]) != (str(index), project):
            raise NoPage("its signed page is another index's or project's")
        return {entry["filename"]: _digests(entry) for entry in document["files"]}
    except (ValueError, LookupError, TypeError, AttributeError, InvalidDigest) as error:
        raise NoPage(f"its signed page is none that can be read: {type(error).__name__}") from error


def _digests(entry: Mapping[str, Mapping[str, object]]) -> bytes:
    beside = entry.get("core-metadata")
    told = [entry["hashes"]["sha256"], *([] if beside is None else [beside["sha256"]])]
    return b"".join(bytes.fromhex(parse_sha256(str(one))) for one in told)
