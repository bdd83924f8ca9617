"""An index with bases behind a server that lies about them, or leaves something out."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler

import pytest

from tests.support.simulator import Deployment, RepositorySimulator
from tests.unit.client.conftest import WHEEL
from tests.unit.client.family import GIZMO, Family
from tests.unit.client.loopback import reply


def test_the_tree_of_another_index_cannot_hide_a_nearer_one(known: Family) -> None:
    """An empty index's tree, signed by the same keys, in the place of the nearer index ends 31: no base is asked."""
    empty = RepositorySimulator("eve/empty", known.stable.deployment)
    empty.timestamp_version = empty.snapshot_version = 40
    empty.publish()
    known.server.serve_index(empty)
    known.serve_as("root/tools", empty)
    code, errors = known.get("gizmo")
    assert code == 31
    assert "'eve/empty'" in errors
    assert known.nothing_placed()
    known.server.serve_index(known.tools)
    code, errors = known.get("gizmo")
    assert code == 0, f"the foreign tree's numbers are not remembered as this index's: {errors}"


def test_an_absence_that_names_no_index_opens_no_base(family: Family) -> None:
    """Metadata whose snapshot does not say whose it is proves files, but not that there are none: 23."""
    family.dev.names_itself = False
    family.serve()
    code, errors = family.get("widget")
    assert code == 23
    assert "not signed as that of alice/dev" in errors
    family.dev.add_file(WHEEL, b"our own\n")
    family.serve()
    assert family.call("download", "widget", "--base", "none", "--dest", str(family.dest))[0] == 0
    assert family.bytes_of(WHEEL) == b"our own\n"


def test_another_indexs_pointer_in_a_base_is_refused(known: Family) -> None:
    """A base's repository with a pointer that is signed for another index ends 31."""
    known.stable.targets[f"pointers/widget/{WHEEL}.pointer"] = (
        known.stable.targets[f"pointers/widget/{WHEEL}.pointer"].replace(b"root/stable", b"root/tools")
    )  # fmt: skip
    known.serve()
    assert known.get("widget")[0] == 31
    assert known.nothing_placed()


def test_a_nearer_index_that_is_kept_back_is_a_failure(known: Family) -> None:
    """Without the nearer index's metadata nothing further is taken: 10."""
    timestamp = "/root/tools/+tuf/metadata/timestamp.json"
    known.refuse(timestamp, 404)
    known.server.seen.clear()
    assert known.get("gizmo", "widget", "missing")[0] == 10
    assert known.nothing_placed()
    assert [path for path, _ in known.server.seen].count(timestamp) == 1, "it is not asked again for each name"


def test_a_named_file_needs_no_index_behind_its_owner(known: Family) -> None:
    """A file by its name is proven by the nearest index that lists it, also when what lies behind cannot be read."""
    known.refuse("/root/stable/+tuf/metadata/timestamp.json", 503)
    assert known.get("gizmo", "--file", GIZMO)[0] == 0


@pytest.mark.parametrize(
    "bases", [("root/stable", "root/tools"), ("root/stable",), (), ("root/tools", "eve/evil", "root/stable")]
)
def test_other_bases_than_recorded_are_refused(known: Family, bases: tuple[str, ...]) -> None:
    """Another order, one less, none or one more: 31, until a person records them anew."""
    evil = RepositorySimulator("eve/evil", known.stable.deployment)
    evil.add_file("widget-9.0-py3-none-any.whl", b"evil\n")
    evil.publish()
    known.server.serve_index(evil)
    known.based_on(*bases)
    url = f"{known.server.url}/alice/dev"
    done = known.run("download", "gizmo", "--repository", url, "--dest", known.dest)
    assert done.exit_code == 31, done.stderr
    assert "recorded is: root/tools, root/stable" in done.stderr
    assert known.nothing_placed()
    assert known.run("bases", "pin", url).exit_code == 0
    after = known.run("download", "gizmo", "--repository", url, "--dest", known.dest)
    assert after.exit_code == (0 if bases else 11), after.stderr


def test_a_mirror_in_a_stages_place_is_another_base(known: Family) -> None:
    """A server that calls a recorded stage a mirror, so that it would not be asked, is refused: 31."""
    known.server.describe("root/tools", kind="mirror")
    done = known.run("download", "gizmo", "--repository", f"{known.server.url}/alice/dev", "--dest", known.dest)
    assert done.exit_code == 31, done.stderr


def test_bases_that_are_not_answered_stay_as_recorded(known: Family) -> None:
    """A registry that keeps its answer back gains nothing and breaks nothing: what is recorded counts."""
    known.refuse("/alice/dev?no_projects=", 500)
    code, errors = known.get("gizmo")
    assert code == 0, errors
    assert "going on with those recorded: root/tools, root/stable" in errors


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_base_that_may_not_be_read_is_not_passed_over(family: Family, status: int) -> None:
    """Nothing is recorded and nothing taken: 10, which names the base; whoever leaves it out says so."""
    family.refuse("/root/tools?no_projects=", status)
    code, errors = family.get("widget")
    assert code == 10
    assert "root/tools" in errors
    assert "--base" in errors
    code, _, errors = family.call("download", "widget", "--base", "root/stable", "--dest", str(family.dest))
    assert code == 0, errors


def test_a_base_that_is_gone_is_skipped(family: Family) -> None:
    """As on the server: 404 and 410 of a base are no failure."""
    family.refuse("/root/tools?no_projects=", 410)
    code, errors = family.get("widget")
    assert code == 0, errors


def test_circles_end(family: Family) -> None:
    """Indexes that are based on each other and on themselves are asked once each."""
    family.server.describe("root/tools", "alice/dev", "root/tools", "root/stable")
    family.server.describe("root/stable", "root/tools", "alice/dev")
    assert family.get("widget")[0] == 0
    assert family.get("missing")[0] == 11
    assert len([path for path, _ in family.server.seen if path == "/root/tools?no_projects="]) == 2


def test_ten_thousand_bases_are_refused(family: Family) -> None:
    """More bases than an index can have are no bases: 10, and none of them is asked."""
    family.based_on(*(f"eve/i{number}" for number in range(10_000)))
    assert family.get("widget")[0] == 10
    assert not [path for path, _ in family.server.seen if path.startswith("/eve/")]


def test_bases_of_bases_end_at_the_most(family: Family) -> None:
    """However many bases of bases are named, at most 200 indexes are asked about."""
    family.based_on(*(f"eve/i{number}" for number in range(100)))
    for number in range(100):
        family.server.describe(f"eve/i{number}", *(f"eve/j{number}-{more}" for more in range(100)))
    family.get("widget")
    assert len([path for path, _ in family.server.seen if path.endswith("?no_projects=")]) == 200


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"{}", b"\xff", b'{"result":{"type":"other"}}', b'{"result":{"type":"stage","bases":"root/stable"}}',
     b'{"result":{"type":"stage","bases":["../etc"]}}', b'{"result":{"type":"stage","bases":["http://evil/x"]}}',
     b'{"result":{"type":"stage","bases":[1]}}', b"[" * 100_000, b" " * 300_000],
)  # fmt: skip
def test_an_unusable_document_is_no_index_without_bases(document: bytes, family: Family) -> None:
    """What cannot be read is a failure: 10."""
    family.server.paths["/alice/dev?no_projects="] = document
    code, errors = family.get("widget")
    assert code == 10, errors
    assert family.nothing_placed()


def test_redirects_of_a_document_are_not_followed(family: Family) -> None:
    """Bases are learnt from the registry itself: 10."""

    def away(handler: BaseHTTPRequestHandler) -> None:
        reply(handler, 302, Location=f"{family.server.url}/root/stable?no_projects=")

    family.server.paths["/alice/dev?no_projects="] = away
    assert family.get("widget")[0] == 10


def test_a_base_under_another_root_is_refused(known: Family) -> None:
    """A base whose metadata other keys signed ends 20."""
    foreign = RepositorySimulator("root/tools", Deployment())
    foreign.add_file(GIZMO, b"foreign\n")
    foreign.publish()
    known.serve_as("root/tools", known.dev)
    known.server.serve_index(foreign)
    (known.dest.parent / "home" / "cache").rename(known.dest.parent / "cache-before")
    assert known.get("gizmo")[0] == 20
