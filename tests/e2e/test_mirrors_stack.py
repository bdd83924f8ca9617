"""Files of mirrors on the real profile: two download services, one fetch, and bytes in a bucket."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from deploy.stack.servers import PRIVATE_BUCKET
from tests.support.archives import wheel_name
from tests.support.company import Company, open_company
from tests.support.installers import PIP, Wish
from tests.support.processes import Deployment, places, run
from tests.support.tools import Tools
from tests.support.waiting import until

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def company(deployment: Deployment, tool_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """A company on two of each process."""
    with open_company(deployment, tool_programs, tmp_path_factory.mktemp("home"), "twofold") as company:
        yield company


def held_file(company: Company, name: str) -> tuple[str, str, bytes]:
    """Publish a large file upstream that stops in the middle, once; returns its address here, and there, and it."""
    content = company.release(name, "1.0", payload=3_000_000)
    there = f"/files/{wheel_name(name, '1.0')}"
    company.upstream.break_at(there, held=1_000_000, times=1)
    page = httpx2.get(f"{company.source.simple}{name}/", headers={"accept": "application/vnd.pypi.simple.v1+json"})
    return page.url.join(page.json()["files"][0]["url"]).path, there, content


def test_one_process_fetches_for_both(company: Company) -> None:
    """Clients of either process get the file, which is asked for once and then lies in the bucket."""
    path, there, content = held_file(company, "shared")
    parts = places(company.deployment)
    with ThreadPoolExecutor(20) as clients:
        reading = [
            clients.submit(httpx2.get, f"{parts[f'download-{number}'][1]}{path}", timeout=60) for number in (1, 2) * 10
        ]
        until("the question", lambda: company.upstream.asked().get(there))
        time.sleep(1)
        assert not any(one.done() for one in reading)
        company.upstream.break_at(there)
        assert {one.result().content == content for one in reading} == {True}
    assert company.upstream.asked()[there] == 1
    bucket = company.deployment.data / "servers" / "s3" / "data" / PRIVATE_BUCKET / "mirror"
    kept = until("the object", lambda: list(bucket.rglob(wheel_name("shared", "1.0"))))
    assert [path.read_bytes() == content for path in kept] == [True]


def test_a_process_that_is_killed_in_the_middle_of_a_file(company: Company, tools: Tools, tmp_path: Path) -> None:
    """An install that waits for what another process fetches ends well when that one is killed."""
    path, there, _ = held_file(company, "orphaned")
    killed, address = places(company.deployment)["download-1"]
    with ThreadPoolExecutor(2) as clients:
        direct = clients.submit(httpx2.get, f"{address}{path}", timeout=60)
        until("the question", lambda: company.upstream.asked().get(there))
        installing = clients.submit(PIP.install, tools, Wish("orphaned", company.source, tmp_path / "project"))
        time.sleep(3)
        assert not installing.done()
        assert run("/bin/kill", "-9", str(killed)).returncode == 0
        with pytest.raises(httpx2.TransportError):
            direct.result()
        assert installing.result() == {"orphaned": "1.0"}
    assert company.upstream.asked()[there] == 2
    company.deployment.process.until_written("!!! download-1 runs again")
