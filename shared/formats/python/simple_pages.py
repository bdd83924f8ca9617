"""Reads pages of a simple index, JSON or HTML, as any registry writes them. Pure.

What HTML says is brought into the shape of the JSON form first, so that there is one reading of each field.
Source: the simple repository API (PEP 503, 592, 629, 658, 691, 700, 714, 740, 792); contract python-index section 1.3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import orjson

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
ACCEPT = f"{JSON_TYPE}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"

MOST_FILES = 200_000
"""Links of one page; the largest project of the public index has some 20,000."""

MOST_VALUES = 4_000_000
"""Values of one JSON document; a page of 20,000 files has 400,000. They take some 100 bytes each, at the most."""

_HTML_TYPES = ("text/html", "application/vnd.pypi.simple.v1+html", "application/xhtml+xml")
_STRONG = ("sha256", "sha512", "sha384", "blake2b", "sha3_256", "sha224", "sha1", "md5")
"""Algorithms, the best first."""

_PIECE = _MOST_OPEN = 256 << 10
"""Characters of HTML that are parsed at once, and that a tag, a comment or a script may have."""

_MOST_LEFT = 1024
"""Characters of what is not closed at the end of a page: parsing them takes the square of their number."""

_MAX_TEXT = 8192
_HEX = re.compile(r"[0-9a-fA-F]+\Z")
_SERIAL = re.compile(r"\s*SERIAL (\d{1,18})\s*\Z")

Raw = Mapping[str, Any]
"""A file as the JSON form lists it: nothing in it was looked at but that it is an object."""


class UnreadablePage(ValueError):
    """A page is none of a simple index; the message says why."""


@dataclass(frozen=True, slots=True)
class RawPage:
    """A project's page as it was written.

    Attributes:
        name: the project it says it is of.
        serial: of the private key `_last-serial`, or of the comment at the end of HTML.
        status: object with `status` and maybe `reason`.
        versions: as listed; None when it lists none.
        base: URL that the links of its files begin from.
    """

    base: str
    files: list[Raw]
    name: Any = None
    serial: Any = None
    status: Any = None
    versions: Any = None


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


def read_page(body: bytes, content_type: str, url: str) -> RawPage:
    """Return a project's page.

    Args:
        url: where it came from, after redirects.

    Raises:
        UnreadablePage: it is none, or lists more than `MOST_FILES` files.
    """
    if not is_json(content_type):
        return _html_page(body, url)
    document = read_json(body)
    files = document.get("files")
    if not isinstance(files, list) or not all(isinstance(one, dict) for one in files):
        raise UnreadablePage("it has no list of files")
    if len(files) > MOST_FILES:
        raise UnreadablePage(f"it lists more than {MOST_FILES} files")
    serial = document["meta"].get("_last-serial")
    return RawPage(url, files, document.get("name"), serial, document.get("project-status"), document.get("versions"))


def read_files(body: bytes, content_type: str, url: str) -> list[ListedFile]:
    """Return the files of a project's page; arguments and errors as for `read_page`."""
    page = read_page(body, content_type, url)
    return [_listed(page.base, raw) for raw in page.files]


def joined(base: str, href: object) -> str:
    """Return a link in full, without its fragment; "" for what is none."""
    try:
        return urljoin(base, str(href).partition("#")[0])
    except ValueError:
        return ""


def moment_of(text: object) -> datetime | None:
    """Return a time of day as a page has it, None for what is none. One without a zone is taken as UTC."""
    try:
        moment = datetime.fromisoformat(str(text)[:64])
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _listed(base: str, raw: Raw) -> ListedFile:
    hashes = raw.get("hashes")
    yanked = raw.get("yanked") or False
    uploaded_at = moment_of(raw.get("upload-time"))
    return ListedFile(
        file_name=str(raw.get("filename", "")),
        url=joined(base, raw.get("url", "")),
        digests={str(k): str(v).lower() for k, v in hashes.items()} if isinstance(hashes, dict) else {},
        requires_python=_text(raw.get("requires-python")),
        yanked=None if yanked is False else _text(yanked) or "",
        uploaded_at=None if uploaded_at is None else uploaded_at.replace(microsecond=0),
    )


def is_json(content_type: str) -> bool:
    """Return whether a body is in the JSON form, else it is HTML.

    Raises:
        UnreadablePage: it is neither.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind in (JSON_TYPE, "application/json"):
        return True
    if kind in _HTML_TYPES:
        return False
    raise UnreadablePage(f"it is of the type {kind[:100]!r}, and no page of a simple index")


def read_json(body: bytes) -> dict[str, Any]:
    """Return what the JSON form of a page or a list says.

    Raises:
        UnreadablePage: it is none, or of a version that is not read.
    """
    if has_too_many_values(body):
        raise UnreadablePage(f"it has more than {MOST_VALUES} values")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UnreadablePage(f"it is no JSON: {error}") from error
    meta = document.get("meta") if isinstance(document, dict) else None
    _check_version(meta.get("api-version", "") if isinstance(meta, dict) else "")
    assert isinstance(document, dict)
    return document


def has_too_many_values(body: bytes) -> bool:
    """Return whether JSON may have more values than are read, before a tree is made of it: `{},{},` becomes thirty
    times as many bytes. Blocking: some milliseconds for a megabyte.
    """
    return len(body) > MOST_VALUES and sum(map(body.count, (b",", b"{", b"["))) > MOST_VALUES


def _check_version(version: object) -> None:
    if not str(version).startswith("1."):
        raise UnreadablePage(f"its api-version is {str(version)[:20]!r}, and 1.x is read")


@dataclass(slots=True)
class _Link:
    href: str
    attributes: dict[str, str | None]
    texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.texts).strip()


class _Markup(HTMLParser):
    """What counts of an HTML page; the parser keeps no tree, so that depth costs nothing."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[_Link] = []
        self.base = ""
        self.meta: dict[str, str] = {}
        self.serial: int | None = None
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            found = dict(attrs)
            if href := found.get("href"):
                if len(self.links) == MOST_FILES:
                    raise UnreadablePage(f"it has more than {MOST_FILES} links")
                self.links.append(_Link(href, found))
                self._inside = True
        elif tag == "base":
            self.base = self.base or dict(attrs).get("href") or ""
        elif tag == "meta":
            found = dict(attrs)
            self.meta.setdefault(found.get("name") or "", found.get("content") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.links[-1].texts.append(data)

    def handle_comment(self, data: str) -> None:
        if (found := _SERIAL.match(data)) is not None:
            self.serial = int(found[1])


def parse_markup(markup: HTMLParser, body: bytes) -> None:
    """Have HTML parsed piece by piece: the parser begins a tag that is not closed again and again, and at the end for
    each `<` within it, which takes hours for a page of megabytes.

    Raises:
        UnreadablePage: a tag, a comment or a script does not end for long, or the page breaks off within one.
    """
    text = body.decode("utf-8", "replace")
    for begin in range(0, len(text), _PIECE):
        markup.feed(text[begin : begin + _PIECE])
        if len(markup.rawdata) > _MOST_OPEN:
            raise UnreadablePage(f"a tag, comment or script of it has more than {_MOST_OPEN} characters")
    if len(markup.rawdata) > _MOST_LEFT:
        raise UnreadablePage("it breaks off in the middle of a tag, comment or script")
    markup.close()


def _markup(body: bytes) -> _Markup:
    markup = _Markup()
    parse_markup(markup, body)
    return markup


def _html_page(body: bytes, url: str) -> RawPage:
    markup = _markup(body)
    _check_version(markup.meta.get("pypi:repository-version", "1.0"))
    status = None
    if "pypi:project-status" in markup.meta:
        status = {"status": markup.meta["pypi:project-status"]}
        if reason := markup.meta.get("pypi:project-status-reason"):
            status["reason"] = reason
    files = [_html_file(link) for link in markup.links]
    return RawPage(joined(url, markup.base), files, serial=markup.serial, status=status)


def _html_file(link: _Link) -> Raw:
    """Return what an anchor says in the shape of the JSON form."""
    address, _, fragment = link.href.partition("#")
    said = link.attributes
    file: dict[str, Any] = {"filename": last_segment(address) or link.text, "url": address, "hashes": _digest(fragment)}
    if said.get("data-requires-python"):
        file["requires-python"] = said["data-requires-python"]
    if "data-yanked" in said:
        file["yanked"] = said["data-yanked"] or True
    for name in ("data-core-metadata", "data-dist-info-metadata"):
        if name in said:
            file["core-metadata"] = _digest(said[name] or "") or True
            break
    if said.get("data-provenance"):
        file["provenance"] = said["data-provenance"]
    if said.get("data-upload-time"):
        file["upload-time"] = said["data-upload-time"]
    if (size := said.get("data-size") or "").isdecimal() and len(size) < 19:
        file["size"] = int(size)
    return file


def _digest(text: str) -> dict[str, str]:
    """Return a digest as a fragment or an attribute has it, `sha256=…`."""
    name, equals, value = text.partition("=")
    return {name: value.lower()} if equals and _HEX.match(value) else {}


def last_segment(href: str) -> str:
    """Return the last segment of a link's path, decoded; "" when there is none."""
    try:
        return unquote(urlsplit(href).path.rstrip("/").rpartition("/")[2])
    except ValueError:
        return ""


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _MAX_TEXT and "\0" not in value else None
