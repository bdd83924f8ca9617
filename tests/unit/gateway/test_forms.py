"""Forms are read under limits and from our own pages only."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from starlette.requests import Request
from starlette.types import Message

from gateway.forms import MAX_FIELDS, MAX_FORM, check_form_token, posted_form
from shared.errors import ErrorKind, ServiceError

ORIGIN = "http://127.0.0.1:3142"
FORM = ("content-type", "application/x-www-form-urlencoded")


def _request(body: bytes, *headers: tuple[str, str]) -> Request:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    raw = [(name.encode(), value.encode()) for name, value in headers]
    return Request({"type": "http", "method": "POST", "headers": raw}, receive)


async def test_a_form_of_ours_is_read() -> None:
    """Fields arrive decoded, empty ones too."""
    request = _request(b"account=root&password=a%20b%26+c&again=", FORM, ("origin", ORIGIN))
    assert await posted_form(request, ORIGIN) == {"account": "root", "password": "a b& c", "again": ""}


async def test_a_browser_without_origin_may_say_same_origin() -> None:
    """`Sec-Fetch-Site`, which pages cannot set, is as good as an origin."""
    assert await posted_form(_request(b"a=1", FORM, ("sec-fetch-site", "same-origin")), ORIGIN) == {"a": "1"}


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("origin", "null")],
        [("origin", "http://evil.test")],
        [("origin", "http://127.0.0.1:3141")],
        [("origin", ORIGIN), ("origin", "http://evil.test")],
        [("origin", "http://evil.test"), ("sec-fetch-site", "same-origin")],
        [("sec-fetch-site", "same-site")],
        [("sec-fetch-site", "none")],
    ],
)
async def test_a_form_from_elsewhere_is_refused(headers: Sequence[tuple[str, str]]) -> None:
    """Another origin, none at all, or two: nobody posts in a signed-in person's name."""
    with pytest.raises(ServiceError) as caught:
        await posted_form(_request(b"a=1", FORM, *headers), ORIGIN)
    assert caught.value.kind is ErrorKind.FORBIDDEN


@pytest.mark.parametrize(
    ("body", "content_type", "kind"),
    [
        (b"a=" + b"x" * MAX_FORM, FORM[1], ErrorKind.TOO_LARGE),
        (b"a=1&a=2", FORM[1], ErrorKind.INVALID),
        (b"&".join(b"f%d=1" % number for number in range(MAX_FIELDS + 1)), FORM[1], ErrorKind.INVALID),
        (b"a=%ff", FORM[1], ErrorKind.INVALID),
        ("a=ä".encode(), FORM[1], ErrorKind.INVALID),
        (b"{}", "application/json", ErrorKind.INVALID),
        (b"a=1", "text/plain", ErrorKind.INVALID),
    ],
)
async def test_a_bad_form_is_refused(body: bytes, content_type: str, kind: ErrorKind) -> None:
    """Too long, too many fields, a field twice, no UTF-8, another type: each is an error with its own kind."""
    with pytest.raises(ServiceError) as caught:
        await posted_form(_request(body, ("content-type", content_type), ("origin", ORIGIN)), ORIGIN)
    assert caught.value.kind is kind


@pytest.mark.parametrize(
    ("given", "expected"), [(None, "t"), ("", ""), ("t", None), ("t", "u"), ("ä", "t"), (None, None)]
)
def test_a_form_token_must_match(given: str | None, expected: str | None) -> None:
    """A missing token never equals a missing token."""
    with pytest.raises(ServiceError) as caught:
        check_form_token(given, expected)
    assert caught.value.kind is ErrorKind.FORBIDDEN
