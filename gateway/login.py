"""Signing people in on the UI listener: to the provider, back with a code, into a session. One path, whoever provides.

Source: OpenID Connect Core 1.0 section 3.1.2; architecture section 7 ("One login path").
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta

from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.limits import LOGIN_BY_ADDRESS, Limits, address_of
from gateway.oidc import OidcClient
from gateway.sessions import ABSOLUTE, Cookie, OneTime, Session, Sessions
from shared.auth.directory import Directory
from shared.errors import ErrorKind, ServiceError

FLOW_LIFETIME = timedelta(minutes=10)
"""How long people may take at the provider."""

REFRESH_HEADER = "x-refresh"
"""What a page sends when it asks by itself for its newest state."""

_MAX_PARAMETER = 2048
"""Characters of a parameter of a provider's answer."""


@dataclass(frozen=True, slots=True)
class LoginParts:
    """What the login is made of; `client` is None when nobody is configured to sign people in."""

    client: OidcClient | None
    sessions: Sessions
    redis: Redis
    limits: Limits
    directory: Directory


class Login:
    """Begins logins, takes people back from the provider, and knows whose browser a request is from."""

    def __init__(self, parts: LoginParts, *, https: bool) -> None:
        self._parts = parts
        self._limits = parts.limits
        self._flows = OneTime(parts.redis, "login", FLOW_LIFETIME)
        self._flow_cookie = Cookie("countermark_login", https, FLOW_LIFETIME)
        self._session_cookie = Cookie("countermark_session", https, ABSOLUTE)

    async def session(self, request: Request) -> Session | None:
        """Return the living session of a request's browser; a page that refreshes itself is no sign of its owner."""
        return await self._parts.sessions.find(
            self._session_cookie.read(request), touch=REFRESH_HEADER not in request.headers
        )

    async def start(self, request: Request) -> Response:
        """Send the browser to the provider, with secrets of this login that only its way back can match.

        Raises:
            ServiceError: TOO_MANY, or UNAVAILABLE when there is no provider or it does not answer.
        """
        client = self._client()
        await self._limits.count(LOGIN_BY_ADDRESS, address_of(request.client))
        flow = {name: secrets.token_urlsafe(32) for name in ("state", "nonce", "verifier")}
        url = await client.authorization_url(**flow)
        answer = RedirectResponse(url, 303)
        self._flow_cookie.give(answer, await self._flows.put(flow))
        return answer

    async def callback(self, request: Request) -> Response:
        """Take the browser back from the provider and begin its session.

        1. The login was begun by this browser and not answered before: the cookie's record, taken once.
        2. State and issuer of the answer are those of the login.
        3. The code gives an ID token that holds (`OidcClient.redeem`).
        4. The account lives. The session's id is new, whatever the browser held before.

        Raises:
            ServiceError: FORBIDDEN when one of them fails, UNAVAILABLE when the provider is silent.
        """
        client = self._client()
        cookie = self._flow_cookie.read(request)
        flow = None if cookie is None else await self._flows.take(cookie)
        if flow is None:
            raise _failed("It took too long, was begun in another browser, or this answer was used before.")
        if not hmac.compare_digest(_parameter(request, "state").encode(), flow["state"].encode()):
            raise _failed("The answer belongs to another login.")
        if "iss" in request.query_params and not client.is_issuer(_parameter(request, "iss")):
            raise _failed("The answer comes from another provider.")
        if "error" in request.query_params:
            raise _failed("The provider refused.")
        code = _parameter(request, "code")
        account = await client.redeem(code, verifier=flow["verifier"], nonce=flow["nonce"])
        if self._parts.directory.account(account) is None:
            raise ServiceError(
                ErrorKind.FORBIDDEN, f"There is no account {account[:64]!r} here. Ask the owner to make one for you."
            )
        before = await self.session(request)
        if before is not None:
            await self._parts.sessions.end(before.key)
        answer = RedirectResponse("/", 303)
        self._session_cookie.give(answer, await self._parts.sessions.begin(account))
        self._flow_cookie.drop(answer)
        return answer

    async def renew(self, session: Session, answer: Response) -> None:
        """Begin the session anew after its account's password changed, which ended it; every other one stays ended."""
        await self._parts.sessions.end(session.key)
        self._session_cookie.give(answer, await self._parts.sessions.begin(session.account))

    async def end(self, session: Session) -> Response:
        """End a session and say so."""
        await self._parts.sessions.end(session.key)
        answer = RedirectResponse("/signed-out", 303)
        self._session_cookie.drop(answer)
        return answer

    def _client(self) -> OidcClient:
        if self._parts.client is None:
            raise ServiceError(
                ErrorKind.UNAVAILABLE,
                "Nobody is configured to sign people in: set oidc.issuer, or listen on 127.0.0.1 only.",
            )
        return self._parts.client


def _parameter(request: Request, name: str) -> str:
    values = request.query_params.getlist(name)
    if len(values) != 1 or not 0 < len(values[0]) <= _MAX_PARAMETER:
        raise _failed("The provider's answer cannot be read.")
    return values[0]


def _failed(reason: str) -> ServiceError:
    return ServiceError(ErrorKind.FORBIDDEN, f"Signing in failed. {reason} Sign in again.")
