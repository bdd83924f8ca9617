"""The repository of a rehearsal: a folder with the shared files and one index's metadata, for any TUF client to read.

Source: TUF specification 1.0.34 section 6; trust contract sections 1.2 and 2.6 (the timestamp is written last).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import Metadata, MetaFile, Snapshot, SuccinctRoles, TargetFile, Targets, Timestamp
from tuf.ngclient import Updater

from countermark.ceremony.book import Book
from countermark.core.ceremony.payload import SPEC_VERSION, read_published
from countermark.core.digest import sha256_of
from countermark.transport import Transport

ONLINE = ("bins", "snapshot", "timestamp")
_SHARED = ("targets", "trust", "registry")


def _online_keys() -> dict[str, Signer]:
    return {role: CryptoSigner.generate_ed25519() for role in ONLINE}


@dataclass(slots=True)
class Tree:
    """A repository in a folder, and the keys that sign online.

    Args:
        folder: where metadata and targets lie.
    """

    folder: Path
    keys: dict[str, Signer] = field(default_factory=_online_keys)
    _number: int = 0

    def publish(self, book: Book, targets: dict[str, bytes], now: datetime) -> None:
        """Write the shared files, fresh bins, snapshot and timestamp.

        Args:
            book: where the shared files are.
            targets: path -> content, of the trust role and of bins.
            now: aware UTC.
        """
        self._number += 1
        for number, root in enumerate(book.files["root"], 1):
            self._write(f"metadata/{number}.root.json", root)
        meta: dict[str, MetaFile] = {}
        for role in _SHARED:
            content = book.files[role][-1]
            version = len(book.files[role])
            self._write(f"metadata/{version}.{role}.json", content)
            meta[f"{role}.json"] = MetaFile(version, len(content), {"sha256": sha256_of(content)})
        for path, content in targets.items():
            above, _, name = path.rpartition("/")
            self._write(f"targets/{above}/{sha256_of(content)}.{name}", content)
        bins = _bins(book)
        for name in bins.get_roles():
            listed = {
                path: TargetFile.from_data(path, content, ["sha256"])
                for path, content in targets.items()
                if path.startswith("pointers/") and bins.get_role_for_target(path) == name
            }
            self._sign(name, "bins", Targets(self._number, SPEC_VERSION, now + timedelta(days=14), listed))
            meta[f"{name}.json"] = MetaFile(self._number)
        snapshot = Snapshot(self._number, SPEC_VERSION, now + timedelta(days=7), meta)
        content = self._sign("snapshot", "snapshot", snapshot)
        named = MetaFile(self._number, len(content), {"sha256": sha256_of(content)})
        self._sign("timestamp", "timestamp", Timestamp(self._number, SPEC_VERSION, now + timedelta(days=1), named))

    def put_root(self, number: int, content: bytes | None) -> None:
        """Put a file in the place of a version of root, or take it away: what a thief of the store could do."""
        path = self.folder / f"metadata/{number}.root.json"
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)

    def read(self, cache: Path, first_root: bytes, paths: list[str]) -> tuple[int, dict[str, bytes]]:
        """Read targets with python-tuf's own client; return its newest root's version, and path -> content.

        Raises:
            RepositoryError, DownloadError: it refuses.
        """
        cache.mkdir(exist_ok=True)
        with Transport() as transport:
            updater = Updater(
                metadata_dir=str(cache),
                metadata_base_url=(self.folder / "metadata").as_uri(),
                target_dir=str(cache),
                target_base_url=(self.folder / "targets").as_uri(),
                fetcher=transport,
                bootstrap=first_root,
            )
            updater.refresh()
            found: dict[str, bytes] = {}
            for path in paths:
                info = updater.get_targetinfo(path)
                if info is not None:
                    found[path] = Path(updater.download_target(info)).read_bytes()
        version: int = json.loads((cache / "root.json").read_bytes())["signed"]["version"]
        return version, found

    def _sign(self, name: str, role: str, signed: Any) -> bytes:
        metadata: Metadata[Any] = Metadata(signed)
        metadata.sign(self.keys[role])
        content = metadata.to_bytes()
        self._write(
            "metadata/timestamp.json" if name == "timestamp" else f"metadata/{self._number}.{name}.json", content
        )
        return content

    def _write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _bins(book: Book) -> SuccinctRoles:
    registry = read_published("registry", book.files["registry"][-1])
    assert isinstance(registry, Targets)
    assert registry.delegations is not None
    assert registry.delegations.succinct_roles is not None
    return registry.delegations.succinct_roles
