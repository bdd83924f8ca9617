"""Removing as devpi's API does: a whole project, a release or a file, found by its URL.

Marks, a row in the audit table and a publication that is asked for, all in one transaction; the answer waits a bounded
time until that publication is served by this process. What was removed is not there a second time.

Source: contract devpi sections 7, 10 and 23; architecture sections 5 and 11.8.
"""

from __future__ import annotations

from packaging.version import Version

from countermark.core.names import FileName, NormalizedName
from services.upload.managing import Place, settle, shown, wanted_of
from shared.auth.directory import IndexRecord
from shared.auth.principal import Principal
from shared.catalogue import marks, releases
from shared.catalogue.marks import AddressedFile, Mark
from shared.catalogue.unit_of_work import UnitOfWork
from shared.formats.python.names import release_key
from shared.ids import OutboxId
from shared.resources import Resources

_MAX_VERSION = 200


class Removals:
    """The use cases of removing."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    async def find(self, index: IndexRecord, path_key: str, file_name: FileName) -> AddressedFile | None:
        """Return what an address of an index means, None when it never meant anything."""
        async with self._resources.engine.connect() as connection:
            return await marks.addressed_file(connection, index.id, index.life, path_key, file_name)

    async def remove(
        self, index: IndexRecord, principal: Principal, project: NormalizedName, version: str | None = None
    ) -> bool:
        """Remove a release, or a whole project, with everything that belongs to it.

        Returns:
            Whether there was one. True once its removal is served here, or the time for that ran out.
        """
        place = Place(index, project)
        async with UnitOfWork(self._resources.engine) as work:
            found = await marks.lock_project(work.connection, index.id, index.life, project)
            if found is None or found.removed:
                return False
            release_id = None
            if version is not None and "\0" in version:
                # Texts of the catalogue hold none, and it refuses to look for one.
                return False
            if version is not None:
                written = _normalised(version)
                release = await releases.release_named(work.connection, found.id, written, release_key(written))
                if release is None:
                    return False
                release_id, place = release.id, Place(index, project, release.version)
            wanted = wanted_of(place, principal, "remove")
            mark = Mark(self._resources.clock.now(), wanted.actor)
            files = await marks.files_of(work.connection, found.id, release_id)
            await marks.remove(work.connection, [file.id for file in files if not file.removed], mark)
            if not await marks.remove_emptied(work.connection, found.id, release_id, mark, whole=True):
                return False
            jobs = await settle(self._resources, work, wanted, found.id, changed=True)
        await shown(self._resources, place, jobs)
        return True

    async def remove_file(self, index: IndexRecord, principal: Principal, file: AddressedFile) -> bool:
        """Remove one file, or an attachment, and what is left without any; returns whether it was still there."""
        place = Place(index, file.project, file.version, file.file_name)
        jobs: list[OutboxId]
        async with UnitOfWork(self._resources.engine) as work:
            project = await marks.lock_project(work.connection, index.id, index.life, file.project)
            assert project is not None, "rows are never deleted"
            wanted = wanted_of(place, principal, "remove")
            mark = Mark(self._resources.clock.now(), wanted.actor)
            if not await marks.remove_addressed(work.connection, file, mark):
                return False
            await marks.remove_emptied(work.connection, project.id, file.release_id, mark, whole=False)
            jobs = await settle(self._resources, work, wanted, project.id, changed=True)
        await shown(self._resources, place, jobs)
        return True


def _normalised(version: str) -> str:
    """Return a version as releases have it; what is none stays as it is, and is found nowhere."""
    try:
        return str(Version(version[:_MAX_VERSION]))
    except ValueError:  # `InvalidVersion`, or a number of more digits than Python converts.
        return version[:_MAX_VERSION]
