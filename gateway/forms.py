"""Forms that people post: read under limits, and only when our own page sent them."""

from __future__ import annotations

import hmac
import secrets
from datetime import timedelta
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from gateway.sessions import Cookie
from shared.errors import ErrorKind, ServiceError

MAX_FORM = 16_384
"""Bytes of a posted form."""

MAX_FIELDS = 20
"""Fields of a posted form."""

FORM_FIELD = "form_token"


async def posted_form(request: Request, origin: str) -> dict[str, str]:
    """Return the fields of a form that a page of `origin` posted, as the browser says in `Origin`, or in
    `Sec-Fetch-Site` where it leaves that out.

    Raises:
        ServiceError: FORBIDDEN when it came from elsewhere, else as `read_form`.
    """
    _check_origin(request, origin)
    return await read_form(request)


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a plain form of at most `MAX_FORM` bytes, UTF-8, without a repeated field.

    Raises:
        ServiceError: INVALID or TOO_LARGE.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise ServiceError(ErrorKind.INVALID, "Send this as a plain form (application/x-www-form-urlencoded).")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM:
            raise ServiceError(ErrorKind.TOO_LARGE, f"A form has at most {MAX_FORM} bytes.")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise ServiceError(ErrorKind.INVALID, "The form cannot be read.") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ServiceError(ErrorKind.INVALID, "A field of the form is there twice.")
    return fields


def check_form_token(given: str | None, expected: str | None) -> None:
    """Compare a form's token with the one of its session or cookie.

    Raises:
        ServiceError: FORBIDDEN when they differ or one is missing.
    """
    if not given or not expected or not hmac.compare_digest(given.encode(), expected.encode()):
        raise ServiceError(
            ErrorKind.FORBIDDEN, "This form is out of date or is not ours. Go back, reload the page, try again."
        )


class FormCookie:
    """Tokens for forms shown before anybody is signed in: the same random value in a cookie and in the form."""

    def __init__(self, *, https: bool) -> None:
        self._cookie = Cookie("countermark_form", https, timedelta(hours=1))

    def current(self, request: Request) -> str:
        """Return the token to put into the form: the browser's, or a new one."""
        return self._cookie.read(request) or secrets.token_urlsafe(32)

    def give(self, response: Response, token: str) -> None:
        """Let the browser keep the form's token."""
        self._cookie.give(response, token)

    def check(self, request: Request, fields: dict[str, str]) -> None:
        """Compare the form's token with the browser's.

        Raises:
            ServiceError: FORBIDDEN when they differ or one is missing.
        """
        check_form_token(fields.get(FORM_FIELD), self._cookie.read(request))


def _check_origin(request: Request, origin: str) -> None:
    sent = request.headers.getlist("origin")
    ours = sent == [origin] if sent else request.headers.getlist("sec-fetch-site") == ["same-origin"]
    if not ours:
        raise ServiceError(ErrorKind.FORBIDDEN, f"Forms are taken from pages of {origin} only.")
