"""The routes of approvals: parse, ask for rights, answer. Reached through the gateway alone.

Who may read an index may see what waits there, as the routes of its projects show it too. Approving takes the right to
approve, withdrawing that of the uploader or to configure, demanding the right to configure the whole index. Keys are
registered by people themselves, with credentials that nothing narrows: a build machine's token registers none.

Source: architecture sections 4, 5.8 and 11.7.
"""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from packaging.utils import NormalizedName

from countermark.core.names import InvalidName, parse_index_name, parse_project_name
from services.signing.approvals.schemas import (
    ApprovalItem,
    ApprovalView,
    Approve,
    Demand,
    Demands,
    Key,
    Keys,
    NewDemand,
    NewKey,
)
from services.signing.approvals.usecases import Approvals
from shared.auth.access import credentials_in, decided, is_administrator, require, require_some_project, resolve, writer
from shared.auth.directory import IndexRecord
from shared.auth.permissions import unlimited
from shared.auth.principal import Principal, Verb
from shared.auth.verifier import Verifier
from shared.catalogue import approvals as rows
from shared.errors import ErrorKind, ServiceError
from shared.http import bind_principal
from shared.ids import FileId
from shared.paging import DEFAULT_LIMIT, After, Limit, Page, cursor_text, decode_cursor, page_of
from shared.reading.api import readable_index
from shared.resources import Resources

State = Literal["waiting", "approved", "withdrawn", "all"]

_KEPT: dict[str, tuple[str, ...]] = {
    "waiting": (rows.OPEN,),
    "approved": (rows.APPROVED,),
    "withdrawn": (rows.WITHDRAWN,),
    "all": (rows.OPEN, rows.APPROVED, rows.WITHDRAWN),
}


class ApprovalRoutes:
    """`approvals` and `approval-demands` below `/api/v1/indexes/{owner}/{index}`, and `/api/v1/approval-keys`."""

    def __init__(self, resources: Resources, verifier: Verifier) -> None:
        self._resources = resources
        self._verifier = verifier
        self._approvals = Approvals(resources)
        self.router = router = APIRouter(prefix="/api/v1", tags=["approvals"])
        base = "/indexes/{owner}/{index}"
        router.get(f"{base}/approvals")(self.page)
        router.get(f"{base}/approvals/{{file_id}}")(self.one)
        router.post(f"{base}/approvals/{{file_id}}")(self.approve)
        router.delete(f"{base}/approvals/{{file_id}}")(self.withdraw)
        router.get(f"{base}/approval-demands")(self.demands)
        router.put(f"{base}/approval-demands")(self.demand)
        router.put(f"{base}/approval-demands/{{project}}")(self.demand_of_project)
        router.delete(f"{base}/approval-demands", status_code=204)(self.lift)
        router.delete(f"{base}/approval-demands/{{project}}", status_code=204)(self.lift_of_project)
        router.get("/approval-keys")(self.keys)
        router.post("/approval-keys", status_code=201)(self.register)
        router.delete("/approval-keys/{keyid}", status_code=204)(self.revoke)

    async def page(
        self,
        owner: str,
        index: str,
        request: Request,
        state: State = "waiting",
        limit: Limit = DEFAULT_LIMIT,
        after: After = None,
    ) -> Page[ApprovalItem]:
        """List the files that wait for approvals, the expired ones as well, oldest first; or those that did."""
        record = await readable_index(self._resources, self._verifier, request, owner, index)
        last = None if after is None else _file_id(cursor_text(decode_cursor(after), "id"))
        found = await self._approvals.page(record, _KEPT[state], last, limit + 1)
        now = self._resources.clock.now()
        return page_of(found, limit, lambda line: ApprovalItem.of(line, now), lambda line: {"id": str(line.file_id)})

    async def one(self, owner: str, index: str, file_id: UUID, request: Request) -> ApprovalView:
        """Tell of a file that waits, or waited: what is signed, and who signed it."""
        record = await readable_index(self._resources, self._verifier, request, owner, index)
        asked = await self._approvals.one(record, FileId(file_id))
        return ApprovalView.shown(asked, self._resources.clock.now())

    async def approve(self, owner: str, index: str, file_id: UUID, payload: Approve, request: Request) -> ApprovalView:
        """Approve a file with a signature of a registered key. The same person's again changes nothing."""
        record, principal = await self._may(request, owner, index, Verb.APPROVE)
        asked = await self._approvals.approve(record, principal, FileId(file_id), payload.keyid, payload.signature)
        return ApprovalView.shown(asked, self._resources.clock.now())

    async def withdraw(self, owner: str, index: str, file_id: UUID, request: Request) -> ApprovalView:
        """Let a file wait no more, with all that came with it; for whoever brought it, or may configure the index."""
        record, principal = await self._may(request, owner, index, Verb.UPLOAD, Verb.CONFIGURE)
        asked = await self._approvals.withdraw(record, principal, FileId(file_id))
        return ApprovalView.shown(asked, self._resources.clock.now())

    async def demands(self, owner: str, index: str, request: Request) -> Demands:
        """Tell what is demanded of files before they are published here."""
        record = await readable_index(self._resources, self._verifier, request, owner, index)
        return Demands(items=[Demand.of(row) for row in await self._approvals.demands(record)])

    async def demand(self, owner: str, index: str, payload: NewDemand, request: Request) -> Demand:
        """Demand approvals of everything in an index, but of projects with a demand of their own."""
        return await self._demand(owner, index, None, payload, request)

    async def demand_of_project(
        self, owner: str, index: str, project: str, payload: NewDemand, request: Request
    ) -> Demand:
        """Demand approvals of a project, in place of what the index demands."""
        return await self._demand(owner, index, _project(project), payload, request)

    async def lift(self, owner: str, index: str, request: Request) -> None:
        """Demand nothing of the whole index any more."""
        record, principal = await self._configuring(request, owner, index)
        await self._approvals.lift(record, principal, None)

    async def lift_of_project(self, owner: str, index: str, project: str, request: Request) -> None:
        """Demand of a project what the index demands, if anything."""
        record, principal = await self._configuring(request, owner, index)
        await self._approvals.lift(record, principal, _project(project))

    async def keys(
        self, request: Request, account: str | None = Query(None, max_length=64, description="of somebody else")
    ) -> Keys:
        """List your keys; administrators may ask for those of others."""
        principal = await self._known(request)
        wanted = account or principal.account or ""
        if wanted != principal.account and not is_administrator(self._resources.directory, principal):
            raise ServiceError(ErrorKind.FORBIDDEN, "Keys of other people are shown to administrators alone.")
        found = await self._approvals.keys(wanted) if wanted.isprintable() else []
        return Keys(items=[Key.of(key) for key in found])

    async def register(self, payload: NewKey, request: Request) -> Key:
        """Register a public key to approve with."""
        principal = await self._known(request)
        _refuse_narrow(principal)
        label = payload.label.strip()
        if not label.isprintable():
            raise ServiceError(ErrorKind.INVALID, "The label holds control characters.")
        return Key.of(await self._approvals.register(principal, payload.public_key, label, payload.signature))

    async def revoke(self, keyid: str, request: Request) -> None:
        """End a key of yours, or as an administrator anybody's."""
        principal = await self._known(request)
        _refuse_narrow(principal)
        anybodys = is_administrator(self._resources.directory, principal)
        await self._approvals.revoke(principal, keyid[:64], anybodys=anybodys)

    async def _demand(
        self, owner: str, index: str, project: NormalizedName | None, payload: NewDemand, request: Request
    ) -> Demand:
        record, principal = await self._configuring(request, owner, index)
        people = None if payload.people is None else tuple(payload.people)
        now, by = self._resources.clock.now(), principal.account or ""
        wanted = rows.Demand(project, payload.needed, people, payload.own, now, by)
        return Demand.of(await self._approvals.demand(record, principal, wanted))

    async def _known(self, request: Request) -> Principal:
        principal = await writer(self._verifier, credentials_in(request.headers))
        bind_principal(principal)
        return principal

    async def _configuring(self, request: Request, owner: str, index: str) -> tuple[IndexRecord, Principal]:
        async def decide() -> tuple[IndexRecord, Principal]:
            principal = await self._known(request)
            record = self._record(owner, index)
            require(principal, Verb.CONFIGURE, record)
            return record, principal

        return await decided(self._resources.directory, decide)

    async def _may(self, request: Request, owner: str, index: str, *verbs: Verb) -> tuple[IndexRecord, Principal]:
        """Return who calls, and an index for some project of which they may do one of `verbs`."""

        async def decide() -> tuple[IndexRecord, Principal]:
            principal = await self._known(request)
            record = self._record(owner, index)
            for verb in verbs[:-1]:
                try:
                    require_some_project(principal, verb, record)
                except ServiceError:
                    continue
                return record, principal
            require_some_project(principal, verbs[-1], record)
            return record, principal

        return await decided(self._resources.directory, decide)

    def _record(self, owner: str, index: str) -> IndexRecord:
        try:
            return resolve(self._resources.directory, parse_index_name(f"{owner}/{index}"))
        except InvalidName as error:
            raise ServiceError(ErrorKind.NOT_FOUND, "There is no such index.") from error


def _project(text: str) -> NormalizedName:
    try:
        return parse_project_name(text)
    except InvalidName as error:
        raise ServiceError(ErrorKind.INVALID, f"{error}.") from error


def _file_id(text: str) -> FileId:
    try:
        return FileId(UUID(text))
    except ValueError as error:
        raise ServiceError(ErrorKind.MALFORMED, "The cursor in `after` is none of this server.") from error


def _refuse_narrow(principal: Principal) -> None:
    if not unlimited(principal):
        words = "Keys are registered and revoked with credentials that nothing narrows: your password, or such a token."
        raise ServiceError(ErrorKind.FORBIDDEN, words)
