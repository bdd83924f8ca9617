"""What a mirror takes over from a page of its upstream."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from packaging.utils import NormalizedName

from countermark.core.names import FileName, IndexName
from shared.formats.python.foreign import version_named
from shared.formats.python.simple_pages import JSON_TYPE, UnreadablePage, read_page
from shared.formats.python.upstream import UpstreamPage, page_of_mirror, take_over

_HELLO = NormalizedName("hello")
_URL = "https://index.example/simple/hello/"
_DIGEST = "ab" * 32
_OTHER = "cd" * 32


def _file(name: str = "hello-1.0.tar.gz", **fields: Any) -> dict[str, Any]:
    return {"filename": name, "url": f"/f/{name}", "hashes": {"sha256": _DIGEST}, **fields}


def _page(*files: Any, **keys: Any) -> UpstreamPage:
    return _page_at(_URL, *files, **keys)


def _page_at(url: str, *files: Any, **keys: Any) -> UpstreamPage:
    document = {"meta": {"api-version": "1.4"}, "name": "hello", "files": list(files), **keys}
    return take_over(read_page(json.dumps(document).encode(), JSON_TYPE, url), _HELLO)


def _entry(**fields: Any) -> dict[str, Any]:
    page = _page(_file(**fields))
    return dict(json.loads(page.files[FileName("hello-1.0.tar.gz")].entry))


def test_every_field_is_passed_on() -> None:
    """Times, sizes, yanks, requirements, metadata digests, provenance and keys unknown here come along as written."""
    name = FileName("hello-1.0-py3-none-any.whl")
    page = _page(
        _file(
            name,
            **{
                "size": 7,
                "upload-time": "2026-01-02T03:04:05.678901Z",
                "requires-python": ">=3.9",
                "yanked": "broken",
                "core-metadata": {"sha256": _OTHER},
                "provenance": "https://index.example/integrity/x",
                "gpg-sig": False,
                "novelty": {"a": [1]},
                "_private": 1,
            },
        ),
        versions=["2.0", "1.0"],
        **{"project-status": {"status": "archived", "reason": "done"}},
    )
    document = json.loads(page_of_mirror(IndexName("root", "pypi"), page))
    assert document == {
        "meta": {"api-version": "1.4", "_last-serial": 0, "_index": "root/pypi"},
        "name": "hello",
        "project-status": {"status": "archived", "reason": "done"},
        "versions": ["2.0", "1.0"],
        "files": [
            {
                "filename": name,
                "url": f"../../+f/{_DIGEST[:3]}/{_DIGEST[3:16]}/{name}",
                "hashes": {"sha256": _DIGEST},
                "requires-python": ">=3.9",
                "size": 7,
                "upload-time": "2026-01-02T03:04:05.678901Z",
                "yanked": "broken",
                "core-metadata": {"sha256": _OTHER},
                "data-dist-info-metadata": {"sha256": _OTHER},
                "provenance": f"../../+f/{_DIGEST[:3]}/{_DIGEST[3:16]}/{name}.provenance",
                "gpg-sig": False,
                "novelty": {"a": [1]},
            }
        ],
    }
    origin = page.files[name].origin
    assert (origin.url, origin.length) == (f"https://index.example/f/{name}", 7)
    assert (origin.metadata_sha256, origin.provenance) == (_OTHER, "https://index.example/integrity/x")


@pytest.mark.parametrize("key", ["upload-time", "size", "requires-python", "core-metadata", "provenance", "novelty"])
def test_null_is_left_out(key: str) -> None:
    """Installers that fail on null never see one."""
    assert key not in _entry(**{key: None})


@pytest.mark.parametrize("said", ["2026-01-02", "2026-01-02T03:04:05", 7, "yesterday", "9999-99-99T00:00:00Z", ""])
def test_a_time_that_is_none_is_left_out(said: object) -> None:
    """A time without a zone, and what is no time, is unknown: what is held by age fails closed on it."""
    assert "upload-time" not in _entry(**{"upload-time": said})


def test_a_time_with_another_zone_is_written_as_utc() -> None:
    """Installers compare times that end with `Z`."""
    assert _entry(**{"upload-time": "2026-01-02T03:04:05+01:00"})["upload-time"] == "2026-01-02T02:04:05Z"


@pytest.mark.parametrize(
    ("said", "shown"), [(None, False), (False, False), (True, True), ("", True), ("why", "why"), ("a\0b", True)]
)
def test_yanks_mean_the_same_to_all_installers(said: object, shown: object) -> None:
    """An empty reason becomes `true`."""
    assert _entry(yanked=said)["yanked"] == shown


@pytest.mark.parametrize(
    ("said", "shown"), [(">=3.6.*", ">=3.6"), (">=3.8", ">=3.8"), ("python3", None), (">=3." + "9" * 5000, None)]
)
def test_requirements_are_read_alike_by_all(said: str, shown: str | None) -> None:
    """What hides a file from one installer and not from another is mended or left out."""
    assert _entry(**{"requires-python": said}).get("requires-python") == shown


@pytest.mark.parametrize("said", [True, {}, {"md5": "ab"}, {"sha256": "ab"}, "sha256=ab"])
def test_metadata_without_a_digest_are_not_announced(said: object) -> None:
    """What cannot be checked is not passed on."""
    assert "core-metadata" not in _entry(**{"core-metadata": said})


@pytest.mark.parametrize(
    "file",
    [
        _file(hashes={"md5": "ab"}),
        _file(hashes={}),
        _file(hashes=None),
        _file("../hello-1.0.tar.gz"),
        _file("hello-1.0.tar.gz/x"),
        _file("hello-1.0.txt"),
        _file("other-1.0.tar.gz"),
        _file("hello-.tar.gz"),
        _file(url="http://index.example/f"),
        _file(url="file:///etc/passwd"),
        _file(url="https://user:word@host/f"),
        _file(url="https://[::1"),
        _file(url=7),
        {"filename": 7},
        {},
    ],
)
def test_a_bad_file_is_left_out_and_counted(file: dict[str, Any]) -> None:
    """It does not take the others with it."""
    page = _page(file, _file("hello-2.0.tar.gz"))
    assert list(page.files) == ["hello-2.0.tar.gz"]
    assert sum(page.skipped.values()) == 1


def test_a_plain_index_may_link_plainly() -> None:
    """A page over http leads to files over http."""
    assert _page_at("http://127.0.0.1/simple/hello/", _file()).files


def test_a_name_with_two_digests_refuses_the_page() -> None:
    """Nobody can tell which of the two is meant; the same file twice is one file."""
    assert len(_page(_file(), _file()).files) == 1
    with pytest.raises(UnreadablePage, match="twice"):
        _page(_file(), _file(hashes={"sha256": _OTHER}))


def test_the_page_of_another_project_is_refused() -> None:
    """A name that is spelled in another way is the same project's."""
    assert _page(name="HELLO").files == {}
    for name in ("world", 7, ""):
        with pytest.raises(UnreadablePage, match="was asked for"):
            _page(name=name)


def test_quarantine_upstream_lists_nothing() -> None:
    """Also when the upstream still lists files; the status may be written as the specification's own example has it."""
    for status in ({"status": "quarantined"}, "quarantined"):
        page = _page(_file(), **{"project-status": status})
        assert (page.status[0], page.files) == ("quarantined", {})


def test_too_many_unknown_keys_are_dropped() -> None:
    """They do not make a page as large as an upstream likes."""
    entry = _entry(novelty="x" * 5000)
    assert "novelty" not in entry
    assert entry["hashes"] == {"sha256": _DIGEST}


def test_html_says_the_same() -> None:
    """A page in HTML is taken over like one in JSON."""
    body = f"""<html><head><base href="https://files.example/"><meta name="pypi:project-status" content="archived">
        </head><body><script>alert(1)</script>
        <a href="f/hello-1.0-py3-none-any.whl#sha256={_DIGEST.upper()}" data-requires-python="&gt;=3.9" data-yanked=""
        data-core-metadata="sha256={_OTHER}" data-upload-time="2026-01-02T03:04:05Z" data-size="7">x</a>
        </body></html><!--SERIAL 12-->"""
    page = take_over(read_page(body.encode(), "text/html", _URL), _HELLO)
    (listed,) = page.files.values()
    entry = json.loads(listed.entry)
    assert listed.origin.url == "https://files.example/f/hello-1.0-py3-none-any.whl"
    assert (entry["size"], entry["yanked"], entry["requires-python"]) == (7, True, ">=3.9")
    assert (entry["core-metadata"], entry["upload-time"]) == ({"sha256": _OTHER}, "2026-01-02T03:04:05Z")
    assert (page.serial, page.status, page.versions) == (12, ("archived", ""), ("1.0",))


@pytest.mark.parametrize("body", [b"[" * 10_000, b"{}", b'{"meta":{"api-version":"2.0"},"files":[]}', b"\xff", b"7"])
def test_what_is_no_page_is_refused(body: bytes) -> None:
    """Depth, other versions and other documents alike."""
    with pytest.raises(UnreadablePage):
        read_page(body, JSON_TYPE, _URL)


def test_depth_of_html_costs_nothing() -> None:
    """A hundred thousand open elements are read like none."""
    assert read_page(b"<div>" * 100_000, "text/html", _URL).files == []


@pytest.mark.parametrize("digest", [int("1" * 64), None, ["ab" * 32], True])
def test_a_digest_is_a_text(digest: object) -> None:
    """A number of sixty-four digits is none, though it reads like one."""
    page = _page(_file(hashes={"sha256": digest}))
    assert page.files == {}
    assert page.skipped == {"the upstream names no sha256 digest": 1}


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("hello-1.0-py3-none-any.whl", "1.0"),
        ("hello-1.0-1-py3-none-any.whl", "1.0"),
        ("HELLO-1.0.0rc1-py3-none-any.whl", "1.0.0rc1"),
        ("hello-1.0-py3-none.whl", None),
        ("hello-1.0.whl", None),
        ("hello-x-py3-none-any.whl", None),
        ("other-1.0-py3-none-any.whl", None),
        ("hello-1.0-py3-none-any.WHL", "1.0"),
    ],
)
def test_which_version_a_wheel_is_of(name: str, version: str | None) -> None:
    """By its name alone; what no file of the project is called is left out."""
    assert version_named(name, _HELLO) == version


def test_entries_take_the_memory_of_their_length() -> None:
    """A page has up to tens of thousands of files, and all their entries are in memory until the page is kept."""
    raw = read_page(
        json.dumps(
            {
                "meta": {"api-version": "1.4"},
                "name": "hello",
                "files": [_file(f"hello-1.{n}.tar.gz") for n in range(500)],
            }
        ).encode(),
        JSON_TYPE,
        _URL,
    )
    take_over(raw, _HELLO)
    tracemalloc.start()
    try:
        page = take_over(raw, _HELLO)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(page.files) == 500
    assert held / 500 < 2_000
