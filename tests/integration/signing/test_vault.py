"""Keys in Vault's Transit engine, in a real OpenBao, which speaks the same API."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from countermark.core.signing.access import KeyAccess
from countermark.core.signing.faults import KeyUnusable
from countermark.core.signing.loading import load_signer
from countermark.core.signing.making import find_key, make_key
from tests.support.openbao import OpenBao, running_openbao
from tests.support.tools import CACHE, NotReachable, install_tools


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """One server for these tests."""
    try:
        program = install_tools(CACHE) / "bao"
    except NotReachable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no package registry answers, from which OpenBao could be installed: {error}")
    with running_openbao(program, tmp_path_factory.mktemp("openbao")) as running:
        yield running


@pytest.fixture
def access(server: OpenBao, monkeypatch: pytest.MonkeyPatch) -> KeyAccess:
    """Access as a process has it whose environment names the server: its library looks there by itself."""
    monkeypatch.setenv("VAULT_ADDR", server.url)
    monkeypatch.setenv("VAULT_TOKEN", server.token)
    return KeyAccess(environ=os.environ)


def test_a_key_is_made_in_vault_and_signs(server: OpenBao, access: KeyAccess) -> None:
    """It cannot be exported, it is found again by its name, and one of that name is not made twice."""
    made = make_key("hv:first", access)
    assert made.uri == "hv:first/1"
    assert made.key.scheme == "ed25519"
    signature = load_signer(made.uri, made.key, access).sign(b"payload")
    made.key.verify_signature(signature, b"payload")
    assert find_key("hv:first", access) == made
    told = server.client.secrets.transit.read_key("first")["data"]
    assert (told["exportable"], told["allow_plaintext_backup"]) == (False, False)
    with pytest.raises(KeyUnusable, match="has a key first already"):
        make_key("hv:first", access)


def test_a_version_that_is_another_key(server: OpenBao, access: KeyAccess) -> None:
    """After a rotation each version signs as itself, and a URI with the wrong one is refused when loaded."""
    made = make_key("hv:rotated", access)
    server.client.secrets.transit.rotate_key("rotated")
    newest = find_key("hv:rotated", access)
    assert newest.uri == "hv:rotated/2"
    assert newest.key != made.key
    made.key.verify_signature(load_signer(made.uri, made.key, access).sign(b"payload"), b"payload")
    with pytest.raises(KeyUnusable, match="another key than the public one"):
        load_signer(newest.uri, made.key, access)
    with pytest.raises(KeyUnusable, match="has no version 7"):
        find_key("hv:rotated/7", access)


def test_keys_that_vault_does_not_give(server: OpenBao, access: KeyAccess, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that does not allow it, a key that is not there, one of another kind, and no server: each in words,
    and the credential in none."""
    made = make_key("hv:guarded", access)
    server.client.secrets.transit.create_key("rsa", key_type="rsa-2048")
    with pytest.raises(KeyUnusable, match="of type rsa-2048"):
        find_key("hv:rsa", access)
    with pytest.raises(KeyUnusable, match=r"InvalidPath|InvalidRequest"):
        find_key("hv:absent", access)
    weak = server.token_for('path "transit/sign/other" { capabilities = ["update"] }')
    monkeypatch.setenv("VAULT_TOKEN", weak)
    with pytest.raises(KeyUnusable, match=r"Forbidden.*update on transit/sign/<name>") as caught:
        load_signer(made.uri, made.key, access)
    assert weak not in str(caught.value)
    enough = server.token_for('path "transit/sign/guarded" { capabilities = ["update"] }')
    monkeypatch.setenv("VAULT_TOKEN", enough)
    signer = load_signer(made.uri, made.key, access)
    server.client.auth.token.revoke(enough)
    with pytest.raises(KeyUnusable, match="Forbidden"):
        signer.sign(b"payload")
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:9")
    with pytest.raises(KeyUnusable, match="ConnectionError"):
        load_signer(made.uri, made.key, access)
