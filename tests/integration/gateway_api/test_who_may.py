"""Every route of the gateway in `/api/v1`: who may use it, and what they see."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.integration.gateway_api.callers import EVERYTHING, PASSWORD, SHUT, Client, token_of
from tests.support.gateway import TestGateway

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
    _, late = await token_of(gateway, "alice", EVERYTHING, days=1)
    gateway.clock.advance(timedelta(days=2))
    for client, words in ((wrong, "mistyped"), (late, "expired")):
        answer = await client("POST", "tokens", json=_PAYLOADS["POST", "tokens"])
        assert (answer.status_code, words in answer.json()["detail"]) == (401, True), answer.text
