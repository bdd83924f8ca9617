"""The verifying client on indexes with bases of a running registry: each file proven in its owner's repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.archives import make_wheel
from tests.support.clients import VerifyingClient
from tests.support.processes import Deployment
from tests.support.uploading import basic
from tests.support.waiting import until


class Registry:
    """A running registry, and a token of its owner that may do everything."""

    def __init__(self, deployment: Deployment, folder: Path) -> None:
        self._deployment, self._folder = deployment, folder
        self.token = deployment.token("--verbs", "read,upload,configure", index="*")

    def url(self, index: str) -> str:
        """Return the URL of an index."""
        return f"{self._deployment.api}/{index}"

    def index(self, name: str, *bases: str, private: bool = False) -> str:
        """Make an index with bases, as devpi's client does; return its name."""
        if private:
            done = self._deployment.command("index", "create", name, "--private")
            assert done.returncode == 0, done.stderr
        else:
            self._send("PUT", name, {"bases": list(bases)})
        # Its first publication comes a moment later, and so do the other processes that hear of it.
        root, headers = f"{self.url(name)}/+tuf/metadata/1.root.json", basic(self.token)
        until(f"the trust root of {name}", lambda: httpx2.get(root, headers=headers, timeout=30).status_code == 200)
        return name

    def change(self, name: str, *bases: str) -> None:
        """Give an index other bases."""
        self._send("PATCH", name, {"bases": list(bases)})

    def put(self, index: str, project: str, version: str, note: str) -> bytes:
        """Upload a wheel that `note` makes unlike others of its name; return its bytes."""
        wheel = self._folder / f"{project.replace('-', '_')}-{version}-py3-none-any.whl"
        wheel.write_bytes(make_wheel(project, version, extra_members={"cb_note.txt": note.encode()}))
        uploader = VerifyingClient(self._folder / "uploader")
        done = uploader("upload", "--index", self.url(index), str(wheel), token=self.token)
        assert done.returncode == 0, done.stderr
        return wheel.read_bytes()

    def _send(self, method: str, index: str, document: object) -> None:
        headers = basic(self.token) | {"accept": "application/json"}
        answer = httpx2.request(method, self.url(index), json=document, headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text


@pytest.fixture
def registry(deployment: Deployment, tmp_path: Path) -> Registry:
    """The running registry."""
    return Registry(deployment, tmp_path)


@pytest.fixture
def countermark(tmp_path: Path) -> VerifyingClient:
    """The verifying client, which trusts nobody yet."""
    return VerifyingClient(tmp_path / "home")


def lines(text: str) -> list[Any]:
    """Return the objects of an output stream."""
    return [json.loads(line) for line in text.splitlines()]


def test_files_of_bases_are_proven_where_they_belong(
    deployment: Deployment, registry: Registry, countermark: VerifyingClient, tmp_path: Path
) -> None:
    """A new, empty index over two bases: names, versions and files are theirs; nearer names win; trees work alike."""
    near, far = registry.index("root/cb-near"), registry.index("root/cb-far")
    dev = registry.index("root/cb-dev", near, far)
    far_lib, near_lib = registry.put(far, "cb-lib", "1.0", "far"), registry.put(near, "cb-lib", "1.0", "near")
    newer = registry.put(far, "cb-lib", "1.1", "far")
    assert far_lib != near_lib
    reading, dest = ("--repository", registry.url(dev), "--trust-on-first-use"), tmp_path / "dest"
    done = countermark("download", "cb-lib==1.0", "cb-lib", *reading, "--dest", str(dest), "--json")
    assert done.returncode == 0, done.stderr
    assert f"recorded what {dev} is based on: {near}, {far}" in done.stderr
    owners = {step["target"]: step["index"] for step in lines(done.stdout) if step["step"] == "target"}
    assert owners == {
        "pointers/cb-lib/cb_lib-1.0-py3-none-any.whl.pointer": near,
        "pointers/cb-lib/cb_lib-1.1-py3-none-any.whl.pointer": far,
    }
    assert (dest / "cb_lib-1.0-py3-none-any.whl").read_bytes() == near_lib
    assert (dest / "cb_lib-1.1-py3-none-any.whl").read_bytes() == newer
    assert countermark("verify", str(dest / "cb_lib-1.1-py3-none-any.whl"), *reading).returncode == 0
    (dest / "cb_lib-1.0-py3-none-any.whl").write_bytes(far_lib)
    assert countermark("verify", str(dest / "cb_lib-1.0-py3-none-any.whl"), *reading).returncode in {40, 41}
    listed = lines(countermark("ls", "cb-lib", *reading, "--json").stdout)
    assert [(release["version"], release["indexes"]) for release in listed] == [("1.1", [far]), ("1.0", [near])]
    tree = str(deployment.tree / "indexes" / dev)
    done = countermark(
        "download", "cb-lib", "--repository", tree, "--base", near, "--base", far, "--dest", str(tmp_path / "offline"),
        "--trust-on-first-use",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "offline" / "cb_lib-1.1-py3-none-any.whl").read_bytes() == newer


def test_other_bases_need_a_person(registry: Registry, countermark: VerifyingClient, tmp_path: Path) -> None:
    """A change of bases is refused until it is recorded; a circle, and a base that is gone, are none."""
    one, two = registry.index("root/cb-one"), registry.index("root/cb-two")
    dev = registry.index("root/cb-changing", one)
    registry.put(one, "cb-changed", "1.0", "one")
    registry.put(two, "cb-changed", "2.0", "two")
    url, dest = registry.url(dev), ("--dest", str(tmp_path / "dest"))
    done = countermark("download", "cb-changed", "--repository", url, *dest, "--trust-on-first-use")
    assert done.returncode == 0, done.stderr
    registry.change(two, dev)
    registry.change(dev, two, one)
    done = countermark("download", "cb-changed", "--repository", url, *dest)
    assert done.returncode == 31, done.stderr
    assert "countermark bases pin" in done.stderr
    done = countermark("bases", "pin", url)
    assert (done.returncode, done.stdout) == (0, f"{dev} is based on: {two}, {one}\n"), done.stderr
    done = countermark("download", "cb-changed", "--repository", url, *dest)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("cb_changed-2.0-py3-none-any.whl\n")


def test_a_base_that_may_not_be_read_is_named(
    deployment: Deployment, registry: Registry, countermark: VerifyingClient, tmp_path: Path
) -> None:
    """Who may read the index but not its private base cannot have that base proven: 10; who may, can."""
    shut, dev = registry.index("root/cb-shut", private=True), registry.index("root/cb-open", private=True)
    registry.change(dev, shut)
    wheel = registry.put(shut, "cb-secret", "1.0", "secret")
    arguments = ("download", "cb-secret", "--repository", registry.url(dev), "--trust-on-first-use")
    dest = ("--dest", str(tmp_path / "dest"))
    narrow = deployment.token("--verbs", "read", index=dev)
    done = countermark(*arguments, *dest, token=narrow)
    assert done.returncode == 10, done.stderr
    assert f"{shut} may not be read with these credentials" in done.stderr
    assert not (tmp_path / "dest").exists()
    done = countermark(*arguments, *dest, token=registry.token)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "dest" / "cb_secret-1.0-py3-none-any.whl").read_bytes() == wheel


def test_what_a_mirror_has_is_not_proven(registry: Registry, countermark: VerifyingClient) -> None:
    """An index on a mirror: a name that no stage has ends 11 and says why."""
    dev = registry.index("root/cb-mirrored", "root/pypi")
    done = countermark(
        "download", "cb-nowhere", "--repository", registry.url(dev), "--trust-on-first-use"
    )  # fmt: skip
    assert done.returncode == 11, done.stderr
    assert "the mirrors root/pypi have is not signed" in done.stderr
