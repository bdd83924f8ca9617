"""A running deployment with two indexes, a tampering server in front of it, stolen keys, and a client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from tests.e2e.attacks.names import INDEX, LATEST, OTHER, PAGE, WHEEL, WIDGET
from tests.support.archives import make_wheel
from tests.support.processes import Deployment
from tests.support.tampering.forger import Forger, Keys, stolen_keys
from tests.support.tampering.server import TamperingServer, tampering, through
from tests.support.tampering.table import Case
from tests.support.tampering.victim import Ended, Victim
from tests.support.uploading import post_file

_TARGETS = {"pointer": WIDGET, "page": PAGE, "latest": LATEST}


@dataclass(frozen=True, slots=True)
class Site:
    """A deployment whose index published three times, and what somebody kept of each.

    Attributes:
        http: asks the deployment itself.
        history: what `timestamp.json` was after each publication.
    """

    deployment: Deployment
    http: httpx2.Client
    token: str
    history: tuple[bytes, ...]
    _read: dict[str, bytes] = field(default_factory=dict)

    def read(self, name: str, index: str = INDEX) -> bytes | None:
        """Return a published file of an index, None when there is none."""
        path = f"/{index}/+tuf/{name}"
        if path in self._read:
            return self._read[path]
        answer = self.http.get(path)
        if answer.status_code != httpx2.codes.OK:
            return None
        if not name.endswith("timestamp.json"):
            self._read[path] = answer.content
        return answer.content

    def keys(self) -> Keys:
        """Return the deployment's keys."""
        return stolen_keys(self.deployment.data / "keys")


@dataclass(frozen=True, slots=True)
class Scene:
    """One attack: the server in between, what was forged, and who is attacked."""

    site: Site
    server: TamperingServer
    forger: Forger
    client: Victim
    record: Callable[[str, object], None]

    @property
    def tuf(self) -> str:
        """The path below which the repository lies."""
        return f"/{INDEX}/+tuf/"

    def path(self, kind: str) -> str:
        """Return the path of one of each kind of file that a download reads."""
        if kind == "bases":
            return f"/{INDEX}?no_projects="
        if kind in {"artifact", "attestation"}:
            return f"{self.tuf}files/*/{WHEEL}" + (".sigstore.json" if kind == "attestation" else "")
        if kind == "root":
            return f"{self.tuf}metadata/2.root.json"
        if kind in _TARGETS:
            return self.tuf + self.forger.name_of_target(_TARGETS[kind])
        return self.tuf + self.forger.name_of(self.forger.bin_of(WIDGET) if kind == "bin" else kind)

    def ends(self, case: Case, ended: Ended) -> None:
        """Assert that a run ended as its case says, and leave on record what the client said."""
        self.record("attack", (case.what, ended.code, ended.words))
        assert ended.code == case.code, ended.words
        assert case.says in ended.words
        assert ended.placed == ((WHEEL,) if ended.code == 0 else ()), "nothing is placed unless all is proven"

    def warm_up(self) -> None:
        """Have the client download once and remember what it saw; then take the file away."""
        ended = self.client.get("widget==1.10")
        assert ended.code == 0, ended.words
        (self.client.dest / WHEEL).unlink()


@pytest.fixture(scope="session")
def site(deployment: Deployment) -> Iterator[Site]:
    """Two indexes of one deployment: `root/attacked` has widget 1.9, widget 1.10 and gadget 1.10; `root/mallory` has
    its own widget 1.10."""
    token = deployment.token("--verbs", "read,upload", index="*")
    for index in (INDEX, OTHER):
        assert deployment.command("index", "create", index).returncode == 0
    history = []
    for name, version in (("widget", "1.9"), ("widget", "1.10"), ("gadget", "1.10")):
        wheel = f"{name}-{version}-py3-none-any.whl"
        answer = post_file(f"{deployment.api}/{INDEX}", token, wheel, make_wheel(name, version))
        assert answer.status_code == 200, answer.text
        history.append(deployment.get(f"/{INDEX}/+tuf/metadata/timestamp.json").content)
    evil = make_wheel("widget", "1.10", extra_members={"widget/evil.py": b"import os\n"})
    answer = post_file(f"{deployment.api}/{OTHER}", token, WHEEL, evil)
    assert answer.status_code == 200, answer.text
    with httpx2.Client(base_url=deployment.api, timeout=30, verify=False) as http:
        yield Site(deployment, http, token, tuple(history))


@pytest.fixture
def scene(site: Site, tmp_path: Path, record_property: Callable[[str, object], None]) -> Iterator[Scene]:
    """An attack that has not begun: all keys are stolen, none is used; the client has pinned the genuine root."""
    with open_scene(site, tmp_path / "home", record_property) as opened:
        yield opened


@contextmanager
def open_scene(site: Site, home: Path, record: Callable[[str, object], None]) -> Iterator[Scene]:
    """Open the scene of one attack, with a client whose home is `home`."""
    with tampering(through(site.http)) as server:
        forger = Forger(site.read, site.keys())
        server.lay(f"/{INDEX}/+tuf/", forger.files)
        client = Victim(home, f"{server.url}/{INDEX}")
        root = site.read("metadata/1.root.json")
        assert root is not None
        client.pin(root)
        yield Scene(site, server, forger, client, record)
