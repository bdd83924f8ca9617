"""Where things lie. Source: architecture sections 3, 6 and 11.4."""

from __future__ import annotations

from pathlib import Path

import pytest

from countermark.core.errors import UsageFault
from countermark.location import origin_of, parse_location


@pytest.mark.parametrize(
    "text", ["https://host/root/stable", "https://HOST:443/root/stable/", "https://host/root/stable/+simple/"]
)
def test_index_urls(text: str) -> None:
    """An index URL, with or without its simple face, is read below `+tuf`."""
    location = parse_location(text)
    assert str(location.index) == "root/stable"
    assert location.url == "https://host/root/stable"
    assert location.deployment == "https://host"
    assert location.metadata_url == "https://host/root/stable/+tuf/metadata"
    assert location.targets_url == "https://host/root/stable/+tuf/targets"
    assert location.artifact_base == "https://host/root/stable/+tuf"


@pytest.mark.parametrize("tail", ["", "/", "/simple/"])
def test_static_trees(tail: str) -> None:
    """A static tree is read in place, its files beside `indexes`, below any prefix."""
    location = parse_location(f"http://bucket.example:8080/some/prefix/indexes/root/stable{tail}")
    assert location.metadata_url == "http://bucket.example:8080/some/prefix/indexes/root/stable/metadata"
    assert location.targets_url == "http://bucket.example:8080/some/prefix/indexes/root/stable/targets"
    assert location.deployment == location.artifact_base == "http://bucket.example:8080/some/prefix"


def test_folders(tmp_path: Path) -> None:
    """A path and its file URL are the same tree."""
    folder = tmp_path / "my data" / "indexes" / "root" / "stable"
    location = parse_location(str(folder))
    assert location == parse_location(folder.as_uri())
    assert location.artifact_base == (tmp_path / "my data").as_uri()


def test_artifact_urls_are_encoded() -> None:
    """Each segment of a pointer's uri is percent-encoded, `+` as `%2B`; slashes stay."""
    location = parse_location("https://host/root/stable")
    url = location.artifact_url("/files/ab/cd/widget-1!2.0+local-py3-none-any.whl")
    assert url == "https://host/root/stable/+tuf/files/ab/cd/widget-1%212.0%2Blocal-py3-none-any.whl"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://host",
        "https://host/simple/",
        "https://host/only",
        "https://host/+api/x",
        "https://host/files/x",
        "https://host/root/stable?x=1",
        "https://host/root/stable#x",
        "https://host/../root/stable",
        "https://host/%2e%2e/root/stable",
        "https://host:port/root/stable",
        "https:///root/stable",
        "ftp://host/root/stable",
        "s3://bucket/indexes/root/stable",
        "file://elsewhere/indexes/root/stable",
        "file:///some/folder/root/stable",
        "https://host/root/sta\nble",
    ],
)
def test_what_is_no_repository(text: str) -> None:
    """What names no index is a usage fault with words on what to write."""
    with pytest.raises(UsageFault) as caught:
        parse_location(text)
    assert caught.value.remedy


def test_credentials_in_a_url_are_dropped() -> None:
    """No URL of a location, and no message about it, holds credentials."""
    location = parse_location("https://user:s3cret@host/root/stable")
    assert "s3cret" not in repr(location)
    with pytest.raises(UsageFault) as caught:
        parse_location("https://user:s3cret@host/only")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://localhost:3141", True),
        ("http://127.8.8.8", True),
        ("http://[::1]:80", True),
        ("http://registry.localhost", True),
        ("http://10.0.0.1", False),
        ("https://localhost.example", False),
    ],
)
def test_loopback(url: str, loopback: bool) -> None:
    """Only what must be this machine counts as this machine."""
    assert origin_of(url).is_loopback is loopback
