"""People sign in by a password; guessing one is limited."""

from __future__ import annotations

import pytest

from gateway.limits import LOGIN_BY_ADDRESS, PASSWORD_BY_ACCOUNT, PASSWORD_BY_ADDRESS
from shared.limit_settings import RateLimits
from tests.integration.login.signing_in import PASSWORD, sign_in
from tests.support.gateway import TestGateway


async def test_the_password_signs_in(gateway: TestGateway) -> None:
    """Account and password lead through the whole OpenID flow to the start page."""
    browser = gateway.browser()
    home = await sign_in(gateway, browser)
    assert (home.status_code, home.url.path) == (200, "/")
    assert "root/stable" in home.text
    assert browser.cookie_names() >= {"countermark_session"}


@pytest.mark.parametrize("fields", [{"password": "wrong"}, {"account": "nobody"}, {"account": ""}, {"password": ""}])
async def test_a_wrong_password_says_one_thing(gateway: TestGateway, fields: dict[str, str]) -> None:
    """An unknown account and a wrong password cannot be told apart."""
    browser = gateway.browser()
    page = await sign_in(gateway, browser, **fields)
    assert page.status_code == 403
    assert "Wrong account or password." in page.text
    assert "countermark_session" not in browser.cookie_names()


async def test_an_account_without_a_password_has_none(gateway: TestGateway) -> None:
    """No password is no password, not an empty one, and not the one the provider compares with for its timing."""
    await gateway.accounts.create_account("bare")
    await gateway.resources.directory.refresh()
    for password in ("", "no account has this password"):
        assert (await sign_in(gateway, gateway.browser(), account="bare", password=password)).status_code == 403


async def test_tries_for_one_account_are_limited(gateway: TestGateway) -> None:
    """After too many wrong passwords the right one waits too, from every address."""
    for number in range(PASSWORD_BY_ACCOUNT.most(RateLimits())):
        browser = gateway.browser(address=f"192.0.2.{number}")
        assert (await sign_in(gateway, browser, password="wrong")).status_code == 403
    late = await sign_in(gateway, gateway.browser(address="192.0.2.99"))
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
    assert (await sign_in(gateway, gateway.browser(address="192.0.2.2"))).url.path == "/"


async def test_a_success_forgives_the_accounts_tries(gateway: TestGateway) -> None:
    """Someone who mistypes now and then is not locked out by the sum of it."""
    for _ in range(2):
        for number in range(PASSWORD_BY_ACCOUNT.most(RateLimits()) - 1):
            await sign_in(gateway, gateway.browser(address=f"192.0.2.{number}"), password="wrong")
        assert (await sign_in(gateway, gateway.browser(address="192.0.2.200"))).url.path == "/"


async def test_beginning_logins_is_limited(gateway: TestGateway) -> None:
    """Strangers cannot fill Redis with logins they never finish."""
    browser = gateway.browser()
    answers = [await browser.get("/login", follow=False) for _ in range(LOGIN_BY_ADDRESS.most(RateLimits()) + 1)]
    assert [answer.status_code for answer in answers[-2:]] == [303, 429]
