"""Any TUF client: python-tuf, tuf-js and go-tuf, as they are published, read and refuse what we publish.

Source: issue "Trust", point 10; trust contract sections 1.1, 1.4 and 1.5.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest

from countermark.core.pointer import parse_pointer
from tests.support.archives import make_wheel
from tests.support.clients import VerifyingClient
from tests.support.flipping import flipping
from tests.support.processes import Deployment, run
from tests.support.tools import CACHE
from tests.support.tuf_clients import CLIENTS, TufClient, Unavailable


@pytest.fixture(params=CLIENTS)
def tuf_client(request: pytest.FixtureRequest) -> TufClient:
    """One of the clients; installed or built once."""
    try:
        return CLIENTS[request.param](CACHE)
    except Unavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture
def root(deployment: Deployment, tmp_path: Path) -> Path:
    """The deployment's first root, as a file."""
    path = tmp_path / "root.json"
    path.write_bytes(deployment.get("/root/stable/+tuf/metadata/1.root.json").content)
    return path


def publish(deployment: Deployment, folder: Path, version: str) -> tuple[str, str]:
    """Publish a wheel of that version; return the target path of its pointer and the sha256 of the wheel."""
    wheel = folder / f"any_tuf-{version}-py3-none-any.whl"
    wheel.write_bytes(make_wheel("any-tuf", version))
    up = VerifyingClient(folder / "up")
    done = up("upload", "--index", f"{deployment.api}/root/stable", str(wheel), token=deployment.token())
    assert done.returncode == 0, done.stderr
    return f"pointers/any-tuf/{wheel.name}.pointer", hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_every_client_fetches_pointers(
    tuf_client: TufClient, deployment: Deployment, root: Path, tmp_path: Path
) -> None:
    """Cold, and warm after a further publication: the verified target is the pointer of the file that was uploaded."""
    for version in ("1.0", "1.1"):
        target, sha256 = publish(deployment, tmp_path, version)
        done = tuf_client.fetch(f"{deployment.api}/root/stable", root, tmp_path / "client", target)
        assert done.returncode == 0, done.stderr
        pointer = parse_pointer(Path(done.stdout.strip()).read_bytes())
        assert (pointer.version, pointer.file.digest) == (version, sha256)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        pytest.param(r"/metadata/[0-9]+\.b[0-9]+-[0-9a-f]+\.json$", "sign", id="bin"),
        pytest.param(r"/targets/pointers/any-tuf/", "hash", id="pointer"),
    ],
)
def test_every_client_refuses_one_flipped_byte(
    what: str, reason: str, tuf_client: TufClient, deployment: Deployment, root: Path, tmp_path: Path
) -> None:
    """One byte of the bin, or of the pointer, and no target is placed; with the same proxy honest, it is."""
    target, _ = publish(deployment, tmp_path, "1.0")
    with flipping(deployment.api) as proxy:
        proxy.where = what
        done = tuf_client.fetch(f"{proxy.url}/root/stable", root, tmp_path / "client", target)
        assert len(proxy.flipped) == 1
        assert (done.returncode, done.stdout) == (1, "")
        assert reason in done.stderr
        assert not [path for path in (tmp_path / "client" / "targets").rglob("*") if path.is_file()]
        proxy.where = None
        done = tuf_client.fetch(f"{proxy.url}/root/stable", root, tmp_path / "client", target)
        assert done.returncode == 0, done.stderr


def test_our_own_client_passes_where_they_do(deployment: Deployment, root: Path, tmp_path: Path) -> None:
    """`countermark conformance` and the downloader read the same; unsafe, the latter takes what the listing shows."""
    target, sha256 = publish(deployment, tmp_path, "1.0")
    tuf, ours = f"{deployment.api}/root/stable/+tuf", VerifyingClient(tmp_path / "home")
    metadata = ("conformance", "--metadata-dir", str(tmp_path / "metadata"), "--metadata-url", f"{tuf}/metadata/")
    into = ("--target-dir", str(tmp_path / "targets"), "--target-base-url", f"{tuf}/targets/")
    (tmp_path / "metadata").mkdir()
    for arguments in (("init", str(root)), ("refresh",), ("--target-name", target, *into, "download")):
        done = ours(*metadata, *arguments)
        assert done.returncode == 0, done.stderr
    (placed,) = (tmp_path / "targets").iterdir()
    assert parse_pointer(placed.read_bytes()).file.digest == sha256
    downloader = (sys.executable, "-m", "countermark.downloader", "any-tuf", "--version", "1.0")
    where = ("--repository", f"{deployment.api}/root/stable", "--dest", str(tmp_path / "dest"), "-v")
    environment = {"COUNTERMARK_HOME": str(tmp_path / "home")}
    for option, code in (("--trust-on-first-use", 0), ("--unsafe-disable-verification", 3)):
        done = run(*downloader, *where, option, environment=environment)
        assert done.returncode == code, done.stderr
        file = Path(done.stdout.strip())
        assert hashlib.sha256(file.read_bytes()).hexdigest() == sha256
        file.unlink()
