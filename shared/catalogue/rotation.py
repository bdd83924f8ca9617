"""What is left to do while a key of an online role is being replaced. Reads only; writer of the rows: signing."""

from __future__ import annotations

from sqlalchemy import ColumnElement, bindparam, exists, func, select
from sqlalchemy.dialects.postgresql import BYTEA
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.names import IndexName
from shared.catalogue import binning, trust
from shared.catalogue.binning import BinnedIndex
from shared.catalogue.tables import IndexRow, TufFile, TufHead
from shared.catalogue.trust import StoredTrustFile
from shared.ids import IndexId
from shared.trust.metadata import succinct_roles_of
from shared.trust.roles import Role


async def unsigned_by(connection: AsyncConnection, role: Role, keyid: str) -> list[BinnedIndex]:
    """Return the indexes of which clients still read something of an online role that a key has not signed."""
    match role:
        case Role.TIMESTAMP:
            return await _indexes(connection, keyid, ~_names_key(TufHead.timestamp))
        case Role.SNAPSHOT:
            return await _indexes(connection, keyid, _some_file(TufFile.role == "snapshot"))
        case Role.REGISTRY:
            by_registry = (await _by_registry(connection)).values()
            without = {one for file, indexes in by_registry if not _names(file, keyid) for one in indexes}
            return [index for index in await binning.binned_indexes(connection) if index.id in without]
        case _:
            found = []
            for file, indexes in (await _by_registry(connection)).values():
                named = TufFile.role.startswith(f"{succinct_roles_of(file.content).name_prefix}-", autoescape=True)
                lacking = await _indexes(connection, keyid, _some_file(named))
                found += [index for index in lacking if index.id in indexes]
            return found


async def registries_in_use(connection: AsyncConnection) -> list[StoredTrustFile]:
    """Return the registries that indexes are signed with, one for each count of bins."""
    return [file for file, _ in (await _by_registry(connection)).values()]


async def behind(connection: AsyncConnection, role: Role, version: int) -> list[BinnedIndex]:
    """Return the indexes that have not published a version of root or targets yet, or a newer one."""
    published = TufHead.root_version if role is Role.ROOT else TufHead.targets_version
    return await _indexes(connection, "", published < version)


async def _by_registry(connection: AsyncConnection) -> dict[int, tuple[StoredTrustFile, set[IndexId]]]:
    """Return registry version -> the file, and the indexes that are to be signed with it."""
    found: dict[int, tuple[StoredTrustFile, set[IndexId]]] = {}
    in_use: dict[int, StoredTrustFile] = {}
    for index in await binning.binned_indexes(connection):
        version = index.registry_version
        if version not in in_use:
            in_use[version] = (await trust.trust_files_in_use(connection, version))[Role.REGISTRY.value]
        file = in_use[version]
        found.setdefault(file.version, (file, set()))[1].add(index.id)
    return found


def _names(file: StoredTrustFile, keyid: str) -> bool:
    """Return whether a file was signed with a key: registries list the keys of bins, never their own."""
    return keyid.encode() in file.content


def _some_file(which: ColumnElement[bool]) -> ColumnElement[bool]:
    mine = TufFile.index_id == TufHead.index_id
    return exists().where(mine, TufFile.current, which, ~_names_key(TufFile.content))


def _names_key(content: object) -> ColumnElement[bool]:
    """Whether a file names a key: key ids are digests, and only signatures hold them in these files."""
    return func.position(bindparam("keyid", type_=BYTEA).op("in")(content)) > 0


async def _indexes(connection: AsyncConnection, keyid: str, which: ColumnElement[bool]) -> list[BinnedIndex]:
    rows = await connection.execute(
        select(IndexRow.id, IndexRow.owner, IndexRow.name, TufHead.registry_version)
        .join(TufHead, TufHead.index_id == IndexRow.id)
        .where(which)
        .order_by(IndexRow.owner, IndexRow.name),
        {"keyid": keyid.encode()} if keyid else {},
    )
    return [BinnedIndex(IndexId(row.id), IndexName(row.owner, row.name), row.registry_version) for row in rows]
