"""What every listener puts around its application, as plain ASGI callables, and the two health routes.

Order, outermost first: `RequestId` (so that everything below is logged with it), `RequestLog` (one canonical line),
`StripIdentity` (nobody below sees a header that claims who is asking), then the application; `machine_stack` builds it.
Hot reads stand in front of all of these (`shared.service.HotPath`): they are counted, not logged one by one.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

import orjson
import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.asking import AskedFrom
from shared.auth.principal import Principal
from shared.metrics import Metrics
from shared.metrics import Request as Done

log = structlog.get_logger()

Check = Callable[[], Awaitable[None]]
"""A resource's ping: returns when it can be used, raises when not."""


class NotReady(Exception):
    """Something that a process needs cannot be used. The message is one line that says what is wrong and how to mend
    it, and is shown: it holds no secret. `passing` when it may be over in a moment without anybody's doing."""

    def __init__(self, text: str, *, passing: bool = True) -> None:
        self.passing = passing
        super().__init__(text)


CHECK_TIMEOUT = 2.0
"""Seconds a ping may take before its resource counts as unusable."""

_REQUEST_ID = b"x-request-id"
_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}\Z")
_PATH_LOGGED = 300
"""Characters of a path that are logged."""

_IDENTITY = frozenset(
    [
        "x-forwarded-user", "x-forwarded-group", "x-forwarded-groups", "x-forwarded-email",
        "x-forwarded-preferred-username", "x-forwarded-access-token", "x-forwarded-client-cert", "x-auth-user",
        "x-auth-username", "x-auth-email", "x-user", "x-username", "x-authenticated-user", "x-authenticated-userid",
        "x-client-cert", "x-client-dn", "x-client-verify", "x-token-subject", "client-cert", "client-cert-chain",
    ]
)  # fmt: skip
_IDENTITY_PREFIXES = (
    "x-remote-", "remote-", "x-auth-request-", "x-webauth-", "x-authentik-", "x-goog-authenticated-user-",
    "x-goog-iap-", "x-amzn-oidc-", "x-ms-client-principal", "cf-access-", "tailscale-", "impersonate-", "x-ssl-client-",
    "ssl-client-",
)  # fmt: skip
"""Headers by which proxies tell applications who signed in. No service believes one (architecture section 3)."""

_CLAIMS = re.compile(rf"^(?:(?:{'|'.join(sorted(_IDENTITY))})$|{'|'.join(_IDENTITY_PREFIXES)})".encode(), re.MULTILINE)
"""Finds such a header among names, one a line."""


class RequestId:
    """Gives each request an id: the caller's when it is sane, else a new one; bound to the log and sent back. Notes
    where it comes from, for the audit."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give the request its id, pass it on, put it on the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = scope["headers"]
        given = [value for name, value in headers if name == _REQUEST_ID]
        request_id = (_sane_id(given[0]) if len(given) == 1 else None) or os.urandom(16).hex()
        named = (_REQUEST_ID, request_id.encode())
        scope = {**scope, "headers": _with(named, headers)}

        def naming(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                # In place of what a service behind this listener has already said.
                message = {**message, "headers": _with(named, message.get("headers", ()))}
            return send(message)

        tokens = structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            with AskedFrom(scope.get("client")):
                await self._app(scope, receive, naming)
        finally:
            structlog.contextvars.reset_contextvars(**tokens)


class RequestLog:
    """Writes the one canonical line of a request when its answer is out, whatever it was, and counts it."""

    def __init__(self, app: ASGIApp, *, listener: str, metrics: Metrics | None = None) -> None:
        self._app = app
        # Bound once: to make a logger for each line costs as much as a third of the line.
        self._log = log.bind(listener=listener)
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and write its line at the end."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status, sent, received = 0, 0, 0

        async def receiving() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        def counted(message: Message) -> Awaitable[None]:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            return send(message)

        if self._metrics is not None:
            self._metrics.under_way += 1
        try:
            await self._app(scope, receiving, counted)
        finally:
            passed = time.perf_counter() - started
            if self._metrics is not None:
                self._metrics.under_way -= 1
                self._metrics.request(Done(scope["path"], status, passed, received, sent))
            # The query is left out: it can hold login codes.
            write = self._log.warning if status == 0 or status >= 500 else self._log.info
            write(
                "request",
                method=scope["method"],
                path=scope["path"][:_PATH_LOGGED],
                status=status,
                duration_ms=round(passed * 1000, 2),
                bytes=sent,
            )
            structlog.contextvars.unbind_contextvars("principal", "token_id")


class StripIdentity:
    """Drops request headers that claim who is asking; an underscore counts as a hyphen, as some servers read it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass the request on without such headers."""
        if scope["type"] == "http":
            headers = scope["headers"]
            if claims_identity(b"\n".join([name for name, _ in headers])):
                scope = {**scope, "headers": [pair for pair in headers if not claims_identity(pair[0])]}
        return self._app(scope, receive, send)


class SecurityHeaders:
    """Adds the headers that make a browser strict to every answer of the UI listener.

    Args:
        scripts: whether pages load a script of this host and it may ask this host; nothing inline, nothing evaluated.
    """

    def __init__(self, app: ASGIApp, *, https: bool, scripts: bool = False) -> None:
        self._app = app
        own = "script-src 'self'; connect-src 'self'; " if scripts else ""
        self._headers = {
            "content-security-policy": f"default-src 'none'; {own}style-src 'self'; img-src 'self'; "
            "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            # Not `no-referrer`: with it browsers send `Origin: null` on the forms whose origin is checked.
            "referrer-policy": "same-origin",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
            "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
            "cache-control": "no-store",
        }
        if https:
            self._headers["strict-transport-security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and add the headers the answer does not set itself."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, hardened)


def machine_stack(app: ASGIApp, *, listener: str, metrics: Metrics | None = None) -> ASGIApp:
    """Return `app` inside the callables that every listener of machines has, in the one right order.

    Args:
        listener: the listener's name in the canonical line, for example `api` or `upload`.
        metrics: where requests are counted.
    """
    return RequestId(RequestLog(StripIdentity(app), listener=listener, metrics=metrics))


def bind_principal(principal: Principal) -> None:
    """Put who is asking into the request's log lines: the account's name and the token's id, never a secret."""
    structlog.contextvars.bind_contextvars(principal=principal.account or "anonymous")
    if principal.token_id is not None:
        structlog.contextvars.bind_contextvars(token_id=str(principal.token_id))


def claims_identity(names: bytes) -> bool:
    """Return whether a request header of this name claims who is asking; of several, one a line, whether any does."""
    return _CLAIMS.search(names.lower().replace(b"_", b"-")) is not None


async def healthz(_request: Request) -> Response:
    """Answer 200: the process runs and its event loop turns. Says nothing of the resources."""
    return PlainTextResponse("ok\n", headers={"cache-control": "no-store"})


def readiness(
    checks: Mapping[str, Check],
    *,
    reported: Mapping[str, Check] | None = None,
    timeout_seconds: float = CHECK_TIMEOUT,
) -> Callable[[Request], Awaitable[Response]]:
    """Return the `/readyz` endpoint of a process.

    Args:
        checks: name of a resource -> its ping. All run at once; what fails or takes too long is listed in a 503: the
            sentence of a `NotReady`, of other errors only their kind, since their messages may hold addresses.
        reported: the same for what the process can do without for a while: listed, and the answer stays 200.
        timeout_seconds: seconds each ping may take.
    """
    reported = reported or {}
    asked = {**checks, **reported}
    known: dict[str, str | None] = {}

    async def readyz(_request: Request) -> Response:
        answers = await asyncio.gather(*(_probe(check, timeout_seconds) for check in asked.values()))
        found = dict(zip(asked, answers, strict=True))
        _log_changes(known, found)
        failed = {name: fault.shown for name, fault in found.items() if fault is not None}
        refused = [name for name in failed if name in checks]
        document: dict[str, object] = {"status": "unavailable" if refused else "degraded" if failed else "ready"}
        if failed:
            document["failed"] = failed
        return Response(
            orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE),
            503 if refused else 200,
            headers={"cache-control": "no-store"},
            media_type="application/json",
        )

    return readyz


def health_routes(checks: Mapping[str, Check], reported: Mapping[str, Check] | None = None) -> list[Route]:
    """Return `/healthz` and `/readyz` for an application of a process of its own; see `readiness`."""
    return [Route("/healthz", healthz), Route("/readyz", readiness(checks, reported=reported))]


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a resource cannot be used: what the answer shows, and what the log says."""

    shown: str
    logged: str


def _log_changes(known: dict[str, str | None], found: Mapping[str, _Failure | None]) -> None:
    """Log what began, changed or ended since the last time: whoever asks does so every few seconds."""
    for name, failure in found.items():
        logged = None if failure is None else failure.logged
        if known.get(name) != logged:
            if logged is None:
                log.info("ready_again", resource=name)
            else:
                log.warning("not_ready", resource=name, error=logged)
        known[name] = logged


async def _probe(check: Check, timeout_seconds: float) -> _Failure | None:
    try:
        async with asyncio.timeout(timeout_seconds):
            await check()
    except TimeoutError:
        return _Failure("timed out", "timed out")
    except NotReady as error:
        return _Failure(str(error), str(error))
    except Exception as error:
        # Whatever a ping raises means the same here: the resource cannot be used.
        return _Failure(type(error).__name__, str(error)[:500])
    return None


def _with(named: tuple[bytes, bytes], headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return headers with one more, in place of those of its name."""
    return [*[pair for pair in headers if pair[0] != named[0]], named]


def _sane_id(value: bytes) -> str | None:
    text = value.decode("latin-1")
    return text if _SANE_ID.match(text) else None
