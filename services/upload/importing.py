"""Brings files of other registries into an index, hundreds at a time, by the way of every upload: bytes are stored
under their digest, then one transaction holds the rows and the jobs that have them signed.

1. Names that are there, were removed or have other bytes are told apart from free ones, and of these the files that the
   signed policy takes from those that it does not.
2. Each file is copied to the staging folder while it is hashed (its source may change under our hands), compared with
   the digest that it must have, read for its metadata, and stored. Some at a time, so that memory stays flat.
3. One transaction: projects, releases, files, outbox.
Killed anywhere, the next run of the same import goes on: what was committed is there, what was not is done again.

Source: architecture sections 5 and 11.1; contract devpi sections 9 and 18.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.exc import IntegrityError

from countermark.core.digest import Length, Sha256, sha256_of
from countermark.core.names import FileName, IndexName, NormalizedName
from services.upload.copying import Copied, Unreadable, copied_to
from services.upload.importing_policy import ImportPolicy, Refusal
from services.upload.spool import SUFFIX
from shared.auth.directory import IndexRecord
from shared.catalogue import audit
from shared.catalogue import importing as rows
from shared.catalogue.attachments import NewAttachment
from shared.catalogue.importing import ImportedFile, ImportedRelease, KnownName, Place, Version
from shared.catalogue.unit_of_work import UnitOfWork
from shared.formats.interface import Coordinates, Inspected, InvalidFile
from shared.formats.python.foreign import comparable_text, read_metadata
from shared.formats.python.names import parse_name
from shared.formats.registry import FORMATS
from shared.ids import IndexId
from shared.objects.interface import Key, LocalFile, ObjectExists, Put
from shared.objects.keys import core_metadata_key, file_key
from shared.resources import Resources

IMPORTED = "imported"
THERE = "already there"
REFUSED = "refused"
LEFT = "left out"

_AT_ONCE = 12
"""Files that are copied, hashed and stored at the same time: most of it is waiting for the disk."""

_STRICT = "strict"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file: `status` is `IMPORTED`, `THERE`, `LEFT` (removed here earlier) or `REFUSED`; `why` in one
    sentence."""

    status: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that is to come in.

    Attributes:
        path: where its bytes are; they are copied, never linked.
        sha256: what they must be, None when nobody knows.
        fields: of its release, where its registry knows them: `packaging.metadata.RawMetadata` keys.
        requires_python: as its registry says; what the file says counts more.
        yanked: None when it is not; else the reason, "" without one.
    """

    path: Path
    coordinates: Coordinates
    sha256: Sha256 | None
    uploader: str
    uploaded_at: datetime
    fields: Mapping[str, Any] = field(default_factory=dict)
    requires_python: str | None = None
    history: Sequence[Mapping[str, Any]] = ()
    yanked: str | None = None


@dataclass(frozen=True, slots=True)
class Annex:
    """Documentation, or a test result, that is to come in.

    Attributes:
        kind: `doc` or `test-result`.
        about: the file that a test result is about, with its digest; None for documentation.
    """

    kind: str
    path: Path
    version: Version
    about: tuple[FileName, Sha256] | None
    file_name: FileName
    sha256: Sha256 | None
    added_by: str | None
    added_at: datetime
    history: Sequence[Mapping[str, Any]] = ()


class Imports:
    """The use cases of an import; one import at a time uses it."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._policy = ImportPolicy(resources)
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._staging = resources.settings.data / "staging"
        self._most = resources.settings.uploads.max_file_bytes

    async def standing(
        self, name: IndexName, here: IndexRecord | None, files: Sequence[tuple[Coordinates, Sha256]]
    ) -> list[Outcome | None]:
        """Say what would become of files, None for those that would come in. Changes nothing.

        Args:
            here: the index; None when it is not made yet.

        Raises:
            ServiceError: unavailable; what trust signs cannot be used.
        """
        known = {} if here is None else await self._known(here, [at.file_name for at, _ in files])
        refusal = await self._policy.about(name, here, [at for at, _ in files])
        return [
            _verdict(known.get(at.file_name, ()), at.project, sha256) or _refused(refusal(at, sha256))
            for at, sha256 in files
        ]

    async def add(self, index: IndexRecord, candidates: Sequence[Candidate]) -> list[Outcome]:
        """Bring files in and ask for their publication; returns what became of each, in their order.

        Raises:
            ObjectStoreError: the store cannot be used; nothing of this call is kept.
            ServiceError: unavailable; what trust signs cannot be used.
        """
        try:
            return await self._add(index, candidates)
        except IntegrityError:
            # An upload took a name between our look and our commit: the second look sees it.
            return await self._add(index, candidates)

    async def register(self, index: IndexRecord, releases: Sequence[ImportedRelease]) -> list[Outcome]:
        """Bring versions in that have no files; returns what became of each, in their order."""
        versions = {(one.coordinates.project, one.coordinates.version) for one in releases}
        async with UnitOfWork(self._resources.engine) as work:
            there = await rows.ids_of_names(work.connection, place_of(index), versions, ())
            await rows.register(work.connection, place_of(index), releases)
            await work.commit()
        known = there.releases.keys()
        named = ((one.coordinates.project, one.coordinates.version) for one in releases)
        return [Outcome(THERE) if version in known else Outcome(IMPORTED) for version in named]

    async def attach(self, index: IndexRecord, annexes: Sequence[Annex]) -> list[Outcome]:
        """Bring documentation and test results in; returns what became of each, in their order.

        Raises:
            ObjectStoreError: the store cannot be used; nothing of this call is kept.
        """
        try:
            return await self._attach(index, annexes)
        except IntegrityError:
            return await self._attach(index, annexes)

    async def _add(self, index: IndexRecord, candidates: Sequence[Candidate]) -> list[Outcome]:
        known = await self._known(index, [one.coordinates.file_name for one in candidates])
        refusal = await self._policy.about(index.name, index, [one.coordinates for one in candidates])
        taken = await self._all(candidates, lambda one: self._take(index, one, known, refusal))
        new: dict[FileName, ImportedFile] = {}
        outcomes: list[Outcome] = []
        for one in taken:
            if isinstance(one, Outcome):
                outcomes.append(one)
                continue
            name = one.release.coordinates.file_name
            first = new.setdefault(name, one)
            same = Outcome(THERE) if first.sha256 == one.sha256 else Outcome(REFUSED, f"{name} comes twice.")
            outcomes.append(Outcome(IMPORTED) if first is one else same)
        if new:
            async with UnitOfWork(self._resources.engine) as work:
                await rows.add_files(work.connection, place_of(index), list(new.values()))
                await audit.record(
                    work.connection,
                    at=self._resources.clock.now(),
                    actor="import",
                    action="files.import",
                    subject=str(index.name),
                    files={name: one.sha256 for name, one in new.items()},
                )
                await work.commit()
        return outcomes

    async def _known(self, index: IndexRecord, names: Sequence[FileName]) -> Mapping[FileName, Sequence[KnownName]]:
        async with self._resources.engine.connect() as connection:
            return await rows.known_names(connection, place_of(index), set(names))

    async def _all(self, items: Sequence[T], do: Callable[[T], Awaitable[Any]]) -> list[Any]:
        """Do something for all, some at a time; all are waited for, then the first error is raised."""

        async def one(item: T) -> Any:
            async with self._turns:
                return await do(item)

        await asyncio.to_thread(self._staging.mkdir, parents=True, exist_ok=True, mode=0o700)
        done = await asyncio.gather(*map(one, items), return_exceptions=True)
        for result in done:
            if isinstance(result, BaseException):
                raise result
        return done

    async def _take(
        self, index: IndexRecord, one: Candidate, known: Mapping[FileName, Sequence[KnownName]], refusal: Refusal
    ) -> ImportedFile | Outcome:
        """Copy, check, read and store a file."""
        at = one.coordinates
        before = known.get(at.file_name, ())
        if one.sha256 is not None and (verdict := _verdict(before, at.project, one.sha256)) is not None:
            return verdict
        target = self._staging / f"{secrets.token_hex(16)}{SUFFIX}"
        try:
            copied = await asyncio.to_thread(copied_to, one.path, target, self._most)
            if one.sha256 is not None and copied.sha256 != one.sha256:
                return Outcome(REFUSED, f"its bytes changed: {copied.sha256} is not the recorded {one.sha256}.")
            verdict = _verdict(before, at.project, copied.sha256) or _refused(refusal(at, copied.sha256))
            if verdict is not None:
                return verdict
            inspected = await asyncio.to_thread(inspected_for, index.admission, target, at)
            await self._store(index, copied, at.file_name, inspected)
        except (Unreadable, InvalidFile) as error:
            return Outcome(REFUSED, _reason(error))
        finally:
            await asyncio.to_thread(target.unlink, missing_ok=True)
        return _imported(one, copied, inspected)

    async def _store(
        self, index: IndexRecord, copied: Copied, file_name: FileName, inspected: Inspected | None
    ) -> None:
        store = self._resources.objects.side(public=index.public)
        bodies: dict[Key, bytes | LocalFile] = {file_key(copied.sha256, file_name): LocalFile(copied.path)}
        if inspected is not None and inspected.serves_core_metadata:
            bodies[core_metadata_key(copied.sha256, file_name)] = inspected.core_metadata
        for key, body in bodies.items():
            try:
                await store.put(key, body, Put.ABSENT)
            except ObjectExists:
                continue

    async def _attach(self, index: IndexRecord, annexes: Sequence[Annex]) -> list[Outcome]:
        place = place_of(index)
        versions = {one.version for one in annexes}
        about = {one.about[0] for one in annexes if one.about is not None}
        async with self._resources.engine.connect() as connection:
            found = await rows.ids_of_names(connection, place, versions, about)
        copies = await self._all(annexes, lambda one: self._take_annex(index, one))
        made: list[NewAttachment | Outcome] = [
            copied if isinstance(copied, Outcome) else _attachment(index.id, one, copied, found)
            for one, copied in zip(annexes, copies, strict=True)
        ]
        addresses = {(one.path_key, one.file_name) for one in made if isinstance(one, NewAttachment)}
        async with UnitOfWork(self._resources.engine) as work:
            taken = await rows.known_addresses(work.connection, place, addresses) if addresses else {}
            new: list[NewAttachment] = []
            outcomes = []
            for one in made:
                outcome = one if isinstance(one, Outcome) else _address_verdict(one, taken)
                if isinstance(one, NewAttachment) and outcome.status == IMPORTED:
                    new.append(one)
                    taken[one.path_key, one.file_name] = one.sha256
                outcomes.append(outcome)
            if new:
                await rows.add_attachments(work.connection, place, new)
                await work.commit()
        return outcomes

    async def _take_annex(self, index: IndexRecord, one: Annex) -> Copied | Outcome:
        target = self._staging / f"{secrets.token_hex(16)}{SUFFIX}"
        try:
            copied = await asyncio.to_thread(copied_to, one.path, target, self._most)
            if one.sha256 is not None and copied.sha256 != one.sha256:
                return Outcome(REFUSED, f"its bytes changed: {copied.sha256} is not the recorded {one.sha256}.")
            await self._store(index, copied, one.file_name, None)
        except Unreadable as error:
            return Outcome(REFUSED, _reason(error))
        finally:
            await asyncio.to_thread(target.unlink, missing_ok=True)
        return copied


def place_of(index: IndexRecord) -> Place:
    """Return where the files of an index go."""
    return Place(index.id, index.life, "public" if index.public else "private", index.name.owner)


def inspected_for(admission: str, path: Path, coordinates: Coordinates) -> Inspected | None:
    """Return what a file says of itself, by the rules of the index it comes into. Blocking.

    Under admission `devpi` contents are not judged; None when nothing can be read.

    Raises:
        InvalidFile: the index is strict, and would refuse the file as an upload.
    """
    if admission != _STRICT:
        return read_metadata(path, coordinates)
    strict = parse_name(coordinates.file_name)
    return FORMATS[strict.format].inspect(path, strict)


def _verdict(known: Sequence[KnownName], project: NormalizedName, sha256: Sha256) -> Outcome | None:
    """Say what becomes of bytes by what their name stands for already; None when it is free for them."""
    for one in known:
        if one.sha256 == sha256 and one.this_life:
            if one.removed:
                return Outcome(LEFT, "it was removed from this index, and is not brought back.")
            return Outcome(THERE)
    for one in known:
        if one.this_life and not one.removed:
            whose = "" if one.project == project else f" in the project {one.project}"
            return Outcome(REFUSED, f"the index has this name with other bytes ({one.sha256}){whose}.")
        if one.sha256[:16] == sha256[:16]:
            return Outcome(REFUSED, "its address belonged to a file of an index that was deleted: use another index.")
        if one.this_life:
            return Outcome(REFUSED, "the index had this name with other bytes, which were removed.")
    return None


def _refused(why: str | None) -> Outcome | None:
    return None if why is None else Outcome(REFUSED, why)


def _address_verdict(one: NewAttachment, taken: Mapping[tuple[str, FileName], Sha256]) -> Outcome:
    there = taken.get((one.path_key, one.file_name))
    if there is None:
        return Outcome(IMPORTED)
    return Outcome(THERE) if there == one.sha256 else Outcome(REFUSED, f"its address has other bytes ({there}).")


def _attachment(index_id: IndexId, one: Annex, copied: Copied, found: rows.Found) -> NewAttachment | Outcome:
    file_id = None
    if one.about is None:
        release_id = found.releases.get(one.version)
        path_key = copied.sha256[:16]
        if release_id is None:
            return Outcome(REFUSED, f"{one.version[0]} {one.version[1]} is not in the index.")
    else:
        of = found.files.get(one.about[0])
        if of is None or of[2] != one.about[1]:
            return Outcome(REFUSED, f"the file it is about, {one.about[0]}, is not in the index.")
        file_id, release_id, path_key = of[0], of[1], one.about[1][:16]
    return NewAttachment(
        index_id=index_id,
        kind=one.kind,
        release_id=release_id,
        file_id=file_id,
        file_name=one.file_name,
        path_key=path_key,
        sha256=copied.sha256,
        length=copied.length,
        added_at=one.added_at,
        added_by=one.added_by,
        history=one.history,
    )


def _imported(one: Candidate, copied: Copied, inspected: Inspected | None) -> ImportedFile:
    said = {} if inspected is None else inspected.fields
    metadata = inspected.core_metadata if inspected is not None and inspected.serves_core_metadata else None
    registered = one.requires_python if comparable_text(one.requires_python) else None
    return ImportedFile(
        release=ImportedRelease(one.coordinates, dict(one.fields) or said, one.uploaded_at),
        sha256=copied.sha256,
        blake2b_256=copied.blake2b_256,
        md5=copied.md5,
        length=copied.length,
        requires_python=registered if inspected is None else inspected.requires_python or registered,
        core_metadata=None if metadata is None else (sha256_of(metadata), Length(len(metadata))),
        uploader=one.uploader,
        uploaded_at=one.uploaded_at,
        history=one.history,
        yanked=one.yanked,
    )


def _reason(error: Exception) -> str:
    return " ".join(error.issues) if isinstance(error, InvalidFile) else str(error)
