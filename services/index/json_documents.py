"""Documents of the JSON API: put together from the page that is served now and what is known of its releases.

Source: contract python-index section 1.9; architecture section 11.6.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from countermark.core.names import IndexName, NormalizedName
from services.index.documents import PAGE_CACHING, Document, Shape, absent
from services.index.json_api import (
    Addresses,
    Composer,
    Described,
    FileKey,
    SignedPage,
    described_hosted,
    latest_version,
    read_page,
    release_origin,
    shown_version,
    with_known,
)
from services.index.mirrored_json import MirroredJson, Said
from services.index.mirrored_releases import (
    MirroredFiles,
    described_upstream,
    detailed,
    mirrored_files,
    with_releases,
)
from services.index.rules import JsonWanted
from services.index.settings import Limits
from shared.auth.directory import IndexRecord
from shared.catalogue.reading import FileDetails, file_details, release_details
from shared.formats.python.json_facts import JsonFacts
from shared.formats.python.names import release_key
from shared.formats.python.versions import parsed
from shared.outside_address import outside_url
from shared.reading.access import Place
from shared.reading.advisories import vulnerabilities
from shared.reading.resolution import MIRROR
from shared.resources import Resources


async def load_json(
    resources: Resources, limits: Limits, upstream: MirroredJson, place: Place, wanted: JsonWanted, signed: Document
) -> Document:
    """Return a document of the JSON API; one of status 404 when the project lists nothing, or not that version.

    It is cached like the page it comes from, and not for the 900 seconds of the public index (see `PAGE_CACHING`): a
    bot that is told of a release is to find it here.

    Args:
        signed: the project's page, or what is kept of its absence.
    """
    record, project = place.record, wanted.project
    members = {record.name: record} if place.view is None else {member.name: member for member in place.view.order}
    mirrors = {name: member for name, member in members.items() if member.type == MIRROR}
    if signed.status != 200:
        return _absent(limits, place, wanted, signed)
    page, mirrored = await asyncio.to_thread(_listed, await signed.text(), record.name, mirrors, project)
    chosen = None if wanted.version is None else await asyncio.to_thread(shown_version, page, wanted.version)
    if not page.versions or (wanted.version is not None and chosen is None):
        return _absent(limits, place, wanted, signed)
    stages = [member.id for member in members.values() if member.type != MIRROR]
    details: dict[FileKey, FileDetails] = {}
    if stages:
        async with resources.engine.connect() as connection:
            details |= await file_details(connection, stages, project, chosen)
    for files in mirrored.values():
        details |= files
    version = await asyncio.to_thread(latest_version, page, details) if chosen is None else chosen
    origin = release_origin(page, version, details, record.name)
    asked = {name: mirrors[name] for name in mirrors if name == origin or _has(mirrored.get(name, {}), chosen)}
    told = await _told(upstream, asked, project, version, origin, whole=wanted.version is None)
    release = None if origin in mirrors else await _hosted(resources, members[origin], project, version)
    if release is None and not mirrors:
        return _absent(limits, place, wanted, signed)
    # Mirrors' pages may name versions of which nobody has a file.
    release = release or described_upstream(told.release, project)
    async with resources.engine.connect() as connection:
        release = with_known(release, await vulnerabilities(connection, project, version))
    for name, files in mirrored.items():
        details |= await asyncio.to_thread(detailed, files, told.files.get(name))
    composer = Composer(Addresses(f"{outside_url(resources.settings)}/{record.name}/", project), page, details)
    body = await asyncio.to_thread(composer.compose, version, release, all_releases=wanted.version is None)
    stale = [since for since in (signed.shape.stale_since, told.stale_since) if since is not None]
    shape = Shape(place.open, PAGE_CACHING, page.serial, stale_since=min(stale, default=None))
    until = _soonest(signed.until, told.until, resources.clock.now())
    return Document(shape, body, place.groups(project), until=until)


@dataclass(frozen=True, slots=True)
class _Told:
    """What upstreams say.

    Attributes:
        release: about the release that the document is of.
        files: about the files of a page, by mirror.
        until: when it is to be looked at again.
        stale_since: of what was confirmed longest ago, when some of it is stale.
    """

    release: JsonFacts | None
    files: Mapping[IndexName, JsonFacts]
    until: datetime | None
    stale_since: datetime | None


async def _told(
    upstream: MirroredJson,
    mirrors: Mapping[IndexName, IndexRecord],
    project: NormalizedName,
    version: str,
    origin: IndexName,
    *,
    whole: bool,
) -> _Told:
    """Return what the upstreams of mirrors say of a project, or of one version.

    An upstream's own document of a project is about the version that is its newest; that one may be held back here. So
    what it says of the release counts when it is about the same, and else the version's document is asked for.

    Args:
        mirrors: those that have something to say, by name.
        origin: the index that the version belongs to.
        whole: whether the document is the project's.
    """
    wanted = None if whole else version
    said: list[Said] = await asyncio.gather(*(upstream.said(mirror, project, wanted) for mirror in mirrors.values()))
    found = dict(zip(mirrors, said, strict=True))
    release = found[origin].facts if origin in found else None
    if whole and release is not None and release_key(release.version) != release_key(version):
        # No upstream has a document of what is no version.
        alone = Said(None) if parsed(version) is None else await upstream.said(mirrors[origin], project, version)
        release, said = alone.facts, [*said, alone]
    return _Told(
        release,
        {name: one.facts for name, one in found.items() if one.facts is not None},
        min((one.until for one in said if one.until is not None), default=None),
        min((one.stale_since for one in said if one.stale_since is not None), default=None),
    )


def _has(files: Mapping[FileKey, FileDetails], version: str | None) -> bool:
    """Return whether there is a file of a version, or of any for None."""
    return any(version in (None, details.version) for details in files.values())


async def _hosted(resources: Resources, member: IndexRecord, project: NormalizedName, version: str) -> Described | None:
    """Return what a release says of itself that a stage hosts."""
    async with resources.engine.connect() as connection:
        release = await release_details(connection, member.id, project, version)
    return None if release is None else described_hosted(release, member.name)


def _listed(
    document: bytes, index: IndexName, mirrors: Collection[IndexName], project: NormalizedName
) -> tuple[SignedPage, MirroredFiles]:
    """Read a page document, and find the files on it that come from mirrors."""
    page = read_page(document)
    mirrored = mirrored_files(page, index, mirrors, project)
    return with_releases(page, mirrored), mirrored


def _absent(limits: Limits, place: Place, wanted: JsonWanted, signed: Document) -> Document:
    """Return what is kept of a document that is not there; it ends when the page does, or changes."""
    named = f"project {wanted.project}" if wanted.version is None else f"release {wanted.project} {wanted.version}"
    text = f"There is no {named} in index {place.record.name}.\n"
    until = time.monotonic() + limits.absent_seconds
    until = until if signed.until is None else min(until, signed.until)
    return absent(place.open, text.encode(), place.groups(wanted.project), until)


def _soonest(page: float | None, upstream: datetime | None, now: datetime) -> float | None:
    """Return the monotonic seconds after which a document is out of date by the clock, None for never."""
    moments: Sequence[float] = [
        *([] if page is None else [page]),
        *([] if upstream is None else [time.monotonic() + max(0.0, (upstream - now).total_seconds())]),
    ]
    return min(moments, default=None)
