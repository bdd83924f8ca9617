"""Approving with a key that never leaves its token: SoftHSM 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from countermark.cli import app
from countermark.core.approval.keys import parse_key
from countermark.core.approval.message import KeyRegistration, approval_of
from countermark.core.approval.signatures import verify
from countermark.core.ceremony.documents import PublicKeyFile, to_bytes
from countermark.core.signing.making import make_key
from tests.support.softhsm import SOFTHSM, MadeToken, TokenShelf
from tests.unit.client.loopback import read_json, reply_json, serving
from tests.unit.client.test_approvals import CONTENT, FILE_ID, PATH, WHEEL, pointer, view
from tests.unit.client.test_commands import always


@pytest.fixture
def token(token_shelf: TokenShelf) -> MadeToken:
    """A token of the test's own."""
    return token_shelf.new_token()


def test_a_token_approves(token: MadeToken, tmp_path: Path) -> None:
    """It registers and approves by URI, as a P-256 key in PEM; with a wrong PIN nothing is sent."""
    made, sent = make_key(token.uri(), token.access()), []
    wheel, secret = tmp_path / WHEEL, tmp_path / "pin"
    wheel.write_bytes(CONTENT)
    secret.write_text(token.pin)
    key = ("--key", made.uri, "--module", str(SOFTHSM), "--secret-file", str(secret), "--yes")

    def answer(handler: Any) -> None:
        body = read_json(handler)
        sent.extend([body] if body else [])
        reply_json(handler, view(pointer()), 201 if body else 200)

    with serving() as server:
        server.paths |= {PATH: answer, "/api/v1/approval-keys": answer}
        server.paths["/api/v1/account"] = always({"name": "alice"})
        environment = {
            "COUNTERMARK_HOME": str(tmp_path / "home"),
            "COUNTERMARK_REPOSITORY": f"{server.url}/root/stable",
        }
        for command in (("key", "register", *key), ("approve", FILE_ID, "--file", str(wheel), *key)):
            done = CliRunner().invoke(app, ["approvals", *command], env=environment)
            assert done.exit_code == 0, done.stderr
    registered, approved = sent
    public = parse_key(registered["public_key"])
    assert (public.kind, public.keyid) == ("ecdsa-p256", approved["keyid"])
    verify(public, KeyRegistration("alice", public.keyid), registered["signature"])
    verify(public, approval_of(pointer().to_bytes(), 1)[0], approved["signature"])


def test_a_wrong_pin_approves_nothing(token: MadeToken, tmp_path: Path) -> None:
    """The token refuses, and the registry gets no signature."""
    made = make_key(token.uri(), token.access())
    wheel = tmp_path / WHEEL
    wheel.write_bytes(CONTENT)
    told = token.run(
        f"""
from typer.testing import CliRunner
from countermark.cli import app
from tests.unit.client.loopback import serving
from tests.unit.client.test_approvals import FILE_ID, PATH, pointer, view
from tests.unit.client.test_commands import always
with serving() as server:
    server.paths[PATH] = always(view(pointer()))
    options = ["--key", {made.uri!r}, "--file", {str(wheel)!r}, "--yes", "--repository", server.url + "/root/stable"]
    done = CliRunner().invoke(app, ["approvals", "approve", FILE_ID, *options])
    result = [done.exit_code, "refused its PIN" in done.stderr, [str(seen) for seen in server.seen]]
""",
        {"COUNTERMARK_KEY_SECRET": "0000", "COUNTERMARK_HOME": str(tmp_path / "home")},
    )
    assert isinstance(told, list)
    assert told[:2] == [1, True]
    assert len(told[2]) == 1


APPROVE = """
from typer.testing import CliRunner
from countermark.cli import app
from tests.unit.client.loopback import serving
from tests.unit.client.test_approvals import FILE_ID, PATH, pointer, view
from tests.unit.client.test_commands import always
with serving() as server:
    server.paths[PATH] = always(view(pointer()))
    options = ["--key", {uri!r}, "--repository", server.url + "/root/stable"]
    done = CliRunner().invoke(app, ["approvals", "approve", FILE_ID, *options], input="y\\n")
    result = [done.exit_code, done.stderr]
"""

CHECK = """
from typer.testing import CliRunner
from countermark.cli import app
done = CliRunner().invoke(app, ["key", "check", {uri!r}, {public!r}])
result = [done.exit_code, done.stderr]
"""


def test_a_script_with_a_wrong_pin_does_not_lock_the_token(token: MadeToken, tmp_path: Path) -> None:
    """Where no person types the PIN it is tried once, and by no later process until `key check` was run by hand."""
    made = make_key(token.uri(), token.access())
    public = tmp_path / "public.json"
    public.write_bytes(to_bytes(PublicKeyFile("", made.key)))

    def run(program: str, pin: str) -> tuple[int, str]:
        environment = {"COUNTERMARK_KEY_SECRET": pin, "COUNTERMARK_HOME": str(tmp_path / "home")}
        told = token.run(program.format(uri=made.uri, public=str(public)), environment)
        assert isinstance(told, list)
        return told[0], told[1]

    code, words = run(APPROVE, "00000000")
    assert (code, "refused its PIN" in words) == (1, True), words
    for pin in ("00000000", token.pin):
        code, words = run(APPROVE, pin)
        assert (code, "tells of a wrong PIN since the last login" in words) == (1, True), words
    assert run(CHECK, token.pin)[0] == 0
    assert run(APPROVE, token.pin)[0] == 0
