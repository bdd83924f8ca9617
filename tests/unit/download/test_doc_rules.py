"""What paths of documentation mean, and what browsers may do with its files."""

from __future__ import annotations

from urllib.parse import unquote, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.download.doc_rules import (
    CONTENT_SECURITY_POLICY,
    EQUIPMENT,
    HEAD_BYTES,
    DocWanted,
    Elsewhere,
    Which,
    described,
    equipped,
    kept_headers,
    media_type,
    member_path,
    wanted_at,
)
from shared.errors import ServiceError
from shared.faces import FaceKind, parse_face

HERE = "/root/dev/my-thing/1.0/+doc"


@pytest.mark.parametrize(
    ("path", "location"),
    [
        (HERE, "../../my-thing/1.0/+doc/index.html"),
        (f"{HERE}/", "../../../my-thing/1.0/+doc/index.html"),
        ("/root/dev/my-thing/1.0/+d", "../../my-thing/1.0/+doc/index.html"),
        ("/root/dev/my-thing/1.0/+d/", "../../../my-thing/1.0/+doc/index.html"),
        ("/root/dev/my-thing/1.0/+d/a/b.html", "../../../../my-thing/1.0/+doc/a/b.html"),
        ("/root/dev/My_Thing/latest/+doc/a.html", "../../../my-thing/latest/+doc/a.html"),
        ("/root/dev/My.Thing/1!2+x/+doc/a b/", "../../../../my-thing/1!2+x/+doc/a%20b/"),
    ],
)
def test_other_spellings_lie_elsewhere(path: str, location: str) -> None:
    """They are told relative to what was asked, so that a prefix in front of both does no harm, with the query."""
    assert wanted_at(path, b"") == Elsewhere(location)
    assert wanted_at(path, b"q=1&x") == Elsewhere(f"{location}?q=1&x")
    there = unquote(urlsplit(urljoin(f"https://host/prefix{path}", location)).path)
    assert there.startswith("/prefix/root/dev/my-thing/")
    assert isinstance(wanted_at(there.removeprefix("/prefix"), b""), DocWanted)


@pytest.mark.parametrize(
    ("version", "which"), [("1.0", "1.0"), ("latest", Which.LATEST), ("stable", Which.STABLE), ("Latest", "Latest")]
)
def test_a_page_of_a_version(version: str, which: object) -> None:
    """Two words stand for versions; anything else is one."""
    assert wanted_at(f"/root/dev/my-thing/{version}/+doc/a/b.html", b"") == DocWanted("my-thing", which, "a/b.html")  # type: ignore[arg-type]


@pytest.mark.parametrize("named", [f"{'x' * 300}/1", f"x/{'1' * 201}", "-/1"])
def test_what_cannot_be_any_is_not_there(named: str) -> None:
    """Names and versions that no project has."""
    with pytest.raises(ServiceError, match=r"No documentation available\."):
        wanted_at(f"/root/dev/{named}/+doc/a", b"")


def test_folders_show_their_index_page() -> None:
    """As generators with addresses like folders expect it; a file that is not there is named."""
    members = {"index.html", "install/index.html", "a b/index.html", "a.html"}
    for path, found in (("a.html", "a.html"), ("install/", "install/index.html"), ("index.html", "index.html")):
        assert member_path(DocWanted("x", "1", path), members) == found  # type: ignore[arg-type]
    for path, found in (("install", "install/"), ("a b", "a%20b/")):
        assert member_path(DocWanted("x", "1", path), members) == Elsewhere(found)  # type: ignore[arg-type]
    for path in ("a.html/", "b.html", "../index.html", "install//", ".", "..", "\u00fc"):
        with pytest.raises(ServiceError, match=r"not found in documentation\.$") as raised:
            member_path(DocWanted("x", "1", path), members)  # type: ignore[arg-type]
        assert raised.value.detail.isascii()


@pytest.mark.parametrize(
    ("path", "name", "saved", "shared"),
    [
        ("a/index.html", b"text/html; charset=utf-8", False, False),
        ("INDEX.HTM", b"text/html; charset=utf-8", False, False),
        ("x.svg", b"image/svg+xml", False, False),
        ("x.js", b"text/javascript; charset=utf-8", False, True),
        ("x.woff2", b"font/woff2", False, True),
        ("x.pdf", b"application/pdf", True, True),
        ("objects.inv", b"application/octet-stream", True, True),
        ("x.xhtml", b"application/octet-stream", True, True),
        ("x.html.exe", b"application/octet-stream", True, True),
        ("x.zip", b"application/octet-stream", True, True),
        ("html", b"application/octet-stream", True, True),
        ("x.html ", b"application/octet-stream", True, True),
    ],
)
def test_types_go_by_the_extension_alone(path: str, name: bytes, saved: bool, shared: bool) -> None:
    """What is unknown is saved and not shown; pages are for nobody else to read."""
    kind = media_type(path)
    assert (kind.name, kind.saved, kind.shared) == (name, saved, shared)
    headers = dict(described(kind, 7, kept_headers(b'"x"', open_=True), open_=True))
    assert (headers.get(b"content-disposition") == b"attachment") == saved
    assert (headers.get(b"access-control-allow-origin") == b"*") == shared
    closed = dict(described(kind, 7, kept_headers(b'"x"', open_=False), open_=False))
    assert b"access-control-allow-origin" not in closed
    assert closed[b"cache-control"] == b"private, max-age=60"


def test_the_sandbox_has_no_origin() -> None:
    """Scripts run, but never as the host of the API; nothing is loaded from other hosts."""
    policy = dict(part.strip().split(b" ", 1) for part in CONTENT_SECURITY_POLICY.split(b";"))
    assert b"allow-scripts" in policy[b"sandbox"].split()
    assert b"allow-same-origin" not in policy[b"sandbox"]
    assert b"allow-top-navigation" not in policy[b"sandbox"]
    assert policy[b"default-src"] == b"'none'"
    sources = {source for name, value in policy.items() if name != b"sandbox" for source in value.split()}
    assert sources == {b"'none'", b"'self'", b"'unsafe-inline'", b"data:"}
    assert b"data:" not in policy[b"script-src"]


def test_pages_get_a_storage_in_their_head() -> None:
    """Right behind the beginning of the head, whatever is in it; what has no head stays as it is."""
    for head in (b"<head>", b'<HEAD lang="en">', b"<head\n class=x>"):
        page = b"<!doctype html><html>" + head + b"<title>x</title>"
        assert equipped(page) == b"<!doctype html><html>" + head + EQUIPMENT + b"<title>x</title>"
    for page in (b"", b"<h1>x</h1>", b"<header>", b"<header class=x>", b" " * HEAD_BYTES + b"<head>"):
        assert equipped(page) == page


@given(st.text(max_size=40), st.lists(st.sampled_from(["..", ".", "", "a", "%2e", "+doc", "+d"]), max_size=5))
def test_no_path_means_another_index(version: str, inside: list[str]) -> None:
    """Whatever follows, what is meant lies below the project that was asked for."""
    path = "/root/dev/my-thing/" + "/".join([version, "+doc", *inside])
    face = parse_face(path)
    if face is None or face.kind is not FaceKind.DOC:
        return
    try:
        found = wanted_at(path, b"")
    except ServiceError:
        return
    if isinstance(found, Elsewhere):
        target = found.location.lstrip("./")
        assert target.startswith("my-thing/")
        assert found.location.count("../") == path.count("/") - 3
    else:
        assert found.project == "my-thing"
