"""Publication on a real Postgres and a real folder, read back by stock python-tuf."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.pointer import parse_latest, parse_pointer
from services.signing.ceremonies.trust_root import CeremonyNeeded, ensure_trust
from services.signing.publication.usecases import Publisher
from shared.catalogue import releases
from shared.catalogue.leases import LeaseLost
from shared.catalogue.tables import Audit, Intent, Lease, TufFile
from shared.catalogue.unit_of_work import UnitOfWork
from shared.jobs.messages import PublishIndex
from shared.objects.interface import ObjectStoreError, Put
from shared.objects.keys import file_key
from shared.resources import Resources
from tests.integration.signing.changes import enqueue, open_jobs, upload
from tests.support.clock import SettableClock
from tests.support.factories import MadeIndex, make_index
from tests.support.hooked_store import HookedStore
from tests.support.resources import service_resources, with_public_store
from tests.support.tuf_reader import TreeReader


async def test_the_first_publication_is_a_whole_repository(
    resources: Resources, index: MadeIndex, tmp_path: Path
) -> None:
    """An index without files can be refreshed by any TUF client, and its bins share one signature."""
    await Publisher(resources).publish(index.id)
    tree = tmp_path / "public/indexes/root/stable"
    reader = TreeReader(tree, tmp_path / "cache")
    assert reader.versions() == {"timestamp": 1, "snapshot": 1}
    bins = sorted(tree.glob("metadata/1.b8-*.json"))
    assert len(bins) == 256
    assert len({path.read_bytes() for path in bins}) == 1
    assert reader.target("pointers/widget/_latest.pointer") is None


async def test_an_upload_becomes_a_signed_pointer_and_page(
    resources: Resources, index: MadeIndex, tmp_path: Path
) -> None:
    """Pointer, latest and page are targets, name the index, and bind the file by digest and length."""
    file = await upload(resources, index, "widget-1.0-py3-none-any.whl")
    await Publisher(resources).publish(index.id)
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    pointer = parse_pointer(reader.target("pointers/widget/widget-1.0-py3-none-any.whl.pointer") or b"")
    assert (pointer.file.digest, pointer.file.length) == (file.sha256, 5)
    assert pointer.index == index.name
    assert (tmp_path / "public" / pointer.file.uri[1:]).read_bytes() == b"bytes"
    assert parse_latest(reader.target("pointers/widget/_latest.pointer") or b"").file == file.file_name
    page = reader.target("pointers/widget/_simple.json") or b""
    assert b'"_index":"root/stable"' in page
    assert file.sha256.encode() in page
    plain = tmp_path / "public/indexes/root/stable/pointers/widget/widget-1.0-py3-none-any.whl.pointer"
    assert plain.read_bytes() == pointer.to_bytes()
    assert await open_jobs(resources.engine) == 0


async def test_what_waits_goes_into_one_batch(resources: Resources, index: MadeIndex) -> None:
    """Thirty uploads and the first publication are one serial, one snapshot, one timestamp."""
    for number in range(30):
        await upload(resources, index, f"p{number}-1.0-py3-none-any.whl")
    await Publisher(resources).publish(index.id)
    await resources.heads.wake("")
    head = resources.heads.get(index.id)
    assert head is not None
    assert (head.serial, head.timestamp_version) == (1, 1)
    assert await open_jobs(resources.engine) == 0


async def test_bytes_that_changed_in_the_store_are_never_signed(
    resources: Resources, index: MadeIndex, tmp_path: Path
) -> None:
    """The changed file is refused with its reason and the others of the batch are published."""
    bad = await upload(resources, index, "widget-1.0-py3-none-any.whl", b"as uploaded")
    gone = await upload(resources, index, "widget-1.1-py3-none-any.whl", b"lost")
    good = await upload(resources, index, "widget-1.2-py3-none-any.whl", b"fine")
    store = resources.objects.public
    await store.put(file_key(bad.sha256, bad.file_name), b"tampered!!!", Put.REPLACE)
    await store.delete(file_key(gone.sha256, gone.file_name))
    await Publisher(resources).publish(index.id)
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    assert reader.target(f"pointers/widget/{bad.file_name}.pointer") is None
    assert reader.target(f"pointers/widget/{good.file_name}.pointer") is not None
    assert bad.sha256.encode() not in (reader.target("pointers/widget/_simple.json") or b"")
    async with resources.engine.connect() as connection:
        states = [await releases.progress(connection, file.id) for file in (bad, gone, good)]
    now = resources.clock.now()
    assert [state.state(now) for state in states if state] == ["failed", "failed", "published"]
    assert states[0] is not None
    assert "other bytes" in (states[0].error or "")


async def test_an_overtaken_signer_commits_nothing(resources: Resources, index: MadeIndex, tmp_path: Path) -> None:
    """A signer that was paused and replaced while it wrote its snapshot cannot make its batch current."""
    await Publisher(resources).publish(index.id)
    file = await upload(resources, index, "widget-1.0-py3-none-any.whl")

    async def overtake() -> None:
        async with resources.engine.begin() as connection:
            await connection.execute(text("update lease set until = now() - interval '1 second'"))
        await Publisher(resources).publish(index.id)

    store = HookedStore(tmp_path / "public", "snapshot.json", overtake)
    with pytest.raises(LeaseLost):
        await Publisher(with_public_store(resources, store)).publish(index.id)
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    assert reader.target(f"pointers/widget/{file.file_name}.pointer") is not None
    await resources.heads.wake("")
    head = resources.heads.get(index.id)
    assert head is not None
    assert head.serial == 2, "the batch was published once"
    assert reader.versions() == {"timestamp": 3, "snapshot": 3}, "the loser's number 2 is never used"


@pytest.mark.parametrize("part", ["_simple.json", ".b8-", "snapshot.json", "timestamp.json"])
async def test_a_store_that_fails_at_any_write_leaves_readers_whole(
    resources: Resources, index: MadeIndex, tmp_path: Path, part: str
) -> None:
    """After a failure readers see the old state or the new one, and the next try completes it."""
    await Publisher(resources).publish(index.id)
    file = await upload(resources, index, "widget-1.0-py3-none-any.whl")

    async def fail() -> None:
        raise ObjectStoreError("the disk is full")

    publisher = Publisher(with_public_store(resources, HookedStore(tmp_path / "public", part, fail)))
    with pytest.raises((ObjectStoreError, ExceptionGroup)):
        await publisher.publish(index.id)
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    assert reader.target(f"pointers/widget/{file.file_name}.pointer") is None
    await upload(resources, index, "widget-1.1-py3-none-any.whl", b"more")
    await publisher.publish(index.id)
    for version in ("1.0", "1.1"):
        assert reader.target(f"pointers/widget/widget-{version}-py3-none-any.whl.pointer") is not None
    async with resources.engine.connect() as connection:
        assert await connection.scalar(select(Lease.holder)) is None


async def test_many_publishers_at_once_lose_nothing(resources: Resources, index: MadeIndex, tmp_path: Path) -> None:
    """Eight publishers and forty uploads in disorder: everything is published, numbers only grow."""
    publishers = [Publisher(resources) for _ in range(8)]

    async def one(number: int) -> None:
        await upload(resources, index, f"p{number}-1.0-py3-none-any.whl")
        await publishers[number % 8].publish(index.id)

    await asyncio.gather(*(one(number) for number in range(40)))
    assert await open_jobs(resources.engine) == 0
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    for number in range(40):
        assert reader.target(f"pointers/p{number}/_latest.pointer") is not None


async def test_a_job_that_comes_while_a_batch_is_signed_is_not_lost(
    resources: Resources, index: MadeIndex, tmp_path: Path
) -> None:
    """It returns at once without touching the lease, and whoever is at work publishes its change too."""
    await upload(resources, index, "widget-1.0-py3-none-any.whl")
    publisher: Publisher

    async def meanwhile() -> None:
        await upload(resources, index, "widget-1.1-py3-none-any.whl", b"late")
        async with resources.engine.connect() as connection:
            before = await connection.scalar(select(Lease.requested))
            await publisher.publish(index.id)
            assert await connection.scalar(select(Lease.requested)) == before
        assert await open_jobs(resources.engine) > 0, "nothing was published in between"

    store = HookedStore(tmp_path / "public", "_simple.json", meanwhile)
    publisher = Publisher(with_public_store(resources, store))
    await publisher.publish(index.id)
    assert await open_jobs(resources.engine) == 0
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    assert reader.target("pointers/widget/widget-1.1-py3-none-any.whl.pointer") is not None


async def test_every_intent_is_stored_and_settled(resources: Resources, index: MadeIndex) -> None:
    """What a batch was about to sign is on record, with the serial it became."""
    await upload(resources, index, "widget-1.0-py3-none-any.whl")
    await Publisher(resources).publish(index.id)
    async with resources.engine.connect() as connection:
        rows = (await connection.execute(select(Intent.path, Intent.operation, Intent.serial))).all()
    assert {(row.path.rpartition("/")[2], row.operation, row.serial) for row in rows} == {
        ("_latest.pointer", "set", 1),
        ("_simple.json", "set", 1),
        ("widget-1.0-py3-none-any.whl.pointer", "set", 1),
    }


async def test_a_snapshot_says_of_which_index_it_is(
    resources: Resources, index: MadeIndex, clock: SettableClock, tmp_path: Path
) -> None:
    """Its index is signed in it; one from before that is made anew with the next refresh, changes or none."""
    publisher = Publisher(resources)
    await publisher.publish(index.id)
    tree = tmp_path / "public/indexes/root/stable"

    def signed(version: int) -> dict[str, Any]:
        document: dict[str, Any] = orjson.loads((tree / f"metadata/{version}.snapshot.json").read_bytes())
        return document

    first = signed(1)
    assert first["signed"].pop("x-countermark-index") == "root/stable"
    async with UnitOfWork(resources.engine) as work:
        of_index = TufFile.role == "snapshot"
        await work.connection.execute(update(TufFile).where(of_index).values(content=orjson.dumps(first)))
        await work.commit()
    reader = TreeReader(tree, tmp_path / "cache")
    assert reader.versions() == {"timestamp": 1, "snapshot": 1}
    clock.advance(timedelta(hours=2))
    await publisher.publish(index.id)
    versions = reader.versions()
    assert signed(versions["snapshot"])["signed"]["x-countermark-index"] == "root/stable"
    assert versions["snapshot"] > 1


async def test_trust_and_publications_are_on_record(resources: Resources, index: MadeIndex) -> None:
    """Which keys the deployment began with, and each publication with its serial; a refresh changes nothing."""
    publisher = Publisher(resources)
    await upload(resources, index, "widget-1.0-py3-none-any.whl")
    await publisher.publish(index.id)
    await publisher.publish(index.id)
    async with resources.engine.connect() as connection:
        rows = await connection.execute(
            select(Audit.actor, Audit.action, Audit.subject, Audit.detail).order_by(Audit.id)
        )
        made, published = rows.all()
    assert (made.actor, made.action, made.subject) == ("init", "trust.create", "deployment")
    assert made.detail["profile"] == "development"
    assert all(len(keyid) == 64 for keyid in made.detail["keyids"])
    assert (published.actor, published.action, published.subject) == ("signing", "index.publish", "root/stable")
    assert {"serial": 1, "version": 1, "fence": 1, "changes": 2}.items() <= published.detail.items()


async def test_keys_are_private_and_made_once(resources: Resources, tmp_path: Path) -> None:
    """Key files are readable by their owner alone, and a second start makes none."""
    files = sorted((tmp_path / "keys").iterdir())
    assert len(files) == 13
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert not await ensure_trust(resources)
    assert sorted((tmp_path / "keys").iterdir()) == files


async def test_without_a_trust_root_nothing_is_signed(engine: AsyncEngine, tmp_path: Path) -> None:
    """The error says what to run, and the work stays."""
    async with service_resources(engine, tmp_path) as bare:
        index = await make_index(engine)
        await enqueue(bare, PublishIndex(index.id))
        with pytest.raises(CeremonyNeeded, match="countermark-server init"):
            await Publisher(bare).publish(index.id)
        assert await open_jobs(engine) == 1
