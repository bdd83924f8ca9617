"""What is signed for a short time is signed anew in time; without that, clients stop."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select
from tuf.api.exceptions import ExpiredMetadataError

from services.signing.jobs import RefreshLoop
from services.signing.publication.usecases import Publisher
from shared.catalogue.tables import TufFile
from shared.resources import Resources
from tests.integration.signing.changes import upload
from tests.support.clock import SettableClock
from tests.support.factories import MadeIndex
from tests.support.tuf_reader import TreeReader


async def test_signatures_are_renewed_long_before_they_expire(
    resources: Resources, index: MadeIndex, clock: SettableClock, tmp_path: Path
) -> None:
    """A new timestamp after an hour, a new snapshot after half its life, and bins a seventh at a time."""
    publisher, loop = Publisher(resources), RefreshLoop(resources)
    await upload(resources, index, "widget-1.0-py3-none-any.whl")
    await publisher.publish(index.id)
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    assert await loop.look() == 0
    await publisher.publish(index.id)
    assert reader.versions() == {"timestamp": 1, "snapshot": 1}
    clock.advance(timedelta(hours=2))
    assert await loop.look() == 1
    await publisher.publish(index.id)
    assert reader.versions() == {"timestamp": 2, "snapshot": 1}
    clock.advance(timedelta(days=4))
    await publisher.publish(index.id)
    assert reader.versions() == {"timestamp": 3, "snapshot": 3}
    clock.advance(timedelta(days=4))
    await publisher.publish(index.id)
    async with resources.engine.connect() as connection:
        again = await connection.scalar(
            select(func.count()).where(TufFile.current, TufFile.role.like("b8-%"), TufFile.version == 4)
        )
    assert again == 37
    assert reader.target("pointers/widget/_latest.pointer") is not None
    await resources.heads.wake("")
    head = resources.heads.get(index.id)
    assert head is not None
    assert head.serial == 1, "a refresh is no change"


async def test_without_refresh_clients_stop(
    resources: Resources, index: MadeIndex, clock: SettableClock, tmp_path: Path
) -> None:
    """A timestamp made a day ago is refused by a stock client: what the refresh is for."""
    clock.advance(timedelta(days=-2))
    await Publisher(resources).publish(index.id)
    with pytest.raises(ExpiredMetadataError):
        TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache").refreshed()
