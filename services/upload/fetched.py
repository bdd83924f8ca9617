"""A release of a mirror that is to be pushed: its files are fetched, and described as those of a hosted one.

Only what the mirror shows is taken, and only bytes with the digest that its page names. What a push makes of it is
hosted, admitted and signed like everything else.
Source: contract devpi section 11 ("Pushing from a mirror downloads first"); architecture section 11.6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import orjson
from packaging.utils import NormalizedName, canonicalize_name

from countermark.core.digest import Length
from countermark.core.names import FileName
from services.upload.parcel import MAX_FILES, Parcel
from services.upload.push_rules import Push
from services.upload.spool import Spool, Spooled
from shared.auth.directory import IndexRecord
from shared.auth.principal import Principal
from shared.catalogue.mirror_pages import KeptPage, MirrorId, kept_page
from shared.catalogue.promotion_rows import Carried, SourceRelease
from shared.errors import ErrorKind, ServiceError
from shared.fetching.asking import Questions
from shared.fetching.fetching import Fetching
from shared.fetching.wanted import Wanted, wanted_file, wanted_provenance
from shared.formats.python.foreign import kind_of
from shared.formats.python.names import release_key
from shared.formats.python.origins import listed_files
from shared.formats.python.upstream import Listed
from shared.ids import FileId, ReleaseId, new_uuid
from shared.objects.interface import Key
from shared.reading.mirrored import policies_of
from shared.reading.policy import Hidden, judge_file
from shared.resources import Resources
from shared.zstd import unpack

_PAGE_SECONDS = 8.0
"""Seconds that a page is waited for of which nothing is kept, or nothing fresh."""

_FILE_SECONDS = 300.0
"""Seconds that one file is waited for."""

_AT_ONCE = 4

_Outcome = TypeVar("_Outcome")


class FetchedReleases:
    """Fetches releases of mirrors; `staging` is the folder of what arrives."""

    def __init__(self, resources: Resources, staging: Path) -> None:
        self._resources = resources
        self._staging = staging
        self._fetching = Fetching(resources)
        self._questions = Questions(resources, _PAGE_SECONDS)

    async def pick(self, mirror: IndexRecord, push: Push, principal: Principal) -> Parcel:
        """Return what a push from a mirror takes along; its files are in the store then.

        Raises:
            ServiceError: invalid, when the mirror has no such release; not-found, when only documentation is asked for;
                forbidden, when a policy holds some of it back; upstream-failed, when it cannot be fetched.
        """
        project, now = canonicalize_name(push.name), self._resources.clock.now()
        if not push.files:
            raise ServiceError(ErrorKind.NOT_FOUND, f"no release/files found for {push.name} {push.version}")
        listed = await self._listed(mirror, project, push.version, now)
        if not listed:
            words = f"there are no files for {push.name} {push.version} on stage {mirror.name}"
            raise ServiceError(ErrorKind.INVALID, words)
        if len(listed) > MAX_FILES:
            raise ServiceError(
                ErrorKind.INVALID, f"The release has more than {MAX_FILES} files: too many for one push."
            )
        _refuse_held(mirror, project, listed, now)
        wanted = {
            name: wanted_file(mirror, project, name, one.origin, self._fetching.most) for name, one in listed.items()
        }
        turns = asyncio.Semaphore(_AT_ONCE)

        async def fetched(name: FileName) -> Carried:
            async with turns:
                spooled = await self._hashed(wanted[name])
                return _carried(name, listed[name], spooled, principal, now)

        async def provenance(name: FileName) -> bytes | None:
            wanted = wanted_provenance(mirror, project, name, listed[name].origin)
            if wanted is None:
                return None
            async with turns:
                return await self._object(wanted)

        files = await asyncio.gather(*map(fetched, sorted(listed)), return_exceptions=True)
        objects = await asyncio.gather(*map(provenance, sorted(listed)), return_exceptions=True)
        version = next(iter(listed.values())).version
        fields = {"name": push.name, "version": version}
        release = SourceRelease(
            ReleaseId(new_uuid()), project, push.name, "active", version, release_key(version), fields
        )
        keys: Mapping[FileName, Key] = {name: one.key for name, one in wanted.items()}
        carried = [_or_raise(one) for one in files]
        found = {file.id: _or_raise(one) for file, one in zip(carried, objects, strict=True)}
        return Parcel(release, carried, [], keys, {at: body for at, body in found.items() if body is not None})

    async def _listed(
        self, mirror: IndexRecord, project: NormalizedName, version: str, now: datetime
    ) -> dict[FileName, Listed]:
        """Return the files of a release as the mirror's page lists them, fresh if that can be had.

        Raises:
            ServiceError: upstream-failed, when nothing is known of the project.
        """
        page = await self._page(mirror, project)
        upstream = None if mirror.mirror is None else mirror.mirror.url
        if upstream is not None and (page is None or not page.validity.is_fresh(now)):
            await self._questions.ask([(mirror, project)])
            page = await self._page(mirror, project)
        if page is None:
            words = f"{mirror.name} is a mirror, and its upstream tells nothing of {project} at the moment"
            raise ServiceError(ErrorKind.UPSTREAM, words)
        if page.document is None or page.origins is None:
            return {}
        document, origins = page.document, page.origins
        files = await asyncio.to_thread(lambda: listed_files(unpack(document), origins))
        key = release_key(version)
        return {name: one for name, one in files.items() if release_key(one.version) == key}

    async def _page(self, mirror: IndexRecord, project: NormalizedName) -> KeptPage | None:
        async with self._resources.engine.connect() as connection:
            kept = await kept_page(connection, MirrorId(mirror.id, mirror.life), project)
        upstream = None if mirror.mirror is None else mirror.mirror.url
        return None if kept is None else kept.under(upstream)

    async def _object(self, wanted: Wanted) -> bytes:
        """Return the provenance object of a file: what the page announces is not left out when it cannot be had.

        Raises:
            ServiceError: upstream-failed.
        """
        try:
            return await self._fetching.body(wanted, await self._fetching.whole(wanted, wait=_FILE_SECONDS))
        except ServiceError as error:
            words = f"The provenance of {wanted.file_name} cannot be had: {error.detail}"
            raise ServiceError(ErrorKind.UPSTREAM, words, retry_after=error.retry_after) from error

    async def _hashed(self, wanted: Wanted) -> Spooled:
        """Have a file in the store, and return all its digests.

        Raises:
            ServiceError: upstream-failed.
        """
        await asyncio.to_thread(self._staging.mkdir, 0o700, True, True)
        spool = Spool(self._staging)
        try:
            kept = await self._fetching.whole(wanted, wait=_FILE_SECONDS)
            async with self._fetching.open(wanted, kept.length) as opened:
                async for chunk in opened.chunks:
                    spool.feed(memoryview(chunk))
                    await spool.drain()
            spooled = await spool.finish()
        except ServiceError as error:
            raise ServiceError(ErrorKind.UPSTREAM, error.detail, retry_after=error.retry_after) from error
        finally:
            await spool.discard()
        if spooled.sha256 != wanted.sha256:
            await self._fetching.forget(wanted.key)
            raise ServiceError(ErrorKind.UPSTREAM, f"{wanted.file_name} was damaged in the store: try again.")
        return spooled


def _refuse_held(
    mirror: IndexRecord, project: NormalizedName, listed: Mapping[FileName, Listed], now: datetime
) -> None:
    """Refuse what the mirror does not show: it must not find its way out by another index."""
    policies = policies_of(mirror, mirror)
    for name, one in sorted(listed.items()):
        hidden = judge_file(policies, project, one.version, one.origin.uploaded_at, now)
        if hidden is not None:
            raise ServiceError(ErrorKind.FORBIDDEN, f"{name} is held back by {_told(hidden)}: nothing is pushed.")


def _told(hidden: Hidden) -> str:
    until = "" if hidden.until is None else f" until {hidden.until:%Y-%m-%dT%H:%M:%SZ}"
    return f"{hidden.index} ({hidden.rule}{until})"


def _carried(name: FileName, listed: Listed, spooled: Spooled, principal: Principal, now: datetime) -> Carried:
    """Return a fetched file as a row of the index it goes to; who pushes it answers for it."""
    entry: dict[str, Any] = orjson.loads(listed.entry)
    yanked = entry.get("yanked", False)
    return Carried(
        id=FileId(new_uuid()),
        held=False,
        file_name=name,
        package_type=kind_of(name) or "",
        sha256=spooled.sha256,
        blake2b_256=spooled.blake2b_256,
        md5=spooled.md5,
        length=Length(spooled.length),
        requires_python=entry.get("requires-python"),
        core_metadata_sha256=None,
        core_metadata_length=None,
        uploaded_at=listed.origin.uploaded_at or now,
        uploader=principal.account or "",
        token_id=principal.token_id,
        yanked_at=now if yanked else None,
        yanked_by="upstream" if yanked else None,
        yanked_reason=yanked if isinstance(yanked, str) else None,
        warnings=(),
        history=(),
    )


def _or_raise(outcome: _Outcome | BaseException) -> _Outcome:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
