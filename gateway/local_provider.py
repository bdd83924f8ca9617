"""The small OpenID provider inside the gateway, for the owner of an embedded installation, on loopback only.

It speaks the same protocol as any other provider, so that there is one login path: authorization code with PKCE (S256
only), one client, one redirect address compared byte for byte, codes that can be redeemed once within a minute, ID
tokens signed with a key made at each start. It knows someone by the account's password, or by a one-time owner link.
Source: OpenID Connect Core 1.0 section 3.1; RFC 6749 section 4.1; RFC 7636; RFC 9207.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from gateway.accounts import MIN_PASSWORD, Accounts
from gateway.forms import FormCookie, posted_form, read_form
from gateway.limits import LINK_BY_ADDRESS, PASSWORD_BY_ACCOUNT, PASSWORD_BY_ADDRESS, Limits, address_of
from gateway.oidc import OidcConfig
from gateway.sessions import Cookie, OneTime
from gateway.templates import Pages
from shared.auth.directory import Directory
from shared.auth.passwords import MAX_PASSWORD, hash_password, password_matches
from shared.clock import Clock
from shared.errors import ErrorKind, ServiceError

PATH = "/provider"
"""Where the provider is on the UI host; its issuer is the host with this path."""

CLIENT_ID = "countermark"

CODE_LIFETIME = timedelta(seconds=60)
"""How long an authorisation code can be redeemed."""

_OWNER_LIFETIME = timedelta(minutes=2)
"""How long after an owner link was used the browser is taken for its owner: the login that follows at once."""

_TOKEN_LIFETIME = timedelta(minutes=5)
"""Lifetime of an ID token; it is read once, right away."""

_HASHING_AT_ONCE = 2
"""Passwords hashed at the same time."""

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}\Z")
_PARAMETER = re.compile(r"[\x20-\x7e]{1,512}\Z")
_AUTHORIZE = ("client_id", "redirect_uri", "response_type", "scope", "state", "nonce", "code_challenge")


@dataclass(frozen=True, slots=True)
class ProviderParts:
    """What the provider is made of."""

    redis: Redis
    limits: Limits
    clock: Clock
    directory: Directory
    accounts: Accounts
    pages: Pages


class Refused(Exception):
    """A request of a client that is known, but wrong: `error` is OAuth's word for it, `description` ours."""

    def __init__(self, error: str, description: str) -> None:
        self.error = error
        self.description = description
        super().__init__(f"{error}: {description}")


class LocalProvider:
    """The provider's routes for browsers, and those for its one client."""

    def __init__(self, parts: ProviderParts, *, ui_url: str, redirect_uri: str) -> None:
        https = ui_url.startswith("https://")
        self._parts = parts
        self._ui_url = ui_url
        self._issuer = ui_url + PATH
        self._redirect_uri = redirect_uri
        self._limits = parts.limits
        self._codes = OneTime(parts.redis, "provider-code", CODE_LIFETIME)
        self._owners = OneTime(parts.redis, "provider-owner", _OWNER_LIFETIME)
        self._owner_cookie = Cookie("countermark_owner", https, _OWNER_LIFETIME)
        self._forms = FormCookie(https=https)
        self._key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)
        self._hashing = asyncio.Semaphore(_HASHING_AT_ONCE)
        # Compared with when there is no such account or no password, so that the time taken tells neither.
        self._nobody = hash_password("no account has this password")
        back_channel = [
            Route(f"{PATH}/.well-known/openid-configuration", self.metadata),
            Route(f"{PATH}/jwks", self.jwks),
            Route(f"{PATH}/token", self.token, methods=["POST"]),
        ]
        self.back_channel = Starlette(routes=back_channel)
        """What the client asks directly; in the same process, no network is used for it."""
        self.routes = [
            *back_channel,
            Route(f"{PATH}/authorize", self.authorize, methods=["GET"]),
            Route(f"{PATH}/authorize", self.sign_in, methods=["POST"]),
            Route("/welcome", self.welcome, methods=["GET"]),
            Route("/welcome", self.use_link, methods=["POST"]),
        ]

    def config(self) -> OidcConfig:
        """Return what the one client needs to know."""
        return OidcConfig(
            issuer=self._issuer,
            client_id=CLIENT_ID,
            client_secret=None,
            redirect_uri=self._redirect_uri,
            account_claim="preferred_username",
        )

    async def metadata(self, _request: Request) -> Response:
        """Answer the provider's metadata (OpenID Connect Discovery 1.0 section 3)."""
        return JSONResponse(
            {
                "issuer": self._issuer,
                "authorization_endpoint": f"{self._issuer}/authorize",
                "token_endpoint": f"{self._issuer}/token",
                "jwks_uri": f"{self._issuer}/jwks",
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": ["authorization_code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
                "scopes_supported": ["openid", "profile"],
                "token_endpoint_auth_methods_supported": ["none"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
            }
        )

    async def jwks(self, _request: Request) -> Response:
        """Answer the public key of ID tokens."""
        return JSONResponse(KeySet([self._key]).as_dict(private=False))

    async def authorize(self, request: Request) -> Response:
        """Ask for the password, or go on at once with who just used an owner link."""
        try:
            asked = self._asked(request)
        except Refused as refused:
            return self._send_back(request, {"error": refused.error, "error_description": refused.description})
        owner_id = self._owner_cookie.read(request)
        owner = None if owner_id is None else await self._owners.take(owner_id)
        if owner is not None:
            answer = await self._send_code(request, asked, owner["account"])
            self._owner_cookie.drop(answer)
            return answer
        return self._form(request)

    async def sign_in(self, request: Request) -> Response:
        """Check account and password, and go back to the client with a code.

        Raises:
            ServiceError: FORBIDDEN for a form of someone else, TOO_MANY after too many tries.
        """
        try:
            asked = self._asked(request)
        except Refused as refused:
            return self._send_back(request, {"error": refused.error, "error_description": refused.description})
        fields = await posted_form(request, self._ui_url)
        self._forms.check(request, fields)
        account, password = fields.get("account", ""), fields.get("password", "")
        address = address_of(request.client)
        await self._limits.count(PASSWORD_BY_ADDRESS, address)
        await self._limits.count(PASSWORD_BY_ACCOUNT, account)
        if not await self._password_is_right(account, password):
            return self._form(request, account=account[:64], fault="Wrong account or password.")
        await self._limits.forget(PASSWORD_BY_ACCOUNT, account)
        return await self._send_code(request, asked, account)

    async def token(self, request: Request) -> Response:
        """Redeem a code for an ID token."""
        try:
            return await self._redeem(await read_form(request))
        except Refused as refused:
            body = {"error": refused.error, "error_description": refused.description}
        except ServiceError as error:
            body = {"error": "invalid_request", "error_description": error.detail}
        return JSONResponse(body, 400, headers={"cache-control": "no-store"})

    async def welcome(self, request: Request) -> Response:
        """Show whose link this is. Nothing is used up: programs that preview links come here too."""
        await self._limits.count(LINK_BY_ADDRESS, address_of(request.client))
        return await self._welcome(request, request.query_params.get("code", ""))

    async def use_link(self, request: Request) -> Response:
        """Use an owner link up, set the password if one was given, and go on to the login.

        Raises:
            ServiceError: FORBIDDEN for a form of someone else, TOO_MANY after too many tries.
        """
        fields = await posted_form(request, self._ui_url)
        self._forms.check(request, fields)
        await self._limits.count(LINK_BY_ADDRESS, address_of(request.client))
        code, password = fields.get("code", ""), fields.get("password", "")
        if password != fields.get("again", ""):
            return await self._welcome(request, code, "The two passwords differ. Type them again.")
        if password and not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            return await self._welcome(request, code, f"A password has {MIN_PASSWORD} to {MAX_PASSWORD} characters.")
        account = await self._parts.accounts.use_owner_link(code, password=password or None)
        if account is None:
            return self._dead_link()
        if password:
            await self._parts.directory.refresh()
        answer = RedirectResponse("/login", 303)
        self._owner_cookie.give(answer, await self._owners.put({"account": account}))
        return answer

    def _asked(self, request: Request) -> Mapping[str, str]:
        """Return an authorisation request that can be granted.

        1. Client and redirect address are ours; otherwise nobody is sent anywhere (RFC 6749 section 4.1.2.1).
        2. Each parameter is there once; code flow, PKCE with S256, OpenID.

        Raises:
            ServiceError: INVALID, on the first.
            Refused: on the second.
        """
        query = request.query_params
        if query.getlist("client_id") != [CLIENT_ID] or query.getlist("redirect_uri") != [self._redirect_uri]:
            raise ServiceError(ErrorKind.INVALID, "This login was not begun here. Open the start page and sign in.")
        asked = {}
        for name in _AUTHORIZE:
            values = query.getlist(name)
            if len(values) != 1 or not _PARAMETER.match(values[0]):
                raise Refused("invalid_request", f"{name} is needed once")
            asked[name] = values[0]
        if asked["response_type"] != "code":
            raise Refused("unsupported_response_type", "only the code flow is offered")
        if "openid" not in asked["scope"].split(" "):
            raise Refused("invalid_scope", "the scope openid is needed")
        if query.getlist("code_challenge_method") != ["S256"] or not _CHALLENGE.match(asked["code_challenge"]):
            raise Refused("invalid_request", "PKCE with S256 is needed")
        return asked

    async def _send_code(self, request: Request, asked: Mapping[str, str], account: str) -> Response:
        kept = {name: asked[name] for name in ("client_id", "redirect_uri", "nonce", "code_challenge")}
        return self._send_back(request, {"code": await self._codes.put({**kept, "account": account})})

    def _send_back(self, request: Request, answer: dict[str, str]) -> Response:
        if len(states := request.query_params.getlist("state")) == 1 and _PARAMETER.match(states[0]):
            answer["state"] = states[0]
        answer["iss"] = self._issuer
        return RedirectResponse(f"{self._redirect_uri}?{urlencode(answer)}", 303)

    async def _redeem(self, fields: Mapping[str, str]) -> Response:
        """Redeem a code: it is gone whatever comes of it, then everything it is bound to is compared."""
        if fields.get("grant_type") != "authorization_code":
            raise Refused("unsupported_grant_type", "only authorization_code is offered")
        kept = await self._codes.take(fields.get("code", ""))
        verifier = fields.get("code_verifier", "")
        if kept is None:
            raise Refused("invalid_grant", "the code is unknown, was redeemed or is too old")
        if fields.get("client_id") != kept["client_id"] or fields.get("redirect_uri") != kept["redirect_uri"]:
            raise Refused("invalid_grant", "the code was made for another client or address")
        if not _VERIFIER.match(verifier) or not hmac.compare_digest(_s256(verifier), kept["code_challenge"]):
            raise Refused("invalid_grant", "the code verifier does not match")
        now = int(self._parts.clock.now().timestamp())
        claims = {
            "iss": self._issuer,
            "sub": kept["account"],
            "preferred_username": kept["account"],
            "aud": kept["client_id"],
            "nonce": kept["nonce"],
            "iat": now,
            "exp": now + int(_TOKEN_LIFETIME.total_seconds()),
        }
        id_token = jwt.encode({"alg": "ES256", "kid": self._key.kid}, claims, self._key, algorithms=["ES256"])
        # OAuth wants an access token; there is nothing here that one would open.
        body = {"id_token": id_token, "access_token": "none", "token_type": "Bearer", "expires_in": 1}
        return JSONResponse(body, headers={"cache-control": "no-store"})

    async def _password_is_right(self, account: str, password: str) -> bool:
        record = self._parts.directory.account(account)
        encoded = self._nobody if record is None or record.password_hash is None else record.password_hash
        async with self._hashing:
            matches = await asyncio.to_thread(password_matches, encoded, password)
        return matches and encoded is not self._nobody

    def _form(self, request: Request, *, account: str = "", fault: str | None = None) -> Response:
        token = self._forms.current(request)
        answer = self._parts.pages.answer(
            "sign_in.html",
            200 if fault is None else 403,
            action=f"{PATH}/authorize?{request.url.query}",
            form_token=token,
            account=account,
            fault=fault,
        )
        self._forms.give(answer, token)
        return answer

    async def _welcome(self, request: Request, code: str, fault: str | None = None) -> Response:
        account = await self._parts.accounts.peek_owner_link(code)
        if account is None:
            return self._dead_link()
        token = self._forms.current(request)
        answer = self._parts.pages.answer(
            "welcome.html",
            200 if fault is None else 400,
            account=account,
            code=code,
            form_token=token,
            least=MIN_PASSWORD,
            fault=fault,
        )
        self._forms.give(answer, token)
        return answer

    def _dead_link(self) -> Response:
        return self._parts.pages.answer(
            "message.html",
            410,
            title="This link cannot be used",
            message="It was used already, is too old or is incomplete. Make a new one on the server: "
            "countermark-server user link NAME",
            link=("/login", "Sign in with a password"),
        )


def _s256(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("ascii")).digest()).rstrip(b"=").decode()
