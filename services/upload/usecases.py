"""An upload, from the request's body to a durable row and, in time, a publication.

1. The caller has settled who uploads and that they may upload something here (before any byte was read).
2. Stream the body to the staging folder while hashing (`form.receive_form`).
3. Check the form, the name, the digests; then the right to this project.
4. The same bytes again: done. Other bytes under the same name: refused.
5. Inspect the file; compare it with the form.
6. Put the bytes, absent only; then one transaction: project, release, file, outbox.
7. Wait a bounded time until the publication that lists the file is served by this process.

Source: architecture sections 5 and 11.7; contract python-index section 2.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import structlog
from sqlalchemy.exc import IntegrityError

from countermark.core.digest import Length, sha256_of
from services.upload import rules
from services.upload.attaching import Attaching, Documentation
from services.upload.attaching_rules import DOC_UPLOAD
from services.upload.form import ContentMissing, ReceivedForm, receive_form
from shared.auth.access import require
from shared.auth.directory import IndexRecord
from shared.auth.principal import Principal, Verb
from shared.catalogue import releases
from shared.catalogue.heads import Expecting
from shared.catalogue.releases import FileProgress, KnownFile, NewFile, SourceArchiveTaken
from shared.catalogue.unit_of_work import UnitOfWork
from shared.errors import ErrorKind, ServiceError
from shared.faults import FaultPoint, reached
from shared.formats.interface import Coordinates, Inspected, InvalidFile
from shared.formats.registry import FORMATS
from shared.ids import FileId
from shared.jobs.messages import PublishIndex
from shared.objects.interface import Key, LocalFile, ObjectExists, ObjectStoreError, Put
from shared.objects.keys import core_metadata_key, file_key
from shared.resources import Resources

log = structlog.get_logger()

_RETRY_AFTER = timedelta(seconds=10)
"""When a client may try again after the store failed; by then it was asked several times."""

_INSPECTIONS_AT_ONCE = 2
"""Files inspected at the same time: inspection is CPU work in threads."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an upload; `serial` is the publication that lists the file, None while it is pending.

    `warnings` are sentences for the uploader of a file that was admitted all the same.
    """

    file_id: FileId
    file_name: str
    already_there: bool
    serial: int | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Admitted:
    """The file that an upload stands for, whether it is new or was there with the same bytes."""

    file_id: FileId
    already_there: bool
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Look:
    """What the catalogue has of a file that arrives; `warnings` about the name of a project that is new."""

    known: KnownFile | None
    warnings: tuple[str, ...] = ()


class Uploads:
    """The use cases of the upload service."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._inspecting = asyncio.Semaphore(_INSPECTIONS_AT_ONCE)
        self.attaching = Attaching(resources)

    @property
    def staging(self) -> Path:
        """The folder in which bodies lie until they are admitted; on the store's file system where that is a folder."""
        return self._resources.settings.data / "staging"

    async def receive(
        self,
        index: IndexRecord,
        principal: Principal,
        content_type: str,
        body: AsyncIterator[bytes],
        *,
        documents: bool = False,
    ) -> Receipt | Documentation:
        """Take one file from an upload form.

        Args:
            documents: whether forms that bring documentation are taken.

        Raises:
            ServiceError: invalid (400) with every fault found, forbidden, conflict, gone, too-large, unavailable.
                Nothing is kept.
        """
        if index.type != "stage":
            raise ServiceError(ErrorKind.FORBIDDEN, f"{index.name} is a mirror: upload to a stage index.")
        self.staging.mkdir(parents=True, exist_ok=True, mode=0o700)
        limit = self._resources.settings.uploads.max_file_bytes
        try:
            form = await receive_form(body, content_type, folder=self.staging, max_file_bytes=limit)
        except ContentMissing as error:
            if not (documents and _brings_documentation(error.fields)):
                _refuse_gone(error.fields)
            raise
        reached(FaultPoint.UPLOAD_RECEIVED)
        if documents and _brings_documentation(form.fields):
            try:
                return await self.attaching.document(index, principal, form)
            finally:
                await asyncio.to_thread(form.path.unlink, missing_ok=True)
        with self._resources.heads.expecting(index.id) as expecting:
            try:
                admitted = await self._admit(index, principal, form, expecting)
            finally:
                await asyncio.to_thread(form.path.unlink, missing_ok=True)
            serial = await expecting.published(admitted.file_id, self._resources.settings.uploads.publish_wait)
        return Receipt(admitted.file_id, form.file_name, admitted.already_there, serial, admitted.warnings)

    async def progress(self, file_id: FileId) -> FileProgress:
        """Return how far a file has come.

        Raises:
            ServiceError: not-found.
        """
        async with self._resources.engine.connect() as connection:
            found = await releases.progress(connection, file_id)
        if found is None:
            raise ServiceError(ErrorKind.NOT_FOUND, "There is no such file.")
        return found

    async def _admit(
        self, index: IndexRecord, principal: Principal, form: ReceivedForm, expecting: Expecting
    ) -> _Admitted:
        """Return the file that is there already, or the one that was added."""
        coordinates = _read_form(form)
        require(principal, Verb.UPLOAD, index, coordinates.project)
        look = await self._look(index, coordinates, form)
        if look.known is not None:
            return _Admitted(look.known.id, already_there=True)
        inspected = await self._inspect(form, coordinates)
        findings = await self._scan(form, coordinates)
        await self._store(index, form, inspected)
        reached(FaultPoint.UPLOAD_STORED)
        warnings = (*findings, *inspected.warnings, *look.warnings)
        new = replace(_new_file(form, coordinates, inspected, principal, self._resources), warnings=warnings)
        try:
            file_id = await self._keep(index, new, expecting)
        except SourceArchiveTaken as error:
            words = f"{coordinates.project} {coordinates.version} has a source archive already: {error}."
            raise ServiceError(ErrorKind.CONFLICT, words) from error
        except IntegrityError:
            # Another request took the name between our look and our commit: it is the same file, or a conflict.
            again = await self._look(index, coordinates, form)
            if again.known is None:
                raise
            return _Admitted(again.known.id, already_there=True)
        return _Admitted(file_id, already_there=False, warnings=warnings)

    async def _look(self, index: IndexRecord, coordinates: Coordinates, form: ReceivedForm) -> _Look:
        """Look for the file: it may be there with the same bytes, or its name is free.

        Raises:
            ServiceError: conflict, when the name is taken by other bytes or burnt; forbidden by the project's status.
        """
        name = coordinates.file_name
        place = (index.id, index.life, coordinates.format, coordinates.project)
        confusable = None
        async with self._resources.engine.connect() as connection:
            known = await releases.known_file(connection, index.id, index.life, name)
            clash = await releases.path_key_taken(connection, index.id, form.sha256, name)
            status = await releases.project_status(connection, *place)
            if status is None:
                confusable = await releases.confusable_project(connection, *place)
        if known is not None and known.removed:
            raise ServiceError(
                ErrorKind.CONFLICT, f"{name} was removed from {index.name}: its name cannot be used again."
            )
        if known is not None and known.sha256 == form.sha256:
            return _Look(known)
        if known is not None or clash:
            raise ServiceError(
                ErrorKind.CONFLICT,
                f"File already exists: {name} is in {index.name} with other bytes. Upload a new version.",
            )
        if status in {"archived", "quarantined"}:
            raise ServiceError(ErrorKind.FORBIDDEN, f"Project {coordinates.project} is {status}: it takes no uploads.")
        return _Look(None, () if status else tuple(rules.name_warnings(coordinates.project, confusable)))

    async def _inspect(self, form: ReceivedForm, coordinates: Coordinates) -> Inspected:
        async with self._inspecting:
            try:
                inspected = await asyncio.to_thread(FORMATS[coordinates.format].inspect, form.path, coordinates)
            except InvalidFile as error:
                raise ServiceError(ErrorKind.INVALID, _sentences(f"{coordinates.file_name}:", error.issues)) from error
            # Ten thousand requirements take a fifth of a second to parse.
            faults = await asyncio.to_thread(rules.metadata_faults, form.fields, inspected)
        if faults:
            raise ServiceError(ErrorKind.INVALID, _sentences("", faults))
        return inspected

    async def _scan(self, form: ReceivedForm, coordinates: Coordinates) -> tuple[str, ...]:
        """Look for hidden code; what is found is advice, unless the operator refuses it."""
        wanted = self._resources.settings.uploads.scan
        if wanted == "off":
            return ()
        async with self._inspecting:
            found = await asyncio.to_thread(FORMATS[coordinates.format].scan, form.path, coordinates)
        if found:
            log.warning(
                "upload_scanned", file_name=coordinates.file_name, findings=len(found), refused=wanted == "refuse"
            )
        if found and wanted == "refuse":
            raise ServiceError(ErrorKind.INVALID, _sentences(f"{coordinates.file_name}:", found))
        return found

    async def _store(self, index: IndexRecord, form: ReceivedForm, inspected: Inspected) -> None:
        """Put the bytes under their digest: what is there already under that name is the same content."""
        store = self._resources.objects.side(public=index.public)
        bodies: dict[Key, bytes | LocalFile] = {file_key(form.sha256, form.file_name): LocalFile(form.path)}
        if inspected.serves_core_metadata:
            bodies[core_metadata_key(form.sha256, form.file_name)] = inspected.core_metadata
        # Side by side, and all waited for: the staged file must not go while it is read.
        puts = (store.put(key, body, Put.ABSENT) for key, body in bodies.items())
        outcomes = await asyncio.gather(*puts, return_exceptions=True)
        try:
            for outcome in outcomes:
                if isinstance(outcome, BaseException) and not isinstance(outcome, ObjectExists):
                    raise outcome
        except ObjectStoreError as error:
            log.error("upload_not_stored", error=str(error))
            words = "The file could not be stored; nothing was kept. Try again."
            raise ServiceError(ErrorKind.UNAVAILABLE, words, retry_after=_RETRY_AFTER) from error

    async def _keep(self, index: IndexRecord, new: NewFile, expecting: Expecting) -> FileId:
        side = "public" if index.public else "private"
        async with UnitOfWork(self._resources.engine) as work:
            project_id, file_id = await releases.insert_file(work.connection, index.id, index.life, side, new)
            await work.enqueue(PublishIndex(index.id, project_id, file_id))
            # Before the commit: the publication that shows the file cannot be told of earlier.
            expecting.expect(file_id)
            await work.commit()
        reached(FaultPoint.UPLOAD_KEPT)
        log.info(
            "file_received",
            file_id=str(file_id),
            index=str(index.name),
            file_name=new.coordinates.file_name,
            length=new.length,
        )
        return file_id


def _read_form(form: ReceivedForm) -> Coordinates:
    """Check everything that needs no look into the file."""
    _refuse_gone(form.fields)
    faults = rules.form_faults(form.fields)
    computed = {
        "sha256_digest": form.sha256,
        "blake2_256_digest": form.blake2b_256,
        "md5_digest": form.md5,
    }
    faults += rules.digest_faults(form.fields, computed)
    try:
        coordinates = FORMATS["python"].parse_name(form.file_name)
    except InvalidFile as error:
        raise ServiceError(ErrorKind.INVALID, _sentences(f"{form.file_name}:", [*error.issues, *faults])) from error
    faults += rules.identity_faults(form.fields, coordinates)
    if form.length == 0:
        faults.append("The file is empty.")
    if faults:
        raise ServiceError(ErrorKind.INVALID, _sentences("", faults))
    return coordinates


def _brings_documentation(fields: rules.Fields) -> bool:
    return rules.value_of(fields, ":action") == DOC_UPLOAD


def _refuse_gone(fields: rules.Fields) -> None:
    gone = rules.gone_action(fields)
    if gone is not None:
        words = f"The action {gone} is not served here: upload files with :action = file_upload."
        raise ServiceError(ErrorKind.GONE, words)


def _sentences(head: str, faults: list[str] | tuple[str, ...]) -> str:
    """Join faults into lines, the most telling first, as ASCII."""
    text = "\n".join(faults) if not head else f"{head} {faults[0]}" + "".join(f"\n{fault}" for fault in faults[1:])
    return text.encode("ascii", "backslashreplace").decode("ascii")


def _new_file(
    form: ReceivedForm, coordinates: Coordinates, inspected: Inspected, principal: Principal, resources: Resources
) -> NewFile:
    metadata = inspected.core_metadata
    return NewFile(
        coordinates=coordinates,
        sha256=form.sha256,
        blake2b_256=form.blake2b_256,
        md5=form.md5,
        length=form.length,
        requires_python=inspected.requires_python,
        core_metadata=(sha256_of(metadata), Length(len(metadata))) if inspected.serves_core_metadata else None,
        fields=inspected.fields,
        uploader=principal.account or "",
        token_id=principal.token_id,
        uploaded_at=resources.clock.now(),
    )
