"""Attaches documentation to releases and test results to files: stored like files, shown at commit, never signed.

Documentation comes as an upload form, a test result as the JSON body of a request to its file's address. Bytes first
(put-if-absent), then one transaction in which everything is looked at again.

Source: contract devpi sections 9 (`doc_upload`), 10 and 12; architecture sections 11.7 and 11.8.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import orjson
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.digest import Length, Sha256, sha256_of
from countermark.core.names import FileName
from services.upload.attaching_rules import (
    Documented,
    FileAddress,
    Standing,
    documented,
    named,
    overwritten,
    release_meant,
    result_name,
    standing_of,
)
from services.upload.form import ReceivedForm
from services.upload.sending import Sent
from shared.auth.directory import IndexRecord
from shared.auth.permissions import Decision, authorize
from shared.auth.principal import Principal, Verb
from shared.catalogue import attachments, releases
from shared.catalogue.attachments import DOC, TEST_RESULT, AddressTaken, Attached, NewAttachment, TestedFile
from shared.catalogue.releases import NewRelease
from shared.catalogue.unit_of_work import UnitOfWork
from shared.errors import ErrorKind, ServiceError
from shared.ids import ProjectId, ReleaseId
from shared.jobs.messages import PublishIndex
from shared.objects.interface import LocalFile, ObjectExists, ObjectStoreError, Put
from shared.objects.keys import file_key
from shared.resources import Resources

log = structlog.get_logger()

MAX_RESULT_BYTES = 10 << 20
"""Bytes of a test result; those of real projects have some hundred thousand."""

FORBIDDEN = "No permission to upload tox results. You can use the devpi test --no-upload option to skip the upload."
"""devpi's words, which its client prints."""

_RETRY_AFTER = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Documentation:
    """Documentation that an index has now, or had already with the same bytes; `version` is the release's."""

    file_name: FileName
    version: str
    already_there: bool


class Attaching:
    """The use cases of attachments."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    async def document(self, sent: Sent, form: ReceivedForm) -> Documentation:
        """Keep the documentation of a release, in place of what it had; the release is made where there is none.

        Args:
            form: a form whose action is `doc_upload`; its file stays the caller's. Any bytes are taken.

        Raises:
            ServiceError: invalid, forbidden, conflict, unavailable. Nothing is kept.
        """
        about, index, principal = documented(form.fields), sent.index, sent.principal
        sent.permit(about.project)
        async with self._resources.engine.connect() as connection:
            standing = await self._standing(connection, index, about, form)
        if standing.settled:
            return Documentation(standing.file_name, standing.version, already_there=True)
        await self._store(index, form.sha256, standing.file_name, LocalFile(form.path))
        async with UnitOfWork(self._resources.engine) as work:
            project_id, release_id = await self._open_release(work.connection, index, about, standing)
            # The release is locked: what was looked at before may have changed meanwhile.
            standing = await self._standing(work.connection, index, about, form)
            if not standing.settled:
                await self._keep_documentation(work.connection, index, principal, form, standing, release_id)
                # What is derived from a release that is new is kept until a publication of its project.
                await work.enqueue(PublishIndex(index.id, project_id))
                await work.commit()
        log.info("documentation_received", index=str(index.name), file_name=standing.file_name, length=form.length)
        return Documentation(standing.file_name, standing.version, already_there=standing.settled)

    async def tested(self, index: IndexRecord, principal: Principal, at: FileAddress, body: bytes) -> Attached:
        """Keep what a test run found about a file of an index, beside what earlier ones found.

        Args:
            body: the report; kept byte for byte.

        Raises:
            ServiceError: not-found, there is no such file; forbidden; invalid, the report is no JSON; unavailable.
        """
        async with self._resources.engine.connect() as connection:
            file = await self._file(connection, index, at)
            number = await attachments.results_of_file(connection, file.id)
        if authorize(principal, Verb.TEST_RESULT, index.resource(file.project)) is not Decision.ALLOWED:
            raise ServiceError(ErrorKind.FORBIDDEN, FORBIDDEN)
        await _check_json(body)
        digest, now = sha256_of(body), self._resources.clock.now()
        while True:
            name = result_name(at.file_name, now, number)
            await self._store(index, digest, name, body)
            kept = await self._keep_result(index, principal.account, at, name, (digest, Length(len(body))))
            if kept is not None:
                log.info("test_result_received", index=str(index.name), file_name=name, length=len(body))
                return kept
            number += 1

    async def _standing(
        self, connection: AsyncConnection, index: IndexRecord, about: Documented, form: ReceivedForm
    ) -> Standing:
        """Return under which name the documentation is kept and what that means for what is there.

        Raises:
            ServiceError: it is refused.
        """
        place = (index.id, index.life, "python", about.project)
        status = await releases.project_status(connection, *place)
        if status in {"archived", "quarantined"}:
            raise ServiceError(ErrorKind.FORBIDDEN, f"Project {about.project} is {status}: it takes no uploads.")
        found = await attachments.releases_of(connection, index.id, index.life, about.project, named(about))
        release = release_meant(about, found)
        doc = None if release is None else await attachments.doc_of_release(connection, release.id)
        return standing_of(index, about, (release, doc), (form.file_name, form.sha256))

    async def _open_release(
        self, connection: AsyncConnection, index: IndexRecord, about: Documented, standing: Standing
    ) -> tuple[ProjectId, ReleaseId]:
        """Return the release that is documented, made or brought back where there is none; nobody else adds to it."""
        now = self._resources.clock.now()
        fields = {"name": about.name, "version": standing.version}
        new = NewRelease("python", about.project, about.name, standing.version, standing.key, fields, now)
        project_id = await releases.open_project(connection, index.id, index.life, new, alone=True)
        # Not as a strict index opens it for a file: what was registered of it stays.
        return project_id, await releases.open_release(connection, project_id, new, "devpi")

    async def _keep_documentation(
        self,
        connection: AsyncConnection,
        index: IndexRecord,
        principal: Principal,
        form: ReceivedForm,
        standing: Standing,
        release_id: ReleaseId,
    ) -> None:
        now, old = self._resources.clock.now(), standing.living
        if old is not None:
            await attachments.remove(connection, [old.id], at=now, by=principal.account)
        new = NewAttachment(
            index_id=index.id,
            release_id=release_id,
            file_id=None,
            kind=DOC,
            file_name=standing.file_name,
            path_key=form.sha256[:16],
            sha256=form.sha256,
            length=form.length,
            added_at=now,
            added_by=principal.account,
            history=() if old is None else overwritten(old.history, now),
        )
        try:
            await attachments.insert_attachment(connection, _side(index), index.life, new)
        except AddressTaken as error:
            words = f"{form.file_name} would have the address of other bytes: change it a little and send it again."
            raise ServiceError(ErrorKind.CONFLICT, words) from error

    async def _keep_result(
        self, index: IndexRecord, account: str | None, at: FileAddress, name: FileName, stored: tuple[Sha256, Length]
    ) -> Attached | None:
        """Add a test result whose bytes are stored; None when its name was taken meanwhile."""
        async with UnitOfWork(self._resources.engine) as work:
            file = await self._file(work.connection, index, at)
            new = NewAttachment(
                index_id=index.id,
                release_id=file.release_id,
                file_id=file.id,
                kind=TEST_RESULT,
                file_name=name,
                path_key=at.path_key,
                sha256=stored[0],
                length=stored[1],
                added_at=self._resources.clock.now(),
                added_by=account,
            )
            try:
                await attachments.insert_attachment(work.connection, _side(index), index.life, new)
            except AddressTaken:
                return None
            kept = await attachments.at_path(work.connection, index.id, index.life, at.path_key, name)
            await work.commit()
        return kept

    async def _file(self, connection: AsyncConnection, index: IndexRecord, at: FileAddress) -> TestedFile:
        found = await attachments.tested_file(connection, index.id, index.life, at.path_key, at.file_name)
        if found is None:
            raise ServiceError(ErrorKind.NOT_FOUND, f"no release file found at {index.name}/+f/{at.path}")
        return found

    async def _store(self, index: IndexRecord, sha256: Sha256, name: FileName, body: bytes | LocalFile) -> None:
        """Put bytes under their digest and name: what is there already is the same."""
        try:
            await self._resources.objects.side(public=index.public).put(file_key(sha256, name), body, Put.ABSENT)
        except ObjectExists:
            return
        except ObjectStoreError as error:
            log.error("attachment_not_stored", error=str(error)[:500])
            words = "The file could not be stored; nothing was kept. Try again."
            raise ServiceError(ErrorKind.UNAVAILABLE, words, retry_after=_RETRY_AFTER) from error


async def read_result(body: AsyncIterator[bytes], announced: int) -> bytes:
    """Return the body of a request with a test result.

    Args:
        announced: bytes that the request says it has, 0 when it does not.

    Raises:
        ServiceError: TOO_LARGE, before more than the limit is read.
    """
    read = bytearray()
    if announced <= MAX_RESULT_BYTES:
        async for chunk in body:
            read += chunk
            if len(read) > MAX_RESULT_BYTES:
                break
        else:
            return bytes(read)
    words = f"The test result is longer than {MAX_RESULT_BYTES} bytes, the limit of this server."
    raise ServiceError(ErrorKind.TOO_LARGE, words)


async def _check_json(body: bytes) -> None:
    try:
        # Ten megabytes take a tenth of a second.
        await asyncio.to_thread(orjson.loads, body)
    except orjson.JSONDecodeError as error:
        raise ServiceError(ErrorKind.INVALID, "Bad request: could not decode json") from error


def _side(index: IndexRecord) -> str:
    return "public" if index.public else "private"
