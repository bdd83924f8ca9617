"""What release approval means for uploads: what their answers say, and that nothing approved is replaced.

The upload service asks nobody itself: signing lets each file that arrives wait
(`services.signing.publication.approving`).
Source: architecture section 11.7.
"""

from __future__ import annotations

from packaging.utils import NormalizedName
from sqlalchemy.ext.asyncio import AsyncConnection

from services.upload.sending import Sent
from shared.auth.directory import IndexRecord
from shared.catalogue import approvals, audit
from shared.catalogue.approvals import APPROVED, EXPIRED, WITHDRAWN
from shared.catalogue.releases import progress
from shared.catalogue.unit_of_work import UnitOfWork
from shared.errors import ErrorKind, ServiceError
from shared.ids import FileId
from shared.jobs.messages import PublishIndex
from shared.resources import Resources


class PendingApprovals:
    """Tells uploads how far the approvals of their files are."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    async def pending(self, sent: Sent, file_id: FileId, *, again: bool) -> str | None:
        """Return how far the approvals of a file are, in words; None when it needs none, or has them all.

        Args:
            again: whether the same bytes were sent once more: then a file that was withdrawn or waited too long is
                asked for again.
        """
        now = self._resources.clock.now()
        async with self._resources.engine.connect() as connection:
            found = await approvals.standing(connection, file_id)
        if found is None or found.state(now) == APPROVED:
            return None
        if again and found.state(now) in {WITHDRAWN, EXPIRED}:
            return await self._ask_again(sent, file_id, found.needed)
        return found.words(now)

    async def _ask_again(self, sent: Sent, file_id: FileId, needed: int) -> str:
        async with UnitOfWork(self._resources.engine) as work:
            known = await progress(work.connection, file_id)
            project_id = await approvals.project_of(work.connection, file_id)
            if known is None or project_id is None:
                raise ServiceError(ErrorKind.CONFLICT, "The file is being removed at the same time.")
            file = known.file
            await audit.record(
                work.connection,
                at=self._resources.clock.now(),
                actor=sent.principal.account or "",
                action="approval.ask-again",
                subject=f"{sent.index.name}/{file.project}/{file.version}/{file.file_name}",
            )
            await work.enqueue(PublishIndex(sent.index.id, project_id, file_id))
            await work.commit()
        return f"asked for once more, waiting for {needed} {'approval' if needed == 1 else 'approvals'}"


async def refuse_replacing(connection: AsyncConnection, index: IndexRecord, project: NormalizedName) -> None:
    """Refuse that other bytes take a file's name where approvals are demanded: the old file would go before anybody
    approved the new one.

    Raises:
        ServiceError: conflict.
    """
    if await approvals.demanded(connection, index.id, index.life, project):
        words = f"Files of {project} in {index.name} need approvals, so that none is replaced: upload a new version."
        raise ServiceError(ErrorKind.CONFLICT, words)
