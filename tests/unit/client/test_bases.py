"""An index with bases: each file is proven in its owner's repository."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
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
from tests.support.simulator import RepositorySimulator
from tests.unit.client.conftest import WHEEL, Client
from tests.unit.client.family import GIZMO, MINE, NEWER, Family


def test_a_file_of_a_base_is_proven_in_its_repository(family: Family) -> None:
    """Name, version, range, file and local file are found in the base, and the words say which one proved them."""
    for asked in (("widget",), ("widget==1.10",), ("widget>1",), ("widget", "--file", WHEEL), ("widget", "--all")):
        code, errors = family.get(*asked)
        assert code == 0, errors
        assert f"{WHEEL} is root/stable's, a base of alice/dev: proven there" in errors
    assert family.bytes_of(WHEEL) == b"the real wheel\n"
    code, output, errors = family.call("verify", str(family.dest / WHEEL), "--json")
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
    (family.dest / GIZMO).write_bytes(b"the gizmo of stable\n")
    assert family.call("verify", str(family.dest / GIZMO))[0] in {40, 41}


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
    done = family.run("download", "requests", "--repository", f"{family.server.url}/root/pypi")
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
    code, _, errors = family.call("download", "gizmo", *named, "--dest", str(family.dest))
    assert code == 0, errors
    assert family.bytes_of(GIZMO) == b"the gizmo of stable\n"
    url = f"{family.server.url}/alice/dev"
    assert family.run("bases", "pin", url, "root/tools", "root/stable").exit_code == 0
    assert family.get("gizmo")[0] == 0
    assert family.bytes_of(GIZMO) == b"the gizmo of tools\n"
    assert not [path for path, _ in family.server.seen if path.endswith("?no_projects=")]
    shown = json.loads(family.run("bases", "show", url, "--json").stdout)
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
    assert family.run(*arguments).exit_code == 11
    done = family.run(*arguments, "--base", "root/tools", "--base", "root/stable")
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "tree" / WHEEL).read_bytes() == b"the real wheel\n"


def test_a_damaged_record_is_never_passed_over(known: Family) -> None:
    """Bases would be learnt anew in silence: 70, with what to do."""
    (record,) = [path for path in (known.dest.parent / "home" / "views").iterdir() if "alice" in path.name]
    record.write_text("{}")
    code, errors = known.get("gizmo")
    assert code == 70
    assert "bases pin" in errors
