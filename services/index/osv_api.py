"""Advisories in the shape of the OSV API, for audits in closed networks: query, query a batch, look an id up.

Anybody may ask: advisories are public, and an answer says nothing of what the indexes hold. Nothing of a query goes
anywhere else.
Source: the OSV API; ADR 0029.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from countermark.core.names import NormalizedName
from services.index.osv_rules import MAX_QUERIES, Asked, Query, read_query, token_after, written
from shared.catalogue.advisories import Entry, current, documents, entries
from shared.errors import ErrorKind, ServiceError
from shared.formats.python.osv import Affected, affects, is_id
from shared.resources import Resources
from shared.zstd import unpack

_PREFIX = "/v1"

_AT_ONCE = 4
"""Requests that are worked on at the same time, the others wait: anybody may ask."""

_PART = 50
"""Queries of a batch whose projects are read together."""

_MOST_IDS = 1_000
"""Advisories of one query of a batch that are told in one answer."""

_MOST_TOLD, _MOST_JUDGED = 3_000, 20_000
"""Advisories that one batch is told, and that are looked at for it: once it is as many, the next queries are answered
with a token alone, to be asked again with it, as the public service does."""

_MOST_RECORDS, _MOST_BYTES = 200, 8 << 20
"""Records of one answer to a query, and bytes of them; the first one always goes."""

_NOTHING = (
    "No advisories were imported here, so nothing can be said of any version. "
    "The operator imports them: countermark-server osv import FILE."
)


class Package(BaseModel):
    """A package: by name and ecosystem, or by its URL."""

    name: str | None = None
    ecosystem: str | None = Field(None, description="PyPI")
    purl: str | None = Field(None, description="pkg:pypi/NAME@VERSION")


class OsvQuery(BaseModel):
    """A query."""

    package: Package | None = None
    version: str | None = Field(None, description="without one, every advisory about the package is told")
    commit: str | None = Field(None, description="not looked up here")
    page_token: str | None = None


class OsvBatch(BaseModel):
    """Queries, which are answered in their order."""

    queries: list[OsvQuery] = Field(max_length=MAX_QUERIES)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Vulnerabilities(_Answer):
    """Records that affect a version; members without a value are left out."""

    vulns: list[dict[str, Any]] | None = Field(None, description="as imported")
    next_page_token: str | None = Field(None, description="there are more: ask the same with it as `page_token`")


class Told(_Answer):
    """An advisory by its id."""

    id: str
    modified: datetime


class QueryAnswer(_Answer):
    """What is told of one query of a batch."""

    vulns: list[Told] | None = None
    next_page_token: str | None = Field(None, description="there are more: ask the same with it as `page_token`")


class BatchAnswer(_Answer):
    """What is told of each query."""

    results: list[QueryAnswer]


class OsvRoutes:
    """The routes below `/v1`."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self.router = router = APIRouter(prefix=_PREFIX, tags=["osv"])
        router.post("/query", response_model=Vulnerabilities)(self.query)
        router.post("/querybatch", response_model=BatchAnswer)(self.query_batch)
        router.get("/vulns/{id}", response_model=dict[str, Any])(self.vulnerability)

    async def query(self, query: OsvQuery) -> Response:
        """Tell which advisories affect a version, as whole records."""
        asked = _asked(query)
        async with self._turns, self._resources.engine.connect() as connection:
            imported = await _imported(connection)
            found = (await entries(connection, [asked.project], withdrawn=False)).get(asked.project, [])
            matched = await asyncio.to_thread(lambda: _matching(_known(found), asked))
            kept = await documents(connection, [entry.id for entry in matched[:_MOST_RECORDS]])
        return _json(await asyncio.to_thread(_records, matched, kept), imported)

    async def query_batch(self, batch: OsvBatch) -> Response:
        """Tell which advisories affect each of some versions, by id."""
        asked = [_asked(query, f"queries[{place}]: ") for place, query in enumerate(batch.queries)]
        judging = _Judging()
        async with self._turns, self._resources.engine.connect() as connection:
            imported = await _imported(connection)
            for start in range(0, len(asked), _PART):
                part = asked[start : start + _PART]
                projects = {one.project for one in part} if judging.goes_on else set()
                found = await entries(connection, projects, withdrawn=False) if projects else {}
                await asyncio.to_thread(judging.judge, part, found)
        return _json(orjson.dumps({"results": judging.results}), imported)

    async def vulnerability(self, id: str) -> Response:  # noqa: A002 - the API's word
        """Return an advisory as it was imported."""
        async with self._resources.engine.connect() as connection:
            imported = await _imported(connection)
            kept = await documents(connection, [id]) if is_id(id) else {}
        if id not in kept:
            raise ServiceError(ErrorKind.NOT_FOUND, "There is no advisory of this id in the imported snapshot.")
        return _json(await asyncio.to_thread(unpack, kept[id]), imported)


class AsJson:
    """Has queries read as JSON whatever their media type: pip-audit sends none, `curl -d` that of forms."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"].startswith(_PREFIX):
            headers = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
            scope = {**scope, "headers": [*headers, (b"content-type", b"application/json")]}
        await self._app(scope, receive, send)


class _Judging:
    """Answers the queries of a batch one by one, until it is enough for one answer."""

    def __init__(self) -> None:
        self.results: list[dict[str, Any]] = []
        self._told = self._judged = 0

    @property
    def goes_on(self) -> bool:
        """Whether another query is looked at."""
        return self._told < _MOST_TOLD and self._judged < _MOST_JUDGED

    def judge(self, part: Sequence[Asked], found: Mapping[NormalizedName, list[Entry]]) -> None:
        """Answer some queries. Blocking."""
        known: dict[NormalizedName, list[_Known]] = {}
        for asked in part:
            if not self.goes_on:
                self.results.append({"next_page_token": token_after(asked.after)})
                continue
            if asked.project not in known:
                known[asked.project] = _known(found.get(asked.project, ()))
            matched = _matching(known[asked.project], asked)
            self._judged += len(known[asked.project])
            self._told += min(len(matched), _MOST_IDS)
            self.results.append(_ids(matched))


@dataclass(frozen=True, slots=True)
class _Known:
    entry: Entry
    affected: Affected


def _known(found: Sequence[Entry]) -> list[_Known]:
    return [_Known(entry, entry.unpacked()) for entry in found]


def _matching(known: Sequence[_Known], asked: Asked) -> list[Entry]:
    """Return what a version is affected by, after the advisory that the query goes on from, by id. Blocking."""
    version = asked.version
    rest = (one for one in known if one.entry.id > asked.after)
    matched = [one.entry for one in rest if version is None or affects(one.affected, version)]
    return sorted(matched, key=lambda entry: entry.id)


def _ids(matched: Sequence[Entry]) -> dict[str, Any]:
    shown = matched[:_MOST_IDS]
    answer: dict[str, Any] = {}
    if shown:
        answer["vulns"] = [{"id": entry.id, "modified": written(entry.modified)} for entry in shown]
    if len(matched) > len(shown):
        answer["next_page_token"] = token_after(shown[-1].id)
    return answer


def _records(matched: Sequence[Entry], kept: Mapping[str, bytes]) -> bytes:
    """Return an answer of whole records, which are passed on byte for byte. Blocking."""
    shown: list[bytes] = []
    length, last = 0, None
    for entry in matched[:_MOST_RECORDS]:
        # Between the two queries another snapshot may have come.
        document = unpack(kept[entry.id]) if entry.id in kept else b""
        if shown and length + len(document) > _MOST_BYTES:
            break
        last = entry.id
        length += len(document)
        shown += [document] if document else []
    members = [b'"vulns":[' + b",".join(shown) + b"]"] if shown else []
    if last is not None and last != matched[-1].id:
        members.append(b'"next_page_token":' + orjson.dumps(token_after(last)))
    return b"{" + b",".join(members) + b"}"


def _asked(query: OsvQuery, where: str = "") -> Asked:
    package = query.package or Package()
    sent = Query(package.name, package.ecosystem, package.purl, query.version, query.commit, query.page_token)
    try:
        return read_query(sent)
    except ServiceError as error:
        raise ServiceError(error.kind, where + error.detail) from error


async def _imported(connection: AsyncConnection) -> datetime:
    """Return when what is served was imported.

    Raises:
        ServiceError: NOT_FOUND; nothing ever was. An empty answer would be taken for good news.
    """
    snapshot = await current(connection)
    if snapshot is None:
        raise ServiceError(ErrorKind.NOT_FOUND, _NOTHING)
    return snapshot.imported_at


def _json(body: bytes, imported: datetime) -> Response:
    headers = {"cache-control": "no-cache", "x-countermark-imported": written(imported)}
    return Response(body, media_type="application/json", headers=headers)
