"""Trusted publishing's routes at the root of the API host, which `uv publish` and CI actions ask by themselves.

They cannot tell which index is meant: what a token is for is found by its claims, over all indexes.
Source: contract python-index sections 3.1 and 3.2; PEP 807 (draft) for the discovery.
"""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import JSONResponse, Response

from gateway.limits import MINT_BY_ADDRESS, Limits, address_of
from gateway.settings import addresses_of
from gateway.trusted_publishing.issuers import Issuers
from gateway.trusted_publishing.minting import Exchange, Vouches
from gateway.trusted_publishing.refusals import Code, MintRefused
from gateway.trusted_publishing.registry import Registered
from shared.auth.directory import Directory
from shared.auth.permissions import Decision, authorize
from shared.auth.principal import Principal, Verb
from shared.errors import ErrorKind, ServiceError
from shared.faces import FaceKind, parse_face
from shared.problems import problem_of
from shared.resources import Resources
from shared.settings import Settings
from shared.strict_json import BadJson, read_json

DISCOVERY_TYPE = "application/vnd.pypi.pytp.v1+json"

FEATURES = ["multi-use-token"]
"""A minted token is good for all uploads of its fifteen minutes."""

_DEFAULT_AUDIENCE = "countermark"


class Audience(BaseModel):
    """Whom identity tokens must be made for."""

    model_config = ConfigDict(frozen=True)
    audience: str


class Mint(BaseModel):
    """An upload token; `expires` in seconds since 1970."""

    model_config = ConfigDict(frozen=True)
    success: Literal[True] = True
    message: str
    token: str
    expires: int


class MintError(BaseModel):
    """Why an identity token was not exchanged."""

    model_config = ConfigDict(frozen=True)
    code: str
    description: str


class MintErrors(BaseModel):
    """All that was wrong."""

    model_config = ConfigDict(frozen=True)
    message: str
    errors: list[MintError]


_ERRORS: dict[int | str, dict[str, Any]] = {422: {"model": MintErrors, "description": "Not exchanged, and why"}}


def audience_of(settings: Settings) -> str:
    """Return whom identity tokens must be made for; empty when there is no trusted publishing.

    It is the deployment's own: with one name for all, whoever runs one deployment could use what jobs send there at
    another.
    """
    if settings.publishing.audience is not None:
        return settings.publishing.audience
    return (urlsplit(settings.outside_url or "").hostname or _DEFAULT_AUDIENCE)[:100]


def vouches_by(directory: Directory) -> Vouches:
    """Return whether whoever registered a publisher may still upload there."""

    def vouches(one: Registered) -> bool:
        record = directory.index_by_id(one.index_id)
        if record is None or record.life != one.life:
            return False
        return authorize(Principal(one.account), Verb.UPLOAD, record.resource(one.project)) is Decision.ALLOWED

    return vouches


class ExchangeRoutes:
    """`/_/oidc/...` and `/.well-known/pytp`."""

    def __init__(self, resources: Resources, exchange: Exchange, limits: Limits) -> None:
        self._resources = resources
        self._exchange = exchange
        self._limits = limits
        self._audience = audience_of(resources.settings)
        self._own = addresses_of(resources.settings).api
        self.router = router = APIRouter(tags=["trusted publishing"])
        router.get("/_/oidc/audience")(self.audience)
        router.post("/_/oidc/mint-token", response_model=Mint, responses=_ERRORS)(self.mint)
        router.post("/_/oidc/github/mint-token", response_model=Mint, responses=_ERRORS)(self.mint_as_before)
        router.post("/_/oidc/burn-token", status_code=202, responses=_ERRORS)(self.burn)
        router.get("/.well-known/pytp")(self.discover)

    async def audience(self) -> Audience:
        """Tell whom a CI job must ask its identity token for."""
        if not self._audience:
            raise ServiceError(ErrorKind.FORBIDDEN, _DISABLED)
        return Audience(audience=self._audience)

    async def mint(self, request: Request) -> Response:
        """Exchange the identity token of a CI job for an upload token, good for a quarter of an hour."""
        try:
            await self._limits.count(MINT_BY_ADDRESS, address_of(_client(request)))
            minted = await self._exchange.mint(await self._told(request))
        except MintRefused as refused:
            return _failed(422, refused.code, refused.description)
        except ServiceError as error:
            problem = problem_of(error)
            return _failed(problem.status, problem.kind, problem.detail, dict(problem.headers))
        await self._resources.directory.refresh()
        answer = Mint(
            message=f"Good for {', '.join(minted.projects)}.",
            token=minted.secret,
            expires=int(minted.expires_at.timestamp()),
        )
        return JSONResponse(answer.model_dump(), headers={"cache-control": "no-store"})

    async def mint_as_before(self, request: Request) -> Response:
        """Do the same where old clients ask for it."""
        return await self.mint(request)

    async def burn(self, request: Request) -> Response:
        """Revoke an upload token at once; done again, and with a token that is none, it is no error."""
        try:
            await self._exchange.burn(await self._told(request))
        except MintRefused as refused:
            return _failed(422, refused.code, refused.description)
        await self._resources.directory.refresh()
        return Response(status_code=202)

    async def discover(self, request: Request, discover: str = Query("", max_length=500)) -> Response:
        """Tell where the exchange of an upload URL is, by its path."""
        accepted = request.headers.get("accept", "*/*")
        if not any(kind in accepted for kind in (DISCOVERY_TYPE, "*/*", "application/*")):
            raise ServiceError(ErrorKind.NOT_ACCEPTABLE, f"This is told as {DISCOVERY_TYPE}.")
        face = parse_face(discover) if discover.startswith("/") else None
        if not self._audience or face is None or face.kind is not FaceKind.INDEX:
            raise ServiceError(ErrorKind.NOT_FOUND, "There is no trusted publishing for this address.")
        told = {
            "audience-endpoint": f"{self._own}/_/oidc/audience",
            "token-mint-endpoint": f"{self._own}/_/oidc/mint-token",
            "features": FEATURES,
            "default-features": FEATURES,
        }
        return JSONResponse(told, media_type=DISCOVERY_TYPE)

    async def _told(self, request: Request) -> str:
        if not self._audience:
            raise MintRefused("not-enabled", _DISABLED)
        try:
            document = read_json(await request.body())
        except BadJson as error:
            raise MintRefused("invalid-payload", f"{error}.") from error
        token = document.get("token") if isinstance(document, dict) else None
        if not isinstance(token, str):
            raise MintRefused("invalid-payload", 'A JSON object with a text as "token" is expected.')
        return token


_DISABLED = "Trusted publishing is switched off here: the operator sets publishing.audience."


def exchange_routes(resources: Resources, limits: Limits) -> ExchangeRoutes:
    """Return the routes, wired."""
    exchange = Exchange(
        resources.engine,
        resources.clock,
        Issuers(resources.outgoing),
        audience=audience_of(resources.settings),
        vouches=vouches_by(resources.directory),
    )
    return ExchangeRoutes(resources, exchange, limits)


def _client(request: Request) -> tuple[str, int] | None:
    return None if request.client is None else (request.client.host, request.client.port)


def _failed(status: int, code: Code | str, description: str, headers: dict[str, str] | None = None) -> Response:
    error = MintError(code=code, description=description)
    document = MintErrors(message="Token request failed", errors=[error])
    return JSONResponse(document.model_dump(), status, headers)
