"""Pages of simple indexes, as other registries write them."""

from __future__ import annotations

import json

import pytest

from countermark.core.names import NormalizedName
from shared.formats.python.json_facts import UnreadableFacts, read_facts
from shared.formats.python.simple_lists import read_projects
from shared.formats.python.simple_pages import JSON_TYPE, UnreadablePage, read_files, read_page

_PAGE = "https://host/simple/hello/"


def test_json_pages_are_read() -> None:
    """Digests, yanks, requirements and times come along; links begin at the page."""
    files = [
        {"filename": "hello-1.0.tar.gz", "url": "../../f/hello-1.0.tar.gz", "hashes": {"sha256": "AB", "md5": "cd"}},
        {
            "filename": "hello-1.1.tar.gz",
            "url": "https://files/hello-1.1.tar.gz",
            "hashes": {},
            "yanked": "bad",
            "requires-python": ">=3.9",
            "upload-time": "2026-01-02T03:04:05.678Z",
        },
    ]
    body = json.dumps({"meta": {"api-version": "1.1"}, "name": "hello", "files": files}).encode()
    first, second = read_files(body, JSON_TYPE, _PAGE)
    assert (first.url, first.best_digest(), first.yanked) == ("https://host/f/hello-1.0.tar.gz", ("sha256", "ab"), None)
    assert (second.best_digest(), second.yanked, second.requires_python) == (None, "bad", ">=3.9")
    assert str(second.uploaded_at) == "2026-01-02 03:04:05+00:00"


def test_html_pages_are_read() -> None:
    """Fragments are digests, attributes are what they say, escaped characters are themselves."""
    body = b"""<html><body><a href="../../f/hello%2B-1.0.tar.gz#sha256=AB12" data-requires-python="&gt;=3.9"
        data-yanked="">hello-1.0.tar.gz</a><a name="x">no link</a><a href="x-1.zip#egg=x">x</a></body></html>"""
    first, second = read_files(body, "text/html; charset=utf-8", _PAGE)
    assert (first.file_name, first.best_digest()) == ("hello+-1.0.tar.gz", ("sha256", "ab12"))
    assert (first.requires_python, first.yanked) == (">=3.9", "")
    assert (second.digests, second.yanked) == ({}, None)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>", "text/plain"),
        (b"nonsense", JSON_TYPE),
        (b"[]", JSON_TYPE),
        (b'{"meta": {"api-version": "2.0"}, "files": []}', JSON_TYPE),
        (b'{"meta": {"api-version": "1.0"}, "files": [1]}', JSON_TYPE),
    ],
)
def test_what_is_no_page_is_told(body: bytes, kind: str) -> None:
    """A page of another kind or version is not guessed at."""
    with pytest.raises(UnreadablePage):
        read_files(body, kind, _PAGE)


@pytest.mark.parametrize("begin", ["<a ", "<a href=x ", "<a x='", "<!--", "<a /", "<![CDATA[", "</a ", "<script>"])
def test_html_that_closes_nothing_is_refused_at_once(begin: str) -> None:
    """A page that opens tags, comments or scripts and closes none takes no time, whatever its length; a list too."""
    body = begin.encode() * 200_000
    with pytest.raises(UnreadablePage, match=r"tag, comment or script"):
        read_page(body, "text/html", _PAGE)
    with pytest.raises(UnreadablePage, match=r"tag, comment or script"):
        list(read_projects(body, "text/html"))


def test_html_may_break_off_after_little() -> None:
    """What an old server leaves open at the end of a page takes nothing of what stands before it away."""
    page = read_page(b'<a href="x-1.zip">x</a><a ', "text/html", _PAGE)
    assert [file["filename"] for file in page.files] == ["x-1.zip"]


@pytest.mark.parametrize("value", [b"{},", b"[],", b"1,"])
def test_json_of_millions_of_values_is_not_made_a_tree_of(value: bytes) -> None:
    """A few megabytes of almost nothing would be hundreds in memory: refused before, also as a document of the API."""
    body = b'{"meta":{"api-version":"1.0"},"files":[],"x":[' + value * 4_100_000 + b"1]}"
    with pytest.raises(UnreadablePage, match="more than 4000000 values"):
        read_page(body, JSON_TYPE, _PAGE)
    with pytest.raises(UnreadableFacts, match="more than 4000000 values"):
        read_facts(body, NormalizedName("thing"), None)
