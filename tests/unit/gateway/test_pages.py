"""Pages for people escape everything and need no script."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from gateway.listing import ShownIndex
from gateway.templates import Pages
from shared.errors import ErrorKind, ServiceError


def test_text_of_strangers_is_escaped() -> None:
    """A project name or an error's text cannot become markup."""
    pages = Pages()
    hostile = "<script>alert(1)</script>\"'&"
    index = ShownIndex("root/stable", "http://api.test/root/stable", True, [hostile], 1)
    home = bytes(pages.answer("home.html", account=hostile, form_token="t", indexes=[index], more=0).body).decode()
    error = bytes(pages.error(ServiceError(ErrorKind.INVALID, hostile)).body).decode()
    for page in (home, error):
        assert "<script" not in page
        assert "&lt;script&gt;" in page
        assert "style=" not in page
        assert "onclick" not in page


def test_the_home_page_says_what_is_not_known() -> None:
    """A list that could not be had is not shown as an empty one."""
    pages = Pages()
    indexes = [
        ShownIndex("root/gone", "http://api.test/root/gone", True, None, 0),
        ShownIndex("root/empty", "http://api.test/root/empty", False, [], 0),
        ShownIndex("root/big", "http://api.test/root/big", True, ["a", "b"], 7),
    ]
    home = bytes(pages.answer("home.html", account="root", form_token="t", indexes=indexes, more=3).body).decode()
    assert "not available at the moment" in home
    assert "Nothing is published here yet" in home
    assert "and 5 more" in home
    assert "and 3 more indexes" in home
    assert "--index-url http://api.test/root/big/+simple/" in home


def test_a_template_without_a_value_is_an_error() -> None:
    """A forgotten value fails loudly and is not an empty place."""
    with pytest.raises(UndefinedError):
        Pages().answer("sign_in.html", action="/x")


def test_an_error_page_has_no_password_box() -> None:
    """A challenge on a page for people would open the browser's own dialogue."""
    answer = Pages().error(ServiceError(ErrorKind.UNAUTHENTICATED, "Sign in."))
    assert answer.status_code == 401
    assert "www-authenticate" not in answer.headers


def test_the_style_sheets_address_is_its_bytes() -> None:
    """The address is in every page and can be kept for ever."""
    pages = Pages()
    page = bytes(pages.answer("message.html", title="t", message="m", link=None).body).decode()
    assert pages.style_path in page
    assert pages.style_path.startswith("/static/")
