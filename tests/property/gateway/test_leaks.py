"""Lists of leaked tokens of any shape."""

from __future__ import annotations

import base64

import orjson
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.leaks import signed_leaks
from shared.auth.tokens import new_secret, token_sha256
from shared.errors import ErrorKind, ServiceError

KEY = generate_private_key(SECP256R1())
KEYS = {"k1": KEY.public_key()}
SECRET = new_secret()

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=20) | st.just(SECRET),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["token", "type", "url", "x"]), inner, max_size=4)
        | st.lists(st.fixed_dictionaries({"token": st.text(max_size=9) | st.just(f"pypi-{SECRET}")}), max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(_JSON.map(orjson.dumps) | st.binary(max_size=60))
@example(b"[" * 5000)
@example(orjson.dumps([{"token": SECRET, "url": "\x00u"}]))
def test_a_signed_body_is_a_list_of_leaks_or_malformed(body: bytes) -> None:
    """Nothing but texts that are tokens of ours is found, whatever their neighbours are."""
    kind: ErrorKind | None = None
    try:
        found = signed_leaks(KEYS, "k1", base64.b64encode(KEY.sign(body, ECDSA(SHA256()))).decode(), body)
    except ServiceError as error:
        found, kind = {}, error.kind
    assert kind in {None, ErrorKind.MALFORMED}
    assert set(found) <= {token_sha256(SECRET)}
    assert all("\x00" not in url and len(url) <= 500 for url in found.values())


@settings(deadline=None)
@given(st.text(max_size=10), st.text(max_size=120), st.binary(max_size=60))
def test_nothing_is_read_of_what_is_not_signed(key_id: str, signature: str, body: bytes) -> None:
    """No other key's name and no other signature opens the list."""
    for name in (key_id, "k1"):
        try:
            signed_leaks(KEYS, name, signature, body)
        except ServiceError as error:
            kind = error.kind
        assert kind is ErrorKind.FORBIDDEN
