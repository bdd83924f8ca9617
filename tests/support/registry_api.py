"""Services that answer as the registry's own API does, for tests of who asks it; with the data a team would have."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.upstream import Mounted, Upstream
from shared.service import Service

AT = "2026-11-02T09:30:00Z"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that changes something, as the services got it."""

    method: str
    path: str
    body: Any
    authorization: str


@dataclass(slots=True)
class RegistryApi:
    """An index with projects, whose changes are answered with `change`; `release` is every release's document."""

    projects: list[dict[str, Any]] = field(default_factory=list)
    release: dict[str, Any] = field(default_factory=dict)
    change: tuple[int, dict[str, Any]] = (200, {"state": "published", "serial": 8})
    head_status: int = 200
    counts_status: int = 200
    explained: dict[str, Any] | None = None
    """What `explain` answers; None for a service that does not answer."""
    holds: list[dict[str, Any]] = field(default_factory=list)
    mirrors: list[dict[str, Any]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    queries: list[dict[str, str]] = field(default_factory=list)
    read_with: set[str] = field(default_factory=set)

    def upstreams(self) -> dict[str, Upstream]:
        """Return the services that answer."""
        base = "/api/v1/indexes/{owner}/{index}"
        project = base + "/projects/{project}"
        changing = ["POST", "DELETE", "PATCH"]
        upload = [
            Route(base + "/projects", self._projects),
            Route(project, self._project),
            Route(project + "/releases/{version}", self._release),
            Route(project + "{rest:path}", self._change, methods=changing),
        ]
        index = [Route(base + "/publications", self._publications), Route(base + "/head", self._head)]
        index += [Route(f"{base}/{name}", self._held) for name in ("explain/{project}", "holds", "mirrors")]
        return {
            "upload": Mounted(Service("upload", Starlette(routes=upload))),
            "index": Mounted(Service("index", Starlette(routes=index))),
            "download": Mounted(
                Service("download", Starlette(routes=[Route(base + "/downloads/{name}", self._counts)]))
            ),
        }

    async def _projects(self, request: Request) -> Response:
        self.read_with.add(request.headers["authorization"])
        self.queries.append(dict(request.query_params))
        query = request.query_params.get("q", "")
        items = [line for line in self.projects if query in line["name"]]
        return JSONResponse({"items": items, "next": "CURSOR" if len(items) > 2 else None})

    async def _project(self, request: Request) -> Response:
        name = request.path_params["project"]
        line = next((line for line in self.projects if line["name"] == name), None)
        if line is None:
            return _problem(404, f"There is no project {name} here.")
        releases = [{"version": "1.0", "created_at": AT, "files": 2, "yanked": False}] if line["releases"] else []
        document = {"releases": releases, "status_reason": None, "created_at": AT, "serial": 7}
        return JSONResponse({**line, **document})

    async def _release(self, request: Request) -> Response:
        return JSONResponse({"version": request.path_params["version"], "created_at": AT, **self.release})

    async def _change(self, request: Request) -> Response:
        body = await request.body()
        header = request.headers["authorization"]
        self.asked.append(Asked(request.method, request.url.path, orjson.loads(body) if body else None, header))
        status, document = self.change
        return _problem(status, document["detail"]) if status >= 400 else JSONResponse(document, status)

    async def _publications(self, _request: Request) -> Response:
        journal = [{"project": "demo", "version": "1.0", "action": "publish", "actor": "root"}]
        items = [{"serial": 7, "committed_at": AT, "changes": 3, "journal": journal}]
        items += [{"serial": 6, "committed_at": AT, "changes": 1, "journal": []}]
        return JSONResponse({"items": items, "next": None})

    async def _held(self, request: Request) -> Response:
        self.queries.append(dict(request.query_params))
        if "project" in request.path_params:
            return _problem(503, "It is away.") if self.explained is None else JSONResponse(self.explained)
        kind = request.url.path.rpartition("/")[2]
        return JSONResponse({"items": self.holds if kind == "holds" else self.mirrors, "next": None})

    async def _counts(self, request: Request) -> Response:
        if self.counts_status != 200:
            return _problem(self.counts_status, "It is not there.")
        files = [{"filename": file["filename"], "version": "1.0", "downloads": 1234} for file in self.release["files"]]
        return JSONResponse({"project": request.path_params["name"], "total": 56_789, "files": files[:1]})

    async def _head(self, request: Request) -> Response:
        self.read_with.add(request.headers["authorization"])
        if self.head_status != 200:
            return _problem(self.head_status, "There is no publication yet.")
        versions = dict.fromkeys(("root_version", "snapshot_version", "timestamp_version"), 1)
        return JSONResponse({"serial": 7, "committed_at": AT, "timestamp_expires_at": AT, **versions})


def project_line(name: str, **changed: object) -> dict[str, Any]:
    """Return a project as the list of its index shows it."""
    line = {"name": name, "display_name": name, "status": "active", "summary": f"What {name} does."}
    counts = {"latest_version": "1.0", "releases": 1, "files": 2, "updated_at": AT}
    return {**line, **counts, **changed}


def file_line(name: str, **changed: object) -> dict[str, Any]:
    """Return a published file of a release."""
    digests = {
        "sha256": hashlib.sha256(name.encode()).hexdigest(),
        "blake2b_256": hashlib.blake2b(name.encode(), digest_size=32).hexdigest(),
        "md5": None,
    }
    line = {"id": "0", "filename": name, "package_type": "bdist_wheel", "length": 12_345, "uploaded_at": AT}
    state = {"uploader": "root", "requires_python": ">=3.11", "yanked": False, "state": "published", "serial": 7}
    return {**line, **digests, **state, "yanked_reason": None, "error": None, **changed}


def held_line(rule: str, index: str | None, **changed: object) -> dict[str, Any]:
    """Return why something is held back."""
    return {"rule": rule, "index": index, "reason": "files must be 7 days old here", "until": AT, **changed}


def explanation(project: str, *files: dict[str, Any], **changed: object) -> dict[str, Any]:
    """Return why a project shows as it does in an index that is based on a mirror."""
    member = {"by": None, "reason": None, "hidden": None, "upstream": None}
    upstream = {"url": "https://upstream.test/", "confirmed_at": AT, "failing_since": AT, "failure": "it answers 503"}
    members = [
        {**member, "index": "root/stable", "type": "stage", "state": "nothing"},
        {**member, "index": "root/pypi", "type": "mirror", "state": "shows", "upstream": upstream},
    ]
    shown = sum(file["shown"] for file in files)
    document = {"project": project, "found": bool(shown), "members": members, "shown": shown, "files": list(files)}
    clients = [{"kind": "installers", "who": "pip", "latest": "1.0" if shown else None}]
    return {**document, "hidden": len(files) - shown, "clients": clients, "without_rules": "2.0", **changed}


def explained_file(name: str, version: str, hidden: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a file of a mirror, shown or held back."""
    line = {"filename": name, "version": version, "index": "root/pypi", "mirrored": True, "yanked": False}
    return {**line, "shown": hidden is None, "uploaded_at": AT, "hidden": hidden}


def _problem(status: int, detail: str) -> Response:
    document = {"type": "urn:countermark:problem:x", "title": "x", "status": status, "detail": detail}
    return JSONResponse(document, status, media_type="application/problem+json")
