"""Page and file always agree about what mirrors have: in every format, at every spelling of an address.

A seeded generator makes the cases, not hypothesis: a hundred thousand of them have to fit into a few seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import orjson

from countermark.core.digest import Sha256, sha256_of
from countermark.core.names import FileName, IndexName, NormalizedName
from services.download.rules import wanted_at
from shared.faces import parse_face
from shared.formats.interface import PageFile, ProjectPage
from shared.formats.python.foreign import projects_named, version_named
from shared.formats.python.html import page_html
from shared.formats.python.merged import Part, merged_document
from shared.formats.python.origins import pack_files
from shared.formats.python.pages import signed_link
from shared.formats.python.simple_pages import Raw, RawPage
from shared.formats.python.upstream import page_of_mirror, take_over
from shared.formats.registry import FORMATS
from shared.ids import FileId, IndexId
from shared.reading.facts import FileFacts, Standing
from shared.reading.merging import file_in_view, members_showing
from shared.reading.mirrored import MirroredFile, hiding, judged_file, policies_of, shown_document
from shared.reading.policy import Exemption, Policy, judge_name
from shared.reading.resolution import MIRROR
from tests.unit.formats.pages import page_file

CASES = 100_000
NOW = datetime(2026, 5, 1, tzinfo=UTC)
PROJECT = NormalizedName("widget")
NAMES = [
    FileName(name)
    for name in (
        "widget-1.0.tar.gz",
        "widget-1.0-py3-none-any.whl",
        "widget-2.0rc1.tar.gz",
        "widget-1!0.1+cu.2-py3-none-any.whl",
    )
]
DIGESTS = {name: [sha256_of(f"{name}{content}".encode()) for content in "ab"] for name in NAMES}
AGES = (timedelta(0), timedelta(hours=1), timedelta(days=6), timedelta(days=7), timedelta(days=400))
_ANCHOR = re.compile(rb'href="\.\./\.\./\+f/([^"#]+)#sha256=([0-9a-f]{64})"')


@dataclass(frozen=True)
class Member:
    """An index of the model: of a mirror `page` and `origins` are what it keeps, of a stage `listed` what it shows."""

    id: IndexId
    name: IndexName
    type: str
    policy: Policy | None
    mirror_whitelist: frozenset[str] = frozenset()
    whitelist_inheritance: str = "intersection"
    bases: tuple[IndexName, ...] = ()
    registered: bool = False
    listed: tuple[tuple[FileName, Sha256], ...] = ()
    page: bytes | None = None
    origins: bytes | None = None

    @property
    def standing(self) -> Standing:
        """What the catalogue says of the project here; mirrors have no rows."""
        return Standing(self.registered or bool(self.listed), len(self.listed), None)


def policies(random: Random, index: IndexName) -> Policy | None:
    """Return a policy of any kind, or none."""
    if random.random() < 0.4:
        return None
    rare = random.random()
    leave = Exemption(PROJECT, random.choice([None, "1.0"]), NOW + timedelta(days=random.choice([-1, 1])), "o", "r")
    return Policy(
        index,
        min_age=random.choice([timedelta(0), timedelta(hours=1), timedelta(days=7), timedelta(days=7)]),
        reserved=("wid-", "widget") if rare < 0.05 else ("other",),
        denied={"wid*": "bad"} if 0.05 < rare < 0.1 else {},
        allowed=random.choice([None, None, None, frozenset(["wid*"]), frozenset()]) if rare < 0.5 else None,
        quarantined={"widget": "why"} if rare > 0.97 else {},
        exemptions=(leave,) if random.random() < 0.3 else (),
    )


def mirrors(random: Random, number: int) -> Member:
    """Return a mirror that keeps some page of the project, or none."""
    name = IndexName("m", f"i{number}")
    member = Member(IndexId(UUID(int=number)), name, MIRROR, policies(random, name))
    if random.random() < 0.1:
        return member
    files: list[Raw] = []
    for file_name in NAMES:
        if random.random() < 0.7:
            moment = random.choice([None, *(NOW - age for age in AGES)])
            dated = {} if moment is None else {"upload-time": moment.isoformat()}
            digest = random.choice(DIGESTS[file_name])
            files.append({"filename": file_name, "url": f"../../f/{file_name}", "hashes": {"sha256": digest}} | dated)
    page = take_over(RawPage("https://up.test/simple/widget/", files, name=PROJECT), PROJECT)
    return Member(
        member.id, name, MIRROR, member.policy, page=page_of_mirror(name, page), origins=pack_files(page.files)
    )


def stages(random: Random, number: int) -> Member:
    """Return a stage that mostly knows nothing of the project."""
    name = IndexName("s", f"i{number}")
    listed: tuple[tuple[FileName, Sha256], ...] = ()
    if random.random() < 0.15:
        listed = tuple((file_name, random.choice(DIGESTS[file_name])) for file_name in random.sample(NAMES, 2))
    return Member(
        IndexId(UUID(int=number)),
        name,
        "stage",
        policies(random, name),
        mirror_whitelist=frozenset(random.choice([(), (), ("widget",), ("*",)])),
        whitelist_inheritance=random.choice(["intersection", "union"]),
        registered=random.random() < 0.05,
        listed=listed,
    )


def views(random: Random) -> tuple[Member, ...]:
    """Return a view in the order in which its members are asked: a mirror alone, or stages and then mirrors."""
    if random.random() < 0.2:
        return (mirrors(random, 0),)
    count = random.randint(1, 2)
    return (
        *(stages(random, number) for number in range(count)),
        *(mirrors(random, number) for number in range(count, count + random.randint(1, 2))),
    )


def page_at(order: tuple[Member, ...], now: datetime) -> tuple[bytes, datetime | None]:
    """Return the page document as the index service puts it together, and when the clock changes it."""
    asked, moments, parts = order[0], [], []
    for member in members_showing(order, PROJECT, {one.id: one.standing for one in order if one.type != MIRROR}):
        if member.type != MIRROR:
            page = ProjectPage(member.name, PROJECT, 1, "active", None, [_hosted(*file) for file in member.listed])
            parts.append(Part(member.name, next(iter(FORMATS["python"].render(page, ()).values()))))
            continue
        applied = policies_of(asked, member)
        if judge_name(applied, PROJECT) is None and member.page is not None:
            document, change = shown_document(member.page, member.origins, applied, PROJECT, now)
            parts.append(Part(member.name, document))
            moments += [change] if change is not None else []
    return merged_document(asked.name, PROJECT, 1, parts), min(moments, default=None)


def listed_in(document: bytes) -> set[tuple[str, str]]:
    """Return (name, digest) of each file on a page; JSON and HTML say the same."""
    json = {(file["filename"], file["hashes"]["sha256"]) for file in orjson.loads(document)["files"]}
    html = set()
    for url, sha256 in _ANCHOR.findall(page_html(document, signed_link)):
        html.add((url.decode().rpartition("/")[2].replace("%2B", "+"), sha256.decode()))
    assert html == json
    return json


def spellings(asked: IndexName, name: FileName, sha256: Sha256) -> Iterator[str]:
    """Return the decoded paths that mean a file, and its metadata."""
    for base in (f"/{asked}/+f", "/+f", "/legacy/+f"):
        for suffix in ("", ".metadata"):
            yield f"{base}/{sha256[:3]}/{sha256[3:16]}/{name}{suffix}"


def test_page_and_file_agree() -> None:
    """What a page lists is served, what it does not list is not, and what a policy hides is said to be hidden."""
    random = Random(7)
    cases = hidden = shown = 0
    while cases < CASES:
        order = views(random)
        document, change = page_at(order, NOW)
        listed = listed_in(document)
        assert set(orjson.loads(document)["versions"]) == {str(version_named(name, PROJECT)) for name, _ in listed}
        if change is not None:
            assert change > NOW
            assert page_at(order, change - timedelta(microseconds=1))[0] == document
        for name, digests in DIGESTS.items():
            [project] = projects_named(name)
            mirrored = list(_mirrored(order, project, name))
            states = {project: {one.id: one.standing for one in order if one.type != MIRROR}}
            named: list[tuple[IndexId, FileFacts | MirroredFile]] = [
                *((one.id, _facts(one, name, sha256)) for one in order for file, sha256 in one.listed if file == name),
                *((index_id, file) for index_id, file in mirrored if file.visible),
            ]
            for digest in digests:
                for path in spellings(order[0].name, name, digest):
                    cases += 1
                    face = parse_face(path)
                    wanted = None if face is None else wanted_at(face)
                    assert wanted is not None
                    found = file_in_view(order, wanted.path_key, named, states)
                    assert (found is not None) == ((wanted.file_name, digest) in listed)
                    if found is not None:
                        shown += 1
                        assert found[1].sha256 == digest
                        continue
                    verdict = hiding(order, wanted.path_key, mirrored, states)
                    members = members_showing(order, project, states[project])
                    judged = [file for index_id, file in mirrored if index_id in {one.id for one in members}]
                    hides = [file for file in judged if file.sha256 == digest and not file.visible]
                    assert not hides or verdict is not None
                    hidden += verdict is not None
    assert min(hidden, shown) > CASES / 10, "the cases are of both kinds"


def _mirrored(
    order: tuple[Member, ...], project: NormalizedName, name: FileName
) -> Iterator[tuple[IndexId, MirroredFile]]:
    for member in order:
        if member.origins is not None:
            found = judged_file(member.origins, policies_of(order[0], member), project, name, NOW)
            if found is not None:
                yield member.id, found


def _hosted(name: FileName, sha256: Sha256) -> PageFile:
    return replace(page_file(name), sha256=sha256)


def _facts(member: Member, name: FileName, sha256: Sha256) -> FileFacts:
    file = page_file(name)
    at = file.uploaded_at
    return FileFacts(FileId(member.id), PROJECT, name, sha256, file.length, at, None, None, True, True, False, None)
