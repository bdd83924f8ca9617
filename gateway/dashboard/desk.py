"""What every page of the dashboard needs: who looks, what they may see, and how a page is answered."""

from __future__ import annotations

from dataclasses import dataclass

from packaging.utils import NormalizedName
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request
from starlette.responses import Response

from countermark.core.names import IndexName, InvalidName, parse_index_name, parse_project_name
from gateway.accounts import Accounts
from gateway.dashboard.readme import Readmes
from gateway.dashboard.remote import Remote
from gateway.dashboard.session_tokens import SessionTokens
from gateway.forms import FORM_FIELD, check_form_token, posted_form
from gateway.index_rights import IndexRights
from gateway.limits import Limits
from gateway.login import Login
from gateway.policies import Policies
from gateway.sessions import Session
from gateway.settings import Addresses
from gateway.templates import Pages, wants_part
from shared.auth.directory import Directory, IndexRecord
from shared.auth.permissions import Decision, authorize
from shared.auth.principal import Principal, Verb
from shared.clock import Clock
from shared.errors import ErrorKind, ServiceError
from shared.reading.resolution import MIRROR, resolution_order


class SignInNeeded(Exception):
    """Nobody is signed in; the answer is the way to the login."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks at a page.

    Attributes:
        administrator: whether they may configure the deployment's default index.
        part: whether a script asks for the page's content alone.
    """

    session: Session
    administrator: bool
    part: bool = False

    @property
    def account(self) -> str:
        """The account's name."""
        return self.session.account

    @property
    def form_token(self) -> str:
        """What every form of the page carries."""
        return self.session.csrf

    def may(self, verb: Verb, index: IndexRecord, project: str | None = None) -> bool:
        """Whether the visitor may do `verb` to an index, or to a project in it."""
        normal = None if project is None else NormalizedName(project)
        return authorize(Principal(account=self.account), verb, index.resource(normal)) is Decision.ALLOWED

    def configures(self, index: IndexRecord) -> bool:
        """Whether the visitor may say who may do what to an index."""
        return self.may(Verb.CONFIGURE, index)


@dataclass(frozen=True, slots=True)
class Backing:
    """What stands behind the pages beside the API.

    Attributes:
        links: whether one-time links can sign people in here.
        most_indexes: that one account may have.
    """

    engine: AsyncEngine
    clock: Clock
    directory: Directory
    limits: Limits
    links: bool
    most_indexes: int
    reserved: tuple[str, ...] = ()
    """Prefixes of names that every index keeps from mirrors' upstreams."""


class Desk:
    """Serves the pages' common needs."""

    def __init__(self, backing: Backing, addresses: Addresses, login: Login, pages: Pages, remote: Remote) -> None:
        self._backing = backing
        self._login = login
        self._pages = pages
        self.addresses = addresses
        self.remote = remote
        self.tokens = SessionTokens(backing.engine, backing.clock, backing.directory)
        self.readmes = Readmes()

    @property
    def directory(self) -> Directory:
        """Accounts, indexes and grants."""
        return self._backing.directory

    @property
    def backing(self) -> Backing:
        """Catalogue, clock and directory."""
        return self._backing

    @property
    def login(self) -> Login:
        """Whose browser is whose."""
        return self._login

    def rights(self, visitor: Visitor) -> IndexRights:
        """Return the writer of what indexes allow, in the visitor's name."""
        return IndexRights(self._backing.engine, self._backing.clock, actor=visitor.account)

    def policies(self, visitor: Visitor) -> Policies:
        """Return the writer of what indexes show of mirrored files, in the visitor's name."""
        return Policies(self._backing.engine, self._backing.clock, actor=visitor.account)

    def configures(self, visitor: Visitor, index: str) -> bool:
        """Whether the visitor may configure the index of a name."""
        record = self.directory.index(parse_index_name(index))
        return record is not None and visitor.configures(record)

    def has_mirrors(self, record: IndexRecord) -> bool:
        """Whether an index is a mirror, or shows one."""
        return any(member.type == MIRROR for member in resolution_order(record, self.directory.index))

    def accounts(self, visitor: Visitor) -> Accounts:
        """Return the writer of accounts and tokens in the visitor's name."""
        return Accounts(self._backing.engine, self._backing.clock, actor=visitor.account)

    async def visitor(self, request: Request) -> Visitor:
        """Return who looks.

        Raises:
            SignInNeeded: nobody is signed in.
        """
        session = await self._login.session(request)
        if session is None:
            raise SignInNeeded
        default = self.directory.default_index
        record = None if default is None else self.directory.index(default)
        administrator = record is not None and Visitor(session, False).may(Verb.CONFIGURE, record)
        return Visitor(session, administrator, wants_part(request))

    async def posted(self, request: Request) -> tuple[Visitor, dict[str, str]]:
        """Return who sent a form of ours, and its fields.

        Raises:
            SignInNeeded: nobody is signed in.
            ServiceError: FORBIDDEN for a form of another site or session, and as `posted_form`.
        """
        fields = await posted_form(request, self.addresses.ui)
        visitor = await self.visitor(request)
        check_form_token(fields.get(FORM_FIELD), visitor.form_token)
        return visitor, fields

    async def administering(self, request: Request) -> Visitor:
        """Return who looks at a page of administrators.

        Raises:
            SignInNeeded: nobody is signed in.
            ServiceError: FORBIDDEN for everybody else.
        """
        return only_administrators(await self.visitor(request))

    def readable(self, visitor: Visitor) -> list[IndexRecord]:
        """Return the indexes the visitor may read, by name."""
        return [record for record in self.directory.indexes() if visitor.may(Verb.READ, record)]

    def configured(self, visitor: Visitor, request: Request) -> IndexRecord:
        """Return the index a page's path names, for who may configure it.

        Raises:
            ServiceError: as `index`, and FORBIDDEN for readers.
        """
        record = self.index(visitor, request)
        if not visitor.configures(record):
            raise ServiceError(
                ErrorKind.FORBIDDEN,
                f"Your account may not {Verb.CONFIGURE} {record.name}. Ask {record.name.owner}, its owner.",
            )
        return record

    def index(self, visitor: Visitor, request: Request) -> IndexRecord:
        """Return the index a page's path names.

        Raises:
            ServiceError: NOT_FOUND when there is none the visitor may read: which private ones exist is not told.
        """
        written = f"{request.path_params['owner']}/{request.path_params['index']}"
        try:
            name: IndexName | None = parse_index_name(written)
        except InvalidName:
            name = None
        record = None if name is None else self.directory.index(name)
        if record is None or not visitor.may(Verb.READ, record):
            raise ServiceError(ErrorKind.NOT_FOUND, "There is no such index, or your account may not read it.")
        return record

    async def reading(self, visitor: Visitor) -> str:
        """Return a token for what the visitor may read."""
        return await self.tokens.reading(visitor.session)

    def answer(self, template: str, visitor: Visitor, status: int = 200, **values: object) -> Response:
        """Return a page with the visitor's name and navigation."""
        return self._pages.answer(template, status, part=visitor.part, visitor=visitor, **values)


def only_administrators(visitor: Visitor) -> Visitor:
    """Return the visitor, who is an administrator.

    Raises:
        ServiceError: FORBIDDEN for everybody else.
    """
    if not visitor.administrator:
        raise ServiceError(ErrorKind.FORBIDDEN, "This page is for administrators of the deployment.")
    return visitor


def project_of(request: Request) -> NormalizedName:
    """Return the project a page's path names.

    Raises:
        ServiceError: NOT_FOUND for what can be no project.
    """
    try:
        return parse_project_name(request.path_params["project"])
    except InvalidName as error:
        raise ServiceError(ErrorKind.NOT_FOUND, "There is no such project.") from error


def index_url(addresses: Addresses, index: IndexRecord) -> str:
    """Return the URL of an index on the API host, without a trailing slash."""
    return f"{addresses.api}/{index.name}"
