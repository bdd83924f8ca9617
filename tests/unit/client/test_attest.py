"""`countermark attest --key`: statements signed with named keys, checked before they are written."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from countermark.core.attestations.bundle_verifying import BundleVerifier
from countermark.core.attestations.facts import RootKind
from countermark.core.digest import sha256_of
from tests.support.sigstore.instance import Instance
from tests.support.sigstore.stamps import StampAuthority
from tests.unit.client.conftest import Run
from tests.unit.client.loopback import Loopback, reply

WHEEL = "thing-1-py3-none-any.whl"
SLSA = "https://slsa.dev/provenance/v1"
PASSPHRASE = "correct horse battery"
Private = Ed25519PrivateKey | ec.EllipticCurvePrivateKey


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A file with a statement of its build beside it."""
    file = tmp_path / WHEEL
    file.write_bytes(b"a wheel")
    write_statement(file)
    return file


def write_statement(file: Path, **more: Any) -> Path:
    """Write a statement beside a file; `more` replaces its keys."""
    subject = {"name": file.name, "digest": {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}}
    document = {"_type": "https://in-toto.io/Statement/v1", "subject": [subject], "predicateType": SLSA}
    path = file.with_name(f"{file.name}.statement.json")
    path.write_text(json.dumps(document | {"predicate": {"buildDefinition": {}}} | more, indent=1))
    return path


def write_key(folder: Path, private: Private, passphrase: str | None = None) -> Path:
    """Write a private key as PKCS#8."""
    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.encode())
    path = folder / "key.pem"
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return path


def public(private: Private) -> bytes:
    """Return the public half, PEM."""
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("private", [Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())])
def test_a_statement_is_signed_as_it_lies_there(run: Run, wheel: Path, tmp_path: Path, private: Private) -> None:
    """The bundle verifies with the key's public half, names it by its sha256, and holds the statement's very bytes."""
    key = write_key(tmp_path, private)
    done = run("attest", wheel, "--key", f"file2:{key}", "--json")
    assert done.exit_code == 0, done.stderr
    assert "nothing proves when" in done.stderr
    told = json.loads(done.stdout)
    body = Path(told["bundle"]).read_bytes()
    assert told["bundle"] == f"{wheel}.sigstore.json"
    report = BundleVerifier({}, {"release": public(private)}).verify(body, WHEEL, sha256_of(b"a wheel"))
    assert report.verified is not None, report.failure
    assert (report.verified.root, report.verified.root_kind, report.verified.signed_at) == ("release", RootKind.KEY, 0)
    document = json.loads(body)
    assert base64.b64decode(document["dsseEnvelope"]["payload"]) == Path(f"{wheel}.statement.json").read_bytes()
    der = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert document["verificationMaterial"]["publicKey"]["hint"] == hashlib.sha256(der).hexdigest() == told["key"]


def test_a_passphrase_is_asked_of_the_environment(run: Run, wheel: Path, tmp_path: Path) -> None:
    """An encrypted key opens with the secret that other commands of keys take; a wrong one writes nothing."""
    key = write_key(tmp_path, Ed25519PrivateKey.generate(), PASSPHRASE)
    done = run("attest", wheel, "--key", f"pkcs8:{key}", COUNTERMARK_KEY_SECRET="wrong horse battery")
    assert done.exit_code == 1
    assert not Path(f"{wheel}.sigstore.json").exists()
    done = run("attest", wheel, "--key", f"pkcs8:{key}", COUNTERMARK_KEY_SECRET=PASSPHRASE)
    assert done.exit_code == 0, done.stderr


def test_a_bundle_is_not_written_over(run: Run, wheel: Path, tmp_path: Path) -> None:
    """What is there stays, unless it is to be replaced, or another name is given."""
    key = write_key(tmp_path, Ed25519PrivateKey.generate())
    bundle = Path(f"{wheel}.sigstore.json")
    bundle.write_text("kept")
    done = run("attest", wheel, "--key", f"file2:{key}")
    assert (done.exit_code, bundle.read_text()) == (2, "kept")
    assert "--force" in done.stderr
    assert run("attest", wheel, "--key", f"file2:{key}", "--name", "more").exit_code == 0
    assert bundle.read_text() == "kept"
    assert Path(f"{wheel}.more.sigstore.json").exists()
    assert run("attest", wheel, "--key", f"file2:{key}", "--force").exit_code == 0
    assert bundle.read_text() != "kept"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"subject": [{"name": WHEEL, "digest": {"sha256": "0" * 64}}]}, "other bytes"),
        ({"subject": [{"name": "other-1.tar.gz", "digest": {"sha256": sha256_of(b"a wheel")}}]}, "not about"),
        ({"subject": [{"name": WHEEL, "digest": {"sha1": "0" * 40}}]}, "other bytes"),
        ({"subject": []}, "subjects"),
        ({"_type": "https://in-toto.io/Statement/v0.1"}, "v0.1 has no predicate"),
        ({"_type": "https://in-toto.io/Statement/v2"}, "neither v1 nor v0.1"),
        ({"predicateType": "no uri"}, "no URI"),
        ({"predicate": []}, "no object"),
    ],
)
def test_a_statement_about_something_else_is_not_signed(
    run: Run, wheel: Path, tmp_path: Path, more: dict[str, Any], words: str
) -> None:
    """Another file's statement, or none that an index takes, is refused before anything is signed."""
    write_statement(wheel, **more)
    done = run("attest", wheel, "--key", f"file2:{write_key(tmp_path, Ed25519PrivateKey.generate())}")
    assert done.exit_code == 1
    assert words in done.stderr
    assert not Path(f"{wheel}.sigstore.json").exists()


def test_one_that_fails_leaves_none(run: Run, wheel: Path, tmp_path: Path) -> None:
    """Of several files none gets a bundle when one cannot."""
    other = tmp_path / "thing-1.tar.gz"
    other.write_bytes(b"an sdist")
    key = f"file2:{write_key(tmp_path, Ed25519PrivateKey.generate())}"
    done = run("attest", wheel, other, "--key", key)
    assert done.exit_code == 1
    assert "countermark build" in done.stderr
    assert not list(tmp_path.glob("*.sigstore.json"))
    write_statement(other)
    done = run("attest", *sorted(tmp_path.glob("thing-1*")), "--key", key)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines() == [f"{wheel}.sigstore.json", f"{other}.sigstore.json"]


def test_a_predicate_is_signed_in_a_new_statement(run: Run, wheel: Path, tmp_path: Path) -> None:
    """With a predicate and its type, the statement is made; a type alone has a predicate of null."""
    key = f"file2:{write_key(tmp_path, Ed25519PrivateKey.generate())}"
    predicate = tmp_path / "sbom.json"
    predicate.write_text('{"spdxVersion": "SPDX-2.3"}')
    kind = "https://spdx.dev/Document/v2.3"
    for options, expected in (("--predicate", predicate), {"spdxVersion": "SPDX-2.3"}), ((), None):
        done = run("attest", wheel, "--key", key, *options, "--predicate-type", kind, "--force")
        assert done.exit_code == 0, done.stderr
        payload = json.loads(Path(f"{wheel}.sigstore.json").read_text())["dsseEnvelope"]["payload"]
        document = json.loads(base64.b64decode(payload))
        assert (document["predicateType"], document["predicate"]) == (kind, expected)
        assert document["subject"] == [{"name": WHEEL, "digest": {"sha256": sha256_of(b"a wheel")}}]


def test_an_old_statement_is_signed_as_a_new_one(run: Run, wheel: Path, tmp_path: Path) -> None:
    """A Statement v0.1 with SLSA v0.2 becomes v1: same predicate, same type, subjects by their strong digests."""
    predicate = {"builder": {"id": "https://ci.example/run"}, "buildType": "https://ci.example/build"}
    digests = {"sha256": sha256_of(b"a wheel"), "sha1": "0" * 40}
    subjects = [{"name": WHEEL, "digest": digests}, {"name": "old", "digest": {"md5": "0" * 32}}]
    kind = "https://slsa.dev/provenance/v0.2"
    old = {"_type": "https://in-toto.io/Statement/v0.1", "subject": subjects, "predicateType": kind}
    statement = write_statement(wheel, **old, predicate=predicate).rename(tmp_path / "old.json")
    key = write_key(tmp_path, Ed25519PrivateKey.generate())
    done = run("attest", wheel, "--statement", statement, "--key", f"file2:{key}")
    assert done.exit_code == 0, done.stderr
    assert "v0.1 is signed as v1" in done.stderr
    document = json.loads(
        base64.b64decode(json.loads(Path(f"{wheel}.sigstore.json").read_text())["dsseEnvelope"]["payload"])
    )
    assert document == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": WHEEL, "digest": {"sha256": digests["sha256"]}}],
        "predicateType": kind,
        "predicate": predicate,
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--statement", "s", "--predicate-type", "a:b"), "its predicate in it"),
        (("--predicate", "s"), "without its type"),
        (("--predicate-type", "words"), "no URI"),
        (("--key", "file2:k", "--identity-token", "t"), "without identity"),
        (("--timestamp-url", "http://localhost"), "--key"),
        (("--name", "../x"), "letters"),
        (("--predicate-type", "https://spdx.dev/Document", "--pep740"), "PEP 740"),
    ],
)
def test_contradictions_are_usage(run: Run, wheel: Path, arguments: tuple[str, ...], words: str) -> None:
    """What cannot be meant is said so, and nothing is asked or signed."""
    done = run("attest", wheel, *arguments)
    assert done.exit_code == 2
    assert words in done.stderr


def test_without_a_network_it_says_what_to_give(wheel: Path, tmp_path: Path) -> None:
    """Whoever signs by an identity where there is no network is told of the options that do without this one."""
    write_statement(wheel)
    alone = ("unshare", "--map-root-user", "--net")
    if shutil.which("unshare") is None or subprocess.run((*alone, "true"), check=False).returncode:
        pytest.skip("this machine gives no namespaces without a network")
    argv = (*alone, sys.executable, "-m", "countermark", "attest", str(wheel), "--identity-token", "x.y.z")
    environment = {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert all(option in done.stderr for option in ("network", "--trust-config FILE", "--key")), done.stderr


@pytest.mark.parametrize("content", [Instance().trusted_root(), b"[]", b"schema: policy"])
def test_what_is_no_trust_config_is_said_in_few_words(run: Run, wheel: Path, tmp_path: Path, content: bytes) -> None:
    """A bare trust root, other JSON and other files name what is missing, not the fields of a library."""
    write_statement(wheel)
    (tmp_path / "config.json").write_bytes(content)
    done = run("attest", wheel, "--trust-config", tmp_path / "config.json", "--identity-token", "x.y.z")
    assert done.exit_code == 1
    assert "signingConfig" in done.stderr
    assert "pydantic" not in done.stderr


def test_other_commands_do_not_wait_for_what_signs() -> None:
    """Libraries that take most of a second to load are not loaded with the command line."""
    code = "import sys, countermark.cli; print(sorted({'sigstore', 'rfc3161_client'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Stamping:
    """A time stamp authority that answers over HTTP."""

    def __init__(self, server: Loopback, authority: StampAuthority) -> None:
        self.authority = authority
        self.body: bytes | None = None
        self.status = 200
        server.paths["/stamp"] = self.take

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        """Stamp what is asked, unless it was told what to answer."""
        asked = handler.rfile.read(int(handler.headers["content-length"]))
        body = self.authority.answer(asked, 1_800_000_000) if self.body is None else self.body
        reply(handler, self.status, body)


def test_a_stamp_proves_when(run: Run, wheel: Path, tmp_path: Path, server: Loopback) -> None:
    """With a time stamp authority and the trust config that lists it, the bundle proves its time."""
    instance, private = Instance(), ec.generate_private_key(ec.SECP256R1())
    Stamping(server, instance.stamps)
    options = ("--key", f"file2:{write_key(tmp_path, private)}", "--timestamp-url", f"{server.url}/stamp")
    assert "authority was not checked" in run("attest", wheel, *options).stderr
    root = tmp_path / "trusted_root.json"
    root.write_bytes(Instance().trusted_root())
    done = run("attest", wheel, *options, "--trust-config", root, "--force")
    assert done.exit_code == 1, "the stamp is of another authority than the root's"
    root.write_bytes(instance.trusted_root())
    done = run("attest", wheel, *options, "--trust-config", root, "--force")
    assert (done.exit_code, done.stderr) == (0, "")
    verifier = BundleVerifier({"r": instance.trusted_root()}, {"k": public(private)}, test_roots=["r"])
    report = verifier.verify(Path(f"{wheel}.sigstore.json").read_bytes(), WHEEL, sha256_of(b"a wheel"))
    assert report.verified is not None, report.failure
    assert report.verified.signed_at == 1_800_000_000


@pytest.mark.parametrize("answer", [b"", b"no stamp", "another", 500, "huge"])
def test_what_is_no_stamp_ends_it(run: Run, wheel: Path, tmp_path: Path, server: Loopback, answer: Any) -> None:
    """An authority that fails, or stamps something else, leaves no bundle."""
    stamping = Stamping(server, StampAuthority())
    if isinstance(answer, int):
        stamping.status = answer
    else:
        made = {"another": stamping.authority.stamp(b"something else", 1), "huge": os.urandom(100_000)}
        stamping.body = answer if isinstance(answer, bytes) else made[answer]
    key = write_key(tmp_path, Ed25519PrivateKey.generate())
    done = run("attest", wheel, "--key", f"file2:{key}", "--timestamp-url", f"{server.url}/stamp")
    assert done.exit_code == 1
    assert "stamp" in done.stderr
    assert not Path(f"{wheel}.sigstore.json").exists()


def _certified(folder: Path, instance: Instance, subject: str) -> tuple[Path, Path, Path, Path]:
    """Return a key, its certificate by a company's authority, another key's, and the trust root of the company."""
    mine, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    (folder / "company.json").write_bytes(instance.company_root())
    for name, key in (("mine.crt", mine), ("other.crt", other)):
        issued = instance.company.issue(
            key.public_key(), {"iss": "https://ca.test", "sub": subject}, 1_800_000_000 - 60
        )
        (folder / name).write_bytes(issued.public_bytes(Encoding.PEM))
    return write_key(folder, mine), folder / "mine.crt", folder / "other.crt", folder / "company.json"


def test_a_certificate_of_a_companys_own_says_who(run: Run, wheel: Path, tmp_path: Path, server: Loopback) -> None:
    """It stands in the bundle, and with the stamp proves whose the key is; another key's is refused."""
    instance, subject = Instance(), "spiffe://acme.test/release"
    Stamping(server, instance.stamps)
    key, certificate, others, root = _certified(tmp_path, instance, subject)
    write_statement(wheel)
    stamped = ("--key", f"file2:{key}", "--timestamp-url", f"{server.url}/stamp", "--trust-config", root)
    done = run("attest", wheel, *stamped, "--certificate", others)
    assert (done.exit_code, "of another key" in done.stderr) == (1, True), done.stderr
    done = run("attest", wheel, *stamped, "--certificate", wheel)
    assert (done.exit_code, "holds no certificate" in done.stderr) == (1, True), done.stderr
    done = run("attest", wheel, *stamped[:2], "--certificate", certificate)
    assert (done.exit_code, "--timestamp-url" in done.stderr) == (2, True), done.stderr
    done = run("attest", wheel, *stamped, "--certificate", certificate)
    assert done.exit_code == 0, done.stderr
    assert f"The certificate names {subject}" in done.stderr
    roots = {"company": instance.company_root()}
    verifier = BundleVerifier(roots, {}, test_roots=roots, without_log=roots)
    body = wheel.with_name(f"{wheel.name}.sigstore.json").read_bytes()
    found = verifier.verify(body, wheel.name, sha256_of(wheel.read_bytes())).verified
    assert found is not None
    assert (found.san, found.root_kind, found.key) == (subject, RootKind.CA, None)
