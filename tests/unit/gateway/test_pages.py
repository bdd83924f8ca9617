"""Pages for people escape everything and need no script."""

from __future__ import annotations

import re

import pytest
from jinja2 import UndefinedError

from gateway.templates import FOLDER, Pages
from shared.errors import ErrorKind, ServiceError


def test_text_of_strangers_is_escaped() -> None:
    """A project's name or an error's text cannot become markup."""
    hostile = "<script>alert(1)</script>\"'&"
    page = bytes(Pages().error(ServiceError(ErrorKind.INVALID, hostile)).body).decode()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("template", sorted(path.name for path in FOLDER.glob("*.html")))
def test_no_template_needs_what_the_policy_forbids(template: str) -> None:
    """No inline style, no script, no event attribute, and nothing is marked as safe."""
    text = (FOLDER / template).read_text()
    assert re.search(r"<script|<style|\s(style|on\w+)=|\|\s*safe|autoescape", text) is None


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
