"""Fills an empty index with synthetic files: rows by COPY, metadata signed bin by bin (see `bench.fill`)."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import exists, select, update
from tuf.api.metadata import SuccinctRoles

from bench.copying import Placed, Published, analyse, copy_bins, copy_publication, forget_bins
from bench.synthetic import Filling, SyntheticProject, synthetic_projects
from countermark.core.digest import Length, Sha256, sha256_of
from countermark.core.names import TargetPath
from services.signing.keys.access import key_access
from services.signing.keys.handles import load_handles
from services.signing.keys.signers import Signers
from services.signing.publication import tree
from services.signing.publication.signatures import SignedFile, SigningRequest, sign_bins, sign_head
from shared.auth.directory import IndexRecord
from shared.catalogue import leases, publications, trust
from shared.catalogue.leases import Held
from shared.catalogue.publication_rows import NewHead, NewTufFile
from shared.catalogue.reading import mark_laid
from shared.catalogue.tables import Lease, Project, TufHead
from shared.catalogue.unit_of_work import UnitOfWork
from shared.clock import whole_seconds
from shared.jobs.messages import LayPages, RefreshIndex
from shared.objects.filesystem import FolderStore
from shared.objects.interface import IfMatch, Key, LocalFile, ObjectInfo, ObjectStore, Put
from shared.objects.keys import core_metadata_key, file_key
from shared.resources import Resources
from shared.trust.metadata import Entries, TargetEntry, kind_of, set_target, succinct_roles_of
from shared.trust.roles import PROFILES

_BATCH = 500
"""Files of one publication, as `signing.batch` has it."""

_PART_BITS = 6
"""Targets are sorted on disk into 2^6 parts before they are signed: one part is in memory at a time."""

_LOOPBACK = ("http://127.", "http://localhost", "http://[::1]")

_PATIENCE, _POLL = 60.0, 0.1
"""Seconds to wait for the lease of the index, and between two tries."""


class NotFilled(Exception):
    """The index is not one to fill; nothing was written. The message says why."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What was made, and the seconds it took: until all rows were written, and from then until all was signed."""

    files: int
    targets: int
    bins: int
    rows_seconds: float
    signing_seconds: float


async def fill(resources: Resources, filling: Filling) -> Filled:
    """Fill an index; killed halfway, it is as empty as it was.

    Raises:
        NotFilled: the deployment or the index is not made for it.
    """
    record = await _checked(resources, filling)
    held = await _held(resources, record)
    try:
        return await _Filler(resources, filling, record, held).run()
    finally:
        async with UnitOfWork(resources.engine) as work:
            await leases.release(work.connection, held, even_if_requested=True)
            await work.enqueue(RefreshIndex(record.id))
            await work.commit()


async def _checked(resources: Resources, filling: Filling) -> IndexRecord:
    settings = resources.settings
    if settings.signing.profile != "development":
        raise NotFilled(f"signing.profile is {settings.signing.profile}: synthetic files are for development only")
    if settings.outside_url is not None and not settings.outside_url.startswith(_LOOPBACK):
        raise NotFilled(f"outside_url is {settings.outside_url}: others may read this deployment")
    await resources.directory.refresh()
    record = resources.directory.index(filling.index)
    if record is None:
        raise NotFilled(f"there is no index {filling.index}: countermark-server index create {filling.index}")
    async with resources.engine.connect() as connection:
        if await connection.scalar(select(exists().where(Project.index_id == record.id))):
            raise NotFilled(f"index {filling.index} holds projects already: only an empty index is filled")
        if not await trust.newest_trust_files(connection):
            raise NotFilled("the deployment has no trust root yet: run countermark-server init")
    return record


async def _held(resources: Resources, record: IndexRecord) -> Held:
    for _ in range(int(_PATIENCE / _POLL)):
        async with UnitOfWork(resources.engine) as work:
            held = await leases.acquire(work.connection, record.id)
            await work.commit()
        if held is not None:
            return held
        await asyncio.sleep(_POLL)
    raise NotFilled(f"index {record.name} is being published all the time")


class _Filler:
    """One filling, under the index's lease."""

    def __init__(self, resources: Resources, filling: Filling, record: IndexRecord, held: Held) -> None:
        self._resources = resources
        self._filling = filling
        self._record = record
        self._held = held
        self._store = _without_waiting(resources.objects.side(public=record.public))
        self._targets = 0

    async def run(self) -> Filled:
        """Write rows, objects and metadata, and make them current in one commit."""
        record = self._record
        request, serial = await self._request()
        side = "public" if record.public else "private"
        placed = Placed(record.id, record.life, side, record.name.owner, self._held.fence, request.now)
        registry = succinct_roles_of(request.shared["registry"].content)
        begun = time.monotonic()
        with _Parts(registry) as parts:
            async with UnitOfWork(self._resources.engine) as work:
                # COPY goes past the toolkit, which begins the transaction at its first statement.
                await work.connection.execute(select(1))
                last = await self._rows(work, placed, parts, (serial, request.version))
                rows = time.monotonic()
                timestamp = await self._metadata(work, placed, parts, request, last)
                if self._filling.whole_every == 1:
                    await work.enqueue(LayPages(record.id))
                else:
                    await mark_laid(work.connection, record.id, last)
                await work.commit()
        await tree.put_timestamp(self._store, record.name, timestamp)
        async with UnitOfWork(self._resources.engine) as work:
            await analyse(work.connection)
            await work.commit()
        signing = time.monotonic() - rows
        return Filled(self._filling.files, self._targets, 1 << registry.bit_length, rows - begun, signing)

    async def _request(self) -> tuple[SigningRequest, int]:
        """Return what is to be signed, with the last of as many numbers as publications take, and the serial so far."""
        batches = len([None for _ in _batches(self._filling)])
        index_id = self._record.id
        async with UnitOfWork(self._resources.engine) as work:
            head = await publications.head_state(work.connection, index_id)
            shared = await trust.trust_files_in_use(work.connection, None if head is None else head.registry_version)
            bins = await publications.current_files(work.connection, index_id)
            taken = update(Lease).where(Lease.index_id == index_id).values(allocated=Lease.allocated + batches)
            version = (await work.connection.execute(taken.returning(Lease.allocated))).scalar_one()
            await work.commit()
        now = whole_seconds(self._resources.clock.now())
        names = list(succinct_roles_of(shared["registry"].content).get_roles())
        request = SigningRequest(
            self._record.name, PROFILES["development"], now, version, shared, names, bins, {}, {}, None
        )
        return request, 0 if head is None else head.serial

    async def _rows(self, work: UnitOfWork, placed: Placed, parts: _Parts, before: tuple[int, int]) -> int:
        """Write everything of all projects but the metadata; returns the last serial."""
        serial, last_version = before
        batches = list(_batches(self._filling))
        projects = synthetic_projects(self._filling)
        for number, size in enumerate(batches):
            serial += 1
            some = itertools.islice(projects, size)
            batch = [Published(project, project.targets(self._record.name, serial)) for project in some]
            await copy_publication(work.connection, placed, (serial, last_version - len(batches) + number + 1), batch)
            for published in batch:
                self._targets += len(published.targets)
                parts.add(published.targets)
                if published.project.whole:
                    await self._put(published.project, published.targets)
            await self._renew()
        return serial

    async def _put(self, project: SyntheticProject, targets: Mapping[TargetPath, bytes]) -> None:
        for file in project.files:
            assert file.content is not None
            assert file.core_metadata is not None
            await self._store.put(file_key(file.sha256, file.file_name), file.content, Put.REPLACE)
            await self._store.put(core_metadata_key(file.sha256, file.file_name), file.core_metadata, Put.REPLACE)
        await tree.put_targets(self._store, self._record.name, targets)
        await tree.put_plain(self._store, self._record.name, targets, ())

    async def _metadata(
        self, work: UnitOfWork, placed: Placed, parts: _Parts, request: SigningRequest, serial: int
    ) -> bytes:
        """Sign all bins part by part, then snapshot and timestamp, and make them current; returns the timestamp."""
        name, index_id = self._record.name, self._record.id
        signers = Signers(await load_handles(self._resources), key_access(self._resources.settings))
        shared = [*await trust.roots(work.connection), *request.shared.values()]
        files = [SignedFile(file.role, file.version, file.expires_at, file.content) for file in shared]
        await tree.put_metadata(self._store, name, files)
        await forget_bins(work.connection, index_id)
        for part in parts.each():
            signed = await asyncio.to_thread(_signed, signers, request, part)
            await tree.put_metadata(self._store, name, signed)
            await copy_bins(work.connection, placed, signed)
            await self._renew()
        snapshot, timestamp = sign_head(signers, request, dict.fromkeys(request.bin_names, request.version))
        await tree.put_metadata(self._store, name, [snapshot])
        await leases.guard(work.connection, self._held)
        await publications.insert_head(
            work.connection, index_id, _head(self._held, request, serial, snapshot, timestamp)
        )
        # What the store has is decided by `--whole-every`: nothing of it is owed.
        stored = update(TufHead).where(TufHead.index_id == index_id).values(stored_version=request.version)
        await work.connection.execute(stored)
        return timestamp.content

    async def _renew(self) -> None:
        async with UnitOfWork(self._resources.engine) as work:
            await leases.renew(work.connection, self._held)
            await work.commit()


def _batches(filling: Filling) -> Iterator[int]:
    """Yield how many projects each publication has: as few as make `_BATCH` files."""
    projects = files = 0
    for number in range(filling.projects):
        projects, files = projects + 1, files + filling.files_of(number)
        if files >= _BATCH:
            yield projects
            projects = files = 0
    if projects:
        yield projects


def _head(held: Held, request: SigningRequest, serial: int, snapshot: SignedFile, timestamp: SignedFile) -> NewHead:
    return NewHead(
        fence=held.fence,
        version=request.version,
        serial=serial,
        root_version=request.shared["root"].version,
        registry_version=request.shared["registry"].version,
        targets_version=request.shared["targets"].version,
        trust_version=request.shared["trust"].version,
        snapshot_version=snapshot.version,
        snapshot_expires_at=snapshot.expires_at,
        timestamp_expires_at=timestamp.expires_at,
        timestamp=timestamp.content,
        tuf_files=[NewTufFile("snapshot", snapshot.version, snapshot.sha256, snapshot.expires_at, snapshot.content)],
        pages=(),
        shown=(),
        hidden=(),
        journal=(),
        changes=0,
        started_at=request.now,
        committed_at=request.now,
    )


def _signed(
    signers: Signers, request: SigningRequest, part: tuple[Sequence[str], Sequence[TargetEntry]]
) -> list[SignedFile]:
    names, entries = part
    registry = succinct_roles_of(request.shared["registry"].content)
    bins: dict[str, Entries] = {name: {} for name in names}
    for entry in entries:
        set_target(bins[registry.get_role_for_target(entry.path)], entry)
    return sign_bins(signers, request, bins)


class _Parts:
    """What was rendered, sorted on disk by the first bits of the target paths' digests: each part is whole bins."""

    def __init__(self, registry: SuccinctRoles) -> None:
        self._names = list(registry.get_roles())
        self._count = min(1 << _PART_BITS, len(self._names))
        self._open = ExitStack()

    def __enter__(self) -> _Parts:
        folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="cm-fill-")))
        self._files = [self._open.enter_context((folder / str(n)).open("w+")) for n in range(self._count)]
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(self, targets: Mapping[TargetPath, bytes]) -> None:
        """Keep what the metadata will say of some targets."""
        for path, content in targets.items():
            number = int(sha256_of(path.encode())[:8], 16) * self._count >> 32
            self._files[number].write(f"{path} {sha256_of(content)} {len(content)}\n")

    def each(self) -> Iterator[tuple[Sequence[str], Sequence[TargetEntry]]]:
        """Yield the names of some bins and everything that belongs into them."""
        size = len(self._names) // self._count
        for number, file in enumerate(self._files):
            file.seek(0)
            entries = []
            for line in file:
                path, digest, length = line.split()
                target = TargetPath(path)
                entries.append(TargetEntry(target, Sha256(digest), Length(int(length)), kind_of(target)))
            yield self._names[number * size : (number + 1) * size], entries


class _QuickFolder(FolderStore):
    """A folder store that does not wait for the disk: what a power cut takes is made again with one command."""

    async def put(
        self, key: Key, body: bytes | LocalFile, condition: Put | IfMatch = Put.ABSENT, *, durable: bool = True
    ) -> ObjectInfo:
        """Write a body, on the event loop: it is small, and nobody else is served here."""
        if isinstance(body, LocalFile) or isinstance(condition, IfMatch):
            return await super().put(key, body, condition, durable=durable)
        path = self.root / key
        try:
            path.write_bytes(body)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        return ObjectInfo(key, len(body), "", datetime.now(UTC))


def _without_waiting(store: ObjectStore) -> ObjectStore:
    return _QuickFolder(store.root) if isinstance(store, FolderStore) else store
