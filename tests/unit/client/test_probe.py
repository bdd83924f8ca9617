"""`countermark probe` sees from outside what clients are about to see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tests.support.simulator import RepositorySimulator, soon
from tests.unit.client.conftest import Run
from tests.unit.client.loopback import serving

ROLES = ["root", "timestamp", "snapshot", "targets", "trust", "registry", "bins"]


@pytest.fixture
def sim() -> RepositorySimulator:
    """An index with a project; four bins."""
    made = RepositorySimulator()
    made.add_file("widget-1.0-py3-none-any.whl")
    made.publish()
    return made


def objects(result: Result) -> list[Any]:
    """Return the objects on the output stream."""
    return [json.loads(line) for line in result.stdout.splitlines()]


class Site:
    """A tree on disk and the root of its deployment."""

    def __init__(self, sim: RepositorySimulator, folder: Path) -> None:
        self.sim, self.folder = sim, folder
        self.root = folder / "root.json"

    def lay(self) -> Path:
        """Write everything anew; return the index's folder."""
        self.folder.mkdir(exist_ok=True)
        self.root.write_bytes(self.sim.deployment.roots[0])
        return self.sim.write_tree(self.folder)


@pytest.fixture
def site(sim: RepositorySimulator, tmp_path: Path) -> Site:
    """The index as a static tree."""
    return Site(sim, tmp_path / "site")


def test_all_roles_are_read_twice_and_told(run: Run, site: Site) -> None:
    """Cold and warm, every role and the bins, with versions and ends; people get a table, machines objects."""
    tree = site.lay()
    done = run("probe", tree, "--root", site.root, "--json")
    assert done.exit_code == 0, done.stderr
    *lines, last = objects(done)
    assert last == {"step": "done", "ok": True, "exit": 0}
    told = [(line["step"], line["role"]) for line in lines]
    assert told == [(step, role) for step in ("cold", "warm") for role in ROLES]
    assert all(line["ok"] for line in lines)
    timestamp, bins = lines[1], lines[6]
    assert 23 * 3600 < timestamp["seconds_left"] <= 24 * 3600
    assert (bins["bins"], bins["first"][:3]) == (4, "b2-")
    table = run("probe", tree, "--root", site.root)
    assert table.exit_code == 0
    assert len(table.stdout.splitlines()) == 14
    assert "4 bins" in table.stdout


@pytest.mark.parametrize(("role", "hours"), [("timestamp", 11), ("snapshot", 11), ("bins", 11)])
def test_what_will_have_expired_is_a_fault(run: Run, site: Site, role: str, hours: int) -> None:
    """Whichever role ends within `--ahead` is named, though every refresh works now; with less ahead all is well."""
    site.sim.expires[role] = soon(hours=hours)
    site.sim.targets["pointers/widget/more.json"] = b"{}"
    site.sim.publish()
    tree = site.lay()
    done = run("probe", tree, "--root", site.root, "--json")
    assert done.exit_code == 1
    *lines, last = objects(done)
    assert [line["role"] for line in lines if not line["ok"]] == [role, role], "cold and warm"
    assert (last["exit"], last["error"]) == (1, "Expired")
    assert {"bins": "b2-"}.get(role, role) in last["message"]
    assert run("probe", tree, "--root", site.root, "--ahead", "10h").exit_code == 0


def test_the_offline_roles_count_as_well(run: Run, site: Site) -> None:
    """Root, and what is signed offline, end in a year: two years ahead they are all named."""
    done = run("probe", site.lay(), "--root", site.root, "--ahead", "800d", "--json")
    assert done.exit_code == 1
    assert [line["role"] for line in objects(done)[:-1] if not line["ok"]] == [*ROLES, *ROLES]


def test_what_has_expired_fails_the_refresh(run: Run, site: Site) -> None:
    """An end in the past is met by the refresh itself."""
    site.sim.expires["timestamp"] = soon(seconds=-5)
    site.sim.publish()
    done = run("probe", site.lay(), "--root", site.root, "--json")
    assert done.exit_code == 1
    assert objects(done)[-1]["error"] == "Expired"


def test_one_bin_that_nobody_asked_for_yet_is_enough(run: Run, site: Site) -> None:
    """A bin without a target that is missing is found: the probe reads each of them."""
    tree = site.lay()
    empty = next(
        name
        for name in ("b2-0", "b2-1", "b2-2", "b2-3")
        if site.sim.bin_key("pointers/widget/_simple.json").split(".")[-2] != name
    )
    (tree / "metadata" / f"1.{empty}.json").unlink()
    done = run("probe", tree, "--root", site.root, "--json")
    assert done.exit_code == 1
    assert empty in objects(done)[-1]["message"]


def test_the_warm_refresh_sees_a_rollback(run: Run, site: Site) -> None:
    """A server that goes back to older metadata satisfies a new client, and not one that was there before."""
    old = site.lay() / "metadata" / "timestamp.json"
    before = old.read_bytes()
    site.sim.publish()
    tree = site.lay()
    assert run("probe", tree, "--root", site.root).exit_code == 0
    old.write_bytes(before)
    done = run("probe", tree, "--root", site.root, "--json")
    assert done.exit_code == 1
    steps = [line["step"] for line in objects(done)]
    assert steps.count("cold") == len(ROLES)
    assert objects(done)[-1]["error"] == "RolledBack"


def test_over_http_each_file_is_asked_for_once_more_only_when_it_changed(run: Run, sim: RepositorySimulator) -> None:
    """The warm refresh of a kept cache asks for the next root and the timestamp, and for no bin."""
    with serving() as server:
        url = server.serve_index(sim)
        assert run("probe", url, "--trust-on-first-use").exit_code == 0
        server.seen.clear()
        assert run("probe", url).exit_code == 0
        paths = [path.rpartition("/")[2] for path, _ in server.seen]
    assert paths.count("timestamp.json") == 2
    assert paths.count("1.b2-0.json") == 1


@pytest.mark.parametrize("ahead", ["", "12", "h", "-1h", "1w", "12 h", "99999999h", "1e3h"])
def test_a_span_that_is_none_is_told(run: Run, site: Site, ahead: str) -> None:
    """Usage ends with 2 before anything is read."""
    done = run("probe", site.lay(), "--root", site.root, "--ahead", ahead)
    assert done.exit_code == 2
    assert "12h" in done.stderr


def test_without_a_pinned_root_it_says_how_to_pin(run: Run, site: Site) -> None:
    """Trust starts as for every other command."""
    done = run("probe", site.lay())
    assert done.exit_code == 2
    assert "no root is pinned" in done.stderr


def test_an_index_that_is_not_there_is_a_fault(run: Run, site: Site, sim: RepositorySimulator) -> None:
    """Exit 1, with the words of any other command."""
    site.lay()
    with serving() as server:
        done = run("probe", f"{server.url}/root/stable", "--root", site.root)
    assert done.exit_code == 1
    assert "no signed repository" in done.stderr
