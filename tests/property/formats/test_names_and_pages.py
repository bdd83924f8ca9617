"""File names and page documents for any input."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.utils import canonicalize_name
from packaging.version import Version

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName, IndexName, page_target, parse_project_name
from countermark.core.pointer import parse_latest, parse_pointer
from shared.formats.interface import InvalidFile, PageFile, ProjectPage
from shared.formats.python.html import page_html
from shared.formats.python.names import file_stem, parse_name, release_key
from shared.formats.python.pages import signed_link
from shared.formats.registry import FORMATS

_NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)
_VERSIONS = st.builds(
    lambda epoch, release, pre, post, dev, local: str(Version(f"{epoch}{release}{pre}{post}{dev}{local}")),
    st.sampled_from(["", "1!"]),
    st.lists(st.integers(0, 99), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts))),
    st.sampled_from(["", "a1", "b2", "rc3"]),
    st.sampled_from(["", ".post1"]),
    st.sampled_from(["", ".dev4"]),
    st.sampled_from(["", "+cu121", "+a.1"]),
)
_AFTER_RELEASE = re.compile(r"(?:\d+!)?\d+(?:\.\d+)*")
"""What a version is written with before its suffixes."""
_TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=30)
_TAGS = st.sampled_from(["-py3-none-any.whl", "-1-cp311-cp311-win32.whl", ".tar.gz"])


@given(_NAMES, _VERSIONS, _TAGS)
def test_normalised_names_are_read_back(name: str, version: str, tag: str) -> None:
    """Every project and version has file names that say them."""
    coordinates = parse_name(f"{file_stem(canonicalize_name(name), version)}{tag}")
    assert (coordinates.project, coordinates.version) == (canonicalize_name(name), version)


@given(_VERSIONS, _VERSIONS, st.integers(0, 3))
def test_versions_have_one_key_exactly_when_they_are_equal(one: str, other: str, zeros: int) -> None:
    """Zeros at the end of the release segment alone make no other version, and no two versions meet in a key."""
    assert (release_key(one) == release_key(other)) == (Version(one) == Version(other))
    version = Version(one)
    release = ".".join(map(str, (*version.release, *([0] * zeros))))
    epoch = f"{version.epoch}!" if version.epoch else ""
    longer = epoch + release + _AFTER_RELEASE.sub("", one, count=1)
    assert Version(longer) == version
    assert release_key(longer) == release_key(one)


@given(st.text(max_size=60) | st.builds("{}-{}{}".format, st.text(max_size=9), st.text(max_size=9), _TAGS))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    """A name that is taken is taken unchanged; others are refused in ASCII."""
    try:
        words = parse_name(text).file_name
        assert words == text
    except InvalidFile as error:
        words = FileName(str(error))
    assert words.isascii()


@st.composite
def _pages(draw: st.DrawFn) -> ProjectPage:
    stems = draw(st.dictionaries(st.tuples(_VERSIONS, _TAGS), st.tuples(st.none() | _TEXTS, _TEXTS), max_size=6))
    files = [
        PageFile(
            file_name=FileName(f"widget-{version}{tag}"),
            version=version,
            package_type="sdist" if tag == ".tar.gz" else "bdist_wheel",
            sha256=Sha256(draw(st.text("0123456789abcdef", min_size=64, max_size=64))),
            length=Length(draw(st.integers(1, 1 << 40))),
            requires_python=requires or None,
            uploaded_at=draw(st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))),  # noqa: DTZ001
            yanked=yanked,
            core_metadata_sha256=None,
        )
        for (version, tag), (yanked, requires) in stems.items()
    ]
    status = draw(st.sampled_from(["active", "archived", "deprecated", "quarantined"]))
    return ProjectPage(
        IndexName("root", "stable"), parse_project_name("widget"), 7, status, draw(st.none() | _TEXTS), files
    )


@settings(deadline=None)
@given(_pages(), st.randoms())
def test_what_is_signed_depends_on_the_page_alone(page: ProjectPage, random: Random) -> None:
    """Any order of files gives the same bytes; pointers and latest are read back; the page lists what it was given."""
    names = {file.file_name for file in page.files}
    render = FORMATS["python"].render
    targets = render(page, names)
    shuffled = list(page.files)
    random.shuffle(shuffled)
    again = ProjectPage(page.index, page.project, page.serial, page.status, page.status_reason, shuffled)
    assert list(render(again, names).items()) == list(targets.items())
    document = json.loads(targets[page_target(page.project)])
    listed = {file["filename"] for file in document["files"]}
    assert listed == (set() if page.status == "quarantined" else names)
    versions = [Version(version) for version in document["versions"]]
    assert versions == sorted(versions, reverse=True)
    assert set(document["versions"]) == {file.version for file in page.files if listed}
    for target, data in targets.items():
        if target.endswith("_latest.pointer"):
            assert parse_latest(data).file in listed
        elif target.endswith(".pointer"):
            assert parse_pointer(data).file_name in listed


@settings(deadline=None)
@given(_pages())
def test_html_never_gains_a_tag(page: ProjectPage) -> None:
    """Whatever the texts, the HTML has one anchor for each listed file and one comment."""
    document = FORMATS["python"].render(page, ())[page_target(page.project)]
    html = page_html(document, signed_link).decode()
    files = json.loads(document)["files"]
    assert html.count("<a ") == html.count("</a>") == len(files)
    assert html.count("<!--") == 1
    assert html.count("<") == html.count(">")
