"""Reading a page document and choosing from it as an installer does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from packaging.tags import Tag
from packaging.version import Version

from countermark.core.page import MalformedPage, PageFile, choose, parse_page

TAGS = (Tag("cp312", "cp312", "linux_x86_64"), Tag("cp312", "abi3", "linux_x86_64"), Tag("py3", "none", "any"))
PYTHON = Version("3.12.1")


def _entry(name: str, **more: Any) -> dict[str, Any]:
    return {"filename": name, "url": name, "hashes": {"sha256": "a" * 64}, **more}


def _page(*entries: dict[str, Any]) -> bytes:
    return json.dumps(
        {"meta": {"api-version": "1.4", "_index": "root/stable"}, "name": "widget", "files": list(entries)}
    ).encode()


def _chosen(*entries: dict[str, Any]) -> str | None:
    file = choose(parse_page(_page(*entries)).files, TAGS, PYTHON)
    return file.distribution.file_name if file else None


def test_the_best_wheel_wins() -> None:
    """Tags decide before order: the most specific wheel that runs here is taken, a foreign one never."""
    names = [
        "widget-1-py3-none-any.whl",
        "widget-1.tar.gz",
        "widget-1-cp312-abi3-linux_x86_64.whl",
        "widget-1-cp312-cp312-win_amd64.whl",
    ]
    assert _chosen(*map(_entry, names)) == "widget-1-cp312-abi3-linux_x86_64.whl"


def test_the_highest_build_number_wins() -> None:
    """Of two wheels of one tag the later build is taken."""
    names = ["widget-1-2-py3-none-any.whl", "widget-1-10-py3-none-any.whl", "widget-1-py3-none-any.whl"]
    assert _chosen(*map(_entry, names)) == "widget-1-10-py3-none-any.whl"


def test_the_sdist_is_the_last_resort() -> None:
    """Without a wheel that runs here the sdist is taken; without either, nothing."""
    foreign = _entry("widget-1-cp312-cp312-win_amd64.whl")
    assert _chosen(foreign, _entry("widget-1.tar.gz")) == "widget-1.tar.gz"
    assert _chosen(foreign) is None


def test_requires_python_and_yanked() -> None:
    """A file for another Python is left out, a yanked one taken only where no other fits."""
    other = _entry("widget-1-py3-none-any.whl", **{"requires-python": ">=3.13"})
    assert _chosen(other, _entry("widget-1.tar.gz")) == "widget-1.tar.gz"
    yanked = _entry("widget-1-py3-none-any.whl", yanked="broken")
    assert _chosen(yanked, _entry("widget-1.tar.gz")) == "widget-1.tar.gz"
    assert _chosen(yanked) == "widget-1-py3-none-any.whl"


def test_versions_are_compared_as_versions() -> None:
    """1.0 asks for the files of 1.0.0."""
    page = parse_page(_page(_entry("widget-1.0.0.tar.gz"), _entry("widget-1.0.1.tar.gz"), _entry("README.txt")))
    found: tuple[PageFile, ...] = page.of_version(Version("1.0"))
    assert [file.distribution.file_name for file in found] == ["widget-1.0.0.tar.gz"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b'{"meta": {}, "name": "widget", "files": []}',
        b'{"meta": {"_index": "root/stable", "_index": "root/stable"}, "name": "widget", "files": []}',
        b'{"meta": {"_index": "nonsense"}, "name": "widget", "files": []}',
        b'{"meta": {"_index": "root/stable"}, "name": "widget", "files": null}',
        _page({"filename": "widget-1.tar.gz", "hashes": {}}),
        _page({"filename": "widget-1.tar.gz", "hashes": {"sha256": "A" * 64}}),
        _page({"hashes": {"sha256": "a" * 64}}),
    ],
)
def test_malformed_pages(data: bytes) -> None:
    """A page without index, name, files, digests or with a key twice is refused."""
    with pytest.raises(MalformedPage):
        parse_page(data)
