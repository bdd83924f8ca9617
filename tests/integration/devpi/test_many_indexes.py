"""Accounts with many or large indexes: how many there may be, and what lists of them cost."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator

import orjson
import pytest
from sqlalchemy import insert
from starlette.types import Message

from countermark.core.names import IndexName
from gateway.accounts import NewIndex
from gateway.devpi.shares import MOST_ENTRIES
from gateway.devpi.values import MOST_WHITELISTED
from shared.catalogue.tables import Grant, IndexRow
from shared.ids import new_uuid
from shared.settings import Indexes, Settings, Uploads
from tests.support.devpi_api import PASSWORD, DevpiUser, told
from tests.support.factories import now
from tests.support.gateway import Servers, TestGateway, open_gateway

FULL = "user 'alice' has 3 indexes, the most that one may have here: delete one first (setting indexes.per_owner)"


@pytest.fixture
async def small(servers: Servers, gateway: TestGateway) -> AsyncIterator[TestGateway]:
    """Another gateway of the deployment, where nobody has more than three indexes; alice has one."""
    settings = Settings(data=servers.folder, uploads=Uploads(publish_wait=0), indexes=Indexes(per_owner=3))
    async with open_gateway(servers, settings) as small:
        yield small


async def test_an_owner_has_so_many_indexes(small: TestGateway) -> None:
    """The next one is 403 in words, whoever makes it and however; a deleted one makes room."""
    alice, root = DevpiUser(small, "alice"), DevpiUser(small, "root")
    for name in ("a", "b"):
        assert (await alice("PUT", f"/alice/{name}", {})).status_code == 200
    for who in (alice, root):
        assert told(await who("PUT", "/alice/c", {})) == (403, FULL)
    login = (await alice("POST", "/+login", {"user": "alice", "password": PASSWORD})).json()["result"]["password"]
    own = await alice.http.post("/api/v1/indexes", json={"name": "alice/c"}, auth=("alice", login))
    assert (own.status_code, own.json()["detail"]) == (403, FULL)
    assert (await alice("PUT", "/alice/a", {})).status_code == 409
    assert (await alice("DELETE", "/alice/a")).status_code == 201
    assert (await alice("PUT", "/alice/c", {})).status_code == 200
    assert (await DevpiUser(small, "bob")("PUT", "/bob/a", {})).status_code == 200
    # The operator at the machine is not bound.
    await small.accounts.create_index(NewIndex(IndexName("alice", "more")))
    assert told(await alice("PUT", "/alice/x", {})) == (403, FULL.replace("has 3", "has 4"))


async def test_many_at_once_slip_past_no_limit(small: TestGateway) -> None:
    """Of ten that are made at the same time as many are made as there is room for."""
    alice = DevpiUser(small, "alice")
    answers = await asyncio.gather(*(alice("PUT", f"/alice/n{number}", {}) for number in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] * 2 + [403] * 8


@pytest.mark.parametrize("path", ["/", "/alice"])
async def test_lists_are_written_part_by_part(gateway: TestGateway, path: str) -> None:
    """A list of 60 MB takes a few of memory, and is whole."""
    index = {"owner": "alice", "type": "stage", "visibility": "public", "volatile": True, "admission": "strict"}
    settings = {"custom_data": "x" * 60_000, "description": "d"}
    ids = [new_uuid() for _ in range(1000)]
    rows = [
        {**index, "id": id_, "name": f"i{number:04}", "life": 1, "settings": settings, "created_at": now()}
        for number, id_ in enumerate(ids)
    ]
    async with gateway.resources.engine.begin() as connection:
        for begin in range(0, 1000, 100):
            await connection.execute(insert(IndexRow), rows[begin : begin + 100])
        await connection.execute(
            insert(Grant), [{"index_id": id_, "subject": ":ANONYMOUS:", "verb": "read"} for id_ in ids]
        )
    del rows
    length = largest = 0
    last = b""

    async def receive() -> Message:
        await asyncio.sleep(3600)
        raise AssertionError

    async def send(message: Message) -> None:
        nonlocal length, largest, last
        length += len(message.get("body", b""))
        largest = max(largest, len(message.get("body", b"")))
        last = message.get("body", b"") or last

    headers = [(b"accept", b"application/json"), (b"host", b"127.0.0.1:3141")]
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
    tracemalloc.start()
    await gateway.apps.api({**scope, "headers": headers, "client": ("192.0.2.1", 1), "scheme": "http"}, receive, send)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert length > 60_000_000
    assert last.endswith(b"}}")
    assert largest < 2_000_000
    assert peak < 20_000_000
    shown = orjson.loads((await DevpiUser(gateway).http.get(path)).content)["result"]
    alice = shown if path == "/alice" else shown["alice"]
    assert sorted(alice["indexes"]) == [f"i{number:04}" for number in range(1000)]
    assert alice["indexes"]["i0999"]["custom_data"] == settings["custom_data"]


async def test_lists_of_an_owner_are_bounded_together(gateway: TestGateway) -> None:
    """Every process keeps them in memory: above a hundred thousand entries there is room for no more."""
    alice = DevpiUser(gateway, "alice")
    names = [f"project-{number}" for number in range(MOST_WHITELISTED)]
    full = "the lists (bases, rights, whitelists) of all indexes of user 'alice' have more than 100000 entries"
    fitting = MOST_ENTRIES // MOST_WHITELISTED - 1
    for number in range(fitting):
        assert (await alice("PUT", f"/alice/w{number}", {"mirror_whitelist": names})).status_code == 200
    assert (await alice("PUT", "/alice/w", {"mirror_whitelist": names[:4000]})).status_code == 200
    assert told(await alice("PUT", "/alice/x", {"mirror_whitelist": names})) == (400, full)
    assert told(await alice("PATCH", "/alice/w", {"mirror_whitelist": names})) == (400, full)
    assert len((await alice.result("/alice/w?no_projects="))["mirror_whitelist"]) == 4000
    assert (await alice("PATCH", "/alice/w0", {"mirror_whitelist": []})).status_code == 200
    assert (await alice("PUT", "/alice/x", {"mirror_whitelist": names})).status_code == 200
