"""An index as it stood, used by real installers: what they lock there installs later, by the index's own files."""

from __future__ import annotations

import re
import time
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest

from countermark.core.digest import sha256_of
from tests.support.archives import Project, make_wheel, wheel_name
from tests.support.clients import uv_publish
from tests.support.installers import INSTALLERS, PIP, UV, UV_PROJECT, Installer, Source, Wish, installed
from tests.support.processes import Deployment
from tests.support.tools import Tools
from tests.support.uploading import basic

PUBLIC, PRIVATE = "root/stable", "root/past"


@dataclass(frozen=True, slots=True)
class History:
    """An index to which things were published before a moment and after it; the token is empty for a public one."""

    deployment: Deployment
    index: str
    token: str
    moment: str

    @property
    def now(self) -> Source:
        """The index as it is."""
        return Source(f"{self.deployment.api}/{self.index}/+simple/", self.token)

    @property
    def then(self) -> Source:
        """The index as it stood at the moment."""
        return Source(f"{self.deployment.api}/{self.index}/+at/{self.moment}/+simple/", self.token)


def publish(deployment: Deployment, folder: Path, index: str, name: str, version: str, *needs: str) -> None:
    """Publish a wheel, and return once its page lists it."""
    file = folder / wheel_name(name, version)
    file.write_bytes(make_wheel(name, version, project=Project(name, version, requires_dist=needs)))
    token = deployment.token("--verbs", "upload,read", index=index)
    done = uv_publish(f"{deployment.api}/{index}/", token, file)
    assert done.returncode == 0, done.stderr
    until = time.monotonic() + 20
    page = f"{deployment.api}/{index}/+simple/{name}/"
    while file.name not in httpx2.get(page, headers=basic(token)).text:
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture(scope="module")
def history(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> History:
    """The public index."""
    return _history(deployment, PUBLIC, "", tmp_path_factory.mktemp("public"))


@pytest.fixture(scope="module")
def closed(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> History:
    """A private index."""
    assert deployment.command("index", "create", "--private", PRIVATE).returncode == 0
    token = deployment.token("--verbs", "read", index=PRIVATE)
    return _history(deployment, PRIVATE, token, tmp_path_factory.mktemp("private"))


def _history(deployment: Deployment, index: str, token: str, folder: Path) -> History:
    """Publish two projects of version 1.0, and after the moment a newer version of each and a third one."""
    publish(deployment, folder, index, "at-below", "1.0")
    publish(deployment, folder, index, "at-above", "1.0", "at-below")
    time.sleep(1.1)
    moment = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    time.sleep(1.1)
    publish(deployment, folder, index, "at-new", "1.0")
    publish(deployment, folder, index, "at-below", "2.0")
    publish(deployment, folder, index, "at-above", "2.0", "at-below", "at-new")
    return History(deployment, index, token, moment)


@pytest.mark.parametrize("installer", INSTALLERS, ids=str)
def test_installers_get_what_was_there(history: History, tools: Tools, tmp_path: Path, installer: Installer) -> None:
    """Each resolves to the versions of then, and elsewhere to those of now."""
    then = installer.install(tools, Wish("at-above", history.then, tmp_path / "then"))
    assert then == {"at-above": "1.0", "at-below": "1.0"}
    now = installer.install(tools, Wish("at-above", history.now, tmp_path / "now"))
    assert now == {"at-above": "2.0", "at-below": "2.0", "at-new": "1.0"}


@pytest.mark.parametrize("installer", INSTALLERS, ids=str)
def test_credentials_reach_pages_and_files(closed: History, tools: Tools, tmp_path: Path, installer: Installer) -> None:
    """A private index of the past installs with a token, though its files are not below its address."""
    wish = Wish("at-above", closed.then, tmp_path / "project")
    assert installer.install(tools, wish) == {"at-above": "1.0", "at-below": "1.0"}
    assert httpx2.get(f"{closed.then.simple}at-above/").status_code == 401


@pytest.mark.parametrize("installer", [PIP, UV], ids=str)
def test_what_came_later_is_not_found(history: History, tools: Tools, tmp_path: Path, installer: Installer) -> None:
    """Its name is known, and it has no version to install."""
    wish = Wish("at-new", history.then, tmp_path / "project")
    with pytest.raises(AssertionError, match="at-new"):
        installer.install(tools, wish)
    assert not installed(wish.environment)


def test_a_lock_file_outlives_the_moment(history: History, tools: Tools, tmp_path: Path) -> None:
    """uv locks through the past; the lock names the index's own files, which download, and the same project installs
    from it after newer publications, by the past's address and with the plain one."""
    wish = Wish("at-above", history.then, tmp_path / "project")
    UV_PROJECT.lock(tools, wish)
    lock = wish.folder / "uv.lock"
    locked = [package for package in tomllib.loads(lock.read_text())["package"] if "wheels" in package]
    assert {package["name"]: package["version"] for package in locked} == {"at-above": "1.0", "at-below": "1.0"}
    for wheel in [wheel for package in locked for wheel in package["wheels"]]:
        assert wheel["url"].startswith(f"{history.deployment.api}/{history.index}/+f/"), wheel
        answer = httpx2.get(wheel["url"])
        assert (answer.status_code, f"sha256:{sha256_of(answer.content)}") == (200, wheel["hash"])
    publish(history.deployment, tmp_path, history.index, "at-below", f"3.{time.time_ns()}")
    assert UV_PROJECT.install_locked(tools, wish) == {"at-above": "1.0", "at-below": "1.0"}
    moved = Wish("at-above", history.now, tmp_path / "moved")
    UV_PROJECT.lock(tools, moved)
    # The same lock beside the plain address, as when `+at/<moment>` is taken out of the project.
    text = re.sub(r"/\+at/[^/]+", "", lock.read_text())
    (moved.folder / "uv.lock").write_text(text)
    assert UV_PROJECT.install_locked(tools, moved) == {"at-above": "1.0", "at-below": "1.0"}
    assert (moved.folder / "uv.lock").read_text() == text


def test_a_lock_is_made_with_the_past_given_by_hand(history: History, tools: Tools, tmp_path: Path) -> None:
    """`uv lock --default-index` of the past in a project that names the plain index; then `uv sync --frozen`."""
    wish = Wish("at-above", history.now, tmp_path / "project")
    UV_PROJECT.install(tools, wish)
    (wish.folder / "uv.lock").unlink()
    there = tools.with_settings(UV_PYTHON=str(tools.programs / "python"), UV_NO_CONFIG="0")
    there.done("uv", "lock", "--default-index", history.then.simple, folder=wish.folder)
    there.done("uv", "sync", "--frozen", folder=wish.folder)
    assert installed(wish.environment) == {"at-above": "1.0", "at-below": "1.0"}


def test_a_wrong_moment_is_explained(history: History, tools: Tools, tmp_path: Path) -> None:
    """The installer fails and does not take something else."""
    wrong = Source(history.then.simple.replace(history.moment, "last-week"))
    with pytest.raises(AssertionError):
        UV.install(tools, Wish("at-above", wrong, tmp_path / "project"))
    answer = httpx2.get(f"{wrong.simple}at-above/")
    assert answer.status_code == 400
    assert "YYYY-MM-DD" in answer.json()["detail"]
