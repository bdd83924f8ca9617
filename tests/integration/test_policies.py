"""Policies and exemptions in `/api/v1`, on a real catalogue: who may set them, what is kept and what is on record."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import IndexName
from gateway.accounts import NewIndex
from gateway.policies import NewExemption, Policies
from shared.catalogue.tables import Audit, PolicyExemption
from shared.ids import new_uuid
from shared.reading.policy import Policy
from shared.settings import Mirrors, Settings
from tests.support.gateway import Servers, TestGateway, open_gateway

STABLE, LAB = IndexName("root", "stable"), IndexName("ann", "lab")
PASSWORD = "correct horse battery"
POLICY, EXEMPTIONS = "indexes/ann/lab/policy", "indexes/ann/lab/exemptions"


class Client:
    """Somebody who calls the API."""

    def __init__(self, gateway: TestGateway, user: str | None = None) -> None:
        auth = None if user is None else httpx2.BasicAuth(user, PASSWORD)
        transport = httpx2.ASGITransport(app=gateway.apps.api, client=("192.0.2.1", 1))
        self._http = httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:3141", auth=auth)

    async def __call__(self, method: str, path: str, **how: Any) -> httpx2.Response:
        """Ask."""
        return await self._http.request(method, f"/api/v1/{path}", **how)


@pytest.fixture
async def gateway(engine: AsyncEngine, valkey_url: str, database: str, tmp_path: Path) -> AsyncIterator[TestGateway]:
    """A gateway with the administrator `root`, `ann`, who owns a private index, and `guest`, who may read it."""
    settings = Settings(data=tmp_path, mirrors=Mirrors(reserved="acme, lab-"))
    async with open_gateway(Servers(engine, valkey_url, database, tmp_path), settings) as gateway:
        await gateway.accounts.init_deployment(STABLE)
        for name in ("ann", "guest", "carol"):
            await gateway.accounts.create_account(name, password=PASSWORD)
        await gateway.accounts.set_password("root", PASSWORD)
        await gateway.accounts.create_index(NewIndex(LAB, "private"))
        await gateway.resources.directory.refresh()
        await Client(gateway, "ann")("PUT", "indexes/ann/lab/grants", json={"subject": "guest", "verbs": ["read"]})
        yield gateway


async def test_a_policy_is_set_and_told(gateway: TestGateway) -> None:
    """What is left out stays; the directory has it at once, with what belongs to the whole deployment."""
    ann = Client(gateway, "ann")
    assert (await ann("GET", POLICY)).json() == {
        "index": "ann/lab",
        "min_age": 0,
        "min_age_words": "0",
        "reserved": [],
        "reserved_everywhere": ["acme", "lab-"],
        "denied": {},
        "allowed": None,
        "quarantined": {},
    }
    await ann("PATCH", POLICY, json={"min_age": "7d", "denied": {"evil-*": "known to steal"}})
    changed = (await ann("PATCH", POLICY, json={"reserved": ["ann-"], "allowed": ["a*"]})).json()
    assert (changed["min_age"], changed["min_age_words"], changed["denied"]) == (
        604_800,
        "7d",
        {"evil-*": "known to steal"},
    )
    record = gateway.resources.directory.index(LAB)
    assert record is not None
    assert record.policy == Policy(
        LAB,
        timedelta(days=7),
        ("acme", "lab-", "ann-"),
        {"evil-*": "known to steal"},
        frozenset({"a*"}),
    )
    assert (await ann("PATCH", POLICY, json={"allowed": None})).json()["allowed"] is None
    other = gateway.resources.directory.index(STABLE)
    assert other is not None
    assert other.policy == Policy(STABLE, reserved=("acme", "lab-"))


async def test_every_change_is_on_record_once(gateway: TestGateway) -> None:
    """With who did it and what changed; the same again writes nothing."""
    ann = Client(gateway, "ann")
    for _ in range(2):
        await ann("PATCH", POLICY, json={"min_age": "7d", "denied": {"evil": "it is"}})
    await ann("PATCH", POLICY, json={"denied": {}})
    async with gateway.resources.engine.connect() as connection:
        rows = await connection.execute(
            select(Audit.actor, Audit.subject, Audit.detail).where(Audit.action == "policy.change").order_by(Audit.id)
        )
        found = [tuple(row) for row in rows]
    denied = {"added": ["evil: it is"], "removed": []}
    first = {"min_age": {"before": 0.0, "after": 604_800.0}, "denied": denied}
    second = {"denied": {"added": [], "removed": ["evil: it is"]}}
    assert found == [("ann", "ann/lab", first), ("ann", "ann/lab", second)]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"min_age": "soon"}, 400),
        ({"reserved": ["A"]}, 400),
        ({"allowed": ["\x00"]}, 400),
        ({"denied": {"x": "\ud800"}}, 400),
        ({"min_age": -1}, 400),
        ({"min_age": 1e99}, 422),
        ({"denied": ["x"]}, 422),
        ({"unknown": 1}, 422),
        ({"min_age": "7d", "allowed": "a"}, 422),
    ],
)
async def test_what_cannot_be_is_refused(gateway: TestGateway, body: dict[str, object], status: int) -> None:
    """In words, and nothing is changed."""
    answer = await Client(gateway, "ann")(
        "PATCH", POLICY, content=json.dumps(body), headers={"content-type": "application/json"}
    )
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]
    assert (await Client(gateway, "ann")("GET", POLICY)).json()["min_age"] == 0


async def test_exemptions_are_given_listed_and_revoked(gateway: TestGateway) -> None:
    """Those that end first come first; the clock ends them as well; each is on record."""
    ann = Client(gateway, "ann")
    made = (await ann("POST", EXEMPTIONS, json={"project": "Some.Thing", "reason": "a fix", "days": 30})).json()
    assert (made["project"], made["version"], made["owner"]) == ("some-thing", None, "ann")
    for day in (3, 1, 2):
        given = {"project": "thing", "version": f"v1.{day}", "reason": "a fix", "days": day}
        assert (await ann("POST", EXEMPTIONS, json=given)).json()["version"] == f"1.{day}"
    first = (await ann("GET", f"{EXEMPTIONS}?limit=3")).json()
    rest = (await ann("GET", EXEMPTIONS, params={"after": first["next"]})).json()
    assert [item["version"] for item in first["items"] + rest["items"]] == ["1.1", "1.2", "1.3", None]
    assert rest["next"] is None
    gateway.clock.advance(timedelta(days=1))
    for _ in range(2):
        assert (await ann("DELETE", f"{EXEMPTIONS}/{made['id']}")).status_code == 204
    assert [item["version"] for item in (await ann("GET", EXEMPTIONS)).json()["items"]] == ["1.2", "1.3"]
    async with gateway.resources.engine.connect() as connection:
        counted = select(func.count()).where(Audit.action == "policy.exempt", Audit.actor == "ann")
        assert await connection.scalar(counted) == 4
        assert await connection.scalar(select(func.count()).where(Audit.action == "policy.revoke")) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"project": "x", "reason": "y", "days": 91},
        {"project": "x", "reason": "y", "until": "2020-01-01T00:00:00Z"},
        {"project": "x", "reason": "y", "until": "9999-01-01T00:00:00Z"},
        {"project": "x", "reason": "y", "days": 1, "until": "2030-01-01T00:00:00Z"},
        {"project": "x", "reason": "y", "until": "2030-01-01T00:00:00"},
        {"project": "x", "reason": " "},
        {"project": "x", "reason": "two\nlines"},
        {"project": "no name!", "reason": "y"},
        {"project": "x", "version": "one", "reason": "y"},
        {"project": "x"},
    ],
)
async def test_what_is_no_exemption_is_refused(gateway: TestGateway, body: dict[str, object]) -> None:
    """And none is made."""
    answer = await Client(gateway, "ann")("POST", EXEMPTIONS, json=body)
    assert answer.status_code in {400, 422}, answer.text
    assert (await Client(gateway, "ann")("GET", EXEMPTIONS)).json()["items"] == []


async def test_living_exemptions_are_counted(gateway: TestGateway) -> None:
    """A thousand may hold at once in an index; those that ended do not count."""
    record = gateway.resources.directory.index(LAB)
    assert record is not None
    now = gateway.clock.now()
    row = {"index_id": record.id, "life": record.life, "project": "x", "owner": "ann", "reason": "y", "created_at": now}
    rows = [{**row, "id": new_uuid(), "until": now + timedelta(hours=1 + number % 2)} for number in range(1000)]
    async with gateway.resources.engine.begin() as connection:
        await connection.execute(insert(PolicyExemption), rows)
    ann = Client(gateway, "ann")
    refused = await ann("POST", EXEMPTIONS, json={"project": "x", "reason": "y"})
    assert (refused.status_code, "1000 exemptions" in refused.json()["detail"]) == (409, True)
    gateway.clock.advance(timedelta(hours=1))
    assert (await ann("POST", EXEMPTIONS, json={"project": "x", "reason": "y"})).status_code == 201


async def test_an_exemption_of_another_index_is_not_found(gateway: TestGateway) -> None:
    """Its id opens nothing elsewhere."""
    new = NewExemption("x", None, "y", gateway.clock.now() + timedelta(days=1))
    made = await Policies(gateway.resources.engine, gateway.clock, actor="root").exempt(STABLE, new)
    assert (await Client(gateway, "ann")("DELETE", f"{EXEMPTIONS}/{made.id}")).status_code == 404
