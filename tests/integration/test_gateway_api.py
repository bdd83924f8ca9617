"""The gateway's routes of `/api/v1` and the intake of leaks, on a real catalogue: who may do what, and what is kept."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, SECP384R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import IndexName
from gateway.accounts import NewIndex, NewToken
from gateway.leaks import leak_keys
from shared.auth.principal import Scope, Verb
from shared.catalogue.tables import Outbox
from shared.settings import Leaks, RateLimits, Settings
from tests.support.gateway import Servers, TestGateway, open_gateway

STABLE = IndexName("root", "stable")
SHUT = IndexName("alice", "shut")
PASSWORD = "correct horse battery"
EVERYTHING = Scope(None, None, frozenset(Verb))


class Client:
    """Somebody who calls the API."""

    def __init__(self, gateway: TestGateway, user: str | None = None, secret: str = PASSWORD) -> None:
        auth = None if user is None else httpx2.BasicAuth(user, secret)
        transport = httpx2.ASGITransport(app=gateway.apps.api, client=("192.0.2.1", 1))
        self._http = httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:3141", auth=auth)

    async def __call__(self, method: str, path: str, **how: Any) -> httpx2.Response:
        """Ask; a path without a leading slash is below `/api/v1`."""
        return await self._http.request(method, path if path.startswith("/") else f"/api/v1/{path}", **how)


@pytest.fixture
def key() -> Any:
    """The key of somebody who tells of leaks."""
    return generate_private_key(SECP256R1())


def _pem(key: Any) -> str:
    return str(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


@pytest.fixture
async def gateway(
    engine: AsyncEngine, valkey_url: str, database: str, tmp_path: Path, key: Any
) -> AsyncIterator[TestGateway]:
    """A gateway with an administrator, and alice, who owns a private index that bob may read."""
    settings = Settings(data=tmp_path, leaks=Leaks(keys={"k1": _pem(key)}))
    async with open_gateway(Servers(engine, valkey_url, database, tmp_path), settings) as gateway:
        await gateway.accounts.init_deployment(STABLE)
        await gateway.accounts.set_password("root", PASSWORD)
        for name in ("alice", "bob", "carol"):
            await gateway.accounts.create_account(name, password=PASSWORD)
        await gateway.accounts.create_index(NewIndex(SHUT, "private"))
        await gateway.resources.directory.refresh()
        await Client(gateway, "alice")("PUT", f"indexes/{SHUT}/grants", json={"subject": "bob", "verbs": ["read"]})
        yield gateway


async def _token(gateway: TestGateway, account: str, *scopes: Scope, days: float = 30) -> tuple[UUID, Client]:
    minted = await gateway.accounts.create_token(NewToken(account, scopes, timedelta(days=days), "for a test"))
    await gateway.resources.directory.refresh()
    return minted.id, Client(gateway, "__token__", minted.secret)


async def _actions(gateway: TestGateway) -> list[tuple[str, str, str]]:
    entries = (await Client(gateway, "root")("GET", "audit?limit=200")).json()["items"]
    return [(entry["actor"], entry["action"], entry["subject"]) for entry in entries]


async def test_the_audit_says_from_which_address_a_person_asked(gateway: TestGateway) -> None:
    """What came by a request has its address; what the operator's command or the start did has none."""
    entries = (await Client(gateway, "root")("GET", "audit?limit=200")).json()["items"]
    assert {entry["source"] for entry in entries if entry["action"] == "grant.set"} == {"192.0.2.1"}
    assert {entry["source"] for entry in entries if entry["action"] == "account.create"} == {None}


# --- who may ask at all -----------------------------------------------------------------------------------------------

_ID = "0198c0de-0000-7000-8000-000000000000"
_EXEMPTION = "0198c0de-0000-7000-8000-000000000001"
_PUBLISHER = "0198c0de-0000-7000-8000-000000000002"
_PAYLOADS: dict[tuple[str, str], Any] = {
    ("POST", "tokens"): {"label": "x", "scopes": [{"index": str(SHUT), "verbs": ["read"]}]},
    ("POST", "accounts"): {"name": "dave"},
    ("PUT", "accounts/alice/password"): {"password": PASSWORD},
    ("POST", "indexes"): {"name": "alice/more"},
    ("PATCH", f"indexes/{SHUT}"): {"description": "x"},
    ("PUT", f"indexes/{SHUT}/grants"): {"subject": "carol", "verbs": ["read"]},
    ("PATCH", f"indexes/{SHUT}/policy"): {"min_age": "7d"},
    ("POST", f"indexes/{SHUT}/exemptions"): {"project": "demo", "reason": "a fix"},
    ("POST", f"indexes/{SHUT}/publishers"): {
        "project": "demo",
        "kind": "github",
        "repository": "acme/demo",
        "workflow": "release.yml",
    },
}

_WHO: list[tuple[str, str, dict[str, int]]] = [
    # method, path, and the status for: nobody, a reader of the index, a stranger, its owner, an administrator
    ("GET", "account", {"nobody": 401, "bob": 200, "carol": 200, "alice": 200, "root": 200}),
    ("GET", "tokens", {"nobody": 401, "bob": 200, "carol": 200, "alice": 200, "root": 200}),
    ("GET", "tokens?account=alice", {"nobody": 401, "bob": 403, "carol": 403, "alice": 200, "root": 200}),
    ("GET", "tokens?account=*", {"nobody": 401, "bob": 403, "carol": 403, "alice": 403, "root": 200}),
    ("POST", "tokens", {"nobody": 401, "bob": 201, "carol": 404, "alice": 201}),
    ("DELETE", f"tokens/{_ID}", {"nobody": 401, "bob": 404, "carol": 404, "alice": 404, "root": 404}),
    ("GET", "accounts", {"nobody": 401, "bob": 403, "carol": 403, "alice": 403, "root": 200}),
    ("POST", "accounts", {"nobody": 401, "bob": 403, "carol": 403, "alice": 403, "root": 201}),
    ("PUT", "accounts/alice/password", {"nobody": 401, "bob": 403, "carol": 403, "alice": 204, "root": 204}),
    ("GET", "indexes", {"nobody": 200, "bob": 200, "carol": 200, "alice": 200, "root": 200}),
    ("POST", "indexes", {"nobody": 401, "bob": 403, "carol": 403, "alice": 201}),
    ("GET", f"indexes/{SHUT}", {"nobody": 401, "bob": 200, "carol": 403, "alice": 200, "root": 403}),
    ("PATCH", f"indexes/{SHUT}", {"nobody": 401, "bob": 403, "carol": 403, "alice": 200, "root": 403}),
    ("GET", f"indexes/{SHUT}/policy", {"nobody": 401, "bob": 200, "carol": 403, "alice": 200, "root": 403}),
    ("PATCH", f"indexes/{SHUT}/policy", {"nobody": 401, "bob": 403, "carol": 403, "alice": 200, "root": 403}),
    ("GET", f"indexes/{SHUT}/exemptions", {"nobody": 401, "bob": 403, "carol": 403, "alice": 200, "root": 403}),
    ("POST", f"indexes/{SHUT}/exemptions", {"nobody": 401, "bob": 403, "carol": 403, "alice": 201, "root": 403}),
    ("DELETE", f"indexes/{SHUT}/exemptions/{_EXEMPTION}", {"nobody": 401, "bob": 403, "alice": 404, "root": 403}),
    ("GET", f"indexes/{SHUT}/publishers", {"nobody": 401, "bob": 403, "carol": 403, "alice": 200, "root": 403}),
    ("POST", f"indexes/{SHUT}/publishers", {"nobody": 401, "bob": 403, "carol": 403, "alice": 201, "root": 403}),
    ("DELETE", f"indexes/{SHUT}/publishers/{_PUBLISHER}", {"nobody": 401, "bob": 403, "alice": 404, "root": 403}),
    ("GET", f"indexes/{SHUT}/grants", {"nobody": 401, "bob": 403, "carol": 403, "alice": 200, "root": 403}),
    ("PUT", f"indexes/{SHUT}/grants", {"nobody": 401, "bob": 403, "carol": 403, "alice": 200, "root": 403}),
    ("DELETE", f"indexes/{SHUT}/grants?subject=bob", {"nobody": 401, "bob": 403, "carol": 403, "root": 403}),
    ("GET", "jobs", {"nobody": 401, "bob": 403, "carol": 403, "alice": 403, "root": 200}),
    ("POST", "jobs/1/retry", {"nobody": 401, "bob": 403, "carol": 403, "alice": 403, "root": 404}),
    ("GET", "audit", {"nobody": 401, "bob": 403, "carol": 403, "alice": 403, "root": 200}),
    ("DELETE", "accounts/carol", {"nobody": 401, "bob": 403, "carol": 403, "alice": 403, "root": 204}),
]


async def test_every_route_knows_who_may_use_it(gateway: TestGateway) -> None:
    """Nobody, a reader, a stranger, the owner and an administrator, on every route that the gateway has."""
    clients = {name: Client(gateway, name) for name in ("bob", "carol", "alice", "root")}
    clients["nobody"] = Client(gateway)
    for method, path, expected in _WHO:
        for who, status in expected.items():
            answer = await clients[who](method, path, json=_PAYLOADS.get((method, path.partition("?")[0])))
            assert answer.status_code == status, (method, path, who, answer.text)
            if status >= 400:
                assert answer.headers["content-type"] == "application/problem+json"
            if status == 401:
                assert answer.headers["www-authenticate"].startswith("Basic ")


async def test_no_route_is_left_out_of_the_table(gateway: TestGateway) -> None:
    """Whoever adds a route says in the table above who may use it."""
    document = (await Client(gateway)("GET", "openapi.json")).json()
    described = {(verb.upper(), path) for path, verbs in document["paths"].items() for verb in verbs}
    tested = {(method, path.partition("?")[0]) for method, path, _ in _WHO}
    names = {str(SHUT): "{owner}/{index}", _ID: "{token_id}", _EXEMPTION: "{exemption}", "jobs/1/": "jobs/{job}/"}
    names[_PUBLISHER] = "{publisher}"
    names |= {"accounts/carol": "accounts/{name}", "accounts/alice": "accounts/{name}"}
    found = set()
    for method, path in tested:
        for name, parameter in names.items():
            path = path.replace(name, parameter)
        found.add((method, f"/api/v1/{path}"))
    assert {(method, path) for method, path in described if path.startswith("/api/v1/")} == found


async def test_wrong_credentials_read_as_nobody_and_change_nothing(gateway: TestGateway) -> None:
    """What is open stays open; a change with a wrong or expired token is 401 with words."""
    wrong = Client(gateway, "__token__", "cmk_1nonsense")
    listed = (await wrong("GET", "indexes")).json()["items"]
    assert [item["name"] for item in listed] == ["root/stable"]
    _, late = await _token(gateway, "alice", EVERYTHING, days=1)
    gateway.clock.advance(timedelta(days=2))
    for client, words in ((wrong, "mistyped"), (late, "expired")):
        answer = await client("POST", "tokens", json=_PAYLOADS["POST", "tokens"])
        assert (answer.status_code, words in answer.json()["detail"]) == (401, True), answer.text


# --- tokens -----------------------------------------------------------------------------------------------------------


async def test_a_token_makes_none_that_may_more_or_lives_longer(gateway: TestGateway) -> None:
    """Scope by scope and verb by verb: neither another index, all projects, another verb nor a later end."""
    scope = Scope(SHUT, None, frozenset({Verb.READ, Verb.UPLOAD}))
    _, narrow = await _token(gateway, "alice", Scope(SHUT, None, frozenset({Verb.READ})), days=10)
    _, upload = await _token(gateway, "alice", scope, days=10)

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
    _, one_project = await _token(gateway, "alice", Scope(SHUT, "demo", frozenset({Verb.UPLOAD})))  # type: ignore[arg-type]
    assert await status(one_project, verbs=["upload"], project="demo") == 201
    assert await status(one_project, verbs=["upload"]) == 403


async def test_a_token_gives_away_no_other_credentials(gateway: TestGateway) -> None:
    """Neither a password nor another account's token, not even an administrator's one, unless it may do everything."""
    configure = frozenset({Verb.CONFIGURE, Verb.READ})
    _, limited = await _token(gateway, "root", Scope(STABLE, None, configure))
    _, everything = await _token(gateway, "root", EVERYTHING)
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
    token_id, client = await _token(gateway, "alice", EVERYTHING, days=1)
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
    token_id, client = await _token(gateway, "alice", EVERYTHING)
    _, narrow = await _token(gateway, "alice", Scope(SHUT, None, frozenset({Verb.READ})))
    path = f"tokens/{token_id}"
    assert (await Client(gateway, "bob")("DELETE", path)).status_code == 404
    assert (await narrow("DELETE", path)).status_code == 403
    assert (await client("GET", "account")).status_code == 200
    assert (await Client(gateway, "alice")("DELETE", path)).status_code == 204
    assert (await client("GET", "account")).status_code == 401
    assert (await Client(gateway, "root")("DELETE", path)).status_code == 204
    assert [entry for entry in await _actions(gateway) if entry[1] == "token.revoke"] == [
        ("alice", "token.revoke", str(token_id))
    ]
    own_id, own = await _token(gateway, "bob", Scope(SHUT, None, frozenset({Verb.READ})))
    assert (await own("DELETE", f"tokens/{own_id}")).status_code == 204


async def test_lists_are_paged_without_gaps(gateway: TestGateway) -> None:
    """Each page begins after the one before; a made-up cursor is 422."""
    for _ in range(5):
        await _token(gateway, "alice", EVERYTHING)
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


# --- accounts ---------------------------------------------------------------------------------------------------------


async def test_a_disabled_account_is_locked_out_with_its_tokens(gateway: TestGateway) -> None:
    """Its password and tokens are useless at once, its name stays taken; the default index's owner stays."""
    _, client = await _token(gateway, "bob", EVERYTHING)
    root = Client(gateway, "root")
    for _ in range(2):
        assert (await root("DELETE", "accounts/bob")).status_code == 204
    assert (await client("GET", "account")).status_code == 401
    assert (await Client(gateway, "bob")("GET", "account")).status_code == 401
    assert (await root("POST", "accounts", json={"name": "bob"})).status_code == 409
    assert (await root("DELETE", "accounts/root")).status_code == 409
    assert (await root("DELETE", "accounts/nobody")).status_code == 404
    assert (await _actions(gateway)).count(("root", "account.disable", "bob")) == 1


async def test_wrong_payloads_are_refused_with_words(gateway: TestGateway) -> None:
    """Unknown keys, types, names and sizes: 422 for the form of a payload, 400 for a value, 413 for its size."""
    root = Client(gateway, "root")
    scopes = [{"index": str(STABLE), "verbs": ["read"]}]
    for path, payload, status in [
        ("accounts", {"name": "x", "admin": True}, 422),
        ("accounts", {"name": "+x"}, 400),
        ("accounts", {"name": "x", "password": "short"}, 400),
        ("indexes", {"name": "no-slash"}, 400),
        ("indexes", {"name": "root/x", "visibility": "secret"}, 422),
        ("indexes", {"name": "root/x", "description": "two\nlines"}, 400),
        ("indexes", {"name": "root/x\0"}, 400),
        ("accounts", {"name": "x\0"}, 400),
        ("accounts", {"name": "x", "email": "a@b\0"}, 400),
        ("accounts", {"name": "x", "email": "a@b\n"}, 400),
        ("tokens", {"label": "x", "scopes": scopes, "account": "bob\0"}, 404),
        ("tokens", {"label": "x\0", "scopes": scopes}, 400),
        ("tokens", {"label": "x", "scopes": []}, 422),
        ("tokens", {"label": "x", "scopes": scopes * 51}, 422),
        ("tokens", {"label": "x", "scopes": scopes, "days": 367}, 422),
        ("tokens", {"label": "\n", "scopes": scopes}, 400),
        ("tokens", {"label": "x", "scopes": [{"index": "root/stable", "verbs": ["fly"]}]}, 422),
        ("tokens", {"label": "x" * 2_000_000, "scopes": scopes}, 413),
    ]:
        answer = await root("POST", path, json=payload)
        assert (answer.status_code, bool(answer.json()["detail"])) == (status, True), (path, answer.text[:200])
    assert (await root("DELETE", "accounts/bob%00")).status_code == 404
    assert (await root("PUT", "accounts/bob%00/password", json={"password": "long enough words"})).status_code == 404
    assert (await root("GET", "tokens?account=bob%00")).status_code == 404
    assert (await root("GET", f"indexes/{STABLE}/grants")).status_code == 200
    assert (await root("DELETE", f"indexes/{STABLE}/grants?subject=bob%00")).status_code == 400
    form = await root("POST", "accounts", data={"name": "x"})
    assert form.status_code == 422


async def test_pages_of_other_sites_change_nothing(gateway: TestGateway) -> None:
    """A browser that knows a password for this host is not used by another site's page."""
    root = Client(gateway, "root")
    for origin, status in (("https://evil.test", 403), ("null", 403), ("http://127.0.0.1:3141", 404)):
        assert (await root("POST", "jobs/7/retry", headers={"origin": origin})).status_code == status


# --- indexes ----------------------------------------------------------------------------------------------------------


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
    about = [action for actor, action, subject in await _actions(gateway) if subject == "alice/new"]
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


async def test_a_token_for_one_index_makes_no_other(gateway: TestGateway) -> None:
    """A new index is none that the token is for."""
    _, narrow = await _token(gateway, "alice", Scope(SHUT, None, frozenset(Verb)))
    _, wide = await _token(gateway, "alice", Scope(None, None, frozenset({Verb.CONFIGURE})))
    assert (await narrow("POST", "indexes", json={"name": "alice/x"})).status_code == 403
    assert (await wide("POST", "indexes", json={"name": "alice/x"})).status_code == 201
    assert (await wide("POST", "indexes", json={"name": "bob/x"})).status_code == 403


# --- operations -------------------------------------------------------------------------------------------------------


async def test_a_job_that_was_given_up_is_run_again(gateway: TestGateway) -> None:
    """It moves from the dead to the open ones; a job that was not given up is 404."""
    root = Client(gateway, "root")
    jobs = (await root("GET", "jobs")).json()["items"]
    async with gateway.resources.engine.begin() as connection:
        dead = update(Outbox).where(Outbox.id == jobs[0]["id"])
        await connection.execute(dead.values(dead_at=gateway.clock.now(), attempts=9, last_error="it failed"))
    (given_up,) = (await root("GET", "jobs?state=dead")).json()["items"]
    assert (given_up["id"], given_up["last_error"], given_up["state"]) == (jobs[0]["id"], "it failed", "dead")
    again = await root("POST", f"jobs/{given_up['id']}/retry")
    assert (again.json()["state"], again.json()["attempts"]) == ("open", 0)
    assert (await root("POST", f"jobs/{given_up['id']}/retry")).status_code == 404
    assert (await root("GET", "jobs?state=dead")).json()["items"] == []


# --- leaks ------------------------------------------------------------------------------------------------------------


def _told(key: Any, leaks: Any, **changed: str) -> dict[str, Any]:
    body = leaks if isinstance(leaks, bytes) else orjson.dumps(leaks)
    signature = base64.b64encode(key.sign(body, ECDSA(SHA256()))).decode()
    headers = {"github-public-key-identifier": "k1", "github-public-key-signature": signature, **changed}
    return {"content": body, "headers": headers}


async def test_a_leaked_token_is_revoked(gateway: TestGateway, key: Any) -> None:
    """A signed list makes our tokens useless, once; texts that are none of ours are passed over."""
    minted = await gateway.accounts.create_token(NewToken("alice", (EVERYTHING,), timedelta(days=1), "leaky"))
    await gateway.resources.directory.refresh()
    leaks = [
        {"token": f"pypi-{minted.secret}", "type": "countermark", "url": "https://forge.test/blob/1"},
        {"token": "cmk_1nonsense", "type": "countermark", "url": "https://forge.test/blob/2"},
        {"token": "something else", "type": "x"},
    ]
    stranger = Client(gateway)
    for _ in range(2):
        answer = await stranger("POST", "/_/secrets/disclose-token", **_told(key, leaks))
        assert (answer.status_code, answer.content) == (204, b"")
    assert (await Client(gateway, "x", minted.secret)("GET", "account")).status_code == 401
    entries = (await Client(gateway, "root")("GET", "audit")).json()["items"]
    (entry,) = [entry for entry in entries if entry["action"] == "token.revoke-leaked"]
    assert (entry["actor"], entry["subject"]) == ("leak-intake:k1", str(minted.id))
    assert entry["detail"] == {"account": "alice", "url": "https://forge.test/blob/1"}


async def test_a_list_that_is_not_signed_so_changes_nothing(gateway: TestGateway, key: Any) -> None:
    """Another key, key id, body or signature is 403; a signed body that is no list is 422; too much is 413."""
    stranger = Client(gateway)
    minted = await gateway.accounts.create_token(NewToken("alice", (EVERYTHING,), timedelta(days=1), "kept"))
    await gateway.resources.directory.refresh()
    leaks = [{"token": minted.secret, "type": "countermark", "url": "u"}]
    another = generate_private_key(SECP256R1())
    altered = {**_told(key, leaks), "content": orjson.dumps([*leaks, *leaks])}
    for told, status in [
        (_told(another, leaks), 403),
        (_told(key, leaks, **{"github-public-key-identifier": "k2"}), 403),
        (_told(key, leaks, **{"github-public-key-signature": "bm8="}), 403),
        (_told(key, leaks, **{"github-public-key-signature": "not base64"}), 403),
        ({"content": orjson.dumps(leaks)}, 403),
        (altered, 403),
        (_told(key, b"{"), 422),
        (_told(key, {"token": minted.secret}), 422),
        (_told(key, [minted.secret]), 422),
        (_told(key, [{"token": 7}]), 422),
        (_told(key, leaks * 1001), 422),
        (_told(key, b" " * 1_100_000), 413),
    ]:
        assert (await stranger("POST", "/_/secrets/disclose-token", **told)).status_code == status
    assert (await Client(gateway, "x", minted.secret)("GET", "account")).status_code == 200


async def test_without_keys_there_is_no_intake(
    engine: AsyncEngine, valkey_url: str, database: str, tmp_path: Path, key: Any
) -> None:
    """Nobody may tell of leaks unless the operator names their key; a wrong key stops the start with its name."""
    async with open_gateway(Servers(engine, valkey_url, database, tmp_path)) as gateway:
        answer = await Client(gateway)("POST", "/_/secrets/disclose-token", **_told(key, []))
        assert answer.status_code == 404
    for pem in ("no key", _pem(generate_private_key(SECP384R1()))):
        with pytest.raises(ValueError, match=r"leaks\.keys: 'k9'"):
            leak_keys(Leaks(keys={"k9": pem}))


# --- rate limits ------------------------------------------------------------------------------------------------------


async def test_writes_are_limited_and_reads_are_not(
    engine: AsyncEngine, valkey_url: str, database: str, tmp_path: Path
) -> None:
    """Per token and per address, with the time to wait: a problem for programs, plain text for upload tools.

    Who asks for advisories reads, though by POST.
    """
    settings = Settings(data=tmp_path, limits=RateLimits(writes_by_token=2, writes_by_address=5))
    async with open_gateway(Servers(engine, valkey_url, database, tmp_path), settings) as gateway:
        await gateway.accounts.init_deployment(STABLE)
        _, one = await _token(gateway, "root", EVERYTHING)
        _, another = await _token(gateway, "root", EVERYTHING)
        statuses = [(await one("POST", "jobs/9/retry")).status_code for _ in range(3)]
        assert statuses == [404, 404, 429]
        refused = await another("POST", "jobs/9/retry"), await another("POST", "jobs/9/retry")
        assert [answer.status_code for answer in refused] == [404, 404]
        by_address = await Client(gateway)("POST", "jobs/9/retry")
        assert (by_address.status_code, by_address.json()["type"]) == (429, "urn:countermark:problem:too-many")
        assert 0 < int(by_address.headers["retry-after"]) <= 60
        form = await one("POST", "/root/stable/", files={"content": b"x"})
        assert (form.status_code, form.headers["content-type"]) == (429, "text/plain; charset=utf-8")
        assert "retry-after" in form.headers
        assert {(await one("GET", "account")).status_code for _ in range(8)} == {200}
        asked = await one("POST", "/v1/query", json={})
        assert (asked.status_code, "index service does not run" in asked.json()["detail"]) == (503, True)


async def test_guessing_a_password_over_basic_is_limited(gateway: TestGateway) -> None:
    """After too many wrong passwords the right one waits too, while tokens of the account go on."""
    _, token = await _token(gateway, "carol", EVERYTHING)
    guesser = Client(gateway, "carol", "wrong")
    assert {(await guesser("GET", "account")).status_code for _ in range(10)} == {401}
    late = await Client(gateway, "carol")("GET", "account")
    assert (late.status_code, 0 < int(late.headers["retry-after"]) <= 300) == (429, True)
    assert (await guesser("GET", "indexes")).status_code == 200
    assert (await token("GET", "account")).status_code == 200
    assert (await Client(gateway, "bob")("GET", "account")).status_code == 200
