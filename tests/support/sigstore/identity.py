"""The identity provider's endpoints: discovery, tokens for jobs, and the flows by which people sign in.

Nobody is asked anything: whoever comes is the person that the request names, or `person`.
Source: OpenID Connect Discovery 1.0; RFC 6749 (codes), 7636 (PKCE), 8628 (devices); how GitHub gives jobs their
tokens.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from dataclasses import dataclass, field
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.support.sigstore.answering import Refused, document_of
from tests.support.sigstore.tokens import BadToken, Provider

_DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
_JOBS = "jobs"
"""Whom a token is for with which a job asks for its own."""

_OUT_OF_BAND = "urn:ietf:wg:oauth:2.0:oob"


@dataclass(slots=True)
class _Begun:
    """A sign-in under way.

    Attributes:
        challenge: PKCE's, "" for none.
        confirmed: whether the person did their part.
    """

    email: str
    challenge: str
    confirmed: bool


@dataclass(slots=True)
class IdentityProvider:
    """The endpoints below `/oidc`.

    Attributes:
        url: of the instance, without a slash at the end.
        person: who signs in where no `login_hint` says it.
    """

    url: str
    provider: Provider
    person: str = "builder@acme.test"
    _begun: dict[str, _Begun] = field(default_factory=dict)
    """By code or device code."""

    def routes(self) -> list[Route]:
        """Return them."""
        return [
            Route("/oidc/.well-known/openid-configuration", self._discovery),
            Route("/oidc/keys", self._keys),
            Route("/oidc/auth", self._authorize),
            Route("/oidc/device/code", self._begin_device, methods=["POST"]),
            Route("/oidc/device", self._confirm_device),
            Route("/oidc/token", self._token, methods=["POST"]),
            Route("/oidc/mint", self._mint, methods=["POST"]),
            Route("/oidc/jobs", self._begin_job, methods=["POST"]),
            Route("/oidc/job-token", self._job_token),
        ]

    async def _discovery(self, _request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": f"{self.url}/oidc",
                "authorization_endpoint": f"{self.url}/oidc/auth",
                "token_endpoint": f"{self.url}/oidc/token",
                "device_authorization_endpoint": f"{self.url}/oidc/device/code",
                "jwks_uri": f"{self.url}/oidc/keys",
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code", _DEVICE],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
                "code_challenge_methods_supported": ["S256"],
                "scopes_supported": ["openid", "email"],
                "claims_supported": ["aud", "email", "exp", "iat", "iss", "sub"],
            }
        )

    async def _keys(self, _request: Request) -> Response:
        public = self.provider.key.as_dict(private=False)
        return JSONResponse({"keys": [public | {"alg": "ES256", "use": "sig"}]})

    async def _authorize(self, request: Request) -> Response:
        asked = request.query_params
        code = self._begin(asked.get("login_hint"), asked.get("code_challenge", ""), confirmed=True)
        where = asked.get("redirect_uri", _OUT_OF_BAND)
        if where == _OUT_OF_BAND:
            return PlainTextResponse(code)
        return RedirectResponse(f"{where}?{urlencode({'code': code, 'state': asked.get('state', '')})}", 302)

    async def _begin_device(self, request: Request) -> Response:
        async with request.form() as form:
            hint, challenge = form.get("login_hint"), str(form.get("code_challenge", ""))
        code = self._begin(str(hint) if hint else None, challenge, confirmed=False)
        shown = f"{self.url}/oidc/device"
        return JSONResponse(
            {
                "device_code": code,
                "user_code": code[:8],
                "verification_uri": shown,
                "verification_uri_complete": f"{shown}?user_code={code[:8]}",
                "expires_in": 300,
                "interval": 1,
            }
        )

    async def _confirm_device(self, request: Request) -> Response:
        shown = request.query_params.get("user_code", "")
        found = [one for code, one in self._begun.items() if len(shown) == 8 and code.startswith(shown)]
        if not found:
            raise Refused("no device shows this code", 404)
        found[0].confirmed = True
        return PlainTextResponse("The device is signed in.")

    async def _token(self, request: Request) -> Response:
        async with request.form() as form:
            asked = {name: str(value) for name, value in form.items()}
        device = asked.get("grant_type") == _DEVICE
        code = asked.get("device_code" if device else "code", "")
        begun = self._begun.get(code)
        if begun is None:
            return JSONResponse({"error": "invalid_grant"}, 400)
        if not begun.confirmed:
            return JSONResponse({"error": "authorization_pending"}, 400)
        if begun.challenge and begun.challenge != _challenge(asked.get("code_verifier", "")):
            return JSONResponse({"error": "invalid_grant"}, 400)
        del self._begun[code]
        person = {"sub": f"person:{begun.email}", "email": begun.email, "email_verified": True}
        token = self.provider.token(person | {"iss": f"{self.url}/oidc"}, int(time.time()))
        return JSONResponse({"access_token": token, "id_token": token, "token_type": "Bearer", "expires_in": 300})

    async def _mint(self, request: Request) -> Response:
        """Return a token with any claims: `iss` makes it one of any issuer."""
        return JSONResponse({"token": self.provider.token(await document_of(request), int(time.time()))})

    async def _begin_job(self, request: Request) -> Response:
        """Return the variables by which a job of a workflow with these claims gets its tokens."""
        claims = {"claims": await document_of(request), "aud": _JOBS}
        return JSONResponse(
            {
                "GITHUB_ACTIONS": "true",
                "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.url}/oidc/job-token",
                "ACTIONS_ID_TOKEN_REQUEST_TOKEN": self.provider.token(claims, int(time.time())),
            }
        )

    async def _job_token(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        now = int(time.time())
        try:
            job = self.provider.claims(token, now, _JOBS)
        except BadToken as error:
            raise Refused(f"the job's token is not believed: {error}", 401) from error
        if scheme.lower() != "bearer":
            raise Refused("a job's token is a bearer token", 401)
        claims = job["claims"] | {"aud": request.query_params.get("audience", "sigstore")}
        return JSONResponse({"value": self.provider.token(claims, now)})

    def _begin(self, email: str | None, challenge: str, *, confirmed: bool) -> str:
        code = secrets.token_hex(16)
        self._begun[code] = _Begun(email or self.person, challenge, confirmed)
        return code


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
