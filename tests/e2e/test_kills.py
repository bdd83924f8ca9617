"""The whole deployment dies by SIGKILL between every two steps of the flow, and goes on.

What is read after each death is read by an independent reader, the tree as it lies, by stock python-tuf; and by our
client, as one of its people does.
Source: architecture section 5, invariants 1 to 4; `docs/flow.md` (what a crash leaves behind).
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from shared.faults import FaultPoint
from tests.support.archives import make_wheel
from tests.support.processes import Deployment, public_tree, start_deployment
from tests.support.real import programs_or_skip, running_servers
from tests.support.tampering.victim import Victim
from tests.support.tree_audit import Found, audit, folder_reader
from tests.support.tuf_reader import TreeReader
from tests.support.uploading import basic, post_file

_PROJECT = "victim"

_BEFORE_COMMIT = {FaultPoint.UPLOAD_RECEIVED, FaultPoint.UPLOAD_STORED}
"""Points at which nothing of the upload is durable."""

_OF_A_PUSH = (FaultPoint.PUSH_CARRIED, FaultPoint.PUSH_KEPT)
"""Points that an upload does not come by."""

_OF_AN_UPLOAD = [point for point in FaultPoint if point not in _OF_A_PUSH]

_PATIENCE = 30.0
"""Seconds in which a restarted deployment must have done what it owes, on a busy machine."""


@dataclass(slots=True)
class Site:
    """One data folder that lives through all deaths, with a client that keeps its cache.

    Attributes:
        objects: folder that the public side of the object store is.
        options: of `countermark-server up`.
    """

    data: Path
    objects: Path
    options: tuple[str, ...]
    token: str
    reader: TreeReader
    client: Victim
    versions: dict[str, int] = field(default_factory=dict)

    def start(self, *mortal: str) -> Deployment:
        """Start it, healthy or with a point at which it dies."""
        command = (sys.executable, "-m", "tests.support.mortal", *mortal) if mortal else None
        return start_deployment(self.data, *self.options, command=command)

    def look(self) -> Found:
        """Read the whole tree, and go through the client's workflow with the cache of all earlier looks."""
        found = audit(folder_reader(self.objects, "root/stable"))
        assert found.faults == []
        trusted = self.reader.versions()
        assert trusted == {role: found.versions[role] for role in trusted}
        gone_down = {role: (was, found.versions.get(role)) for role, was in self.versions.items()}
        assert all(now is not None and now >= was for was, now in gone_down.values()), gone_down
        self.versions = found.versions
        ended = self.client.get(_PROJECT)
        assert ended.code == 0, ended.words
        return found


@dataclass(slots=True)
class Attempt:
    """An upload under way in a thread; `status` is None while, and if, there is no answer."""

    wheel: bytes
    name: str
    status: int | None = None
    text: str = ""

    def send(self, deployment: Deployment, token: str) -> None:
        """Upload once; a cut connection is no answer."""
        try:
            answer = post_file(f"{deployment.api}/root/stable", token, self.name, self.wheel)
        except httpx2.TransportError:
            return
        self.status, self.text = answer.status_code, answer.text


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest) -> Iterator[tuple[Path, Path, tuple[str, ...]]]:
    """A folder, the public side of its object store, and how a deployment is started: on its own servers and a folder,
    or on Postgres, Redis and a bucket that live on when it dies."""
    with tempfile.TemporaryDirectory(prefix="cm-", ignore_cleanup_errors=True) as name, ExitStack() as stack:
        folder = Path(name)
        if request.config.getoption("--deployment") == "embedded":
            yield folder, folder / "data" / "objects" / "public", ()
            return
        programs = programs_or_skip()
        servers = stack.enter_context(running_servers(folder / "servers", programs))
        config = folder / "countermark.toml"
        config.touch(mode=0o600)
        config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in servers.settings().items()))
        yield folder, public_tree(folder / "servers"), ("--config", str(config))


@pytest.fixture(scope="module")
def site(place: tuple[Path, Path, tuple[str, ...]]) -> Site:
    """A deployment with one file published, stopped."""
    folder, objects, options = place
    data = folder / "data"
    deployment = start_deployment(data, *options)
    try:
        token = deployment.token()
        first = _attempt("0")
        first.send(deployment, token)
        assert first.status == 200, first.text
        _until_idle(deployment)
    finally:
        deployment.process.end()
    tree = objects / "indexes" / "root" / "stable"
    client = Victim(folder / "person", str(tree))
    client.pin((tree / "metadata" / "1.root.json").read_bytes())
    return Site(data, objects, options, token, TreeReader(tree, folder / "client"), client)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("number", "point"), list(enumerate(_OF_AN_UPLOAD, 1)), ids=[point.value for point in _OF_AN_UPLOAD]
)
def test_a_death_loses_nothing_and_shows_nothing_half(site: Site, number: int, point: FaultPoint) -> None:
    """Killed at any point: clients see the old or the new state, what was acknowledged is published, versions grow."""
    before = site.look()
    attempt = _attempt(str(number))
    deployment = site.start(point.value, "1", "kill")
    sending = threading.Thread(target=attempt.send, args=(deployment, site.token))
    sending.start()
    try:
        assert deployment.process.wait(_PATIENCE) == -signal.SIGKILL, deployment.process.output[-3000:]
    finally:
        deployment.process.end()
        sending.join()
    assert f"fault point {point} reached" in deployment.process.output

    dead = site.look()
    assert dead.listed(_PROJECT) - before.listed(_PROJECT) <= {attempt.name}
    deployment = site.start()
    try:
        if point not in _BEFORE_COMMIT:
            _until_listed(deployment, attempt.name)
        _until_idle(deployment)
        if point in _BEFORE_COMMIT:
            assert attempt.status is None
            assert attempt.name not in _page(deployment)
        again = Attempt(attempt.wheel, attempt.name)
        again.send(deployment, site.token)
        assert (again.status, attempt.status in {None, 200}) == (200, True), again.text
        _until_idle(deployment)
        _until_stored(deployment, site)
        after = site.look()
        assert after.listed(_PROJECT) == before.listed(_PROJECT) | {attempt.name} == _page(deployment)
        assert after.versions["timestamp"] > before.versions["timestamp"]
        static = site.reader.tree / "simple" / _PROJECT / "index.html"
        assert attempt.name in static.read_text(encoding="utf-8")
    finally:
        deployment.process.end()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("point", [*_OF_A_PUSH, FaultPoint.SIGN_SIGNED, FaultPoint.SWITCH_COMMITTED])
def test_a_push_that_dies_is_done_or_never_was(site: Site, point: FaultPoint) -> None:
    """All files of the release are in the target, or none; pushed again, all are, and in one publication."""
    target, version = f"root/{point.value.replace('.', '-')}", f"9.{len(point.value)}"
    names = {f"{_PROJECT}-{version}-{build}-py3-none-any.whl" for build in range(3)}
    deployment = site.start()
    try:
        assert deployment.command("index", "create", target).returncode == 0
        for name in sorted(names):
            wheel = make_wheel(_PROJECT, version, extra_members={f"{_PROJECT}/build.txt": name.encode()})
            assert post_file(f"{deployment.api}/root/stable", site.token, name, wheel).status_code == 200
        token = deployment.token("--verbs", "read,upload", index="*")
        _until_idle(deployment)
    finally:
        deployment.process.end()

    deployment = site.start(point.value, "1", "kill")
    sending = threading.Thread(target=_push, args=(deployment, token, version, target))
    sending.start()
    try:
        assert deployment.process.wait(_PATIENCE) == -signal.SIGKILL, deployment.process.output[-3000:]
    finally:
        deployment.process.end()
        sending.join()

    deployment = site.start()
    try:
        _until_idle(deployment)
        kept = point is not FaultPoint.PUSH_CARRIED
        assert _page(deployment, target) == (names if kept else set())
        assert _push(deployment, token, version, target) == (409 if kept else 200)
        _until_idle(deployment)
        assert _page(deployment, target) == names
        _until_stored(deployment, site, target)
        found = audit(folder_reader(site.objects, target))
        assert (found.faults, found.listed(_PROJECT)) == ([], names)
    finally:
        deployment.process.end()


def _push(deployment: Deployment, token: str, version: str, target: str) -> int | None:
    """Push a release of the default index once; a cut connection is no answer."""
    document = {"name": _PROJECT, "version": version, "targetindex": target}
    try:
        return httpx2.request(
            "PUSH", f"{deployment.api}/root/stable", json=document, headers=basic(token), timeout=60
        ).status_code
    except httpx2.TransportError:
        return None


def _attempt(version: str) -> Attempt:
    return Attempt(make_wheel(_PROJECT, version), f"{_PROJECT}-{version}-py3-none-any.whl")


def _page(deployment: Deployment, index: str = "root/stable") -> set[str]:
    answer = httpx2.get(
        f"{deployment.api}/{index}/+simple/{_PROJECT}/",
        headers={"accept": "application/vnd.pypi.simple.v1+json"},
        timeout=20,
    )
    return (
        set() if answer.status_code == httpx2.codes.NOT_FOUND else {file["filename"] for file in answer.json()["files"]}
    )


def _until_listed(deployment: Deployment, name: str) -> None:
    until = time.monotonic() + _PATIENCE
    while name not in _page(deployment):
        assert time.monotonic() < until, deployment.process.output[-3000:]
        time.sleep(0.1)


def _until_idle(deployment: Deployment) -> None:
    """Return when no job is open: all that was owed is done."""
    until = time.monotonic() + _PATIENCE
    while (done := deployment.command("jobs", "list", "--json")).stdout.strip() not in {"", "[]"}:
        assert done.returncode == 0, done.stderr
        assert time.monotonic() < until, done.stdout
        time.sleep(0.1)


def _until_stored(deployment: Deployment, site: Site, index: str = "root/stable") -> None:
    """Return when the store holds the timestamp that is served: who reads the bare bucket sees what all see."""
    stored = site.objects / "indexes" / index / "metadata" / "timestamp.json"
    until = time.monotonic() + _PATIENCE
    while stored.read_bytes() != deployment.get(f"/{index}/+tuf/metadata/timestamp.json").content:
        assert time.monotonic() < until, deployment.process.output[-3000:]
        time.sleep(0.2)
