"""An index that verifies on read serves bytes only while their chain holds, and has what fails held. ADR 0039."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import httpx2
import pytest
from sqlalchemy import event, func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only

from countermark.core.digest import Length, sha256_of
from countermark.core.names import IndexName, NormalizedName, page_target
from services.download.entries import Hosted, Stored, make_entry
from services.download.settings import Limits
from services.download.verification.guarding import Guard
from services.upload.holding import hold_file
from shared.auth.directory import CHANNEL
from shared.catalogue import outbox
from shared.catalogue.tables import Audit, File, IndexRow
from shared.errors import ErrorKind, ServiceError
from shared.ids import IndexId, new_uuid
from shared.jobs.messages import HoldFile, PublishIndex, message_from
from shared.objects.interface import ByteRange, Key, ObjectStore, ObjectStores, Put
from shared.objects.keys import check_key, core_metadata_key, file_key
from shared.reading.access import Place
from tests.integration.reading.constants import LARGE
from tests.support.builds import Forge, body, policy
from tests.support.factories import MadeFile, make_default, make_index, now, set_bases
from tests.support.kept_bundles import Keeper
from tests.support.reading import Reading, counted_queries, open_reading, served
from tests.support.signed_index import SignedIndex
from tests.support.sigstore.tokens import github

SMALL, BIG = "thing-1.0-py3-none-any.whl", "thing-2.0.tar.gz"
CONTENT = b"wheel of 1.0"


class CountingStore:
    """A store that tells which objects were opened."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.opened: list[Key] = []
        self.head, self.put, self.list = store.head, store.put, store.list
        self.delete, self.ping, self.close = store.delete, store.ping, store.close

    def open(self, key: Key, byte_range: ByteRange | None = None):  # type: ignore[no-untyped-def]
        """Open an object, and note it."""
        self.opened.append(key)
        return self._store.open(key, byte_range)


@dataclass(slots=True)
class Guarded:
    """An index that verifies on read, with a small file and one that is streamed."""

    signed: SignedIndex
    reading: Reading
    client: httpx2.AsyncClient
    store: CountingStore
    files: dict[str, MadeFile] = field(default_factory=dict)

    async def get(self, name: str, index: str = "root/stable", suffix: str = "", **more: object) -> httpx2.Response:
        """Ask for a file."""
        return await self.client.get(f"/{index}/+f/{self.files[name].path}{suffix}", **more)  # type: ignore[arg-type]

    def key(self, name: str) -> Key:
        """Return where a file's bytes are."""
        return file_key(self.files[name].sha256, self.files[name].file_name)

    async def asked_to_hold(self) -> list[HoldFile]:
        """Return what the upload service was asked to hold."""
        async with self.signed.engine.connect() as connection:
            jobs = await outbox.listing(connection, dead=False)
        found = [message_from(job.kind, job.ids) for job in jobs if job.kind == HoldFile.kind]
        return [one for one in found if isinstance(one, HoldFile)]


async def switch(engine: AsyncEngine, index_id: IndexId, *, on: bool) -> None:
    """Set whether an index verifies on read."""
    async with engine.begin() as connection:
        of_id = IndexRow.id == index_id
        await connection.execute(update(IndexRow).where(of_id).values(settings={"verify_on_read": on}))
        await connection.execute(select(func.pg_notify(CHANNEL, "")))


@pytest.fixture(scope="module")
def forge() -> Forge:
    """A forge whose runs sign by a private Sigstore instance."""
    return Forge()


@pytest.fixture
async def guarded(engine: AsyncEngine, stores: ObjectStores) -> AsyncIterator[Guarded]:
    """The default index, verifying on read; a chain is believed for a minute."""
    index = await make_index(engine)
    await make_default(engine, index)
    await switch(engine, index.id, on=True)
    signed = SignedIndex(engine, stores, index)
    store = CountingStore(stores.public)
    reading = open_reading(engine, ObjectStores(store, stores.private))
    async with reading.client() as client, reading.resources.verifying:
        site = Guarded(signed, reading, client, store)
        for name, content in ((SMALL, CONTENT), (BIG, LARGE)):
            site.files[name] = await signed.add(name, content)
        await signed.publish()
        await reading.news()
        yield site


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


def sign(guarded: Guarded, forge: Forge, content: bytes) -> None:
    """Let the trust role sign another policy; the index's next publication names it."""
    sim = guarded.signed.sim
    sim.deployment.trust_targets |= {"trusted_root.json": forge.instance.trusted_root(), "trust/policy.yaml": content}
    sim.deployment.offline_version += 1
    sim._offline = sim.deployment.offline_roles()


async def test_policy_that_comes_later(guarded: Guarded, forge: Forge) -> None:
    """A policy that is signed later is asked at the next publication: what it does not take is refused with the rule,
    held by nobody, told once, and served again as soon as the policy takes it."""
    assert (await guarded.get(SMALL)).status_code == 200
    attested = "thing-3.0.tar.gz"
    guarded.files[attested] = await guarded.signed.add(attested, b"3", body(forge.built(attested, b"3")))
    for strict in (policy("thing"), policy("thing", more="    min_level: 2\n")):
        sign(guarded, forge, strict)
        await guarded.signed.publish()
        await guarded.reading.news()
        for name in (SMALL, BIG, SMALL, SMALL):
            answer = await guarded.get(name)
            problem = answer.json()
            assert (answer.status_code, problem["step"], problem["exit_code"]) == (403, "policy", "62")
            assert problem["rule"] == "'thing'"
            assert "not held: it is served again as soon as the policy takes it" in problem["detail"]
        assert (await guarded.get(attested)).content == b"3"
    metrics = guarded.reading.resources.metrics.text().decode()
    assert 'countermark_reads_refused_total{fault="policy",step="policy"} 4.0' in metrics, "per file and policy"
    assert await guarded.asked_to_hold() == []
    sign(guarded, forge, policy("other"))
    await guarded.signed.publish()
    await guarded.reading.news()
    assert (await guarded.get(SMALL)).content == CONTENT


async def test_age(guarded: Guarded, forge: Forge) -> None:
    """An attestation that grows older than the policy takes refuses its file, without a hold."""
    attested = "thing-3.0.tar.gz"
    bundle = body(forge.built(attested, b"3", at=int(time.time()) - 20 * 86_400))
    guarded.files[attested] = await guarded.signed.add(attested, b"3", bundle)
    for days, status in ((30, 200), (10, 403)):
        aged = f'    log:\n      rekor: ["v1"]\n      max_age_days: {days}\n'
        sign(guarded, forge, policy("thing", more=aged))
        await guarded.signed.publish()
        await guarded.reading.news()
        answer = await guarded.get(attested)
        assert answer.status_code == status, answer.text
    assert (answer.json()["exit_code"], "age of" in answer.json()["detail"]) == ("62", True)
    assert await guarded.asked_to_hold() == []


async def test_identity_of_nobody(guarded: Guarded, forge: Forge) -> None:
    """Whoever signed is none of the policy's builders (60): that is no matter of what the policy wants, and held."""
    foreign = "thing-4.0.tar.gz"
    bundle = body(forge.built(foreign, b"4", github("evil/fork")))
    guarded.files[foreign] = await guarded.signed.add(foreign, b"4", bundle)
    sign(guarded, forge, policy("thing"))
    await guarded.signed.publish()
    await guarded.reading.news()
    answer = await guarded.get(foreign)
    assert (answer.status_code, answer.json()["exit_code"]) == (403, "60"), answer.text
    assert len(await guarded.asked_to_hold()) == 1


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
    async with served(guarded.reading.app) as url, httpx2.AsyncClient(base_url=url) as client:
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


async def test_policy_that_nobody_can_read(guarded: Guarded) -> None:
    """A signed policy that this version cannot read takes no file, as for clients; no file is held for it."""
    sim = guarded.signed.sim
    sim.deployment.trust_targets |= {"trust/policy.yaml": b'schema: "policy/v9"\n'}
    sim._offline = sim.deployment.offline_roles()
    await guarded.signed.publish()
    await guarded.reading.news()
    answer = await guarded.get(SMALL)
    assert (answer.status_code, answer.json()["step"], answer.json()["exit_code"]) == (503, "policy", "62"), answer.text
    assert await guarded.asked_to_hold() == []
