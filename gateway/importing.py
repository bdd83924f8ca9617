"""The writer of accounts and indexes that come from another registry, as they were there.

What exists here already is left as it is, so that the same import can be run again and takes nothing over.
Source: architecture sections 11.1 and 11.5; contract devpi sections 5, 6 and 18.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import insert as pg_insert

from countermark.core.names import IndexName
from gateway.writer import CatalogueWriter
from shared.auth.principal import ANONYMOUS, Grant, Verb
from shared.catalogue.tables import Account, IndexBase, IndexRow
from shared.catalogue.tables import Grant as GrantRow
from shared.catalogue.unit_of_work import UnitOfWork
from shared.errors import ErrorKind, ServiceError
from shared.ids import IndexId, new_uuid
from shared.jobs.messages import PublishIndex


@dataclass(frozen=True, slots=True)
class ImportedAccount:
    """An account of another registry.

    Attributes:
        password_hash: argon2's encoded form, None for an account that signs in with tokens and links alone.
        profile: see `shared.catalogue.tables.Account`.
    """

    name: str
    password_hash: str | None
    email: str | None
    profile: Mapping[str, Any]
    created_at: datetime
    modified_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ImportedIndex:
    """An index of another registry, with admission `devpi`.

    Attributes:
        settings: see `shared.catalogue.tables.IndexRow`.
        grants: who may do what, the owner included; everyone's reading of a public index comes with `public`.
    """

    name: IndexName
    type: Literal["stage", "mirror"] = "stage"
    public: bool = True
    volatile: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    bases: Sequence[IndexName] = ()
    grants: frozenset[Grant] = frozenset()


class ImportWriter(CatalogueWriter):
    """Adds accounts and indexes that are not here yet."""

    async def existing(self) -> tuple[frozenset[str], Mapping[IndexName, bool]]:
        """Return the names of all accounts, also of ended ones, and of all indexes -> whether it lives."""
        async with self._engine.connect() as connection:
            accounts = frozenset(await connection.scalars(select(Account.name)))
            rows = await connection.execute(select(IndexRow.owner, IndexRow.name, IndexRow.deleted_at))
            return accounts, {IndexName(row.owner, row.name): row.deleted_at is None for row in rows}

    async def add_account(self, new: ImportedAccount) -> bool:
        """Add an account; returns whether it was new."""
        async with UnitOfWork(self._engine) as work:
            row = pg_insert(Account).values(
                name=new.name,
                password_hash=new.password_hash,
                email=new.email,
                profile=dict(new.profile),
                created_at=new.created_at,
                modified_at=new.modified_at,
            )
            added = await work.connection.scalar(row.on_conflict_do_nothing().returning(Account.name))
            if added is None:
                return False
            await self._record(work, "account.import", new.name, password=new.password_hash is not None)
            await self._commit(work)
        return True

    async def add_index(self, new: ImportedIndex) -> bool:
        """Add an index with bases and grants, and ask for a stage's first publication; returns whether it was new.

        Raises:
            ServiceError: NOT_FOUND when its owner does not exist, CONFLICT when an index of this name was deleted.
        """
        name = new.name
        async with UnitOfWork(self._engine) as work:
            await self._living(work, name.owner)
            row = pg_insert(IndexRow).values(
                id=new_uuid(),
                owner=name.owner,
                name=name.name,
                life=1,
                type=new.type,
                visibility="public" if new.public else "private",
                volatile=new.volatile,
                admission="devpi",
                settings=dict(new.settings),
                created_at=self._clock.now(),
            )
            index_id = await work.connection.scalar(row.on_conflict_do_nothing().returning(IndexRow.id))
            if index_id is None:
                of_name = (IndexRow.owner == name.owner, IndexRow.name == name.name, IndexRow.deleted_at.is_(None))
                if await work.connection.scalar(select(IndexRow.id).where(*of_name)) is None:
                    detail = f"The index {name} was deleted here: make it again, or import it under another name."
                    raise ServiceError(ErrorKind.CONFLICT, detail)
                return False
            await self._fill(work, IndexId(index_id), new)
            await self._record(work, "index.import", str(name), type=new.type, public=new.public)
            if new.type == "stage":
                await work.enqueue(PublishIndex(IndexId(index_id)))
            await self._commit(work)
        return True

    async def _fill(self, work: UnitOfWork, index_id: IndexId, new: ImportedIndex) -> None:
        everyone = {Grant(ANONYMOUS, Verb.READ)} if new.public else set()
        grants = sorted({(grant.subject, grant.verb.value) for grant in new.grants | everyone})
        rows = [{"index_id": index_id, "subject": subject, "verb": verb} for subject, verb in grants]
        await work.connection.execute(insert(GrantRow), rows)
        bases = [
            {"index_id": index_id, "position": position, "base_owner": base.owner, "base_name": base.name}
            for position, base in enumerate(new.bases)
        ]
        if bases:
            await work.connection.execute(insert(IndexBase), bases)
