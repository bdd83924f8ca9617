"""A merged view is the merge of its members, and every way to read it says the same. Contract devpi section 15."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from typing import Any
from uuid import UUID

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from countermark.core.digest import Sha256, sha256_of
from countermark.core.names import FileName, IndexName, NormalizedName
from shared.formats.interface import PageFile, ProjectPage
from shared.formats.python.html import page_html
from shared.formats.python.merged import Part, merged_document
from shared.formats.python.pages import signed_link
from shared.formats.registry import FORMATS
from shared.ids import FileId, IndexId
from shared.reading.facts import FileFacts, Standing
from shared.reading.merging import ProjectUnion, file_in_view, members_showing
from shared.reading.resolution import resolution_order
from tests.unit.formats.pages import page_file

PROJECT = NormalizedName("widget")
NAMES = [
    "widget-1.0.tar.gz",
    "widget-1.0-py3-none-any.whl",
    "widget-2.0rc1.tar.gz",
    "widget-1!0.1+cu.2-py3-none-any.whl",
    "widget-10.0-py3-none-any.whl",
]
CONTENTS = [b"one", b"other"]
TEXTS = st.text(max_size=8) | st.sampled_from(['","files":[', ',{"filename":"x', "]}", '"}]}', "\\", "<b>\n"])


@dataclass(frozen=True)
class Index:
    """An index of the model, and its present page of the one project.

    Attributes:
        listed: what its page lists.
        held: names that it showed once and holds now.
    """

    id: IndexId
    name: IndexName
    bases: tuple[IndexName, ...]
    type: str
    mirror_whitelist: frozenset[str]
    whitelist_inheritance: str
    registered: bool
    status: str
    serial: int
    listed: tuple[PageFile, ...]
    held: frozenset[FileName]

    @property
    def quarantined(self) -> bool:
        """Whether its page says so."""
        return self.status == "quarantined"

    @property
    def published(self) -> bool:
        """Whether it ever had a page."""
        return bool(self.listed) or self.quarantined or self.serial % 2 == 1

    @property
    def standing(self) -> Standing:
        """What the catalogue says of the project here."""
        registered = self.registered or self.published
        return Standing(registered, len(self.listed), "why" if self.quarantined else None)

    @property
    def document(self) -> bytes:
        """The signed page document."""
        page = ProjectPage(self.name, PROJECT, self.serial, self.status, None, self.listed)
        return next(iter(FORMATS["python"].render(page, ()).values()))


def name_of(number: int) -> IndexName:
    """Return the name of an index of the model."""
    return IndexName("a", f"i{number}")


@st.composite
def files_of(draw: st.DrawFn) -> tuple[PageFile, ...]:
    """Some files of the project, with any marks and any of the bytes."""
    files = []
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        file = page_file(name, yanked=draw(st.none() | TEXTS), core_metadata=draw(st.booleans()))
        content = draw(st.sampled_from(CONTENTS))
        files.append(replace(file, sha256=sha256_of(content + name.encode())))
    return tuple(files)


@st.composite
def graphs(draw: st.DrawFn) -> list[Index]:
    """Indexes with any bases: none, circles, diamonds, and ones that are gone. The first is the one that is asked."""
    count = draw(st.integers(1, 6))
    indexes = []
    for number in range(count):
        mirror = number > 0 and draw(st.integers(0, 3)) == 0
        status = "active" if mirror else draw(st.sampled_from(["active", "active", "archived", "quarantined"]))
        listed = () if status == "quarantined" or draw(st.integers(0, 3)) == 0 else draw(files_of())
        bases = draw(st.lists(st.integers(0, count), max_size=4, unique=True))
        held = draw(st.sets(st.sampled_from(NAMES), max_size=1)) if draw(st.integers(0, 3)) == 0 else ()
        indexes.append(
            Index(
                id=IndexId(UUID(int=number)),
                name=name_of(number),
                bases=() if mirror else tuple(map(name_of, bases)),
                type="mirror" if mirror else "stage",
                mirror_whitelist=frozenset(draw(st.sampled_from([(), ("widget",), ("*",), ("other",)]))),
                whitelist_inheritance=draw(st.sampled_from(["intersection", "union"])),
                registered=draw(st.booleans()),
                status=status,
                serial=draw(st.integers(0, 9)),
                listed=listed,
                held=frozenset(map(FileName, held)) - {file.file_name for file in listed},
            )
        )
    return indexes


@dataclass(frozen=True)
class World:
    """What the services would make of a graph; `shown` are the members whose pages are merged."""

    order: tuple[Index, ...]
    shown: tuple[Index, ...]
    document: bytes


def world_of(indexes: list[Index]) -> World:
    """Return the merged view of the first index."""
    found = {index.name: index for index in indexes}
    order = resolution_order(indexes[0], found.get)
    shown = members_showing(order, PROJECT, {index.id: index.standing for index in order})
    parts = [Part(index.name, index.document) for index in shown if index.published]
    serial = sum(index.serial for index in order if index.published)
    return World(order, shown, merged_document(indexes[0].name, PROJECT, serial, parts, indexes[0].held))


def reached_from(asked: Index, found: dict[IndexName, Index]) -> list[Index]:
    """Return an index and its bases, level by level."""
    reached, level = [asked], [asked]
    while level:
        level = [found[base] for index in level for base in index.bases if base in found]
        level = [index for place, index in enumerate(level) if index not in reached and index not in level[:place]]
        reached += level
    return reached


def naive_members(indexes: list[Index]) -> list[Index]:
    """Return the members that show the project by the rules of bases and whitelists alone."""
    asked = indexes[0]
    reached = reached_from(asked, {index.name: index for index in indexes})
    white = private = False
    whitelist = asked.mirror_whitelist
    members = []
    for stage in [index for index in reached if index.type == "stage"]:
        if asked.whitelist_inheritance == "union":
            whitelist |= stage.mirror_whitelist
        else:
            whitelist &= stage.mirror_whitelist
        if whitelist & {"*", PROJECT}:
            white = True
        elif stage.standing.holds:
            private = True
        if stage.standing.holds:
            members.append(stage)
    return members + [index for index in reached if index.type == "mirror" and (white or not private)]


def naive(indexes: list[Index]) -> tuple[dict[str, Any], set[str]]:
    """Return the merged page as whoever reads the contract would write it down, and the versions on it."""
    asked = indexes[0]
    files: dict[str, dict[str, Any]] = {}
    versions: set[str] = set()
    status = None
    for place, member in enumerate([member for member in naive_members(indexes) if member.published]):
        page = orjson.loads(member.document)
        if place == 0:
            status = page.get("project-status")
        versions |= set(page["versions"])
        for file in page["files"]:
            if file["filename"] not in asked.held:
                origin = {} if member is asked else {"_origin": str(member.name)}
                files.setdefault(file["filename"], file | origin)
        if member.quarantined:
            break
    expected: dict[str, Any] = {"name": PROJECT, "files": list(files.values())}
    return expected | ({"project-status": status} if status else {}), versions


@given(graphs())
@settings(deadline=None)
def test_the_page_is_the_merge_of_the_members(indexes: list[Index]) -> None:
    """Every field of every file, the state, the versions, the order: as the contract says, whatever the graph."""
    page = orjson.loads(world_of(indexes).document)
    expected, versions = naive(indexes)
    assert set(page.pop("versions")) == versions
    meta = page.pop("meta")
    assert meta["api-version"] == "1.4"
    assert meta["_index"] == str(indexes[0].name)
    assert page == expected


@given(graphs())
@settings(deadline=None)
def test_versions_are_there_once_and_newest_first(indexes: list[Index]) -> None:
    """The versions of all members, without a repetition, in the order that the pages of one index have."""
    page = orjson.loads(world_of(indexes).document)
    whole = ProjectPage(indexes[0].name, PROJECT, 1, "active", None, [page_file(name) for name in NAMES])
    order = orjson.loads(next(iter(FORMATS["python"].render(whole, ()).values())))["versions"]
    assert page["versions"] == [version for version in order if version in page["versions"]]


class Anchors(HTMLParser):
    """Reads the links of a page as a client does: (text, URL) of each."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._url: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a link's URL."""
        self._url = dict(attrs)["href"] if tag == "a" else None

    def handle_data(self, data: str) -> None:
        """Note a link's text."""
        if self._url is not None:
            self.found.append((data, self._url))
            self._url = None


@given(graphs())
@settings(deadline=None)
def test_html_says_the_same(indexes: list[Index]) -> None:
    """The HTML page links the same files, in the same order, with the same digests."""
    document = world_of(indexes).document
    listed = [(file["filename"], f"{file['url']}#sha256={file['hashes']['sha256']}") for file in _files(document)]
    anchors = Anchors()
    anchors.feed(page_html(document, signed_link).decode())
    assert anchors.found == listed


@given(graphs())
@settings(deadline=None)
def test_what_is_listed_is_served_and_nothing_else(indexes: list[Index]) -> None:
    """An address is answered with exactly the file that the page lists there: never with another member's bytes."""
    world = world_of(indexes)
    listed = {(file["filename"], file["hashes"]["sha256"]): file for file in _files(world.document)}
    states = {PROJECT: {index.id: index.standing for index in world.order}}
    for name in NAMES:
        for content in CONTENTS:
            digest = sha256_of(content + name.encode())
            named = list(_facts_named(world.order, FileName(name)))
            found = file_in_view(world.order, digest[:16], named, states)
            line = listed.get((name, digest))
            assert (found is None) == (line is None)
            if found is not None and line is not None:
                assert (found[1].file_name, found[1].sha256) == (name, digest)
                assert str(found[0].name) == line.get("_origin", str(indexes[0].name))


@given(graphs())
@settings(deadline=None)
def test_the_list_names_what_has_a_page_with_files(indexes: list[Index]) -> None:
    """The project is listed exactly when a member that shows it lists a file, with the serial of its page."""
    world = world_of([replace(index, held=frozenset()) for index in indexes if index.type == "stage"] or indexes[:1])
    union = ProjectUnion()
    for index in world.order:
        pages = [(PROJECT, index.serial, len(index.listed))] if index.published else []
        union.add(pages, [PROJECT] if index.quarantined else [])
    page = orjson.loads(world.document)
    assert union.listed() == ([(PROJECT, page["meta"]["_last-serial"])] if page["files"] else [])


@given(graphs())
@settings(deadline=None)
def test_alone_it_is_the_signed_document(indexes: list[Index]) -> None:
    """Where no other member has a page, the merged document is the index's own, byte for byte."""
    alone = replace(indexes[0], bases=(), held=frozenset())
    if alone.published:
        assert world_of([alone]).document == alone.document


def _files(document: bytes) -> list[dict[str, Any]]:
    files: list[dict[str, Any]] = orjson.loads(document)["files"]
    return files


def _facts_named(order: Iterable[Index], name: FileName) -> Iterable[tuple[IndexId, FileFacts]]:
    """Return what the catalogue would say of the files of a name: shown ones, and those that the first holds."""
    for place, index in enumerate(order):
        for file in index.listed:
            if file.file_name == name:
                yield index.id, _facts(index, file.file_name, file.sha256, visible=True)
        if place == 0 and name in index.held:
            yield index.id, _facts(index, name, sha256_of(b"held"), visible=False)


def _facts(index: Index, name: FileName, sha256: Sha256, *, visible: bool) -> FileFacts:
    file = page_file(name)
    return FileFacts(
        id=FileId(index.id),
        project=PROJECT,
        file_name=name,
        sha256=sha256,
        length=file.length,
        uploaded_at=file.uploaded_at,
        core_metadata_sha256=None,
        core_metadata_length=None,
        visible=visible,
        was_visible=True,
        removed=False,
        held_reason=None if visible else "",
    )
