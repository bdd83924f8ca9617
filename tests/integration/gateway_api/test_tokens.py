"""Tokens in the API: what they may give away, how they are shown, and who revokes them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from shared.auth.principal import Scope, Verb
from tests.integration.gateway_api.callers import EVERYTHING, PASSWORD, SHUT, STABLE, Client, audited, token_of
from tests.support.gateway import TestGateway

# --- tokens -----------------------------------------------------------------------------------------------------------


async def test_a_token_makes_none_that_may_more_or_lives_longer(gateway: TestGateway) -> None:
    """Scope by scope and verb by verb: neither another index, all projects, another verb nor a later end."""
    scope = Scope(SHUT, None, frozenset({Verb.READ, Verb.UPLOAD}))
    _, narrow = await token_of(gateway, "alice", Scope(SHUT, None, frozenset({Verb.READ})), days=10)
    _, upload = await token_of(gateway, "alice", scope, days=10)

    async def status(client: Client, days: int | None = None, **asked: Any) -> int:
        scopes = [{"index": str(SHUT), "verbs": ["read"], **asked}]
        return (await client("POST", "tokens", json={"label": "child", "scopes": scopes, "days": days})).status_code

    assert await status(upload) == 201
    assert await status(upload, project="demo", verbs=["upload"]) == 201
    assert await status(narrow, verbs=["upload"]) == 403
    assert await status(narrow, index="root/stable") == 403
    assert await status(narrow, index=None) == 403
    assert await status(upload, verbs=["upload", "remove"]) == 403
    assert await status(upload, days=9) == 201
    assert await status(upload, days=11) == 403
    _, one_project = await token_of(gateway, "alice", Scope(SHUT, "demo", frozenset({Verb.UPLOAD})))  # type: ignore[arg-type]
    assert await status(one_project, verbs=["upload"], project="demo") == 201
    assert await status(one_project, verbs=["upload"]) == 403


async def test_a_token_gives_away_no_other_credentials(gateway: TestGateway) -> None:
    """Neither a password nor another account's token, not even an administrator's one, unless it may do everything."""
    configure = frozenset({Verb.CONFIGURE, Verb.READ})
    _, limited = await token_of(gateway, "root", Scope(STABLE, None, configure))
    _, everything = await token_of(gateway, "root", EVERYTHING)
    wanted = {"account": "bob", "label": "x", "scopes": [{"index": str(STABLE), "verbs": ["read"]}]}
    assert (await limited("GET", "account")).json()["administrator"] is True
    for client, forbidden in ((limited, True), (everything, False)):
        set_password = await client("PUT", "accounts/bob/password", json={"password": PASSWORD + "!"})
        minted = await client("POST", "tokens", json=wanted)
        expected = (403, 403) if forbidden else (204, 201)
        assert (set_password.status_code, minted.status_code) == expected, (set_password.text, minted.text)


async def test_a_minted_token_works_and_is_shown_once(gateway: TestGateway) -> None:
    """The answer has the secret and is kept by nobody; lists have none; its own account shows it."""
    alice = Client(gateway, "alice")
    wanted = {"label": "ci", "scopes": [{"index": str(SHUT), "verbs": ["read"]}], "days": 3}
    made = await alice("POST", "tokens", json=wanted)
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    client = Client(gateway, "__token__", made.json()["token"])
    me = (await client("GET", "account")).json()
    assert (me["name"], me["administrator"], me["token"]["id"]) == ("alice", False, made.json()["id"])
    listed = await alice("GET", "tokens")
    assert "cmk_1" not in listed.text
    (line,) = listed.json()["items"]
    assert (line["label"], line["state"], line["last_used_at"]) == ("ci", "active", None)


async def test_the_last_use_is_shown(gateway: TestGateway) -> None:
    """A token that was accepted says when, after the process has written it; a refused one says nothing."""
    token_id, client = await token_of(gateway, "alice", EVERYTHING, days=1)
    await client("GET", "account")
    used = gateway.clock.now()
    gateway.clock.advance(timedelta(days=2))
    await client("GET", "account")
    await gateway.resources.directory.last_use.flush()
    (line,) = (await Client(gateway, "alice")("GET", "tokens")).json()["items"]
    assert (UUID(line["id"]), line["state"]) == (token_id, "expired")
    assert line["last_used_at"] == used.isoformat().replace("+00:00", "Z")


async def test_a_token_is_revoked_by_its_account_itself_or_an_administrator(gateway: TestGateway) -> None:
    """A stranger sees no such token; a narrower token of the account may not; afterwards the token is useless."""
    token_id, client = await token_of(gateway, "alice", EVERYTHING)
    _, narrow = await token_of(gateway, "alice", Scope(SHUT, None, frozenset({Verb.READ})))
    path = f"tokens/{token_id}"
    assert (await Client(gateway, "bob")("DELETE", path)).status_code == 404
    assert (await narrow("DELETE", path)).status_code == 403
    assert (await client("GET", "account")).status_code == 200
    assert (await Client(gateway, "alice")("DELETE", path)).status_code == 204
    assert (await client("GET", "account")).status_code == 401
    assert (await Client(gateway, "root")("DELETE", path)).status_code == 204
    assert [entry for entry in await audited(gateway) if entry[1] == "token.revoke"] == [
        ("alice", "token.revoke", str(token_id))
    ]
    own_id, own = await token_of(gateway, "bob", Scope(SHUT, None, frozenset({Verb.READ})))
    assert (await own("DELETE", f"tokens/{own_id}")).status_code == 204


async def test_lists_are_paged_without_gaps(gateway: TestGateway) -> None:
    """Each page begins after the one before; a made-up cursor is 422."""
    for _ in range(5):
        await token_of(gateway, "alice", EVERYTHING)
    alice = Client(gateway, "alice")
    whole = [item["id"] for item in (await alice("GET", "tokens")).json()["items"]]
    seen: list[str] = []
    after = None
    while True:
        page = (await alice("GET", "tokens", params={"limit": 2, **({"after": after} if after else {})})).json()
        seen += [item["id"] for item in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert (seen, len(whole)) == (whole, 5)
    root = Client(gateway, "root")
    first = (await root("GET", "accounts?limit=3")).json()
    rest = (await root("GET", "accounts", params={"limit": 3, "after": first["next"]})).json()
    names = [item["name"] for page in (first, rest) for item in page["items"]]
    assert (names, rest["next"]) == (["alice", "bob", "carol", "root"], None)
    for path in ("tokens?after=!", "accounts?after=e30", "audit?after=e30", "jobs?after=W10"):
        assert (await root("GET", path)).status_code == 422


# --- indexes ----------------------------------------------------------------------------------------------------------


async def test_a_token_for_one_index_makes_no_other(gateway: TestGateway) -> None:
    """A new index is none that the token is for."""
    _, narrow = await token_of(gateway, "alice", Scope(SHUT, None, frozenset(Verb)))
    _, wide = await token_of(gateway, "alice", Scope(None, None, frozenset({Verb.CONFIGURE})))
    assert (await narrow("POST", "indexes", json={"name": "alice/x"})).status_code == 403
    assert (await wide("POST", "indexes", json={"name": "alice/x"})).status_code == 201
    assert (await wide("POST", "indexes", json={"name": "bob/x"})).status_code == 403
