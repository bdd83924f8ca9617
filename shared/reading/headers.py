"""The request headers that reads depend on, and the rules of conditional requests. Pure.

Source: RFC 9110 sections 5.6.7 (dates), 8.8.3 (entity tags) and 13 (conditional requests).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

MAX_HEADER = 4096
"""Bytes of one header value that are read; what a longer one says beyond is ignored, as if it were not sent."""

MAX_ETAGS = 64
"""Entity tags of one If-None-Match that are compared."""

MAX_AGENT = 2048
"""Bytes of a User-Agent that are looked at; pip's has about 300."""

_INSTALLER = re.compile(r"\b(?:pip|uv|setuptools|distribute|pex)/")
_SIMPLE_TYPE = "application/vnd.pypi.simple."
_DOCUMENT_TYPE = "application/json"

_READ = frozenset(
    [
        b"accept", b"accept-encoding", b"authorization", b"x-devpi-auth", b"if-none-match", b"if-modified-since",
        b"if-range", b"range", b"x-devpi-absolute-urls",
    ]
)  # fmt: skip
"""Headers that reads depend on."""

_HTTP_DATE = "%a, %d %b %Y %H:%M:%S GMT"


@dataclass(slots=True)
class Asked:
    """What a request's headers ask for, as sent; None where a header is absent. Repeated list headers are joined."""

    accept: bytes | None = None
    accept_encoding: bytes | None = None
    authorization: bytes | None = None
    if_none_match: bytes | None = None
    if_modified_since: bytes | None = None
    if_range: bytes | None = None
    range: bytes | None = None
    absolute: bool = False
    """Whether pages are to print absolute URLs (contract devpi section 8)."""


def asked_by(headers: Iterable[tuple[bytes, bytes]]) -> Asked:
    """Collect the headers that reads depend on.

    Args:
        headers: (lower-case name, value) in the order sent, as in an ASGI scope.
    """
    asked = Asked()
    for name, value in headers:
        if name not in _READ:
            continue
        if name == b"accept":
            asked.accept = joined(asked.accept, value)
        elif name == b"accept-encoding":
            asked.accept_encoding = joined(asked.accept_encoding, value)
        elif name == b"authorization":
            asked.authorization = asked.authorization or value
        elif name == b"x-devpi-auth":
            asked.authorization = b"Basic " + value
        elif name == b"if-none-match":
            asked.if_none_match = joined(asked.if_none_match, value)
        elif name == b"if-modified-since":
            asked.if_modified_since = value
        elif name == b"if-range":
            asked.if_range = value
        elif name == b"range":
            asked.range = value
        elif name == b"x-devpi-absolute-urls":
            asked.absolute = True
    return asked


def joined(before: bytes | None, value: bytes) -> bytes:
    """Return a list header's value with one more line of it (RFC 9110 section 5.2)."""
    return value if before is None else before + b", " + value


def etag_matches(if_none_match: bytes, etag: bytes) -> bool:
    """Return whether an If-None-Match names `etag` (quotes included), so that the answer is 304.

    The comparison is the weak one: a proxy that compresses marks our tags as weak and sends them back so.
    """
    if if_none_match == etag:
        return True
    tags = [tag.strip() for tag in if_none_match[:MAX_HEADER].split(b",", MAX_ETAGS)[:MAX_ETAGS]]
    return tags == [b"*"] or etag in {tag.removeprefix(b"W/") for tag in tags}


def is_installer(user_agent: str | None) -> bool:
    """Return whether a client installs packages, by its User-Agent. Source: contract devpi section 8."""
    return user_agent is not None and _INSTALLER.search(user_agent[:MAX_AGENT]) is not None


def asks_for_pages(user_agent: str | None, accept: str | None) -> bool:
    """Return whether a client at an address of devpi's documents wants the simple pages that belong to it.

    Installers do, and whoever accepts a type of simple pages; but whoever names devpi's JSON gets that.
    Source: contract devpi sections 7 and 8.
    """
    types = {part.partition(";")[0].strip().lower() for part in (accept or "")[:MAX_HEADER].split(",")}
    if _DOCUMENT_TYPE in types:
        return False
    return is_installer(user_agent) or any(name.startswith(_SIMPLE_TYPE) for name in types)


@lru_cache(maxsize=1024)
def http_date(moment: datetime) -> bytes:
    """Return a time as HTTP writes it; fractions of a second are cut off."""
    return format_datetime(moment.astimezone(UTC).replace(microsecond=0), usegmt=True).encode()


def parse_http_date(value: bytes) -> datetime | None:
    """Return the time an HTTP date says, or None when it is none in the one form that may be sent today."""
    try:
        return datetime.strptime(value.decode("ascii"), _HTTP_DATE).replace(tzinfo=UTC)
    except (UnicodeDecodeError, ValueError):
        return None


def not_modified(asked: Asked, etag: bytes, modified: datetime | None) -> bool:
    """Return whether the client has these bytes already: by entity tag or, only when it sends none, by date.

    Args:
        modified: when the representation came to be; None when it has no date.
    """
    if asked.if_none_match is not None:
        return etag_matches(asked.if_none_match, etag)
    if asked.if_modified_since is None or modified is None:
        return False
    since = parse_http_date(asked.if_modified_since)
    return since is not None and modified.replace(microsecond=0) <= since
