"""Pages for people escape everything, and carry no script but the one that is installed."""

from __future__ import annotations

import hashlib
import json
import re
from html import unescape

import pytest
from jinja2 import UndefinedError

from gateway.static import packaged_script
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
    """No inline style, no inline script, no event attribute, and nothing is marked as safe."""
    text = (
        (FOLDER / template)
        .read_text()
        .replace('<script src="{{ script.path }}" integrity="{{ script.integrity }}"', "")
    )
    assert re.search(r"<script|<style|\s(style|on\w+)=|\|\s*safe|autoescape", text) is None


@pytest.mark.parametrize("template", sorted(path.name for path in FOLDER.glob("*.html")))
def test_no_template_needs_eval(template: str) -> None:
    """What htmx would evaluate as a script is not used: the policy would stop it, and it would do nothing."""
    text = (FOLDER / template).read_text()
    assert re.search(r"""\s(hx-on[\w:-]*|hx-vals|hx-vars)=|hx-trigger="[^"]*\[|["']js(on)?:""", text) is None


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
    (style,) = (route.path for route in pages.routes)
    assert style.startswith("/static/")
    assert f'<link rel="stylesheet" href="{style}">' in _page(pages)


def test_the_installed_script_is_in_every_page_with_its_digest() -> None:
    """Browsers load it from this host alone, and refuse other bytes than these; its own settings forbid eval."""
    script = packaged_script()
    assert script is not None, "make setup installs it"
    page = _page(Pages(script))
    assert f'<script src="{script.path}" integrity="{script.integrity}" defer></script>' in page
    assert hashlib.sha256(script.content).hexdigest()[:16] in script.path
    config = re.search(r'name="htmx-config" content="([^"]+)"', page)
    assert config is not None
    settings = json.loads(unescape(config[1]))
    assert (settings["allowEval"], settings["includeIndicatorStyles"], settings["selfRequestsOnly"]) == (
        False,
        False,
        True,
    )


def test_without_the_package_there_is_no_script() -> None:
    """Nothing is loaded, and nothing is broken, where the package or its file is absent."""
    assert packaged_script("no-such-package-anywhere") is None
    assert packaged_script("packaging", "no-such-file.js") is None
    assert "<script" not in _page(Pages(None))


def test_a_part_is_the_content_alone() -> None:
    """A script gets what it puts into the page that is there: no head, no navigation."""
    part = bytes(Pages().answer("message.html", part=True, title="t", message="m", link=None).body).decode()
    assert "<h1>t</h1>" in part
    assert "<html" not in part
    assert "<header" not in part
    assert Pages().answer("message.html", title="t", message="m", link=None).headers["vary"] == "HX-Request"


def _page(pages: Pages) -> str:
    return bytes(pages.answer("message.html", title="t", message="m", link=None).body).decode()
