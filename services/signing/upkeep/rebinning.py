"""Moves an index to another count of hash bins: the same targets in other bins, switched by one commit.

1. Take the index's lease and a version number; find the bins it has and the registry it is to have.
2. Pair by pair (`rules.bin_groups`): check the old bins, spread their targets, sign and store the new ones.
3. Sign the old bins anew as empty ones: their names stay in the snapshot for ever, what they said does not.
4. Sign and store the snapshot, which names the other registry.
5. One commit under the fence: bins, snapshot, timestamp, and which registry the index uses.
6. Put the timestamp last; let go of the lease and wake the signer for what came meanwhile.
Killed anywhere before 5 the index is as it was, afterwards as it is to be; run again, the command completes it.

Source: trust contract sections 1.2 and 1.5; docs/adr/0020-bin-counts.md.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from tuf.api.metadata import SuccinctRoles

from countermark.core.names import TargetPath
from services.signing.ceremonies.trust_targets import targets_of
from services.signing.keys.access import key_access
from services.signing.keys.handles import load_handles
from services.signing.keys.signers import Signers, online
from services.signing.publication import rules, tree
from services.signing.publication.holding import kept
from services.signing.publication.signatures import SignedFile, SigningRequest, sign_bins, sign_head
from services.signing.publication.storing import Committed, follow, make_good
from shared.catalogue import audit, leases, publications, trust
from shared.catalogue.leases import Held
from shared.catalogue.publication_rows import HeadState, IndexFacts, NewHead, NewTufFile
from shared.catalogue.trust import StoredTrustFile
from shared.catalogue.unit_of_work import UnitOfWork
from shared.clock import whole_seconds
from shared.ids import IndexId
from shared.jobs.messages import RefreshIndex
from shared.resources import Resources
from shared.trust.metadata import Entries, read_bin, succinct_roles_of, verify_with
from shared.trust.roles import PROFILES

log = structlog.get_logger()

_POLL = 0.2
"""Seconds between two tries to get the lease."""

_PATIENCE = 3 * leases.TERM.total_seconds()
"""Seconds to try: a signer that was killed keeps the lease for one term."""

_PART = 16 << 20
"""Bytes of bins inserted at a time."""


class IndexBusy(Exception):
    """Another signer keeps the lease; nothing was changed."""


class BinsDamaged(Exception):
    """The catalogue's bins are not what was signed: nothing may be signed from them. The message names the bin."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move did; `moved` is False when the index had the wanted bins already."""

    index: str
    moved: bool
    targets: int = 0
    bins: int = 0


@dataclass(frozen=True, slots=True)
class _Move:
    """What a move found under the lease; `request` holds the registry the index is to have."""

    index: IndexFacts
    held: Held
    head: HeadState
    old: StoredTrustFile
    request: SigningRequest

    @property
    def registry(self) -> StoredTrustFile:
        """The registry the index is to have."""
        return self.request.shared["registry"]


async def rebin(
    resources: Resources, index_id: IndexId, progress: Callable[[int, int], None] | None = None
) -> Moved | None:
    """Move an index to the bins of the newest registry; None when it was never published.

    Publications of the index wait meanwhile; readers do not.

    Args:
        progress: called with the pairs of bins that are done, and how many there are.

    Raises:
        IndexBusy: another signer keeps the lease.
        LeaseLost: another signer took over; the index is as it was.
        BinsDamaged: the catalogue's bins are not what was signed; the index is as it was.
        KeyUnusable: a key is missing or does not sign; the index is as it was.
        ObjectStoreError: the store cannot be used.
    """
    held = await _acquire(resources, index_id)
    try:
        async with kept(resources, held):
            # A move that was killed after its commit left the old timestamp in the store.
            await make_good(resources, index_id)
            return await _rebin(resources, held, progress or (lambda done, of: None))
    finally:
        async with UnitOfWork(resources.engine) as work:
            await leases.release(work.connection, held, even_if_requested=True)
            # Publications that came meanwhile found the lease taken; this wakes whoever does them.
            await work.enqueue(RefreshIndex(index_id))
            await work.commit()


async def _rebin(resources: Resources, held: Held, progress: Callable[[int, int], None]) -> Moved | None:
    move = await _gather(resources, held)
    if move is None:
        return None
    name, store = str(move.index.name), resources.objects.side(public=move.index.public)
    if move.registry.version == move.old.version:
        return Moved(name, moved=False)
    handles = online(await load_handles(resources))
    signers = await asyncio.to_thread(Signers, handles, key_access(resources.settings))
    roots, of_trust = await _shared(resources, move)
    await tree.put_targets(store, move.index.name, of_trust)
    shared = [SignedFile(f.role, f.version, f.expires_at, f.content) for f in (*roots, *move.request.shared.values())]
    await tree.put_metadata(store, move.index.name, shared)
    with _Spool() as spool:
        targets = 0
        groups = rules.bin_groups(_names(move.old), _names(move.registry))
        for number, (old, new) in enumerate(groups):
            bins = await _checked_bins(resources, move, old)
            files = await asyncio.to_thread(_spread, signers, move.request, bins, new)
            targets += sum(len(bin_) for bin_ in bins)
            await tree.put_metadata(store, move.index.name, files)
            await asyncio.to_thread(spool.add, files)
            progress(number + 1, len(groups))
        empty = await asyncio.to_thread(_emptied, signers, move)
        await tree.put_metadata(store, move.index.name, empty)
        versions = dict.fromkeys([*_names(move.old), *_names(move.registry)], move.request.version)
        snapshot, timestamp = await asyncio.to_thread(sign_head, signers, move.request, versions)
        await tree.put_metadata(store, move.index.name, [snapshot])
        await _commit(resources, move, spool, (empty, snapshot, timestamp))
    committed = Committed(move.index, timestamp.version, timestamp.content, move.head.timestamp_version)
    await follow(resources, committed, {}, ())
    log.info("bins_moved", index=name, version=move.request.version, bins=len(_names(move.registry)), targets=targets)
    return Moved(name, moved=True, targets=targets, bins=len(_names(move.registry)))


async def _acquire(resources: Resources, index_id: IndexId) -> Held:
    for _ in range(int(_PATIENCE / _POLL)):
        async with UnitOfWork(resources.engine) as work:
            held = await leases.acquire(work.connection, index_id)
            await work.commit()
        if held is not None:
            return held
        await asyncio.sleep(_POLL)
    raise IndexBusy(f"index {index_id} is being published without a pause: try again later")


async def _shared(resources: Resources, move: _Move) -> tuple[list[StoredTrustFile], dict[TargetPath, bytes]]:
    """Return all roots, and the targets of trust."""
    async with resources.engine.connect() as connection:
        of_trust = await targets_of(connection, move.request.shared["trust"].content)
        return await trust.roots(connection), of_trust


async def _gather(resources: Resources, held: Held) -> _Move | None:
    """Read what the index has and take a version, under the lease."""
    profile, now = PROFILES[resources.settings.signing.profile], whole_seconds(resources.clock.now())
    async with UnitOfWork(resources.engine) as work:
        index = await publications.index_facts(work.connection, held.index_id)
        head = await publications.head_state(work.connection, held.index_id)
        if index is None or head is None:
            return None
        old = (await trust.trust_files_in_use(work.connection, head.registry_version))["registry"]
        shared = await trust.newest_trust_files(work.connection)
        bins = await publications.current_files(work.connection, held.index_id)
        held, version = await leases.allocate(work.connection, held)
        await work.commit()
    names = _names(shared["registry"])
    request = SigningRequest(index.name, profile, now, version, shared, names, bins, {}, {}, snapshot=None)
    return _Move(index, held, head, old, request)


async def _checked_bins(resources: Resources, move: _Move, names: Sequence[str]) -> list[Entries]:
    """Read bins from the catalogue and check their signatures: what is signed anew was signed before."""
    async with resources.engine.connect() as connection:
        contents = await publications.current_contents(connection, move.index.id, names)
    return await asyncio.to_thread(_checked, move.old.content, names, contents)


def _checked(registry: bytes, names: Sequence[str], contents: dict[str, bytes]) -> list[Entries]:
    bins = []
    for name in names:
        try:
            verify_with(registry, name, contents[name])
            bins.append(read_bin(contents[name]))
        except KeyError:
            raise BinsDamaged(f"the catalogue has no bin {name}: restore a backup") from None
        except Exception as error:
            # Whatever the parser makes of bytes that nobody signed.
            raise BinsDamaged(f"bin {name} of the catalogue is not what was signed: {error}") from error
    return bins


def _spread(
    signers: Signers, request: SigningRequest, old: Sequence[Entries], names: Sequence[str]
) -> list[SignedFile]:
    """Sort the targets of some bins into those that take their place, and sign these."""
    registry = succinct_roles_of(request.shared["registry"].content)
    new: dict[str, Entries] = {name: {} for name in names}
    for bin_ in old:
        for path, target in bin_.items():
            new[registry.get_role_for_target(path)][path] = target
    return sign_bins(signers, request, new)


def _emptied(signers: Signers, move: _Move) -> list[SignedFile]:
    """Sign one empty bin for all names that nothing delegates to any more."""
    request, living = move.request, set(_names(move.registry))
    gone = [name for name in _names(move.old) if name not in living]
    if not gone:
        return []
    return sign_bins(signers, request, {"": {}}, gone)


async def _commit(
    resources: Resources, move: _Move, spool: _Spool, signed: tuple[Sequence[SignedFile], SignedFile, SignedFile]
) -> None:
    """The switch: all bins, the snapshot and the registry become current in one commit under the fence."""
    empty, snapshot, timestamp = signed
    request, now = move.request, _now(resources)
    async with UnitOfWork(resources.engine) as work:
        for part in spool.parts(_PART):
            await publications.keep_tuf_files(work.connection, move.index.id, [_row(file) for file in part], now)
        await leases.guard(work.connection, move.held)
        head = NewHead(
            fence=move.held.fence,
            version=request.version,
            serial=move.head.serial,
            root_version=request.shared["root"].version,
            registry_version=move.registry.version,
            targets_version=request.shared["targets"].version,
            trust_version=request.shared["trust"].version,
            snapshot_version=snapshot.version,
            snapshot_expires_at=snapshot.expires_at,
            timestamp_expires_at=timestamp.expires_at,
            timestamp=timestamp.content,
            tuf_files=[_row(file) for file in (*empty, snapshot)],
            pages=(),
            shown=(),
            hidden=(),
            journal=(),
            changes=0,
            started_at=request.now,
            committed_at=now,
        )
        await publications.insert_head(work.connection, move.index.id, head)
        await audit.record(
            work.connection,
            at=request.now,
            actor="bins",
            action="index.bins",
            subject=str(move.index.name),
            version=request.version,
            fence=move.held.fence,
            registry=move.registry.version,
            bins=len(request.bin_names),
        )
        await work.commit()


class _Spool:
    """Signed bins on their way into the catalogue: on disk, since an index may have hundreds of megabytes of them."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="countermark-bins-")  # noqa: SIM115 - closed when the spool is
        self._kept: list[tuple[str, int, datetime, int]] = []

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, files: Sequence[SignedFile]) -> None:
        """Keep files; blocking."""
        for file in files:
            self._file.write(file.content)
            self._kept.append((file.role, file.version, file.expires_at, len(file.content)))

    def parts(self, most: int) -> Iterator[list[SignedFile]]:
        """Yield all files in order, about `most` bytes at a time; blocking for as long as the disk takes."""
        self._file.seek(0)
        part: list[SignedFile] = []
        length = 0
        for role, version, expires, size in self._kept:
            part.append(SignedFile(role, version, expires, self._file.read(size)))
            length += size
            if length >= most:
                yield part
                part, length = [], 0
        if part:
            yield part


def _row(file: SignedFile) -> NewTufFile:
    return NewTufFile(file.role, file.version, file.sha256, file.expires_at, file.content)


def _names(registry: StoredTrustFile) -> list[str]:
    roles: SuccinctRoles = succinct_roles_of(registry.content)
    return list(roles.get_roles())


def _now(resources: Resources) -> datetime:
    return resources.clock.now()
