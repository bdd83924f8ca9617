"""The session of a browser: how long it lasts, what ends it, and what other pages cannot do with it."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from sqlalchemy import update

from gateway.sessions import ABSOLUTE, IDLE
from shared.catalogue.tables import Account
from shared.settings import Settings
from tests.integration.login.signing_in import PASSWORD, UI, owner_link, sign_in
from tests.support.gateway import Servers, TestGateway, open_gateway


async def test_a_session_ends_after_an_hour_without_use(gateway: TestGateway) -> None:
    """Use keeps it alive, an hour without ends it."""
    browser = gateway.browser()
    await sign_in(gateway, browser)
    for _ in range(3):
        gateway.clock.advance(IDLE - timedelta(seconds=1))
        assert (await browser.get("/", follow=False)).status_code == 200
    gateway.clock.advance(IDLE)
    assert (await browser.get("/", follow=False)).status_code == 303


async def test_a_session_ends_after_twelve_hours(gateway: TestGateway) -> None:
    """However much it is used."""
    browser = gateway.browser()
    await sign_in(gateway, browser)
    began = gateway.clock.now()
    while gateway.clock.now() < began + ABSOLUTE - timedelta(minutes=30):
        assert (await browser.get("/", follow=False)).status_code == 200
        gateway.clock.advance(timedelta(minutes=30))
    gateway.clock.advance(timedelta(minutes=30))
    assert (await browser.get("/", follow=False)).status_code == 303


async def test_redis_does_not_hold_the_cookie(gateway: TestGateway) -> None:
    """Who can read Redis cannot take a session over: it holds the sha256 of the id only, with a time to live."""
    browser = gateway.browser()
    await sign_in(gateway, browser)
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
    await sign_in(gateway, browser)
    await gateway.accounts.set_password("root", "another password")
    await gateway.resources.directory.refresh()
    assert (await browser.get("/", follow=False)).status_code == 303
    await sign_in(gateway, browser, password="another password")
    assert (await browser.get("/", follow=False)).status_code == 200
    async with gateway.resources.engine.begin() as connection:
        await connection.execute(update(Account).values(disabled_at=gateway.clock.now()))
    await gateway.resources.directory.refresh()
    assert (await browser.get("/", follow=False)).status_code == 303


async def test_signing_out_ends_the_session_everywhere(gateway: TestGateway) -> None:
    """The cookie is taken back, and a copy of it opens nothing."""
    browser = gateway.browser()
    home = await sign_in(gateway, browser)
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
    home = await sign_in(gateway, browser)
    right = home.text.partition('name="form_token" value="')[2].partition('"')[0]
    sent = {name: right if value == "right" else value for name, value in fields.items()}
    answer = await browser.client.post("/logout", data=sent, headers=headers)
    assert answer.status_code == 403
    assert (await browser.get("/", follow=False)).status_code == 200


async def test_login_forms_need_their_token_too(gateway: TestGateway) -> None:
    """Another page can neither sign a browser in as somebody else nor press the link's button."""
    for path in ("/login", await owner_link(gateway)):
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
        assert (await sign_in(gateway, browser)).status_code == 200
        assert "__Host-countermark_session" in browser.cookie_names()
