"""Unmodified twine and uv send attestations to a deployment whose key holders signed a root and a policy.

Source: contract python-index section 4; ADR 0037.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import httpx2
import pytest

from countermark.core.digest import sha256_of
from tests.support.archives import make_sdist, make_wheel
from tests.support.builds import Forge, body
from tests.support.processes import Deployment
from tests.support.sigstore.tokens import GITHUB, github
from tests.support.tools import Tools
from tests.support.trusting import demanding_builds

pytestmark = pytest.mark.embedded


@dataclass(frozen=True, slots=True)
class Site:
    """A deployment that demands build provenance of `widget`, from one workflow of the forge."""

    deployment: Deployment
    forge: Forge
    token: str

    def listed(self, name: str, content: bytes) -> list[dict[str, Any]]:
        """Return the attestations of a file."""
        path = f"/api/v1/indexes/root/stable/files/{sha256_of(content)}/{name}/attestations"
        answer = self.deployment.get(path)
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items


@dataclass(frozen=True, slots=True)
class Built:
    """What a run made of a project: wheel and source archive, in a folder."""

    folder: Path
    files: dict[str, bytes]

    @staticmethod
    def make(folder: Path, project: str, version: str) -> Built:
        """Build."""
        folder.mkdir()
        files = {
            f"{project}-{version}-py3-none-any.whl": make_wheel(project, version),
            f"{project}-{version}.tar.gz": make_sdist(project, version),
        }
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return Built(folder, files)

    def attest(self, forge: Forge, claims: Any = None) -> None:
        """Lay the attestations of each file beside it, under the names that publishers look for."""
        for name, content in self.files.items():
            publish = forge.publish_attestation(name, content, claims)
            (self.folder / f"{name}.publish.attestation").write_bytes(body(publish))
            build = forge.build_attestation(name, content, claims)
            (self.folder / f"{name}.slsa.attestation").write_bytes(body(build))

    @property
    def paths(self) -> list[str]:
        """All that lies in the folder."""
        return sorted(str(path) for path in self.folder.iterdir())


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A deployment after the ceremony that made it trust the forge."""
    with demanding_builds() as (running, forge, _home):
        yield Site(running, forge, running.token())


def twine(site: Site, tools: Tools, paths: list[str], *options: str, token: str = "") -> CompletedProcess[str]:
    """Publish as CI does."""
    url = f"{site.deployment.api}/legacy/"
    arguments = (
        "--non-interactive",
        "--verbose",
        "--repository-url",
        url,
        "-u",
        "__token__",
        "-p",
        token or site.token,
    )
    return tools.run("twine", "upload", *arguments, *options, *paths)


def test_twine_uploads_what_a_build_attested(site: Site, tools: Tools, tmp_path: Path) -> None:
    """Both attestations of both files are verified, kept and told; done again nothing changes."""
    built = Built.make(tmp_path / "dist", "widget", "1.0")
    built.attest(site.forge)
    for _ in range(2):
        done = twine(site, tools, built.paths, "--attestations")
        assert done.returncode == 0, done.stdout
        for name, content in built.files.items():
            found = site.listed(name, content)
            assert sorted((one["predicate_type"].rsplit("/", 2)[1], one["named"]) for one in found) == [
                ("provenance", True),
                ("publish", False),
            ]
            assert {one["publisher"]["workflow"] for one in found} == {"release.yml"}


def test_what_is_demanded_and_missing_stops_twine(site: Site, tools: Tools, tmp_path: Path) -> None:
    """Without attestations the same command fails, and prints the policy's reason."""
    built = Built.make(tmp_path / "dist", "widget", "2.0")
    done = twine(site, tools, built.paths)
    assert done.returncode != 0
    assert "demands an attestation" in done.stdout


def test_a_fork_does_not_get_in(site: Site, tools: Tools, tmp_path: Path) -> None:
    """Attested by another repository's run: twine fails with what was found and what is wanted."""
    built = Built.make(tmp_path / "dist", "widget", "3.0")
    built.attest(site.forge, github("evil/widget"))
    done = twine(site, tools, built.paths, "--attestations")
    assert done.returncode != 0
    assert "evil/widget" in done.stdout.replace("\n", "")


def test_another_instances_attestations_are_named_with_their_check(site: Site, tools: Tools, tmp_path: Path) -> None:
    """Also where nothing is demanded, what cannot be verified is refused and not dropped."""
    built = Built.make(tmp_path / "dist", "free", "1.0")
    built.attest(Forge())
    done = twine(site, tools, built.paths, "--attestations")
    assert done.returncode != 0
    assert "fails the check certificate" in " ".join(done.stdout.split())
    assert httpx2.get(f"{site.deployment.api}/root/stable/+simple/free/", timeout=20).status_code == 404


def test_the_token_of_a_run_takes_attestations_of_that_run_alone(site: Site, tools: Tools, tmp_path: Path) -> None:
    """What another run of the same workflow attested, of another commit, is refused with both commits."""
    publisher = tmp_path / "publisher.json"
    publisher.write_bytes(body({"kind": "GitHub", "claims": github() | {"iss": GITHUB}}))
    token = site.deployment.token("--publisher", str(publisher))
    own, other = Built.make(tmp_path / "own", "widget", "5.0"), Built.make(tmp_path / "other", "widget", "6.0")
    own.attest(site.forge)
    other.attest(site.forge, github(sha="7" * 40))
    done = twine(site, tools, own.paths, "--attestations", token=token)
    assert done.returncode == 0, done.stdout
    done = twine(site, tools, other.paths, "--attestations", token=token)
    assert done.returncode != 0
    said = done.stdout.replace("\n", "")
    assert "7" * 40 in said
    assert "5" * 40 in said


def test_uv_sends_the_attestations_that_it_is_given(site: Site, tools: Tools, tmp_path: Path) -> None:
    """`uv publish dist/*` sends each with its file, by their names."""
    built = Built.make(tmp_path / "dist", "widget", "4.0")
    built.attest(site.forge)
    done = tools.run(
        *("uv", "publish", "--publish-url", f"{site.deployment.api}/legacy/", "--token", site.token),
        *built.paths,
    )
    assert done.returncode == 0, done.stdout
    for name, content in built.files.items():
        assert len(site.listed(name, content)) == 2
