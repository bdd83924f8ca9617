"""A push to another index: the same bytes under new rows, all files or none, in one transaction and one publication.

1. Take the release as it stands in the source; refuse what is held.
2. Where the indexes are on different sides of the store, or the target asks for more than the source did: copy the
   objects, look into the files. Objects nobody names harm nobody.
3. One transaction: project and release of the target locked, conflicts found, rows added and marked, history, audit,
   one outbox row for each file.
4. Wait a bounded time until the publication is served by this process.

Source: contract devpi section 11; architecture sections 11.1, 11.7 and 11.8; ADR 0024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import structlog
from packaging.utils import canonicalize_name
from packaging.version import Version
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from services.upload import push_rules as rules
from services.upload.approving import refuse_replacing
from services.upload.carrying import AnyCarried, Carrier
from services.upload.indexes import keep_index
from services.upload.parcel import MAX_FILES, Parcel
from services.upload.push_rules import ActionLine, Push
from services.upload.pushed_attestations import PushedAttestations
from shared.auth.directory import IndexRecord
from shared.auth.principal import Principal
from shared.catalogue import approvals, outbox, promoting, releases
from shared.catalogue.attestations import MOST, TooMany
from shared.catalogue.marks import Mark
from shared.catalogue.overwriting import NameBurnt, NameTaken
from shared.catalogue.projects import FORMAT
from shared.catalogue.promoting import Plan, Row, TargetRelease
from shared.catalogue.promoting_attestations import living_attestations, write_attestations
from shared.catalogue.promotion_rows import Carried, SourceRelease
from shared.catalogue.releases import STRICT, NewRelease
from shared.catalogue.unit_of_work import UnitOfWork
from shared.errors import ErrorKind, ServiceError
from shared.faults import FaultPoint, reached
from shared.formats.python.names import SDIST, release_key
from shared.ids import AuditId, OutboxId
from shared.jobs.messages import PublishIndex
from shared.reading.resolution import MIRROR
from shared.resources import Resources

log = structlog.get_logger()

_DEADLOCK = "40P01"
"""Postgres: this transaction and another one wait for each other. Source: PostgreSQL manual, appendix A."""

_TRIES = 3
"""How often a push is tried that met uploads of the same files."""


@dataclass(frozen=True, slots=True)
class _Order:
    """A push that is allowed: from where, to where, by whom and when."""

    push: Push
    source: IndexRecord
    target: IndexRecord
    principal: Principal
    at: datetime

    @property
    def step(self) -> Row:
        """The entry that the history of everything pushed gets."""
        given = (self.principal.account, str(self.source.name), str(self.target.name), self.at)
        return rules.push_step(*given, from_mirror=self.source.type == MIRROR)

    @property
    def mark(self) -> Mark:
        """What is written beside what goes."""
        return Mark(self.at, self.principal.account or "", "replaced")

    def record(self, action: str, subject: str, **detail: object) -> Row:
        """Return a row of the audit table about something in the target."""
        token = self.principal.token_id
        told = detail if token is None else detail | {"token": str(token)}
        actor = self.principal.account or ""
        return {"at": self.at, "actor": actor, "action": action, "subject": f"{self.target.name}/{subject}"} | {
            "detail": told
        }

    def audited(self, release: SourceRelease, files: int) -> Row:
        """Return the row of the audit table about the push itself."""
        told = {"project": release.project, "version": release.version, "source": str(self.source.name)}
        return self.record("release.push", f"{release.project}/{release.version}", **told, files=files)

    def objects(self, carried: Sequence[AnyCarried]) -> list[Row]:
        """Return what the target's side of the object store holds of it."""
        side = "public" if self.target.public else "private"
        return [
            {"side": side, "sha256": one.sha256, "file_name": one.file_name, "length": one.length, "stored_at": self.at}
            for one in carried
        ]


class Pushes:
    """The use cases of pushing to an index; `staging` is the folder of what arrives."""

    def __init__(self, resources: Resources, staging: Path) -> None:
        self._resources = resources
        self._attested = PushedAttestations(resources)
        self.staging = staging

    async def pick(self, source: IndexRecord, push: Push) -> Parcel:
        """Return what a push takes along.

        Raises:
            ServiceError: invalid, when there is no such release on this very index; not-found, when it has nothing to
                take along; forbidden, when some of it is held, or waits for approvals.
        """
        name, version = canonicalize_name(push.name), _normalised(push.version)
        async with self._resources.engine.connect() as connection:
            release = await promoting.source_release(connection, source.id, source.life, name, version)
            files = [] if release is None else await promoting.living_files(connection, release.id)
            attached = [] if release is None else await promoting.living_attachments(connection, release.id)
            attested = await living_attestations(connection, files if push.files else [])
            if release is not None and push.files:
                await _refuse_waiting(connection, source, release, files)
        if release is None:
            words = f"there are no files for {push.name} {push.version} on stage {source.name}"
            raise ServiceError(ErrorKind.INVALID, words)
        wanted = [one for one in attached if (push.docs if one.file_id is None else push.files)]
        parcel = Parcel(release, files if push.files else [], wanted, attestations=attested)
        if not parcel.files and not parcel.attachments:
            raise ServiceError(ErrorKind.NOT_FOUND, f"no release/files found for {push.name} {push.version}")
        if len(parcel.files) + len(parcel.attachments) > MAX_FILES:
            raise ServiceError(
                ErrorKind.INVALID, f"The release has more than {MAX_FILES} files: too many for one push."
            )
        _refuse_held(source, parcel)
        return parcel

    async def promote(
        self, push: Push, parcel: Parcel, source: IndexRecord, target: IndexRecord, principal: Principal
    ) -> list[ActionLine]:
        """Make a release of one index a release of another; returns what was done, line by line.

        Raises:
            ServiceError: invalid with every fault, when the target does not admit the files; forbidden by the status
                of its project; conflict, when a name is taken or burnt; unavailable. Nothing was pushed then.
        """
        order = _Order(push, source, target, principal, self._resources.clock.now())
        parcel = await self._carried(order, parcel)
        reached(FaultPoint.PUSH_CARRIED)
        for left in reversed(range(_TRIES)):
            try:
                jobs = await self._commit(order, parcel)
                break
            except DBAPIError as error:
                # An upload took a name between our look and our commit, or two pushes wait for each other: now the one
                # that came first is seen.
                if not isinstance(error, IntegrityError) and getattr(error.orig, "sqlstate", None) != _DEADLOCK:
                    raise
                if left == 0:
                    words = "The same files are being uploaded at the same time: try again."
                    raise ServiceError(ErrorKind.CONFLICT, words) from error
        reached(FaultPoint.PUSH_KEPT)
        if jobs:
            wait = self._resources.settings.uploads.publish_wait
            await self._resources.heads.wait_settled(target.id, jobs, wait)
        return [*rules.action_log(push, str(target.name), parcel.files, parcel.attachments), *parcel.told]

    async def needs_approvals(self, target: IndexRecord, parcel: Parcel) -> bool:
        """Return whether what was pushed shows only when people have approved it."""
        async with self._resources.engine.connect() as connection:
            return await approvals.demanded(connection, target.id, target.life, parcel.release.project)

    async def _carried(self, order: _Order, parcel: Parcel) -> Parcel:
        """Bring the bytes to where the target keeps them, and return the files as the target admits them."""
        stores = self._resources.objects
        mirrored = order.source.type == MIRROR
        source = stores.side(public=order.source.public and not mirrored)
        carrier = Carrier(source, stores.side(public=order.target.public), self.staging, parcel.fetched)
        # A stage keeps the admission it was made with, so that all its files came in by it.
        judged = order.source.admission == STRICT and not mirrored
        again = order.target.admission == STRICT and not judged and parcel.files
        if mirrored or order.source.public != order.target.public:
            # What is looked into again has its core metadata put by that.
            bare = [replace(file, core_metadata_sha256=None) for file in parcel.files] if again else parcel.files
            await carrier.copy([*bare, *parcel.attachments, *parcel.attestations])
        parcel = await self._attested.brought(order.target, parcel, order.principal)
        await self._attested.permit(order.target, parcel, carrier)
        if not again:
            return parcel
        release = parcel.release
        key = release.version_key or release_key(release.version)
        found = await carrier.readmit(parcel.files, release.project, key, self._resources.settings.uploads)
        # The file is the only truth here: the form that came with it said more than it may.
        first = found[0]
        told = replace(release, version=first.version, version_key=key, fields=first.inspected.fields)
        return replace(parcel, release=told, files=[one.file for one in found])

    async def _commit(self, order: _Order, parcel: Parcel) -> list[OutboxId]:
        """Add everything to the target; returns the jobs whose publication shows it.

        Raises:
            ServiceError: as `promote`.
            sqlalchemy.exc.IntegrityError: an upload took a name first.
        """
        target = order.target
        async with UnitOfWork(self._resources.engine) as work:
            await keep_index(work.connection, target)
            release = await _opened(work, order, parcel.release)
            await look_again(work.connection, order.source, parcel)
            plan = await _planned(work, order, release, parcel)
            if plan.replaced:
                await refuse_replacing(work.connection, target, parcel.release.project)
            overwritten = await _replace(work, order, parcel.release, plan)
            step = order.step
            histories = {
                file.file_name: [
                    *rules.overwrite_step(plan.overwrites.get(file.file_name), order.at),
                    *rules.history_after(file.history, step),
                ]
                for file in plan.added
            }
            ids = await promoting.write_files(work.connection, release, plan, histories)
            ids |= {file.id: plan.kept[file.file_name] for file in parcel.files if file.file_name in plan.kept}
            about = [
                (one, None if one.file_id is None else ids[one.file_id], rules.history_after(one.history, step))
                for one in parcel.attachments
            ]
            try:
                written = await promoting.write_attachments(work.connection, release, about, order.mark, target.life)
            except NameBurnt as error:
                words = f"{error} has other bytes in {target.name}, or had: its address cannot be used again"
                raise ServiceError(ErrorKind.CONFLICT, words) from error
            try:
                attested = await write_attestations(work.connection, target.id, parcel.attestations, ids)
            except TooMany as error:
                words = f"{error} has {MOST} attestations in {target.name}, or would have more: as many as one may have"
                raise ServiceError(ErrorKind.CONFLICT, words) from error
            await promoting.note_objects(work.connection, order.objects([*plan.added, *written, *attested]))
            if not plan.added and not written and not attested and not target.volatile:
                await work.commit()
                return await outbox.open_changes(work.connection, target.id, release.project_id)
            await promoting.record_all(work.connection, [order.audited(parcel.release, len(plan.added))])
            jobs = await work.enqueue_all(
                [
                    PublishIndex(target.id, release.project_id, ids[file.id], overwritten.get(file.file_name))
                    for file in plan.added
                ]
                + [
                    PublishIndex(target.id, release.project_id, file_id)
                    for file_id in sorted({ids[one.file_id] for one in attested} & set(plan.kept.values()))
                ]
            )
            if not jobs:
                # Documents that are derived from the release (its metadata, its links) are kept until a publication.
                jobs = [await work.enqueue(PublishIndex(target.id, release.project_id))]
            await work.commit()
        log.info("release_pushed", source=str(order.source.name), target=str(target.name), files=len(plan.added))
        return jobs


async def _opened(work: UnitOfWork, order: _Order, release: SourceRelease) -> TargetRelease:
    """Return the release of the target that files go into, made where there is none.

    Raises:
        ServiceError: forbidden by the status of its project.
    """
    target = order.target
    key = release.version_key or release_key(release.version)
    names = (FORMAT, release.project, release.display_name, release.version, key)
    new = NewRelease(*names, release.fields, order.at)
    project_id = await releases.open_project(work.connection, target.id, target.life, new, alone=True)
    status = await releases.project_status(work.connection, target.id, target.life, FORMAT, release.project)
    if status in {"archived", "quarantined"}:
        raise ServiceError(ErrorKind.FORBIDDEN, f"Project {release.project} is {status}: it takes no uploads.")
    release_id = await releases.open_release(work.connection, project_id, new, target.admission)
    opened = TargetRelease(target.id, project_id, release_id)
    if target.volatile:
        await promoting.describe(work.connection, opened, release.fields)
    return opened


async def look_again(connection: AsyncConnection, source: IndexRecord, parcel: Parcel) -> None:
    """Refuse what was held, removed or put in quarantine since the push began: copying takes its time.

    Raises:
        ServiceError: forbidden; conflict, when something of it was removed.
    """
    if source.type == MIRROR:
        # Its policies were asked when it was picked, and what was fetched is kept for the push.
        return
    release = parcel.release
    status = await releases.project_status(connection, source.id, source.life, FORMAT, release.project)
    files = await promoting.living_files(connection, release.id)
    attached = {one.sha256 for one in await promoting.living_attachments(connection, release.id)}
    held = {file.id: file.held for file in files}
    gone: list[str] = [file.file_name for file in parcel.files if file.id not in held]
    gone += [one.file_name for one in parcel.attachments if one.sha256 not in attached]
    if gone:
        words = f"Removed from {source.name} while it was pushed, so that nothing is pushed: {', '.join(gone[:20])}."
        raise ServiceError(ErrorKind.CONFLICT, words)
    now = [replace(file, held=held[file.id]) for file in parcel.files]
    _refuse_held(source, Parcel(replace(release, status=status or release.status), now, parcel.attachments))


async def _planned(work: UnitOfWork, order: _Order, release: TargetRelease, parcel: Parcel) -> Plan:
    """Decide what becomes of everything.

    Raises:
        ServiceError: conflict, in devpi's words where it has some.
    """
    target = order.target
    found = await promoting.standings(work.connection, target, parcel.files)
    try:
        plan = promoting.plan(target, parcel.release.project, parcel.files, found)
    except NameTaken as error:
        words = f"{error} already exists in non-volatile index"
        if target.volatile:
            words = f"{error} belongs to another project of {target.name}, or other bytes had its address"
        raise ServiceError(ErrorKind.CONFLICT, words) from error
    except NameBurnt as error:
        words = f"{error} was removed from {target.name}: its name cannot be used again"
        raise ServiceError(ErrorKind.CONFLICT, words) from error
    sources = [file.file_name for file in plan.added if file.package_type == SDIST]
    if sources and target.admission == STRICT:
        other = await promoting.other_source_archive(work.connection, release, sources)
        if other is not None or len(sources) > 1:
            at = f"{parcel.release.project} {parcel.release.version}"
            words = f"{at} has a source archive already: {other or sources[0]}."
            raise ServiceError(ErrorKind.CONFLICT, words)
    if not target.volatile and any(one.file_id is None for one in parcel.attachments):
        name, removed = await promoting.newest_documentation(work.connection, release) or ("", True)
        if not removed:
            raise ServiceError(ErrorKind.CONFLICT, f"{name} already exists in non-volatile index")
        if name and target.admission == STRICT:
            words = f"{name} was removed from {target.name}: its name cannot be used again"
            raise ServiceError(ErrorKind.CONFLICT, words)
    return plan


async def _replace(work: UnitOfWork, order: _Order, release: SourceRelease, plan: Plan) -> dict[str, AuditId]:
    """Remove the files that others replace; returns the record of each replacement, by file name."""
    await promoting.remove_replaced(work.connection, plan.replaced, order.mark)
    by_name = {file.file_name: file for file in plan.added}
    rows = [
        order.record(
            "file.overwrite",
            f"{release.project}/{old.version}/{old.file_name}",
            # As its release writes it: with it signing finds the file that goes.
            version=old.version,
            file=old.file_name,
            replaced=old.sha256,
            sha256=by_name[old.file_name].sha256,
        )
        for old in plan.replaced
    ]
    numbers = await promoting.record_all(work.connection, rows)
    return {old.file_name: number for old, number in zip(plan.replaced, numbers, strict=True)}


def _normalised(version: str) -> str:
    """Return a version as releases have it; one that is none (admission `devpi` takes such) as it is written."""
    try:
        return str(Version(version))
    except ValueError:  # `InvalidVersion`, or a number of more digits than Python converts.
        return version


async def _refuse_waiting(
    connection: AsyncConnection, source: IndexRecord, release: SourceRelease, files: Sequence[Carried]
) -> None:
    """Refuse what people have yet to approve: it must not find its way out by another index either."""
    if not await approvals.demanded(connection, source.id, source.life, release.project):
        return
    waiting = await promoting.not_shown(connection, files)
    if waiting:
        words = (
            f"Not published in {source.name}, which asks for approvals: {', '.join(waiting[:20])}. Nothing is pushed."
        )
        raise ServiceError(ErrorKind.FORBIDDEN, words)


def _refuse_held(source: IndexRecord, parcel: Parcel) -> None:
    """Refuse what may not be downloaded either: it must not find its way out by another index."""
    project = parcel.release.project
    if parcel.release.status == "quarantined":
        raise ServiceError(
            ErrorKind.FORBIDDEN, f"Project {project} is quarantined in {source.name}: nothing is pushed."
        )
    held = [file.file_name for file in parcel.files if file.held]
    if held:
        words = f"Held for review in {source.name}, so that nothing is pushed: {', '.join(held[:20])}."
        raise ServiceError(ErrorKind.FORBIDDEN, words)
