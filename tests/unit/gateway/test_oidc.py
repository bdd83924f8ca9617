"""An ID token counts when everything about it holds. The provider here says what a test makes it say."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from gateway.oidc import OidcClient, OidcConfig
from shared.errors import ErrorKind, ServiceError
from tests.support.clock import SettableClock

ISSUER = "https://login.test/realm"
NOW = datetime(2026, 11, 20, tzinfo=UTC)
Change = Callable[["Provider"], object]


class Provider:
    """An OpenID provider whose every word can be changed."""

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)
        self.published = self.key
        self.header: dict[str, Any] = {"alg": "ES256", "kid": self.key.kid}
        self.metadata: dict[str, Any] = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/jwks",
        }
        now = int(NOW.timestamp())
        self.claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": "countermark",
            "sub": "7f3a",
            "preferred_username": "alice",
            "nonce": "our-nonce",
            "iat": now,
            "exp": now + 60,
        }
        self.token: str | None = None
        self.answer: Response | None = None
        self.asked: dict[str, list[str]] = {}
        self.authorization = ""

    def app(self) -> Starlette:
        """Return the provider's application."""

        async def metadata(_request: Request) -> Response:
            return JSONResponse(self.metadata)

        async def keys(_request: Request) -> Response:
            return JSONResponse(KeySet([self.published]).as_dict(private=False))

        async def token(request: Request) -> Response:
            self.asked = parse_qs((await request.body()).decode())
            self.authorization = request.headers.get("authorization", "")
            if self.answer is not None:
                return self.answer
            signed = self.token or jwt.encode(self.header, self.claims, self.key)
            return JSONResponse({"id_token": signed, "access_token": "x", "token_type": "Bearer"})

        return Starlette(
            routes=[
                Route("/realm/.well-known/openid-configuration", metadata),
                Route("/realm/jwks", keys),
                Route("/realm/token", token, methods=["POST"]),
            ]
        )

    def client(self, *, secret: str | None = None) -> OidcClient:
        """Return our client of this provider."""
        config = OidcConfig(ISSUER, "countermark", secret, "https://ui.test/login/callback", "preferred_username")
        app = self.app()
        return OidcClient(config, SettableClock(NOW), lambda: httpx2.ASGITransport(app=app))


async def _redeem(provider: Provider) -> str:
    return await provider.client().redeem("the-code", verifier="v" * 43, nonce="our-nonce")


async def test_a_token_that_holds_names_the_account() -> None:
    """The code and our verifier go to the token endpoint, the configured claim is the account."""
    provider = Provider()
    assert await _redeem(provider) == "alice"
    assert provider.asked["code_verifier"] == ["v" * 43]
    assert provider.asked["redirect_uri"] == ["https://ui.test/login/callback"]
    assert provider.asked["client_id"] == ["countermark"]


async def test_a_client_secret_is_sent_as_basic() -> None:
    """A confidential client proves itself at the token endpoint."""
    provider = Provider()
    await provider.client(secret="s3cret").redeem("the-code", verifier="v" * 43, nonce="our-nonce")
    assert provider.authorization.startswith("Basic ")


async def test_the_browser_is_sent_with_state_nonce_and_challenge() -> None:
    """The authorisation request binds the answer to this login and to our verifier, which stays here."""
    url = await Provider().client().authorization_url(state="s", nonce="n", verifier="v" * 43)
    query = parse_qs(urlsplit(url).query)
    assert url.startswith(f"{ISSUER}/authorize?")
    assert (query["state"], query["nonce"], query["code_challenge_method"]) == (["s"], ["n"], ["S256"])
    assert query["scope"] == ["openid profile"]
    assert "v" * 43 not in url


def _claim(**claims: object) -> Change:
    return lambda provider: provider.claims.update(claims)


def _without(name: str) -> Change:
    return lambda provider: provider.claims.pop(name)


def _other_key(provider: Provider) -> None:
    """Sign with a key that is not published, under the published one's name."""
    provider.key = ECKey.generate_key("P-256")


def _joined(*parts: dict[str, Any]) -> str:
    """Put a token's header and claims together by hand: the library refuses to make such tokens."""
    return ".".join(_base64(json.dumps(part).encode()) for part in parts)


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _unsigned(provider: Provider) -> None:
    """Leave the signature out."""
    provider.token = _joined({"alg": "none"}, provider.claims) + "."


def _public_key_as_secret(provider: Provider) -> None:
    """Sign with HMAC over what everybody knows."""
    signed = _joined({"alg": "HS256", "kid": provider.published.kid}, provider.claims)
    secret = provider.published.as_pem(private=False)
    provider.token = f"{signed}.{_base64(hmac.digest(secret, signed.encode(), 'sha256'))}"


def _garbage(provider: Provider) -> None:
    """Send no token at all."""
    provider.token = "a.b.c"


def _refusal(provider: Provider) -> None:
    """Refuse the code."""
    provider.answer = JSONResponse({"error": "invalid_grant"}, 400)


def _no_id_token(provider: Provider) -> None:
    """Answer as OAuth without OpenID."""
    provider.answer = JSONResponse({"access_token": "x", "token_type": "Bearer"})


@pytest.mark.parametrize(
    "change",
    [
        _claim(iss="https://evil.test"),
        _claim(aud="another"),
        _claim(aud=["another", "third"]),
        _claim(aud=["countermark", "another"]),
        _claim(aud=["countermark", "another"], azp="another"),
        _claim(azp="another"),
        _claim(nonce="another"),
        _claim(exp=int(NOW.timestamp()) - 31),
        _claim(iat=int(NOW.timestamp()) + 3600),
        _claim(preferred_username=None),
        _claim(preferred_username=["alice"]),
        _without("iss"),
        _without("aud"),
        _without("nonce"),
        _without("exp"),
        _without("iat"),
        _without("sub"),
        _without("preferred_username"),
        _other_key,
        _unsigned,
        _public_key_as_secret,
        _garbage,
        _refusal,
        _no_id_token,
    ],
)
async def test_a_token_that_does_not_hold_names_nobody(change: Change) -> None:
    """Another issuer, audience, party, nonce, time, key or algorithm, or a missing part: nobody is signed in."""
    provider = Provider()
    change(provider)
    with pytest.raises(ServiceError) as caught:
        await _redeem(provider)
    assert caught.value.kind is ErrorKind.FORBIDDEN


async def test_several_audiences_need_us_as_the_party() -> None:
    """A token for several parties counts when it says that it was made for us."""
    provider = Provider()
    provider.claims.update(aud=["countermark", "another"], azp="countermark")
    assert await _redeem(provider) == "alice"


def _metadata(**changed: object) -> Change:
    return lambda provider: provider.metadata.update(changed)


def _redirects(provider: Provider) -> None:
    """Send the client elsewhere with the code."""
    provider.answer = RedirectResponse("https://evil.test/token", 307)


def _endless(provider: Provider) -> None:
    """Answer with more than anybody needs."""
    provider.answer = Response(b" " * 300_000, media_type="application/json")


@pytest.mark.parametrize(
    "change",
    [
        _metadata(issuer="https://evil.test"),
        _metadata(issuer=f"{ISSUER}/"),
        _metadata(token_endpoint="http://login.test/realm/token"),
        _metadata(token_endpoint=None),
        _metadata(jwks_uri=f"{ISSUER}/nothing"),
        _metadata(jwks_uri=f"{ISSUER}/.well-known/openid-configuration"),
        _endless,
    ],
)
async def test_a_provider_that_does_not_answer_as_it_should_is_unavailable(change: Change) -> None:
    """Metadata of another issuer, endpoints without TLS, missing keys, endless answers: the login waits."""
    provider = Provider()
    change(provider)
    with pytest.raises(ServiceError) as caught:
        await _redeem(provider)
    assert caught.value.kind is ErrorKind.UNAVAILABLE


async def test_a_redirect_of_the_token_endpoint_is_not_followed() -> None:
    """The code and the secret go to the configured provider and to nobody it names in passing."""
    provider = Provider()
    _redirects(provider)
    with pytest.raises(ServiceError) as caught:
        await _redeem(provider)
    assert caught.value.kind in {ErrorKind.FORBIDDEN, ErrorKind.UNAVAILABLE}


async def test_keys_are_asked_for_once_for_many_logins() -> None:
    """A provider is not asked for its metadata at every login, and a bad token does not make us ask either."""
    provider = Provider()
    app, asked = provider.app(), []

    async def counted(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        await app(scope, receive, send)

    config = OidcConfig(ISSUER, "countermark", None, "https://ui.test/login/callback", "preferred_username")
    client = OidcClient(config, SettableClock(NOW), lambda: httpx2.ASGITransport(app=counted))
    for _ in range(3):
        await client.redeem("the-code", verifier="v" * 43, nonce="our-nonce")
    _garbage(provider)
    with pytest.raises(ServiceError):
        await client.redeem("the-code", verifier="v" * 43, nonce="our-nonce")
    assert asked.count("/realm/jwks") == 1
    assert asked.count("/realm/token") == 4
