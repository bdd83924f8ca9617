"""Hostile documents of indexes, over HTTP: each refused in devpi's words, or taken without harm to whoever reads.

Source: contract devpi sections 6 and 15.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import func, select

from countermark.core.names import IndexName
from gateway.accounts import NewToken
from shared.auth.principal import Scope, Verb
from shared.catalogue.tables import IndexBase
from shared.reading.resolution import MOST_MEMBERS
from tests.support.devpi_api import PASSWORD, DevpiUser, told
from tests.support.devpi_deployment import WHEEL, Deployment
from tests.support.gateway import TestGateway

MANY = [f"alice/i{number}" for number in range(10_000)]
TOO_MANY = f"an index has at most {MOST_MEMBERS} bases, and 10000 are given"
UNKNOWN = "indexconfig got unexpected keyword arguments: "
NO_BASE = "base index 'alice/shut' does not exist"


async def test_ten_thousand_bases(gateway: TestGateway) -> None:
    """As a list, as a text, by operations, of a new index and of one that is there: nothing is made or changed."""
    alice = DevpiUser(gateway, "alice")
    for bases in (MANY, ",".join(MANY)):
        assert told(await alice("PUT", "/alice/new", {"bases": bases})) == (400, TOO_MANY)
    assert (await alice("GET", "/alice/new")).status_code == 404
    assert (await alice("PUT", "/alice/dev", {"bases": "root/stable"})).status_code == 200
    for change in ({"bases": MANY}, [f"bases={','.join(MANY)}"]):
        assert told(await alice("PATCH", "/alice/dev", change)) == (400, TOO_MANY)
    operations = [f"bases+={name}" for name in MANY]
    words = "one change has at most 1000 operations"
    assert told(await alice("PATCH", "/alice/dev", operations)) == (400, words)
    few = await alice("PATCH", "/alice/dev", operations[:1000])
    assert told(few) == (400, f"an index has at most {MOST_MEMBERS} bases, and 1001 are given")
    assert (await alice.result("/alice/dev"))["bases"] == ["root/stable"]
    async with gateway.resources.engine.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(IndexBase)) == 1


async def test_unknown_keys(gateway: TestGateway) -> None:
    """Each is named with its value, ten at the most and each cut; known keys beside them change nothing."""
    alice = DevpiUser(gateway, "alice")
    await alice("PUT", "/alice/dev", {})
    many = {f"k{number:03}": "v" * 5000 for number in range(200)}
    told_of_many = UNKNOWN + ", ".join(f"k{number:03}={'v' * 60}" for number in range(10))
    refused: list[tuple[Any, str]] = [
        ({"k": "v", "title": "T"}, f"{UNKNOWN}k=v"),
        ({"k": {"a": [1]}}, f"{UNKNOWN}k={{'a': [1]}}"),
        ({"": 1}, f"{UNKNOWN}=1"),
        (many, told_of_many),
    ]
    for given, words in refused:
        assert told(await alice("PUT", "/alice/new", given)) == (400, words)
        assert told(await alice("PATCH", "/alice/dev", given)) == (400, words)
    assert told(await alice("PATCH", "/alice/dev", ["title=T", "k=v"])) == (400, f"{UNKNOWN}k=v")
    assert "title" not in await alice.result("/alice/dev")
    assert (await alice("GET", "/alice/new")).status_code == 404


async def test_a_base_that_the_caller_may_not_read(gateway: TestGateway) -> None:
    """It does not exist, as one that really does not: nobody learns of a private index that way, however they ask."""
    carol = DevpiUser(gateway, "carol")
    await carol("PUT", "/carol/dev", {})
    missing = NO_BASE.replace("shut", "none")
    for base, words in (("alice/shut", NO_BASE), ("alice/none", missing)):
        assert told(await carol("PUT", "/carol/new", {"bases": base})) == (400, words)
        for change in ({"bases": [base]}, [f"bases+={base}"], [f"bases=/{base}/"]):
            assert told(await carol("PATCH", "/carol/dev", change)) == (400, words)
    # A token that is narrower than its account is a stranger, too: what it may configure says nothing of what it reads.
    scope = Scope(IndexName("bob", "dev"), None, frozenset(Verb))
    await DevpiUser(gateway, "bob")("PUT", "/bob/dev", {})
    token = await gateway.accounts.create_token(NewToken("bob", (scope,), timedelta(hours=1), "narrow"))
    await gateway.resources.directory.refresh()
    narrow = DevpiUser(gateway, "bob", token.secret)
    assert told(await narrow("PATCH", "/bob/dev", {"bases": "alice/shut"})) == (400, NO_BASE)
    for user in ("bob", "carol"):
        assert (await carol.result(f"/{user}/dev"))["bases"] == []


async def test_a_right_that_ended_ends_changes_of_bases(gateway: TestGateway) -> None:
    """Who lost read on a base cannot keep it in a change of the list; taking it away is always possible."""
    bob = DevpiUser(gateway, "bob")
    made = await bob.http.post(
        "/api/v1/indexes", json={"name": "bob/own", "visibility": "private"}, auth=("bob", PASSWORD)
    )
    assert made.status_code == 201
    assert (await bob("PATCH", "/bob/own", {"bases": "alice/shut,root/stable"})).status_code == 200
    await gateway.rights.set_grants(IndexName("alice", "shut"), "bob", [])
    await gateway.resources.directory.refresh()
    for change in ({"bases": "alice/shut"}, ["title=T"]):
        assert told(await bob("PATCH", "/bob/own", change)) == (400, NO_BASE)
    assert (await bob("PATCH", "/bob/own", ["bases-=alice/shut"])).json()["result"]["bases"] == ["root/stable"]


async def test_a_circle_of_fifty_is_read(deployment: Deployment) -> None:
    """Fifty indexes in a circle, each with itself as a base as well: every way of reading shows the one release, at
    every place of the circle, and ends.
    """
    alice = deployment.alice
    ring = ["alice/dev", *(f"alice/r{number}" for number in range(49))]
    for name in ring[1:]:
        assert (await alice("PUT", f"/{name}", {})).status_code == 200
    for name, following in zip(ring, [*ring[1:], ring[0]], strict=True):
        given = {"bases": [name, following]}
        assert (await alice("PATCH", f"/{name}", given)).json()["result"]["bases"] == [name, following]
    for name in (ring[0], ring[1], ring[25], ring[49]):
        page = (await deployment.page(f"/{name}/+simple/widget/")).json()
        assert [file["filename"] for file in page["files"]] == [WHEEL]
        file = await alice.http.get(f"/{name}/+simple/widget/{page['files'][0]['url']}")
        assert file.status_code == 200
        assert [one["name"] for one in (await deployment.page(f"/{name}/+simple/")).json()["projects"]] == ["widget"]
        document = (await alice.http.get(f"/{name}/widget")).json()["result"]
        assert list(document) == ["1.0"]
        assert "+shadowing" not in document["1.0"]
        assert (await alice.http.get(f"/{name}/pypi/widget/json")).status_code == 200
        assert (await alice.result(f"/{name}"))["projects"] == (["widget"] if name == "alice/dev" else [])
