"""Attestations of what is pushed go along, and the policy decides for the index that it goes to. ADR 0037."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.catalogue.attestations import MOST
from shared.catalogue.tables import Attestation, File, IndexRow, Outbox, ProvenanceDue
from tests.support.archives import make_wheel
from tests.support.builds import Forge, policy
from tests.support.factories import MadeIndex, make_index, make_token
from tests.support.trust_targets import trust
from tests.support.uploader import Uploader, open_uploader
from tests.support.uploading import basic, form_fields

WHEEL, CONTENT = "widget-1.0-py3-none-any.whl", make_wheel("widget", "1.0")
DEMANDED_IN_STABLE = '    indexes: ["root/stable"]\n'


@dataclass
class Site:
    """The upload service, where `root/dev` takes everything and `root/stable` what the policy takes."""

    uploader: Uploader
    forge: Forge
    owner: dict[str, str]
    dev: MadeIndex

    async def upload(self, *attestations: Any, index: str = "root/dev", content: bytes = CONTENT) -> httpx2.Response:
        """Upload the wheel."""
        fields = form_fields(WHEEL, content)
        if attestations:
            fields["attestations"] = json.dumps(attestations)
        answer = await self.uploader.post(WHEEL, content, fields=fields, headers=self.owner, path=f"/{index}/")
        assert answer.status_code == 200, answer.text
        return answer

    async def push(self, target: str = "root/stable") -> httpx2.Response:
        """Push the release."""
        document = json.dumps({"name": "widget", "version": "1.0", "targetindex": target})
        headers = self.owner | {"content-type": "application/json"}
        return await self.uploader.http.post("/root/dev", content=document, headers=headers)

    async def rows(self, index: MadeIndex) -> list[Any]:
        """Return the attestations of an index, in the order of their coming."""
        query = select(Attestation).where(Attestation.index_id == index.id)
        async with self.uploader.resources.engine.connect() as connection:
            return list(await connection.execute(query.order_by(Attestation.added_at, Attestation.predicate_type)))


@pytest.fixture(scope="module")
def forge() -> Forge:
    """A forge."""
    return Forge()


@pytest.fixture
async def site(engine: AsyncEngine, forge: Forge, tmp_path: Path) -> AsyncIterator[Site]:
    """The service, with a policy that demands build provenance in `root/stable`."""
    async with open_uploader(engine, tmp_path) as uploader:
        await trust(engine, forge.material(policy(more=DEMANDED_IN_STABLE)))
        dev = await make_index(engine, "root/dev")
        owner = basic(await make_token(engine), "root")
        await uploader.resources.directory.refresh()
        yield Site(uploader, forge, owner, dev)


def pair(forge: Forge) -> tuple[Any, Any]:
    """Return what a run attests of the wheel."""
    return forge.publish_attestation(WHEEL, CONTENT), forge.build_attestation(WHEEL, CONTENT)


def told(row: Any) -> dict[str, Any]:
    """Return what a row says beside what it belongs to."""
    return {key: value for key, value in row._mapping.items() if key not in {"id", "index_id", "file_id"}}


async def test_attestations_go_along_as_they_are(site: Site, forge: Forge) -> None:
    """The same digests, facts, publisher, uploader and time; the one that was named is named."""
    await site.upload(*pair(forge))
    answer = await site.push()
    assert answer.status_code == 200, answer.text
    source, target = [told(row) for row in await site.rows(site.dev)], await site.rows(site.uploader.index)
    assert len(target) == 2
    assert [told(row) for row in target] == source


async def test_the_policy_of_the_target_decides(site: Site, forge: Forge) -> None:
    """What `root/dev` took without provenance does not get into `root/stable` by a push; nothing is pushed then."""
    await site.upload()
    answer = await site.push()
    assert answer.status_code == 403
    assert "demands an attestation" in answer.json()["message"]
    await site.upload(*pair(forge))
    assert (await site.push()).status_code == 200


async def test_bundles_are_copied_to_the_other_side(site: Site, forge: Forge, engine: AsyncEngine) -> None:
    """A private index has its own bytes of them."""
    private = await make_index(engine, "root/hidden", public=False)
    await site.uploader.resources.directory.refresh()
    await site.upload(*pair(forge))
    assert (await site.push("root/hidden")).status_code == 200
    data = site.uploader.resources.settings.data
    for row in await site.rows(private):
        at = f"files/{row.sha256[:2]}/{row.sha256[2:]}/{WHEEL}.sigstore.json"
        assert (data / "private" / at).read_bytes() == (data / "public" / at).read_bytes()


async def test_those_that_a_kept_file_lacks_are_added(site: Site, forge: Forge, engine: AsyncEngine) -> None:
    """On a volatile index the same bytes stay, what is new about them comes, and a pointer is asked for."""
    target = await make_index(engine, "root/loose")
    async with engine.begin() as connection:
        await connection.execute(update(IndexRow).where(IndexRow.id == target.id).values(volatile=True))
    await site.uploader.resources.directory.refresh()
    await site.upload()
    assert (await site.push("root/loose")).status_code == 200
    await site.upload(*pair(forge))
    assert (await site.push("root/loose")).status_code == 200
    assert [row.named for row in await site.rows(target)] == [row.named for row in await site.rows(site.dev)]
    async with engine.connect() as connection:
        jobs = [row.ids for row in await connection.execute(select(Outbox).where(Outbox.index_id == target.id))]
        [file] = await connection.scalars(select(File.id).where(File.index_id == target.id))
        marks = select(ProvenanceDue.id).where(ProvenanceDue.file_id == file)
        assert len(list(await connection.scalars(marks))) == 1, "what static documents tell is due"
    assert sum(str(file) in json.dumps(ids) for ids in jobs) == 2


async def test_no_more_than_a_file_may_have(site: Site, forge: Forge, engine: AsyncEngine) -> None:
    """A push adds none to a file that has as many as one may have: more could not be judged, nor the file be read."""
    target = await make_index(engine, "root/loose")
    async with engine.begin() as connection:
        await connection.execute(update(IndexRow).where(IndexRow.id == target.id).values(volatile=True))
    await site.uploader.resources.directory.refresh()
    await site.upload(*pair(forge))
    assert (await site.push("root/loose")).status_code == 200
    row = (await site.rows(target))[0]._mapping
    more = [dict(row) | {"id": uuid4(), "sha256": f"{n:064x}", "named": False} for n in range(MOST - 2)]
    async with engine.begin() as connection:
        await connection.execute(insert(Attestation), more)
    assert (await site.push("root/loose")).status_code == 200, "it has all of these"
    await site.upload(forge.build_attestation(WHEEL, CONTENT))
    answer = await site.push("root/loose")
    assert (answer.status_code, f"{WHEEL} has {MOST} attestations" in answer.text) == (409, True), answer.text
    assert len(await site.rows(target)) == MOST


async def test_a_replaced_file_keeps_its_rows(site: Site, forge: Forge, engine: AsyncEngine) -> None:
    """Other bytes under the name have none of the old ones; those stay with the file that was removed."""
    async with engine.begin() as connection:
        await connection.execute(update(IndexRow).where(IndexRow.id == site.dev.id).values(volatile=True))
    await site.uploader.resources.directory.look_again()
    await site.uploader.resources.directory.refresh()
    await site.upload(*pair(forge))
    await site.upload(content=make_wheel("widget", "1.0", requires_python=">=3.11"))
    async with engine.connect() as connection:
        rows = await connection.execute(select(File.id, File.removed_at).where(File.index_id == site.dev.id))
        files = {row.id: row.removed_at is not None for row in rows}
    assert sorted(files.values()) == [False, True]
    assert {files[row.file_id] for row in await site.rows(site.dev)} == {True}
