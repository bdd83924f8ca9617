"""An index that verifies on read serves bytes only while their chain holds, and has what fails held. ADR 0039."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx2
import pytest
from sqlalchemy import event, select
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only

from countermark.core.digest import Length, sha256_of
from countermark.core.names import IndexName, NormalizedName, page_target
from services.download.entries import Hosted, Stored, make_entry
from services.download.settings import Limits
from services.download.verification.guarding import Guard
from services.upload.holding import hold_file
from shared.catalogue import outbox
from shared.catalogue.tables import Audit, File
from shared.errors import ErrorKind, ServiceError
from shared.ids import IndexId, new_uuid
from shared.jobs.messages import PublishIndex
from shared.objects.interface import Key, ObjectStores, Put
from shared.objects.keys import check_key, core_metadata_key
from shared.reading.access import Place
from tests.integration.reading.constants import LARGE
from tests.integration.reading.guarded import BIG, CONTENT, SMALL, Guarded, switch
from tests.support.builds import Forge, body
from tests.support.factories import make_index, now, set_bases
from tests.support.kept_bundles import Keeper
from tests.support.reading import counted_queries, open_reading, served


async def test_served(guarded: Guarded) -> None:
    """What holds is served; again without a query and without hashing it anew, whole, in part and as core metadata."""
    for name, content in ((SMALL, CONTENT), (BIG, LARGE)):
        assert (await guarded.get(name)).content == content
    guarded.store.opened.clear()
    with counted_queries(guarded.signed.engine) as statements:
        assert (await guarded.get(SMALL)).content == CONTENT
        part = await guarded.get(BIG, headers={"range": "bytes=0-9"})
        assert (part.status_code, part.content) == (206, LARGE[:10])
        assert (await guarded.client.head(f"/root/stable/+f/{guarded.files[BIG].path}")).status_code == 200
    assert statements == []
    assert guarded.store.opened == [guarded.key(BIG)], "opened to be sent, and not to be hashed"


async def test_replaced_object(guarded: Guarded) -> None:
    """One byte of a stored file: it is refused with the step, before a byte is sent, and the hold is asked for once."""
    assert (await guarded.get(BIG)).status_code == 200
    for name in (BIG, SMALL):
        await guarded.signed.flip(guarded.key(name))
    # The small one's bytes are not in memory yet: whoever has them there serves what was checked.
    for name in (BIG, SMALL, BIG):
        for _ in range(3):
            answer = await guarded.get(name)
            assert answer.status_code == 403, answer.text
            assert (answer.json()["step"], answer.json()["exit_code"]) == ("digest", "41")
            assert "held for review" in answer.json()["detail"]
            assert answer.headers["cache-control"] == "no-store"
    held = await guarded.asked_to_hold()
    assert {one.file_id for one in held} == {guarded.files[name].id for name in (BIG, SMALL)}
    assert len(held) == 2
    metrics = guarded.reading.resources.metrics.text().decode()
    assert 'countermark_reads_refused_total{fault="file",step="digest"} 2.0' in metrics


@pytest.mark.parametrize("name", [SMALL, BIG])
async def test_put_right(guarded: Guarded, name: str) -> None:
    """An object that is put right is served at the very next read, and so is a row: what broke is not remembered."""
    other = (await guarded.get(BIG)).status_code
    await guarded.signed.flip(guarded.key(name))
    answers = [(await guarded.get(name)).status_code for _ in range(2)]
    await guarded.signed.flip(guarded.key(name))
    assert [*answers, (await guarded.get(name)).status_code, other] == [403, 403, 200, 200]


async def test_row_put_right(guarded: Guarded) -> None:
    """The same of a row that was altered and is as it was."""
    for change, status in (("length + 1", 403), ("length - 1", 200)):
        await guarded.signed.tamper(f"update file set length = {change} where file_name = '{SMALL}'")
        # Of another process: this one would serve what it checked before.
        guarded.reading = open_reading(guarded.signed.engine, guarded.signed.stores)
        await guarded.reading.news()
        async with guarded.reading.client() as client, guarded.reading.resources.verifying:
            guarded.client = client
            assert (await guarded.get(SMALL)).status_code == status


async def test_held(guarded: Guarded) -> None:
    """The upload service holds the file in those words, once, and asks for the publication without it."""
    await guarded.signed.flip(guarded.key(SMALL))
    assert (await guarded.get(SMALL)).status_code == 403
    [asked] = await guarded.asked_to_hold()
    for _ in range(2):
        await hold_file(guarded.reading.resources, asked)
    async with guarded.signed.engine.connect() as connection:
        file = (await connection.execute(select(File).where(File.id == asked.file_id))).one()
        actions = list(await connection.scalars(select(Audit.action).order_by(Audit.id)))
        changes = await outbox.waiting_changes(connection, asked.index_id, limit=10)
    assert file.held_by == "verify-on-read"
    assert "step 6, digest" in file.held_reason
    assert actions == ["file.unverified", "file.hold"]
    assert [one.message for one in changes if isinstance(one.message, PublishIndex)] == [
        PublishIndex(asked.index_id, guarded.files[SMALL].project_id, audit_id=changes[0].message.audit_id)
    ]
    await guarded.signed.tamper("update published_file set to_serial = 2 where file_id = :id", id=asked.file_id)
    guarded.reading = open_reading(guarded.signed.engine, guarded.signed.stores)
    await guarded.reading.news()
    async with guarded.reading.client() as client:
        guarded.client = client
        answer = await guarded.get(SMALL)
        assert (answer.status_code, "step 6, digest" in answer.text) == (403, True)
        assert (await guarded.get(BIG)).status_code == 200


async def test_altered_row(guarded: Guarded) -> None:
    """A row that contradicts what is signed keeps the file back, and is told as such."""
    await guarded.signed.tamper("update file set length = 3 where id = :id", id=guarded.files[SMALL].id)
    answer = await guarded.get(SMALL)
    assert (answer.status_code, answer.json()["step"]) == (403, "catalogue")
    assert len(await guarded.asked_to_hold()) == 1


async def test_digest_of_a_file_in_memory(engine: AsyncEngine, guarded: Guarded) -> None:
    """A row whose digest was altered while the file lies in memory is found out all the same, and the file is held."""
    limits = replace(Limits(), holds_seconds=0.0)
    guarded.reading = open_reading(engine, guarded.signed.stores, None, limits)
    await guarded.reading.news()
    async with guarded.reading.client() as client, guarded.reading.resources.verifying:
        guarded.client = client
        assert (await guarded.get(SMALL)).status_code == 200
        altered = guarded.files[SMALL].sha256[:16] + "0" * 48
        change = "update file set sha256 = :altered where id = :id"
        await guarded.signed.tamper(change, altered=altered, id=guarded.files[SMALL].id)
        answers = [await guarded.get(SMALL) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [503, 403]
    assert answers[1].json()["step"] == "catalogue"
    assert len(await guarded.asked_to_hold()) == 1


@pytest.mark.parametrize("what", ["timestamp", "bin", "missing"])
async def test_nobodys_fault(guarded: Guarded, what: str) -> None:
    """What is broken for all files, or not there, is 503 with an alarm, and holds nothing."""
    sim = guarded.signed.sim
    if what == "timestamp":
        await guarded.signed.tamper("update tuf_head set timestamp = '{}'")
    elif what == "bin":
        for key in list(sim.objects):
            if ".b" in key and "/metadata/" in key:
                await guarded.signed.stores.public.delete(check_key(key))
    else:
        await guarded.signed.stores.public.delete(guarded.key(BIG))
    answer = await guarded.get(BIG)
    assert answer.status_code == 503, answer.text
    assert answer.headers["retry-after"] == "5"
    assert await guarded.asked_to_hold() == []


async def test_after_a_while(engine: AsyncEngine, guarded: Guarded) -> None:
    """After its time, and after a publication, the chain is gone through again; what is unchanged is not hashed."""
    limits = replace(Limits(), holds_seconds=0.0)
    guarded.reading = open_reading(engine, ObjectStores(guarded.store, guarded.signed.stores.private), None, limits)
    await guarded.reading.news()
    async with guarded.reading.client() as client, guarded.reading.resources.verifying:
        guarded.client = client
        await guarded.get(BIG)
        guarded.store.opened.clear()
        assert (await guarded.get(BIG)).content == LARGE
        assert guarded.store.opened.count(guarded.key(BIG)) == 1, "sent, not hashed"
        await guarded.signed.tamper("update tuf_head set timestamp = '{}'")
        assert (await guarded.get(BIG)).status_code == 503


METADATA = b"Metadata-Version: 2.1\nName: thing\nVersion: 5.0\n"
DESCRIBED = "thing-5.0-py3-none-any.whl"


async def describe(guarded: Guarded, metadata: bytes = METADATA) -> Key:
    """Publish a wheel with core metadata; returns where these lie."""
    made = await guarded.signed.add(DESCRIBED, b"5", core_metadata=metadata)
    guarded.files[DESCRIBED] = made
    await guarded.signed.publish()
    await guarded.reading.news()
    return core_metadata_key(made.sha256, made.file_name)


@pytest.mark.parametrize("length", [len(METADATA), 600 << 10])
async def test_core_metadata(guarded: Guarded, length: int) -> None:
    """They are served while their bytes are those of the digest in the signed page, from memory and streamed."""
    metadata = METADATA.ljust(length)
    key = await describe(guarded, metadata)
    answers = [await guarded.get(DESCRIBED, suffix=".metadata") for _ in range(2)]
    assert [answer.content for answer in answers] == [metadata, metadata]
    with counted_queries(guarded.signed.engine) as statements:
        assert (await guarded.get(DESCRIBED, suffix=".metadata")).content == metadata
    assert statements == []
    await guarded.signed.flip(key)
    if length > Limits().small:
        answer = await guarded.get(DESCRIBED, suffix=".metadata", headers={"range": "bytes=0-9"})
        assert (answer.status_code, answer.json()["step"]) == (403, "catalogue"), answer.text


@pytest.mark.parametrize("suffix", ["", ".metadata"])
async def test_core_metadata_that_were_replaced(guarded: Guarded, suffix: str) -> None:
    """Other bytes, with or without a row that says so: file and metadata are refused, and the file is held."""
    key, evil = await describe(guarded), METADATA + b"Requires-Dist: evil\n"
    await guarded.signed.stores.public.put(key, evil, Put.REPLACE)
    answer = await guarded.get(DESCRIBED, suffix=suffix)
    assert (answer.status_code, answer.json()["step"]) == (403, "catalogue"), answer.text
    change = "update file set core_metadata_sha256 = :sha256, core_metadata_length = :length where id = :id"
    to = {"sha256": sha256_of(evil), "length": len(evil), "id": guarded.files[DESCRIBED].id}
    await guarded.signed.tamper(change, **to)
    guarded.reading = open_reading(guarded.signed.engine, guarded.signed.stores)
    await guarded.reading.news()
    async with guarded.reading.client() as client, guarded.reading.resources.verifying:
        guarded.client = client
        answer = await guarded.get(DESCRIBED, suffix=suffix)
        assert (answer.status_code, answer.json()["step"]) == (403, "catalogue"), answer.text
        assert "stands in the signed page" in answer.json()["detail"]
        # Put right, what this process has in memory is not what is signed: it is read anew.
        await guarded.signed.stores.public.put(key, METADATA, Put.REPLACE)
        to |= {"sha256": sha256_of(METADATA), "length": len(METADATA)}
        await guarded.signed.tamper(change, **to)
        statuses = [(await guarded.get(DESCRIBED, suffix=suffix)).status_code for _ in range(2)]
        assert statuses == ([200, 200] if not suffix else [503, 200])
    assert len(await guarded.asked_to_hold()) == 1


async def test_page_that_was_replaced(guarded: Guarded) -> None:
    """A page that is not the signed one says nothing of core metadata: 503, and nothing is held."""
    await describe(guarded)
    await guarded.signed.flip(guarded.signed.sim.target_key(page_target(NormalizedName("thing"))))
    answer = await guarded.get(DESCRIBED, suffix=".metadata")
    assert (answer.status_code, answer.json()["step"]) == (503, "catalogue"), answer.text
    assert await guarded.asked_to_hold() == []


async def test_switch(guarded: Guarded, engine: AsyncEngine, stores: ObjectStores) -> None:
    """Switched off, bytes are served as they are stored; a view that verifies asks for all that it shows."""
    await guarded.signed.tamper("update file set length = 3 where id = :id", id=guarded.files[SMALL].id)
    top = await make_index(engine, "a/top")
    await set_bases(engine, top, "root/stable", verify_on_read=True)
    await switch(engine, guarded.signed.index.id, on=False)
    await guarded.reading.news()
    assert (await guarded.get(BIG)).content == LARGE
    assert (await guarded.get(BIG, "a/top")).content == LARGE
    assert (await guarded.get(SMALL, "a/top")).status_code == 403


async def test_many_at_once(guarded: Guarded) -> None:
    """Many first reads of a file go through its chain once, also by connections that end early."""
    async with served(guarded.reading.app) as url, httpx2.AsyncClient(base_url=url, timeout=60) as client:
        path = f"/root/stable/+f/{guarded.files[BIG].path}"
        answers = await asyncio.gather(*(client.get(path) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert guarded.store.opened.count(guarded.key(BIG)) == 21, "hashed once, sent twenty times"


async def test_unhold(guarded: Guarded) -> None:
    """A mark that was taken back is no mark; `held_at` alone decides."""
    await guarded.signed.tamper("update file set held_at = :at where id = :id", at=now(), id=guarded.files[SMALL].id)
    assert (await guarded.get(SMALL)).status_code == 200, "a mark shows with the next publication"


async def test_publication_meanwhile(guarded: Guarded, engine: AsyncEngine, forge: Forge) -> None:
    """Head and rows are of one moment: a publication that names an attestation meanwhile has no file held for it."""
    made, bundle = guarded.files[SMALL], body(forge.built(SMALL, CONTENT))
    between = [False]

    async def publish() -> None:
        guarded.signed.sim.add_file(SMALL, CONTENT, attestation=bundle)
        await Keeper(engine, guarded.signed.stores, guarded.signed.index).keep(made, bundle, named=True)
        await guarded.signed.publish()

    def meanwhile(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not between[0] and "published_file.attestation_sha256" in statement:
            between[0] = True
            await_only(publish())

    event.listen(engine.sync_engine, "before_cursor_execute", meanwhile)
    try:
        answer = await guarded.get(SMALL)
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", meanwhile)
    assert between == [True]
    assert (answer.status_code, await guarded.asked_to_hold()) == (200, []), answer.text


async def test_owner_that_is_gone(guarded: Guarded) -> None:
    """A file of an index that memory knows no more cannot be verified: a view that verifies does not serve it."""
    record = guarded.reading.resources.directory.index(IndexName("root", "stable"))
    assert record is not None
    place, guard, file = Place(record, open=True), Guard(guarded.reading.resources, Limits()), guarded.files[SMALL]
    stored = Stored(None, guarded.key(SMALL), True, file.sha256, Length(len(CONTENT)), now())
    entry = make_entry(stored, CONTENT, (), open_=True)
    entry.hosted = Hosted(IndexId(new_uuid()), file.id, file.file_name, file.sha256)
    assert not guard.admits_at_once(place, entry)
    with pytest.raises(ServiceError, match="is no more") as refused:
        await guard.admit(place, entry)
    assert refused.value.kind is ErrorKind.UNAVAILABLE
