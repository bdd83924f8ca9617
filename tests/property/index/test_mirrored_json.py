"""The JSON API and the page of a mirrored project agree on what is hidden, whatever the rules and the upstream say."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from countermark.core.names import IndexName, NormalizedName
from services.index.json_api import Addresses, Composer, latest_version, read_page, shown_version
from services.index.mirrored_releases import described_upstream, detailed, mirrored_files, with_releases
from shared.formats.python.json_facts import JsonFacts, pack_facts, read_facts, unpack_facts
from shared.formats.python.names import release_key
from shared.formats.python.origins import pack_files
from shared.formats.python.simple_pages import RawPage
from shared.formats.python.upstream import UpstreamPage, page_of_mirror, take_over
from shared.reading.mirrored import shown_document
from shared.reading.policy import Exemption, Policy, judge_file

_NOW = datetime(2026, 5, 1, tzinfo=UTC)
_MIRROR = IndexName("a", "mirror")
_THING = NormalizedName("thing")
_VERSIONS = st.sampled_from(["1.0", "1.0.0", "1.1", "2.0rc1", "2.0", "3.0.dev1", "4.0+l"])
_ENDS = st.sampled_from([".tar.gz", "-py3-none-any.whl", ".zip"])
_DAYS = st.integers(-2, 12)


@st.composite
def _files(draw: st.DrawFn) -> list[dict[str, Any]]:
    names = draw(st.lists(st.tuples(_VERSIONS, _ENDS), unique=True, max_size=6))
    files = []
    for number, (version, end) in enumerate(names):
        age = draw(st.none() | _DAYS)
        file: dict[str, Any] = {
            "filename": f"thing-{version}{end}",
            "url": f"https://files.test/thing-{version}{end}",
            "hashes": {"sha256": f"{number + 1:064x}"},
            "yanked": draw(st.sampled_from([False, True, "bad"])),
        }
        if age is not None:
            file["upload-time"] = (_NOW - timedelta(days=age)).isoformat().replace("+00:00", "Z")
        files.append(file)
    return files


_EXEMPTIONS = st.builds(
    Exemption,
    project=st.just(_THING),
    version=st.none() | _VERSIONS,
    until=_DAYS.map(lambda days: _NOW + timedelta(days=days)),
    owner=st.just("ann"),
    reason=st.just("a fix"),
)
_POLICIES = st.builds(
    Policy,
    index=st.sampled_from([IndexName("a", "top"), _MIRROR]),
    min_age=st.integers(0, 10).map(lambda days: timedelta(days=days)),
    exemptions=st.lists(_EXEMPTIONS, max_size=2).map(tuple),
)


def _said(files: list[dict[str, Any]], version: str) -> JsonFacts:
    """Return what an upstream says that hides nothing: of every file, and a text about the version."""
    listed = [{"filename": file["filename"], "digests": file["hashes"], "comment_text": "c"} for file in files]
    document = {"info": {"name": "thing", "version": version, "summary": f"text of {version}"}, "urls": listed}
    return unpack_facts(pack_facts(read_facts(orjson.dumps(document), _THING, None)))


def _document(page: bytes, files: list[dict[str, Any]], wanted: str | None) -> Mapping[str, Any] | None:
    """Return the document of a page, as `services.index.json_documents` makes it, None where there is none."""
    listed = read_page(page)
    mirrored = mirrored_files(listed, _MIRROR, [_MIRROR], _THING)
    listed = with_releases(listed, mirrored)
    details = dict(mirrored.get(_MIRROR, {}))
    if not listed.versions:
        return None
    version = latest_version(listed, details) if wanted is None else shown_version(listed, wanted)
    if version is None:
        return None
    facts = _said(files, version)
    composer = Composer(Addresses("https://i.test/a/top/", _THING), listed, detailed(details, facts))
    release = described_upstream(facts, _THING)
    found: dict[str, Any] = orjson.loads(composer.compose(version, release, all_releases=wanted is None))
    return found


def _taken(files: list[dict[str, Any]], versions: list[str] | None) -> UpstreamPage:
    return take_over(RawPage("https://up.test/simple/thing/", [*files], versions=versions), _THING)


@settings(max_examples=1000, deadline=None)
@given(files=_files(), policies=st.lists(_POLICIES, max_size=2), named=st.booleans())
def test_a_document_shows_what_the_page_shows(files: list[dict[str, Any]], policies: list[Policy], named: bool) -> None:
    """The same files and versions, and nothing of those that the one decision hides; a release whose files are all
    hidden has no document, and is not the one that stands for the project."""
    versions = list({str(file["filename"].split("-")[1]).removesuffix(".zip"): 0 for file in files}) if named else None
    page = _taken(files, None if versions is None else [one.removesuffix(".tar.gz") for one in versions])
    whole = page_of_mirror(_MIRROR, page)
    shown, _ = shown_document(whole, pack_files(page.files), policies, _THING, _NOW)
    visible = {
        name: listed.version
        for name, listed in page.files.items()
        if judge_file(policies, _THING, listed.version, listed.origin.uploaded_at, _NOW) is None
    }
    kept = {release_key(version) for version in visible.values()}
    document = _document(shown, files, None)
    if not visible:
        assert document is None
    else:
        assert document is not None
        releases = document["releases"]
        assert sorted(file["filename"] for group in releases.values() for file in group) == sorted(visible)
        assert {release_key(version) for version in releases} == kept
        assert release_key(document["info"]["version"]) in kept
        assert document["urls"] == releases[document["info"]["version"]]
    for listed in page.files.values():
        release = _document(shown, files, listed.version)
        assert (release is not None) == (release_key(listed.version) in kept)
        if release is not None:
            assert document is not None
            assert release["urls"] == document["releases"][release["info"]["version"]]
