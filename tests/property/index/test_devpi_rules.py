"""devpi's documents for any indexes, bases and releases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from countermark.core.names import IndexName, parse_index_name
from services.index.devpi_rules import parts_of, plan_of, verdata, written
from shared.ids import IndexId, ProjectId, ReleaseId, new_uuid
from shared.reading.devpi_rows import Holdings, ProjectRow, ReleaseRow
from shared.reading.facts import Standing
from shared.reading.merging import members_showing
from shared.reading.resolution import resolution_order, showing

THING = canonicalize_name("thing")
NAMES = [f"a/{letter}" for letter in "abcde"]
TEXTS = {
    *("name", "version", "metadata_version", "summary", "home_page", "author", "author_email", "maintainer"),
    *("maintainer_email", "license", "description", "keywords", "download_url", "comment", "requires_python"),
    *("description_content_type", "license_expression"),
}
LISTS = {
    *("platform", "classifiers", "supported_platform", "provides", "requires", "obsoletes", "project_urls"),
    *("provides_dist", "obsoletes_dist", "requires_dist", "requires_external", "provides_extras", "dynamic"),
    "license_file",
}


@dataclass(frozen=True)
class Index:
    """What counts of an index, and the versions it has of the project; None: it does not know the project."""

    name: IndexName
    id: IndexId
    bases: tuple[IndexName, ...]
    type: str
    mirror_whitelist: frozenset[str]
    whitelist_inheritance: str
    versions: list[str] | None


@st.composite
def indexes(draw: st.DrawFn) -> list[Index]:
    """Return some indexes over each other; circles and diamonds are among them, and bases that are gone."""
    some = st.lists(st.sampled_from([*NAMES, "a/gone"]), max_size=4, unique=True)
    versions = st.none() | st.lists(st.sampled_from(["1.0", "2.0", "3!1+x", "old"]), max_size=4, unique=True)
    made = []
    for name in NAMES:
        mirror = draw(st.booleans()) and name != NAMES[0]
        made.append(
            Index(
                name=parse_index_name(name),
                id=IndexId(new_uuid()),
                bases=() if mirror else tuple(map(parse_index_name, draw(some))),
                type="mirror" if mirror else "stage",
                mirror_whitelist=draw(st.sampled_from([frozenset(), frozenset([THING]), frozenset("*")])),
                whitelist_inheritance=draw(st.sampled_from(["intersection", "union"])),
                versions=draw(versions),
            )
        )
    return made


def holdings_of(members: list[Index]) -> tuple[Holdings, dict[ReleaseId, str]]:
    """Return what indexes have of the project, and metadata that say which index each release is of."""
    projects, registered, metadata = {}, {}, {}
    for member in members:
        if member.versions is None:
            continue
        row = ProjectRow(ProjectId(new_uuid()), member.id, "Thing", quarantined=False)
        projects[member.id] = row
        registered[row.id] = [ReleaseRow(ReleaseId(new_uuid()), row.id, version, 1) for version in member.versions]
        for release in registered[row.id]:
            metadata[release.id] = orjson.dumps({"summary": str(member.name)}).decode()
    return Holdings(projects, registered), metadata


@given(indexes())
def test_a_document_is_the_merge_of_its_members(made: list[Index]) -> None:
    """Each version is there once, from the nearest index that shows it; all others that have it are its shadows."""
    found = {one.name: one for one in made}
    order = resolution_order(made[0], found.get)
    holdings, metadata = holdings_of(made)
    standings = {one.id: Standing(one.versions is not None, 0, None) for one in made}
    document = orjson.loads(
        b"{" + written(plan_of(members_showing(order, THING, standings), holdings, "https://i.test"), metadata) + b"}"
    )
    members = showing(order, THING, lambda member: member.versions is not None)
    expected: dict[str, list[str]] = {}
    for member in members:
        for version in member.versions or []:
            expected.setdefault(version, []).append(str(member.name))
    assert expected == {
        version: [one["summary"], *(shadow["summary"] for shadow in one.get("+shadowing", []))]
        for version, one in document.items()
    }


@given(indexes())
def test_parts_are_the_whole(made: list[Index]) -> None:
    """Written part by part, a document is the one that is written at once."""
    holdings, metadata = holdings_of(made)
    plan = plan_of(made, holdings, "https://i.test")
    assert b",".join(written(part, metadata) for part in parts_of(plan)) == written(plan, metadata)


_VALUES = st.none() | st.text(max_size=20) | st.lists(st.text(max_size=20), max_size=3)
_FIELDS = st.dictionaries(
    st.sampled_from([*TEXTS, *LISTS, "platforms", "license_files", "provides_extra", "supported_platforms", "other"]),
    _VALUES | st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
)


@given(_FIELDS)
def test_every_field_has_its_kind(fields: dict[str, Any]) -> None:
    """Whatever is stored, texts are texts, lists are lists of texts that say something, and nothing else is there."""
    stable = Index(parse_index_name("a/a"), IndexId(new_uuid()), (), "stage", frozenset(), "union", ["1.0"])
    holdings, metadata = holdings_of([stable])
    found = verdata(plan_of([stable], holdings, "")["1.0"], dict.fromkeys(metadata, orjson.dumps(fields).decode()))
    assert found is not None
    assert set(found) == TEXTS | LISTS
    assert all(isinstance(found[key], str) and found[key] != "UNKNOWN" for key in TEXTS)
    assert all(isinstance(value, str) and value not in ("", "UNKNOWN") for key in LISTS for value in found[key])
