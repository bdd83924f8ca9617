"""The trust files of an instance as targets of a TUF repository, at the addresses that sigstore clients expect.

Source: trust contract section 5.3 (a) 6: metadata at `<url>/`, targets at `<url>/targets/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)


def repository(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files of a new repository with one key: path below its address -> content.

    Args:
        files: target path, without a folder -> content.
    """
    signer, expires = CryptoSigner.generate_ed25519(), datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    root = Root(expires=expires, consistent_snapshot=True)
    for role in ("root", "timestamp", "snapshot", "targets"):
        root.add_key(signer.public_key, role)
    listed = {name: TargetFile.from_data(name, content, ["sha256"]) for name, content in files.items()}
    held = {
        "1.root.json": _signed(root, signer),
        "1.targets.json": _signed(Targets(expires=expires, targets=listed), signer),
        "1.snapshot.json": _signed(Snapshot(expires=expires, meta={"targets.json": MetaFile(1)}), signer),
        "timestamp.json": _signed(Timestamp(expires=expires, snapshot_meta=MetaFile(1)), signer),
    }
    return held | {f"targets/{listed[name].hashes['sha256']}.{name}": content for name, content in files.items()}


def _signed(signed: T, signer: CryptoSigner) -> bytes:
    metadata = Metadata(signed)
    metadata.sign(signer)
    return metadata.to_bytes(JSONSerializer(compact=True))
