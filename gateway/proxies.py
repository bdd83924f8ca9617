"""Whom a request is from when proxies stand in front: what limits are counted for, and nothing else rests on it."""

from __future__ import annotations

from typing import cast

from starlette.types import ASGIApp
from uvicorn._types import ASGI3Application
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware


def behind(proxies: tuple[str, ...], app: ASGIApp) -> ASGIApp:
    """Return `app` with the client's address in place of a trusted proxy's.

    Of `X-Forwarded-For` the last address that is no trusted proxy counts; from anybody else the header means nothing.

    Args:
        proxies: addresses and networks that are trusted; none: no header is read.
    """
    if not proxies:
        return app
    return cast(ASGIApp, ProxyHeadersMiddleware(cast(ASGI3Application, app), trusted_hosts=list(proxies)))
