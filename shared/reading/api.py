"""What the reading services' parts of our own API share."""

from __future__ import annotations

from collections.abc import Awaitable

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from countermark.core.names import InvalidName, parse_index_name
from shared.auth.access import credentials_in, decided, reader, require, resolve
from shared.auth.directory import IndexRecord
from shared.auth.principal import Verb
from shared.auth.verifier import Verifier
from shared.errors import ErrorKind, ServiceError
from shared.resources import Resources

API_PATHS = ("/api/", "/v1/", "/openapi.json")
"""What begins so is answered by a service's API application, all else by its plain routes."""


def beside(api: ASGIApp, reads: ASGIApp) -> ASGIApp:
    """Return an application that answers with `api` below `API_PATHS` and with `reads` everywhere else.

    Not a mount of the framework: pages and files are not to pay for its routing (`shared.reading.answers`).
    """

    def app(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        chosen = api if scope["type"] == "http" and scope["path"].startswith(API_PATHS) else reads
        return chosen(scope, receive, send)

    return app


async def readable_index(
    resources: Resources, verifier: Verifier, request: Request, owner: str, index: str
) -> IndexRecord:
    """Return the index that a path of the API names, which the caller may read.

    Raises:
        ServiceError: NOT_FOUND, there is none of this name; UNAUTHENTICATED or FORBIDDEN, the caller may not read it.
    """
    try:
        name = parse_index_name(f"{owner}/{index}")
    except InvalidName as error:
        raise ServiceError(ErrorKind.NOT_FOUND, "There is no such index.") from error

    async def decide() -> IndexRecord:
        principal = await reader(verifier, credentials_in(request.headers))
        record = resolve(resources.directory, name)
        require(principal, Verb.READ, record)
        return record

    return await decided(resources.directory, decide)
