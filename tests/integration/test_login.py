"""People sign in at the UI: by a one-time link, by a password, never by anything else."""

from __future__ import annotations

import base64
import hashlib
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette

from countermark.core.names import IndexName
from gateway.accounts import owner_link_url
from gateway.limits import LINK_BY_ADDRESS, LOGIN_BY_ADDRESS, PASSWORD_BY_ACCOUNT, PASSWORD_BY_ADDRESS, Limits
from gateway.local_provider import LocalProvider, ProviderParts
from gateway.sessions import ABSOLUTE, IDLE
from gateway.templates import Pages
from shared.catalogue.tables import Account
from shared.settings import Listen, Oidc, RateLimits, Settings
from tests.support.browser import Browser
from tests.support.gateway import Servers, TestGateway, open_gateway
from tests.support.serving import served

UI = "http://127.0.0.1:3142"
PASSWORD = "correct horse battery"
STABLE = IndexName("root", "stable")
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


@pytest.fixture
def servers(engine: AsyncEngine, database: str, valkey_url: str, tmp_path: Path) -> Servers:
    """Real Postgres and Valkey."""
    return Servers(engine, valkey_url, database, tmp_path)


@pytest.fixture
async def gateway(servers: Servers) -> AsyncIterator[TestGateway]:
    """A gateway with the owner `root`, who has a password, and the index root/stable."""
    async with open_gateway(servers) as gateway:
        await gateway.accounts.init_deployment(STABLE)
        await gateway.accounts.set_password("root", PASSWORD)
        await gateway.resources.directory.refresh()
        yield gateway


async def _link(gateway: TestGateway) -> str:
    return owner_link_url("", await gateway.accounts.create_owner_link("root"))


async def _sign_in(gateway: TestGateway, browser: Browser, **fields: str) -> httpx2.Response:
    return await browser.submit(await browser.get("/"), {"account": "root", "password": PASSWORD, **fields})


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


# --- the owner link --------------------------------------------------------------------------------------------------


async def test_the_link_signs_in_once(gateway: TestGateway) -> None:
    """Opening the link shows a page, its button signs in, and the link is then dead for everybody."""
    link, owner, stranger = await _link(gateway), gateway.browser(), gateway.browser()
    page = await owner.get(link)
    assert "Welcome, root" in page.text
    home = await owner.submit(page)
    assert (home.status_code, home.url.path) == (200, "/")
    assert "root/stable" in home.text
    again = await stranger.get(link)
    assert again.status_code == 410
    assert (await stranger.get("/", follow=False)).headers["location"] == "/login"


async def test_looking_at_a_link_does_not_use_it_up(gateway: TestGateway) -> None:
    """Programs that preview links only ask for the page."""
    link = await _link(gateway)
    for _ in range(3):
        assert (await gateway.browser().get(link)).status_code == 200
    owner = gateway.browser()
    assert (await owner.submit(await owner.get(link))).url.path == "/"


async def test_of_two_who_press_the_button_one_gets_in(gateway: TestGateway) -> None:
    """A link is used up by compare-and-set."""
    link, first, second = await _link(gateway), gateway.browser(), gateway.browser()
    pages = [await first.get(link), await second.get(link)]
    assert (await first.submit(pages[0])).url.path == "/"
    late = await second.submit(pages[1])
    assert late.status_code == 410
    assert "countermark_session" not in second.cookie_names()


async def test_the_link_can_set_a_password(gateway: TestGateway) -> None:
    """The owner may choose a password, which then signs in; it must be typed twice and be long enough."""
    link, owner = await _link(gateway), gateway.browser()
    page = await owner.get(link)
    short = await owner.submit(page, {"password": "short", "again": "short"})
    typo = await owner.submit(page, {"password": "a new password", "again": "a new passwort"})
    assert (short.status_code, typo.status_code) == (400, 400)
    done = await owner.submit(page, {"password": "a new password", "again": "a new password"})
    assert done.url.path == "/"
    assert (await _sign_in(gateway, gateway.browser(), password="a new password")).url.path == "/"
    assert (await _sign_in(gateway, gateway.browser())).status_code == 403


async def test_a_link_expires_and_goes_with_its_account(gateway: TestGateway) -> None:
    """A link that is too old, or whose account was disabled, is as dead as a used one."""
    link = await _link(gateway)
    gateway.clock.advance(timedelta(hours=24))
    assert (await gateway.browser().get(link)).status_code == 410
    fresh = await _link(gateway)
    async with gateway.resources.engine.begin() as connection:
        await connection.execute(update(Account).values(disabled_at=gateway.clock.now()))
    assert (await gateway.browser().get(fresh)).status_code == 410


async def test_guessing_links_is_limited(gateway: TestGateway) -> None:
    """An address that tries many links is told to wait."""
    browser = gateway.browser()
    answers = [await browser.get("/welcome?code=guess") for _ in range(LINK_BY_ADDRESS.most(RateLimits()) + 1)]
    assert [answer.status_code for answer in answers] == [410] * LINK_BY_ADDRESS.most(RateLimits()) + [429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 300


# --- the password ----------------------------------------------------------------------------------------------------


async def test_the_password_signs_in(gateway: TestGateway) -> None:
    """Account and password lead through the whole OpenID flow to the start page."""
    browser = gateway.browser()
    home = await _sign_in(gateway, browser)
    assert (home.status_code, home.url.path) == (200, "/")
    assert "root/stable" in home.text
    assert browser.cookie_names() >= {"countermark_session"}


@pytest.mark.parametrize("fields", [{"password": "wrong"}, {"account": "nobody"}, {"account": ""}, {"password": ""}])
async def test_a_wrong_password_says_one_thing(gateway: TestGateway, fields: dict[str, str]) -> None:
    """An unknown account and a wrong password cannot be told apart."""
    browser = gateway.browser()
    page = await _sign_in(gateway, browser, **fields)
    assert page.status_code == 403
    assert "Wrong account or password." in page.text
    assert "countermark_session" not in browser.cookie_names()


async def test_an_account_without_a_password_has_none(gateway: TestGateway) -> None:
    """No password is no password, not an empty one, and not the one the provider compares with for its timing."""
    await gateway.accounts.create_account("bare")
    await gateway.resources.directory.refresh()
    for password in ("", "no account has this password"):
        assert (await _sign_in(gateway, gateway.browser(), account="bare", password=password)).status_code == 403


async def test_tries_for_one_account_are_limited(gateway: TestGateway) -> None:
    """After too many wrong passwords the right one waits too, from every address."""
    for number in range(PASSWORD_BY_ACCOUNT.most(RateLimits())):
        browser = gateway.browser(address=f"192.0.2.{number}")
        assert (await _sign_in(gateway, browser, password="wrong")).status_code == 403
    late = await _sign_in(gateway, gateway.browser(address="192.0.2.99"))
    assert late.status_code == 429
    assert 0 < int(late.headers["retry-after"]) <= 300
    assert "Wait" in late.text


async def test_tries_from_one_address_are_limited(gateway: TestGateway) -> None:
    """Trying one password on many accounts is limited as well; another address is not affected."""
    browser = gateway.browser(address="192.0.2.1")
    page = await browser.get("/")
    for number in range(PASSWORD_BY_ADDRESS.most(RateLimits())):
        assert (await browser.submit(page, {"account": f"a{number}", "password": "x"})).status_code == 403
    assert (await browser.submit(page, {"account": "root", "password": PASSWORD})).status_code == 429
    assert (await _sign_in(gateway, gateway.browser(address="192.0.2.2"))).url.path == "/"


async def test_a_success_forgives_the_accounts_tries(gateway: TestGateway) -> None:
    """Someone who mistypes now and then is not locked out by the sum of it."""
    for _ in range(2):
        for number in range(PASSWORD_BY_ACCOUNT.most(RateLimits()) - 1):
            await _sign_in(gateway, gateway.browser(address=f"192.0.2.{number}"), password="wrong")
        assert (await _sign_in(gateway, gateway.browser(address="192.0.2.200"))).url.path == "/"


async def test_beginning_logins_is_limited(gateway: TestGateway) -> None:
    """Strangers cannot fill Redis with logins they never finish."""
    browser = gateway.browser()
    answers = [await browser.get("/login", follow=False) for _ in range(LOGIN_BY_ADDRESS.most(RateLimits()) + 1)]
    assert [answer.status_code for answer in answers[-2:]] == [303, 429]


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


# --- the session -----------------------------------------------------------------------------------------------------


async def test_a_session_ends_after_an_hour_without_use(gateway: TestGateway) -> None:
    """Use keeps it alive, an hour without ends it."""
    browser = gateway.browser()
    await _sign_in(gateway, browser)
    for _ in range(3):
        gateway.clock.advance(IDLE - timedelta(seconds=1))
        assert (await browser.get("/", follow=False)).status_code == 200
    gateway.clock.advance(IDLE)
    assert (await browser.get("/", follow=False)).status_code == 303


async def test_a_session_ends_after_twelve_hours(gateway: TestGateway) -> None:
    """However much it is used."""
    browser = gateway.browser()
    await _sign_in(gateway, browser)
    began = gateway.clock.now()
    while gateway.clock.now() < began + ABSOLUTE - timedelta(minutes=30):
        assert (await browser.get("/", follow=False)).status_code == 200
        gateway.clock.advance(timedelta(minutes=30))
    gateway.clock.advance(timedelta(minutes=30))
    assert (await browser.get("/", follow=False)).status_code == 303


async def test_redis_does_not_hold_the_cookie(gateway: TestGateway) -> None:
    """Who can read Redis cannot take a session over: it holds the sha256 of the id only, with a time to live."""
    browser = gateway.browser()
    await _sign_in(gateway, browser)
    redis = gateway.resources.redis
    session_id = browser.client.cookies["countermark_session"]
    keys = [key async for key in redis.scan_iter("countermark:session:*")]
    assert keys == [b"countermark:session:" + hashlib.sha256(session_id.encode()).hexdigest().encode()]
    stored = await redis.get(keys[0])
    assert stored is not None
    assert session_id.encode() not in stored
    assert b"cmk_" not in stored
    assert 0 < await redis.ttl(keys[0]) <= IDLE.total_seconds()


async def test_a_disabled_account_and_a_new_password_end_sessions(gateway: TestGateway) -> None:
    """Taking someone's access away works at once, not when the session ends."""
    browser = gateway.browser()
    await _sign_in(gateway, browser)
    await gateway.accounts.set_password("root", "another password")
    await gateway.resources.directory.refresh()
    assert (await browser.get("/", follow=False)).status_code == 303
    await _sign_in(gateway, browser, password="another password")
    assert (await browser.get("/", follow=False)).status_code == 200
    async with gateway.resources.engine.begin() as connection:
        await connection.execute(update(Account).values(disabled_at=gateway.clock.now()))
    await gateway.resources.directory.refresh()
    assert (await browser.get("/", follow=False)).status_code == 303


async def test_signing_out_ends_the_session_everywhere(gateway: TestGateway) -> None:
    """The cookie is taken back, and a copy of it opens nothing."""
    browser = gateway.browser()
    home = await _sign_in(gateway, browser)
    copy = browser.client.cookies["countermark_session"]
    assert (await browser.submit(home)).url.path == "/signed-out"
    thief = gateway.browser()
    thief.client.cookies.set("countermark_session", copy)
    assert (await thief.get("/", follow=False)).status_code == 303


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        ({"other": "x"}, {"origin": UI}),
        ({"form_token": "wrong"}, {"origin": UI}),
        ({"form_token": "right"}, {"origin": "http://evil.test"}),
        ({"form_token": "right"}, {"origin": "null"}),
        ({"form_token": "right"}, {}),
    ],
)
async def test_a_form_of_another_page_changes_nothing(
    gateway: TestGateway, fields: dict[str, str], headers: dict[str, str]
) -> None:
    """Without our token and our origin nobody is signed out, however the browser was made to post."""
    browser = gateway.browser()
    home = await _sign_in(gateway, browser)
    right = home.text.partition('name="form_token" value="')[2].partition('"')[0]
    sent = {name: right if value == "right" else value for name, value in fields.items()}
    answer = await browser.client.post("/logout", data=sent, headers=headers)
    assert answer.status_code == 403
    assert (await browser.get("/", follow=False)).status_code == 200


async def test_login_forms_need_their_token_too(gateway: TestGateway) -> None:
    """Another page can neither sign a browser in as somebody else nor press the link's button."""
    for path in ("/login", await _link(gateway)):
        browser = gateway.browser()
        page = await browser.get(path)
        answer = await browser.submit(page, {"account": "root", "password": PASSWORD, "form_token": "wrong"})
        assert answer.status_code == 403
        assert "countermark_session" not in browser.cookie_names()


async def test_cookies_are_out_of_reach_of_scripts_and_other_sites(servers: Servers) -> None:
    """HttpOnly and Lax always; behind TLS also Secure and bound to the host by its name."""
    settings = Settings(data=servers.folder, outside_ui_url="https://127.0.0.1:3142")
    async with open_gateway(servers, settings) as gateway:
        await gateway.accounts.create_account("root", password=PASSWORD)
        await gateway.resources.directory.refresh()
        browser = gateway.browser()
        start = await browser.get("/login", follow=False)
        (cookie,) = start.headers.get_list("set-cookie")
        assert cookie.startswith("__Host-countermark_login=")
        assert {"httponly", "secure", "path=/", "samesite=lax"} <= {part.strip().lower() for part in cookie.split(";")}
        assert (await _sign_in(gateway, browser)).status_code == 200
        assert "__Host-countermark_session" in browser.cookie_names()


# --- the pages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 303),
        ("/healthz", 200),
        ("/signed-out", 200),
        ("/readyz", 404),
        ("/root/stable/+simple/", 404),
        ("/logout", 405),
    ],
)
async def test_what_a_stranger_sees(gateway: TestGateway, path: str, status: int) -> None:
    """Behind the login is everything but health and the login's own pages; the API host's faces are not here."""
    answer = await gateway.browser().get(path, follow=False)
    assert answer.status_code == status
    assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_the_style_sheet_of_a_page_is_there(gateway: TestGateway) -> None:
    """Its address is in the page, and what is there can be kept for ever."""
    browser = gateway.browser()
    page = await browser.get("/login")
    path = page.text.partition('rel="stylesheet" href="')[2].partition('"')[0]
    style = await browser.get(path)
    assert (style.status_code, style.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in style.headers["cache-control"]


@pytest.mark.parametrize(
    ("host", "status"), [("127.0.0.1:3142", 303), ("localhost:3142", 307), ("evil.test", 421), ("evil.test:3142", 421)]
)
async def test_only_our_own_name_is_answered(gateway: TestGateway, host: str, status: int) -> None:
    """A foreign name that resolves to us gets no page; another name of this machine leads to the right one."""
    answer = await gateway.browser().client.get("/?a=b", headers={"host": host})
    assert answer.status_code == status
    if status == 307:
        assert answer.headers["location"] == f"{UI}/?a=b"


async def test_readyz_tells_what_is_missing(servers: Servers) -> None:
    """The API host is ready when catalogue, Redis, queue and default index are there."""
    async with open_gateway(servers) as gateway:
        transport = httpx2.ASGITransport(app=gateway.apps.api)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:3141") as client:
            before = await client.get("/readyz")
            await gateway.accounts.init_deployment(STABLE)
            await gateway.resources.directory.refresh()
            after = await client.get("/readyz")
    assert (before.status_code, before.json()["failed"]) == (503, {"default index": "RuntimeError"})
    assert (after.status_code, after.json()) == (200, {"status": "ready"})


async def test_another_provider_signs_in_by_the_same_path(servers: Servers) -> None:
    """With a configured issuer people go there and back over real HTTP; the provider inside is then not there."""
    async with open_gateway(servers) as elsewhere:
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        parts = ProviderParts(
            redis=elsewhere.resources.redis,
            limits=Limits(elsewhere.resources.redis, RateLimits()),
            clock=elsewhere.clock,
            directory=elsewhere.resources.directory,
            accounts=elsewhere.accounts,
            pages=Pages(),
        )
        provider = LocalProvider(parts, ui_url=url, redirect_uri=f"{UI}/login/callback")
        oidc = Oidc(issuer=f"{url}/provider", client_id="countermark")
        async with (
            served(Starlette(routes=provider.routes), listening),
            open_gateway(servers, Settings(data=servers.folder, oidc=oidc)) as gateway,
        ):
            await gateway.accounts.init_deployment(STABLE)
            await gateway.accounts.create_account("alice", password=PASSWORD)
            await gateway.resources.directory.refresh()
            await elsewhere.resources.directory.refresh()
            browser = gateway.browser()
            start = await browser.get("/login", follow=False)
            assert start.headers["location"].startswith(f"{url}/provider/authorize?")
            async with httpx2.AsyncClient() as client:
                page = await client.get(start.headers["location"])
                token = page.text.partition('name="form_token" value="')[2].partition('"')[0]
                fields = {"account": "alice", "password": PASSWORD, "form_token": token}
                back = await client.post(str(page.url), data=fields, headers={"origin": url})
            home = await browser.get(back.headers["location"])
            assert (home.status_code, home.url.path) == (200, "/")
            assert "alice" in home.text
            assert (await gateway.browser().get("/provider/authorize")).status_code == 404
            assert (await gateway.browser().get("/welcome?code=x")).status_code == 404


async def test_a_person_without_an_account_is_told_so(servers: Servers) -> None:
    """A provider may know people whom this deployment does not; the owner decides who gets an account."""
    async with open_gateway(servers) as gateway:
        await gateway.accounts.create_account("alice", password=PASSWORD)
        directory = gateway.resources.directory
        await directory.refresh()
        browser = gateway.browser()
        start = await browser.get("/login", follow=False)
        form = await browser.get(start.headers["location"])
        back = await browser.submit(form, {"account": "alice", "password": PASSWORD}, follow=False)
        async with gateway.resources.engine.begin() as connection:
            await connection.execute(update(Account).values(disabled_at=gateway.clock.now()))
        await directory.refresh()
        answer = await browser.get(back.headers["location"])
    assert answer.status_code == 403
    assert "no account" in answer.text


async def test_without_redis_nobody_signs_in_and_the_page_says_so(servers: Servers) -> None:
    """An outage of Redis is 503 in words, not a fault of ours, and lets nobody in."""
    async with open_gateway(replace(servers, valkey_url=f"unix://{servers.folder}/nothing")) as gateway:
        browser = gateway.browser()
        stranger = await browser.get("/login")
        browser.client.cookies.set("countermark_session", "some-id")
        answer = await browser.get("/")
    assert (stranger.status_code, answer.status_code) == (503, 503)
    assert "Try again shortly" in stranger.text
    assert "Try again shortly" in answer.text
