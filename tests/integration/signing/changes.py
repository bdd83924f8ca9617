"""Changes that wait to be signed, as other services leave them, and indexes whose changes are signed."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from services.signing.publication.usecases import Publisher
from shared.catalogue.tables import Outbox
from shared.catalogue.unit_of_work import UnitOfWork
from shared.jobs.messages import PublishIndex
from shared.objects.interface import Put
from shared.objects.keys import file_key
from shared.resources import Resources
from tests.support.factories import MadeFile, MadeIndex, make_file, make_index


async def enqueue(resources: Resources, message: PublishIndex) -> None:
    """Leave a change to be published."""
    async with UnitOfWork(resources.engine) as work:
        await work.enqueue(message)
        await work.commit()


async def upload(resources: Resources, index: MadeIndex, name: str, content: bytes = b"bytes") -> MadeFile:
    """Do what the upload service does: bytes, row, outbox."""
    file = await make_file(resources.engine, index, name, content)
    await resources.objects.side(public=index.public).put(file_key(file.sha256, file.file_name), content, Put.REPLACE)
    await enqueue(resources, PublishIndex(index.id, file.project_id, file.id))
    return file


async def published_index(resources: Resources, files: Mapping[str, bytes] | None = None) -> MadeIndex:
    """Make an index and publish it: empty, as `index create` leaves it, or with files."""
    made = await make_index(resources.engine)
    if files is None:
        await enqueue(resources, PublishIndex(made.id))
    for name, content in (files or {}).items():
        await upload(resources, made, name, content)
    await Publisher(resources).publish(made.id)
    return made


async def open_jobs(engine: AsyncEngine) -> int:
    """Count the changes that still wait."""
    async with engine.connect() as connection:
        query = select(func.count()).where(
            Outbox.done_at.is_(None), Outbox.dead_at.is_(None), Outbox.kind == PublishIndex.kind
        )
        return await connection.scalar(query) or 0
