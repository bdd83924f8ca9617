"""Reads lists of projects, JSON or HTML, as any registry writes them. Pure.

The public index lists some 700,000 projects in 40 MB: a tree of that would take a quarter of a gigabyte. So names come
one by one, and of the JSON form a few thousand entries at a time are read. Blocking: seconds for such a list.
Source: the simple repository API (PEP 503, 691, 700); contract python-index sections 1.3 and 5.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

import orjson

from shared.formats.python.simple_pages import UnreadablePage, is_json, last_segment, parse_markup, read_json

MOST_PROJECTS = 2_000_000
"""Projects of one list; the public index has some 700,000."""

_WHOLE = 1 << 20
"""Bytes up to which a list is read at once."""

_AT_ONCE = 500
"""Entries of a longer one that are in memory at a time."""

_MOST_OF_ONE = 64 << 10
"""Bytes of an entry; those of the public index have 40."""

_BEGIN = re.compile(rb'"projects"\s*:\s*\[')
_ENTRY = re.compile(rb'\s*+\{(?:[^{}\[\]"]++|"(?:[^"\\]++|\\.)*+")*+\}\s*+(,?)', re.DOTALL)
"""An entry whose values are texts and numbers, and what follows it. Possessive: what does not match costs one pass."""


def read_projects(body: bytes, content_type: str) -> Iterator[str]:
    """Yield the names of a list of projects, as they are written there.

    Raises:
        UnreadablePage: it is none, or longer than is read. Names before the fault were yielded.
    """
    for number, name in enumerate(_json_names(body) if is_json(content_type) else _html_names(body)):
        if number == MOST_PROJECTS:
            raise UnreadablePage(f"it lists more than {MOST_PROJECTS} projects")
        yield name


def _json_names(body: bytes) -> Iterator[str]:
    begin = _BEGIN.search(body) if len(body) > _WHOLE else None
    if begin is None:
        return _names(read_json(body).get("projects"))
    return _in_batches(body, begin.end())


def _in_batches(body: bytes, begin: int) -> Iterator[str]:
    """Yield the names of a long list; it is as strict as for a short one, but entries hold no lists or objects."""
    place, comma = begin, True
    while comma:
        start, number, comma = place, 0, False
        while number < _AT_ONCE and (entry := _ENTRY.match(body, place)) is not None:
            if entry.end() - place > _MOST_OF_ONE:
                raise UnreadablePage(f"an entry of its list of projects has more than {_MOST_OF_ONE} bytes")
            place, comma = entry.end(), bool(entry[1])
            number += 1
            if not comma:
                break
        yield from _names(_entries(body[start : place - comma]) if number else [])
        if not number and start != begin:
            raise UnreadablePage("an entry of its list of projects is none that is read")
    if len(body) - place + begin > _WHOLE:
        raise UnreadablePage("its list of projects is not read to its end")
    # What stands around the entries: whether it is a list at all, and ends as one.
    if read_json(body[:begin] + body[place:]).get("projects") != []:
        raise UnreadablePage("it has no list of projects")


def _entries(text: bytes) -> object:
    try:
        return orjson.loads(b"[" + text + b"]")
    except orjson.JSONDecodeError as error:
        raise UnreadablePage(f"it is no JSON: {error}") from error


def _names(projects: object) -> Iterator[str]:
    if not isinstance(projects, list) or not all(isinstance(one, dict) for one in projects):
        raise UnreadablePage("it has no list of projects")
    return (one["name"] for one in projects if isinstance(one.get("name"), str))


def _html_names(body: bytes) -> Iterator[str]:
    markup = _Names()
    parse_markup(markup, body)
    return iter(markup.names)


class _Names(HTMLParser):
    """What the links of an HTML list are called; nothing else of it is kept."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.names: list[str] = []
        self._href: str | None = None
        self._texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self._end_link()
            self._href = dict(attrs).get("href")

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._end_link()

    def handle_data(self, data: str) -> None:
        if self._href:
            self._texts.append(data)

    def close(self) -> None:
        super().close()
        self._end_link()

    def _end_link(self) -> None:
        if self._href:
            if len(self.names) == MOST_PROJECTS:
                raise UnreadablePage(f"it lists more than {MOST_PROJECTS} projects")
            self.names.append("".join(self._texts).strip() or last_segment(self._href))
        self._href = None
        self._texts.clear()
