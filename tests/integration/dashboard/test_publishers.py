"""The dashboard's pages of trusted publishers: who sees them, who registers and removes, and what is told."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import IndexName
from gateway.accounts import NewIndex
from shared.auth.principal import Verb
from shared.catalogue.tables import Audit, Publisher
from tests.support.browser import Browser
from tests.support.dashboard import PASSWORD, post, signed_in
from tests.support.gateway import Servers, TestGateway, open_gateway

STABLE, LAB = IndexName("root", "stable"), IndexName("ann", "lab")
PUBLISHERS = "/indexes/ann/lab/publishers"
ADD, REMOVE = f"{PUBLISHERS}/add", f"{PUBLISHERS}/remove"
GIVEN = {
    "project": "Thing",
    "kind": "github",
    "repository": "acme/thing",
    "workflow": "release.yml",
    "environment": "",
    "issuer": "",
}


@pytest.fixture
async def gateway(engine: AsyncEngine, valkey_url: str, database: str, tmp_path: Path) -> AsyncIterator[TestGateway]:
    """`ann` owns an index that `guest` may read."""
    async with open_gateway(Servers(engine, valkey_url, database, tmp_path)) as gateway:
        await gateway.accounts.init_deployment(STABLE)
        for name in ("ann", "guest"):
            await gateway.accounts.create_account(name, password=PASSWORD)
        await gateway.accounts.create_index(NewIndex(LAB, "private"))
        await gateway.rights.set_grants(LAB, "guest", {Verb.READ})
        await gateway.resources.directory.refresh()
        yield gateway


@pytest.fixture
async def ann(gateway: TestGateway) -> Browser:
    """The owner's browser."""
    return await signed_in(gateway, "ann")


async def _registered(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        rows = await connection.execute(select(Publisher.project).where(Publisher.removed_at.is_(None)))
        return list(rows.scalars())


async def test_only_who_may_configure_sees_and_changes_them(
    gateway: TestGateway, engine: AsyncEngine, ann: Browser
) -> None:
    """A stranger is led to the login, a reader refused; a form of another site changes nothing."""
    guest = await signed_in(gateway, "guest")
    for path in (PUBLISHERS, ADD, f"{REMOVE}?id=x"):
        page = await gateway.browser().get(path, follow=False)
        assert (page.status_code, page.headers["location"]) == (303, "/login")
        assert (await guest.get(path)).status_code == 403
    for path in (ADD, REMOVE):
        assert (await post(guest, "/", path, **GIVEN)).status_code == 403
        foreign = await ann.client.post(path, data=GIVEN, headers={"origin": "http://elsewhere.test"})
        assert foreign.status_code == 403
    assert await _registered(engine) == []


async def test_one_is_registered_seen_and_removed(gateway: TestGateway, engine: AsyncEngine, ann: Browser) -> None:
    """It stands in the list with what it may do and how long it waits, and is on record."""
    assert PUBLISHERS in (await ann.get("/indexes/ann/lab/rights")).text
    assert "None is registered" in (await ann.get(PUBLISHERS)).text
    for changed in ({}, {"environment": "release"}, {"kind": "gitlab", "workflow": ".gitlab-ci.yml"}):
        done = await post(ann, ADD, ADD, **(GIVEN | changed))
        assert (done.status_code, done.headers["location"]) == (303, PUBLISHERS)
    listed = (await ann.get(PUBLISHERS)).text
    for words in ("acme/thing", ".gitlab-ci.yml", "release", "any: every job", "waits for the project until"):
        assert words in listed, words
    first, *_ = re.findall(r"remove\?id=([0-9a-f-]+)", listed)
    assert "acme/thing" in (await ann.get(f"{REMOVE}?id={first}")).text
    for _ in range(2):
        assert (await post(ann, PUBLISHERS, REMOVE, id=first)).status_code == 303
    assert await _registered(engine) == ["thing", "thing"]
    for wrong in ("x", first.replace(first[:8], "00000000")):
        assert (await ann.get(f"{REMOVE}?id={wrong}")).status_code == 404
        assert (await post(ann, PUBLISHERS, REMOVE, id=wrong)).status_code == 404
    gateway.clock.advance(timedelta(days=30))
    assert "waited too long" in (await (await signed_in(gateway, "ann")).get(PUBLISHERS)).text
    async with engine.connect() as connection:
        query = select(Audit.actor, Audit.action).where(Audit.action.like("publisher.%")).order_by(Audit.id)
        rows = [tuple(row) for row in await connection.execute(query)]
    assert rows == [("ann", "publisher.add")] * 3 + [("ann", "publisher.remove")]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"project": "no name!"}, "no name!"),
        ({"repository": "thing"}, "name the repository"),
        ({"workflow": "release"}, "name the workflow"),
        ({"kind": "other"}, "no kind"),
        ({"issuer": "http://ghe.acme.test"}, "https URL"),
    ],
)
async def test_a_fault_is_told_with_the_form(ann: Browser, changed: dict[str, str], words: str) -> None:
    """What was typed is still there."""
    answer = await post(ann, ADD, ADD, **(GIVEN | changed))
    assert answer.status_code == 400
    text = html.unescape(answer.text)
    assert words in text
    assert all(f'value="{value}"' in text for name, value in changed.items() if name != "kind")


async def test_who_may_not_upload_vouches_for_nobody(gateway: TestGateway, engine: AsyncEngine, ann: Browser) -> None:
    """The right to configure alone gives nobody the right to upload; twice the same is a conflict that is told."""
    await gateway.rights.set_grants(LAB, "guest", {Verb.READ, Verb.CONFIGURE})
    await gateway.resources.directory.refresh()
    refused = await post(await signed_in(gateway, "guest"), ADD, ADD, **GIVEN)
    assert (refused.status_code, "may not upload" in refused.text) == (400, True)
    assert (await post(ann, ADD, ADD, **GIVEN)).status_code == 303
    again = await post(ann, ADD, ADD, **GIVEN)
    assert (again.status_code, "has this publisher already" in again.text) == (400, True)
    assert await _registered(engine) == ["thing"]
