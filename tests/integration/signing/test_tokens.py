"""Keys on real PKCS#11 tokens: SoftHSM 2."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from countermark.cli import app
from countermark.core.signing.faults import KeyUnusable
from countermark.core.signing.loading import load_signer
from countermark.core.signing.making import find_key, make_key
from tests.support.softhsm import SOFTHSM, MadeToken, TokenShelf, spy


@pytest.fixture
def token(token_shelf: TokenShelf) -> MadeToken:
    """A token of the test's own."""
    return token_shelf.new_token()


def test_a_key_is_made_on_a_token_and_stays_there(token: MadeToken) -> None:
    """It gets a free number, its public half is shown without a PIN, and its value is not to be had."""
    made = make_key(token.uri(), token.access())
    assert made.uri == token.uri(2)
    assert made.key.scheme == "ecdsa-sha2-nistp256"
    assert make_key(token.uri(), token.access()).uri == token.uri(3)
    signature = load_signer(made.uri, made.key, token.access()).sign(b"payload")
    made.key.verify_signature(signature, b"payload")
    with pytest.raises(KeyUnusable, match="has a key 2 already"):
        make_key(token.uri(2), token.access())
    told = token.run(
        f"""
from countermark.core.signing.access import KeyAccess
from countermark.core.signing.making import find_key
import os, pkcs11
result = [find_key({made.uri!r}, KeyAccess(environ=os.environ)).key.keyid]
session = pkcs11.lib(os.environ["PYKCS11LIB"]).get_token(token_label={token.label!r}).open(user_pin={token.pin!r})
key = session.get_key(pkcs11.ObjectClass.PRIVATE_KEY, id=bytes([2]))
result += [key[name] for name in (pkcs11.Attribute.EXTRACTABLE, pkcs11.Attribute.NEVER_EXTRACTABLE)]
try:
    key[pkcs11.Attribute.VALUE]
except pkcs11.exceptions.AttributeSensitive:
    result.append("sensitive")
"""
    )
    assert told == [made.key.keyid, False, True, "sensitive"]


def test_a_uri_and_a_public_key_that_do_not_belong_together(token: MadeToken) -> None:
    """Another key of the token, and a number that it does not have, are refused when loaded."""
    one, two = make_key(token.uri(), token.access()), make_key(token.uri(), token.access())
    with pytest.raises(KeyUnusable, match=f"key {one.key.keyid[:16]} of role bins .* another key than the public one"):
        load_signer(two.uri, one.key, token.access(), role="bins")
    with pytest.raises(KeyUnusable, match="has no private EC key 9"):
        load_signer(token.uri(9), one.key, token.access())
    with pytest.raises(KeyUnusable, match="has no public EC key 9"):
        find_key(token.uri(9), token.access())


def test_eight_threads_on_one_token(token: MadeToken) -> None:
    """Two keys of a token are used by eight threads at once, and every signature verifies."""
    made = [make_key(token.uri(), token.access()) for _ in range(2)]
    signers = [load_signer(found.uri, found.key, token.access()) for found in made]

    def sign(number: int) -> bool:
        payload = f"payload {number}".encode()
        signature = signers[number % 2].sign(payload)
        made[number % 2].key.verify_signature(signature, payload)
        return True

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(sign, range(400)))


def test_threads_that_load_at_the_same_time(token: MadeToken) -> None:
    """The first login happens once, whoever comes first."""
    made = make_key(token.uri(), token.access())
    told = token.run(
        f"""
from concurrent.futures import ThreadPoolExecutor
from countermark.core.signing.access import KeyAccess
from countermark.core.signing.loading import load_signer
from countermark.core.signing.making import find_key
import os
access = KeyAccess(environ=os.environ, secret=lambda wanted: {token.pin!r})
key = find_key({made.uri!r}, access).key
with ThreadPoolExecutor(8) as threads:
    signers = list(threads.map(lambda _: load_signer({made.uri!r}, key, access), range(8)))
result = len(signers)
""",
        spied(token),
    )
    assert told == 8
    assert logins(token) == 1


def spied(token: MadeToken) -> dict[str, str]:
    """Return what makes a process call the token through the spy."""
    library = spy()
    assert library is not None
    output = token.shelf.folder / f"{token.label}.calls"
    return {"PYKCS11LIB": str(library), "PKCS11SPY": str(SOFTHSM), "PKCS11SPY_OUTPUT": str(output)}


def logins(token: MadeToken) -> int:
    """Count how often processes logged in to the token, or tried, as the spy wrote it down."""
    return (token.shelf.folder / f"{token.label}.calls").read_text().count(": C_Login\n")


LOAD = """
from countermark.core.signing.access import KeyAccess
from countermark.cli import app
from countermark.core.signing.faults import KeyUnusable
from countermark.core.signing.loading import load_signer
from countermark.core.signing.making import find_key
import os
pins, after = {pins!r}, {after!r}
uri, result = {uri!r}, []
key = find_key(uri, KeyAccess(environ=os.environ)).key
for pin in pins:
    access = KeyAccess(environ=os.environ, secret=lambda wanted: pin, after_wrong_pin=after)
    try:
        load_signer(uri, key, access)
        result.append("signs")
    except KeyUnusable as error:
        result.append(str(error))
"""


def tried(token: MadeToken, uri: str, *pins: str, after: bool = False) -> list[str]:
    """Load a key with each PIN in turn in one process, and return how each try ended."""
    program = LOAD.format(pins=list(pins), after=after, uri=uri)
    return cast("list[str]", token.run(program, spied(token)))


def test_a_wrong_pin_is_tried_once(token: MadeToken) -> None:
    """A process logs in once, also when it is given the right PIN later; the next process does not even try; a person
    who logs in by hand makes it usable again."""
    made = make_key(token.uri(), token.access())
    wrong = "00000000"
    told = tried(token, made.uri, wrong, wrong, token.pin)
    assert all("refused its PIN, and is not tried again by this process" in words for words in told)
    assert all(secret not in words for words in told for secret in (wrong, token.pin))
    assert logins(token) == 1
    (said,) = tried(token, made.uri, token.pin)
    assert "tells of a wrong PIN since the last login, and is not tried" in said
    assert logins(token) == 1
    assert tried(token, made.uri, token.pin, after=True) == ["signs"]
    assert tried(token, made.uri, token.pin) == ["signs"]
    assert logins(token) == 3


def test_tokens_that_are_away(token: MadeToken, token_shelf: TokenShelf) -> None:
    """A token that is taken away is told; when it is back it is used again, by the same signer."""
    made = make_key(token.uri(), token.access())
    signer = load_signer(made.uri, made.key, token.access())
    token.take_away()
    for _ in range(2):
        with pytest.raises(KeyUnusable, match=r"there is no token|does not do what it is asked"):
            signer.sign(b"payload")
    token.put_back()
    made.key.verify_signature(signer.sign(b"payload"), b"payload")


def test_which_token_is_meant(token: MadeToken) -> None:
    """Without a label there has to be one token; one with the same label as another is never guessed at."""
    token.shelf.new_token()
    with pytest.raises(KeyUnusable, match="more than one initialised token"):
        make_key("hsm:", token.access())
    with pytest.raises(KeyUnusable, match="there is no token 'nobody'"):
        make_key("hsm:?label=nobody", token.access())


def test_a_p384_key_that_was_made_elsewhere(token: MadeToken, tmp_path: Path) -> None:
    """Keys of that curve sign with SHA-384; of other curves none is taken."""
    _make_elsewhere(token, "secp384r1", 5)
    _make_elsewhere(token, "secp521r1", 6)
    found = find_key(token.uri(5), token.access())
    assert found.key.scheme == "ecdsa-sha2-nistp384"
    found.key.verify_signature(load_signer(found.uri, found.key, token.access()).sign(b"payload"), b"payload")
    with pytest.raises(KeyUnusable, match="of curve secp521r1"):
        find_key(token.uri(6), token.access())
    other = replace_scheme(found.key)
    with pytest.raises(KeyUnusable, match="signs with P-256 and P-384"):
        load_signer(found.uri, other, token.access())


def replace_scheme(key: Any) -> Any:
    """Return the same key as if it were to sign in another way."""
    return type(key)(key.keyid, key.keytype, "ecdsa-sha2-nistp521", key.keyval)


def _make_elsewhere(token: MadeToken, curve: str, number: int) -> None:
    token.run(
        f"""
import os, pkcs11
from pkcs11.util.ec import encode_named_curve_parameters
token = pkcs11.lib(os.environ["PYKCS11LIB"]).get_token(token_label={token.label!r})
session = token.open(rw=True, user_pin={token.pin!r})
curve = {{pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters({curve!r})}}
parameters = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
parameters.generate_keypair(store=True, id=bytes([{number}]))
"""
    )


def test_the_commands_on_a_token(token: MadeToken, tmp_path: Path) -> None:
    """A holder makes, shows and tries a key on a token; only what needs the PIN asks for it."""
    public = tmp_path / "ada.json"
    environment = {"COUNTERMARK_KEY_SECRET": token.pin}
    made = CliRunner().invoke(app, ["key", "new", token.uri(), "--holder", "Ada", "-o", str(public)], env=environment)
    assert made.exit_code == 0, made.stderr
    shown = CliRunner().invoke(app, ["key", "show", token.uri(2)])
    assert shown.stdout.splitlines()[0] == made.stdout.splitlines()[0]
    tried = CliRunner().invoke(app, ["key", "check", token.uri(2), str(public)], env=environment)
    assert tried.stdout.endswith(" signs\n"), tried.stderr
