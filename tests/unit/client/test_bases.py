"""An index with bases: each file is proven in its owner's repository, whatever the server says of the order."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from countermark.cache import Cache
from countermark.core.digest import Sha256
from countermark.core.names import parse_index_name
from countermark.credentials import Notify
from countermark.location import Location
from countermark.roots import read_root
from countermark.trusted_view import opened_view
from countermark.views import View
from tests.support.simulator import Deployment, RepositorySimulator
from tests.unit.client.conftest import WHEEL, Client, Run
from tests.unit.client.loopback import Loopback, reply

NEWER, GIZMO = "widget-1.11-py3-none-any.whl", "gizmo-2.0-py3-none-any.whl"
MINE = "widget-0.9-py3-none-any.whl"


class Family:
    """`alice/dev` based on `root/tools` and `root/stable`, all of one deployment, behind one server.

    `alice/dev` has nothing; `root/tools` has gizmo; `root/stable` (the fixture `sim`) has widget 1.10 and gizmo.
    """

    def __init__(self, run: Run, server: Loopback, stable: RepositorySimulator, dest: Path) -> None:
        self._run, self.server, self._dest = run, server, dest
        self.stable = stable
        self.tools = RepositorySimulator("root/tools", stable.deployment)
        self.dev = RepositorySimulator("alice/dev", stable.deployment)
        self.stable.add_file(GIZMO, b"the gizmo of stable\n")
        self.tools.add_file(GIZMO, b"the gizmo of tools\n")
        self.serve()

    def serve(self) -> None:
        """Publish and serve all."""
        for index in (self.stable, self.tools, self.dev):
            index.publish()
            self.server.serve_index(index)
        self.based_on("root/tools", "root/stable")

    def based_on(self, *bases: str) -> None:
        """Have the server say what `alice/dev` is based on."""
        self.server.describe("alice/dev", *bases)

    def serve_as(self, index: str, other: RepositorySimulator) -> None:
        """Serve the whole tree of another index in the place of one."""
        prefix = f"/{index}/+tuf/"
        self.server.paths = {path: data for path, data in self.server.paths.items() if not path.startswith(prefix)}
        mine = f"/{other.index}/+tuf/"
        for path, data in list(self.server.paths.items()):
            if path.startswith(mine):
                self.server.paths[prefix + path.removeprefix(mine)] = data

    def refuse(self, path: str, status: int) -> None:
        """Have the server answer a path with an error."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            reply(handler, status)

        self.server.paths[path] = answer

    def call(self, *arguments: str, index: str = "alice/dev") -> tuple[int, str, str]:
        """Run a command on an index; return exit code, output and errors."""
        done = self._run(*arguments, "--repository", f"{self.server.url}/{index}", "--trust-on-first-use")
        return done.exit_code, done.stdout, done.stderr

    def get(self, *names: str) -> tuple[int, str]:
        """Download and return the exit code and errors."""
        code, _, errors = self.call("download", *names, "--dest", str(self._dest))
        return code, errors

    def bytes_of(self, name: str) -> bytes:
        """Return what was placed."""
        return (self._dest / name).read_bytes()

    def nothing_placed(self) -> bool:
        """Return whether no file was placed."""
        return not self._dest.exists() or not any(self._dest.iterdir())


@pytest.fixture
def family(run: Run, server: Loopback, sim: RepositorySimulator, tmp_path: Path) -> Family:
    """Three indexes, served honestly."""
    return Family(run, server, sim, tmp_path / "dest")


@pytest.fixture
def known(family: Family) -> Family:
    """The same, whose bases this machine has recorded."""
    assert family.get("gizmo")[0] == 0
    (family._dest / GIZMO).unlink()
    return family


def test_a_file_of_a_base_is_proven_in_its_repository(family: Family) -> None:
    """Name, version, range, file and local file are found in the base, and the words say which one proved them."""
    for asked in (("widget",), ("widget==1.10",), ("widget>1",), ("widget", "--file", WHEEL), ("widget", "--all")):
        code, errors = family.get(*asked)
        assert code == 0, errors
        assert f"{WHEEL} is root/stable's, a base of alice/dev: proven there" in errors
    assert family.bytes_of(WHEEL) == b"the real wheel\n"
    code, output, errors = family.call("verify", str(family._dest / WHEEL), "--json")
    assert code == 0, errors
    steps = [json.loads(line) for line in output.splitlines()]
    assert [step["index"] for step in steps if step["step"] == "pointer"] == ["root/stable"]
    assert next(step for step in steps if step["step"] == "bases") == {
        "step": "bases", "ok": True, "order": ["alice/dev", "root/tools", "root/stable"], "mirrors": [],
        "origin": "served",
    }  # fmt: skip


def test_the_nearer_index_wins_by_file_name(family: Family) -> None:
    """Of two indexes with a file of the same name the nearer one's bytes are taken; a changed file of it is refused."""
    code, errors = family.get("gizmo")
    assert code == 0, errors
    assert family.bytes_of(GIZMO) == b"the gizmo of tools\n"
    (family._dest / GIZMO).write_bytes(b"the gizmo of stable\n")
    assert family.call("verify", str(family._dest / GIZMO))[0] in {40, 41}


def test_versions_of_all_indexes_count(family: Family) -> None:
    """The latest is the latest of all: a base's newer release counts, so does the index's own; pre-releases last."""
    family.dev.add_file(MINE, b"an older one\n")
    family.tools.add_file("widget-2.0rc1-py3-none-any.whl", b"not yet\n")
    family.serve()
    assert family.get("widget")[0] == 0
    assert family.bytes_of(WHEEL) == b"the real wheel\n"
    assert family.get("widget<1")[0] == 0
    assert family.bytes_of(MINE) == b"an older one\n"
    family.dev.add_file(NEWER, b"a newer one\n")
    family.serve()
    assert family.get("widget")[0] == 0
    assert family.bytes_of(NEWER) == b"a newer one\n"
    code, output, _ = family.call("ls", "widget", "--json")
    assert code == 0
    releases = [json.loads(line) for line in output.splitlines()]
    assert [(one["version"], one["indexes"]) for one in releases] == [
        ("2.0rc1", ["root/tools"]), ("1.11", ["alice/dev"]), ("1.10", ["root/stable"]), ("0.9", ["alice/dev"]),
    ]  # fmt: skip


def test_several_names_refresh_each_index_once(family: Family) -> None:
    """A batch over three indexes reads each timestamp once."""
    code, errors = family.get("gizmo", "widget", "gizmo==2.0")
    assert code == 0, errors
    timestamps = [path for path, _ in family.server.seen if path.endswith("timestamp.json")]
    assert sorted(timestamps) == [f"/{name}/+tuf/metadata/timestamp.json" for name in sorted(
        ("alice/dev", "root/tools", "root/stable"))]  # fmt: skip


def test_quarantine_in_the_index_hides_what_its_bases_have(family: Family) -> None:
    """A signed page that says quarantine ends the walk: 11, although a base has the project."""
    target = "pointers/widget/_simple.json"
    page = {"meta": {"_index": "alice/dev"}, "name": "widget", "project-status": {"status": "quarantined"}, "files": []}
    family.dev.targets[target] = json.dumps(page).encode()
    family.serve()
    assert family.get("widget")[0] == 11
    assert family.nothing_placed()


# A server that lies


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
    assert family.call("download", "widget", "--base", "none", "--dest", str(family._dest))[0] == 0
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


def test_without_a_recorded_base_behind_it_the_first_hit_needs_no_further_one(known: Family) -> None:
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
    done = known._run("download", "gizmo", "--repository", url, "--dest", known._dest)
    assert done.exit_code == 31, done.stderr
    assert "recorded is: root/tools, root/stable" in done.stderr
    assert known.nothing_placed()
    assert known._run("bases", "pin", url).exit_code == 0
    after = known._run("download", "gizmo", "--repository", url, "--dest", known._dest)
    assert after.exit_code == (0 if bases else 11), after.stderr


def test_a_mirror_in_a_stages_place_is_another_base(known: Family) -> None:
    """A server that calls a recorded stage a mirror, so that it would not be asked, is refused: 31."""
    known.server.describe("root/tools", kind="mirror")
    done = known._run("download", "gizmo", "--repository", f"{known.server.url}/alice/dev", "--dest", known._dest)
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
    code, _, errors = family.call("download", "widget", "--base", "root/stable", "--dest", str(family._dest))
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
    (known._dest.parent / "home" / "cache").rename(known._dest.parent / "cache-before")
    assert known.get("gizmo")[0] == 20


# Mirrors


def test_what_only_a_mirror_has_cannot_be_proven(family: Family) -> None:
    """A name or version that no stage has ends 11, names the mirror and how to make it provable; stages still count."""
    family.server.describe("root/pypi", kind="mirror")
    family.based_on("root/pypi", "root/stable")
    for asked in ("requests", "widget==9", "widget>9"):
        code, _, errors = family.call("download", asked, "--json")
        assert code == 11
        assert "the mirrors root/pypi have is not signed" in errors
    assert family.get("widget")[0] == 0
    done = family._run("download", "requests", "--repository", f"{family.server.url}/root/pypi")
    assert done.exit_code == 11
    assert "is a mirror" in done.stderr


# On this machine


@dataclass(frozen=True, slots=True)
class RecordingCache(Cache):
    """Remembers in which order repositories were locked."""

    locked: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def opened(self, location: Location, root: Sha256, notify: Notify) -> Iterator[Path]:
        """Lock and remember."""
        with Cache.opened(self, location, root, notify) as folder:
            self.locked.append(str(location.index))
            yield folder


def test_caches_are_locked_in_one_order_for_all(sim: RepositorySimulator, tmp_path: Path) -> None:
    """Two runs whose indexes are based on each other cannot wait for each other: both lock in the same order."""
    names = [parse_index_name(name) for name in ("root/stable", "alice/dev", "root/tools")]
    orders = []
    for order in itertools.permutations(names):
        cache = RecordingCache(tmp_path / "cache")
        client = Client(sim, sim.location.beside(order[0]), tmp_path / "home")
        here = replace(client.verifier().repository, cache=cache)
        with opened_view(View(order), here, read_root(sim.deployment.roots[0]), lambda _index, _versions: None):
            orders.append(cache.locked)
    assert orders == [["alice/dev", "root/stable", "root/tools"]] * 6


# What a person says


def test_named_bases_are_not_asked_of_the_server(family: Family) -> None:
    """With --base, or names recorded once, the order is the person's, whatever the server says."""
    family.based_on("eve/evil")
    named = ("--base", "root/stable", "--base", "root/tools")
    code, _, errors = family.call("download", "gizmo", *named, "--dest", str(family._dest))
    assert code == 0, errors
    assert family.bytes_of(GIZMO) == b"the gizmo of stable\n"
    url = f"{family.server.url}/alice/dev"
    assert family._run("bases", "pin", url, "root/tools", "root/stable").exit_code == 0
    assert family.get("gizmo")[0] == 0
    assert family.bytes_of(GIZMO) == b"the gizmo of tools\n"
    assert not [path for path, _ in family.server.seen if path.endswith("?no_projects=")]
    shown = json.loads(family._run("bases", "show", url, "--json").stdout)
    assert shown["recorded"]["order"] == ["alice/dev", "root/tools", "root/stable"]
    assert shown["served"]["order"] == ["alice/dev"]


@pytest.mark.parametrize("named", [("a",), ("none", "root/stable"), ("../x/y",), tuple(f"a/i{n}" for n in range(200))])
def test_bases_that_cannot_be_meant_end_2(named: tuple[str, ...], family: Family) -> None:
    """Malformed names, `none` beside others and too many are refused before anything is asked."""
    given = [word for name in named for word in ("--base", name)]
    assert family.call("download", "widget", *given)[0] == 2
    assert family.server.seen == []


def test_a_static_tree_stands_alone_unless_bases_are_named(family: Family, tmp_path: Path) -> None:
    """A tree says nothing of bases: its own files are proven; with names those of the trees beside it too."""
    for index in (family.stable, family.tools, family.dev):
        tree = index.write_tree(tmp_path / "data")
    arguments = ("download", "widget", "--repository", tree, "--trust-on-first-use", "--dest", tmp_path / "tree")
    assert family._run(*arguments).exit_code == 11
    done = family._run(*arguments, "--base", "root/tools", "--base", "root/stable")
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "tree" / WHEEL).read_bytes() == b"the real wheel\n"


def test_a_damaged_record_is_never_passed_over(known: Family) -> None:
    """Bases would be learnt anew in silence: 70, with what to do."""
    (record,) = [path for path in (known._dest.parent / "home" / "views").iterdir() if "alice" in path.name]
    record.write_text("{}")
    code, errors = known.get("gizmo")
    assert code == 70
    assert "bases pin" in errors
