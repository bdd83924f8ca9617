"""The local provider of OpenID Connect: to whom it sends codes, who redeems them, and the way back to the UI."""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest

from shared.settings import Listen, Settings
from tests.integration.login.signing_in import PASSWORD, UI
from tests.support.browser import Browser
from tests.support.gateway import Servers, TestGateway, open_gateway

VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
AUTHORIZE = {
    "client_id": "countermark",
    "redirect_uri": f"{UI}/login/callback",
    "response_type": "code",
    "scope": "openid profile",
    "state": "some-state",
    "nonce": "some-nonce",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


async def _code(gateway: TestGateway, **changed: str) -> str:
    """Sign in at the provider as another client would, and return the code it sends back."""
    browser = gateway.browser()
    form = await browser.get(f"/provider/authorize?{urlencode({**AUTHORIZE, **changed})}")
    back = await browser.submit(form, {"account": "root", "password": PASSWORD}, follow=False)
    return parse_qs(urlsplit(back.headers["location"]).query)["code"][0]


async def _redeem(gateway: TestGateway, valid_code: str, **changed: str) -> httpx2.Response:
    fields = {
        "grant_type": "authorization_code",
        "code": valid_code,
        "client_id": "countermark",
        "redirect_uri": AUTHORIZE["redirect_uri"],
        "code_verifier": VERIFIER,
        **changed,
    }
    return await gateway.browser().client.post("/provider/token", data=fields)


# --- the provider ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"redirect_uri": "http://127.0.0.1:3142/login/callback/"},
        {"redirect_uri": "http://127.0.0.1:3142/login/callback?x=1"},
        {"redirect_uri": "http://localhost:3142/login/callback"},
        {"redirect_uri": "http://evil.test/login/callback"},
        {"redirect_uri": ""},
        {"client_id": "another"},
    ],
)
async def test_a_wrong_client_or_address_is_sent_nowhere(gateway: TestGateway, changed: dict[str, str]) -> None:
    """The redirect address is compared byte for byte, and an unknown one never gets an answer."""
    answer = await gateway.browser().get(f"/provider/authorize?{urlencode({**AUTHORIZE, **changed})}", follow=False)
    assert answer.status_code == 400
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": ""}, "invalid_request"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"nonce": ""}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"scope": "profile"}, "invalid_scope"),
    ],
)
async def test_a_request_without_pkce_is_refused(gateway: TestGateway, changed: dict[str, str], error: str) -> None:
    """Only the code flow with S256 exists; the client hears OAuth's word for what is wrong, and no code."""
    answer = await gateway.browser().get(f"/provider/authorize?{urlencode({**AUTHORIZE, **changed})}", follow=False)
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert answer.headers["location"].startswith(AUTHORIZE["redirect_uri"])
    assert (query["error"], query["state"]) == ([error], ["some-state"])
    assert "code" not in query


async def test_a_code_is_redeemed_once(gateway: TestGateway) -> None:
    """The first redemption gives an ID token, the second nothing."""
    code = await _code(gateway)
    first, second = await _redeem(gateway, code), await _redeem(gateway, code)
    assert (first.status_code, first.headers["cache-control"]) == (200, "no-store")
    assert first.json()["id_token"].count(".") == 2
    assert (second.status_code, second.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"code_verifier": "w" * 43}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_grant"),
        ({"code_verifier": CHALLENGE}, "invalid_grant"),
        ({"redirect_uri": "http://evil.test/"}, "invalid_grant"),
        ({"client_id": "another"}, "invalid_grant"),
        ({"code": "unknown"}, "invalid_grant"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ],
)
async def test_a_code_is_bound_to_its_request(gateway: TestGateway, changed: dict[str, str], error: str) -> None:
    """Another verifier, address or client gets no token."""
    answer = await _redeem(gateway, await _code(gateway), **changed)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert "id_token" not in answer.json()


async def test_a_wrong_verifier_burns_the_code(gateway: TestGateway) -> None:
    """Who has stolen a code has one guess."""
    code = await _code(gateway)
    assert (await _redeem(gateway, code, code_verifier="w" * 43)).status_code == 400
    assert (await _redeem(gateway, code)).status_code == 400


async def test_codes_live_for_a_minute(gateway: TestGateway) -> None:
    """Redis forgets a code by itself."""
    await _code(gateway)
    redis = gateway.resources.redis
    keys = [key async for key in redis.scan_iter("countermark:provider-code:*")]
    assert len(keys) == 1
    assert 0 < await redis.ttl(keys[0]) <= 60


async def test_the_provider_is_not_there_for_other_machines(servers: Servers) -> None:
    """Without an issuer and not on loopback nobody signs in: not by password, not by link."""
    settings = Settings(data=servers.folder, listen=Listen(host="0.0.0.0"), outside_ui_url=UI)
    async with open_gateway(servers, settings) as gateway:
        browser = gateway.browser()
        assert (await browser.get("/login")).status_code == 503
        for path in ("/welcome?code=x", "/provider/authorize", "/provider/jwks"):
            assert (await browser.get(path)).status_code == 404


# --- the way back ----------------------------------------------------------------------------------------------------


async def _callback(gateway: TestGateway, browser: Browser) -> str:
    """Begin a login in `browser`, sign in, and return the address to which the provider sends back."""
    start = await browser.get("/login", follow=False)
    form = await browser.get(start.headers["location"])
    back = await browser.submit(form, {"account": "root", "password": PASSWORD}, follow=False)
    return str(back.headers["location"])


async def test_an_answer_counts_once(gateway: TestGateway) -> None:
    """Going to the callback's address again does not sign in again."""
    browser = gateway.browser()
    back = await _callback(gateway, browser)
    assert (await browser.get(back)).url.path == "/"
    assert (await browser.get(back)).status_code == 403


async def test_an_answer_in_another_browser_counts_for_nothing(gateway: TestGateway) -> None:
    """Nobody can be signed in as somebody else by a link: the login belongs to the browser that began it."""
    back, victim = await _callback(gateway, gateway.browser()), gateway.browser()
    assert (await victim.get(back)).status_code == 403
    await victim.get("/login", follow=False)
    assert (await victim.get(back)).status_code == 403
    assert "countermark_session" not in victim.cookie_names()


@pytest.mark.parametrize(
    ("name", "value"), [("state", "x"), ("iss", "http://evil.test"), ("code", "unknown"), ("error", "access_denied")]
)
async def test_a_changed_answer_counts_for_nothing(gateway: TestGateway, name: str, value: str) -> None:
    """State, issuer and code are those of this login, or nobody is signed in."""
    browser = gateway.browser()
    url = urlsplit(await _callback(gateway, browser))
    query = {key: values[0] for key, values in parse_qs(url.query).items()}
    answer = await browser.get(f"{url.path}?{urlencode({**query, name: value})}")
    assert answer.status_code == 403
    assert "countermark_session" not in browser.cookie_names()
