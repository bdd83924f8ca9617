"""The published tree is lost and laid again beside the running server: byte for byte, and no client is disturbed.

Source: architecture section 5, invariant 3.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import httpx2
import pytest

from tests.support.archives import make_wheel, wheel_name
from tests.support.clients import VerifyingClient
from tests.support.processes import Deployment
from tests.support.tree_audit import audit, folder_reader
from tests.support.tuf_reader import TreeReader
from tests.support.uploading import basic, post_file
from tests.support.waiting import until

_INDEX = "root/rebuilt"
_OTHERS = ("root/rebuilt-a", "root/rebuilt-b")


def test_a_lost_tree_is_laid_again_as_it_was(deployment: Deployment, tmp_path: Path) -> None:
    """What is current comes back with the bytes it had; warm clients of server and bare tree go on."""
    made = deployment.command("index", "create", _INDEX)
    assert made.returncode == 0, made.stderr
    token = deployment.token("--verbs", "read,upload,remove", index=_INDEX)
    for version in ("1.0", "1.1", "2.0"):
        upload(deployment, token, "phoenix", version)
    upload(deployment, token, "ashes", "1.0")
    until_stored(deployment, {"phoenix": {"1.0", "1.1", "2.0"}, "ashes": {"1.0"}})
    removed = httpx2.delete(
        f"{deployment.api}/api/v1/indexes/{_INDEX}/projects/phoenix/releases/1.1", headers=basic(token), timeout=60
    )
    assert removed.status_code in {200, 202}, removed.text
    until_stored(deployment, {"phoenix": {"1.0", "2.0"}})
    # The static pages follow in a job; a full rebuild before the loss is what they have to look like.
    assert deployment.command("rebuild", _INDEX).returncode == 0
    tree = deployment.tree / "indexes" / _INDEX
    client = VerifyingClient(tmp_path / "home")
    repository = f"{deployment.api}/{_INDEX}"
    prove = ("download", "--repository", repository, "--dest", str(tmp_path / "proven"), "phoenix")
    assert client(*prove, "--trust-on-first-use").returncode == 0
    reader = TreeReader(tree, tmp_path / "reader")
    before, versions = current_files(deployment.tree), reader.versions()
    assert any("simple/phoenix/index.html" in path for path in before)

    lose(tree)
    done = deployment.command("rebuild", _INDEX)
    assert done.returncode == 0, done.stderr
    after = current_files(deployment.tree)
    assert after == before
    assert reader.versions() == versions
    assert client(*prove).returncode == 0
    upload(deployment, token, "phoenix", "3.0")
    until_stored(deployment, {"phoenix": {"1.0", "2.0", "3.0"}})
    assert reader.versions()["timestamp"] > versions["timestamp"]


@pytest.mark.timeout(600)
def test_the_whole_tree_is_laid_again_as_it_was(deployment: Deployment, tmp_path: Path) -> None:
    """With every index's tree gone at once, one command without a name brings all of them back with their bytes."""
    for index in _OTHERS:
        made = deployment.command("index", "create", index)
        assert made.returncode == 0, made.stderr
        token = deployment.token("--verbs", "read,upload", index=index)
        upload(deployment, token, "phoenix", "1.0", index=index)
        until_stored(deployment, {"phoenix": {"1.0"}}, index=index)
    # The indexes of all other tests are laid again as well.
    assert deployment.command("rebuild", timeout=240).returncode == 0
    trees = deployment.tree / "indexes"
    names = sorted(path.relative_to(trees) for path in trees.glob("*/*"))
    before = {index: current_files(deployment.tree, index) for index in _OTHERS}
    clients = {index: VerifyingClient(tmp_path / index.replace("/", "-")) for index in _OTHERS}

    def proven(index: str, *options: str) -> bool:
        repository = f"{deployment.api}/{index}"
        dest = str(tmp_path / "proven" / index)
        return (
            clients[index]("download", "--repository", repository, "--dest", dest, "phoenix", *options).returncode == 0
        )

    assert all(proven(index, "--trust-on-first-use") for index in _OTHERS)

    lose(trees)
    done = deployment.command("rebuild", timeout=240)
    assert done.returncode == 0, done.stderr
    assert sorted(path.relative_to(trees) for path in trees.glob("*/*")) == names
    assert {index: current_files(deployment.tree, index) for index in _OTHERS} == before
    assert all(proven(index) for index in _OTHERS)


def lose(tree: Path) -> None:
    """Take a tree away in one step: what refreshes it meanwhile cannot be in the way of deleting it file by file."""
    shutil.rmtree(tree.rename(tree.with_name(f"{tree.name}-lost")))


def upload(deployment: Deployment, token: str, name: str, version: str, *, index: str = _INDEX) -> None:
    """Upload a wheel; on a busy machine it may be published after the answer."""
    answer = post_file(f"{deployment.api}/{index}", token, wheel_name(name, version), make_wheel(name, version))
    assert answer.status_code == 200, answer.text


def until_stored(deployment: Deployment, versions: dict[str, set[str]], *, index: str = _INDEX) -> None:
    """Return when the tree lists just these versions: it follows the commit, and that may follow the answer."""
    expected = {name: {wheel_name(name, version) for version in given} for name, given in versions.items()}
    read = folder_reader(deployment.tree, index)

    def stored() -> bool:
        found = audit(read)
        return {name: found.listed(name) for name in expected} == expected and found.faults == []

    until(f"the store lists {versions}", stored)


def current_files(store: Path, index: str = _INDEX) -> dict[str, str]:
    """Return digests of all that the current metadata lead to, and of the plain and static files: path -> sha256."""
    named: set[str] = set()
    read = folder_reader(store, index)

    def noting(path: str) -> bytes | None:
        named.add(path)
        return read(path)

    found = audit(noting)
    assert found.faults == []
    tree = store / "indexes" / index
    named |= {str(path.relative_to(tree)) for part in ("simple", "pointers") for path in (tree / part).rglob("*.*")}
    contents = {path: read(path) for path in named}
    return {path: hashlib.sha256(content).hexdigest() for path, content in contents.items() if content is not None}
