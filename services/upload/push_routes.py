"""The document by which the devpi client pushes a release: parses, asks for rights in devpi's order, answers.

The client sends it with the method PUSH, which the protocol reads as POST; that its body is JSON tells it from an
upload. Errors are devpi's: `{"message"}`.

Source: contract devpi sections 1 (item 2) and 11.
"""

from __future__ import annotations

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from countermark.core.names import IndexName, InvalidName, parse_index_name
from services.upload import push_rules as rules
from services.upload.fetched import FetchedReleases
from services.upload.forwarding import Forwarder
from services.upload.parcel import Parcel
from services.upload.push_rules import InvalidPush, Push
from services.upload.pushing import Pushes
from services.upload.turns import Turns
from shared.auth.access import credentials_in, decided, identified, require
from shared.auth.directory import IndexRecord
from shared.auth.permissions import Decision, authorize
from shared.auth.principal import Principal, Verb
from shared.auth.verifier import Verifier
from shared.devpi import MEDIA_TYPE, devpi_answer, devpi_error, is_devpi_client
from shared.errors import ErrorKind, ServiceError
from shared.faces import Face, FaceKind
from shared.reading.resolution import MIRROR
from shared.resources import Resources

_AT_ONCE = 8
"""Pushes that this process does at the same time."""

_WAIT = 20.0
"""Seconds that a push waits for its turn; a gateway waits for a minute."""


def is_push(face: Face, request: Request) -> bool:
    """Return whether a request is a push and no upload."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return face.kind is FaceKind.INDEX and kind == MEDIA_TYPE


class PushRoutes:
    """Answers pushes."""

    def __init__(self, resources: Resources, pushes: Pushes, forwarder: Forwarder, verifier: Verifier) -> None:
        self._directory = resources.directory
        self._takes_passwords = resources.settings.is_open_devpi
        self._pushes = pushes
        self._fetched = FetchedReleases(resources, pushes.staging)
        self._forwarder = forwarder
        self._verifier = verifier
        self._turns = Turns(_AT_ONCE, _WAIT)

    async def answer(self, request: Request, name: IndexName) -> Response:
        """Push a release of the index `name`, or say why not."""
        try:
            return await self._answer(request, name)
        except InvalidPush as error:
            return devpi_error(ServiceError(ErrorKind.INVALID, str(error)))
        except ServiceError as error:
            return devpi_error(error)

    async def _answer(self, request: Request, name: IndexName) -> Response:
        credentials = credentials_in(request.headers)

        async def from_where() -> tuple[Principal, IndexRecord]:
            principal = await identified(self._verifier, credentials)
            by_password = principal.account is not None and principal.token_id is None
            if by_password and not self._takes_passwords and not is_devpi_client(request.headers):
                # As for uploads: what a build machine holds is scoped, expires and can be revoked.
                words = "Passwords are not taken for pushes: log in with the devpi client, or send a token."
                raise ServiceError(ErrorKind.FORBIDDEN, words)
            source = self._stage(name)
            require(principal, Verb.READ, source)
            return principal, source

        principal, source = await decided(self._directory, from_where)
        push = rules.parse_push(await _body(request))
        rules.check_flags(push)
        # Two thousand files are looked into, copied or sent: however many ask, the rest of the service goes on.
        async with self._turns.one("pushes"):
            if source.type == MIRROR:
                parcel = await self._fetched.pick(source, push, principal)
            else:
                parcel = await self._pushes.pick(source, push)
            if not push.is_internal:
                return await self._forward(principal, source, push, parcel)
            target = await self._target(push, principal, parcel)
            lines = await self._pushes.promote(push, parcel, source, target, principal)
            waits = await self._pushes.needs_approvals(target, parcel)
        status = f'</api/v1/indexes/{target.name}/approvals>; rel="status"'
        return devpi_answer("actionlog", lines, headers={"Link": status} if waits else None)

    async def _target(self, push: Push, principal: Principal, parcel: Parcel) -> IndexRecord:
        """Return the index a push goes to, for those who may upload there."""
        text = rules.target_of(push)

        async def to_where() -> IndexRecord:
            try:
                target = self._stage(parse_index_name(text))
            except InvalidName as error:
                raise _no_stage(text) from error
            resource = target.resource(parcel.release.project)
            allowed = authorize(principal, Verb.UPLOAD, resource) is Decision.ALLOWED
            if not allowed or target.type != "stage":
                words = f"user {principal.account!r} cannot upload to {text!r}"
                raise ServiceError(ErrorKind.UNAUTHENTICATED, words)
            return target

        return await decided(self._directory, to_where)

    async def _forward(self, principal: Principal, source: IndexRecord, push: Push, parcel: Parcel) -> Response:
        if source.type == MIRROR:
            words = f"{source.name} is a mirror: push to an index here first, and from there to other servers"
            raise ServiceError(ErrorKind.INVALID, words)
        if principal.is_anonymous:
            words = "Log in first: nobody unknown has this server send files elsewhere."
            raise ServiceError(ErrorKind.UNAUTHENTICATED, words)
        done, lines = await self._forwarder.forward(source, push, parcel)
        return devpi_answer("actionlog", lines, status=HTTPStatus.OK if done else HTTPStatus.BAD_GATEWAY)

    def _stage(self, name: IndexName) -> IndexRecord:
        found = self._directory.index(name)
        if found is None:
            raise _no_stage(str(name))
        return found


def _no_stage(name: str) -> ServiceError:
    return ServiceError(ErrorKind.NOT_FOUND, f"The stage {name} could not be found.")


async def _body(request: Request) -> bytes:
    """Return the document, which is short.

    Raises:
        ServiceError: too-large.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > rules.MAX_BODY:
            raise ServiceError(ErrorKind.TOO_LARGE, f"The document of a push is at most {rules.MAX_BODY} bytes long.")
    return bytes(body)
