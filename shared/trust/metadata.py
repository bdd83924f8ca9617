"""Builds and reads TUF metadata: shapes only, no keys and no clock. Pure.

Source: TUF specification 1.0.34 section 4; TAP 15 (succinct hash bins); trust contract sections 1.2 to 1.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import orjson
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import Key, Signature
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)

from countermark.core.binding import INDEX_FIELD
from countermark.core.digest import Length, Sha256, sha256_of
from countermark.core.names import OWN_PROJECTS, IndexName, TargetPath
from shared.trust.roles import REGISTRY_PATHS, TRUST_PATHS, Profile, Role, bin_prefix

SPEC_VERSION = "1.0.31"
"""The specification version python-tuf declares in new metadata (trust contract section 1.3)."""

SHARED_META = ("targets", "trust", "registry")
"""Shared roles a snapshot lists, with length and digest; bins are listed by version only."""


@dataclass(frozen=True, slots=True)
class TargetEntry:
    """What targets metadata says of one target; `kind` is the `custom` kind of trust contract section 1.4."""

    path: TargetPath
    sha256: Sha256
    length: Length
    kind: str


def kind_of(path: TargetPath) -> str:
    """Return the `custom` kind of a target, by its name."""
    if path.endswith("/_simple.json"):
        return "page/v1"
    if path.split("/")[1] in OWN_PROJECTS:
        return "note/v1"
    return "vsa/v1" if path.endswith(".vsa.json") else "pointer/v1"


def root_metadata(
    profile: Profile, keys: Mapping[Role, Sequence[Key]], version: int, expires: datetime
) -> Metadata[Root]:
    """Return unsigned root metadata that names the keys and thresholds of the top-level roles."""
    root = Root(version=version, spec_version=SPEC_VERSION, expires=expires, consistent_snapshot=True)
    for role in (Role.ROOT, Role.TARGETS, Role.SNAPSHOT, Role.TIMESTAMP):
        for key in keys[role]:
            root.add_key(key, role.value)
        root.roles[role.value].threshold = profile.roles[role].threshold
    return Metadata(root)


def targets_metadata(
    profile: Profile, keys: Mapping[Role, Sequence[Key]], version: int, expires: datetime
) -> Metadata[Targets]:
    """Return unsigned top-level targets metadata: delegations only."""
    delegated = {
        role.value: DelegatedRole(
            name=role.value,
            keyids=[key.keyid for key in keys[role]],
            threshold=profile.roles[role].threshold,
            terminating=True,
            paths=list(paths),
        )
        for role, paths in ((Role.TRUST, TRUST_PATHS), (Role.REGISTRY, REGISTRY_PATHS))
    }
    all_keys = {key.keyid: key for role in (Role.TRUST, Role.REGISTRY) for key in keys[role]}
    return Metadata(
        Targets(
            version=version,
            spec_version=SPEC_VERSION,
            expires=expires,
            delegations=Delegations(keys=all_keys, roles=delegated),
        )
    )


def trust_metadata(
    version: int, expires: datetime, targets: Mapping[str, bytes] = MappingProxyType({})
) -> Metadata[Targets]:
    """Return unsigned metadata of the trust role.

    Args:
        targets: path -> content.
    """
    named = {path: TargetFile.from_data(path, content, ["sha256"]) for path, content in targets.items()}
    return Metadata(Targets(version=version, spec_version=SPEC_VERSION, expires=expires, targets=named))


def registry_metadata(
    keys: Mapping[Role, Sequence[Key]], bin_bits: int, version: int, expires: datetime
) -> Metadata[Targets]:
    """Return unsigned metadata of the registry role: succinct delegation to 2^`bin_bits` bins."""
    return Metadata(
        Targets(
            version=version,
            spec_version=SPEC_VERSION,
            expires=expires,
            delegations=Delegations(
                keys={key.keyid: key for key in keys[Role.BINS]},
                succinct_roles=SuccinctRoles(
                    keyids=[key.keyid for key in keys[Role.BINS]],
                    threshold=1,
                    bit_length=bin_bits,
                    name_prefix=bin_prefix(bin_bits),
                ),
            ),
        )
    )


def succinct_roles_of(registry: bytes) -> SuccinctRoles:
    """Return the bins that registry metadata delegates to.

    Raises:
        ValueError: it delegates to none.
    """
    delegations = Metadata[Targets].from_bytes(registry).signed.delegations
    if delegations is None or delegations.succinct_roles is None:
        raise ValueError("the registry role delegates to no bins")
    return delegations.succinct_roles


Entries = dict[str, dict[str, Any]]
"""The targets of a bin, path -> entry, as they stand in its JSON.

A publication reads and signs several bins of hundreds of targets each; an object for each target would take longer
than all signatures together.
"""


class _Bin(Targets):
    """A bin to be signed: `targets` stays empty, and the entries stay the mapping they are."""

    def __init__(self, version: int, expires: datetime, entries: Entries) -> None:
        super().__init__(version=version, spec_version=SPEC_VERSION, expires=expires)
        self._entries = entries

    def to_dict(self) -> dict[str, Any]:
        """Return everything that is signed."""
        return super().to_dict() | {"targets": self._entries}


def bin_metadata(version: int, expires: datetime, entries: Entries | None = None) -> Metadata[Targets]:
    """Return unsigned metadata of a bin. It does not say which bin it is, so all empty bins can be one byte string."""
    return Metadata(_Bin(version, expires, {} if entries is None else entries))


def set_target(entries: Entries, entry: TargetEntry) -> None:
    """Put a target into a bin, replacing what was under its path."""
    entries[entry.path] = {
        "custom": {"kind": entry.kind},
        "hashes": {"sha256": entry.sha256},
        "length": entry.length,
    }


_BIN_FIELDS = frozenset(["_type", "expires", "spec_version", "targets", "version"])


def read_bin(content: bytes) -> Entries:
    """Return the targets of a bin, to be edited and signed anew.

    Raises:
        ValueError: the content is no bin as `bin_metadata` makes them.
    """
    try:
        signed = orjson.loads(content)["signed"]
        if signed["_type"] != Targets.type or signed.keys() != _BIN_FIELDS or not isinstance(signed["targets"], dict):
            raise ValueError("other fields")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("the content is no targets metadata") from error
    entries: Entries = signed["targets"]
    return entries


class _BinnedSnapshot(Snapshot):
    """A snapshot to be signed: `meta` holds the shared roles, and the bins stay the mapping they are.

    Every publication lists thousands of bins; an object for each would take longer than all signatures together.
    """

    def __init__(
        self, index: IndexName, bins: Mapping[str, int], version: int, expires: datetime, meta: dict[str, MetaFile]
    ) -> None:
        named = {INDEX_FIELD: str(index)}
        super().__init__(version, SPEC_VERSION, expires, meta, named)
        self._bins = bins

    def to_dict(self) -> dict[str, Any]:
        """Return everything that is signed."""
        signed = super().to_dict()
        signed["meta"] |= {f"{name}.json": {"version": number} for name, number in self._bins.items()}
        return signed


def snapshot_metadata(
    index: IndexName, bins: Mapping[str, int], shared: Mapping[str, tuple[int, bytes]], version: int, expires: datetime
) -> Metadata[Snapshot]:
    """Return unsigned snapshot metadata.

    It names its index in a field of ours, which other clients ignore (TUF specification 1.0.34 section 4.1): indexes
    share their keys, and only so a reader knows that what is not listed is not in *this* index.

    Args:
        index: whose it is.
        bins: bin name -> its current version.
        shared: each of `SHARED_META` -> (version, bytes of the file).
    """
    meta: dict[str, MetaFile] = {}
    for name in SHARED_META:
        number, content = shared[name]
        meta[f"{name}.json"] = _meta_file(number, content)
    return Metadata(_BinnedSnapshot(index, bins, version, expires, meta))


def timestamp_metadata(snapshot_version: int, snapshot: bytes, version: int, expires: datetime) -> Metadata[Timestamp]:
    """Return unsigned timestamp metadata that names a snapshot by version, length and digest."""
    meta = _meta_file(snapshot_version, snapshot)
    return Metadata(Timestamp(version=version, spec_version=SPEC_VERSION, expires=expires, snapshot_meta=meta))


def canonical(signed: dict[str, Any]) -> bytes:
    """Return the signed part of metadata in the form that signatures are made over (OLPC canonical JSON).

    Canonical JSON escapes quotation marks and backslashes only. Where nothing is escaped it is what a fast encoder
    writes with sorted keys; all else is left to the library's encoder, which takes milliseconds for a thousand targets.
    """
    encoded = orjson.dumps(signed, option=orjson.OPT_SORT_KEYS)
    return encoded if b"\\" not in encoded else bytes(encode_canonical(signed) or "", "utf-8")


def to_publish(signed: dict[str, Any], signatures: Mapping[str, Signature]) -> bytes:
    """Return metadata as it is published: compact JSON (trust contract section 1.3).

    Args:
        signatures: by key id.
    """
    made = [signature.to_dict() for signature in signatures.values()]
    return orjson.dumps({"signatures": made, "signed": signed}, option=orjson.OPT_SORT_KEYS)


def verify_with(delegator: bytes, role: str, content: bytes) -> None:
    """Check a file against its delegator's keys and threshold, as a client will.

    Raises:
        ValueError: the content is no metadata.
        tuf.api.exceptions.UnsignedMetadataError: fewer than the threshold of valid signatures.
    """
    read = orjson.loads(content)
    try:
        signatures = {found["keyid"]: Signature.from_dict(dict(found)) for found in read["signatures"]}
        signed = canonical(read["signed"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the content for role {role} is no metadata") from error
    _delegator(delegator).verify_delegate(role, signed, signatures)


@lru_cache(maxsize=8)
def _delegator(content: bytes) -> Root | Targets:
    """Return who delegates; parsed once, since it is the same two files for every file of every batch."""
    parsed = Metadata[Any].from_bytes(content).signed
    assert isinstance(parsed, Root | Targets)
    return parsed


def _meta_file(version: int, content: bytes) -> MetaFile:
    return MetaFile(version=version, length=len(content), hashes={"sha256": sha256_of(content)})
