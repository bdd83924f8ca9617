"""The documents of indexes.

Source: contract devpi sections 4.3, 6 and 8.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from countermark.core.names import IndexName
from gateway.devpi import states
from gateway.devpi.documents import json_body, json_object
from gateway.devpi.index_writer import NewIndexes
from gateway.devpi.mirrored_names import MirroredNames
from gateway.devpi.operations import applied
from gateway.devpi.parts import DevpiParts, body_of, denied
from gateway.devpi.states import IndexState
from gateway.devpi.user_writer import no_user
from gateway.devpi.values import MIRROR, Config
from gateway.index_lives import is_emptied
from shared.auth.principal import ANONYMOUS, AUTHENTICATED, Principal, Verb
from shared.devpi import devpi_answer, devpi_stream
from shared.errors import ErrorKind, ServiceError
from shared.faces import Face
from shared.reading.headers import asks_for_pages

_LOOK_AGAIN = 0.1
"""Seconds between two looks whether a deleted index was published empty."""


class IndexRoutes:
    """`/{user}/{index}`, but for uploads and pushes."""

    def __init__(self, parts: DevpiParts) -> None:
        self._parts = parts
        self._mirrored = MirroredNames(parts.resources)

    async def show(self, face: Face, request: Request) -> Response:
        """Show an index, with the names of its own projects unless `?no_projects` is there."""
        name = _name(face)
        if asks_for_pages(request.headers.get("user-agent"), request.headers.get("accept")):
            return RedirectResponse(
                f"{self._parts.url(request)}/{name}/+simple/", 302, headers={"vary": "Accept, User-Agent"}
            )
        principal = await self._parts.caller(request)
        state = await self._parts.index(name)
        if state is None:
            raise ServiceError(ErrorKind.NOT_FOUND, f"The stage {name} could not be found.")
        if not state.allows(principal, Verb.READ):
            kind = ErrorKind.UNAUTHENTICATED if principal.is_anonymous else ErrorKind.FORBIDDEN
            raise ServiceError(kind, f"The stage {name} is private: log in as one of its readers.")
        if "no_projects" in request.query_params:
            return devpi_answer("indexconfig", state.config())
        return devpi_stream(self._with_projects(state))

    async def create(self, face: Face, request: Request) -> Response:
        """Make an index: one's own, or anybody's for what devpi calls `root`."""
        name, principal = _name(face), await self._parts.caller(request)
        async with self._parts.resources.engine.connect() as connection:
            owner = await states.account(connection, name.owner)
            state = await states.index(connection, name)
        if owner is None:
            raise no_user(name.owner)
        if state is not None and state.allows(principal, Verb.READ):
            raise ServiceError(ErrorKind.CONFLICT, f"index '{name}' exists")
        if state is not None or not self._may_make(principal, name):
            raise denied(f"create index {name}")
        given = json_object(await body_of(request))
        await self._until_emptied(name)
        settings = self._parts.resources.settings
        most = settings.indexes.per_owner
        new = (
            NewIndexes("devpi", ANONYMOUS, most)
            if settings.is_open_devpi
            else NewIndexes("strict", AUTHENTICATED, most)
        )
        made = await self._parts.indexes(principal).create(name, given, principal, new)
        await self._parts.changed()
        return devpi_answer("indexconfig", made.config())

    async def modify(self, face: Face, request: Request) -> Response:
        """Change an index, by a document or by a list of operations."""
        name, principal = _name(face), await self._parts.caller(request)
        await self._check_right(name, principal)
        given = json_body(await body_of(request))
        strict = "error_on_noop" in request.query_params

        def change(before: Config) -> Mapping[str, Any]:
            wanted = applied(given, before) if isinstance(given, list) else _unwrapped(given)
            if strict and wanted == before:
                raise ServiceError(ErrorKind.INVALID, "The requested modifications resulted in no changes")
            return wanted

        after = await self._parts.indexes(principal).change(name, principal, change)
        await self._parts.changed()
        return devpi_answer("indexconfig", after.config())

    async def delete(self, face: Face, request: Request) -> Response:
        """Delete a volatile index."""
        name, principal = _name(face), await self._parts.caller(request)
        await self._check_right(name, principal)
        await self._parts.indexes(principal).delete(name)
        await self._parts.changed()
        return devpi_answer(message=f"index {name} deleted", status=201)

    async def _check_right(self, name: IndexName, principal: Principal) -> None:
        """Refuse who may not configure an index; also one that is not there: the right is asked for first.

        Raises:
            ServiceError: FORBIDDEN.
        """
        state = await self._parts.index(name)
        if state is None or not self._parts.configures(principal, state):
            raise denied(f"modify index {name}")

    def _may_make(self, principal: Principal, name: IndexName) -> bool:
        everywhere = principal.scopes is None or any(
            scope.index is None and scope.project is None and Verb.CONFIGURE in scope.verbs
            for scope in principal.scopes
        )
        return (principal.account == name.owner and everywhere) or self._parts.administrates(principal)

    async def _until_emptied(self, name: IndexName) -> None:
        """Wait a bounded time until nothing of an index's earlier life is shown; the writer refuses what is."""
        until = time.monotonic() + self._parts.resources.settings.uploads.publish_wait
        while True:
            async with self._parts.resources.engine.connect() as connection:
                if await is_emptied(connection, name) or time.monotonic() >= until:
                    return
            await asyncio.sleep(_LOOK_AGAIN)

    async def _with_projects(self, state: IndexState) -> AsyncIterator[bytes]:
        """Yield the document in parts, so that a long list of projects is never in memory as a whole."""
        config = orjson.dumps(state.config())
        yield b'{"type":"indexconfig","result":' + config[:-1] + b',"projects":['
        comma = b""
        hosted = states.project_names(self._parts.resources.engine, state)
        async for names in self._mirrored.of(state.name) if state.type == MIRROR else hosted:
            yield comma + orjson.dumps(names)[1:-1]
            comma = b","
        yield b"]}}"


def _name(face: Face) -> IndexName:
    assert face.index is not None, "this face is of an index"
    return face.index


def _unwrapped(given: object) -> Mapping[str, Any]:
    """Return the options that a document sets; an answer of ours may be sent back as it is.

    Raises:
        ServiceError: INVALID; it is no object.
    """
    if isinstance(given, dict) and given.get("type") == "indexconfig":
        given = given.get("result")
    if not isinstance(given, dict):
        raise ServiceError(ErrorKind.INVALID, "Bad request: could not decode json: send an object or a list")
    return given
