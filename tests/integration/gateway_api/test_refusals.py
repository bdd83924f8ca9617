"""Requests that the API refuses whoever asks: wrong payloads, forms of other sites, too many of them."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.limit_settings import RateLimits
from shared.settings import Settings
from tests.integration.gateway_api.callers import EVERYTHING, STABLE, Client, token_of
from tests.support.gateway import Servers, TestGateway, open_gateway

# --- accounts ---------------------------------------------------------------------------------------------------------


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
        _, one = await token_of(gateway, "root", EVERYTHING)
        _, another = await token_of(gateway, "root", EVERYTHING)
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
    _, token = await token_of(gateway, "carol", EVERYTHING)
    guesser = Client(gateway, "carol", "wrong")
    assert {(await guesser("GET", "account")).status_code for _ in range(10)} == {401}
    late = await Client(gateway, "carol")("GET", "account")
    assert (late.status_code, 0 < int(late.headers["retry-after"]) <= 300) == (429, True)
    assert (await guesser("GET", "indexes")).status_code == 200
    assert (await token("GET", "account")).status_code == 200
    assert (await Client(gateway, "bob")("GET", "account")).status_code == 200
