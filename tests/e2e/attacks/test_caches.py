"""Row 29: the cache of metadata, shared, damaged and not writable."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.attacks.conftest import Scene, Site
from tests.e2e.attacks.names import OTHER, WHEEL
from tests.support.mounts import tmpfs
from tests.support.simulator import RepositorySimulator
from tests.support.tampering.server import in_folder, tampering
from tests.support.tampering.table import Case, attacks
from tests.support.tampering.victim import Victim

pytestmark = pytest.mark.embedded


@attacks(29, Case("8 processes at once on one cache", 0))
def test_row_29_eight_processes(case: Case, scene: Scene) -> None:
    """Processes that share a cache wait for each other; all prove their file."""

    def download(number: int) -> int:
        return scene.client.run("widget==1.10", "--workers", str(1 + number % 4)).code

    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(download, range(7)))
    assert codes == [0] * 7
    scene.ends(case, scene.client.run("widget==1.10"))


@attacks(29, Case("a cache that cannot be written", 70, "this machine: "))
def test_row_29_read_only_cache(case: Case, scene: Scene) -> None:
    """A cache on a disk that takes nothing more ends the run with the name of the folder."""
    scene.warm_up()
    cache = scene.client.home / "cache"
    kept = scene.client.home / "kept"
    shutil.move(cache, kept)
    with tmpfs(cache, "16m") as mounted:
        shutil.copytree(kept, cache, symlinks=True, dirs_exist_ok=True)
        mounted.make_read_only()
        ended = scene.client.run("widget==1.10")
        scene.ends(case, ended)
        assert str(cache) in ended.words


@attacks(
    29,
    *(
        Case(f"the cached {role} damaged", 0, "", role)
        for role in ("root", "timestamp", "snapshot", "targets", "registry")
    ),
)
def test_row_29_damaged_cache(case: Case, scene: Scene) -> None:
    """A damaged file of the cache costs a download, not the run."""
    scene.warm_up()
    path = scene.client.cache_folder() / f"{case.given}.json"
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(b"\x00damaged")
    scene.ends(case, scene.client.get("widget==1.10"))
    assert path.read_bytes() == whole


@attacks(29, Case("the cache of another deployment in the place of this one's", 0))
def test_row_29_cache_of_another_deployment(case: Case, scene: Scene, tmp_path: Path) -> None:
    """What other keys signed is no reason to refuse what these keys sign."""
    other = RepositorySimulator()
    other.add_file(WHEEL)
    other.publish()
    other.sign_timestamp(version=9)
    other.write_tree(tmp_path / "other")
    with tampering(in_folder(tmp_path / "other")) as server:
        stranger = Victim(tmp_path / "stranger", f"{server.url}/indexes/{other.index}")
        stranger.pin(other.deployment.roots[0])
        assert stranger.get("widget==1.10").code == 0
    scene.warm_up()
    _put_in_place(stranger, scene.client)
    scene.ends(case, scene.client.get("widget==1.10"))


@attacks(
    29, Case("the cache of another index of the same deployment in the place of this one's, its numbers higher", 0)
)
def test_row_29_cache_of_another_index(case: Case, scene: Scene, site: Site, tmp_path: Path) -> None:
    """The same keys signed it, and still it is another repository's."""
    scene.warm_up()
    forger = type(scene.forger)(lambda name: site.read(name, OTHER), scene.forger.keys)
    scene.server.lay(f"/{OTHER}/+tuf/", forger.files)
    forger.put_timestamp(version=1000)
    stranger = Victim(tmp_path / "stranger", f"{scene.server.url}/{OTHER}")
    root = site.read("metadata/1.root.json")
    assert root is not None
    stranger.pin(root)
    assert stranger.get("widget==1.10").code == 0
    _put_in_place(stranger, scene.client)
    scene.ends(case, scene.client.get("widget==1.10"))


def _put_in_place(of: Victim, in_place_of: Victim) -> None:
    mine = in_place_of.cache_folder()
    shutil.rmtree(mine)
    shutil.copytree(of.cache_folder(), mine, symlinks=True)
