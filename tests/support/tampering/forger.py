"""Signs over a published repository with stolen, foreign or genuine keys, and keeps what it made apart from it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp

from countermark.core.digest import sha256_of

Keys = dict[str, list[CryptoSigner]]
"""The private halves of each role; those of all bins are under `bins`."""

SHARED = ("targets", "trust", "registry")
"""Roles that the snapshot lists with length and digest. Source: trust contract section 2.3."""


def stolen_keys(folder: Path) -> Keys:
    """Return all keys of a deployment of the profile `development`, from its keys folder."""
    keys: Keys = {}
    for path in sorted(folder.glob("*.pem")):
        private: Any = load_pem_private_key(path.read_bytes(), None)
        keys.setdefault(path.stem.rpartition("-")[0], []).append(CryptoSigner(private))
    return keys


def from_now(**span: float) -> datetime:
    """Return now plus a span, in whole seconds."""
    return (datetime.now(UTC) + timedelta(**span)).replace(microsecond=0)


@dataclass
class Forger:
    """Everything that whoever holds `keys` can make of an index's repository.

    Attributes:
        honest: reads a published file by its name (`metadata/...`, `targets/...`), None for nothing.
        keys: what signs; replace entries to sign with others.
        files: what was forged, by name, to be served over what is published.
    """

    honest: Callable[[str], bytes | None]
    keys: Keys
    files: dict[str, bytes] = field(default_factory=dict)
    _snapshot: int = 0

    # What is there

    def read(self, name: str) -> bytes:
        """Return the bytes of a file, the forged one first."""
        data = self.files.get(name) or self.honest(name)
        assert data is not None, name
        return data

    def signed(self, role: str) -> Any:
        """Return what a role signs at present; the caller may change it."""
        return Metadata[Any].from_bytes(self.read(self.name_of(role))).signed

    def name_of(self, role: str) -> str:
        """Return under which name the present metadata of a role lies."""
        if role == "timestamp":
            return "metadata/timestamp.json"
        if role == "root":
            return f"metadata/{self._newest_root()}.root.json"
        if role == "snapshot":
            return f"metadata/{self.signed('timestamp').snapshot_meta.version}.snapshot.json"
        return f"metadata/{self.signed('snapshot').meta[f'{role}.json'].version}.{role}.json"

    def bin_of(self, path: str) -> str:
        """Return the bin that lists a target."""
        return str(self.signed("registry").delegations.succinct_roles.get_role_for_target(path))

    def name_of_target(self, path: str) -> str:
        """Return under which name the present bytes of a target lie."""
        listed = self.signed(self.bin_of(path)).targets[path]
        folder, _, last = path.rpartition("/")
        return f"targets/{folder}/{listed.hashes['sha256']}.{last}"

    def target(self, path: str) -> bytes:
        """Return the present bytes of a target."""
        return self.read(self.name_of_target(path))

    # What is made of it

    def put(self, role: str, signed: Signed, keys: Sequence[CryptoSigner] | None = None) -> bytes:
        """Sign and lay out metadata of a role with its keys, or with others; returns its bytes."""
        data = signed_by(signed, self.keys["bins" if role not in self.keys else role] if keys is None else keys)
        name = "timestamp" if role == "timestamp" else f"{signed.version}.{role}"
        self.files[f"metadata/{name}.json"] = data
        return data

    def publish(self, targets: Mapping[str, bytes | None], **expires: datetime) -> None:
        """Sign targets into their bins (None takes one out), and the snapshot and timestamp that lead to them.

        Args:
            expires: when the `bins`, the `snapshot` and the `timestamp` expire, where it is not what was published.
        """
        version, versions = self.next_version(), {}
        for name in {self.bin_of(path) for path in targets}:
            listed: Targets = self.signed(name)
            for path, data in targets.items():
                if self.bin_of(path) == name:
                    listed.targets.pop(path, None)
                    if data is not None:
                        listed.targets[path] = self._lay_target(path, data)
            listed.version, listed.expires = version, expires.get("bins", listed.expires)
            versions[name] = version
            self.put(name, listed)
        self.put_snapshot(versions, expires=expires.get("snapshot"))
        self.put_timestamp(expires=expires.get("timestamp"))

    def put_shared(self, role: str, signed: Targets) -> None:
        """Sign the next version of `targets`, `trust` or `registry`, and the snapshot and timestamp that lead to it."""
        signed.version += 1
        self.put(role, signed)
        self.put_snapshot({role: signed.version})
        self.put_timestamp()

    def put_trusted(self, path: str, data: bytes) -> None:
        """Have the trust role's own keys sign a target of theirs."""
        trust: Targets = self.signed("trust")
        trust.targets[path] = self._lay_target(path, data)
        self.put_shared("trust", trust)

    def put_snapshot(
        self, versions: Mapping[str, int], *, gone: Iterable[str] = (), expires: datetime | None = None
    ) -> None:
        """Sign the next snapshot, which states these versions and lists the roles in `gone` no more."""
        snapshot: Snapshot = self.signed("snapshot")
        snapshot.version, snapshot.expires = self.next_version(), expires or snapshot.expires
        for role, version in versions.items():
            data = self.read(f"metadata/{version}.{role}.json")
            exact = (len(data), {"sha256": sha256_of(data)}) if role in SHARED else (None, None)
            snapshot.meta[f"{role}.json"] = MetaFile(version, *exact)
        for role in gone:
            del snapshot.meta[f"{role}.json"]
        self.put("snapshot", snapshot)
        self._snapshot = snapshot.version

    def put_timestamp(
        self, *, version: int | None = None, snapshot: int | None = None, expires: datetime | None = None
    ) -> None:
        """Sign the next timestamp, or one of another version, over the last snapshot or the one named."""
        timestamp: Timestamp = self.signed("timestamp")
        named = snapshot or self._snapshot or timestamp.snapshot_meta.version
        data = self.read(f"metadata/{named}.snapshot.json")
        timestamp.version = version or max(timestamp.version + 1, named)
        timestamp.snapshot_meta = MetaFile(named, len(data), {"sha256": sha256_of(data)})
        timestamp.expires = expires or timestamp.expires
        self.put("timestamp", timestamp)

    def put_root(self, change: Callable[[Root], None], keys: Sequence[CryptoSigner] | None = None) -> None:
        """Sign the next root, changed; with all keys of the root unless told otherwise."""
        root: Root = copy.deepcopy(self.signed("root"))
        root.version += 1
        change(root)
        self.put("root", root, keys)

    def replace_keys(self, root: Root, *roles: str) -> None:
        """Give roles fresh keys, in a root that is being made and for what is signed from now on."""
        for role in roles:
            for key in self.keys[role]:
                root.revoke_key(key.public_key.keyid, role)
            self.keys[role] = [CryptoSigner.generate_ed25519() for _ in self.keys[role]]
            for key in self.keys[role]:
                root.add_key(key.public_key, role)

    def next_version(self) -> int:
        """Return a number that neither the timestamp nor the last snapshot has reached."""
        return max(int(self.signed("timestamp").version), self._snapshot) + 1

    def _lay_target(self, path: str, data: bytes) -> TargetFile:
        folder, slash, last = path.rpartition("/")
        self.files[f"targets/{folder}{slash}{sha256_of(data)}.{last}"] = data
        return TargetFile.from_data(path, data, ["sha256"])

    def _newest_root(self) -> int:
        number = 1
        while f"metadata/{number + 1}.root.json" in self.files or self.honest(f"metadata/{number + 1}.root.json"):
            number += 1
        return number


def under_another_id(signer: CryptoSigner, keyid: str) -> CryptoSigner:
    """Return the same key as if its id were another."""
    private: Any = load_pem_private_key(signer.private_bytes, None)
    public = signer.public_key
    return CryptoSigner(private, SSlibKey(keyid, public.keytype, public.scheme, public.keyval))


def signed_by(signed: Signed, keys: Sequence[CryptoSigner]) -> bytes:
    """Return compact metadata, signed by all of `keys`."""
    metadata: Metadata[Any] = Metadata(signed)
    for key in keys:
        metadata.sign(key, append=True)
    return metadata.to_bytes()
