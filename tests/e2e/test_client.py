"""The client's commands against a running registry: upload, follow, list, download, yank, tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.archives import make_sdist, make_wheel
from tests.support.clients import VerifyingClient
from tests.support.processes import Deployment


@pytest.fixture
def countermark(tmp_path: Path) -> VerifyingClient:
    """The verifying client, which trusts nobody yet."""
    return VerifyingClient(tmp_path / "home")


def lines(text: str) -> list[Any]:
    """Return the objects of an output stream."""
    return [json.loads(line) for line in text.splitlines()]


def built(folder: Path, name: str, *versions: str) -> list[Path]:
    """Write a wheel and an sdist of each version; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for version in versions:
        escaped = name.replace("-", "_")
        wheel, sdist = folder / f"{escaped}-{version}-py3-none-any.whl", folder / f"{escaped}-{version}.tar.gz"
        wheel.write_bytes(make_wheel(name, version))
        sdist.write_bytes(make_sdist(name, version))
        paths += [wheel, sdist]
    return paths


def test_a_batch_goes_up_and_comes_down_proven(
    deployment: Deployment, countermark: VerifyingClient, tmp_path: Path
) -> None:
    """Eight files up side by side; down again by names and by a requirements file whose digests match."""
    index = f"{deployment.api}/root/stable"
    files = built(tmp_path / "up", "client-one", "1.0", "1.1") + built(tmp_path / "up", "client-two", "1.0", "2.0rc1")
    done = countermark("upload", "--index", index, *map(str, files), "--json", token=deployment.token())
    assert done.returncode == 0, done.stderr
    assert [line["status"] for line in lines(done.stdout)] == [200] * 8
    reading = ("--repository", index, "--trust-on-first-use")
    done = countermark("download", *reading, "client-one<1.1", "client-two", "--dest", str(tmp_path / "named"))
    assert done.returncode == 0, done.stderr
    placed = [Path(line) for line in done.stdout.splitlines()]
    assert [path.name for path in placed] == ["client_one-1.0-py3-none-any.whl", "client_two-1.0-py3-none-any.whl"]
    assert [path.read_bytes() for path in placed] == [files[0].read_bytes(), files[4].read_bytes()]
    (listed, _) = lines(countermark("ls", *reading, "client-one==1.1", "--json").stdout)
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"client-one==1.1 \\\n    --hash=sha256:{listed['sha256']}\n")
    done = countermark("download", *reading, "-r", str(requirements), "--dest", str(tmp_path / "pinned"))
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1), done.stderr
    requirements.write_text(f"client-one==1.1 --hash=sha256:{'0' * 64}\n")
    done = countermark("download", *reading, "-r", str(requirements), "--dest", str(tmp_path / "wrong"))
    assert done.returncode == 31, done.stderr
    assert not (tmp_path / "wrong").exists()


def test_ls_and_status(deployment: Deployment, countermark: VerifyingClient, tmp_path: Path) -> None:
    """Projects from the API, releases from the signed page, a file's state, and where we stand."""
    index, token = f"{deployment.api}/root/stable", deployment.token()
    files = built(tmp_path, "client-listed", "1.0", "1.1")
    done = countermark("upload", "--index", index, *map(str, files), token=token)
    assert done.returncode == 0, done.stderr
    done = countermark("ls", "--repository", index, "--match", "client-listed", "--json")
    assert done.returncode == 0, done.stderr
    (project,) = lines(done.stdout)
    assert (project["name"], project["latest_version"], project["files"]) == ("client-listed", "1.1", 4)
    done = countermark("ls", "client-listed", "--repository", index, "--trust-on-first-use", "--json")
    assert done.returncode == 0, done.stderr
    assert [(release["version"], release["files"]) for release in lines(done.stdout)] == [("1.1", 2), ("1.0", 2)]
    done = countermark("status", "--repository", index, "--json", token=token)
    assert done.returncode == 0, done.stderr
    (standing,) = lines(done.stdout)
    assert standing["account"]["name"] == "root"
    assert standing["root"]["origin"] == "first-use"
    assert standing["head"]["serial"] >= 1
    release = deployment.get("/api/v1/indexes/root/stable/projects/client-listed/releases/1.0").json()
    done = countermark("status", release["files"][0]["id"], "--repository", index)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("published client_listed-1.0")


def test_yank_and_unyank(deployment: Deployment, countermark: VerifyingClient, tmp_path: Path) -> None:
    """A yanked release is signed as such, is not chosen for a range any more, and comes back."""
    index, token = f"{deployment.api}/root/stable", deployment.token()
    done = countermark("upload", "--index", index, *map(str, built(tmp_path, "client-yank", "1", "2")), token=token)
    assert done.returncode == 0, done.stderr
    reading = ("--repository", index, "--trust-on-first-use")
    done = countermark("yank", "client-yank==2", "--reason", "leaks", "--repository", index, token=token)
    assert done.returncode == 0, done.stderr
    assert "published, serial" in done.stdout
    files = lines(countermark("ls", "client-yank==2", *reading, "--json").stdout)
    assert [(file["yanked"], file["yanked_reason"]) for file in files] == [(True, "leaks")] * 2
    dest = ("--dest", str(tmp_path / "dest"))
    assert "client_yank-1-" in countermark("download", "client-yank>0", *reading, *dest).stdout
    exact = countermark("download", "client-yank==2", *reading, *dest)
    assert exact.returncode == 0
    assert "is yanked" in exact.stderr
    done = countermark("unyank", "client-yank==2", "--repository", index, token=token)
    assert done.returncode == 0, done.stderr
    assert "client_yank-2-" in countermark("download", "client-yank>0", *reading, *dest).stdout
    refused = countermark("yank", "client-yank==2", "--repository", index)
    assert refused.returncode == 1
    assert "COUNTERMARK_TOKEN" in refused.stderr


def test_tokens(deployment: Deployment, countermark: VerifyingClient, tmp_path: Path) -> None:
    """A token makes a smaller one, which uploads; revoked, it opens nothing any more."""
    index, token = f"{deployment.api}/root/stable", deployment.token()
    done = countermark("token", "create", "ci", "--days", "7", "--repository", index, "--json", token=token)
    assert done.returncode == 0, done.stderr
    (made,) = lines(done.stdout)
    (wheel, _) = built(tmp_path, "client-token", "1")
    assert countermark("upload", "--index", index, str(wheel), token=made["token"]).returncode == 0
    listed = lines(countermark("token", "list", "--repository", index, "--json", token=token).stdout)
    assert {"label": "ci", "state": "active"}.items() <= next(
        item for item in listed if item["id"] == made["id"]
    ).items()
    done = countermark("token", "revoke", made["id"], "--repository", index, token=token)
    assert done.returncode == 0, done.stderr
    done = countermark("upload", "--index", index, str(wheel), token=made["token"])
    assert done.returncode == 1, done.stdout
