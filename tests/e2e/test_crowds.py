"""Many at once: uploads to one index and to many, the same file, yanks during publications, removal during a download.

How fast it goes is for the benchmark; here everybody is answered right, and an independent reader finds nothing amiss.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx2
import pytest

from tests.support.archives import make_wheel, wheel_name
from tests.support.processes import Deployment
from tests.support.tree_audit import Found, audit, face_reader
from tests.support.uploading import basic, post_file
from tests.support.waiting import until

_CROWD = 64

_PATIENCE = 60.0
"""Seconds an answer may take on a busy machine."""


class Site:
    """A client of the deployment that owns its indexes."""

    def __init__(self, deployment: Deployment) -> None:
        self.api = deployment.api
        self._token = deployment.token_document("--verbs", "read,upload,remove,configure", index="*")["token"]
        self._http = httpx2.Client(timeout=_PATIENCE, limits=httpx2.Limits(max_connections=_CROWD))

    def upload(self, wheel: bytes, name: str, index: str = "root/stable") -> httpx2.Response:
        """Upload a wheel."""
        return post_file(f"{self.api}/{index}", self._token, name, wheel, self._http)

    def call(self, method: str, path: str, document: object = None) -> httpx2.Response:
        """Call the API."""
        return self._http.request(
            method, f"{self.api}/api/v1/{path}", json=document, headers=basic(self._token) | {"accept": "*/*"}
        )

    def page(self, project: str, index: str = "root/stable") -> dict[str, Any]:
        """Return a project's page, file name -> entry."""
        headers = {"accept": "application/vnd.pypi.simple.v1+json"}
        answer = self._http.get(f"{self.api}/{index}/+simple/{project}/", headers=headers)
        return {} if answer.status_code == 404 else {file["filename"]: file for file in answer.json()["files"]}

    def address(self, project: str, name: str) -> httpx2.URL:
        """Return where a file is, as soon as it is listed."""
        file = until(f"{name} is listed", lambda: self.page(project).get(name), _PATIENCE)
        assert file is not None
        return httpx2.URL(f"{self.api}/root/stable/+simple/{project}/").join(file["url"])

    def status(self, address: httpx2.URL) -> int:
        """Return how the head of a file is answered."""
        return self._http.head(address).status_code

    def stream(self, address: httpx2.URL) -> Iterator[bytes]:
        """Download a file in small pieces."""
        with self._http.stream("GET", address) as answer:
            assert answer.status_code == 200
            yield from answer.iter_raw(1 << 16)

    def audit(self, index: str) -> Found:
        """Read all that an index's signed metadata name."""
        return audit(face_reader(self._http, f"{self.api}/{index}"))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


@pytest.fixture(scope="module")
def site(deployment: Deployment) -> Iterator[Site]:
    """A client of the deployment."""
    client = Site(deployment)
    yield client
    client.close()


def at_once(calls: Sequence[Callable[[], httpx2.Response]]) -> list[httpx2.Response]:
    """Make all calls at the same time and return their answers."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def until_signed(site: Site, listed: Mapping[str, set[str]], index: str = "root/stable") -> Found:
    """Return what an independent reader finds, when projects list just these files; nothing may be amiss at any time.

    On a busy machine that may be after the answers, and another replica may hear of it later still.
    """

    def looked_at() -> Found | None:
        found = site.audit(index)
        assert found.faults == []
        return found if all(found.listed(name) == files for name, files in listed.items()) else None

    for name, files in listed.items():
        until_listed(site, name, files, index)
    found = until(f"{index} is signed", looked_at, _PATIENCE)
    assert found is not None
    return found


def until_listed(site: Site, project: str, files: set[str], index: str = "root/stable") -> None:
    """Return when a project's page lists just these files."""
    until(f"{project} in {index}", lambda: set(site.page(project, index)) == files, _PATIENCE)


def test_a_crowd_uploads_to_one_index(site: Site) -> None:
    """Sixty-four uploads of projects of their own are all answered 200, listed and signed."""
    names = [f"crowd-{number}" for number in range(_CROWD)]
    answers = at_once([partial(site.upload, make_wheel(name, "1.0"), wheel_name(name, "1.0")) for name in names])
    assert {answer.status_code for answer in answers} == {200}, [a.text for a in answers if a.status_code != 200]
    until_signed(site, {name: {wheel_name(name, "1.0")} for name in names})


def test_a_crowd_uploads_to_one_project(site: Site) -> None:
    """Sixty-four versions of one project make one project whose page lists them all."""
    versions = [f"1.{number}" for number in range(_CROWD)]
    answers = at_once([partial(site.upload, make_wheel("swarm", one), wheel_name("swarm", one)) for one in versions])
    assert {answer.status_code for answer in answers} == {200}, [a.text for a in answers if a.status_code != 200]
    until_signed(site, {"swarm": {wheel_name("swarm", version) for version in versions}})


@pytest.mark.timeout(300)
def test_a_crowd_uploads_to_as_many_indexes(site: Site) -> None:
    """Sixty-four indexes get a file each at the same time: each is published and signed by itself."""
    indexes = [f"root/crowd-{number}" for number in range(_CROWD)]
    made = at_once([partial(site.call, "POST", "indexes", {"name": index}) for index in indexes])
    assert {answer.status_code for answer in made} == {201}, [a.text for a in made if a.status_code != 201]
    wheel, name = make_wheel("everywhere", "1.0"), wheel_name("everywhere", "1.0")
    answers = at_once([partial(site.upload, wheel, name, index) for index in indexes])
    assert {answer.status_code for answer in answers} == {200}, [a.text for a in answers if a.status_code != 200]
    for index in indexes:
        until_listed(site, "everywhere", {name}, index)
    for index in indexes[::16]:
        found = until_signed(site, {"everywhere": {name}}, index)
        assert found.pointers[f"pointers/everywhere/{name}.pointer"]["index"] == index


def test_the_same_file_twenty_times_is_one_file(site: Site) -> None:
    """Twenty at once with the same bytes are all told that it is there; there is one."""
    wheel, name = make_wheel("twins", "1.0"), wheel_name("twins", "1.0")
    answers = at_once([partial(site.upload, wheel, name)] * 20)
    assert {answer.status_code for answer in answers} == {200}, [a.text for a in answers if a.status_code != 200]
    files = site.call("GET", "indexes/root/stable/projects/twins/releases/1.0").json()["files"]
    assert [file["filename"] for file in files] == [name]
    until_signed(site, {"twins": {name}})


def test_of_twenty_different_files_of_one_name_one_wins(site: Site) -> None:
    """Twenty at once with other bytes each: one is published, nineteen are told that the name is taken."""
    name = wheel_name("rivals", "1.0")
    wheels = [make_wheel("rivals", "1.0", payload_bytes=number) for number in range(1, 21)]
    answers = at_once([partial(site.upload, wheel, name) for wheel in wheels])
    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 19]
    assert all("already exists" in answer.text for answer in answers if answer.status_code == 409)
    winner = next(wheel for wheel, answer in zip(wheels, answers, strict=True) if answer.status_code == 200)
    digest = hashlib.sha256(winner).hexdigest()
    assert until_signed(site, {"rivals": {name}}).pointers[f"pointers/rivals/{name}.pointer"]["digest"] == digest
    listed = until("it is listed", lambda: site.page("rivals").get(name), _PATIENCE)
    assert listed is not None
    assert listed["hashes"]["sha256"] == digest


def test_a_yank_during_publications_holds(site: Site) -> None:
    """A release yanked while other files of its project are published is yanked on the page that lists them all."""
    first = wheel_name("restless", "0")
    assert site.upload(make_wheel("restless", "0"), first).status_code == 200
    until_listed(site, "restless", {first})
    yank = "indexes/root/stable/projects/restless/releases/0/yank"
    calls = [partial(site.upload, make_wheel("restless", f"{v}"), wheel_name("restless", f"{v}")) for v in range(1, 21)]
    calls[10:10] = [partial(site.call, "POST", yank, {"reason": "broken"})] * 3
    answers = at_once(calls)
    assert {answer.status_code for answer in answers} <= {200, 202}, [a.text for a in answers]
    names = {wheel_name("restless", str(version)) for version in range(21)}
    until_signed(site, {"restless": names})
    expected = {name: name == first for name in names}
    shown = partial(site.page, "restless")
    until("yanked", lambda: {name: bool(file["yanked"]) for name, file in shown().items()} == expected, _PATIENCE)


def test_a_removal_does_not_cut_a_download(site: Site) -> None:
    """Who has begun to download a file gets all of it; who comes after its removal is told that it is gone."""
    wheel, name = make_wheel("leaving", "1.0", payload_bytes=8 << 20), wheel_name("leaving", "1.0")
    assert site.upload(wheel, name).status_code == 200
    address = site.address("leaving", name)
    until("it is served", lambda: site.status(address) == 200, _PATIENCE)
    pieces = site.stream(address)
    received = next(pieces)
    removed = site.call("DELETE", "indexes/root/stable/projects/leaving/releases/1.0")
    assert removed.status_code in {200, 202}, removed.text
    assert received + b"".join(pieces) == wheel
    until("it is gone", lambda: site.status(address) == 410, _PATIENCE)
    until_signed(site, {"leaving": set()})
