"""`root/stable` based on a mirror, used by pip, uv, poetry and pdm: one URL for a company's builds.

The upstream is a process of its own, which is told to fail.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.archives import Project, make_wheel, wheel_name
from tests.support.devpi_client import DevpiClient
from tests.support.installers import INSTALLERS, LOCKING, PIP, UV, Installer, Source, Wish, make_environment
from tests.support.processes import Deployment, start_deployment
from tests.support.tools import Tools
from tests.support.upstream_process import UpstreamProcess, upstream_process

PASSWORD = "a password of root"
_ALLOWED = "mirrors.networks=127.0.0.0/8"
pytestmark = pytest.mark.embedded


@dataclass(frozen=True, slots=True)
class Company:
    """A deployment whose default index is based on the mirror `root/pypi`."""

    deployment: Deployment
    upstream: UpstreamProcess
    devpi: DevpiClient

    @property
    def source(self) -> Source:
        """The one URL."""
        return Source(f"{self.deployment.api}/root/stable/+simple/")

    def release(self, name: str, version: str, *needs: str, payload: int = 0, **fields: Any) -> None:
        """Publish a wheel upstream."""
        project = Project(name, version, requires_dist=needs)
        content = make_wheel(name, version, project=project, payload_bytes=payload)
        self.upstream.add(name, wheel_name(name, version), content, **fields)


@pytest.fixture(scope="module")
def company(tool_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """Set up as its operator does: two settings of indexes, by the devpi client."""
    home = tmp_path_factory.mktemp("home")
    with (
        tempfile.TemporaryDirectory(prefix="cm-", ignore_cleanup_errors=True) as folder,
        upstream_process(home) as upstream,
    ):
        running = start_deployment(Path(folder) / "data", "--set", _ALLOWED)
        try:
            (home / "password").write_text(PASSWORD)
            done = running.command("user", "passwd", "root", "--password-file", str(home / "password"))
            assert done.returncode == 0, done.stderr
            devpi = DevpiClient(Tools(tool_programs, home), running.api)
            devpi.login("root", PASSWORD)
            devpi("index", "root/pypi", f"mirror_url={upstream.url}/simple/", "mirror_cache_expiry=0")
            devpi("index", "root/stable", "bases=root/pypi")
            company = Company(running, upstream, devpi)
            company.release("below", "1.0")
            company.release("above", "1.0", "below>=1.0")
            yield company
        finally:
            running.process.end()


@pytest.mark.parametrize("installer", INSTALLERS, ids=str)
def test_installers(company: Company, tools: Tools, tmp_path: Path, installer: Installer) -> None:
    """Each installs a project with what it needs, without its own cache; the upstream is asked for each file once."""
    found = installer.install(tools, Wish("above", company.source, tmp_path / "project"))
    assert found == {"above": "1.0", "below": "1.0"}
    assert company.upstream.asked()[f"/files/{wheel_name('above', '1.0')}"] == 1


@pytest.mark.parametrize("installer", INSTALLERS, ids=str)
def test_the_past_of_a_mirror(company: Company, tools: Tools, tmp_path: Path, installer: Installer) -> None:
    """Through the stage as it stood, what the upstream had by then is installed, and is there when it is not."""
    company.release("grown", "1.0", upload_time="2022-01-02T03:04:05Z")
    company.release("grown", "2.0", upload_time="2024-01-02T03:04:05Z")
    then = Source(f"{company.deployment.api}/root/stable/+at/2023-01-01T00:00:00Z/+simple/")
    assert installer.install(tools, Wish("grown", then, tmp_path / "then")) == {"grown": "1.0"}
    assert installer.install(tools, Wish("grown", company.source, tmp_path / "now")) == {"grown": "2.0"}


@pytest.mark.parametrize("installer", [PIP, UV, *LOCKING], ids=str)
def test_a_dead_upstream_is_not_a_dead_build(
    company: Company, tools: Tools, tmp_path: Path, installer: Installer
) -> None:
    """What was installed once installs again with the upstream gone."""
    PIP.install(tools, Wish("above", company.source, tmp_path / "before"))
    company.upstream.break_at("", status=503)
    try:
        found = installer.install(tools, Wish("above", company.source, tmp_path / "project"))
        assert found == {"above": "1.0", "below": "1.0"}
        answer = httpx2.get(f"{company.source.simple}above/")
        assert "x-countermark-stale-since" in answer.headers
        unknown = httpx2.get(f"{company.source.simple}unknown/")
        assert (unknown.status_code, "retry-after" in unknown.headers) == (503, True)
    finally:
        company.upstream.break_at("")
        time.sleep(3)


def test_an_upstream_that_dies_in_the_middle_of_an_install(company: Company, tools: Tools, tmp_path: Path) -> None:
    """The file that broke off is never taken for whole, and the install ends well once the upstream is back."""
    company.release("heavy", "1.0", payload=3_000_000)
    name = wheel_name("heavy", "1.0")
    company.upstream.break_at(f"/files/{name}", cut=1_000_000)
    wish = Wish("heavy", company.source, tmp_path / "project")
    make_environment(tools, wish)
    running = subprocess.Popen(
        [
            *(str(tools.programs / "pip"), "--python", wish.python, "install", "--no-cache-dir", "--retries", "8"),
            *("--index-url", wish.source.simple, "heavy"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        until = time.monotonic() + 30
        while company.upstream.asked().get(f"/files/{name}", 0) < 1:
            assert time.monotonic() < until
            time.sleep(0.05)
        time.sleep(0.5)
        company.upstream.break_at(f"/files/{name}")
        said, _ = running.communicate(timeout=100)
    finally:
        running.kill()
    assert running.returncode == 0, said
    assert "Successfully installed heavy-1.0" in said


def test_a_poisoned_release_waits(company: Company, tools: Tools, tmp_path: Path) -> None:
    """With a minimum age nobody gets what appeared a moment ago; a lock file that names it is told why."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    company.release("victim", "1.0")
    company.release("victim", "6.6.6", upload_time=now)
    page = httpx2.get(f"{company.source.simple}victim/", headers={"accept": "application/vnd.pypi.simple.v1+json"})
    poisoned = next(file for file in page.json()["files"] if "6.6.6" in file["filename"])
    url = str(page.url.join(poisoned["url"]))
    done = _set_policy(company.deployment, {"min_age": "7d"})
    assert done.is_success, done.text
    try:
        for installer in (PIP, UV):
            found = installer.install(tools, Wish("victim", company.source, tmp_path / installer.name))
            assert found == {"victim": "1.0"}
        held = httpx2.get(url)
        assert (held.status_code, held.headers["content-type"]) == (403, "application/problem+json")
        assert held.json()["rule"] == "too-new"
        wish = Wish("victim", company.source, tmp_path / "pinned")
        make_environment(tools, wish)
        said = tools.refused("uv", "pip", "install", "--python", wish.python, f"victim @ {url}")
        assert "held back" in said
    finally:
        _set_policy(company.deployment, {"min_age": "0"})


def test_warm_and_check(company: Company, tools: Tools, tmp_path: Path) -> None:
    """What a lock file would miss is said, fetched by one command, and installs with the upstream cut."""
    company.release("cold", "1.0")
    wish = Wish("cold", company.source, tmp_path / "project")
    lock = tmp_path / "requirements.txt"
    lock.write_text("cold==1.0\n")
    missing = company.deployment.command("mirror", "check", str(lock))
    assert (missing.returncode != 0, "missing: cold 1.0" in missing.stdout) == (True, True), missing.stdout
    warmed = company.deployment.command("mirror", "warm", str(lock), "--set", _ALLOWED)
    assert (warmed.returncode, "1 fetched" in warmed.stdout) == (0, True), warmed.stdout + warmed.stderr
    company.upstream.break_at("", status=503)
    try:
        checked = company.deployment.command("mirror", "check", str(lock))
        assert (checked.returncode, "1 kept" in checked.stdout) == (0, True), checked.stdout
        assert PIP.install(tools, wish) == {"cold": "1.0"}
    finally:
        company.upstream.break_at("")
        time.sleep(3)


def _set_policy(deployment: Deployment, policy: dict[str, object]) -> httpx2.Response:
    token = deployment.token("--verbs", "read,configure")
    return httpx2.patch(
        f"{deployment.api}/api/v1/indexes/root/stable/policy",
        json=policy,
        headers={"authorization": f"Bearer {token}"},
    )
