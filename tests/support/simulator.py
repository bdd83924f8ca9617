"""A registry's signed side in memory: the role tree of the contract, and every way to misbehave with it.

A `Deployment` holds keys and what is signed offline; a `RepositorySimulator` publishes one index with them into
`objects`, the static tree by its keys. Tests read as stories: change something, `publish()`, replace an object, look
what the client says. It is a byte source for the client, and writes itself out as a folder.

Source: trust contract sections 2.3 (roles) and 2.6 (write order); architecture section 6 (keys).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from packaging.utils import canonicalize_name
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)

from countermark.core.binding import INDEX_FIELD
from countermark.core.digest import Length, sha256_of
from countermark.core.filenames import parse_distribution
from countermark.core.names import (
    IndexName,
    NormalizedName,
    latest_target,
    page_target,
    parse_index_name,
    pointer_target,
)
from countermark.core.pointer import Latest, Pointer, Resource
from countermark.location import Location, parse_location
from countermark.transport import ByteSource

BASE = "https://registry.example"
"""Where the simulated tree lies; nothing listens there."""

BITS = 2
"""Bits of the bins: four bins are enough to have some that do not change."""

_THRESHOLDS = {"root": (2, 3), "targets": (2, 3), "trust": (2, 3), "registry": (2, 3)}


def soon(**span: float) -> datetime:
    """Return now plus a span, in whole seconds."""
    return (datetime.now(UTC) + timedelta(**span)).replace(microsecond=0)


def signers(role: str) -> list[CryptoSigner]:
    """Return fresh keys for a role, as many as the contract says."""
    return [CryptoSigner.generate_ed25519() for _ in range(_THRESHOLDS.get(role, (1, 1))[1])]


def signed_bytes(signed: Signed, keys: list[CryptoSigner]) -> bytes:
    """Return compact metadata signed by all of `keys`."""
    metadata: Metadata[Any] = Metadata(signed)
    for key in keys:
        metadata.sign(key, append=True)
    return metadata.to_bytes()


class Deployment:
    """Keys, roots, and what is signed offline once for all indexes: `targets`, `trust`, `registry`."""

    def __init__(self) -> None:
        self.keys = {
            role: signers(role) for role in ("root", "targets", "trust", "registry", "bins", "snapshot", "timestamp")
        }
        self.roots: list[bytes] = []
        self.root_expires = soon(days=365)
        self.trust_targets: dict[str, bytes] = {}
        self.offline_version = 1
        self.sign_root()

    def sign_root(self, extra: list[CryptoSigner] | None = None, keys: list[CryptoSigner] | None = None) -> None:
        """Sign the next root version with the present keys and `extra` (outgoing) ones, or with `keys` alone."""
        root = Root(version=len(self.roots) + 1, expires=self.root_expires, consistent_snapshot=True)
        for role in ("root", "targets", "snapshot", "timestamp"):
            for key in self.keys[role]:
                root.add_key(key.public_key, role)
            root.roles[role].threshold = _THRESHOLDS.get(role, (1, 1))[0]
        self.roots.append(signed_bytes(root, keys if keys is not None else self.keys["root"] + (extra or [])))

    def rotate(self, *roles: str) -> None:
        """Give online roles fresh keys by a new root."""
        for role in roles:
            self.keys[role] = signers(role)
        self.sign_root()

    def offline_roles(self) -> dict[str, bytes]:
        """Return `targets`, `trust` and `registry`, signed."""
        expires, version = soon(days=180), self.offline_version
        patterns = {
            "trust": ["trust/*", "trusted_root.json", "signing_config.v0.2.json"],
            "registry": ["pointers/*/*", "conan/*/*", "generic/*/*"],
        }
        delegations = Delegations(
            keys={key.public_key.keyid: key.public_key for role in patterns for key in self.keys[role]},
            roles={
                role: DelegatedRole(
                    role, [key.public_key.keyid for key in self.keys[role]], _THRESHOLDS[role][0], True, paths
                )
                for role, paths in patterns.items()
            },
        )
        bin_keys = self.keys["bins"]
        bins = Delegations(
            keys={key.public_key.keyid: key.public_key for key in bin_keys},
            succinct_roles=SuccinctRoles([key.public_key.keyid for key in bin_keys], 1, BITS, f"b{BITS}"),
        )
        trust = {path: TargetFile.from_data(path, data, ["sha256"]) for path, data in self.trust_targets.items()}
        tree = {
            "targets": Targets(version=version, expires=expires, delegations=delegations),
            "trust": Targets(version=version, expires=expires, targets=trust),
            "registry": Targets(version=version, expires=expires, delegations=bins),
        }
        return {role: signed_bytes(signed, self.keys[role]) for role, signed in tree.items()}


@dataclass
class _Bin:
    version: int = 0
    targets: dict[str, bytes] = field(default_factory=dict)
    data: bytes = b""


class RepositorySimulator(ByteSource):
    """One index of a deployment.

    Attributes:
        objects: the static tree: key -> bytes. Replace or delete entries to tamper with the store.
        answers: key -> function that yields what a misbehaving server sends for it instead.
        requests: the keys that were asked for, in order.
        targets: target path -> bytes, as the next `publish` signs them.
        core_metadata: file name -> digest of the core metadata that its page lists.
        names_itself: whether the next snapshot says whose it is.
        expires: role (`bins`, `snapshot`, `timestamp`) -> expiry of what is signed next.
    """

    def __init__(self, index: str = "root/stable", deployment: Deployment | None = None) -> None:
        self.index: IndexName = parse_index_name(index)
        self.deployment = deployment or Deployment()
        self.objects: dict[str, bytes] = {}
        self.answers: dict[str, Callable[[], Iterator[bytes]]] = {}
        self.requests: list[str] = []
        self.targets: dict[str, bytes] = {}
        self.pointers: dict[str, Pointer] = {}
        self.core_metadata: dict[str, str] = {}
        self.snapshot_version = 0
        self.timestamp_version = 0
        self.names_itself = True
        self.expires = {"bins": soon(days=14), "snapshot": soon(days=7), "timestamp": soon(hours=24)}
        self._offline = self.deployment.offline_roles()
        bins = SuccinctRoles([], 1, BITS, f"b{BITS}")
        self._bins = {name: _Bin() for name in bins.get_roles()}
        self._bin_of = bins.get_role_for_target

    @property
    def location(self) -> Location:
        """The index as a static tree at `BASE`."""
        return parse_location(f"{BASE}/indexes/{self.index}")

    def key(self, name: str) -> str:
        """Return the key of something of this index, for example `metadata/timestamp.json`."""
        return f"indexes/{self.index}/{name}"

    # What is published

    def add_file(self, file_name: str, data: bytes = b"some bytes\n", *, attestation: bytes | None = None) -> Pointer:
        """Store a file and make its pointer; page document and `_latest` follow. Nothing shows before `publish`."""
        distribution = parse_distribution(file_name)
        pointer = Pointer(
            name=distribution.project,
            version=str(distribution.version),
            index=self.index,
            file=self._store(data, file_name),
            attestation=self._store(attestation, f"{file_name}.sigstore.json") if attestation else None,
        )
        self.pointers[file_name] = pointer
        self.targets[pointer_target(distribution.project, distribution.file_name)] = pointer.to_bytes()
        self.render(distribution.project)
        return pointer

    def render(self, project: str, *, index: str | None = None) -> None:
        """Make page document and `_latest` of a project anew; `index` makes them claim another index."""
        name = canonicalize_name(project)
        claimed = index or str(self.index)
        mine = {file: pointer for file, pointer in self.pointers.items() if pointer.name == name}
        newest = max(mine, key=lambda file: (parse_distribution(file).version, file.endswith(".whl")))
        self.targets[page_target(name)] = page_document(name, claimed, mine, self.core_metadata)
        latest = Latest(name, mine[newest].version, parse_index_name(claimed), parse_distribution(newest).file_name)
        self.targets[latest_target(name)] = latest.to_bytes()

    def publish(self) -> None:
        """Sign and lay out everything: bins that changed, snapshot, timestamp, and the offline files."""
        for number, root in enumerate(self.deployment.roots, start=1):
            self.objects[self.key(f"metadata/{number}.root.json")] = root
        for role, data in self._offline.items():
            self.objects[self.key(f"metadata/{self.deployment.offline_version}.{role}.json")] = data
        for path, data in {**self.targets, **self.deployment.trust_targets}.items():
            folder, slash, last = path.rpartition("/")
            self.objects[self.key(f"targets/{folder}{slash}{sha256_of(data)}.{last}")] = data
        self._sign_bins()
        self.sign_snapshot()
        self.sign_timestamp()

    def sign_snapshot(self, bin_versions: dict[str, int] | None = None) -> None:
        """Sign and lay out the next snapshot; `bin_versions` makes it state other versions of bins."""
        self.snapshot_version += 1
        meta = {
            f"{role}.json": MetaFile(self.deployment.offline_version, len(data), {"sha256": sha256_of(data)})
            for role, data in self._offline.items()
        }
        for name, bin_ in self._bins.items():
            meta[f"{name}.json"] = MetaFile((bin_versions or {}).get(name, bin_.version))
        named = {INDEX_FIELD: str(self.index)} if self.names_itself else {}
        snapshot = Snapshot(
            version=self.snapshot_version, expires=self.expires["snapshot"], meta=meta, unrecognized_fields=named
        )
        key = self.key(f"metadata/{self.snapshot_version}.snapshot.json")
        self.objects[key] = signed_bytes(snapshot, self.deployment.keys["snapshot"])

    def sign_timestamp(self, *, version: int | None = None, snapshot: int | None = None) -> None:
        """Sign and lay out the next timestamp; with another version, or naming another snapshot, when asked."""
        self.timestamp_version = version or self.timestamp_version + 1
        named = snapshot or self.snapshot_version
        data = self.objects[self.key(f"metadata/{named}.snapshot.json")]
        meta = MetaFile(named, len(data), {"sha256": sha256_of(data)})
        timestamp = Timestamp(version=self.timestamp_version, expires=self.expires["timestamp"], snapshot_meta=meta)
        signed = signed_bytes(timestamp, self.deployment.keys["timestamp"])
        self.objects[self.key("metadata/timestamp.json")] = signed

    def bin_key(self, path: str, version: int | None = None) -> str:
        """Return the key of the bin that lists a target, at its present or another version."""
        name = self._bin_of(path)
        return self.key(f"metadata/{version or self._bins[name].version}.{name}.json")

    def target_key(self, path: str) -> str:
        """Return the key under which a target's present bytes are served."""
        folder, _, last = path.rpartition("/")
        return self.key(f"targets/{folder}/{sha256_of(self.targets[path])}.{last}")

    def resign_bin(self, path: str, key: CryptoSigner) -> None:
        """Sign the bin of a target anew with a key of one's own, under the same version."""
        bin_ = self._bins[self._bin_of(path)]
        self.objects[self.bin_key(path)] = self._bin_bytes(bin_, [key])

    def _sign_bins(self) -> None:
        for name, bin_ in self._bins.items():
            listed = {path: data for path, data in self.targets.items() if self._bin_of(path) == name}
            if bin_.version and listed == bin_.targets:
                continue
            bin_.version, bin_.targets = bin_.version + 1, listed
            data = self._bin_bytes(bin_, self.deployment.keys["bins"])
            self.objects[self.key(f"metadata/{bin_.version}.{name}.json")] = data

    def _bin_bytes(self, bin_: _Bin, keys: list[CryptoSigner]) -> bytes:
        targets = {path: TargetFile.from_data(path, data, ["sha256"]) for path, data in bin_.targets.items()}
        return signed_bytes(Targets(version=bin_.version, expires=self.expires["bins"], targets=targets), keys)

    def _store(self, data: bytes, name: str) -> Resource:
        sha256 = sha256_of(data)
        key = f"files/{sha256[:2]}/{sha256[2:]}/{name}"
        self.objects[key] = data
        return Resource(f"/{key}", sha256, Length(len(data)))

    # How it is read

    def _fetch(self, url: str) -> Iterator[bytes]:
        key = unquote(url.removeprefix(BASE + "/"))
        self.requests.append(key)
        if key in self.answers:
            yield from self.answers[key]()
            return
        if key not in self.objects:
            raise DownloadHTTPError(f"HTTP 404 for {url}", 404)
        data = self.objects[key]
        for start in range(0, len(data), 4096):
            yield data[start : start + 4096]

    def stream(self, url: str, length: int) -> Iterator[bytes]:
        """Yield an object's bytes, or what a misbehaving server sends."""
        return self._fetch(url)

    def write_tree(self, folder: Path) -> Path:
        """Write the static tree below a folder; return the folder of the index."""
        for key, data in self.objects.items():
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return folder / "indexes" / self.index.owner / self.index.name


def page_document(
    name: NormalizedName, index: str, pointers: dict[str, Pointer], core_metadata: dict[str, str] | None = None
) -> bytes:
    """Return a page document that lists the files of `pointers`, with the digests of their core metadata."""
    beside = core_metadata or {}
    files = [
        {
            "filename": file,
            "url": f"../../+f/{pointer.file.digest[:3]}/{pointer.file.digest[3:16]}/{file}",
            "hashes": {"sha256": pointer.file.digest},
            "size": pointer.file.length,
            "upload-time": "2026-01-01T00:00:00Z",
            **({"core-metadata": {"sha256": beside[file]}} if file in beside else {}),
        }
        for file, pointer in sorted(pointers.items())
    ]
    document = {
        "meta": {"api-version": "1.4", "_last-serial": 1, "_index": index},
        "name": name,
        "versions": sorted({pointer.version for pointer in pointers.values()}),
        "files": files,
    }
    return json.dumps(document).encode()
