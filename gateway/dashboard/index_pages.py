"""The pages of indexes: all of them, the projects of one, how to use it, and what was published when."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from countermark.core.names import IndexName
from gateway.dashboard.desk import Desk, Visitor, index_url
from gateway.dashboard.remote import api_path
from gateway.dashboard.setup import reading_recipes, uploading_recipes
from gateway.dashboard.shapes import Head, MirrorLine, MirrorList, ProjectList, PublicationList
from shared.auth.directory import IndexRecord
from shared.auth.principal import Verb
from shared.catalogue import listings
from shared.errors import ErrorKind, ServiceError

MAX_QUERY = 100
"""Characters of a search."""

_PROJECTS = 50
_PUBLICATIONS = 25
_INDEXES_SHOWN = 100
_HEADS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class ShownIndex:
    """An index on the home page; `head` is None before the first publication, `known` False when it was not told."""

    record: IndexRecord
    description: str | None
    head: Head | None
    known: bool
    verbs: tuple[str, ...]


class IndexPages:
    """Home, and the pages below `/indexes/{owner}/{index}` that are about the index itself."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.routes: list[BaseRoute] = [
            Route("/", self.home),
            Route("/indexes/{owner}/{index}", self.projects),
            Route("/indexes/{owner}/{index}/setup", self.setup),
            Route("/indexes/{owner}/{index}/publications", self.publications),
        ]

    async def home(self, request: Request) -> Response:
        """Show the indexes that the signed-in person may read."""
        visitor = await self._desk.visitor(request)
        await self._desk.directory.look_again()
        readable = self._desk.readable(visitor)
        token = await self._desk.reading(visitor) if readable else ""
        turns = asyncio.Semaphore(_HEADS_AT_ONCE)

        async def one(record: IndexRecord) -> ShownIndex:
            async with turns:
                return await self._shown(visitor, record, descriptions.get(record.name), token)

        shown = readable[:_INDEXES_SHOWN]
        async with self._desk.backing.engine.connect() as connection:
            lines = await listings.indexes(connection, among=[record.id for record in shown])
        descriptions = {IndexName(line.owner, line.name): line.description for line in lines}
        indexes = await asyncio.gather(*(one(record) for record in shown))
        return self._desk.answer("home.html", visitor, indexes=indexes, more=len(readable) - len(indexes))

    async def projects(self, request: Request) -> Response:
        """Show the projects of an index, by name; `?q=` searches, `?after=` is the next page."""
        visitor = await self._desk.visitor(request)
        record = self._desk.index(visitor, request)
        query = request.query_params.get("q", "").strip()[:MAX_QUERY]
        token = await self._desk.reading(visitor)
        listed = await self._desk.remote.get(
            ProjectList,
            api_path("indexes", record.name.owner, record.name.name, "projects"),
            token,
            {"q": query, "limit": _PROJECTS, "after": request.query_params.get("after")},
        )
        return self._desk.answer(
            "projects.html",
            visitor,
            index=record,
            query=query,
            paged="after" in request.query_params,
            listed=listed,
            uploads=visitor.may(Verb.UPLOAD, record),
            recipes=uploading_recipes(index_url(self._desk.addresses, record)),
            mirrors=await self._mirrors(record, token),
        )

    async def setup(self, request: Request) -> Response:
        """Show what to type to use an index."""
        visitor = await self._desk.visitor(request)
        record = self._desk.index(visitor, request)
        url = index_url(self._desk.addresses, record)
        uploads = visitor.may(Verb.UPLOAD, record)
        return self._desk.answer(
            "setup.html",
            visitor,
            index=record,
            url=url,
            reading=reading_recipes(url),
            uploading=uploading_recipes(url) if uploads else [],
        )

    async def publications(self, request: Request) -> Response:
        """Show what was published, newest first."""
        visitor = await self._desk.visitor(request)
        record = self._desk.index(visitor, request)
        listed = await self._desk.remote.get(
            PublicationList,
            api_path("indexes", record.name.owner, record.name.name, "publications"),
            await self._desk.reading(visitor),
            {"limit": _PUBLICATIONS, "after": request.query_params.get("after")},
        )
        return self._desk.answer(
            "publications.html", visitor, index=record, listed=listed, paged="after" in request.query_params
        )

    async def _mirrors(self, record: IndexRecord, token: str) -> Sequence[MirrorLine]:
        """Return how the mirrors stand that an index shows; a page is whole without it."""
        if not self._desk.has_mirrors(record):
            return ()
        try:
            path = api_path("indexes", record.name.owner, record.name.name, "mirrors")
            return (await self._desk.remote.get(MirrorList, path, token)).items
        except ServiceError:
            return ()

    async def _shown(self, visitor: Visitor, record: IndexRecord, description: str | None, token: str) -> ShownIndex:
        verbs = tuple(verb.value for verb in Verb if visitor.may(verb, record))
        try:
            path = api_path("indexes", record.name.owner, record.name.name, "head")
            head, known = await self._desk.remote.get(Head, path, token), True
        except ServiceError as error:
            head, known = None, error.kind is ErrorKind.NOT_FOUND
        return ShownIndex(record, description, head, known, verbs)
