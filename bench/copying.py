"""Writes the catalogue's rows of synthetic publications by COPY: the rows that uploads and their publications leave."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bench.synthetic import SyntheticProject
from countermark.core.digest import Length, Sha256, sha256_of
from countermark.core.names import TargetPath, page_target
from services.signing.publication.signatures import SignedFile
from shared.ids import IndexId, new_uuid
from shared.jobs.messages import PublishIndex, ids_of

_COLUMNS = {
    "project": "id index_id life format name display_name status created_at",
    "release": "id project_id version metadata created_at",
    "file": "id index_id project_id release_id file_name package_type sha256 path_key blake2b_256 md5 length "
    "requires_python core_metadata_sha256 core_metadata_length uploaded_at uploader",
    "object": "side sha256 file_name length stored_at",
    "outbox": "kind ids index_id created_at available_at sent_at attempts done_at",
    "intent": "index_id version path operation sha256 length fence serial",
    "published_file": "index_id file_id from_serial project_id",
    "page": "index_id project_id serial project_name sha256 length files",
    "journal": "index_id serial position project version action actor at",
    "publication": "index_id serial version changes started_at committed_at",
    "tuf_file": "index_id role version sha256 length expires_at current content",
}
"""Table -> the columns that are written; tables stand in the order in which their references allow."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where the rows belong and who wrote them."""

    index_id: IndexId
    life: int
    side: str
    uploader: str
    fence: int
    now: datetime


@dataclass(frozen=True, slots=True)
class Published:
    """A project with what its publication signed of it."""

    project: SyntheticProject
    targets: dict[TargetPath, bytes]


async def copy_publication(
    connection: AsyncConnection, placed: Placed, number: tuple[int, int], batch: Sequence[Published]
) -> None:
    """Write all rows of one publication.

    Args:
        number: its serial and its metadata version.
    """
    rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in _COLUMNS}
    for published in batch:
        _add_project(rows, placed, number, published)
    serial, version = number
    changes = len(rows["file"])
    rows["publication"].append((placed.index_id, serial, version, changes, placed.now, placed.now))
    await _copy(connection, rows)


async def copy_bins(connection: AsyncConnection, placed: Placed, bins: Iterable[SignedFile]) -> None:
    """Write signed bins as the current ones; there must be none of these names that is current."""
    rows = [(placed.index_id, f.role, f.version, f.sha256, len(f.content), f.expires_at, True, f.content) for f in bins]
    await _copy(connection, {"tuf_file": rows})


async def forget_bins(connection: AsyncConnection, index_id: IndexId) -> None:
    """Make no bin of an index current, before all are written again in the same transaction."""
    statement = "update tuf_file set current = false where index_id = :index and current and role <> 'snapshot'"
    await connection.execute(text(statement), {"index": index_id})


async def analyse(connection: AsyncConnection) -> None:
    """Let Postgres know how large the tables are now, as it would by itself after a while."""
    for table in (*_COLUMNS, "tuf_head"):
        await connection.execute(text(f'analyze "{table}"'))


def _add_project(
    rows: dict[str, list[tuple[Any, ...]]], placed: Placed, number: tuple[int, int], published: Published
) -> None:
    (serial, version), project, now = number, published.project, placed.now
    index_id, project_id = placed.index_id, new_uuid()
    rows["project"].append((project_id, index_id, placed.life, "python", project.name, project.name, "active", now))
    for file in project.files:
        release_id, file_id = new_uuid(), new_uuid()
        rows["release"].append((release_id, project_id, file.version, json.dumps(project.fields(file.version)), now))
        rows["file"].append(
            (
                *(file_id, index_id, project_id, release_id, file.file_name, "bdist_wheel", file.sha256),
                *(file.sha256[:16], file.blake2b_256, file.md5, file.length, ">=3.9"),
                *(file.core_metadata_sha256, file.core_metadata_length, file.uploaded_at, placed.uploader),
            )
        )
        rows["object"].append((placed.side, file.sha256, file.file_name, file.length, now))
        rows["outbox"].append(_job(placed, project_id, file_id))
        rows["published_file"].append((index_id, file_id, serial, project_id))
        action = f"add bdist_wheel file {file.file_name}"
        journal = rows["journal"]
        journal.append((index_id, serial, len(journal), project.name, file.version, action, placed.uploader, now))
    for path, content in published.targets.items():
        line = (index_id, version, path, "set", sha256_of(content), len(content), placed.fence, serial)
        rows["intent"].append(line)
    document = published.targets[page_target(project.name)]
    digest, length = Sha256(sha256_of(document)), Length(len(document))
    rows["page"].append((index_id, project_id, serial, project.name, digest, length, len(project.files)))


def _job(placed: Placed, project_id: UUID, file_id: UUID) -> tuple[Any, ...]:
    message = PublishIndex(placed.index_id, project_id, file_id)  # type: ignore[arg-type]
    now = placed.now
    return (message.kind, json.dumps(ids_of(message)), placed.index_id, now, now, now, 0, now)


async def _copy(connection: AsyncConnection, rows: dict[str, list[tuple[Any, ...]]]) -> None:
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    for table, records in rows.items():
        if records:
            await driver.copy_records_to_table(table, records=records, columns=_COLUMNS[table].split())
