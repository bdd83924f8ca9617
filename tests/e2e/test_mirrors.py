"""An index based on a mirror, used by pip, uv, poetry and pdm: one URL for a company's builds.

The upstream is a process of its own, which is told to fail, or killed.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest

from tests.support.archives import wheel_name
from tests.support.company import ASKING_HERE, Company, open_company
from tests.support.installers import (
    INSTALLERS,
    LOCKING,
    PIP,
    UV,
    Installer,
    Source,
    Wish,
    installed,
    make_environment,
)
from tests.support.processes import Deployment
from tests.support.tools import Tools
from tests.support.waiting import until

JSON = "application/vnd.pypi.simple.v1+json"


@pytest.fixture(scope="module")
def company(deployment: Deployment, tool_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """A company that needs two projects of the world."""
    with open_company(deployment, tool_programs, tmp_path_factory.mktemp("home"), "builds") as company:
        company.release("below", "1.0")
        company.release("above", "1.0", "below>=1.0")
        yield company


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
    then = Source(f"{company.deployment.api}/{company.name}/+at/2023-01-01T00:00:00Z/+simple/")
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
        mend(company)


@contextmanager
def pip_running(tools: Tools, wish: Wish, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Start `pip install` in an environment of its own."""
    make_environment(tools, wish)
    asked = ("--no-cache-dir", "--index-url", wish.source.simple, *options, wish.requirement)
    argv = [str(tools.programs / "pip"), "--python", wish.python, "install", *asked]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


def test_an_upstream_that_dies_in_the_middle_of_an_install(company: Company, tools: Tools, tmp_path: Path) -> None:
    """What was installed once is installed to the end, though the upstream is killed while it is asked."""
    PIP.install(tools, Wish("above", company.source, tmp_path / "before"))
    before = company.upstream.asked()["/simple/below/"]
    company.upstream.break_at("/simple/below/", never=True)
    try:
        with pip_running(tools, Wish("above", company.source, tmp_path / "project")) as running:
            until("the question", lambda: company.upstream.asked()["/simple/below/"] > before)
            company.upstream.kill()
            said, _ = running.communicate(timeout=100)
        assert running.returncode == 0, said
        assert "Successfully installed above-1.0 below-1.0" in said
    finally:
        mend(company)


def test_an_upstream_that_dies_in_the_middle_of_a_file(company: Company, tools: Tools, tmp_path: Path) -> None:
    """The file that broke off is never taken for whole, and the install ends well once the upstream is back."""
    content = company.release("heavy", "1.0", payload=3_000_000)
    file = f"/files/{wheel_name('heavy', '1.0')}"
    company.upstream.break_at(file, held=1_000_000)
    wish = Wish("heavy", company.source, tmp_path / "project")
    try:
        with pip_running(tools, wish, "--retries", "8") as running:
            until("the file", lambda: company.upstream.asked().get(file, 0) == 1)
            time.sleep(0.5)
            company.upstream.kill()
            company.upstream.start()
            said, _ = running.communicate(timeout=100)
        assert running.returncode == 0, said
        assert installed(wish.environment) == {"heavy": "1.0"}
        (kept,) = wish.environment.glob("lib/*/site-packages/heavy/payload.bin")
        assert kept.read_bytes() in content
    finally:
        mend(company)


def mend(company: Company) -> None:
    """Have the upstream without faults, and wait until every process asks it again."""
    company.upstream.process.end()
    company.upstream.start()

    def is_asked() -> bool:
        pages = [httpx2.get(f"{company.source.simple}{name}/") for name in ("above", "below") * 4]
        return not any("x-countermark-stale-since" in page.headers for page in pages)

    until("the upstream is asked again", is_asked)


def test_many_at_once(company: Company) -> None:
    """Of sixty clients who want one large file, all get it, and the upstream is asked once."""
    content = company.release("crowded", "1.0", payload=8_000_000)
    page = httpx2.get(f"{company.source.simple}crowded/", headers={"accept": JSON})
    url = page.url.join(page.json()["files"][0]["url"])

    def read(_: int) -> bool:
        return httpx2.get(url, timeout=60).content == content

    with ThreadPoolExecutor(60) as clients:
        assert set(clients.map(read, range(60))) == {True}
    assert company.upstream.asked()[f"/files/{wheel_name('crowded', '1.0')}"] == 1


def test_a_poisoned_release_waits(company: Company, tools: Tools, tmp_path: Path) -> None:
    """With a minimum age nobody gets what appeared a moment ago; a lock file that names it is told why."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    company.release("victim", "1.0")
    company.release("victim", "6.6.6", upload_time=now)
    page = httpx2.get(f"{company.source.simple}victim/", headers={"accept": JSON})
    poisoned = next(file for file in page.json()["files"] if "6.6.6" in file["filename"])
    url = str(page.url.join(poisoned["url"]))
    done = _set_policy(company, {"min_age": "7d"})
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
        _set_policy(company, {"min_age": "0"})


def test_warm_and_check(company: Company, tools: Tools, tmp_path: Path) -> None:
    """What a lock file would miss is said, fetched by one command, and installs with the upstream cut."""
    company.release("cold", "1.0")
    wish = Wish("cold", company.source, tmp_path / "project")
    lock = tmp_path / "requirements.txt"
    lock.write_text("cold==1.0\n")
    on = ("--index", company.name)
    missing = company.deployment.command("mirror", "check", str(lock), *on)
    assert (missing.returncode != 0, "missing: cold 1.0" in missing.stdout) == (True, True), missing.stdout
    warmed = company.deployment.command("mirror", "warm", str(lock), *on, *ASKING_HERE)
    assert (warmed.returncode, "1 fetched" in warmed.stdout) == (0, True), warmed.stdout + warmed.stderr
    company.upstream.break_at("", status=503)
    try:
        checked = company.deployment.command("mirror", "check", str(lock), *on)
        assert (checked.returncode, "1 kept" in checked.stdout) == (0, True), checked.stdout
        assert PIP.install(tools, wish) == {"cold": "1.0"}
    finally:
        mend(company)


def _set_policy(company: Company, policy: dict[str, object]) -> httpx2.Response:
    token = company.deployment.token("--verbs", "read,configure", index=company.name)
    return httpx2.patch(
        f"{company.deployment.api}/api/v1/indexes/{company.name}/policy",
        json=policy,
        headers={"authorization": f"Bearer {token}"},
    )
