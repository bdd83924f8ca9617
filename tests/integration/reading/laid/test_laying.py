"""The static documents about attestations: laid with their projects, never older over newer, and served alike.

Architecture sections 5, 6 and 11.8.
"""

from __future__ import annotations

import asyncio
import json

import httpx2
import pytest
from pypi_attestations import Provenance
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.attestations.listed import read_bundle_list
from services.index import laying
from services.index.settings import Limits as IndexLimits
from shared.catalogue.tables import ProvenanceDue
from shared.jobs.messages import LayPages
from shared.objects.interface import IfMatch, Key, LocalFile, ObjectInfo, ObjectStore, ObjectStores, Put
from shared.objects.keys import bundle_key
from tests.integration.reading.constants import WHEEL
from tests.integration.reading.laid.tree import CONTENT, LIST, OBJECT, READ, SOURCE, Tree
from tests.support.factories import make_token, now
from tests.support.kept_bundles import Keeper
from tests.support.reading import basic, counted_queries, open_reading
from tests.support.sigstore.instance import PUBLISH, SLSA, statement


async def test_laid(tree: Tree) -> None:
    """An attested file has its object, which stock code reads, and an empty list; one without attestations nothing."""
    body = await tree.at(OBJECT)
    assert body is not None
    [bundle] = Provenance.model_validate_json(body).attestation_bundles
    assert len(bundle.attestations) == 1
    assert read_bundle_list(await tree.at(LIST) or b"") == []
    await tree.family.publish("root/stable", SOURCE, b"source")
    await tree.lay()
    assert await tree.at(OBJECT.replace(WHEEL, SOURCE)) is None


async def test_an_attestation_that_no_pointer_names(tree: Tree) -> None:
    """It is in the object as soon as the publication that follows it is laid; what an object cannot hold is listed."""
    await tree.keep(tree.file, CONTENT, kind=PUBLISH)
    odd = await tree.keep(tree.file, CONTENT, log="v2")
    await tree.stable.publish(again=[tree.file])
    await tree.lay()
    assert await tree.attested() == 2
    listed = await tree.at(LIST)
    assert listed is not None
    [resource] = read_bundle_list(listed)
    assert (resource.digest, resource.uri) == (odd, f"/{bundle_key(resource.digest, tree.file.file_name)}")
    assert await tree.stores.public.head(Key(resource.uri[1:])) is not None


async def test_only_what_changed(tree: Tree, engine: AsyncEngine) -> None:
    """A publication of the project touches no object but those of files that changed; a full laying mends all."""
    await tree.stores.public.put(Key(OBJECT), b"touched", Put.REPLACE)
    other = await tree.family.publish("root/stable", SOURCE, b"source")
    await tree.keep(other, b"source")
    with counted_queries(engine) as statements:
        await tree.lay()
    assert await tree.at(OBJECT) == b"touched"
    assert await tree.at(OBJECT.replace(WHEEL, SOURCE)) is not None
    assert sum("provenance_due" in one for one in statements) == 2, "asked for, and settled"
    assert sum(READ in one for one in statements) == 1, "one name was looked at"
    await laying.lay(tree.reading.resources, IndexLimits(), tree.stable.index.id, full=True)
    assert await tree.attested() == 1


async def test_hidden_and_shown_again(tree: Tree) -> None:
    """Of a file that is not shown any more nothing is attested: an empty object, until it is shown again."""
    await tree.keep(tree.file, CONTENT, log="v2")
    await tree.stable.publish(again=[tree.file])
    await tree.lay()
    await tree.stable.publish(hidden=[tree.file])
    await tree.lay()
    assert (await tree.attested(), json.loads(await tree.at(LIST) or b"")["bundles"]) == (0, [])
    await tree.stable.publish(tree.file)
    await tree.lay()
    assert (await tree.attested(), len(json.loads(await tree.at(LIST) or b"")["bundles"])) == (1, 1)


async def test_replaced_file(tree: Tree, engine: AsyncEngine, stores: ObjectStores) -> None:
    """Other bytes under the name have their own object, or none of the bytes before."""
    await tree.stable.mark(tree.file, removed_at=now())
    await tree.stable.publish(hidden=[tree.file])
    other = await tree.family.publish("root/stable", WHEEL, b"other bytes")
    await tree.lay()
    assert await tree.attested() == 0
    await tree.keep(other, b"other bytes")
    await tree.stable.publish(again=[other])
    await tree.lay()
    [bundle] = Provenance.model_validate_json(await tree.at(OBJECT) or b"").attestation_bundles
    assert bundle.attestations[0].statement["subject"][0]["digest"]["sha256"] == other.sha256


@pytest.mark.parametrize("hidden", [False, True])
async def test_never_older_over_newer(tree: Tree, engine: AsyncEngine, hidden: bool) -> None:
    """A process that was overtaken between looking and writing finds another object there, and asks again."""
    other = await tree.family.publish("root/stable", SOURCE, b"source")
    await tree.keep(other, b"source")
    slow = Paused(tree.stores.public, "attestations/")
    late = open_reading(engine, ObjectStores(slow, tree.stores.private))
    overtaken = asyncio.create_task(laying.lay(late.resources, IndexLimits(), tree.stable.index.id))
    await slow.reached.wait()
    await tree.keep(other, b"source", kind=PUBLISH)
    await tree.stable.publish(**({"hidden": [other]} if hidden else {"again": [other]}))
    await tree.lay()
    slow.go_on.set()
    await overtaken
    body = json.loads(await tree.at(OBJECT.replace(WHEEL, SOURCE)) or b'{"attestation_bundles": []}')
    assert sum(len(one["attestations"]) for one in body["attestation_bundles"]) == (0 if hidden else 2)
    with counted_queries(engine) as statements:
        await tree.stable.publish(again=[tree.file])
        await tree.lay()
    assert not any(READ in one for one in statements), "what was laid is not due again"


async def test_damaged_bundle(tree: Tree) -> None:
    """It keeps its own object back, which stays as it was, and nothing else; once mended it comes with the next."""
    digest = await tree.keep(tree.file, CONTENT, kind=PUBLISH)
    key = bundle_key(digest, tree.file.file_name)  # type: ignore[arg-type]
    body = await tree.at(key)
    assert body is not None
    await tree.stores.public.put(key, b"{}", Put.REPLACE)
    await tree.family.publish("root/stable", SOURCE, b"source")
    await tree.lay()
    assert await tree.attested() == 1
    assert SOURCE.encode() in (await tree.at("indexes/root/stable/simple/thing/index.json") or b"")
    await tree.stores.public.put(key, body, Put.REPLACE)
    await tree.stable.publish(again=[tree.file])
    await tree.lay()
    assert await tree.attested() == 2


async def test_damaged_when_shown_again(tree: Tree) -> None:
    """Of a name that no mark tells of, and that cannot be laid, the next publication of the project finds one."""
    digest = await tree.keep(tree.file, CONTENT, kind=PUBLISH)
    key = bundle_key(digest, tree.file.file_name)  # type: ignore[arg-type]
    await tree.stable.publish(hidden=[tree.file])
    await tree.lay()
    body = await tree.at(key)
    assert body is not None
    await tree.stores.public.put(key, b"{}", Put.REPLACE)
    await tree.stable.publish(tree.file)
    for _ in range(2):
        await tree.lay()
        assert await tree.attested() == 0
        await tree.family.publish("root/stable", f"thing-{tree.stable.serial}.tar.gz", b"source")
    await tree.stores.public.put(key, body, Put.REPLACE)
    await tree.lay()
    assert await tree.attested() == 2


async def test_never_shown(tree: Tree, engine: AsyncEngine) -> None:
    """The tree does not tell that a file waits; its documents come once it is shown, though its mark is gone."""
    other = await tree.stable.upload(SOURCE, b"source")
    await tree.keep(other, b"source")
    await tree.stable.publish(again=[tree.file])
    await tree.lay()
    there = [str(one.key) async for one in tree.stores.public.list(Key("indexes/root/stable/attestations/"))]
    assert sorted(there) == [LIST, OBJECT]
    async with engine.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(ProvenanceDue)) == 0
    await tree.stable.publish(other)
    await tree.lay()
    assert await tree.at(OBJECT.replace(WHEEL, SOURCE)) is not None


async def test_an_attestation_that_comes_while_others_are_laid(tree: Tree, engine: AsyncEngine) -> None:
    """Whoever laid what was there before takes away no mark of what it did not see."""
    await tree.keep(tree.file, CONTENT, kind=PUBLISH)
    await tree.stable.publish(again=[tree.file])
    slow = Paused(tree.stores.public, "attestations/")
    late = open_reading(engine, ObjectStores(slow, tree.stores.private))
    laying_late = asyncio.create_task(laying.lay(late.resources, IndexLimits(), tree.stable.index.id))
    await slow.reached.wait()
    await tree.keep(tree.file, CONTENT, kind=SLSA)
    slow.go_on.set()
    await laying_late
    assert await tree.attested() == 2
    await tree.stable.publish(again=[tree.file])
    await tree.lay()
    assert await tree.attested() == 3


async def test_hidden_before_it_was_laid(tree: Tree, engine: AsyncEngine) -> None:
    """A process that was overtaken before its first document of a file finds an empty one there, and leaves it."""
    other = await tree.family.publish("root/stable", SOURCE, b"source")
    await tree.keep(other, b"source")
    await tree.stable.publish(hidden=[other])
    await tree.lay()
    body = json.loads(await tree.at(OBJECT.replace(WHEEL, SOURCE)) or b"{}")
    assert body["attestation_bundles"] == []


async def test_served(tree: Tree, client: httpx2.AsyncClient) -> None:
    """The tree's names below `+tuf/` answer with what is laid, of the index's own files alone, as the files are."""
    await tree.keep(tree.file, CONTENT, log="v2")
    await tree.stable.publish(again=[tree.file])
    await tree.lay()
    await tree.family.make("a/top", "root/stable")
    await tree.reading.news()
    for path in (OBJECT, LIST):
        address = path.removeprefix("indexes/").replace("root/stable", "/root/stable/+tuf")
        answer = await client.get(address)
        assert (answer.status_code, answer.content) == (200, await tree.at(path)), answer.text
        assert answer.headers["cache-control"] == "public, max-age=600"
        assert (await client.get(address, headers={"if-none-match": answer.headers["etag"]})).status_code == 304
        assert (await client.get(address.replace("root/stable", "a/top"))).status_code == 404
        for other in (address.replace("/thing/", "/Thing/"), address.replace("/thing/", "/other/"), f"{address}/x"):
            assert (await client.get(other)).status_code == 404, other
    held = {"held_at": now(), "held_reason": "looks bad"}
    await tree.family.hide("root/stable", tree.file, **held)
    for path in (OBJECT, LIST):
        answer = await client.get(path.removeprefix("indexes/").replace("root/stable", "/root/stable/+tuf"))
        assert (answer.status_code, "looks bad" in answer.text) == (403, True)


async def test_private(tree: Tree, client: httpx2.AsyncClient, engine: AsyncEngine) -> None:
    """Objects of a private index lie on its side of the store, and are told to nobody else."""
    secret = await tree.family.make("root/secret", public=False)
    file = await tree.family.publish("root/secret", WHEEL, CONTENT)
    bundle = tree.instance.sign(statement(WHEEL, CONTENT, SLSA))
    await Keeper(engine, tree.stores, secret.index).keep(file, bundle)
    await tree.reading.news()
    await tree.reading.index.handlers[LayPages](LayPages(secret.index.id))
    path = OBJECT.replace("root/stable", "root/secret")
    assert await tree.stores.public.head(Key(path)) is None
    assert await tree.stores.private.head(Key(path)) is not None
    address = f"/root/secret/+tuf/attestations/thing/{WHEEL}.provenance.json"
    assert (await client.get(address)).status_code == 401
    mine = {"authorization": basic("x", await make_token(engine))}
    await tree.reading.news()
    assert (await client.get(address, headers=mine)).status_code == 200


class Paused:
    """A store whose first put of a key waits until it is told to go on, as in a process that was stopped there."""

    def __init__(self, store: ObjectStore, part: str) -> None:
        self._store, self._part = store, part
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()
        self.head, self.open, self.list = store.head, store.open, store.list
        self.delete, self.ping, self.close = store.delete, store.ping, store.close

    async def put(
        self, key: Key, body: bytes | LocalFile, condition: Put | IfMatch = Put.ABSENT, *, durable: bool = True
    ) -> ObjectInfo:
        """Wait before the first put of a key with the part, with its condition already decided."""
        if self._part in key and not self.reached.is_set():
            self.reached.set()
            await self.go_on.wait()
        return await self._store.put(key, body, condition, durable=durable)
