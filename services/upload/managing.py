"""Looking at projects and changing what they show: yank, removal, status.

A change is a mark, a row in the audit table and a publication that is asked for, all in one transaction; its answer
waits a bounded time until that publication is served by this process. Doing a thing twice does it once.

Source: contract python-index section 2.7; architecture sections 5 and 11.8.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.names import FileName, NormalizedName
from shared.auth.directory import IndexRecord
from shared.auth.principal import Principal
from shared.catalogue import audit, heads, marks, outbox, projects, releases
from shared.catalogue.marks import LockedProject, Mark, MarkedFile
from shared.catalogue.projects import FileLine, ProjectDetail, ProjectLine, ReleaseDetail, ReleaseLine
from shared.catalogue.publication_rows import STATUS_CHANGE
from shared.catalogue.release_evidence import identities_of
from shared.catalogue.releases import NamedRelease
from shared.catalogue.unit_of_work import UnitOfWork
from shared.errors import ErrorKind, ServiceError
from shared.formats.python.names import release_key
from shared.ids import FileId, OutboxId, ProjectId
from shared.jobs.messages import PublishIndex
from shared.reading.provenance_labels import ReleaseProvenance, provenance_label
from shared.resources import Resources

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Place:
    """What a request is about: a project of an index, or a release or a file of it."""

    index: IndexRecord
    project: NormalizedName
    version: str | None = None
    file_name: FileName | None = None

    @property
    def scope(self) -> str:
        """How the audit table calls what is meant, in front of the action."""
        if self.version is None:
            return "project"
        return "release" if self.file_name is None else "file"

    def __str__(self) -> str:
        parts = (self.index.name, self.project, self.version, self.file_name)
        return "/".join(str(part) for part in parts if part is not None)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A change that somebody asked for.

    Attributes:
        action: the action of the audit row.
        detail: what else the audit row says.
    """

    place: Place
    actor: str
    action: str
    detail: dict[str, Any]

    def of_version(self, version: str) -> Wanted:
        """Return the same change with its version spelled as its release is."""
        return replace(self, place=replace(self.place, version=version), detail=self.detail | {"version": version})


class Projects:
    """The use cases of managing projects."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    async def page(
        self, index: IndexRecord, *, containing: str | None, after: str | None, limit: int
    ) -> Sequence[ProjectLine]:
        """Return projects of an index by name, at most `limit`."""
        async with self._resources.engine.connect() as connection:
            return await projects.project_page(
                connection, index.id, index.life, containing=containing, after=after, limit=limit
            )

    async def project(self, place: Place) -> tuple[ProjectDetail, Sequence[tuple[ReleaseLine, ReleaseProvenance]]]:
        """Return a project and its releases, each with what is said of its provenance.

        Raises:
            ServiceError: not-found.
        """
        async with self._resources.engine.connect() as connection:
            found = await projects.find_project(connection, place.index.id, place.index.life, place.project)
            if found is None:
                raise _no_project(place)
            lines = await projects.project_releases(connection, found.id)
            evidence = await identities_of(connection, found.id)
        files = [evidence.get(line.id, []) for line in lines]
        # The highest version first: the release before one is the next.
        return found, [
            (line, provenance_label(mine, before))
            for line, mine, before in zip(lines, files, [*files[1:], None], strict=False)
        ]

    async def release(self, place: Place) -> tuple[ReleaseDetail, Sequence[FileLine], ReleaseProvenance]:
        """Return a release, its files, and what is said of its provenance.

        Raises:
            ServiceError: not-found.
        """
        async with self._resources.engine.connect() as connection:
            project = await projects.find_project(connection, place.index.id, place.index.life, place.project)
            if project is None:
                raise _no_project(place)
            named = await _release(connection, project.id, place)
            found = await projects.find_release(connection, named.id)
            if found is None:
                raise _no_release(place)
            files = await projects.release_files(connection, place.index.id, found.id)
            lines = await projects.project_releases(connection, project.id)
            order = [line.id for line in lines]
            before = order[order.index(found.id) + 1 :][:1] if found.id in order else []
            evidence = await identities_of(connection, project.id, [found.id, *before])
        earlier = evidence.get(before[0], []) if before else None
        return found, files, provenance_label(evidence.get(found.id, []), earlier)

    async def yank(self, place: Place, principal: Principal, reason: str | None) -> int | None:
        """Yank the files of a release, or one; returns the serial that shows it, None while that is pending.

        Raises:
            ServiceError: not-found; gone, when what is meant was removed.
        """
        words = reason or None

        async def change(work: UnitOfWork, files: Sequence[MarkedFile], mark: Mark) -> list[FileId]:
            to_do = [file.id for file in files if not file.yanked or file.yanked_reason != words]
            await marks.yank(work.connection, to_do, mark)
            return to_do

        return await self._mark_files(wanted_of(place, principal, "yank", reason=words), change)

    async def unyank(self, place: Place, principal: Principal) -> int | None:
        """Take the yank of a release, or of one file, back; otherwise as `yank`."""

        async def change(work: UnitOfWork, files: Sequence[MarkedFile], _mark: Mark) -> list[FileId]:
            to_do = [file.id for file in files if file.yanked]
            await marks.unyank(work.connection, to_do)
            return to_do

        return await self._mark_files(wanted_of(place, principal, "unyank"), change)

    async def remove(self, place: Place, principal: Principal) -> int | None:
        """Remove a release, or one file of it; what is left without a file goes as well. Otherwise as `yank`.

        What was removed before is not gone for this: the answer is the same again.
        """

        async def change(work: UnitOfWork, files: Sequence[MarkedFile], mark: Mark) -> list[FileId]:
            to_do = [file.id for file in files]
            await marks.remove(work.connection, to_do, mark)
            return to_do

        return await self._mark_files(wanted_of(place, principal, "remove"), change, removal=True)

    async def unhold(self, place: Place, principal: Principal) -> int | None:
        """Hold a file no more, which was held as it did not verify; otherwise as `yank`."""

        async def change(work: UnitOfWork, files: Sequence[MarkedFile], _mark: Mark) -> list[FileId]:
            to_do = [file.id for file in files if file.held]
            await marks.unhold(work.connection, to_do)
            return to_do

        return await self._mark_files(wanted_of(place, principal, "unhold"), change, shows=True)

    async def set_status(self, place: Place, principal: Principal, status: str, reason: str | None) -> int | None:
        """Change the status of a project; otherwise as `yank`."""
        wanted = wanted_of(place, principal, "status", status=status, reason=reason or None)
        assert wanted.action == STATUS_CHANGE
        async with UnitOfWork(self._resources.engine) as work:
            project = await self._locked(work, place)
            changed = (project.status, project.status_reason) != (status, reason or None)
            if changed:
                await marks.set_status(work.connection, project.id, status, reason or None)
            jobs = await settle(self._resources, work, wanted, project.id, changed=changed)
        return await shown(self._resources, place, jobs)

    async def _mark_files(
        self,
        wanted: Wanted,
        change: Callable[[UnitOfWork, Sequence[MarkedFile], Mark], Awaitable[list[FileId]]],
        *,
        removal: bool = False,
        shows: bool = False,
    ) -> int | None:
        """Do a change to the living files that are meant.

        Args:
            change: marks what is not marked yet and returns it.
            removal: whether files that were all removed before are no error, and what is left empty goes.
            shows: whether files show again that the index does not list now.
        """
        async with UnitOfWork(self._resources.engine) as work:
            project = await self._locked(work, wanted.place)
            release = await _release(work.connection, project.id, wanted.place)
            # From here on the release's own spelling: that is what the journal and the audit have it under.
            wanted = wanted.of_version(release.version)
            place = wanted.place
            files = await marks.files_of(work.connection, project.id, release.id)
            meant = [file for file in files if place.file_name in (None, file.file_name)]
            if not meant:
                raise ServiceError(ErrorKind.NOT_FOUND, f"There is no file {place}.")
            living = [file for file in meant if not file.removed]
            if not living and not removal:
                raise ServiceError(ErrorKind.GONE, f"{place} was removed.")
            mark = Mark(self._resources.clock.now(), wanted.actor, wanted.detail.get("reason"))
            changed = await change(work, living, mark) if living else []
            if changed and removal:
                whole = place.file_name is None
                await marks.remove_emptied(work.connection, project.id, release.id, mark, whole=whole)
            again = changed if shows else ()
            jobs = await settle(self._resources, work, wanted, project.id, changed=bool(changed), again=again)
        return await shown(self._resources, place, jobs)

    async def _locked(self, work: UnitOfWork, place: Place) -> LockedProject:
        project = await marks.lock_project(work.connection, place.index.id, place.index.life, place.project)
        if project is None:
            raise _no_project(place)
        return project


async def settle(
    resources: Resources,
    work: UnitOfWork,
    wanted: Wanted,
    project_id: ProjectId,
    *,
    changed: bool,
    again: Sequence[FileId] = (),
) -> list[OutboxId]:
    """Record a change, ask for its publication and commit; returns the jobs that it waits for.

    What is as it was asked for may still wait for its publication, asked for by somebody before.

    Args:
        again: files that are not listed and are to be; each is asked for as if it had just arrived.
    """
    place = wanted.place
    if not changed:
        return await outbox.open_changes(work.connection, place.index.id, project_id)
    audit_id = await audit.record(
        work.connection,
        at=resources.clock.now(),
        actor=wanted.actor,
        action=wanted.action,
        subject=str(place),
        **wanted.detail,
    )
    messages = [PublishIndex(place.index.id, project_id, file_id, audit_id) for file_id in again or (None,)]
    jobs = await work.enqueue_all(messages)
    await work.commit()
    log.info("project_changed", action=wanted.action, subject=str(place), actor=wanted.actor)
    return jobs


async def shown(resources: Resources, place: Place, jobs: Sequence[OutboxId]) -> int | None:
    """Wait until changes are served here; returns the serial of the project's page, None when the time ran out."""
    served = await resources.heads.wait_settled(place.index.id, jobs, resources.settings.uploads.publish_wait)
    if served is None:
        return None
    async with resources.engine.connect() as connection:
        page = await heads.current_page(connection, place.index.id, place.project)
    return served if page is None else page.serial


def wanted_of(place: Place, principal: Principal, verb: str, **detail: Any) -> Wanted:
    """Return a change as it is recorded."""
    parts = {"project": place.project, "version": place.version, "file": place.file_name}
    told = {name: value for name, value in (parts | detail).items() if value is not None}
    if principal.token_id is not None:
        told["token"] = str(principal.token_id)
    return Wanted(place, principal.account or "", f"{place.scope}.{verb}", told)


async def _release(connection: AsyncConnection, project_id: ProjectId, place: Place) -> NamedRelease:
    """Return the release that a place names, in whichever spelling.

    Raises:
        ServiceError: not-found.
    """
    assert place.version is not None
    found = await releases.release_named(connection, project_id, place.version, release_key(place.version))
    if found is None:
        raise _no_release(place)
    return found


def _no_project(place: Place) -> ServiceError:
    return ServiceError(ErrorKind.NOT_FOUND, f"There is no project {place.project} in {place.index.name}.")


def _no_release(place: Place) -> ServiceError:
    return ServiceError(ErrorKind.NOT_FOUND, f"There is no release {place.version} of {place.project} here.")
