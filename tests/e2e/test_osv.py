"""Audits in a closed network: uv asks a running deployment, into which a snapshot of advisories was imported."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from pypi_simple import PYPI_SIMPLE_ENDPOINT

from tests.support.advisories import fixed, record
from tests.support.archives import Project, make_wheel, wheel_name
from tests.support.clients import uv_publish
from tests.support.processes import Deployment
from tests.support.tools import Tools

_PROJECT = """\
[project]
name = "app"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["wobbly", "steady"]
"""


@dataclass(frozen=True, slots=True)
class Closed:
    """A deployment that hosts what an application needs, and a project of uv that takes everything from it."""

    deployment: Deployment
    folder: Path

    @property
    def pages(self) -> tuple[str, str]:
        """Options that name the one index."""
        return ("--default-index", f"{self.deployment.api}/root/stable/+simple/")

    def put(self, name: str, *versions: str) -> None:
        """Publish wheels."""
        files = [self.folder / wheel_name(name, version) for version in versions]
        for path, version in zip(files, versions, strict=True):
            path.write_bytes(make_wheel(name, version, project=Project(name, version)))
        done = uv_publish(f"{self.deployment.api}/root/stable/", self.deployment.token(), *files)
        assert done.returncode == 0, done.stderr

    def bring(self, *records: bytes, code: int = 0) -> str:
        """Import a snapshot as OSV exports it, and return what was said."""
        source = self.folder / "all.zip"
        with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
            for number, one in enumerate(records):
                archive.writestr(f"A-{number}.json", one)
        done = self.deployment.command("osv", "import", str(source))
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def project(self, tools: Tools, folder: Path, *constraints: str) -> Path:
        """Lock the application's project in a folder."""
        folder.mkdir()
        text = "".join(f"\n[tool.uv]\nconstraint-dependencies = {json.dumps(constraints)}\n" for _ in constraints[:1])
        (folder / "pyproject.toml").write_text(_PROJECT + text)
        tools.done("uv", "lock", "--no-cache", *self.pages, folder=folder)
        return folder

    def audit(self, tools: Tools, folder: Path) -> tuple[int, str]:
        """Audit what is locked, and return the exit code and what was said."""
        service = ("--service-url", self.deployment.api)
        preview = ("--preview-features", "audit-command")
        done = tools.run("uv", "audit", "--no-cache", "--frozen", *preview, *service, *self.pages, folder=folder)
        return done.returncode, done.stdout


@pytest.fixture(scope="module")
def closed(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Closed:
    """Host two projects; nobody but the tests here imports advisories."""
    closed = Closed(deployment, tmp_path_factory.mktemp("closed"))
    closed.put("wobbly", "1.0", "1.1", "1.1+local.1")
    closed.put("steady", "1.0")
    return closed


def test_audit(closed: Closed, tools: Tools, tmp_path: Path) -> None:
    """`uv audit` fails before anything was imported, names the advisory of what is locked, and is content once the
    lock has the fixed version."""
    locked = closed.project(tools, tmp_path / "old", "wobbly<1.1")
    code, said = closed.audit(tools, locked)
    assert code != 0, said
    assert "404" in said
    closed.bring(
        fixed("PYSEC-2026-1", "1.1", "wobbly", summary="It wobbles", aliases=["CVE-2026-1"]),
        fixed("PYSEC-2026-2", "1.0", "steady", summary="Long fixed"),
    )
    code, said = closed.audit(tools, locked)
    assert code != 0, said
    assert "PYSEC-2026-1" in said
    assert "It wobbles" in said
    assert "1.1" in said
    assert "PYSEC-2026-2" not in said
    code, said = closed.audit(tools, closed.project(tools, tmp_path / "new"))
    assert (code, "PYSEC" in said) == (0, False), said


def test_another_snapshot(closed: Closed, tools: Tools, tmp_path: Path) -> None:
    """A later snapshot counts as a whole at once, for audits and in the JSON API; one that cannot be read changes
    nothing."""
    locked = closed.project(tools, tmp_path / "project", "wobbly<1.1")
    path = "/root/stable/pypi/wobbly/1.0/json"
    closed.bring(fixed("PYSEC-2026-3", "1.1", "wobbly"))
    assert "PYSEC-2026-3" in closed.audit(tools, locked)[1]
    assert [one["id"] for one in closed.deployment.get(path).json()["vulnerabilities"]] == ["PYSEC-2026-3"]
    said = closed.bring(fixed("PYSEC-2026-4", "1.1", "wobbly"), b"{", code=1)
    assert "nothing was changed" in said
    assert "PYSEC-2026-3" in closed.audit(tools, locked)[1]
    closed.bring(fixed("PYSEC-2026-4", "0.9", "wobbly"))
    assert closed.audit(tools, locked)[0] == 0
    done = closed.deployment.command("osv", "status", "--json")
    assert json.loads(done.stdout)[0]["advisories"] == 1


def test_malware(closed: Closed, tools: Tools, tmp_path: Path) -> None:
    """uv installs nothing of a lock file that names malware of the snapshot; `uv audit` names it too.

    uv asks about packages alone that a lock file takes from the public index: the lock says so here, and has the
    addresses of files as they are.
    """
    closed.bring(record("MAL-2026-1", {"versions": ["1.1"]}, package="wobbly"))
    checking = tools.with_settings(UV_MALWARE_CHECK="1", UV_MALWARE_CHECK_URL=closed.deployment.api)
    sync = ("sync", "--no-cache", "--frozen", "--preview-features", "malware-check")
    bad, good = (
        closed.project(tools, tmp_path / name, constraint)
        for name, constraint in (("bad", "wobbly>=1.1"), ("good", "wobbly<1.1"))
    )
    assert "MAL-2026-1" in closed.audit(tools, bad)[1]
    for folder in (bad, good):
        lock = folder / "uv.lock"
        mine, public = (f'registry = "{url.rstrip("/")}' for url in (closed.pages[1], PYPI_SIMPLE_ENDPOINT))
        text = lock.read_text()
        assert mine in text
        lock.write_text(text.replace(f'{mine}/"', f'{public}"'))
    said = checking.refused("uv", *sync, folder=bad)
    assert "MAL-2026-1" in said
    assert not list(bad.glob(".venv/**/wobbly*"))
    checking.done("uv", *sync, folder=good)
    assert list(good.glob(".venv/**/wobbly*"))


def test_ingress(closed: Closed) -> None:
    """Through the gateway: no credentials are needed, nothing counts as a change, errors are problem documents."""
    closed.bring(fixed("PYSEC-2026-5", "1.1", "wobbly"))
    query = {"package": {"purl": "pkg:pypi/wobbly@1.0"}}
    with httpx2.Client(base_url=closed.deployment.api) as client:
        for _ in range(3):
            answer = client.post("/v1/query", json=query, headers={"accept": "application/json"})
            assert [one["id"] for one in answer.json()["vulns"]] == ["PYSEC-2026-5"]
        refused = client.post("/v1/querybatch", json={"queries": [{"commit": "abc"}]})
        assert (refused.status_code, refused.headers["content-type"]) == (400, "application/problem+json")
        assert client.get("/v1/vulns/PYSEC-2026-5").json()["id"] == "PYSEC-2026-5"
        assert client.get("/v1/nothing").status_code == 404
