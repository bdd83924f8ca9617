"""Carries the bytes of a push from one side of the object store to the other, and looks into them where the index they
go to asks for more than the one they come from.

Memory is that of one upload for each file under way; nothing is put that does not have the digest the catalogue says.
Source: architecture sections 6 and 11.5.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from countermark.core.digest import Length, Sha256, sha256_of
from countermark.core.names import FileName, NormalizedName
from services.upload.spool import Spool
from shared.catalogue.promotion_rows import Carried, CarriedAttachment, CarriedAttestation
from shared.errors import ErrorKind, ServiceError
from shared.formats.interface import Inspected, InvalidFile
from shared.formats.registry import FORMATS
from shared.objects.interface import Key, LocalFile, ObjectExists, ObjectStore, ObjectStoreError, Put
from shared.objects.keys import core_metadata_key, file_key
from shared.settings import Uploads as UploadSettings

log = structlog.get_logger()

_AT_ONCE = 4
"""Files of one push that are copied at the same time."""

_FORMAT = FORMATS["python"]

AnyCarried = Carried | CarriedAttachment | CarriedAttestation
"""What has bytes of its own."""


@dataclass(frozen=True, slots=True)
class Readmitted:
    """A file as an index takes it that admits strictly, and its release's metadata as the file has them."""

    file: Carried
    inspected: Inspected
    version: str
    version_key: str


class Carrier:
    """Reads from one side of the store and writes to another; `folder` is the staging folder.

    Files lie there under their digest, but for those of `keys`.
    """

    def __init__(
        self, source: ObjectStore, target: ObjectStore, folder: Path, keys: Mapping[FileName, Key] | None = None
    ) -> None:
        self._source = source
        self._keys = keys or {}
        self._target = target
        self._folder = folder
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def copy(self, files: Sequence[AnyCarried]) -> None:
        """Put everything that is not there yet, with the core metadata of files; all or an error.

        Raises:
            ServiceError: unavailable, when something is missing, has changed or cannot be stored.
        """
        with _telling():
            # All waited for: a staged file must not go while it is read.
            outcomes = await asyncio.gather(*map(self._copy, files), return_exceptions=True)
            for outcome in outcomes:
                if outcome is not None:
                    raise outcome

    async def _copy(self, file: AnyCarried) -> None:
        key = file_key(file.sha256, FileName(file.file_name))
        async with self._turns:
            there = await self._target.head(key)
            if there is None or there.length != file.length:
                async with self._spooled(file) as path:
                    await _put(self._target, key, LocalFile(path))
            if isinstance(file, Carried) and file.core_metadata_sha256 is not None:
                metadata = core_metadata_key(file.sha256, file.file_name)
                body = await _read(self._source, metadata, file.core_metadata_sha256, file.core_metadata_length or 0)
                await _put(self._target, metadata, body)

    async def readmit(
        self, files: Sequence[Carried], project: NormalizedName, version_key: str, settings: UploadSettings
    ) -> list[Readmitted]:
        """Look into files as if they were uploaded, and put the core metadata of those that are wheels.

        Args:
            project: whose files all must be.
            version_key: what the versions of all files must have in common.

        Raises:
            ServiceError: invalid, with every fault of every file; unavailable.
        """
        faults: list[str] = []
        found: list[Readmitted] = []
        with _telling():
            # One after the other: inspection is CPU work, and uploads go on meanwhile.
            for file in files:
                try:
                    found.append(await self._readmit(file, project, version_key, settings))
                except InvalidFile as error:
                    faults += [f"{file.file_name}: {issue}" for issue in error.issues]
        if faults:
            told = "\n".join(faults).encode("ascii", "backslashreplace").decode("ascii")
            raise ServiceError(ErrorKind.INVALID, told)
        return found

    async def _readmit(
        self, file: Carried, project: NormalizedName, version_key: str, settings: UploadSettings
    ) -> Readmitted:
        at = _FORMAT.parse_name(file.file_name)
        if at.project != project:
            raise InvalidFile(file.file_name, [f"The file name is of project {at.project}, and not of {project}."])
        if at.release_key != version_key:
            raise InvalidFile(file.file_name, [f"The file name is of version {at.version}."])
        async with self._spooled(file) as path:
            inspected = await asyncio.to_thread(_FORMAT.inspect, path, at)
            if settings.scan == "refuse":
                findings = await asyncio.to_thread(_FORMAT.scan, path, at)
                if findings:
                    raise InvalidFile(file.file_name, findings)
        metadata = inspected.core_metadata if inspected.serves_core_metadata else None
        if metadata is not None:
            await _put(self._target, core_metadata_key(file.sha256, file.file_name), metadata)
        taken = replace(
            file,
            package_type=at.package_type,
            requires_python=inspected.requires_python,
            core_metadata_sha256=None if metadata is None else sha256_of(metadata),
            core_metadata_length=None if metadata is None else Length(len(metadata)),
            warnings=inspected.warnings,
        )
        return Readmitted(taken, inspected, at.version, at.release_key)

    async def read(self, one: CarriedAttestation) -> bytes:
        """Return the bytes of an attestation.

        Raises:
            ServiceError: unavailable.
        """
        with _telling():
            return await _read(self._source, file_key(one.sha256, one.file_name), one.sha256, one.length)

    @asynccontextmanager
    async def _spooled(self, file: AnyCarried) -> AsyncIterator[Path]:
        """Give the bytes as a file of the staging folder, checked and synced, and remove it afterwards."""
        await asyncio.to_thread(self._folder.mkdir, 0o700, True, True)
        spool = Spool(self._folder)
        try:
            name = FileName(file.file_name)
            async with self._source.open(self._keys.get(name) or file_key(file.sha256, name)) as opened:
                async for chunk in opened.chunks:
                    spool.feed(memoryview(chunk))
                    await spool.drain()
            arrived = await spool.finish()
            if arrived.sha256 != file.sha256:
                raise ObjectStoreError(f"{file.file_name} has other bytes than the catalogue says")
            yield arrived.path
        finally:
            await spool.discard()


async def put_absent(store: ObjectStore, key: Key, body: bytes) -> None:
    """Put something small that is not there yet.

    Raises:
        ServiceError: unavailable.
    """
    with _telling():
        await _put(store, key, body)


async def _put(store: ObjectStore, key: Key, body: bytes | LocalFile) -> None:
    try:
        await store.put(key, body, Put.ABSENT)
    except ObjectExists:
        return


async def _read(store: ObjectStore, key: Key, sha256: Sha256, length: int) -> bytes:
    content = bytearray()
    async with store.open(key) as opened:
        async for chunk in opened.chunks:
            content += chunk
            if len(content) > length:
                break
    if sha256_of(bytes(content)) != sha256:
        raise ObjectStoreError(f"{key} has other bytes than the catalogue says")
    return bytes(content)


@contextmanager
def _telling() -> Iterator[None]:
    """Turn what the store cannot do into what the client is told."""
    try:
        yield
    except ObjectStoreError as error:
        log.error("push_not_stored", error=str(error)[:500])
        words = "Not all files could be read and stored; nothing was pushed. Try again."
        raise ServiceError(ErrorKind.UNAVAILABLE, words) from error
