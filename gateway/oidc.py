"""Our side of an OpenID login: authorization code with PKCE, an ID token that is checked, one path for every provider.

The OAuth part is Authlib's client on httpx2, the token part joserfc. Source: OpenID Connect Core 1.0 sections 3.1.2 and
3.1.3.7; RFC 7636 (PKCE, S256 only); RFC 9207 (issuer in the answer).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import structlog
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from shared.clock import Clock
from shared.errors import ErrorKind, ServiceError

log = structlog.get_logger()

ALGORITHMS = ("ES256", "RS256", "PS256", "Ed25519", "EdDSA")
"""Signatures of ID tokens that are taken: with public keys only."""

_MAX_ANSWER = 262_144
"""Bytes of one answer of a provider."""

_TIMEOUT = 10.0
"""Seconds a provider may take."""

_METADATA_FRESH = 600.0
"""Seconds for which a provider's metadata and keys are used without asking again."""

_KEYS_AGAIN = 10.0
"""Seconds between two looks for a key that is not known."""

_LEEWAY = 30
"""Seconds by which a provider's clock may differ from ours."""


@dataclass(frozen=True, slots=True)
class OidcConfig:
    """A provider and what we are to it."""

    issuer: str
    client_id: str
    client_secret: str | None
    redirect_uri: str
    account_claim: str


@dataclass(frozen=True, slots=True)
class _Provider:
    """What the provider's metadata says, and until when that is believed."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    keys: KeySet
    asked_at: float


class OidcClient:
    """Sends people to a provider and finds out who came back."""

    def __init__(
        self, config: OidcConfig, clock: Clock, open_transport: Callable[[], httpx2.AsyncBaseTransport]
    ) -> None:
        self._config = config
        self._clock = clock
        self._open_transport = open_transport
        self._known: _Provider | None = None

    async def authorization_url(self, *, state: str, nonce: str, verifier: str) -> str:
        """Return where to send the browser.

        Raises:
            ServiceError: UNAVAILABLE when the provider does not answer as it should.
        """
        async with self._client() as client:
            provider = await self._provider(client)
            url, _ = client.create_authorization_url(
                provider.authorization_endpoint, state=state, nonce=nonce, code_verifier=verifier
            )
        return str(url)

    async def redeem(self, code: str, *, verifier: str, nonce: str) -> str:
        """Exchange a code and return the name of the account that signed in.

        1. The code, with our verifier, for an ID token at the provider's token endpoint.
        2. The signature, by a key the provider publishes, of an algorithm we take.
        3. Issuer, audience, authorised party, times, and the nonce of this very login.

        Raises:
            ServiceError: FORBIDDEN when the provider refuses or the token does not hold, UNAVAILABLE when it is silent.
        """
        async with self._client() as client:
            try:
                provider = await self._provider(client)
                answer = await client.fetch_token(
                    provider.token_endpoint,
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=verifier,
                    redirect_uri=self._config.redirect_uri,
                )
                token = answer.get("id_token")
                if not isinstance(token, str):
                    raise _refused("the answer holds no ID token")
                claims = await self._claims(client, provider, token, nonce)
            except httpx2.HTTPError as error:
                raise _silent(error) from error
            except (OAuthError, JoseError, ValueError) as error:
                raise _refused(f"{type(error).__name__}: {error}") from error
        account = claims.get(self._config.account_claim)
        if not isinstance(account, str):
            raise _refused(f"no claim {self._config.account_claim}")
        return account

    def is_issuer(self, issuer: str) -> bool:
        """Return whether an answer's `iss` names our provider (RFC 9207: another one means a mix-up)."""
        return issuer == self._config.issuer

    def _client(self) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            client_id=self._config.client_id,
            client_secret=self._config.client_secret,
            redirect_uri=self._config.redirect_uri,
            scope="openid profile",
            code_challenge_method="S256",
            transport=_Bounded(self._open_transport()),
            timeout=_TIMEOUT,
            trust_env=False,
        )

    async def _provider(self, client: AsyncOAuth2Client) -> _Provider:
        known = self._known
        if known is None or time.monotonic() - known.asked_at > _METADATA_FRESH:
            known = await self._ask(client)
            self._known = known
        return known

    async def _ask(self, client: AsyncOAuth2Client) -> _Provider:
        try:
            metadata = await _document(client, f"{self._config.issuer.rstrip('/')}/.well-known/openid-configuration")
            if metadata.get("issuer") != self._config.issuer:
                raise ValueError(f"metadata of another issuer: {metadata.get('issuer')!r}")
            endpoints = {
                name: self._endpoint(metadata.get(name))
                for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
            }
            keys = _key_set(await _document(client, endpoints["jwks_uri"]))
        except (httpx2.HTTPError, JoseError, ValueError) as error:
            raise _silent(error) from error
        return _Provider(**endpoints, keys=keys, asked_at=time.monotonic())

    def _endpoint(self, url: object) -> str:
        """Return an endpoint's URL, over TLS whenever the issuer is."""
        scheme = "https://" if self._config.issuer.startswith("https://") else "http://"
        if not isinstance(url, str) or not url.startswith((scheme, "https://")):
            raise ValueError(f"an endpoint that cannot be used: {url!r}")
        return url

    async def _claims(self, client: AsyncOAuth2Client, provider: _Provider, token: str, nonce: str) -> dict[str, Any]:
        try:
            decoded = jwt.decode(token, provider.keys, algorithms=list(ALGORITHMS))
        except (JoseError, ValueError):
            # A provider may have changed its keys since we asked; a bad token must not make us ask all the time.
            if time.monotonic() - provider.asked_at < _KEYS_AGAIN:
                raise
            self._known = await self._ask(client)
            decoded = jwt.decode(token, self._known.keys, algorithms=list(ALGORITHMS))
        claims = decoded.claims
        jwt.JWTClaimsRegistry(
            now=int(self._clock.now().timestamp()),
            leeway=_LEEWAY,
            iss={"essential": True, "value": self._config.issuer},
            aud={"essential": True, "value": self._config.client_id},
            nonce={"essential": True, "value": nonce},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        ).validate(claims)
        parties = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        if claims.get("azp", parties[0]) != self._config.client_id or (len(parties) > 1 and "azp" not in claims):
            raise ValueError("the token was made for another party")
        return claims


class _Bounded(httpx2.AsyncBaseTransport):
    """A transport whose answers end with an error when they are longer than a provider's answer can be."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _BoundedStream(response.stream)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        async for chunk in self._inner:
            read += len(chunk)
            if read > _MAX_ANSWER:
                raise httpx2.ReadError(f"the provider's answer is longer than {_MAX_ANSWER} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _document(client: AsyncOAuth2Client, url: str) -> dict[str, Any]:
    response = await client.request("GET", url, withhold_token=True, headers={"accept-encoding": "identity"})
    if response.status_code != httpx2.codes.OK:
        raise ValueError(f"{url} answered {response.status_code}")
    document = response.json()
    if not isinstance(document, dict):
        raise ValueError(f"{url} did not answer with a JSON object")  # noqa: TRY004 - it is the value that is wrong
    return document


def _key_set(document: dict[str, Any]) -> KeySet:
    try:
        return KeySet.import_key_set(document)  # type: ignore[arg-type]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("the provider's keys cannot be read") from error


def _refused(reason: str) -> ServiceError:
    log.warning("login_refused", reason=reason[:500])
    return ServiceError(ErrorKind.FORBIDDEN, "Signing in failed: the provider's answer does not hold. Sign in again.")


def _silent(error: Exception) -> ServiceError:
    log.warning("login_provider_unusable", error=f"{type(error).__name__}: {error}"[:500])
    return ServiceError(
        ErrorKind.UNAVAILABLE, "The login provider does not answer as it should. Try again, or ask the operator."
    )
