"""The writer of what an index allows and how it is described: its grants and its settings.

Source: architecture sections 11.1 and 11.5.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from sqlalchemy import delete, insert, select, update

from countermark.core.names import IndexName
from gateway.writer import CatalogueWriter, check_description
from shared.auth.index_settings import VERIFY_ON_READ
from shared.auth.principal import ANONYMOUS, AUTHENTICATED, Verb
from shared.catalogue.tables import Deployment, Grant, IndexRow
from shared.catalogue.unit_of_work import UnitOfWork
from shared.errors import ErrorKind, ServiceError
from shared.ids import IndexId
from shared.reading.resolution import MIRROR

MAX_SUBJECT = 200
"""Characters of a subject."""

MAX_SUBJECTS = 500
"""Subjects with grants on one index."""

_GROUP = re.compile(r":[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


class IndexRights(CatalogueWriter):
    """Changes grants and settings."""

    async def set_grants(self, index: IndexName, subject: str, verbs: Collection[Verb]) -> None:
        """Let `subject` do exactly `verbs` on an index, in place of what it could do before.

        Args:
            subject: a living account, `:group`, `:ANONYMOUS:` or `:AUTHENTICATED:`; taking everything away works for
                accounts that are gone as well.
            verbs: nothing takes all grants away.

        Raises:
            ServiceError: NOT_FOUND without such an index or account, INVALID for a subject that is none, CONFLICT for
                what would lock the owner out, open or close an index whose visibility is fixed, or make a group or
                everyone administrate the deployment.
        """
        if not 0 < len(subject) <= MAX_SUBJECT or not subject.isprintable():
            detail = f"Say who is meant: an account's name, or a group, in at most {MAX_SUBJECT} printable characters."
            raise ServiceError(ErrorKind.INVALID, detail)
        async with UnitOfWork(self._engine) as work:
            index_id = await self._index_id(work, index)
            # One writer of an index's grants at a time: the limit is counted, and the audit says before and after.
            await work.connection.execute(select(IndexRow.id).where(IndexRow.id == index_id).with_for_update())
            await self._check(work, index, subject, verbs)
            of_subject = (Grant.index_id == index_id, Grant.subject == subject)
            before = sorted((await work.connection.execute(select(Grant.verb).where(*of_subject))).scalars())
            after = sorted(verb.value for verb in set(verbs))
            if before == after:
                return
            if not before and await self._subjects(work, index_id) >= MAX_SUBJECTS:
                detail = f"An index has grants for at most {MAX_SUBJECTS} accounts and groups: use a group."
                raise ServiceError(ErrorKind.CONFLICT, detail)
            await work.connection.execute(delete(Grant).where(*of_subject))
            if after:
                rows = [{"index_id": index_id, "subject": subject, "verb": verb} for verb in after]
                await work.connection.execute(insert(Grant), rows)
            await self._record(work, "grant.set", str(index), to=subject, before=before, after=after)
            await self._commit(work)

    async def describe(self, index: IndexName, description: str | None) -> None:
        """Give an index a line about what it is for, or take it away.

        Raises:
            ServiceError: NOT_FOUND without such an index, INVALID for a text that is too long or not printable.
        """
        check_description(description)
        async with UnitOfWork(self._engine) as work:
            index_id = await self._index_id(work, index)
            of_id = IndexRow.id == index_id
            query = select(IndexRow.settings).where(of_id).with_for_update()
            settings = dict((await work.connection.execute(query)).scalar_one())
            if settings.get("description") == description:
                return
            settings["description"] = description
            await work.connection.execute(update(IndexRow).where(of_id).values(settings=settings))
            await self._record(work, "index.describe", str(index), description=description)
            await self._commit(work)

    async def verify_on_read(self, index: IndexName, *, on: bool) -> None:
        """Let the files of an index be served only while their chain holds, or whatever is stored.

        Raises:
            ServiceError: NOT_FOUND without such an index; CONFLICT for a mirror, of which nothing is signed.
        """
        async with UnitOfWork(self._engine) as work:
            of_id = IndexRow.id == await self._index_id(work, index)
            query = select(IndexRow.type, IndexRow.settings).where(of_id).with_for_update()
            row = (await work.connection.execute(query)).one()
            if row.type == MIRROR and on:
                detail = f"{index} is a mirror: what mirrors have is never signed, so there is nothing to verify."
                raise ServiceError(ErrorKind.CONFLICT, detail)
            settings = dict(row.settings)
            if bool(settings.get(VERIFY_ON_READ)) == on:
                return
            settings[VERIFY_ON_READ] = on
            await work.connection.execute(update(IndexRow).where(of_id).values(settings=settings))
            await self._record(work, "index.verify_on_read", str(index), on=on)
            await self._commit(work)

    async def _check(self, work: UnitOfWork, index: IndexName, subject: str, verbs: Collection[Verb]) -> None:
        if subject[:1] == ":" and Verb.CONFIGURE in verbs and await self._is_default(work, index):
            detail = f"Who may configure {index}, the default index, administrates this deployment: accounts, sign-in"
            detail += " links, jobs. Give that to accounts by name, not to a group or to everyone."
            raise ServiceError(ErrorKind.CONFLICT, detail)
        if subject == index.owner and set(verbs) != set(Verb):
            raise ServiceError(ErrorKind.CONFLICT, f"{subject} owns {index} and keeps every right on it.")
        if subject == ANONYMOUS:
            of_name = (IndexRow.owner == index.owner, IndexRow.name == index.name)
            visibility = await work.connection.scalar(select(IndexRow.visibility).where(*of_name))
            if set(verbs) != ({Verb.READ} if visibility == "public" else set()):
                detail = f"{index} is {visibility}, which was chosen when it was made: everyone may read a public index"
                detail += " and nothing else, and nobody unknown a private one. Make another index."
                raise ServiceError(ErrorKind.CONFLICT, detail)
        elif subject == AUTHENTICATED or _GROUP.match(subject):
            return
        elif subject.startswith(":"):
            raise ServiceError(ErrorKind.INVALID, f"{subject[:64]} is no group: it is a colon and a plain name.")
        elif verbs:
            await self._living(work, subject)

    async def _is_default(self, work: UnitOfWork, index: IndexName) -> bool:
        return str(index) == await work.connection.scalar(select(Deployment.default_index))

    async def _subjects(self, work: UnitOfWork, index_id: IndexId) -> int:
        rows = await work.connection.execute(select(Grant.subject).where(Grant.index_id == index_id).distinct())
        return len(rows.all())
