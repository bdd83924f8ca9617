"""Changes to a project: a page that asks whether it is meant, and the form's answer."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.dashboard.changes import ACTIONS, STATUSES, Action
from gateway.dashboard.desk import Desk, Visitor, project_of
from gateway.dashboard.remote import api_path
from gateway.dashboard.shapes import Change, Project
from shared.auth.directory import IndexRecord
from shared.auth.principal import Verb
from shared.errors import ErrorKind, ServiceError

MAX_REASON = 500
"""Characters of a reason."""


class ChangePages:
    """Yank, un-yank, remove, and the project's status."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        base = "/indexes/{owner}/{index}/projects/{project}"
        self.routes: list[BaseRoute] = [
            Route(base + "/change", self.ask),
            Route(base + "/change", self.change, methods=["POST"]),
            Route(base + "/status", self.ask_status),
            Route(base + "/status", self.change_status, methods=["POST"]),
        ]

    async def ask(self, request: Request) -> Response:
        """Ask whether a release or a file shall be yanked, un-yanked or removed."""
        visitor = await self._desk.visitor(request)
        record = self._desk.index(visitor, request)
        name, given = project_of(request), request.query_params
        action = _action(given.get("action"))
        _require(visitor, action.verb, record, name)
        return self._desk.answer(
            "change.html",
            visitor,
            index=record,
            project=name,
            action=action,
            action_name=given.get("action"),
            version=_given(given.get("version"), "version"),
            file_name=given.get("file"),
            max_reason=MAX_REASON,
        )

    async def change(self, request: Request) -> Response:
        """Do it, and show the project again."""
        visitor, fields = await self._desk.posted(request)
        record = self._desk.index(visitor, request)
        name = project_of(request)
        action = _action(fields.get("action"))
        _require(visitor, action.verb, record, name)
        version, file_name = _given(fields.get("version"), "version"), fields.get("file") or None
        path = ["indexes", record.name.owner, record.name.name, "projects", name, "releases", version]
        path += [] if file_name is None else ["files", file_name]
        path += ["yank"] if action.mark else []
        token = await self._desk.tokens.acting(visitor.session, action.verb, record.name, name)
        body = {"reason": _reason(fields)} if action.takes_reason else None
        done = await self._desk.remote.change(Change, action.method, api_path(*path), token, body)
        release_stays = action.mark
        return _back(record, name, version if release_stays else None, done)

    async def ask_status(self, request: Request) -> Response:
        """Ask for the project's new status."""
        visitor = await self._desk.visitor(request)
        record = self._desk.index(visitor, request)
        name = project_of(request)
        _require(visitor, Verb.CONFIGURE, record, name)
        path = api_path("indexes", record.name.owner, record.name.name, "projects", name)
        project = await self._desk.remote.get(Project, path, await self._desk.reading(visitor))
        return self._desk.answer(
            "status.html", visitor, index=record, project=project, statuses=STATUSES, max_reason=MAX_REASON
        )

    async def change_status(self, request: Request) -> Response:
        """Set the project's status, and show the project again."""
        visitor, fields = await self._desk.posted(request)
        record = self._desk.index(visitor, request)
        name = project_of(request)
        _require(visitor, Verb.CONFIGURE, record, name)
        if fields.get("status") not in STATUSES:
            raise ServiceError(ErrorKind.INVALID, f"Choose one of: {', '.join(STATUSES)}.")
        token = await self._desk.tokens.acting(visitor.session, Verb.CONFIGURE, record.name, name)
        path = api_path("indexes", record.name.owner, record.name.name, "projects", name)
        body = {"status": fields["status"], "reason": _reason(fields)}
        done = await self._desk.remote.change(Change, "PATCH", path, token, body)
        return _back(record, name, None, done)


def _action(name: str | None) -> Action:
    action = ACTIONS.get(name or "")
    if action is None:
        raise ServiceError(ErrorKind.INVALID, f"Choose one of: {', '.join(ACTIONS)}.")
    return action


def _given(value: str | None, what: str) -> str:
    if not value:
        raise ServiceError(ErrorKind.INVALID, f"The {what} is missing. Go back to the project's page.")
    return value


def _require(visitor: Visitor, verb: Verb, record: IndexRecord, project: str) -> None:
    if not visitor.may(verb, record, project):
        raise ServiceError(
            ErrorKind.FORBIDDEN,
            f"Your account may not {verb} on {record.name}. Ask {record.name.owner}, its owner, for that right.",
        )


def _reason(fields: dict[str, str]) -> str | None:
    reason = fields.get("reason", "").strip()
    if len(reason) > MAX_REASON or not reason.isprintable():
        raise ServiceError(ErrorKind.INVALID, f"A reason has at most {MAX_REASON} printable characters, on one line.")
    return reason or None


def _back(record: IndexRecord, project: str, version: str | None, done: Change) -> Response:
    page = f"/indexes/{record.name}/projects/{project}"
    page += "" if version is None else f"/releases/{quote(version, safe='')}"
    return RedirectResponse(f"{page}?done={done.state}", 303)
