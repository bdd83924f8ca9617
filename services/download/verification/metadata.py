"""Gathers the metadata files of an index as they are served, up to the bin of a target, and has them checked.

Which file comes next stands in the one before: so each is read here as far as that, by nobody's signature, and all of
them are verified together afterwards, by a process that has the TUF library.
Source: trust contract sections 1.1, 1.5 and 2.6; ADR 0039.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.digest import Sha256, sha256_of
from countermark.core.names import TargetPath
from services.download.verification.stored import read_object
from shared.auth.directory import IndexRecord
from shared.catalogue.reading import metadata_digest
from shared.catalogue.tables import TrustFile, TufHead
from shared.objects.interface import ObjectStore
from shared.objects.keys import metadata_key
from shared.resources import Resources
from shared.trust.links import MAX_ROOTS, MetadataReport, Served

MAX_METADATA = 5_000_000
"""Bytes of one file that are read, as stock clients read (trust contract section 1.3)."""

_SECONDS = 20.0
"""That checking the metadata may take; some 20 ms."""

_MAX_BITS = 14


@dataclass(frozen=True, slots=True)
class HeadRow:
    """What is current in an index, as its row says now."""

    serial: int
    root_version: int
    timestamp_version: int
    timestamp: bytes


async def head_row(connection: AsyncConnection, record: IndexRecord) -> HeadRow | None:
    """Return the head of an index from its row, None before the first publication."""
    columns = (TufHead.serial, TufHead.root_version, TufHead.timestamp_version, TufHead.timestamp)
    row = (await connection.execute(select(*columns).where(TufHead.index_id == record.id))).first()
    return None if row is None else HeadRow(*row)


async def checked_metadata(
    resources: Resources, record: IndexRecord, head: HeadRow, target: TargetPath, now: datetime
) -> MetadataReport:
    """Return what holds of an index's metadata up to a target.

    Raises:
        ServiceError: UNAVAILABLE; nothing can be checked now.
        ObjectStoreError: the store cannot be read now.
    """
    served = await _served(resources, record, head, target)
    asked = {
        "ask": "metadata",
        "served": served.to_document(),
        "index": str(record.name),
        "target": target,
        "now": int(now.timestamp()),
    }
    answer = await resources.verifying.ask(asked, target, _SECONDS)
    return MetadataReport.from_document(answer["report"])


async def _served(resources: Resources, record: IndexRecord, head: HeadRow, target: TargetPath) -> Served:
    """Read the files, each named by the one before.

    Raises:
        ObjectStoreError: the store cannot be read now.
    """
    async with resources.engine.connect() as connection:
        gathering = _Gathering(connection, resources.objects.side(public=record.public), record)
        roots = await _roots(connection, head.root_version)
        listed = _meta(head.timestamp)
        listed = _meta(await gathering.fetch("snapshot", "snapshot", listed))
        for role in ("targets", "trust", "registry"):
            await gathering.fetch(role, role, listed)
        name = _bin_name(gathering.files.get("registry"), target)
        await gathering.fetch("bin", name, listed)
    files: dict[str, Any] = {"timestamp": head.timestamp, **gathering.files}
    return Served(roots=roots, bin_name=name, withheld=gathering.withheld, **files)


async def _roots(connection: AsyncConnection, newest: int) -> tuple[bytes, ...]:
    """Return the roots from the first on, as far as there is no gap."""
    columns = (TrustFile.version, TrustFile.content)
    of_roots = (TrustFile.role == "root", TrustFile.version <= min(newest, MAX_ROOTS))
    rows = {row.version: row.content for row in await connection.execute(select(*columns).where(*of_roots))}
    found: list[bytes] = []
    while (content := rows.get(len(found) + 1)) is not None:
        found.append(content)
    return tuple(found)


@dataclass(slots=True)
class _Gathering:
    """Files so far, and why one that should be there is not served."""

    connection: AsyncConnection
    store: ObjectStore
    record: IndexRecord
    files: dict[str, bytes] = field(default_factory=dict)
    withheld: dict[str, str] = field(default_factory=dict)

    async def fetch(self, what: str, role: str, listed: Mapping[str, Any]) -> bytes | None:
        """Read one file from the store; what lies there counts, and beside it whether it is the one that is served.

        Args:
            what: which of `Served`.
            listed: what the file before says of versions.

        Raises:
            ObjectStoreError: the store cannot be read now.
        """
        version = _version(listed, f"{role}.json")
        if version is None:
            self.withheld[role] = f"no version of {role or 'the bin'}.json is named"
            return None
        name = f"{version}.{role}.json"
        digest = await metadata_digest(self.connection, self.record.id, role, version)
        found = await read_object(self.store, metadata_key(self.record.name, role, version), MAX_METADATA)
        if found is None:
            self.withheld[role] = f"{name} is missing in the object store"
            return None
        self.files[what] = found.body
        if digest is None:
            self.withheld[role] = f"the catalogue has no row of {name}, so that it is not served"
        elif digest != found.sha256:
            told = f"the catalogue's row of {name} has sha256 {digest}, the stored file has {found.sha256}"
            self.withheld[role] = f"{told}: it is not served"
        return found.body


def _signed(content: bytes | None) -> Mapping[str, Any]:
    """Return what a file says, believed by nobody; nothing where it cannot be read."""
    try:
        signed = orjson.loads(content or b"{}")["signed"]
    except (ValueError, LookupError, TypeError):
        return {}
    return signed if isinstance(signed, dict) else {}


def _meta(content: bytes | None) -> Mapping[str, Any]:
    meta = _signed(content).get("meta")
    return meta if isinstance(meta, dict) else {}


def _version(meta: Mapping[str, Any], name: str) -> int | None:
    entry = meta.get(name)
    version = entry.get("version") if isinstance(entry, dict) else None
    return version if type(version) is int and 0 < version < 1 << 60 else None


def _bin_name(registry: bytes | None, target: TargetPath) -> str:
    """Return the name of the bin of a target, "" where the registry does not say. Source: TAP 15."""
    delegations = _signed(registry).get("delegations")
    succinct = delegations.get("succinct_roles") if isinstance(delegations, dict) else None
    if not isinstance(succinct, dict):
        return ""
    bits, prefix = succinct.get("bit_length"), succinct.get("name_prefix")
    if type(bits) is not int or not 1 <= bits <= _MAX_BITS or prefix != f"b{bits}":
        return ""
    number = int.from_bytes(hashlib.sha256(target.encode()).digest()[:4], "big") >> (32 - bits)
    return f"{prefix}-{number:0{(bits + 3) // 4}x}"


def is_signed_material(trusted: Mapping[str, str], contents: Mapping[str, bytes]) -> str | None:
    """Return the target of trust whose bytes are not those that were signed, None when all are."""
    return next((path for path, body in contents.items() if trusted.get(path) != Sha256(sha256_of(body))), None)
