"""What the JSON API says of a page."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from countermark.core.digest import Sha256
from countermark.core.names import FileName, IndexName, NormalizedName
from services.index.json_api import (
    Addresses,
    Composer,
    SignedPage,
    described_hosted,
    latest_version,
    read_page,
    shown_version,
)
from shared.catalogue.reading import FileDetails, ReleaseDetails

PROJECT = NormalizedName("thing")
ADDRESSES = Addresses("https://i.test/root/stable/", PROJECT)


def page_of(**yanked: bool | str) -> tuple[SignedPage, dict[tuple[Sha256, FileName], FileDetails]]:
    """Return a page with one sdist per version (`v1_0` is 1.0), and the details of its files."""
    files: list[dict[str, Any]] = []
    details = {}
    for key, mark in yanked.items():
        version = key.removeprefix("v").replace("_", ".")
        name, sha256 = FileName(f"thing-{version}.tar.gz"), Sha256(f"{len(files):064x}")
        files.append(
            {
                "filename": name,
                "url": f"../../+f/000/{name}",
                "hashes": {"sha256": sha256},
                "size": 1,
                "upload-time": "2026-11-20T10:41:07.5Z",
                "yanked": mark,
            }
        )
        details[sha256, name] = FileDetails(version, "sdist", "md5", "blake2b")
    return SignedPage(7, [details[key].version for key in reversed(details)], files), details


class TestLatest:
    """Contract python-index section 1.9.5."""

    @pytest.mark.parametrize(
        ("marks", "expected"),
        [
            ({"v1_0": False, "v1_10": False, "v1_9": False}, "1.10"),
            ({"v1_0": False, "v2_0rc1": False}, "1.0"),
            ({"v1_0": True, "v2_0rc1": False, "v3_0a1": "bad"}, "2.0rc1"),
            ({"v1_0": True, "v2_0rc1": "bad"}, "2.0rc1"),
            ({"v1_0": False, "v1_0_post1": False, "v1_1_dev0": False}, "1.0.post1"),
        ],
        ids=["by version", "final first", "no final", "all yanked", "post and dev"],
    )
    def test_order(self, marks: dict[str, bool | str], expected: str) -> None:
        """Final releases that are not yanked come first, then others that are not, then the newest of all."""
        assert latest_version(*page_of(**marks)) == expected

    def test_partly_yanked(self) -> None:
        """A release of which one file can still be had is not yanked."""
        page, details = page_of(v1_0=False, v2_0=True)
        sha256, name = Sha256("f" * 64), FileName("thing-2.0-py3-none-any.whl")
        wheel = {**page.files[1], "filename": name, "hashes": {"sha256": sha256}, "yanked": False}
        details[sha256, name] = FileDetails("2.0", "bdist_wheel", "", "")
        assert latest_version(SignedPage(7, page.versions, [*page.files, wheel]), details) == "2.0"

    @given(st.dictionaries(st.sampled_from(["v1", "v1_0", "v2_0rc1", "v2", "v3_dev1"]), st.booleans(), min_size=1))
    def test_always_a_listed_one(self, marks: dict[str, bool | str]) -> None:
        """Whatever is listed and yanked, latest is one of the listed versions."""
        page, details = page_of(**marks)
        assert latest_version(page, details) in page.versions


@pytest.mark.parametrize(("wanted", "shown"), [("1.0", "1.0"), ("1", "1.0"), ("1.0.0", "1.0"), ("1.1", None)])
def test_equal_versions(wanted: str, shown: str | None) -> None:
    """A version means the listed one that is written or counts the same."""
    assert shown_version(page_of(v1_0=False)[0], wanted) == shown


def test_quarantined() -> None:
    """A quarantined project has no versions here, whatever its page says."""
    page = {"meta": {"_last-serial": 3}, "versions": ["1.0"], "files": [], "project-status": {"status": "quarantined"}}
    assert read_page(orjson.dumps(page)) == SignedPage(3, [], [])


def test_document() -> None:
    """Times come in both spellings; an unmarked file says so; URLs are whole; a yank without words has no reason."""
    page, details = page_of(v1_0=False, v2_0=True)
    release = described_hosted(ReleaseDetails("Thing", {}), IndexName("root", "stable"))
    document = orjson.loads(Composer(ADDRESSES, page, details).compose("2.0", release, all_releases=True))
    assert list(document["releases"]) == ["1.0", "2.0"]
    [file] = document["releases"]["1.0"]
    assert file["upload_time"] == "2026-11-20T10:41:07"
    assert file["upload_time_iso_8601"] == "2026-11-20T10:41:07.500000Z"
    assert file["url"] == "https://i.test/root/stable/+f/000/thing-1.0.tar.gz"
    assert (file["core-metadata"], file["requires_python"], file["python_version"]) == (False, None, "source")
    assert (document["urls"][0]["yanked"], document["urls"][0]["yanked_reason"]) == (True, None)
    assert (document["info"]["yanked"], document["info"]["yanked_reason"]) == (True, None)
    assert document["info"]["classifiers"] == []
    assert document["info"]["description"] == ""


def test_addresses() -> None:
    """A `+` is printed so that everybody reads it in one way (contract section 1.2.6)."""
    assert ADDRESSES.release("1.0+l") == "https://i.test/root/stable/pypi/thing/1.0%2Bl/json"
    assert ADDRESSES.page == "https://i.test/root/stable/+simple/thing/"
