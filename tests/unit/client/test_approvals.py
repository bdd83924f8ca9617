"""`countermark approvals` against a server that lies: what is shown and signed is read from the pointer alone."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_p384
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from countermark.core.approval.keys import parse_key
from countermark.core.approval.message import KeyRegistration, approval_of
from countermark.core.approval.signatures import verify
from countermark.core.digest import Length, sha256_of
from countermark.core.names import IndexName, NormalizedName
from countermark.core.pointer import Pointer, Resource
from tests.unit.client.conftest import Run
from tests.unit.client.loopback import Loopback, read_json, reply_json
from tests.unit.client.test_commands import always

FILE_ID = "019a0000-0000-7000-8000-000000000001"
PATH = f"/api/v1/indexes/root/stable/approvals/{FILE_ID}"
WHEEL = "widget-1.0-py3-none-any.whl"
CONTENT = b"the bytes of the wheel"


def pointer(index: IndexName | None = None, content: bytes = CONTENT) -> Pointer:
    """Return the pointer of a file with these bytes."""
    digest = sha256_of(content)
    file = Resource(f"/files/{digest[:2]}/{digest[2:]}/{WHEEL}", digest, Length(len(content)))
    return Pointer(NormalizedName("widget"), "1.0", index or IndexName("root", "stable"), file)


class Person:
    """Somebody with a PEM key on disk."""

    def __init__(self, folder: Path, name: str, secret: bytes | None = None) -> None:
        self.name, self.private, self.path = name, Ed25519PrivateKey.generate(), folder / f"{name}.pem"
        locked = NoEncryption() if secret is None else BestAvailableEncryption(secret)
        self.path.write_bytes(self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
        pem = self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.key = parse_key(pem.decode())

    def approval(self, of: Pointer, **other: str) -> dict[str, str]:
        """Return an approval as the registry shows it."""
        signature = base64.b64encode(self.private.sign(approval_of(of.to_bytes(), 1)[0].to_bytes())).decode()
        given = {"account": self.name, "keyid": self.key.keyid, "public_key": self.key.text, "given_at": "today"}
        return {**given, "signature": signature, **other}


def view(of: Pointer, *approvals: dict[str, str], **other: object) -> dict[str, Any]:
    """Return what the registry says of a file that waits."""
    prose = {"project": "lies", "version": "9.9", "filename": "lies.whl", "sha256": "0" * 64, "message": "lies"}
    told = {"needed": 2, "round": 1, "state": "waiting", "words": "waiting for 2 of 2 approvals"}
    return {"id": FILE_ID, "pointer": of.to_bytes().decode(), "approvals": list(approvals), **prose, **told, **other}


@pytest.fixture
def at(server: Loopback) -> tuple[str, str]:
    """The options that name the index."""
    return "--repository", f"{server.url}/root/stable"


def test_what_is_shown_is_read_from_the_pointer(
    run: Run, server: Loopback, at: tuple[str, str], tmp_path: Path
) -> None:
    """The registry's other words about the file are not even looked at; signatures are verified here."""
    good, bad = Person(tmp_path, "alice"), Person(tmp_path, "bob")
    forged = bad.approval(pointer(), signature=good.approval(pointer())["signature"])
    server.paths[PATH] = always(view(pointer(), good.approval(pointer()), forged))
    done = run("approvals", "show", FILE_ID, *at)
    assert done.exit_code == 0, done.stderr
    assert "lies" not in done.stdout
    assert f"file     {WHEEL}" in done.stdout
    assert f"sha256   {sha256_of(CONTENT)}" in done.stdout
    signed = [line for line in done.stdout.splitlines() if line.startswith("signed")]
    assert [line.rpartition("today: ")[2].partition(":")[0] for line in signed] == ["verified", "does not verify"]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"pointer": pointer(IndexName("evil", "index")).to_bytes().decode()}, "of index evil/index"),
        ({"pointer": pointer().to_bytes().decode() + "# more\n"}, "canonical form"),
        ({"pointer": "pointer: 1\n"}, "malformed"),
        ({"pointer": "\ud800"}, "cannot be approved"),
        ({"pointer": None}, "nothing of approvals"),
        ({"approvals": "none"}, "nothing of approvals"),
    ],
)
def test_nothing_is_signed_that_cannot_be_what_was_asked_for(
    run: Run, server: Loopback, at: tuple[str, str], tmp_path: Path, other: dict[str, object], words: str
) -> None:
    """Another index's pointer, one that is never signed, or none: refused before the key is used."""
    server.paths[PATH] = always(view(pointer(), **other))
    done = run("approvals", "approve", FILE_ID, "--key", Person(tmp_path, "alice").path, *at, input="y\n")
    assert (done.exit_code, words in done.stderr) == (1, True), done.stderr
    assert len(server.seen) == 1


def test_an_approval_signs_the_pointer(run: Run, server: Loopback, at: tuple[str, str], tmp_path: Path) -> None:
    """What is sent is the key's id and a signature over the message; the file on disk was compared first."""
    alice, sent = Person(tmp_path, "alice"), []
    wheel = tmp_path / WHEEL
    wheel.write_bytes(CONTENT)

    def answer(handler: Any) -> None:
        body = read_json(handler)
        sent.append(body)
        reply_json(handler, view(pointer(), *([alice.approval(pointer())] if body else [])))

    server.paths[PATH] = answer
    for changed in (CONTENT + b"!", CONTENT[:-1] + b"!"):
        wheel.write_bytes(changed)
        done = run("approvals", "approve", FILE_ID, "--key", alice.path, "--file", wheel, "--yes", *at)
        assert (done.exit_code, f"{WHEEL} has" in done.stderr) == (1, True)
    wheel.write_bytes(CONTENT)
    done = run("approvals", "approve", FILE_ID, "--key", alice.path, "--file", wheel, "--yes", *at)
    assert done.exit_code == 0, done.stderr
    assert sent[:3] == [None, None, None]
    assert sent[3].keys() == {"keyid", "signature"}
    assert sent[3]["keyid"] == alice.key.keyid
    verify(alice.key, approval_of(pointer().to_bytes(), 1)[0], sent[3]["signature"])


def test_nobody_signs_without_saying_so(run: Run, server: Loopback, at: tuple[str, str], tmp_path: Path) -> None:
    """Where nobody can be asked, and --yes was not said, nothing is signed."""
    server.paths[PATH] = always(view(pointer()))
    done = run("approvals", "approve", FILE_ID, "--key", Person(tmp_path, "alice").path, *at)
    assert done.exit_code == 2
    assert len(server.seen) == 1


def test_keys_that_cannot_sign_are_refused_with_words(
    run: Run, server: Loopback, at: tuple[str, str], tmp_path: Path
) -> None:
    """RSA, garbage, nothing, a locked key without its passphrase, another key's signature."""
    server.paths[PATH] = always(view(pointer()))
    rsa = generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    alice, bob = Person(tmp_path, "alice", b"secret"), Person(tmp_path, "bob")
    (tmp_path / "rsa").write_bytes(rsa)
    (tmp_path / "garbage").write_bytes(b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n")
    (tmp_path / "large").write_bytes(b"x" * 100_000)
    (tmp_path / "public").write_text(alice.key.text)
    (tmp_path / "sig").write_bytes(bob.private.sign(approval_of(pointer().to_bytes(), 1)[0].to_bytes()))
    for options, words in (
        (["--key", tmp_path / "rsa"], "neither an Ed25519 nor a P-256"),
        (["--key", tmp_path / "garbage"], "cannot be opened"),
        (["--key", tmp_path / "large"], "too long"),
        (["--key", tmp_path / "missing"], "cannot read"),
        (["--key", tmp_path / "public"], "no private key"),
        (["--key", tmp_path / "public", "--signature", tmp_path / "sig"], "does not verify"),
    ):
        done = run("approvals", "approve", FILE_ID, *options, *at, input="y\n")
        assert (done.exit_code in {1, 2}, words in done.stderr) == (True, True), done.stderr


def test_a_key_is_named_by_its_uri(run: Run, server: Loopback, at: tuple[str, str], tmp_path: Path) -> None:
    """An encrypted file's key registers and approves as PEM, its passphrase read from a file; without it, nothing."""
    alice, sent = Person(tmp_path, "alice", b"correct horse"), []
    server.paths |= {PATH: always(view(pointer())), "/api/v1/account": always({"name": "alice"})}
    (tmp_path / "secret").write_text("correct horse\n")
    (tmp_path / WHEEL).write_bytes(CONTENT)

    def answer(handler: Any) -> None:
        sent.append(read_json(handler))
        reply_json(handler, view(pointer()), 201)

    server.paths["/api/v1/approval-keys"] = answer
    uri, secret = f"pkcs8:{alice.path}", ("--secret-file", tmp_path / "secret")
    done = run("approvals", "key", "register", "--key", uri, *secret, "--yes", *at)
    assert done.exit_code == 0, done.stderr
    assert sent[0]["public_key"] == alice.key.text
    verify(alice.key, KeyRegistration("alice", alice.key.keyid), sent[0]["signature"])

    server.paths[PATH] = answer
    approve = ("approvals", "approve", FILE_ID, "--file", tmp_path / WHEEL, "--yes", "--key")
    assert run(*approve, uri, *at, COUNTERMARK_KEY_SECRET="correct horse").exit_code == 0
    verify(alice.key, approval_of(pointer().to_bytes(), 1)[0], sent[-1]["signature"])
    assert run(*approve, alice.path, *secret, *at).exit_code == 0
    count = len([body for body in sent if body])
    for wrong, words in (("pkcs8:/nowhere", "cannot be read"), (uri, "passphrase"), ("hsm:x", "not a whole number")):
        done = run(*approve, wrong, *at, COUNTERMARK_KEY_SECRET="wrong")
        assert (done.exit_code, words in done.stderr) == (1, True), done.stderr
    assert len([body for body in sent if body]) == count
    p384 = generate_p384(SECP384R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "p384.pem").write_bytes(p384)
    done = run(*approve, f"file2:{tmp_path / 'p384.pem'}", *at)
    assert (done.exit_code, "only Ed25519 and P-256" in done.stderr) == (2, True), done.stderr


def test_a_signature_made_elsewhere_is_sent(run: Run, server: Loopback, at: tuple[str, str], tmp_path: Path) -> None:
    """Raw bytes or base64 of it, over the bytes that `show --message` wrote."""
    server.paths[PATH] = always(view(pointer()))
    bob = Person(tmp_path, "bob")
    public, message = tmp_path / "public", tmp_path / "message"
    public.write_text(bob.key.text)
    assert run("approvals", "show", FILE_ID, "--message", message, *at).exit_code == 0
    signature = bob.private.sign(message.read_bytes())
    for made in (signature, base64.b64encode(signature) + b"\n"):
        (tmp_path / "sig").write_bytes(made)
        options = ("--key", public, "--signature", tmp_path / "sig", "--yes")
        done = run("approvals", "approve", FILE_ID, *options, *at)
        assert done.exit_code == 0, done.stderr


def test_a_key_is_registered_with_the_proof_that_it_is_held(
    run: Run, server: Loopback, at: tuple[str, str], tmp_path: Path
) -> None:
    """The private half is never sent; the proof is over account and key."""
    alice, sent = Person(tmp_path, "alice"), []
    server.paths["/api/v1/account"] = always({"name": "alice"})

    def answer(handler: Any) -> None:
        sent.append(read_json(handler))
        reply_json(handler, {"keyid": alice.key.keyid}, 201)

    server.paths["/api/v1/approval-keys"] = answer
    done = run("approvals", "key", "register", "--key", alice.path, "--label", "laptop", "--yes", *at)
    assert done.exit_code == 0, done.stderr
    ((body),) = sent
    assert "PRIVATE" not in json.dumps(body)
    assert parse_key(body["public_key"]) == parse_key(alice.key.text)
    verify(alice.key, KeyRegistration("alice", alice.key.keyid), body["signature"])


def test_evidence_is_checked_without_a_server(run: Run, server: Loopback, at: tuple[str, str], tmp_path: Path) -> None:
    """What was exported verifies as it is; with a signature of somebody else it neither exports nor verifies."""
    alice, bob = Person(tmp_path, "alice"), Person(tmp_path, "bob")
    server.paths[PATH] = always(view(pointer(), alice.approval(pointer()), bob.approval(pointer())))
    out, wheel = tmp_path / "evidence.json", tmp_path / WHEEL
    wheel.write_bytes(CONTENT)
    assert run("approvals", "export", FILE_ID, "-o", out, *at).exit_code == 0
    done = run("approvals", "check", out, "--file", wheel)
    assert (done.exit_code, done.stdout.count(": verified")) == (0, 2), done.stderr
    forged = alice.approval(pointer(), keyid=bob.key.keyid)
    server.paths[PATH] = always(view(pointer(), forged))
    assert run("approvals", "export", FILE_ID, *at).exit_code == 1
    document = json.loads(out.read_text())
    for change in ({"approvals": [forged]}, {"pointer": pointer(content=b"other").to_bytes().decode()}):
        out.write_text(json.dumps(document | change))
        assert run("approvals", "check", out).exit_code == 1
    for text in ("", "[]", "{}", "[" * 100_000):
        out.write_text(text)
        assert run("approvals", "check", out).exit_code in {1, 2}


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "not-an-id"),
        ("withdraw", "../../account"),
        ("list", "--state", "lost"),
        ("key", "revoke", "x"),
        ("demand", "lift", "--project", "..."),
        ("demand", "set", "0"),
    ],
)
def test_what_is_no_name_is_never_sent(
    run: Run, server: Loopback, at: tuple[str, str], arguments: tuple[str, ...]
) -> None:
    """Usage faults end with 2, and nobody is asked."""
    assert run("approvals", *arguments, *at).exit_code == 2
    assert server.seen == []
