"""Indexes and their grants in the API."""

from __future__ import annotations

from shared.auth.principal import Verb
from tests.integration.gateway_api.callers import SHUT, STABLE, Client, audited
from tests.support.gateway import TestGateway


async def test_lists_show_only_what_the_caller_may_read(gateway: TestGateway) -> None:
    """A private index is on the lists of its readers, with what each may do."""
    for name, shown in (("bob", {"alice/shut": ["read"]}), ("carol", {}), ("alice", {"alice/shut": list(Verb)})):
        items = (await Client(gateway, name)("GET", "indexes")).json()["items"]
        expected = {**shown, "root/stable": ["read"]}
        assert {item["name"]: item["verbs"] for item in items} == expected


async def test_an_index_is_made_described_and_shared(gateway: TestGateway) -> None:
    """Its owner makes it, says what it is for, and lets others upload; each change is in the audit once."""
    alice, bob = Client(gateway, "alice"), Client(gateway, "bob")
    made = await alice("POST", "indexes", json={"name": "alice/new", "description": "first"})
    assert (made.headers["location"], made.json()["description"]) == ("/api/v1/indexes/alice/new", "first")
    assert (await alice("POST", "indexes", json={"name": "alice/new"})).status_code == 409
    path = "indexes/alice/new"
    for _ in range(2):
        assert (await alice("PATCH", path, json={"description": "second"})).json()["description"] == "second"
    assert (await alice("PATCH", path, json={"visibility": "private"})).status_code == 409
    assert (await alice("PATCH", path, json={"visibility": "public"})).json()["description"] == "second"
    for on in (True, True, False, True):
        changed = (await alice("PATCH", path, json={"verify_on_read": on})).json()
        assert (changed["verify_on_read"], changed["description"]) == (on, "second")
    wanted = {"subject": "bob", "verbs": ["upload", "read"]}
    for _ in range(2):
        granted = (await alice("PUT", f"{path}/grants", json=wanted)).json()["items"]
    assert {"subject": "bob", "verbs": ["read", "upload"]} in granted
    assert (await bob("GET", path)).json()["verbs"] == ["read", "upload"]
    assert (await alice("DELETE", f"{path}/grants?subject=bob")).status_code == 204
    assert (await bob("GET", path)).json()["verbs"] == ["read"]
    about = [action for actor, action, subject in await audited(gateway) if subject == "alice/new"]
    assert sorted(about) == ["grant.set", "grant.set", "index.create", "index.describe", *["index.verify_on_read"] * 3]


async def test_grants_that_would_lock_out_or_open_up_are_refused(gateway: TestGateway) -> None:
    """The owner keeps every right; everyone reads exactly the public indexes; subjects exist."""
    for index, client in ((SHUT, Client(gateway, "alice")), (STABLE, Client(gateway, "root"))):
        public = index == STABLE
        for subject, verbs, status in [
            (index.owner, ["read"], 409),
            (":ANONYMOUS:", ["read"], 200 if public else 409),
            (":ANONYMOUS:", [], 409 if public else 200),
            (":ANONYMOUS:", ["read", "upload"], 409),
            (":AUTHENTICATED:", ["read"], 200),
            (":developers", ["read", "upload"], 200),
            (":no group", ["read"], 400),
            (":", ["read"], 400),
            ("nobody", ["read"], 404),
            ("nobody", [], 200),
            ("no\0body", [], 400),
            ("no\x01body", ["read"], 400),
            (":developers", ["read", "configure"], 409 if public else 200),
            (":AUTHENTICATED:", ["read", "configure"], 409 if public else 200),
            ("bob", ["read", "configure"], 200),
        ]:
            answer = await client("PUT", f"indexes/{index}/grants", json={"subject": subject, "verbs": verbs})
            assert answer.status_code == status, (str(index), subject, verbs, answer.text)
