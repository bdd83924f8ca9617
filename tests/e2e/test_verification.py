"""A running deployment verifies what it serves: a byte in the store or a row in the catalogue is told, and kept back.

Source: trust contract section 6, rows 16 and 17; ADR 0039.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from pypi_attestations import Provenance
from sqlalchemy import make_url

from countermark.core.digest import sha256_of
from deploy.data_folder import DataFolder
from shared.catalogue.trust_material import POLICY
from tests.support.archives import make_sdist, make_wheel
from tests.support.builds import policy
from tests.support.processes import Deployment
from tests.support.trusting import Holders, demanding_builds
from tests.support.uploading import basic, form_body, form_fields

WHEEL, SDIST = "widget-1.0-py3-none-any.whl", "widget-1.0.tar.gz"
pytestmark = pytest.mark.embedded

INDEX = "/api/v1/indexes/root/stable"


@dataclass(frozen=True, slots=True)
class Site:
    """A deployment that demands build provenance of `widget`, with one release of it, and verifies on read."""

    deployment: Deployment
    files: dict[str, bytes]
    headers: dict[str, str]
    holders: Holders

    def verified(self, name: str) -> dict[str, Any]:
        """Return what the server finds of a file's chain."""
        answer = self.deployment.get(f"/api/v1/verify/root/stable/widget/1.0/{name}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def get(self, name: str, suffix: str = "") -> httpx2.Response:
        """Ask for a file, or for what is beside it, as installers do."""
        digest = sha256_of(self.files[name])
        return self.deployment.get(f"/root/stable/+f/{digest[:3]}/{digest[3:16]}/{name}{suffix}")

    def until(self, name: str, status: int) -> httpx2.Response:
        """Ask for a file until the answer has a status."""
        until = time.monotonic() + 30
        while (answer := self.get(name)).status_code != status:
            assert time.monotonic() < until, f"{name} is answered with {answer.status_code}"
            time.sleep(0.2)
        return answer

    def ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """Ask the API as who administers it."""
        return httpx2.request(method, f"{self.deployment.api}{path}", headers=self.headers, timeout=30, **more)

    def listed(self) -> set[str]:
        """Return the files that the page lists."""
        accept = {"accept": "application/vnd.pypi.simple.v1+json"}
        answer = httpx2.get(f"{self.deployment.api}/root/stable/+simple/widget/", headers=accept, timeout=20)
        return {file["filename"] for file in answer.json()["files"]}

    def until_listed(self, *names: str) -> None:
        """Wait until the page lists exactly some files."""
        until = time.monotonic() + 30
        while self.listed() != set(names):
            assert time.monotonic() < until, self.listed()
            time.sleep(0.2)

    def stored(self, name: str) -> Path:
        """Return where the store has a file's bytes."""
        digest = sha256_of(self.files[name])
        return self.deployment.tree / "files" / digest[:2] / digest[2:] / name

    def tamper(self, statement: str) -> None:
        """Write to the catalogue as who holds its password does."""
        url = make_url(DataFolder(self.deployment.data).running().database).set(drivername="postgresql")

        async def write() -> str:
            connection = await asyncpg.connect(url.render_as_string(hide_password=False))
            try:
                return str(await connection.execute(statement))
            finally:
                await connection.close()

        assert asyncio.run(write()) == "UPDATE 1"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """The deployment, after the ceremony that made it trust the forge and an upload as twine sends it."""
    with demanding_builds() as (running, forge, home):
        token = running.token("--verbs", "read,upload,configure")
        files = {WHEEL: make_wheel("widget", "1.0"), SDIST: make_sdist("widget", "1.0")}
        for name, content in files.items():
            attested = [forge.publish_attestation(name, content), forge.build_attestation(name, content)]
            fields = form_fields(name, content) | {"attestations": json.dumps(attested)}
            sent, form = form_body(name, content, fields)
            answer = httpx2.post(f"{running.api}/legacy/", content=sent, headers=basic(token) | form, timeout=60)
            assert answer.status_code == 200, answer.text
        yield Site(running, files, {"authorization": f"Bearer {token}"}, Holders(running, home))


def test_everything_holds(site: Site) -> None:
    """What was uploaded with attestations is verified down to the policy, and stock code reads its provenance."""
    for name in site.files:
        found = site.verified(name)
        assert (found["verified"], found["exit_code"]) == (True, 0), found["reason"]
        assert found["steps"][-2]["evidence"]["verdict"]["builder"] == "release"
        path = f"/root/stable/+integrity/widget/1.0/{name}/provenance"
        (bundle,) = Provenance.model_validate_json(site.deployment.get(path).content).attestation_bundles
        assert len(bundle.attestations) == 2
        assert site.deployment.get(path.replace("/root/stable/", "/")).status_code == 200
    assert site.ask("GET", f"{INDEX}/projects/widget").json()["releases"][0]["provenance"]["label"] == "full"


def test_one_byte_in_the_store(site: Site) -> None:
    """The step is named, installers get nothing, the file leaves the page; mended and released it comes back."""
    assert site.ask("PATCH", INDEX, json={"verify_on_read": True}).json()["verify_on_read"] is True
    assert site.get(WHEEL).content == site.files[WHEEL]
    path, content = site.stored(SDIST), site.files[SDIST]
    path.chmod(0o644)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    found = site.verified(SDIST)
    assert (found["failed"], found["exit_code"]) == ("digest", 41)
    refused = site.get(SDIST)
    assert (refused.status_code, refused.json()["step"]) == (403, "digest")
    site.until_listed(WHEEL)
    held = site.ask("GET", f"{INDEX}/projects/widget/releases/1.0").json()["files"]
    assert {file["filename"] for file in held if file["held_reason"]} == {SDIST}
    assert site.get(WHEEL).content == site.files[WHEEL]
    path.write_bytes(content)
    released = site.ask("DELETE", f"{INDEX}/projects/widget/releases/1.0/files/{SDIST}/hold")
    assert released.status_code in {200, 202}, released.text
    site.until_listed(WHEEL, SDIST)
    assert site.until(SDIST, 200).content == content


def test_policy_that_becomes_stricter(site: Site) -> None:
    """What a new policy does not take is refused with its rule and stays on the page; the old policy serves it again,
    and nobody has to release anything."""
    assert site.ask("PATCH", INDEX, json={"verify_on_read": True}).status_code == 200
    file = site.holders.home / "policy.yaml"
    usual, answers = file.read_bytes(), {}
    file.write_bytes(policy(more="    min_level: 3\n"))
    site.holders.sign({POLICY: file}, reason="builders of level 3 alone")
    for name in site.files:
        answers[name] = site.until(name, 403).json()
        assert (answers[name]["step"], answers[name]["exit_code"]) == ("policy", "62")
        assert (answers[name]["rule"], "level of" in answers[name]["detail"]) == ("'widget'", True)
    assert site.listed() == set(site.files)
    files = site.ask("GET", f"{INDEX}/projects/widget/releases/1.0").json()["files"]
    assert {found["held_reason"] for found in files} == {None}
    file.write_bytes(usual)
    site.holders.sign({POLICY: file}, reason="as before")
    for name, content in site.files.items():
        assert site.until(name, 200).content == content
    metadata = site.get(WHEEL, ".metadata")
    assert (metadata.status_code, b"Name: widget" in metadata.content) == (200, True)


def test_one_row_in_the_catalogue(site: Site) -> None:
    """All that is signed holds, and the row that contradicts it is named; another one is the policy's own bytes."""
    site.tamper(f"update file set length = length + 1 where file_name = '{WHEEL}'")
    found = site.verified(WHEEL)
    assert (found["failed"], found["exit_code"]) == ("catalogue", 10)
    assert "as the length of the file" in found["reason"]
    assert {step["result"] for step in found["steps"][:6]} == {"passed"}
    site.tamper(f"update file set length = length - 1 where file_name = '{WHEEL}'")
    site.tamper(f"update trust_target set content = content || '#' where sha256 = '{sha256_of(policy())}'")
    found = site.verified(SDIST)
    assert (found["failed"], found["exit_code"]) == ("policy", 23)
