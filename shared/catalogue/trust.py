"""Queries on the deployment's keys and shared trust files. Writer: signing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.digest import sha256_of
from shared.catalogue.tables import KeyHandle, TrustFile
from shared.trust.metadata import succinct_roles_of
from shared.trust.roles import SHARED

_CEREMONY_LOCK = 0x636D6B01
"""Advisory lock of the catalogue: one process at a time makes or changes the shared trust files."""


@dataclass(frozen=True, slots=True)
class StoredTrustFile:
    """One version of a shared role's metadata."""

    role: str
    version: int
    expires_at: datetime
    content: bytes


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key handle as kept: `public_key` is securesystemslib's dictionary form."""

    keyid: str
    role: str
    public_key: dict[str, Any]
    uri: str


async def lock_ceremony(connection: AsyncConnection) -> None:
    """Wait until no other transaction changes the shared trust files; held until this one ends."""
    await connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _CEREMONY_LOCK})


async def newest_trust_files(connection: AsyncConnection) -> dict[str, StoredTrustFile]:
    """Return the newest version of each shared role, role -> file; empty before the deployment has a root."""
    rows = await connection.execute(
        select(TrustFile.role, TrustFile.version, TrustFile.expires_at, TrustFile.content)
        .ext(distinct_on(TrustFile.role))
        .order_by(TrustFile.role, TrustFile.version.desc())
    )
    return {row.role: StoredTrustFile(row.role, row.version, row.expires_at, row.content) for row in rows}


def is_complete(files: Mapping[str, StoredTrustFile]) -> bool:
    """Return whether there is a file of every shared role, so that indexes can be published."""
    return files.keys() == set(SHARED)


async def trust_files_in_use(connection: AsyncConnection, registry_version: int | None) -> dict[str, StoredTrustFile]:
    """Return the shared files that an index is signed with, role -> file; empty before the deployment has a root.

    They are the newest of each role, but for the registry: an index stays with the bins it has until it is moved to
    others, so it takes the newest registry that delegates to the same bins.

    Args:
        registry_version: the version the index's snapshot names; None before its first publication.

    Source: docs/adr/0020-bin-counts.md.
    """
    files = await newest_trust_files(connection)
    if registry_version is None or not files or files["registry"].version == registry_version:
        return files
    rows = await connection.execute(
        select(TrustFile.role, TrustFile.version, TrustFile.expires_at, TrustFile.content)
        .where(TrustFile.role == "registry", TrustFile.version >= registry_version)
        .order_by(TrustFile.version)
    )
    registries = [StoredTrustFile(row.role, row.version, row.expires_at, row.content) for row in rows]
    prefix = succinct_roles_of(registries[0].content).name_prefix
    alike = [file for file in registries if succinct_roles_of(file.content).name_prefix == prefix]
    return files | {"registry": alike[-1]}


async def newest_version(connection: AsyncConnection, role: str) -> int:
    """Return the newest version of a shared role's metadata, 0 before there is one."""
    return await connection.scalar(select(func.max(TrustFile.version)).where(TrustFile.role == role)) or 0


async def trust_file(connection: AsyncConnection, role: str, version: int) -> StoredTrustFile | None:
    """Return a version of a shared role, None when there is none."""
    columns = (TrustFile.role, TrustFile.version, TrustFile.expires_at, TrustFile.content)
    query = select(*columns).where(TrustFile.role == role, TrustFile.version == version)
    row = (await connection.execute(query)).first()
    return None if row is None else StoredTrustFile(**row._mapping)


async def are_newest(connection: AsyncConnection, versions: Mapping[str, int]) -> bool:
    """Return whether an index is signed with the shared files that it is to be signed with now.

    Args:
        versions: of the shared files it is signed with, by role.
    """
    newest = func.max(TrustFile.version).label("version")
    rows = await connection.execute(select(TrustFile.role, newest).group_by(TrustFile.role))
    if {row.role: row.version for row in rows} == versions:
        return True
    in_use = await trust_files_in_use(connection, versions["registry"])
    return all(in_use[role].version == version for role, version in versions.items())


async def roots(connection: AsyncConnection) -> list[StoredTrustFile]:
    """Return every version of root, oldest first: clients walk through all of them."""
    rows = await connection.execute(
        select(TrustFile.role, TrustFile.version, TrustFile.expires_at, TrustFile.content)
        .where(TrustFile.role == "root")
        .order_by(TrustFile.version)
    )
    return [StoredTrustFile(row.role, row.version, row.expires_at, row.content) for row in rows]


async def insert_trust_file(connection: AsyncConnection, file: StoredTrustFile) -> None:
    """Keep a new version of a shared role's metadata."""
    await connection.execute(
        insert(TrustFile).values(
            role=file.role,
            version=file.version,
            sha256=sha256_of(file.content),
            length=len(file.content),
            expires_at=file.expires_at,
            content=file.content,
        )
    )


async def living_keys(connection: AsyncConnection) -> list[StoredKey]:
    """Return all keys that were not retired."""
    columns = (KeyHandle.keyid, KeyHandle.role, KeyHandle.public_key, KeyHandle.uri)
    rows = await connection.execute(select(*columns).where(KeyHandle.retired_at.is_(None)).order_by(KeyHandle.keyid))
    return [StoredKey(row.keyid, row.role, row.public_key, row.uri) for row in rows]


@dataclass(frozen=True, slots=True)
class UsedKey:
    """A key that signs, and since when; without its halves."""

    keyid: str
    role: str
    since: datetime


async def keys_in_use(connection: AsyncConnection) -> list[UsedKey]:
    """Return the keys that were not retired; one that is to come into use soon has its time in the future."""
    columns = (KeyHandle.keyid, KeyHandle.role, KeyHandle.created_at)
    rows = await connection.execute(select(*columns).where(KeyHandle.retired_at.is_(None)))
    return [UsedKey(row.keyid, row.role, row.created_at) for row in rows]


async def key_roles(connection: AsyncConnection, keyid: str) -> list[str]:
    """Return the roles that a key has or had."""
    return list(await connection.scalars(select(KeyHandle.role).where(KeyHandle.keyid == keyid)))


async def known_keys(connection: AsyncConnection) -> set[str]:
    """Return the ids of all keys that the deployment has or had."""
    return set(await connection.scalars(select(KeyHandle.keyid)))


async def still_sign(connection: AsyncConnection, keyids: Collection[str]) -> bool:
    """Return whether none of some keys was retired; none is until the transaction ends."""
    living = select(KeyHandle.keyid).where(KeyHandle.keyid.in_(keyids), KeyHandle.retired_at.is_(None))
    found = await connection.scalars(living.order_by(KeyHandle.keyid).with_for_update(read=True))
    return set(found) == set(keyids)


async def use_again_from(connection: AsyncConnection, keyid: str, at: datetime) -> None:
    """Count everything a key has signed before a moment as not signed by it."""
    await connection.execute(update(KeyHandle).where(KeyHandle.keyid == keyid).values(created_at=at))


async def retire_key(connection: AsyncConnection, keyid: str, at: datetime) -> None:
    """End a key: it signs nothing from now on. Its row stays."""
    await connection.execute(update(KeyHandle).where(KeyHandle.keyid == keyid).values(retired_at=at))


async def insert_keys(connection: AsyncConnection, keys: Sequence[StoredKey], at: datetime) -> None:
    """Keep new key handles."""
    await connection.execute(
        insert(KeyHandle),
        [
            {"keyid": key.keyid, "role": key.role, "public_key": key.public_key, "uri": key.uri, "created_at": at}
            for key in keys
        ],
    )
