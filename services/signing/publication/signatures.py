"""Signs a batch: bins, snapshot, timestamp, from parsed metadata to the bytes to publish. Blocking and without I/O but
what a key service needs: run it in a thread.

Every file is checked against its delegator before it is returned. Source: trust contract sections 2.3 and 2.6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tuf.api.metadata import Metadata, Snapshot

from countermark.core.binding import INDEX_FIELD
from countermark.core.digest import Sha256, sha256_of
from countermark.core.names import IndexName, TargetPath
from services.signing.keys.custody import Custody
from services.signing.keys.signers import Signers
from shared.catalogue.publication_rows import CurrentFile
from shared.catalogue.trust import StoredTrustFile
from shared.trust.metadata import (
    SHARED_META,
    Entries,
    TargetEntry,
    bin_metadata,
    set_target,
    snapshot_metadata,
    timestamp_metadata,
    verify_with,
)
from shared.trust.roles import Profile, Role, is_due


@dataclass(frozen=True, slots=True)
class SignedFile:
    """A version of a role's metadata as it is published."""

    role: str
    version: int
    expires_at: datetime
    content: bytes

    @property
    def sha256(self) -> Sha256:
        """Digest of the content."""
        return sha256_of(self.content)


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """What a batch signs.

    Attributes:
        index: whose repository it is.
        now: when the batch began, whole seconds.
        version: the number every file of this batch gets.
        shared: the deployment's shared trust files, role -> newest version.
        bin_names: every bin the registry delegates to.
        bins: the bins' current versions; empty before the first publication.
        taken: the targets of the bins that exist and are touched or due; they are edited in place.
        changes: bin name -> (targets to set, target paths to unset).
        custody: the keys that sign; what their newest has not signed yet is signed again.
        snapshot: the current snapshot; None before the first publication, and where bins change: it is made anew then.
    """

    index: IndexName
    profile: Profile
    now: datetime
    version: int
    shared: Mapping[str, StoredTrustFile]
    bin_names: Sequence[str]
    bins: Mapping[str, CurrentFile]
    taken: Mapping[str, Entries]
    changes: Mapping[str, tuple[list[TargetEntry], list[TargetPath]]]
    snapshot: SignedFile | None
    custody: Custody | None = None

    def expiry(self, role: Role) -> datetime:
        """When a file of a role signed by this batch expires."""
        return self.now + self.profile.roles[role].lifetime


@dataclass(frozen=True, slots=True)
class SignedRoles:
    """What was signed: `files` are the bins and, when it changed, the snapshot; the timestamp is apart, it goes
    last."""

    files: list[SignedFile]
    edited: dict[str, Entries]
    snapshot: SignedFile
    timestamp: SignedFile


def sign_batch(signers: Signers, request: SigningRequest) -> SignedRoles:
    """Sign what a batch touches and what is due.

    Raises:
        KeyUnusable: a key is missing or a signature does not verify.
        tuf.api.exceptions.UnsignedMetadataError: a file would not verify under its delegator: nothing may be published.
    """
    bins, edited = _bins(signers, request)
    snapshot = request.snapshot
    files = list(bins)
    if snapshot is None or bins or _outdated(request, snapshot):
        snapshot = _snapshot(signers, request, {file.role: file.version for file in bins})
        files.append(snapshot)
    timestamp = _timestamp(signers, request, snapshot)
    _verify(request, [*files, timestamp])
    return SignedRoles(files, edited, snapshot, timestamp)


def sign_bins(
    signers: Signers, request: SigningRequest, bins: Mapping[str, Entries], serving: Sequence[str] = ()
) -> list[SignedFile]:
    """Sign whole bins, each with the request's version; for a move to another count of bins.

    Args:
        serving: names that all get the bytes of the only bin in `bins`: an empty bin does not say which one it is.

    Raises:
        As `sign_batch`.
    """
    expires, threshold = request.expiry(Role.BINS), request.profile.roles[Role.BINS].threshold
    files = []
    for name, entries in bins.items():
        content = signers.sign(Role.BINS, bin_metadata(request.version, expires, entries), threshold)
        files += [SignedFile(other, request.version, expires, content) for other in serving or (name,)]
    if not serving:
        _verify(request, files)
    return files


def sign_head(signers: Signers, request: SigningRequest, versions: Mapping[str, int]) -> tuple[SignedFile, SignedFile]:
    """Sign a snapshot of the request's bins and a timestamp of it; for a move to another count of bins.

    Args:
        versions: bin name -> version, where it differs from that of the request.

    Raises:
        As `sign_batch`.
    """
    snapshot = _snapshot(signers, request, versions)
    timestamp = _timestamp(signers, request, snapshot)
    _verify(request, [snapshot, timestamp])
    return snapshot, timestamp


def _bins(signers: Signers, request: SigningRequest) -> tuple[list[SignedFile], dict[str, Entries]]:
    expires = request.expiry(Role.BINS)
    threshold = request.profile.roles[Role.BINS].threshold
    edited = dict(request.taken)
    for name in request.changes:
        if name not in request.bins:
            edited[name] = {}
    files = []
    for name, entries in edited.items():
        changed, unset = request.changes.get(name, ((), ()))
        for path in unset:
            entries.pop(path, None)
        for entry in changed:
            set_target(entries, entry)
        content = signers.sign(Role.BINS, bin_metadata(request.version, expires, entries), threshold)
        files.append(SignedFile(name, request.version, expires, content))
    empty = [name for name in request.bin_names if name not in request.bins and name not in edited]
    if empty:
        # An empty bin does not say which bin it is: one signature serves them all.
        content = signers.sign(Role.BINS, bin_metadata(request.version, expires), threshold)
        files += [SignedFile(name, request.version, expires, content) for name in empty]
    return files, edited


def _outdated(request: SigningRequest, snapshot: SignedFile) -> bool:
    """Whether the snapshot is due, its newest key has not signed it, it does not name its index yet, or it names an
    older version of a shared file."""
    if is_due(request.profile.roles[Role.SNAPSHOT], snapshot.expires_at, request.now):
        return True
    if request.custody is not None and request.custody.owes(Role.SNAPSHOT, snapshot.expires_at):
        return True
    signed = Metadata[Snapshot].from_bytes(snapshot.content).signed
    if signed.unrecognized_fields.get(INDEX_FIELD) != str(request.index):
        return True
    return any(signed.meta[f"{name}.json"].version != request.shared[name].version for name in SHARED_META)


def _timestamp(signers: Signers, request: SigningRequest, snapshot: SignedFile) -> SignedFile:
    expires = request.expiry(Role.TIMESTAMP)
    metadata = timestamp_metadata(snapshot.version, snapshot.content, request.version, expires)
    content = signers.sign(Role.TIMESTAMP, metadata, request.profile.roles[Role.TIMESTAMP].threshold)
    return SignedFile("timestamp", request.version, expires, content)


def _snapshot(signers: Signers, request: SigningRequest, changed: Mapping[str, int]) -> SignedFile:
    versions = {name: file.version for name, file in request.bins.items()} | dict(changed)
    shared = {name: (request.shared[name].version, request.shared[name].content) for name in SHARED_META}
    expires = request.expiry(Role.SNAPSHOT)
    metadata = snapshot_metadata(request.index, versions, shared, request.version, expires)
    content = signers.sign(Role.SNAPSHOT, metadata, request.profile.roles[Role.SNAPSHOT].threshold)
    return SignedFile("snapshot", request.version, expires, content)


def _verify(request: SigningRequest, files: Sequence[SignedFile]) -> None:
    """Check each file against its delegator, as a client will; equal bytes once."""
    checked: set[tuple[bool, Sha256]] = set()
    for file in files:
        top_level = file.role in {"snapshot", "timestamp"}
        if (top_level, file.sha256) in checked:
            continue
        checked.add((top_level, file.sha256))
        verify_with(request.shared["root" if top_level else "registry"].content, file.role, file.content)
