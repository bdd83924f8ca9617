"""Which of devpi's documents a request means, and what they say."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

import orjson
import pytest
from packaging.utils import canonicalize_name

from countermark.core.digest import sha256_of
from countermark.core.names import FileName, IndexName, parse_index_name
from services.index.devpi_rules import (
    PART_BYTES,
    PART_RELEASES,
    DocumentWanted,
    Nothing,
    Part,
    RefreshWanted,
    Renamed,
    is_devpi,
    is_known,
    log_of,
    parts_of,
    plan_of,
    verdata,
    version_in,
    wanted_at,
    with_root,
    written,
)
from shared.faces import parse_face
from shared.ids import FileId, IndexId, ProjectId, ReleaseId, new_uuid
from shared.reading.devpi_rows import AttachmentRow, FileRow, Holdings, ProjectRow, ReleaseRow

THING = canonicalize_name("thing")
AT = datetime(2026, 11, 25, 13, 5, 9, tzinfo=UTC)
UPLOADED = {"what": "upload", "who": "root", "when": [2026, 11, 25, 13, 5, 9], "dst": "root/stable"}


@dataclass(frozen=True)
class Index:
    """What counts of an index."""

    name: IndexName
    id: IndexId
    bases: tuple[IndexName, ...] = ()
    type: str = "stage"
    mirror_whitelist: frozenset[str] = frozenset()
    whitelist_inheritance: str = "intersection"


def index(name: str) -> Index:
    """Return an index."""
    return Index(parse_index_name(name), IndexId(new_uuid()))


def project_in(where: Index, *, quarantined: bool = False) -> ProjectRow:
    """Return the project `thing` of an index."""
    return ProjectRow(ProjectId(new_uuid()), where.id, "Thing", quarantined)


def release_of(project: ProjectRow, version: str, weight: int = 100) -> ReleaseRow:
    """Return a release."""
    return ReleaseRow(ReleaseId(new_uuid()), project.id, version, weight)


def file_of(release: ReleaseRow, name: str, history: tuple[dict[str, Any], ...] = ()) -> FileRow:
    """Return a visible file of a release."""
    digest = sha256_of(name.encode())
    return FileRow(FileId(new_uuid()), release, FileName(name), digest, AT, "root", history)


def face_of(path: str) -> Any:
    """Return the face of a path."""
    face = parse_face(path)
    assert face is not None
    return face


class TestRequests:
    """Contract devpi sections 3, 7 and 8."""

    @pytest.mark.parametrize(
        ("path", "method", "accept", "agent", "devpi"),
        [
            ("/root/stable/thing", "GET", b"application/json", b"devpi-client/7.3.0", True),
            ("/root/stable/thing/", "HEAD", b"*/*", b"curl/8", True),
            ("/root/stable/thing", "GET", b"", b"", True),
            ("/root/stable/thing", "GET", b"text/html", b"Mozilla/5.0", True),
            ("/root/stable/thing", "GET", b"*/*", b"pip/26.3 {}", False),
            ("/root/stable/thing", "GET", b"*/*", b"poetry/2 requests uv/0.13", False),
            ("/root/stable/thing", "GET", b"*/*", b"bpip/1", True),
            ("/root/stable/thing", "GET", b"application/json", b"pip/26.3", True),
            ("/root/stable/thing", "GET", b"application/vnd.pypi.simple.v1+json", b"", False),
            ("/root/stable/thing/1.0", "GET", b"*/*", b"pip/26.3", True),
            ("/root/stable/thing", "DELETE", b"application/json", b"", False),
            ("/root/stable/+simple/thing/", "GET", b"application/json", b"", False),
            ("/root/stable/+simple/thing/refresh", "POST", b"*/*", b"", True),
            ("/root/stable/+simple/thing/refresh", "GET", b"*/*", b"", False),
            ("/root/stable/+simple/refresh/", "POST", b"*/*", b"", False),
        ],
    )
    def test_who_is_answered(self, path: str, method: str, accept: bytes, agent: bytes, devpi: bool) -> None:
        """devpi's documents are for everybody but installers and those who accept simple pages alone."""
        assert is_devpi(face_of(path), method, accept, agent) is devpi

    @pytest.mark.parametrize(
        ("path", "query", "wanted"),
        [
            ("/root/stable/thing", b"", DocumentWanted(THING, None, own=False)),
            ("/root/stable/thing/", b"ignore_bases=", DocumentWanted(THING, None, own=True)),
            ("/root/stable/thing", b"a=1&ignore_bases", DocumentWanted(THING, None, own=True)),
            ("/root/stable/thing", b"no_ignore_bases=", DocumentWanted(THING, None, own=False)),
            ("/root/stable/thing/1!2.0+a.1", b"", DocumentWanted(THING, "1!2.0+a.1", own=False)),
            ("/root/stable/thing/1.0/", b"ignore_bases", DocumentWanted(THING, "1.0", own=True)),
            ("/root/stable/Thing", b"", Renamed("thing")),
            ("/root/stable/Th_.ing/", b"", Renamed("th-ing/")),
            ("/root/stable/THING/1!2 0+a/", b"", Renamed("thing/1!2%200+a/")),
            ("/root/stable/+simple/Thing/refresh", b"", RefreshWanted(THING)),
            ("/root/stable/th ing", b"", Nothing("no project 'th ing'")),
            ("/root/stable/-/1", b"", Nothing("no project '-'")),
            (
                f"/root/stable/thing/{'1' * 257}",
                b"",
                Nothing(f"The version {'1' * 100} of project thing does not exist."),
            ),
            ("/root/stable/thing/1\x000", b"", Nothing("The version 1\x000 of project thing does not exist.")),
        ],
    )
    def test_what_is_meant(self, path: str, query: bytes, wanted: object) -> None:
        """Names are normalised by a redirect, flags count by being there, and odd names are nothing's."""
        assert wanted_at(face_of(path), query) == wanted


class TestVerdata:
    """Contract devpi section 4.4."""

    def test_all_fields(self) -> None:
        """Core metadata appear under devpi's names, each text a text and each list a list."""
        stable = index("root/stable")
        row = project_in(stable)
        release = release_of(row, "1.0")
        fields = {
            "metadata_version": "2.4", "name": "The.Thing", "version": "1.0.0", "summary": "s", "home_page": "UNKNOWN",
            "author": "a", "keywords": ["one", "two"], "platforms": ["any", "UNKNOWN"], "classifiers": ["Typing"],
            "supported_platforms": ["x"], "project_urls": {"Source": "https://code.test/a, b"},
            "requires_dist": ["six"], "provides_extra": ["dev"], "dynamic": ["version"], "license_files": ["LICENSE"],
            "import_names": ["thing"],
            "description": "long", "license_expression": "MIT", "requires_python": ">=3.9", "obsoletes": ["old"],
        }  # fmt: skip
        plan = plan_of([stable], Holdings({stable.id: row}, {row.id: [release]}), "https://i.test")
        assert verdata(plan["1.0"], {release.id: orjson.dumps(fields).decode()}) == {
            "name": "The.Thing", "version": "1.0", "metadata_version": "2.4", "summary": "s", "home_page": "",
            "author": "a", "author_email": "", "maintainer": "", "maintainer_email": "", "license": "",
            "description": "long", "keywords": "one,two", "download_url": "", "comment": "", "requires_python": ">=3.9",
            "description_content_type": "", "license_expression": "MIT", "platform": ["any"], "classifiers": ["Typing"],
            "supported_platform": ["x"], "provides": [], "requires": [], "obsoletes": ["old"],
            "project_urls": ["Source, https://code.test/a, b"], "provides_dist": [], "obsoletes_dist": [],
            "requires_dist": ["six"], "requires_external": [], "provides_extras": ["dev"], "dynamic": ["version"],
            "license_file": ["LICENSE"],
        }  # fmt: skip

    def test_a_name_that_metadata_do_not_say(self) -> None:
        """A release without metadata is called as its project, and has no links without files."""
        stable = index("root/stable")
        row = project_in(stable)
        release = release_of(row, "1.0")
        plan = plan_of([stable], Holdings({stable.id: row}, {row.id: [release]}), "https://i.test")
        found = verdata(plan["1.0"], {release.id: "{}"})
        assert found is not None
        assert found["name"] == "Thing"
        assert "+links" not in found

    def test_links(self) -> None:
        """Files, then documentation, then test results of visible files are linked under the owning index."""
        stable = index("root/stable")
        row = project_in(stable)
        release = release_of(row, "1.0")
        wheel, sdist = file_of(release, "thing-1.0-py3-none-any.whl"), file_of(release, "thing-1.0+a.tar.gz")
        digest = sha256_of(b"attached")

        def attached(kind: str, name: str, file: FileId | None, who: str | None) -> AttachmentRow:
            key = "0123456789abcdef"
            return AttachmentRow(release.id, file, kind, FileName(name), key, digest, (), AT, who)

        result = "thing-1.0-py3-none-any.whl.toxresult-20261125130509-0"
        attachments = [
            attached("test-result", result, wheel.id, None),
            attached("test-result", "of a hidden file", FileId(new_uuid()), None),
            attached("doc", "thing-1.0.doc.zip", None, "ann"),
        ]
        holdings = Holdings({stable.id: row}, {}, {row.id: [wheel, sdist]}, {release.id: attachments})
        found = verdata(plan_of([stable], holdings, "https://i.test/up")["1.0"], {release.id: "{}"})
        assert found is not None
        root = "https://i.test/up/root/stable/+f"
        first = f"{root}/{wheel.sha256[:3]}/{wheel.sha256[3:16]}/thing-1.0-py3-none-any.whl"
        hashes = {"hash_spec": f"sha256={digest}", "hashes": {"sha256": digest}}
        assert found["+links"] == [
            {
                "rel": "releasefile",
                "href": first,
                "hash_spec": f"sha256={wheel.sha256}",
                "hashes": {"sha256": wheel.sha256},
                "log": [UPLOADED],
            },
            {
                "rel": "releasefile",
                "href": f"{root}/{sdist.sha256[:3]}/{sdist.sha256[3:16]}/thing-1.0%2Ba.tar.gz",
                "hash_spec": f"sha256={sdist.sha256}",
                "hashes": {"sha256": sdist.sha256},
                "log": [UPLOADED],
            },
            {
                "rel": "doczip",
                "href": f"{root}/012/3456789abcdef/thing-1.0.doc.zip",
                **hashes,
                "log": [UPLOADED | {"who": "ann"}],
            },
            {
                "rel": "toxresult",
                "href": f"{root}/012/3456789abcdef/{result}",
                **hashes,
                "log": [UPLOADED | {"who": None}],
                "for_href": first,
            },
        ]


class TestLogs:
    """Contract devpi section 4.5."""

    OVERWRITE: ClassVar = {"what": "overwrite", "who": None, "when": [2026, 11, 26, 1, 2, 3], "count": 2}
    PUSH: ClassVar = {"what": "push", "who": "ann", "when": [2026, 11, 27, 1, 2, 3], "src": "root/dev"}

    def test_order(self) -> None:
        """Replacements come first, then the upload to where it was made, then pushes."""
        name = parse_index_name("root/stable")
        assert log_of((), name, "root", AT) == [UPLOADED]
        assert log_of((self.OVERWRITE,), name, "root", AT) == [self.OVERWRITE, UPLOADED]
        pushed = [self.OVERWRITE, UPLOADED | {"dst": "root/dev"}, self.PUSH]
        assert log_of((self.PUSH, self.OVERWRITE), name, "root", AT) == pushed

    def test_an_upload_that_is_told(self) -> None:
        """A history that tells of the upload itself is the log."""
        history = (UPLOADED | {"dst": "a/b"}, self.PUSH)
        assert log_of(history, parse_index_name("root/stable"), "x", AT) == list(history)

    def test_a_file_of_a_mirror(self) -> None:
        """What was pushed from a mirror was never uploaded, and is not said to be; then it may be pushed on."""
        fetched = self.PUSH | {"mirror": True}
        onward = self.PUSH | {"src": "root/stable"}
        name = parse_index_name("root/prod")
        assert log_of((fetched,), name, "root", AT) == [self.PUSH]
        assert log_of((self.OVERWRITE, fetched, onward), name, "root", AT) == [self.OVERWRITE, self.PUSH, onward]

    def test_other_zones(self) -> None:
        """Times are in UTC."""
        at = datetime.fromisoformat("2026-11-25T23:05:09.7+10:00")
        assert log_of((), parse_index_name("root/stable"), "root", at) == [UPLOADED]


class TestMembers:
    """Contract devpi section 15, and quarantine."""

    def test_shadowing(self) -> None:
        """A version on several indexes is the nearest one's, and lists the others in the order of resolution."""
        indexes = [index("a/a"), index("a/b"), index("a/c")]
        rows = [project_in(one) for one in indexes]
        releases = [release_of(row, "1.0") for row in rows]
        more = release_of(rows[2], "0.9")
        holdings = Holdings(
            dict(zip([one.id for one in indexes], rows, strict=True)),
            {rows[0].id: [releases[0]], rows[1].id: [releases[1]], rows[2].id: [releases[2], more]},
        )
        plan = plan_of(indexes, holdings, "https://i.test")
        assert list(plan) == ["1.0", "0.9"]
        texts = {
            release.id: orjson.dumps({"summary": str(at)}).decode() for at, release in enumerate([*releases, more])
        }
        document = orjson.loads(b"{" + written(plan, texts) + b"}")
        assert [document["1.0"]["summary"], *(one["summary"] for one in document["1.0"]["+shadowing"])] == list("012")
        assert all("+shadowing" not in one for one in document["1.0"]["+shadowing"])
        assert "+shadowing" not in document["0.9"]

    def test_a_release_that_vanished_meanwhile(self) -> None:
        """A release whose metadata are not there any more is left out, and what it shadowed shows."""
        near, far = index("a/a"), index("a/b")
        rows = [project_in(near), project_in(far)]
        releases = [release_of(row, "1.0") for row in rows]
        gone = release_of(rows[0], "2.0")
        registered = {rows[0].id: [releases[0], gone], rows[1].id: [releases[1]]}
        holdings = Holdings({near.id: rows[0], far.id: rows[1]}, registered)
        document = written(plan_of([near, far], holdings, ""), {releases[1].id: '{"summary":"far"}'})
        found = orjson.loads(b"{" + document + b"}")
        assert [list(found), found["1.0"]["summary"]] == [["1.0"], "far"]

    def test_quarantine(self) -> None:
        """A project that a member put into quarantine is known there, though nothing of it shows."""
        stable = index("a/a")
        holdings = Holdings({stable.id: project_in(stable, quarantined=True)})
        assert is_known([stable], holdings)
        assert plan_of([stable], holdings, "") == {}

    def test_links_get_their_root_later(self) -> None:
        """A document with the host's URL put in is the one written with it, whatever people wrote into texts."""
        stable = index("root/stable")
        row = project_in(stable)
        release = release_of(row, "1.0")
        wheel = file_of(release, "thing-1.0-py3-none-any.whl")
        result = AttachmentRow(
            release.id, wheel.id, "test-result", FileName("result"), "0" * 16, wheel.sha256, (), AT, None
        )
        texts = {release.id: orjson.dumps({"summary": '"href":"/root/x', "description": 'href":"/'}).decode()}
        holdings = Holdings({stable.id: row}, {}, {row.id: [wheel]}, {release.id: [result]})
        root = "https://i.test/up"
        assert with_root(written(plan_of([stable], holdings, ""), texts), root) == written(
            plan_of([stable], holdings, root), texts
        )

    def test_names_that_are_held(self) -> None:
        """No member's file of such a name is linked; a version without any other file is not there."""
        near, far = index("a/a"), index("a/b")
        rows = [project_in(near), project_in(far)]
        first, second = release_of(rows[0], "1.0"), release_of(rows[1], "1.0")
        alone = release_of(rows[1], "2.0")
        held, other = "thing-1.0.tar.gz", "thing-1.0-py3-none-any.whl"
        files = {
            rows[0].id: [file_of(first, held), file_of(first, other)],
            rows[1].id: [file_of(second, held), file_of(alone, "thing-2.0.tar.gz")],
        }
        hidden = [FileName(held), FileName("thing-2.0.tar.gz")]
        plan = plan_of([near, far], Holdings({near.id: rows[0], far.id: rows[1]}, {}, files), "", hidden)
        shown = [(version, one) for version, parts in plan.items() for one in parts if isinstance(one, Part)]
        assert [(version, [file.file_name for file in one.files]) for version, one in shown] == [("1.0", [other])]

    def test_unknown(self) -> None:
        """A project whose files all wait for their publication is not known yet."""
        stable = index("root/stable")
        assert not is_known([stable], Holdings({stable.id: project_in(stable)}))
        assert not is_known([stable], Holdings({}))

    def test_versions_that_are_equal(self) -> None:
        """A version is found as it was asked for, else the nearest one that equals it."""
        stable = index("root/stable")
        row = project_in(stable)
        holdings = Holdings({stable.id: row}, {row.id: [release_of(row, "1.0"), release_of(row, "1.0.0")]})
        plan = plan_of([stable], holdings, "")
        assert [version_in(plan, sought) for sought in ("1.0.0", "1.0", "1")] == ["1.0.0", "1.0", "1.0"]
        assert version_in({}, "1") is None


class TestParts:
    """What is in memory at a time."""

    @pytest.mark.parametrize(
        ("releases", "weight", "parts"),
        [(0, 1, 0), (1, 10 * PART_BYTES, 1), (PART_RELEASES, 1, 1), (PART_RELEASES + 1, 1, 2), (3, PART_BYTES // 2, 2)],
    )
    def test_bounds(self, releases: int, weight: int, parts: int) -> None:
        """A part ends before it has too many releases or bytes, and has at least one version."""
        stable = index("root/stable")
        row = project_in(stable)
        registered = [release_of(row, f"1.{number}", weight) for number in range(releases)]
        plan = plan_of([stable], Holdings({stable.id: row}, {row.id: registered}), "")
        found = list(parts_of(plan))
        assert len(found) == parts
        assert [version for part in found for version in part] == list(plan)
