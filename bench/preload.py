"""Puts many files into a running Countermark at once, with its own code: for what only a large index shows.

A file is inspected, stored and added to the catalogue by the functions that an upload calls; what is left out is HTTP.
The server signs and publishes them as it does any others, some hundreds in one publication.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.errors import NotMeasured
from bench.registry import Registry
from bench.wheels import Wheel
from countermark.core.digest import Length, Sha256, sha256_of
from countermark.core.names import parse_index_name
from deploy.data_folder import DataFolder
from shared.auth.directory import Directory, IndexRecord
from shared.catalogue import releases
from shared.catalogue.engine import open_engine
from shared.catalogue.releases import NewFile
from shared.catalogue.tables import Outbox
from shared.catalogue.unit_of_work import UnitOfWork
from shared.formats.interface import Coordinates, Inspected
from shared.formats.registry import FORMATS
from shared.jobs.messages import PublishIndex
from shared.objects.filesystem import FolderStore
from shared.objects.interface import Put
from shared.objects.keys import core_metadata_key, file_key

_AT_ONCE = 500
"""Files of one transaction."""

_PATIENCE = 400.0
"""Seconds to wait until all are published."""

_POLL = 0.2
"""Seconds between two looks at whether they are."""


def preload(registry: Registry, data: Path, wheels: Sequence[Wheel]) -> None:
    """Add wheels to the default index of the Countermark that runs on a data folder; returns when all is done.

    Raises:
        NotMeasured: they are not published in time.
    """
    asyncio.run(_preload(registry, data, wheels))


async def _preload(registry: Registry, data: Path, wheels: Sequence[Wheel]) -> None:
    engine = open_engine(DataFolder(data).running().database, pool=2)
    try:
        directory = Directory(engine)
        await directory.refresh()
        index = directory.index(parse_index_name(registry.index.strip("/")))
        if index is None:
            raise NotMeasured(f"Countermark has no index {registry.index}")
        store = FolderStore(data / "objects" / "public")
        for start in range(0, len(wheels), _AT_ONCE):
            part = wheels[start : start + _AT_ONCE]
            admitted = [await _admit(store, wheel, registry.user) for wheel in part]
            await _insert(engine, index, admitted)
        await _published(engine)
    finally:
        await engine.dispose()


async def _admit(store: FolderStore, wheel: Wheel, uploader: str) -> NewFile:
    """Inspect and store a wheel; returns its row."""
    coordinates = FORMATS["python"].parse_name(wheel.filename)
    inspected = _inspected(wheel, coordinates)
    metadata = inspected.core_metadata
    new = NewFile(
        coordinates=coordinates,
        sha256=Sha256(wheel.sha256),
        blake2b_256=hashlib.blake2b(wheel.content, digest_size=32).hexdigest(),
        md5=hashlib.md5(wheel.content, usedforsecurity=False).hexdigest(),
        length=Length(len(wheel.content)),
        requires_python=inspected.requires_python,
        core_metadata=(sha256_of(metadata), Length(len(metadata))),
        fields=inspected.fields,
        uploader=uploader,
        token_id=None,
        uploaded_at=datetime.now(UTC),
    )
    await store.put(file_key(new.sha256, coordinates.file_name), wheel.content, Put.REPLACE)
    await store.put(core_metadata_key(new.sha256, coordinates.file_name), metadata, Put.REPLACE)
    return new


async def _insert(engine: AsyncEngine, index: IndexRecord, files: Sequence[NewFile]) -> None:
    async with UnitOfWork(engine) as work:
        for file in files:
            ids = await releases.insert_file(work.connection, index.id, index.life, "public", file)
            await work.enqueue(PublishIndex(index.id, *ids))
        await work.commit()


async def _published(engine: AsyncEngine) -> None:
    """Wait until no job is open: all is signed and visible, and the static pages are laid."""
    still_open = select(func.count()).where(Outbox.done_at.is_(None), Outbox.dead_at.is_(None)).select_from(Outbox)
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        async with engine.connect() as connection:
            if not await connection.scalar(still_open):
                return
        await asyncio.sleep(_POLL)
    raise NotMeasured(f"Countermark did not publish the preloaded files within {_PATIENCE:g} s")


def _inspected(wheel: Wheel, coordinates: Coordinates) -> Inspected:
    with tempfile.NamedTemporaryFile(suffix=".whl") as file:
        file.write(wheel.content)
        file.flush()
        return FORMATS["python"].inspect(Path(file.name), coordinates)
