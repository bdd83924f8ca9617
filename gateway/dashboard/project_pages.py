"""A project's page: its latest release or the one asked for, with description, files and what may be done."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.dashboard.changes import NOTICES, STATUSES
from gateway.dashboard.desk import Desk, Visitor, index_url, project_of
from gateway.dashboard.holding import RULES, STATES, ShownHold, held_files
from gateway.dashboard.remote import api_path
from gateway.dashboard.setup import Recipe, install_lines
from gateway.dashboard.shapes import Downloads, Explained, File, Project, Release
from shared.auth.directory import IndexRecord
from shared.auth.principal import Verb
from shared.errors import ErrorKind, ServiceError

MAX_FACT = 300
"""Characters of a line of metadata that are shown."""

MAX_QUERY = 100
"""Characters of a search."""

_RELEASES_SHOWN = 12
_HELD_SHOWN = 50
_FILES_SHOWN = 200
_LINKS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Rights:
    """What the visitor may do to the project."""

    upload: bool
    remove: bool
    configure: bool


@dataclass(frozen=True, slots=True)
class ShownFile:
    """A file with the address where it is served; `downloads` is None when it is not known."""

    file: File
    url: str
    downloads: int | None


@dataclass(frozen=True, slots=True)
class Shown:
    """What the API told of a project; `downloads` and `explained` are None when it did not."""

    project: Project
    release: Release | None
    downloads: Downloads | None
    explained: Explained | None = None


@dataclass(frozen=True, slots=True)
class About:
    """What a release's metadata says, as far as it is shown: bounded text, and links to the web alone."""

    summary: str | None
    facts: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str], ...]
    keywords: tuple[str, ...]


class ProjectPages:
    """The pages of projects and releases."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        base = "/indexes/{owner}/{index}/projects/{project}"
        self.routes: list[BaseRoute] = [
            Route(base, self.project),
            Route(base + "/releases", self.releases),
            Route(base + "/releases/{version}", self.project),
        ]

    async def project(self, request: Request) -> Response:
        """Show a project and one of its releases."""
        visitor = await self._desk.visitor(request)
        record = self._desk.index(visitor, request)
        token = await self._desk.reading(visitor)
        path = ("indexes", record.name.owner, record.name.name, "projects", project_of(request))
        asked = request.path_params.get("version")
        try:
            project = await self._desk.remote.get(Project, api_path(*path), token)
        except ServiceError as error:
            if error.kind is not ErrorKind.NOT_FOUND or not self._desk.has_mirrors(record):
                raise
            return await self._mirrored(request, visitor, record, asked, token)
        version = asked or project.latest_version or (project.releases[0].version if project.releases else None)
        counts = asyncio.create_task(self._downloads(record, project.name, token))
        held = asyncio.create_task(self._held(record, project.name, token))
        try:
            release = None
            if version is not None:
                release = await self._desk.remote.get(Release, api_path(*path, "releases", version), token)
            return await self._answer(request, visitor, record, Shown(project, release, await counts, await held))
        finally:
            counts.cancel()
            held.cancel()

    async def releases(self, request: Request) -> Response:
        """Show all releases of a project; `?q=` shows those whose version holds it."""
        visitor = await self._desk.visitor(request)
        query = request.query_params.get("q", "").strip()[:MAX_QUERY]
        record = self._desk.index(visitor, request)
        path = api_path("indexes", record.name.owner, record.name.name, "projects", project_of(request))
        project = await self._desk.remote.get(Project, path, await self._desk.reading(visitor))
        releases = [line for line in project.releases if query.lower() in line.version.lower()]
        return self._desk.answer(
            "releases.html", visitor, index=record, project=project, query=query, releases=releases
        )

    async def _downloads(self, record: IndexRecord, project: str, token: str) -> Downloads | None:
        """Return the counts; a page is whole without them."""
        path = api_path("indexes", record.name.owner, record.name.name, "downloads", project)
        try:
            return await self._desk.remote.get(Downloads, path, token)
        except ServiceError:
            return None

    async def _held(self, record: IndexRecord, project: str, token: str) -> Explained | None:
        """Return what mirrors add to a project and what is held back of that; a page is whole without it."""
        if not self._desk.has_mirrors(record):
            return None
        try:
            return await self._desk.remote.get(Explained, _explain_path(record, project), token)
        except ServiceError:
            return None

    async def _mirrored(
        self, request: Request, visitor: Visitor, record: IndexRecord, version: str | None, token: str
    ) -> Response:
        """Show a project of which the index itself has nothing: what its mirrors have, and what is held back."""
        project = project_of(request)
        path = _explain_path(record, project)
        explained = await self._desk.remote.get(Explained, path, token, {"version": version})
        if not explained.files and not any(member.hidden for member in explained.members):
            away = [member for member in explained.members if member.state == "away"]
            if not away:
                raise ServiceError(ErrorKind.NOT_FOUND, f"There is no project {project} in {record.name} or its bases.")
        latest = next((client.latest for client in explained.clients if client.kind == "installers"), None)
        return self._desk.answer(
            "mirrored.html",
            visitor,
            index=record,
            explained=explained,
            version=version,
            latest=latest,
            states=STATES,
            rules=RULES,
            held=self._rows(visitor, record, explained),
            held_shown=_HELD_SHOWN,
            files=[file for file in explained.files if file.shown][:_FILES_SHOWN],
            recipes=self._recipes(record, project, version) if latest else [],
            notice=NOTICES.get(request.query_params.get("done", "")),
        )

    def _recipes(self, record: IndexRecord, project: str, version: str | None) -> list[Recipe]:
        """Return how to install what is not signed here: not with the tool that takes signed files alone."""
        lines = install_lines(index_url(self._desk.addresses, record), project, version)
        return [recipe for recipe in lines if recipe.tool != "countermark"]

    def _rows(self, visitor: Visitor, record: IndexRecord, explained: Explained | None) -> list[ShownHold]:
        if explained is None:
            return []
        configures = partial(self._desk.configures, visitor)
        return held_files(explained.project, explained.files, str(record.name), configures)

    async def _answer(self, request: Request, visitor: Visitor, record: IndexRecord, shown: Shown) -> Response:
        project, release = shown.project, shown.release
        counts = {} if shown.downloads is None else {one.filename: one.downloads for one in shown.downloads.files}
        metadata = {} if release is None else release.metadata
        url = index_url(self._desk.addresses, record)
        latest = release is not None and release.version == project.latest_version
        return self._desk.answer(
            "project.html",
            visitor,
            index=record,
            project=project,
            release=release,
            latest=latest,
            yanked=release is not None and bool(release.files) and all(file.yanked for file in release.files),
            files=[
                ShownFile(file, _file_url(url, file), counts.get(file.filename))
                for file in (() if release is None else release.files)
            ],
            downloads=None if shown.downloads is None else shown.downloads.total,
            pending=release is not None
            and project.status != "quarantined"
            and any(file.state == "received" for file in release.files),
            effect=STATUSES.get(project.status, ""),
            readme=await self._desk.readmes.of(
                _text(metadata.get("description"), None), _text(metadata.get("description_content_type"), MAX_FACT)
            ),
            about=about(metadata),
            recipes=install_lines(url, project.name, None if latest or release is None else release.version),
            releases_shown=_RELEASES_SHOWN,
            rights=Rights(
                upload=visitor.may(Verb.UPLOAD, record, project.name),
                remove=visitor.may(Verb.REMOVE, record, project.name),
                configure=visitor.may(Verb.CONFIGURE, record, project.name),
            ),
            held=self._rows(visitor, record, shown.explained),
            held_shown=_HELD_SHOWN,
            notice=NOTICES.get(request.query_params.get("done", "")),
        )


def _explain_path(record: IndexRecord, project: str) -> str:
    return api_path("indexes", record.name.owner, record.name.name, "explain", project)


def about(metadata: dict[str, Any]) -> About:
    """Return what a release's metadata says, for the page.

    Args:
        metadata: keys as in `packaging.metadata.RawMetadata`; values of any kind, since others wrote them.
    """
    facts = [
        ("Requires Python", _text(metadata.get("requires_python"), MAX_FACT)),
        ("Licence", _text(metadata.get("license_expression"), MAX_FACT) or _text(metadata.get("license"), 100)),
        ("Author", _text(metadata.get("author"), MAX_FACT) or _text(metadata.get("author_email"), MAX_FACT)),
        ("Maintainer", _text(metadata.get("maintainer"), MAX_FACT)),
    ]
    return About(
        summary=_text(metadata.get("summary"), MAX_FACT),
        facts=tuple((name, text) for name, text in facts if text),
        links=tuple(_links(metadata))[:_LINKS_SHOWN],
        keywords=_keywords(metadata.get("keywords")),
    )


def _links(metadata: dict[str, Any]) -> list[tuple[str, str]]:
    home = metadata.get("home_page")
    urls = metadata.get("project_urls")
    named = [("Homepage", home)] if isinstance(home, str) else []
    if isinstance(urls, dict):
        named += [(str(label), url) for label, url in urls.items()]
    return [(label[:60], url) for label, url in named if isinstance(url, str) and _on_the_web(url)]


def _on_the_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.netloc) and len(url) <= 2000


def _keywords(given: object) -> tuple[str, ...]:
    words = given if isinstance(given, list) else [given] if isinstance(given, str) else []
    return tuple(text for word in words[:20] if (text := _text(word, 60)))


def _text(value: object, limit: int | None) -> str | None:
    return value[:limit].strip() or None if isinstance(value, str) else None


def _file_url(url: str, file: File) -> str:
    return f"{url}/+f/{file.sha256[:3]}/{file.sha256[3:16]}/{quote(file.filename)}"
