"""Release approval with real programs: twine uploads, people sign with ssh-keygen and PEM keys, pip installs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.support.archives import make_wheel
from tests.support.clients import VerifyingClient, twine
from tests.support.processes import Deployment

INDEX = "root/approved"
ALL = "read,upload,test-result,remove,approve,configure"


@pytest.fixture
def ssh_keygen() -> str:
    """OpenSSH's program; Debian's package openssh-client has it."""
    found = shutil.which("ssh-keygen")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("ssh-keygen is missing: install openssh-client")
        pytest.skip("ssh-keygen is missing")
    return found


def person(deployment: Deployment, name: str) -> str:
    """Make an account that may approve, and return a token of it that nothing narrows."""
    for command in (("user", "add", name), ("index", "grant", INDEX, name, "read,approve")):
        done = deployment.command(*command)
        assert done.returncode == 0, done.stderr
    options = ("token", "create", "--user", name, "--index", "*", "--verbs", ALL, "--json")
    return str(json.loads(deployment.command(*options).stdout)["token"])


def test_a_release_that_two_people_approve(deployment: Deployment, ssh_keygen: str, tmp_path: Path) -> None:
    """Twine is told that it waits; nobody sees the file until an SSH key and a P-256 key have signed it; the evidence
    verifies without a server, and not when a byte of it is changed."""
    assert deployment.command("index", "create", INDEX).returncode == 0
    url = f"{deployment.api}/{INDEX}"
    at = ("--repository", url)
    owner = deployment.token("--verbs", ALL, index="*")
    ann, ben = person(deployment, "ann-signs"), person(deployment, "ben-signs")
    root, anns, bens = (VerifyingClient(tmp_path / name) for name in ("root", "ann", "ben"))
    done = root("approvals", "demand", "set", "2", "--of", "ann-signs", "--of", "ben-signs", *at, token=owner)
    assert done.returncode == 0, done.stderr

    ssh_key, pem_key = tmp_path / "id_ed25519", tmp_path / "key.pem"
    subprocess.run([ssh_keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(ssh_key)], check=True)
    private = generate_private_key(SECP256R1())
    pem_key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for client, key, token in ((anns, ssh_key, ann), (bens, pem_key, ben)):
        done = client("approvals", "key", "register", "--key", str(key), "--yes", *at, token=token)
        assert done.returncode == 0, done.stderr

    wheel = tmp_path / "approved_thing-1.0-py3-none-any.whl"
    wheel.write_bytes(make_wheel("approved-thing", "1.0"))
    sent = twine(f"{url}/", owner, wheel)
    assert sent.returncode == 0, sent.stdout + sent.stderr
    page = f"/{INDEX}/+simple/approved-thing/"
    assert wheel.name not in deployment.get(page).text

    listed = anns("approvals", "list", "--json", *at, token=ann)
    assert listed.returncode == 0, listed.stderr
    waiting = json.loads(listed.stdout)
    assert (waiting["filename"], waiting["state"]) == (wheel.name, "waiting")
    stored = root("status", waiting["id"], *at)
    assert (stored.returncode, "waiting for 2 of 2 approvals of ann-signs, ben-signs" in stored.stderr) == (1, True)

    other = tmp_path / "other" / wheel.name
    other.parent.mkdir()
    other.write_bytes(wheel.read_bytes() + b" ")
    refused = anns(
        "approvals", "approve", waiting["id"], "--key", str(ssh_key), "--file", str(other), "-y", *at, token=ann
    )
    assert (refused.returncode, "bytes" in refused.stderr) == (1, True)
    options = ("--key", str(pem_key), "--file", str(wheel), "-y")
    wrong = anns("approvals", "approve", waiting["id"], *options, *at, token=ann)
    assert (wrong.returncode, "You have no such key" in wrong.stderr) == (1, True)
    first = anns(
        "approvals", "approve", waiting["id"], "--key", str(ssh_key), "--file", str(wheel), "-y", *at, token=ann
    )
    assert first.returncode == 0, first.stderr
    assert "waiting for 1 of 2 approvals" in first.stdout
    assert wheel.name not in deployment.get(page).text

    message, made = tmp_path / "message", tmp_path / "message.sig"
    assert bens("approvals", "show", waiting["id"], "--message", str(message), *at).returncode == 0
    assert message.read_text().startswith("countermark release approval, version 1\nindex: root/approved\n")
    public = tmp_path / "key.pub"
    public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    if (openssl := shutil.which("openssl")) is not None:
        sign = [openssl, "dgst", "-sha256", "-sign", str(pem_key), "-out", str(made), str(message)]
        subprocess.run(sign, check=True)
    else:
        made.write_bytes(private.sign(message.read_bytes(), ECDSA(SHA256())))
    options = ("--key", str(public), "--signature", str(made), "-y")
    second = bens("approvals", "approve", waiting["id"], *options, *at, token=ben)
    assert second.returncode == 0, second.stderr
    assert "approved by ann-signs, ben-signs" in second.stdout

    assert root("status", waiting["id"], *at).returncode == 0
    assert wheel.name in deployment.get(page).text
    got = root("download", "approved-thing", *at, "--trust-on-first-use", "--dest", str(tmp_path / "got"))
    assert got.returncode == 0, got.stderr

    evidence = tmp_path / "evidence.json"
    assert root("approvals", "export", waiting["id"], "-o", str(evidence), *at).returncode == 0
    offline = root("approvals", "check", str(evidence), "--file", str(wheel))
    assert offline.returncode == 0, offline.stderr
    assert offline.stdout.count("verified") == 2
    document = evidence.read_text()
    evidence.write_text(document.replace("length: ", "length: 1"))
    assert root("approvals", "check", str(evidence)).returncode == 1


def test_a_withdrawn_release_does_not_show(deployment: Deployment, tmp_path: Path) -> None:
    """Whoever brought a file takes it back with one command."""
    index = "root/withdrawn"
    assert deployment.command("index", "create", index).returncode == 0
    url, owner = f"{deployment.api}/{index}", deployment.token("--verbs", ALL, index="*")
    client, at = VerifyingClient(tmp_path / "home"), ("--repository", url)
    assert client("approvals", "demand", "set", "1", *at, token=owner).returncode == 0
    wheel = tmp_path / "taken_back-1.0-py3-none-any.whl"
    wheel.write_bytes(make_wheel("taken-back", "1.0"))
    sent = client("upload", str(wheel), "--index", url, "--json", token=owner)
    assert sent.returncode == 0, sent.stderr
    answer = json.loads(sent.stdout)
    assert answer["status"] == 200
    assert "waiting for 1 of 1 approval" in answer["lines"][0]
    link = answer["status_url"]
    for _ in range(100):
        if httpx2.get(f"{deployment.api}{link}").json()["approval"]["expires_at"] is not None:
            break
    done = client("approvals", "withdraw", link, *at, token=owner)
    assert (done.returncode, done.stdout) == (0, f"withdrew {wheel.name}\n"), done.stderr
    assert client("approvals", "demand", "lift", *at, token=owner).returncode == 0
    assert httpx2.get(f"{deployment.api}{link}").json()["state"] == "withdrawn"
    assert wheel.name not in deployment.get(f"/{index}/+simple/taken-back/").text
