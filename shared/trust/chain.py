"""Checks the metadata of an index as a client does, from the files that are served, and says where it breaks. Pure.

The workflow is that of the TUF specification, for somebody who starts from the first root and has seen nothing else:
what only a client's memory can tell, an older state served again, is not seen here. Files are looked at in the order of
the chain; the first that does not hold ends it. It needs the TUF library, which services that ask for this do without.
Source: TUF specification 1.0.34 section 5; trust contract sections 1.1 and 3.3 (exit codes).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from tuf.api.exceptions import LengthOrHashMismatchError, RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from countermark.core.binding import check_snapshot
from countermark.core.digest import Sha256, sha256_of
from countermark.core.errors import PointerMismatch
from countermark.core.names import IndexName
from shared.trust.links import (
    BELOW_THRESHOLD,
    EXPIRED,
    MAX_ROOTS,
    MISMATCH,
    NO_TARGET,
    OLDER,
    OTHER,
    UNREADABLE,
    Link,
    MetadataReport,
    Served,
    TrustFiles,
    TrustReport,
)


class _Broken(Exception):
    """A link does not hold."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        super().__init__(reason)


T = TypeVar("T", Root, Timestamp, Snapshot, Targets)


def check_metadata(served: Served, index: IndexName, target: str, now: datetime) -> MetadataReport:
    """Return what holds of an index's metadata, up to a target."""
    checking = _Checking(now, served.withheld)
    try:
        with checking.link("root") as evidence:
            root = checking.root(served.roots, evidence)
        with checking.link("timestamp") as evidence:
            timestamp = checking.file(Timestamp, "timestamp", served.timestamp, root, evidence)
        with checking.link("snapshot") as evidence:
            snapshot = checking.snapshot(served.snapshot, timestamp, root, index, evidence)
        with checking.link("target") as evidence:
            return checking.target(served, snapshot, root, target, evidence)
    except _Broken:
        return MetadataReport(tuple(checking.links))


def check_trust(files: TrustFiles) -> TrustReport:
    """Return what the trust role signs, as far as signatures and thresholds show it.

    1. From the first root on, each root by the one before and by itself.
    2. `targets` by the newest root.
    3. `trust` by `targets`, which has to delegate each target of it.

    Which root is the right first one, what was seen before and what has expired is for whoever asks.
    Source: TUF specification 1.0.34 sections 5.3 and 5.6; trust contract sections 1.1 and 2.3.
    """
    # No file expires before that moment.
    checking = _Checking(datetime.min.replace(tzinfo=UTC), {})
    try:
        with _told():
            root = checking.root(files.roots, {})
            targets = checking.file(Targets, "targets", files.targets, root, {})
            trust = checking.file(Targets, "trust", files.trust, targets, {})
            for path in trust.targets:
                if _delegates(targets, path)[:1] != ["trust"]:
                    raise _Broken(OTHER, f"trust may not sign {path[:100]}")
            signed = {path: (Sha256(one.hashes["sha256"]), one.length) for path, one in trust.targets.items()}
    except _Broken as broken:
        return TrustReport(refused=str(broken))
    versions = {"root": root.version, "targets": targets.version, "trust": trust.version}
    expires = {"root": root.expires, "targets": targets.expires, "trust": trust.expires}
    return TrustReport(None, versions, expires, signed)


@contextmanager
def _told() -> Iterator[None]:
    """Turn what the library raises about bytes from outside into a broken link.

    Raises:
        _Broken: the block failed.
    """
    try:
        yield
    except LengthOrHashMismatchError as error:
        raise _Broken(OTHER, f"it is not the file that was signed for: {error}") from error
    except (DeserializationError, RepositoryError, ValueError, LookupError, TypeError) as error:
        raise _Broken(OTHER, f"it is no such metadata: {error}") from error


class _Checking:
    def __init__(self, now: datetime, withheld: Mapping[str, str]) -> None:
        self.links: list[Link] = []
        self._now = now
        self._withheld = withheld
        self._ends: list[datetime] = []

    @contextmanager
    def link(self, name: str) -> Iterator[dict[str, Any]]:
        """Note a link, with the evidence that the block gathers.

        Raises:
            _Broken: it does not hold.
        """
        evidence: dict[str, Any] = {}
        try:
            with _told():
                yield evidence
        except _Broken as broken:
            self.links.append(Link(name, broken.code, str(broken), evidence))
            raise
        if name != "target":
            self.links.append(Link(name, 0, f"version {evidence['version']} holds", evidence))

    def root(self, roots: tuple[bytes, ...], evidence: dict[str, Any]) -> Root:
        """Walk from the first root to the newest."""
        if not roots:
            raise _Broken(UNREADABLE, "no root is served")
        current: Root | None = None
        for number, content in enumerate(roots[:MAX_ROOTS], start=1):
            made = _parsed(Root, "root", content)
            if made.signed.version != number:
                raise _Broken(OLDER, f"{number}.root.json has version {made.signed.version}")
            for by in (current, made.signed):
                if by is not None:
                    _verify(by, "root", made)
            current = made.signed
            evidence |= {"version": number, "sha256": sha256_of(content), "expires": _utc(current.expires)}
        assert current is not None, "there is one"
        evidence["first_sha256"] = sha256_of(roots[0])
        self._fresh("root", current.expires)
        return current

    def file(self, kind: type[T], role: str, content: bytes | None, by: Root | Targets, evidence: dict[str, Any]) -> T:
        """Check one file against who delegates to it; its version and place are for the caller."""
        if content is None:
            raise _Broken(UNREADABLE, self._withheld.get(role, f"{role}.json is not served"))
        made = _parsed(kind, role, content)
        evidence |= {
            "version": made.signed.version,
            "sha256": sha256_of(content),
            "length": len(content),
            "expires": _utc(made.signed.expires),
            "keys": sorted(made.signatures),
        }
        _verify(by, role, made)
        if role in self._withheld:
            raise _Broken(UNREADABLE, self._withheld[role])
        self._fresh(role, made.signed.expires)
        return made.signed

    def snapshot(
        self, content: bytes | None, timestamp: Timestamp, root: Root, index: IndexName, evidence: dict[str, Any]
    ) -> Snapshot:
        """Check the snapshot that the timestamp names."""
        _same_file(timestamp.snapshot_meta, content)
        snapshot = self.file(Snapshot, "snapshot", content, root, evidence)
        if snapshot.version != timestamp.snapshot_meta.version:
            raise _Broken(OLDER, f"it has version {snapshot.version}, the timestamp names another one")
        try:
            evidence["names_index"] = check_snapshot(snapshot.unrecognized_fields, index)
        except PointerMismatch as error:
            raise _Broken(MISMATCH, error.problem) from error
        return snapshot

    def target(
        self, served: Served, snapshot: Snapshot, root: Root, path: str, evidence: dict[str, Any]
    ) -> MetadataReport:
        """Go down to the bin of a target."""
        roles: dict[str, Any] = {}
        evidence |= {"target": path, "roles": roles}
        targets = self._listed("targets", served.targets, snapshot, root, roles)
        trust = self._listed("trust", served.trust, snapshot, targets, roles)
        registry = self._listed("registry", served.registry, snapshot, targets, roles)
        name = served.bin_name
        if _delegates(targets, path)[:1] != ["registry"] or _delegates(registry, path) != [name]:
            raise _Broken(OTHER, "the target is delegated to another bin, or to none")
        listed = self._listed(name, served.bin, snapshot, registry, roles).targets.get(path)
        if listed is None:
            raise _Broken(NO_TARGET, f"{name} lists no {path}")
        sha256, length = listed.hashes["sha256"], listed.length
        evidence |= {"version": roles[name]["version"], "sha256": sha256, "length": length}
        trusted = {one: entry.hashes["sha256"] for one, entry in trust.targets.items()}
        self.links.append(Link("target", 0, f"{name} lists it", evidence))
        return MetadataReport(tuple(self.links), Sha256(sha256), length, trusted, min(self._ends))

    def _listed(
        self, role: str, content: bytes | None, snapshot: Snapshot, by: Root | Targets, roles: dict[str, Any]
    ) -> Targets:
        """Check a file that the snapshot lists."""
        meta = snapshot.meta.get(f"{role}.json")
        if meta is None:
            raise _Broken(OTHER, f"the snapshot lists no {role}.json")
        try:
            _same_file(meta, content)
        except LengthOrHashMismatchError as error:
            raise _Broken(OTHER, f"{role}.json is not the file that the snapshot names: {error}") from error
        about = roles.setdefault(role, {})
        made = self.file(Targets, role, content, by, about)
        if made.version != meta.version:
            raise _Broken(OTHER, f"{role}.json has version {made.version}, the snapshot names {meta.version}")
        return made

    def _fresh(self, role: str, expires: datetime) -> None:
        if expires <= self._now:
            raise _Broken(EXPIRED, f"{role}.json expired at {_utc(expires)}")
        self._ends.append(expires)


def _delegates(by: Targets, path: str) -> list[str]:
    """Return the roles that are asked for a target, in order."""
    return [] if by.delegations is None else [name for name, _ in by.delegations.get_roles_for_target(path)]


def _parsed(kind: type[T], role: str, content: bytes) -> Metadata[T]:
    made = Metadata[T].from_bytes(content)
    if not isinstance(made.signed, kind):
        raise _Broken(OTHER, f"{role}.json is metadata of another type")
    return made


def _verify(by: Root | Targets, role: str, made: Metadata[Any]) -> None:
    try:
        by.verify_delegate(role, made.signed_bytes, made.signatures)
    except UnsignedMetadataError as error:
        raise _Broken(BELOW_THRESHOLD, f"{role}.json is not signed as it has to be: {error}") from error


def _same_file(meta: MetaFile, content: bytes | None) -> None:
    if content is not None:
        meta.verify_length_and_hashes(content)


def _utc(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
