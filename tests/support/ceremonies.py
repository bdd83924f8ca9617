"""Key holders and the files they sign, for tests of ceremonies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from countermark.core.ceremony.changes import Change, build
from countermark.core.ceremony.payload import canonical_payload, metadata_bytes, read_published
from countermark.core.ceremony.tree import WINDOWS

NOW = datetime(2026, 11, 26, 12, 0, 0, tzinfo=UTC)

COUNTS = {"root": 3, "targets": 3, "trust": 3, "registry": 3, "bins": 1, "snapshot": 1, "timestamp": 1}
THRESHOLDS = {role: 2 if count == 3 else 1 for role, count in COUNTS.items()}


@cache
def signer(role: str, number: int = 0) -> CryptoSigner:
    """Return the same Ed25519 key for the same role and number, all through a run."""
    seed = f"{role} {number}".encode().ljust(32, b".")[:32]
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(seed))


def signers(role: str, count: int | None = None) -> list[CryptoSigner]:
    """Return the first keys of a role."""
    return [signer(role, number) for number in range(COUNTS[role] if count is None else count)]


def first_changes() -> dict[str, Change]:
    """Return shared role -> the change that makes its first version."""
    listed = {"root": ("root", "targets", "snapshot", "timestamp"), "targets": ("trust", "registry")}
    changes = {
        role: Change(
            add=tuple((name, key.public_key) for name in names for key in signers(name)),
            thresholds={name: THRESHOLDS[name] for name in names},
        )
        for role, names in listed.items()
    }
    bins = Change(add=(("bins", signer("bins").public_key),), thresholds={"bins": 1}, bins=8)
    return changes | {"trust": Change(targets={"trust/policy.yaml": b"deny"}), "registry": bins}


@dataclass(slots=True)
class SharedFiles:
    """The newest shared files of a deployment, and all of them: (role, version) -> bytes."""

    newest: dict[str, bytes] = field(default_factory=dict)
    every: dict[tuple[str, int], bytes] = field(default_factory=dict)

    def payload(self, role: str, change: Change, now: datetime = NOW) -> bytes:
        """Return the payload of the next version of a role."""
        before = self.newest.get(role)
        current = None if before is None else read_published(role, before)
        return canonical_payload(build(role, current, change, now, WINDOWS[role][1]))

    def publish(self, role: str, payload: bytes, keys: Sequence[CryptoSigner]) -> bytes:
        """Sign a payload with some keys and keep it as the newest of its role."""
        content = metadata_bytes(payload, [key.sign(payload) for key in keys])
        self.newest[role] = content
        self.every[role, read_published(role, content).version] = content
        return content


def first_files(now: datetime = NOW) -> SharedFiles:
    """Return the first version of every shared role, each signed by a threshold."""
    files = SharedFiles()
    for role, change in first_changes().items():
        files.publish(role, files.payload(role, change, now), signers(role)[: THRESHOLDS[role]])
    return files
