"""Which identity tokens are believed: by their form, algorithm, signature, audience, times and id."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from gateway.trusted_publishing.id_tokens import LEEWAY, LONGEST, MAX_TOKEN, IdentityToken, read_unverified, verify
from gateway.trusted_publishing.issuers import IssuerSilent, read_keys
from gateway.trusted_publishing.refusals import MintRefused
from tests.support.ci_issuer import AUDIENCE, CiIssuer, new_key

NOW = 1_800_000_000
ISSUER = CiIssuer("https://ci.acme.test", now=lambda: NOW)
JOB = {"sub": "job:1"}

TWICE = b'{"alg": "none", "alg": "RS256", "kid": "x"}'
ONCE = b'{"alg": "RS256", "kid": "x"}'


def encoded(content: bytes) -> str:
    """Return content as a token has it."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def part(document: Any) -> str:
    """Return a part of a token."""
    return encoded(json.dumps(document).encode())


def believed(text: str, key: RSAKey | None = None, *, now: float = NOW) -> IdentityToken:
    """Read and check a token as an exchange does."""
    return verify(read_unverified(text), key or ISSUER.keys[0], audience=AUDIENCE, now=now)


def code_of(text: str, **how: Any) -> tuple[str, str]:
    """Return code and description of the refusal."""
    with pytest.raises(MintRefused) as refused:
        believed(text, **how)
    return refused.value.code, refused.value.description


def test_a_token_of_the_issuer_is_believed() -> None:
    """Its claims and its end are returned; each token is one of its own."""
    first, second = (believed(ISSUER.token(JOB)) for _ in range(2))
    assert first.claims["sub"] == "job:1"
    assert first.expires == NOW + 300
    assert first.sha256 != second.sha256


@pytest.mark.parametrize(
    ("claims", "named"),
    [
        ({"aud": None}, "audience"),
        ({"aud": "other"}, "audience"),
        ({"aud": AUDIENCE.upper()}, "audience"),
        ({"aud": [AUDIENCE]}, "audience"),
        ({"aud": [AUDIENCE, "other"]}, "audience"),
        ({"aud": ["other"]}, "audience"),
        ({"exp": None}, "exp"),
        ({"exp": NOW - LEEWAY}, "exp"),
        ({"exp": NOW + LONGEST + LEEWAY + 1}, "exp"),
        ({"exp": str(NOW + 300)}, "exp"),
        ({"exp": True}, "exp"),
        ({"iat": None}, "iat"),
        ({"iat": NOW + LEEWAY + 1}, "iat"),
        ({"iat": {}}, "iat"),
        ({"nbf": NOW + LEEWAY + 1}, "nbf"),
        ({"nbf": "soon"}, "nbf"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"jti": None}, "jti"),
        ({"jti": ""}, "jti"),
        ({"jti": 7}, "jti"),
        ({"jti": "x" * 501}, "jti"),
    ],
)
def test_a_claim_that_does_not_hold_is_named(claims: dict[str, Any], named: str) -> None:
    """Each of the claims that every token must have."""
    code, description = code_of(ISSUER.token(JOB | claims))
    assert code == "invalid-token"
    assert named in description


@pytest.mark.parametrize("claims", [{"exp": NOW - LEEWAY + 1}, {"iat": NOW + LEEWAY}, {"nbf": NOW + LEEWAY}])
def test_clocks_may_differ_a_little(claims: dict[str, Any]) -> None:
    """Within the leeway each time holds."""
    assert believed(ISSUER.token(JOB | claims))


def test_google_gives_no_id() -> None:
    """There the token itself is what is used once; two tokens are two."""
    google = CiIssuer("https://accounts.google.com", keys=ISSUER.keys, now=lambda: NOW)
    token = google.token(JOB | {"jti": None})
    assert believed(token).sha256 == believed(token).sha256
    assert believed(token).sha256 != believed(google.token(JOB | {"jti": None, "sub": "job:2"})).sha256


def test_one_id_of_two_issuers_is_two() -> None:
    """Whoever runs an issuer uses up no tokens of another."""
    other = CiIssuer("https://other.acme.test", keys=ISSUER.keys, now=lambda: NOW)
    same = JOB | {"jti": "1"}
    assert believed(ISSUER.token(same)).sha256 != believed(other.token(same)).sha256


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "HS512", "PS256", "ES256", "RS512", ["RS256"], None])
def test_the_algorithm_is_one_alone(algorithm: Any) -> None:
    """Whatever the header names beside it is refused before any key is asked for."""
    token = f"{part({'alg': algorithm, 'kid': 'x'})}.{part(ISSUER.claims(JOB))}.AAAA"
    assert code_of(token) == (
        "invalid-token",
        f"The token is signed with {algorithm if isinstance(algorithm, str) else repr(algorithm)!a}, not RS256.",
    )


def test_the_public_key_is_no_secret_to_sign_with() -> None:
    """HMAC over the published key, under whichever header, is refused."""
    for algorithm, said in (("HS256", "signed with 'HS256'"), ("RS256", "signature")):
        signed = f"{part({'alg': algorithm, 'kid': ISSUER.keys[0].kid})}.{part(ISSUER.claims(JOB))}"
        mac = hmac.digest(ISSUER.keys[0].as_pem(private=False), signed.encode(), "sha256")
        code, description = code_of(f"{signed}.{encoded(mac)}")
        assert code == "invalid-token"
        assert said in description


def test_another_key_and_changed_claims_are_refused() -> None:
    """So is a signature over other bytes."""
    assert "signature" in code_of(ISSUER.token(JOB, key=new_key()))[1]
    header, _, signature = ISSUER.token(JOB).split(".")
    changed = part(ISSUER.claims(JOB | {"sub": "job:2"}))
    assert "signature" in code_of(f"{header}.{changed}.{signature}")[1]
    assert "signature" in code_of(f"{header}.{changed}.")[1]


@pytest.mark.parametrize(
    ("header", "named"),
    [({"kid": None}, "kid"), ({"kid": ""}, "kid"), ({"kid": 1}, "kid"), ({"crit": ["b64"], "b64": False}, "extension")],
)
def test_a_header_that_is_not_plain_is_refused(header: dict[str, Any], named: str) -> None:
    """It names a key, and demands nothing."""
    token = f"{part({'alg': 'RS256', 'kid': 'x'} | header)}.{part(ISSUER.claims(JOB))}.AAAA"
    code, description = code_of(token)
    assert code == "invalid-token"
    assert named in description


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b",
        "a.b.c.d",
        "!.!.!",
        "e30.W10.AA",
        "bnVsbA.e30.AA",
        f"{'e30'}.{'/w'}.AA",
        "x" * (MAX_TOKEN + 1),
        f"{encoded(TWICE)}.e30.AA",
        f"{encoded(ONCE)}.e30.AA",
    ],
)
def test_what_is_no_token_is_malformed(text: str) -> None:
    """Also one with a key twice, which readers could read differently, and one without an issuer."""
    assert code_of(text)[0] == "invalid-payload"


def test_keys_are_those_that_sign() -> None:
    """Of a set the RSA keys for signatures count; small ones, others and those without an id do not."""
    key = new_key()
    public = key.as_dict(private=False)
    small = public | {"kid": "small", "n": encoded(b"\xff" * 255)}
    others = [small, public | {"kid": None}, public | {"kid": "e", "use": "enc"}, public | {"kid": "a", "alg": "PS256"}]
    assert list(read_keys({"keys": [*others, {"kty": "oct", "kid": "o", "k": "AA"}, 7, public]})) == [key.kid]


@pytest.mark.parametrize("keys", [None, {}, [], [{}] * 101, [{"kty": "RSA", "kid": "x", "n": "AA", "e": "AQAB"}]])
def test_a_set_without_a_key_is_none(keys: Any) -> None:
    """So is one that is too long."""
    with pytest.raises(IssuerSilent):
        read_keys({"keys": keys})


def test_two_keys_under_one_id_are_none() -> None:
    """Else it would depend on their order which one counts."""
    one, two = new_key().as_dict(private=False), new_key().as_dict(private=False)
    with pytest.raises(IssuerSilent):
        read_keys({"keys": [one, two | {"kid": one["kid"]}]})
