"""A page of the past is part of the page of now, grows with the moment, and is in the end the page of now."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import orjson
from hypothesis import given
from hypothesis import strategies as st

from countermark.core.digest import sha256_of
from countermark.core.names import FileName, IndexName, NormalizedName
from shared.formats.interface import ProjectPage
from shared.formats.python.html import page_html
from shared.formats.python.merged import Part, merged_document
from shared.formats.python.pages import signed_link
from shared.formats.python.simple_pages import Raw, RawPage
from shared.formats.python.upstream import page_of_mirror, take_over
from shared.formats.registry import FORMATS
from shared.reading.asof import Dated, Published, cut, dated_files
from tests.unit.formats.pages import page_file

STAGE, MIRROR = IndexName("a", "top"), IndexName("root", "pypi")
PROJECT = NormalizedName("widget")
BEGIN, NOW = datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
NAMES = [f"widget-{version}{end}" for version in ("1.0", "1.0.1", "2.0") for end in (".tar.gz", "-py3-none-any.whl")]

moments = st.integers(0, 12).map(lambda months: BEGIN + timedelta(days=30 * months, microseconds=months))
listings = st.dictionaries(st.sampled_from(NAMES), st.one_of(st.none(), moments))


def made(hosted: Mapping[str, datetime | None], mirrored: Mapping[str, datetime | None]) -> tuple[bytes, Published]:
    """Return a merged page of a stage and a mirror, and what is known of the stage's publications."""
    files = [page_file(name) for name in hosted]
    stage = ProjectPage(STAGE, PROJECT, 1, "active", None, files)
    raw: list[Raw] = []
    for name, moment in mirrored.items():
        dated = {} if moment is None else {"upload-time": moment.isoformat()}
        raw.append({"filename": name, "url": name, "hashes": {"sha256": sha256_of(b"up" + name.encode())}} | dated)
    page = take_over(RawPage("https://up.test/simple/widget/", raw, name=PROJECT), PROJECT)
    parts = [
        Part(STAGE, next(iter(FORMATS["python"].render(stage, ()).values()))),
        Part(MIRROR, page_of_mirror(MIRROR, page)),
    ]
    known = {file.file_name: file for file in files}
    published = {
        (STAGE, known[FileName(name)].sha256, FileName(name)): Dated(known[FileName(name)].version, moment)
        for name, moment in hosted.items()
    }
    return merged_document(STAGE, PROJECT, 1, parts), published


def then(document: bytes, published: Published, at: datetime) -> bytes:
    """Return the page at a moment."""
    return cut(document, dated_files(document, STAGE, PROJECT, {MIRROR}, published), at)


def listed(document: bytes) -> list[str]:
    """Return what a page lists, in every form: the files, in their order, and the versions."""
    page = orjson.loads(document)
    files = [file["filename"] for file in page["files"]]
    html = page_html(document, signed_link).decode()
    assert [name for name in NAMES if f">{name}</a>" in html] == [name for name in NAMES if name in files]
    return files + [f"version {version}" for version in page["versions"]]


@given(listings, listings, moments, moments)
def test_the_past_is_part_of_now(
    hosted: dict[str, datetime | None], mirrored: dict[str, datetime | None], one: datetime, other: datetime
) -> None:
    """A page of the past lists nothing that the plain page does not, and no less at a later moment; cutting twice is
    cutting at the earlier moment."""
    document, published = made(hosted, mirrored)
    early, late = sorted([one, other])
    before, after = then(document, published, early), then(document, published, late)
    assert set(listed(before)) <= set(listed(after)) <= set(listed(document))
    assert then(after, published, early) == then(before, published, late) == before


@given(listings, listings, moments)
def test_what_is_listed_was_there(
    hosted: dict[str, datetime | None], mirrored: dict[str, datetime | None], at: datetime
) -> None:
    """Exactly the files whose time is known and has come, each by the index that the plain page has it from; at the
    end of time that is the plain page, as far as times are known."""
    document, published = made(hosted, mirrored)
    nearest = mirrored | hosted
    names = {name for name, since in nearest.items() if since is not None and since <= at}
    assert {file["filename"] for file in orjson.loads(then(document, published, at))["files"]} == names
    if None not in nearest.values():
        assert then(document, published, NOW) == document
