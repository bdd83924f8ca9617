"""Accounts, tokens, indexes and grants in memory: what a request is checked against without a query.

The gateway writes the tables and notifies `CHANNEL`; every process reads them again then, and at every tick of its
listener, so that a revocation reaches it within `staleness` even when the notice is lost (architecture section 11.9).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from packaging.utils import NormalizedName
from sqlalchemy import Select, and_, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.names import IndexName, parse_index_name
from shared.auth.index_settings import ROW_VERSION, IndexSettings
from shared.auth.last_use import LastUse
from shared.auth.principal import Grant, Resource, Scope, Verb
from shared.auth.tokens import (
    LOGIN_FORMAT_VERSION,
    LOGIN_FORMAT_VERSIONS,
    OPEN_LOGIN_FORMAT_VERSION,
    PUBLISHER_FORMAT_VERSION,
)
from shared.catalogue.tables import Account, Deployment, IndexBase, IndexRow, PolicyExemption, Token
from shared.catalogue.tables import Grant as GrantRow
from shared.ids import IndexId, TokenId
from shared.reading.mirror_options import MirrorOptions
from shared.reading.policy import Exemption, Policy

CHANNEL = "countermark_directory"
"""Postgres notification channel: accounts, tokens, indexes or grants changed; no payload."""

_EXPIRED_KEPT = timedelta(days=30)
"""How long an expired token is still known, so that its bearer is told that it expired and not that it is unknown."""

_LOOK_INTERVAL = 0.1
"""Seconds between two looks at the catalogue before something is refused: bounds what strangers can cause."""

_LOOK_SHARE = 9
"""A look that takes long is followed by this many times as long without one: strangers cause a tenth of the work."""


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """A living account; `password_hash` is None when it cannot sign in with a password."""

    name: str
    password_hash: str | None


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token that was not revoked; whether it has expired is for the reader to see."""

    id: TokenId
    account: str
    scopes: tuple[Scope, ...]
    expires_at: datetime
    login: bool = False
    """Whether a login of the devpi client made it: good with its account's own name only."""
    publisher: str | None = None
    """The name of the trusted publisher that it was made for; `account` is who registered that one."""


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """A living index and who may do what to it."""

    id: IndexId
    name: IndexName
    life: int
    type: str
    public: bool
    volatile: bool
    admission: str
    grants: frozenset[Grant]
    bases: tuple[IndexName, ...] = ()
    """Indexes whose projects show here as well, by name and in order; one that is gone is skipped.

    Private ones of a public index are left out: none can be set, but one can be made under a name that an import had
    brought as a base (architecture section 11.5).
    """
    mirror_whitelist: frozenset[str] = frozenset()
    """Projects (`*` = all) that mirrors may add files to though a stage holds them. Source: contract devpi 15."""
    whitelist_inheritance: str = "intersection"
    """`intersection` or `union`: how the whitelists of the stages in the resolution order combine."""
    mirror: MirrorOptions | None = None
    """Of a mirror, its upstream."""
    policy: Policy | None = None
    """What it shows of mirrored files; None when it shows them all."""
    verify_on_read: bool = False
    """Whether hosted files are served only while their chain holds."""

    def resource(self, project: NormalizedName | None = None) -> Resource:
        """Return this index, or a project in it, as the object of `authorize`."""
        return Resource(self.name, self.grants, project)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    default_index: IndexName | None = None
    accounts: Mapping[str, AccountRecord] = field(default_factory=dict)
    tokens: Mapping[str, TokenRecord] = field(default_factory=dict)
    by_name: Mapping[IndexName, IndexRecord] = field(default_factory=dict)
    by_id: Mapping[IndexId, IndexRecord] = field(default_factory=dict)
    deleted: frozenset[IndexName] = frozenset()


class Directory:
    """A snapshot of who and what there is, replaced whole at each refresh."""

    def __init__(self, engine: AsyncEngine, *, no_password: str | None = None, reserved: Sequence[str] = ()) -> None:
        """Read from a catalogue.

        Args:
            no_password: what to take for the password's hash of accounts that have none: an open devpi's.
            reserved: prefixes of names that every index keeps from mirrors' upstreams.
        """
        self._engine = engine
        self.no_password = no_password
        self._now = _Snapshot()
        self._settings = IndexSettings(reserved)
        self._refreshing = asyncio.Lock()
        self._looking = asyncio.Lock()
        self._readings = 0
        self._next_look = 0.0
        self.last_use = LastUse(engine)
        """When this process saw each token last; its `run` is one of the process's loops."""
        self.generation = 0
        """Grows with every refresh that found something changed; caches keyed by it drop what they derived."""

    @property
    def default_index(self) -> IndexName | None:
        """The deployment's default index; None before `init`."""
        return self._now.default_index

    def account(self, name: str) -> AccountRecord | None:
        """Return a living account."""
        return self._now.accounts.get(name)

    def token(self, secret_sha256: str) -> TokenRecord | None:
        """Return the token kept under this digest."""
        return self._now.tokens.get(secret_sha256)

    def index(self, name: IndexName) -> IndexRecord | None:
        """Return a living index by its name."""
        return self._now.by_name.get(name)

    def index_by_id(self, index_id: IndexId) -> IndexRecord | None:
        """Return a living index by its id."""
        return self._now.by_id.get(index_id)

    def was_public(self, name: IndexName) -> bool:
        """Return whether there was an index of this name that everyone could read, and which was deleted."""
        return name in self._now.deleted

    def indexes(self) -> list[IndexRecord]:
        """Return all living indexes by name."""
        return sorted(self._now.by_name.values(), key=lambda record: record.name)

    async def wake(self, _payload: str) -> None:
        """Refresh; for the listener."""
        await self.refresh()

    async def find_token(self, secret_sha256: str) -> TokenRecord | None:
        """Return a token, looking once more at the catalogue when it is not known."""
        found = self.token(secret_sha256)
        if found is None:
            await self.look_again()
            found = self.token(secret_sha256)
        return found

    async def find_account(self, name: str) -> AccountRecord | None:
        """Return a living account, looking once more at the catalogue when it is not known."""
        found = self.account(name)
        if found is None:
            await self.look_again()
            found = self.account(name)
        return found

    async def look_again(self) -> None:
        """Return when what is in memory was read after this call: what is refused was not given a moment ago.

        Whoever made a token, an index or a right through one process may use it at the next, which is told of it some
        milliseconds later. Callers at the same time share a reading, and readings keep a distance.
        """
        asked = self._readings
        async with self._looking:
            if self._readings > asked:
                async with self._refreshing:
                    return
            await asyncio.sleep(self._next_look - time.monotonic())
            begun = time.monotonic()
            await self.refresh()
            ended = time.monotonic()
            self._next_look = ended + max(_LOOK_INTERVAL, _LOOK_SHARE * (ended - begun))

    async def refresh(self) -> None:
        """Read everything again and replace the snapshot."""
        async with self._refreshing:
            self._readings += 1
            fresh = await self._read()
            if fresh != self._now:
                self._now = fresh
                self.generation += 1

    def _holds(self, format_version: int, account: AccountRecord) -> bool:
        """Return whether a token can be good: a login of an open devpi ends with that, any with the password."""
        if format_version == OPEN_LOGIN_FORMAT_VERSION:
            return self.no_password is not None
        return format_version != LOGIN_FORMAT_VERSION or account.password_hash is not None

    async def _read(self) -> _Snapshot:
        async with self._engine.connect() as connection:
            default = await connection.scalar(select(Deployment.default_index))
            accounts = await connection.execute(
                select(Account.name, Account.password_hash).where(Account.disabled_at.is_(None))
            )
            living = {row.name: AccountRecord(row.name, row.password_hash or self.no_password) for row in accounts}
            tokens = await connection.execute(
                select(
                    Token.secret_sha256,
                    Token.id,
                    Token.account,
                    Token.scopes,
                    Token.expires_at,
                    Token.format_version,
                    Token.publisher["name"].astext.label("publisher"),
                ).where(Token.revoked_at.is_(None), Token.expires_at > func.now() - _EXPIRED_KEPT)
            )
            grants: dict[object, set[Grant]] = {}
            for row in await connection.execute(select(GrantRow.index_id, GrantRow.subject, GrantRow.verb)):
                grants.setdefault(row.index_id, set()).add(Grant(row.subject, Verb(row.verb)))
            bases: dict[object, list[IndexName]] = {}
            for row in await connection.execute(
                select(IndexBase.index_id, IndexBase.base_owner, IndexBase.base_name).order_by(IndexBase.position)
            ):
                bases.setdefault(row.index_id, []).append(IndexName(row.base_owner, row.base_name))
            exempt: dict[object, list[Exemption]] = {}
            for left in await connection.execute(exemptions_query()):
                exempt.setdefault(left.index_id, []).append(
                    Exemption(NormalizedName(left.project), left.version, left.until, left.owner, left.reason)
                )
            columns = (IndexRow.id, IndexRow.owner, IndexRow.name, IndexRow.life, IndexRow.type, IndexRow.visibility)
            living_indexes = (
                await connection.execute(
                    select(*columns, IndexRow.volatile, IndexRow.admission, ROW_VERSION).where(
                        IndexRow.deleted_at.is_(None)
                    )
                )
            ).all()
            versions = {IndexId(row.id): str(row.row_version) for row in living_indexes}
            decided = await self._settings.read(connection, versions)
            private = {IndexName(row.owner, row.name) for row in living_indexes if row.visibility != "public"}
            indexes = [
                IndexRecord(
                    id=IndexId(row.id),
                    name=IndexName(row.owner, row.name),
                    life=row.life,
                    type=row.type,
                    public=row.visibility == "public",
                    volatile=row.volatile,
                    admission=row.admission,
                    grants=frozenset(grants.get(row.id, ())),
                    bases=tuple(
                        base for base in bases.get(row.id, ()) if row.visibility != "public" or base not in private
                    ),
                    mirror_whitelist=said.whitelist,
                    whitelist_inheritance=said.inheritance,
                    mirror=said.mirror,
                    policy=_exempting(said.policy, exempt.get(row.id, ())),
                    verify_on_read=said.verify_on_read,
                )
                for row in living_indexes
                for said in [decided[IndexId(row.id)]]
            ]
            gone = await connection.execute(
                select(IndexRow.owner, IndexRow.name).where(
                    IndexRow.deleted_at.is_not(None), IndexRow.visibility == "public"
                )
            )
            deleted = frozenset(IndexName(row.owner, row.name) for row in gone)
        return _Snapshot(
            default_index=None if default is None else parse_index_name(default),
            accounts=living,
            tokens={
                row.secret_sha256: TokenRecord(
                    TokenId(row.id),
                    row.account,
                    tuple(map(scope_from, row.scopes)),
                    row.expires_at,
                    login=row.format_version in LOGIN_FORMAT_VERSIONS,
                    publisher=row.publisher if row.format_version == PUBLISHER_FORMAT_VERSION else None,
                )
                for row in tokens
                if row.account in living and self._holds(row.format_version, living[row.account])
            },
            by_name={index.name: index for index in indexes},
            by_id={index.id: index for index in indexes},
            deleted=deleted,
        )


def _exempting(policy: Policy | None, exemptions: Sequence[Exemption]) -> Policy | None:
    return None if policy is None else replace(policy, exemptions=tuple(exemptions))


def exemptions_query() -> Select[UUID, str, str | None, datetime, str, str]:
    """Return the query of the exemptions that hold now, those that end first before the others."""
    row = PolicyExemption
    return (
        select(row.index_id, row.project, row.version, row.until, row.owner, row.reason)
        .join(IndexRow, and_(IndexRow.id == row.index_id, IndexRow.life == row.life))
        .where(row.revoked_at.is_(None), row.until > func.now(), IndexRow.deleted_at.is_(None))
        .order_by(row.until, row.id)
    )


def scope_from(stored: Mapping[str, object]) -> Scope:
    """Read a scope as the token table keeps it; see `shared.catalogue.tables.Token`."""
    index, project, verbs = stored["index"], stored["project"], stored["verbs"]
    assert isinstance(verbs, list)
    return Scope(
        index=None if index == "*" else parse_index_name(str(index)),
        project=None if project is None else NormalizedName(str(project)),
        verbs=frozenset(Verb(verb) for verb in verbs),
    )


def scope_to(scope: Scope) -> dict[str, object]:
    """Return a scope as the token table keeps it."""
    return {
        "index": "*" if scope.index is None else str(scope.index),
        "project": scope.project,
        "verbs": sorted(scope.verbs),
    }
