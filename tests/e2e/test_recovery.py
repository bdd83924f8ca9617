"""The recovery drill: a thief signs with the stolen bins' key, clients stop at the policy, the key is replaced, and the
same client goes on.

Source: trust contract section 2.8 ("Recovery drill is a test").
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx2
import pytest

from countermark.core.digest import Length, sha256_of
from countermark.core.names import TargetPath
from countermark.core.pointer import Pointer, Resource, parse_pointer
from tests.support.archives import make_wheel
from tests.support.builds import Forge
from tests.support.processes import Deployment, start_deployment
from tests.support.tampering.forger import Forger, Keys, stolen_keys
from tests.support.tampering.server import tampering, through
from tests.support.tampering.victim import Victim
from tests.support.trusting import trust_builds
from tests.support.uploading import form_fields

pytestmark = pytest.mark.embedded

INDEX = "root/stable"
EVIL = b"not a wheel, but whoever installs it will not be asked\n"


def wheel_of(version: str) -> str:
    """Return the name of the wheel of a version."""
    return f"widget-{version}-py3-none-any.whl"


def upload(deployment: Deployment, forge: Forge, version: str) -> None:
    """Upload a release with its build provenance."""
    name, content = wheel_of(version), make_wheel("widget", version)
    fields = form_fields(name, content) | {"attestations": json.dumps([forge.build_attestation(name, content)])}
    answer = httpx2.post(
        f"{deployment.api}/{INDEX}/",
        data=fields,
        files={"content": (name, content)},
        auth=("__token__", deployment.token()),
        timeout=60,
    )
    assert answer.status_code == 200, answer.text


def forge_pointer(http: httpx2.Client, keys: Keys, version: str) -> dict[str, bytes]:
    """Return what a thief lays over the repository: a pointer of the wheel to other bytes, signed with his keys."""

    def honest(name: str) -> bytes | None:
        answer = http.get(f"/{INDEX}/+tuf/{name}")
        return answer.content if answer.status_code == 200 else None

    forger, path = Forger(honest, keys), TargetPath(f"pointers/widget/{wheel_of(version)}.pointer")
    genuine, digest = parse_pointer(forger.target(path)), sha256_of(EVIL)
    key = f"files/{digest[:2]}/{digest[2:]}/{wheel_of(version)}"
    evil = Pointer(genuine.name, genuine.version, genuine.index, Resource(f"/{key}", digest, Length(len(EVIL))))
    forger.files[key] = EVIL
    forger.publish({path: evil.to_bytes()})
    return forger.files


def test_recovery_from_a_stolen_bins_key(data: Path, tmp_path: Path) -> None:
    """The thief gets nothing installed; three commands on, the same client takes the next release, and none of his."""
    deployment, forge = start_deployment(data), Forge()
    try:
        trust_builds(deployment, forge, tmp_path)
        upload(deployment, forge, "1.0")
        stolen = stolen_keys(data / "keys")
        with httpx2.Client(base_url=deployment.api, timeout=30) as http, tampering(through(http)) as server:
            laid: dict[str, bytes] = {}
            server.lay(f"/{INDEX}/+tuf/", laid)
            client = Victim(tmp_path / "home", f"{server.url}/{INDEX}")
            client.pin(http.get(f"/{INDEX}/+tuf/metadata/1.root.json").content)
            asked = ("widget", "--file", wheel_of("1.0"))
            assert client.get(*asked).placed == (wheel_of("1.0"),)
            (client.dest / wheel_of("1.0")).unlink()

            laid |= forge_pointer(http, stolen, "1.0")
            ended = client.get(*asked)
            assert (ended.code, ended.placed) == (62, ()), ended.words
            assert "demands an attestation" in ended.words

            laid.clear()
            for role in ("bins", "snapshot", "timestamp"):
                told = deployment.command("keys", "rotate", role, "--grace", "1")
                assert told.returncode == 0, told.stderr
            upload(deployment, forge, "1.1")
            ended = client.get("widget", "--file", wheel_of("1.1"))
            assert (ended.code, ended.placed) == (0, (wheel_of("1.1"),)), ended.words
            (client.dest / wheel_of("1.1")).unlink()

            laid |= forge_pointer(http, stolen, "1.1")
            ended = client.get("widget", "--file", wheel_of("1.1"))
            assert (ended.code, ended.placed) == (20, ()), ended.words
            assert re.search(r"signed by 0/\d keys", ended.words) is not None
    finally:
        deployment.process.end()
