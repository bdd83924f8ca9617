"""In which form an answer of the upload URLs tells of an error: that of the client that asked.

Source: contract devpi sections 1 (item 10) and 23; architecture section 11.7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from shared.bodies import OwnPagesOnly
from shared.devpi import MEDIA_TYPE, devpi_error, failed_upload, is_devpi_client
from shared.problems import Renderer, install_problem_handlers, text_answer


def renderer_for(method: str, headers: Mapping[str, str]) -> Renderer:
    """Return how errors are told: upload tools get a line of text, the devpi client what it prints for a form that
    failed, and whatever changes documents or speaks JSON gets devpi's JSON. Pure."""
    if method not in {"POST", "GET", "HEAD"} or _media_type(headers) == MEDIA_TYPE:
        return devpi_error
    return failed_upload if method == "POST" and is_devpi_client(headers) else text_answer


class ByClient:
    """One application for each form of errors; a request goes to that of its client."""

    def __init__(self, make: Callable[[], Starlette], origin: str) -> None:
        """Args: make: returns a new application each time; origin: of this host's own pages."""
        self._apps: dict[Renderer, Starlette] = {}
        for renderer in (text_answer, failed_upload, devpi_error):
            app = make()
            app.add_middleware(OwnPagesOnly, origin=origin)
            install_problem_handlers(app, renderer)
            self._apps[renderer] = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        renderer = renderer_for(scope["method"], Headers(scope=scope)) if scope["type"] == "http" else text_answer
        await self._apps[renderer](scope, receive, send)


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()
