"""An upload, from the request's body to a durable row and, in time, a publication.

1. The caller has settled who uploads and that they may upload something here (before any byte was read).
2. Stream the body to the staging folder while hashing (`form.receive_form`).
3. Check the form, the name, the digests; then the right to this project.
4. The same bytes again: done. Other bytes under the same name: refused, but on a volatile index.
5. Inspect the file; compare it with the form. Under admission `devpi` the form is taken at its word. Verify the
   attestations that came along, and let the policy decide (`attestations`).
6. Put the bytes, absent only; then one transaction: project, release, file, attestations, outbox.
7. Wait a bounded time until the publication that lists the file is served by this process.

Source: architecture sections 5 and 11.7; contract python-index section 2.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import structlog
from sqlalchemy.exc import IntegrityError

from countermark.core.digest import Length, sha256_of
from countermark.core.names import FileName
from services.upload import devpi_rules, rules
from services.upload.approving import PendingApprovals, refuse_replacing
from services.upload.attaching import Attaching, Documentation
from services.upload.attestation_rules import FIELD, Arrived
from services.upload.attestations import Attested, Attesting, Proven
from services.upload.form import ContentMissing, ReceivedForm, receive_form
from services.upload.indexes import keep_index
from services.upload.inspecting import Inspector, sentences
from services.upload.registering import Registry
from services.upload.rules import Action
from services.upload.sending import Sent
from shared.auth.directory import IndexRecord
from shared.auth.principal import Principal
from shared.catalogue import approvals, overwriting, releases
from shared.catalogue.heads import Expecting
from shared.catalogue.overwriting import Added, NameBurnt, NameTaken, Way
from shared.catalogue.releases import STRICT, FileProgress, KnownFile, NewFile, SourceArchiveTaken
from shared.catalogue.unit_of_work import UnitOfWork
from shared.errors import ErrorKind, ServiceError
from shared.faults import FaultPoint, reached
from shared.formats.interface import Coordinates, Inspected, InvalidFile
from shared.formats.registry import FORMATS
from shared.ids import FileId, OutboxId
from shared.objects.interface import Key, LocalFile, ObjectExists, ObjectStoreError, Put
from shared.objects.keys import core_metadata_key, file_key
from shared.resources import Resources

log = structlog.get_logger()

_RETRY_AFTER = timedelta(seconds=10)
"""When a client may try again after the store failed; by then it was asked several times."""


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
    waiting: str | None = None
    """How far its approvals are, in words, where it needs some before it is published."""
    attested: int = 0
    """Attestations that came along, all of which it has now."""
    attested_anew: int = 0
    """Those of them that it did not have before."""


@dataclass(frozen=True, slots=True)
class _Admitted:
    """The file that an upload stands for, whether it is new or was there with the same bytes."""

    file_id: FileId
    already_there: bool
    warnings: tuple[str, ...] = ()
    attested: int = 0
    attested_anew: int = 0
    jobs: Sequence[OutboxId] = ()
    """What publishes the new pointer of a file that was there, and got attestations."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What the catalogue has of a file that arrives; `warnings` about the name of a project that is new."""

    known: KnownFile | None
    warnings: tuple[str, ...] = ()


class Uploads:
    """The use cases of the upload service."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._inspector = Inspector(resources)
        self._registry = Registry(resources)
        self._approvals = PendingApprovals(resources)
        self.attaching = Attaching(resources)
        self.attesting = Attesting(resources)

    @property
    def staging(self) -> Path:
        """The folder in which bodies lie until they are admitted; on the store's file system where that is a folder."""
        return self._resources.settings.data / "staging"

    async def receive(
        self, sent: Sent, content_type: str, body: AsyncIterator[bytes]
    ) -> Receipt | Documentation | None:
        """Do what an upload form asks for: take one file, documentation, or register a release, of which there is no
        receipt.

        Raises:
            ServiceError: invalid (400) with every fault found, forbidden, conflict, gone, too-large, unavailable.
                Nothing is kept.
        """
        self.staging.mkdir(parents=True, exist_ok=True, mode=0o700)
        limit = self._resources.settings.uploads.max_file_bytes
        try:
            form = await receive_form(body, content_type, folder=self.staging, max_file_bytes=limit)
        except ContentMissing as error:
            if rules.action_of(error.fields, on_index=sent.on_index) is not Action.SUBMIT:
                raise
            _refuse_attestations(error.fields)
            await self._registry.register(sent, error.fields)
            return None
        reached(FaultPoint.UPLOAD_RECEIVED)
        with self._resources.heads.expecting(sent.index.id) as expecting:
            try:
                admitted = await self._act(sent, form, expecting)
            finally:
                await asyncio.to_thread(form.path.unlink, missing_ok=True)
            if not isinstance(admitted, _Admitted):
                return admitted
            receipt = Receipt(
                admitted.file_id,
                form.file_name,
                admitted.already_there,
                None,
                admitted.warnings,
                None,
                admitted.attested,
                admitted.attested_anew,
            )
            waiting = await self._approvals.pending(sent, admitted.file_id, again=admitted.already_there)
            if waiting is not None:
                return replace(receipt, waiting=waiting)
            wait = self._resources.settings.uploads.publish_wait
            if admitted.jobs:
                serial = await self._resources.heads.wait_settled(sent.index.id, admitted.jobs, wait)
            else:
                serial = await expecting.published(admitted.file_id, wait)
        return replace(receipt, serial=serial)

    async def _act(self, sent: Sent, form: ReceivedForm, expecting: Expecting) -> _Admitted | Documentation | None:
        match rules.action_of(form.fields, on_index=sent.on_index):
            case Action.FILE_UPLOAD:
                return await self._admit(sent, form, expecting)
            case Action.DOC_UPLOAD:
                _refuse_attestations(form.fields)
                return await self.attaching.document(sent, form)
            case Action.SUBMIT:
                _refuse_attestations(form.fields)
                await self._registry.register(sent, form.fields)
                return None

    async def progress(self, file_id: FileId) -> FileProgress:
        """Return how far a file has come.

        Raises:
            ServiceError: not-found.
        """
        async with self._resources.engine.connect() as connection:
            found = await releases.progress(connection, file_id)
            standing = await approvals.standing(connection, file_id)
        if found is None:
            raise ServiceError(ErrorKind.NOT_FOUND, "There is no such file.")
        return replace(found, approval=standing)

    async def _admit(self, sent: Sent, form: ReceivedForm, expecting: Expecting) -> _Admitted:
        """Return the file that is there already, or the one that was added."""
        coordinates = _read_form(sent, form)
        sent.permit(coordinates.project)
        arrived = self.attesting.read(form.fields, coordinates.file_name, form.sha256)
        look = await self._look(sent, coordinates, form)
        if look.known is not None:
            return await self._there(sent, look.known.id, form, arrived)
        inspected = await self._inspector.inspect(sent.index.admission, form, coordinates)
        file = Attested(sent.index, coordinates.project, coordinates.version, coordinates.file_name, form.sha256)
        proven = await self.attesting.prove(file, arrived, sent.principal)
        await self._store(sent.index, form, inspected)
        await self.attesting.store(file, proven)
        reached(FaultPoint.UPLOAD_STORED)
        warnings = (*inspected.warnings, *look.warnings)
        new = replace(_new_file(form, coordinates, inspected, sent.principal, self._resources), warnings=warnings)
        try:
            added = await self._keep(sent, new, expecting, proven)
        except SourceArchiveTaken as error:
            words = f"{coordinates.project} {coordinates.version} has a source archive already: {error}."
            raise ServiceError(ErrorKind.CONFLICT, words) from error
        except IntegrityError as error:
            # Another request took the name between our look and our commit: it is the same file, or a conflict.
            again = await self._look(sent, coordinates, form)
            if again.known is None:
                words = f"{form.file_name} is being uploaded or removed at the same time: try again."
                raise ServiceError(ErrorKind.UNAVAILABLE, words, retry_after=_RETRY_AFTER) from error
            return await self._there(sent, again.known.id, form, arrived)
        if added.there:
            return await self._there(sent, added.file_id, form, arrived)
        return _Admitted(added.file_id, False, warnings, len(proven), len(proven))

    async def _there(self, sent: Sent, file_id: FileId, form: ReceivedForm, arrived: Sequence[Arrived]) -> _Admitted:
        """Return the file that was there with the same bytes; attestations that came along are added to it."""
        if not arrived:
            return _Admitted(file_id, already_there=True)
        new, jobs = await self.attesting.add_to(sent.index, form.sha256, form.file_name, arrived, sent.principal)
        return _Admitted(file_id, already_there=True, attested=len(arrived), attested_anew=new, jobs=jobs)

    async def _look(self, sent: Sent, coordinates: Coordinates, form: ReceivedForm) -> _Look:
        """Look for the file: it may be there with the same bytes, or its name is free, or may be used again.

        Raises:
            ServiceError: conflict, when the name is taken by other bytes or burnt; forbidden by the project's status.
        """
        index = sent.index
        place = (index.id, index.life, coordinates.format, coordinates.project)
        confusable = None
        async with self._resources.engine.connect() as connection:
            found = await overwriting.standing(connection, index, coordinates.file_name, form.sha256)
            status = await releases.project_status(connection, *place)
            if status is None:
                confusable = await releases.confusable_project(connection, *place)
        way = overwriting.way_for(index, coordinates.project, form.sha256, found)
        if way is Way.THERE:
            return _Look(found.living)
        if way in (Way.TAKEN, Way.BURNT):
            raise _conflict(sent, coordinates.file_name, way)
        if status in {"archived", "quarantined"}:
            raise ServiceError(ErrorKind.FORBIDDEN, f"Project {coordinates.project} is {status}: it takes no uploads.")
        return _Look(None, () if status else tuple(rules.name_warnings(coordinates.project, confusable)))

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

    async def _keep(self, sent: Sent, new: NewFile, expecting: Expecting, proven: Sequence[Proven]) -> Added:
        index, at = sent.index, new.coordinates
        async with UnitOfWork(self._resources.engine) as work:
            await keep_index(work.connection, index)
            try:
                added = await overwriting.add_file(work.connection, index, new)
            except NameTaken as error:
                raise _conflict(sent, new.coordinates.file_name, Way.TAKEN) from error
            except NameBurnt as error:
                raise _conflict(sent, new.coordinates.file_name, Way.BURNT) from error
            if added.there:
                return added
            if added.audit_id is not None:
                await refuse_replacing(work.connection, index, new.coordinates.project)
            file = Attested(index, at.project, at.version, at.file_name, new.sha256)
            await self.attesting.keep(work.connection, file, added.file_id, proven, sent.principal)
            await work.enqueue(added.message(index))
            # Before the commit: the publication that shows the file cannot be told of earlier.
            expecting.expect(added.file_id)
            await work.commit()
        reached(FaultPoint.UPLOAD_KEPT)
        log.info(
            "file_received",
            file_id=str(added.file_id),
            index=str(index.name),
            file_name=new.coordinates.file_name,
            length=new.length,
            replaced=added.audit_id is not None,
        )
        return added


def _conflict(sent: Sent, name: FileName, way: Way) -> ServiceError:
    """Return what is told when a name cannot be used."""
    if way is Way.BURNT:
        words = f"{name} was removed from {sent.index.name}: its name cannot be used again."
    elif sent.devpi:
        words = f"{name} already exists in non-volatile index"
    else:
        words = f"File already exists: {name} is in {sent.index.name} with other bytes. Upload a new version."
    return ServiceError(ErrorKind.CONFLICT, words)


def _refuse_attestations(fields: rules.Fields) -> None:
    """Refuse attestations beside what is no file: dropping them would look like keeping them."""
    if fields.get(FIELD):
        words = f"The field {FIELD} belongs to the upload of a file: send it with :action = file_upload and content."
        raise ServiceError(ErrorKind.INVALID, words)


def _read_form(sent: Sent, form: ReceivedForm) -> Coordinates:
    """Check everything that needs no look into the file."""
    strict = sent.index.admission == STRICT
    faults = rules.form_faults(form.fields, strict=strict, digests=not sent.devpi)
    computed = {
        "sha256_digest": form.sha256,
        "blake2_256_digest": form.blake2b_256,
        "md5_digest": form.md5,
    }
    faults += rules.digest_faults(form.fields, computed)
    try:
        if strict:
            coordinates = FORMATS["python"].parse_name(form.file_name)
        else:
            coordinates = devpi_rules.coordinates_in(form.fields, form.file_name)
    except InvalidFile as error:
        head = f"{form.file_name}:" if strict else ""
        raise ServiceError(ErrorKind.INVALID, sentences(head, [*error.issues, *faults])) from error
    if strict:
        faults += rules.identity_faults(form.fields, coordinates)
    if faults:
        raise ServiceError(ErrorKind.INVALID, sentences("", faults))
    return coordinates


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
