"""Reads pages of a simple index, JSON or HTML, as any registry writes them. Pure.

Source: the simple repository API (PEP 503, 592, 629, 691, 700).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import orjson

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
ACCEPT = f"{JSON_TYPE}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"

_STRONG = ("sha256", "sha512", "sha384", "blake2b", "sha3_256", "sha224", "sha1", "md5")
"""Algorithms, the best first."""

_MAX_TEXT = 8192


class UnreadablePage(ValueError):
    """A page is none of a simple index; the message says why."""


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file as a page lists it; `yanked` is None when it is not, else the reason."""

    file_name: str
    url: str
    digests: Mapping[str, str]
    requires_python: str | None
    yanked: str | None
    uploaded_at: datetime | None

    def best_digest(self) -> tuple[str, str] | None:
        """Return the digest that is hardest to forge, name and hexadecimal, None without any."""
        return next(((name, self.digests[name]) for name in _STRONG if name in self.digests), None)


def read_projects(body: bytes, content_type: str) -> list[str]:
    """Return the names of a list of projects.

    Raises:
        UnreadablePage: it is none.
    """
    if _is_json(content_type):
        projects = _json(body).get("projects")
        if not isinstance(projects, list) or not all(isinstance(one, dict) for one in projects):
            raise UnreadablePage("it has no list of projects")
        return [str(one["name"]) for one in projects if isinstance(one.get("name"), str)]
    return [text or _last(href) for href, text, _ in _links(body)]


def read_files(body: bytes, content_type: str, url: str) -> list[ListedFile]:
    """Return the files of a project's page.

    Args:
        url: of the page, which relative links begin from.

    Raises:
        UnreadablePage: it is none.
    """
    if not _is_json(content_type):
        return [_html_file(url, href, text, attributes) for href, text, attributes in _links(body)]
    files = _json(body).get("files")
    if not isinstance(files, list) or not all(isinstance(one, dict) for one in files):
        raise UnreadablePage("it has no list of files")
    return [_json_file(url, one) for one in files]


def _json_file(page: str, raw: Mapping[str, Any]) -> ListedFile:
    hashes = raw.get("hashes")
    yanked = raw.get("yanked") or False
    return ListedFile(
        file_name=str(raw.get("filename", "")),
        url=_joined(page, str(raw.get("url", ""))),
        digests={str(k): str(v).lower() for k, v in hashes.items()} if isinstance(hashes, dict) else {},
        requires_python=_text(raw.get("requires-python")),
        yanked=None if yanked is False else _text(yanked) or "",
        uploaded_at=_moment(raw.get("upload-time")),
    )


def _html_file(page: str, href: str, text: str, attributes: Mapping[str, str | None]) -> ListedFile:
    address, _, fragment = href.partition("#")
    name, equals, value = fragment.partition("=")
    return ListedFile(
        file_name=_last(address) or text,
        url=_joined(page, address),
        digests={name: value.lower()} if equals and re.fullmatch(r"[0-9a-fA-F]+", value) else {},
        requires_python=_text(attributes.get("data-requires-python")),
        yanked=(attributes["data-yanked"] or "") if "data-yanked" in attributes else None,
        uploaded_at=None,
    )


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    if kind in (JSON_TYPE, "application/json"):
        return True
    if kind in ("text/html", "application/vnd.pypi.simple.v1+html", "application/xhtml+xml"):
        return False
    raise UnreadablePage(f"it is of the type {kind[:100]!r}, and no page of a simple index")


def _json(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UnreadablePage(f"it is no JSON: {error}") from error
    meta = document.get("meta") if isinstance(document, dict) else None
    version = str(meta.get("api-version", "")) if isinstance(meta, dict) else ""
    if not version.startswith("1."):
        raise UnreadablePage(f"its api-version is {version[:20]!r}, and 1.x is read")
    assert isinstance(document, dict)
    return document


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[tuple[str, list[str], dict[str, str | None]]] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "a" and found.get("href"):
            self.links.append((str(found["href"]), [], found))
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.links[-1][1].append(data)


def _links(body: bytes) -> list[tuple[str, str, dict[str, str | None]]]:
    parser = _Anchors()
    parser.feed(body.decode("utf-8", "replace"))
    parser.close()
    return [(href, "".join(texts).strip(), attributes) for href, texts, attributes in parser.links]


def _joined(page: str, href: str) -> str:
    try:
        return urljoin(page, href)
    except ValueError:
        return ""


def _last(href: str) -> str:
    try:
        return unquote(urlsplit(href).path.rstrip("/").rpartition("/")[2])
    except ValueError:
        return ""


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _MAX_TEXT and "\0" not in value else None


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment.replace(microsecond=0) if moment.tzinfo else moment.replace(tzinfo=UTC, microsecond=0)
