"""Removing what a mirror keeps: bytes, pages and the digests that names were first seen with.

What the upstream still has comes again, and may have another digest then: that is what removing it here is for.
Source: contract devpi sections 14 and 23.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from countermark.core.names import FileName, NormalizedName
from shared.auth.directory import IndexRecord
from shared.auth.principal import Principal
from shared.catalogue import audit, mirror_files, mirror_json, mirror_pages
from shared.catalogue.mirror_pages import KeptPage, MirrorId
from shared.catalogue.unit_of_work import UnitOfWork
from shared.fetching.wanted import wanted_file, wanted_metadata, wanted_provenance
from shared.formats.python.foreign import projects_named
from shared.formats.python.merged import without
from shared.formats.python.names import release_key
from shared.formats.python.origins import listed_files, pack_files, pack_seen, unpack_seen
from shared.formats.python.upstream import Listed
from shared.objects.interface import Key
from shared.resources import Resources
from shared.zstd import pack, unpack

Chosen = Callable[[FileName, Listed], bool]


class MirrorRemovals:
    """The use cases of removing from mirrors."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    async def remove(
        self, mirror: IndexRecord, principal: Principal, project: NormalizedName, version: str | None = None
    ) -> bool:
        """Remove what is kept of a project or of one version of it; returns whether there was anything."""
        if version is None:
            return await self._remove(mirror, principal, project, None)
        key = release_key(version)
        return await self._remove(mirror, principal, project, lambda _, listed: release_key(listed.version) == key)

    async def remove_file(
        self, mirror: IndexRecord, principal: Principal, path_key: str, file_name: FileName
    ) -> NormalizedName | None:
        """Remove what is kept of a file; returns its project, None when no kept page lists it at this address.

        Args:
            path_key: the first 16 hex digits of the file's sha256.
        """

        def chosen(name: FileName, listed: Listed) -> bool:
            return name == file_name and listed.origin.sha256.startswith(path_key)

        for project in projects_named(file_name):
            if await self._remove(mirror, principal, project, chosen):
                return project
        return None

    async def _remove(
        self, mirror: IndexRecord, principal: Principal, project: NormalizedName, chosen: Chosen | None
    ) -> bool:
        """Remove the chosen files of a project; None for all that is kept of it."""
        which, now = MirrorId(mirror.id, mirror.life), self._resources.clock.now()
        async with UnitOfWork(self._resources.engine) as work:
            kept = await mirror_pages.locked_page(work.connection, which, project)
            if kept is None:
                return False
            files = await asyncio.to_thread(_files, kept)
            gone = files if chosen is None else {name: one for name, one in files.items() if chosen(name, one)}
            if not gone and (chosen is not None or kept.document is None):
                return False
            if chosen is None:
                await mirror_pages.drop(work.connection, which, project)
            else:
                thinned = await asyncio.to_thread(_thinned, kept, files, gone)
                await mirror_pages.thin(work.connection, which, project, thinned, now)
            await mirror_json.drop(work.connection, which, project)
            await mirror_files.mark(work.connection, _keys(mirror, project, gone), now)
            await audit.record(
                work.connection,
                at=now,
                actor=str(principal.account),
                action="mirror.remove",
                subject=f"{mirror.name}/{project}",
                files=sorted(gone)[:_MOST_TOLD],
                number=len(gone),
            )
            await work.commit()
        return True


_MOST_TOLD = 100
"""Names in a row of the audit table."""


def _files(kept: KeptPage) -> dict[FileName, Listed]:
    if kept.document is None or kept.origins is None:
        return {}
    return listed_files(unpack(kept.document), kept.origins)


def _thinned(
    kept: KeptPage, files: Mapping[FileName, Listed], gone: Mapping[FileName, Listed]
) -> tuple[bytes, bytes, bytes | None]:
    """Return document, origins and former digests of a page without some files. Blocking."""
    assert kept.document is not None
    rest = {name: listed for name, listed in files.items() if name not in gone}
    hidden = {name: listed.version for name, listed in gone.items()}
    document = without(unpack(kept.document), hidden, (listed.version for listed in rest.values()))
    seen = {name: sha256 for name, sha256 in unpack_seen(kept.seen).items() if name not in gone}
    return pack(document), pack_files(rest), pack_seen(seen)


def _keys(mirror: IndexRecord, project: NormalizedName, files: Mapping[FileName, Listed]) -> list[Key]:
    """Return under what bytes of files, and what is beside them, may be kept."""
    found = []
    for name, listed in files.items():
        of_file = (mirror, project, name, listed.origin)
        wanted = (wanted_file(*of_file, 0), wanted_metadata(*of_file), wanted_provenance(*of_file))
        found += [one.key for one in wanted if one is not None]
    return found
