"""What the installers ask on the wire, seen by a recording proxy in front of the deployment, and what they get."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.archives import make_wheel, wheel_name
from tests.support.clients import uv_publish
from tests.support.installers import POETRY, Source, Wish, installed, pip, uv
from tests.support.processes import Deployment
from tests.support.recorder import Exchange, Recorder, recording
from tests.support.tools import Tools

LARGE = 3 * 1024 * 1024
"""Bytes of a wheel that nobody wants to load for its metadata."""

WHEEL = wheel_name("wire-large", "1.0")


@pytest.fixture(scope="module")
def large(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a large wheel that is published, and of a small one that it needs."""
    folder = tmp_path_factory.mktemp("wire")
    content = make_wheel("wire-large", "1.0", requires_dist=["wire-small"], payload_bytes=LARGE)
    (folder / WHEEL).write_bytes(content)
    (folder / wheel_name("wire-small", "1.0")).write_bytes(make_wheel("wire-small", "1.0"))
    done = uv_publish(f"{deployment.api}/root/stable/", deployment.token(), *folder.iterdir())
    assert done.returncode == 0, done.stderr
    return content


@pytest.fixture
def wire(deployment: Deployment, large: bytes) -> Iterator[Recorder]:
    """A recording proxy in front of the deployment, on which the large wheel is published."""
    assert len(large) > LARGE
    with recording(deployment.api) as recorder:
        yield recorder


def wish_at(wire: Recorder, folder: Path, requirement: str = "wire-large") -> Wish:
    """Return a wish that goes through the proxy."""
    return Wish(requirement, Source(f"{wire.url}/root/stable/+simple/"), folder)


def without_metadata(exchange: Exchange, body: bytes) -> bytes:
    """Take the offer of metadata from a page, as a mirror does that does not have it."""
    if exchange.answered.get("content-type") != "application/vnd.pypi.simple.v1+json":
        return body
    page = json.loads(body)
    for file in page.get("files", ()):
        for key in ("core-metadata", "data-dist-info-metadata"):
            file.pop(key, None)
    return json.dumps(page).encode()


def test_pip_resolves_from_metadata_alone(wire: Recorder, tools: Tools, tmp_path: Path) -> None:
    """A dry run asks for pages and `.metadata`, and for no wheel."""
    said = pip(tools, wish_at(wire, tmp_path / "consumer"), "--dry-run")
    assert "Would install wire-large-1.0 wire-small-1.0" in said
    assert len(wire.of(f"{WHEEL}.metadata")) == 1
    assert wire.of(WHEEL) == []
    (page,) = wire.of("/+simple/wire-large/")
    assert page.answered["content-type"] == "application/vnd.pypi.simple.v1+json"


def test_uv_resolves_from_metadata_alone(wire: Recorder, tools: Tools, tmp_path: Path) -> None:
    """A resolution asks for pages and `.metadata`, and for no wheel."""
    said = uv(tools, wish_at(wire, tmp_path / "consumer"), "--dry-run")
    assert "+ wire-large==1.0" in said
    assert len(wire.of(f"{WHEEL}.metadata")) == 1
    assert wire.of(WHEEL) == []


def test_uv_revalidates_pages_and_keeps_files(wire: Recorder, tools: Tools, tmp_path: Path) -> None:
    """A second installation that looks again is answered 304 without a body, and asks for no file."""
    wish = wish_at(wire, tmp_path / "consumer")
    uv(tools, wish)
    assert len(wire.of(WHEEL)) == 1
    wire.forget()
    again = wish_at(wire, tmp_path / "again")
    uv(tools, again, "--refresh")
    assert installed(again.environment) == {"wire-large": "1.0", "wire-small": "1.0"}
    (page,) = wire.of("/+simple/wire-large/")
    assert "if-none-match" in page.asked
    assert (page.status, page.length) == (304, 0)
    assert all(seen.status == 304 for seen in wire.exchanges), wire.exchanges


def test_pip_revalidates_pages_and_keeps_files(wire: Recorder, tools: Tools, tmp_path: Path) -> None:
    """pip's second installation asks for the page with its ETag, gets 304, and takes the wheel from its cache."""
    options = ("--trusted-host", wire.url.removeprefix("http://"))
    pip(tools, wish_at(wire, tmp_path / "consumer"), *options)
    assert len(wire.of(WHEEL)) == 1
    wire.forget()
    again = wish_at(wire, tmp_path / "again")
    pip(tools, again, *options)
    assert installed(again.environment) == {"wire-large": "1.0", "wire-small": "1.0"}
    (page,) = wire.of("/+simple/wire-large/")
    assert (page.status, page.length) == (304, 0)
    assert wire.of(WHEEL) == []


def test_uv_reads_metadata_by_ranges_where_none_is_offered(wire: Recorder, tools: Tools, tmp_path: Path) -> None:
    """Behind a mirror without metadata, uv asks for ranges of the wheel, gets 206, and never loads all of it."""
    wire.change = without_metadata
    uv(tools, wish_at(wire, tmp_path / "consumer"), "--dry-run")
    assert_read_by_ranges(wire)


def test_poetry_reads_metadata_by_ranges_where_none_is_offered(wire: Recorder, tools: Tools, tmp_path: Path) -> None:
    """poetry's lazy wheel does the same when it locks."""
    wire.change = without_metadata
    POETRY.lock(tools, wish_at(wire, tmp_path / "consumer"))
    assert_read_by_ranges(wire)


def assert_read_by_ranges(wire: Recorder) -> None:
    """Check that the large wheel was asked for in parts only, and that each part was answered as asked."""
    assert wire.of(f"{WHEEL}.metadata") == []
    parts = wire.of(WHEEL)
    assert parts, wire.exchanges
    assert all("range" in part.asked and part.status == 206 for part in parts)
    assert sum(part.length for part in parts) < LARGE // 2
    for part in parts:
        unit, _, span = part.answered["content-range"].partition(" ")
        first, last = map(int, span.partition("/")[0].split("-"))
        assert (unit, last - first + 1) == ("bytes", part.length)
    for head in wire.of(WHEEL, "HEAD"):
        assert (head.status, head.answered["accept-ranges"]) == (200, "bytes")
        assert int(head.answered["content-length"]) > LARGE


def test_uv_asks_head_before_ranges(wire: Recorder, tools: Tools, large: bytes, tmp_path: Path) -> None:
    """uv learns the length of a wheel by HEAD, which names it without a body."""
    wire.change = without_metadata
    uv(tools, wish_at(wire, tmp_path / "consumer"), "--dry-run")
    (head,) = wire.of(WHEEL, "HEAD")
    assert (head.status, head.answered["content-length"], head.length) == (200, str(len(large)), 0)


def test_pip_resumes_a_download_that_broke(wire: Recorder, tools: Tools, tmp_path: Path) -> None:
    """When the connection breaks in the middle of a wheel, pip asks for the rest under If-Range and gets just that."""
    broken: list[Exchange] = []

    def cut(exchange: Exchange) -> int | None:
        if exchange.method != "GET" or not exchange.path.endswith(WHEEL) or broken:
            return None
        broken.append(exchange)
        return LARGE // 2

    wire.cut = cut
    wish = wish_at(wire, tmp_path / "consumer")
    pip(tools, wish)
    assert installed(wish.environment) == {"wire-large": "1.0", "wire-small": "1.0"}
    first, rest = wire.of(WHEEL)
    assert rest.asked["if-range"] == first.answered["etag"]
    assert rest.asked["range"].startswith("bytes=")
    assert (rest.status, rest.length < first.length) == (206, True)
    assert rest.answered["content-range"].endswith(f"-{first.length - 1}/{first.length}")
