"""The UI listener: login, the dashboard (`gateway.dashboard`), sign-out.

All of it is behind the login but `/healthz`, the files of pages and the login's own pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.dashboard.account_pages import AccountPages
from gateway.dashboard.approval_pages import ApprovalPages
from gateway.dashboard.change_pages import ChangePages
from gateway.dashboard.desk import Desk, SignInNeeded
from gateway.dashboard.file_pages import FilePages
from gateway.dashboard.hold_pages import HoldPages
from gateway.dashboard.index_pages import IndexPages
from gateway.dashboard.new_index_pages import NewIndexPages
from gateway.dashboard.operator_pages import OperatorPages
from gateway.dashboard.own_account_pages import OwnAccountPages
from gateway.dashboard.policy_pages import PolicyPages
from gateway.dashboard.project_pages import ProjectPages
from gateway.dashboard.publisher_pages import PublisherPages
from gateway.dashboard.rights_pages import RightsPages
from gateway.dashboard.token_pages import TokenPages
from gateway.dashboard.trust_pages import TrustPages
from gateway.forms import FORM_FIELD, check_form_token, posted_form
from gateway.login import Login
from gateway.proxies import behind
from gateway.settings import Addresses
from gateway.templates import Pages, wants_part
from shared.errors import ErrorKind, ServiceError
from shared.http import SecurityHeaders, healthz, machine_stack
from shared.outside import is_loopback
from shared.problems import install_problem_handlers


@dataclass(frozen=True, slots=True)
class UiParts:
    """What the UI is made of; `proxies` see `behind`."""

    addresses: Addresses
    login: Login
    desk: Desk
    pages: Pages
    proxies: tuple[str, ...] = ()


class Ui:
    """Signing in and out."""

    def __init__(self, parts: UiParts) -> None:
        self._parts = parts
        self.routes: list[BaseRoute] = [
            Route("/login", self.login),
            Route("/login/callback", parts.login.callback),
            Route("/logout", self.logout, methods=["POST"]),
            Route("/signed-out", self.signed_out),
            Route("/healthz", healthz),
            *parts.pages.routes,
        ]

    async def login(self, request: Request) -> Response:
        """Begin a login, unless someone is signed in."""
        if await self._parts.login.session(request) is not None:
            return RedirectResponse("/", 303)
        return await self._parts.login.start(request)

    async def logout(self, request: Request) -> Response:
        """End the session.

        Raises:
            ServiceError: FORBIDDEN for a form of someone else.
        """
        fields = await posted_form(request, self._parts.addresses.ui)
        session = await self._parts.login.session(request)
        if session is None:
            return RedirectResponse("/signed-out", 303)
        check_form_token(fields.get(FORM_FIELD), session.csrf)
        await self._parts.desk.tokens.drop(session)
        return await self._parts.login.end(session)

    async def signed_out(self, _request: Request) -> Response:
        """Say that nobody is signed in any more."""
        return self._parts.pages.answer(
            "message.html", title="Signed out", message="You are signed out.", link=("/login", "Sign in again")
        )


class OwnHost:
    """Answers only under the UI's own name, so that a page of another name that resolves to us can read nothing."""

    def __init__(self, app: ASGIApp, addresses: Addresses, pages: Pages) -> None:
        self._app = app
        self._url = addresses.ui
        self._authority = urlsplit(addresses.ui).netloc.lower()
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is for us; on loopback lead browsers from another name of this machine to the right one."""
        if scope["type"] != "http":
            return
        hosts = [value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"host"]
        if hosts == [self._authority] or scope["path"] == "/healthz":
            await self._app(scope, receive, send)
            return
        names = [_host_name(host) for host in hosts]
        both_here = all(map(is_loopback, [*names, _host_name(self._authority)])) and len(names) == 1
        if both_here and scope["method"] in {"GET", "HEAD"}:
            await RedirectResponse(self._url + _as_sent(scope), 307)(scope, receive, send)
            return
        answer = self._pages.answer(
            "message.html",
            421,
            title="Another address",
            message="These pages are served under one address only.",
            link=(f"{self._url}/", self._url),
        )
        await answer(scope, receive, send)


def build_ui(parts: UiParts, extra_routes: list[Route]) -> ASGIApp:
    """Return the UI listener's application.

    Args:
        extra_routes: of the provider inside, when it is the one that signs people in.
    """
    routes = [*Ui(parts).routes, *extra_routes]
    # `/indexes/new` has one segment less than any index, so the order does not matter.
    for pages in (IndexPages, NewIndexPages, RightsPages, ProjectPages, ChangePages, TokenPages):
        routes += pages(parts.desk).routes
    for others in (
        ApprovalPages,
        HoldPages,
        PolicyPages,
        PublisherPages,
        OwnAccountPages,
        AccountPages,
        OperatorPages,
        TrustPages,
        FilePages,
    ):
        routes += others(parts.desk).routes
    app = Starlette(routes=routes)

    async def to_login(request: Request, _error: Exception) -> Response:
        if wants_part(request):
            # The script would follow a redirect and put the login's page into this one.
            return Response(status_code=401, headers={"hx-redirect": "/login"})
        return RedirectResponse("/login", 303)

    async def redis_away(_request: Request, _error: Exception) -> Response:
        detail = "Sessions cannot be read at the moment. Try again shortly."
        return parts.pages.error(ServiceError(ErrorKind.UNAVAILABLE, detail))

    app.add_exception_handler(RedisError, redis_away)
    app.add_exception_handler(SignInNeeded, to_login)
    install_problem_handlers(app, parts.pages.error)

    async def refused(request: Request, error: Exception) -> Response:
        """Refuse, unless another gateway made or gave a moment ago what is asked for: then the page is asked again."""
        assert isinstance(error, ServiceError)
        directory = parts.desk.directory
        if request.method in {"GET", "HEAD"} and error.kind in {ErrorKind.NOT_FOUND, ErrorKind.FORBIDDEN}:
            before = directory.generation
            await directory.look_again()
            if directory.generation != before:
                return RedirectResponse(parts.addresses.ui + _as_sent(request.scope), 307)
        return parts.pages.error(error)

    app.add_exception_handler(ServiceError, refused)
    guarded = SecurityHeaders(
        OwnHost(app, parts.addresses, parts.pages),
        https=parts.addresses.https,
        scripts=parts.pages.script is not None,
    )
    return behind(parts.proxies, machine_stack(guarded, listener="ui"))


def _as_sent(scope: Scope) -> str:
    """Return the path and query of a request as they came."""
    query = f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else ""
    return (scope.get("raw_path") or b"/").decode("latin-1") + query


def _host_name(authority: str) -> str:
    return urlsplit(f"//{authority}").hostname or ""
