"""Registering a release without a file, as `submit` forms ask for: its metadata are kept, its project answers with an
empty page and hides that of mirrors.

Source: contract devpi sections 9, 15 and 20; architecture section 11.7.
"""

from __future__ import annotations

import structlog

from services.upload import devpi_rules
from services.upload.inspecting import sentences
from services.upload.rules import Fields
from services.upload.sending import Sent
from shared.catalogue import releases
from shared.catalogue.releases import STRICT, NewRelease
from shared.catalogue.unit_of_work import UnitOfWork
from shared.errors import ErrorKind, ServiceError
from shared.formats.interface import InvalidFile
from shared.formats.python.names import FORMAT, release_key
from shared.jobs.messages import PublishIndex
from shared.resources import Resources

log = structlog.get_logger()


class Registry:
    """The use case of `submit`."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    async def register(self, sent: Sent, fields: Fields) -> None:
        """Register a release, or replace its metadata; returns once it is served, or after `publish_wait`.

        Metadata of a release that has files stay where those are the truth (admission `strict`), and where what was
        published is not to change (a non-volatile index): the answer is the same, since clients register each time.

        Raises:
            ServiceError: invalid with every fault, forbidden.
        """
        new, index = self._new_release(fields), sent.index
        sent.permit(new.project)
        async with UnitOfWork(self._resources.engine) as work:
            place = (index.id, index.life, new.format, new.project)
            status = await releases.project_status(work.connection, *place)
            if status in {"archived", "quarantined"}:
                raise ServiceError(ErrorKind.FORBIDDEN, f"Project {new.project} is {status}: it takes no uploads.")
            project_id = await releases.open_project(work.connection, index.id, index.life, new, alone=True)
            always = index.volatile and index.admission != STRICT
            if not await releases.register(work.connection, project_id, new, always=always):
                return
            # What is derived from the release is kept until a publication of its project.
            job = await work.enqueue(PublishIndex(index.id, project_id))
            await work.commit()
        log.info("release_registered", index=str(index.name), project=new.project, version=new.version)
        await self._resources.heads.wait_settled(index.id, [job], self._resources.settings.uploads.publish_wait)

    def _new_release(self, fields: Fields) -> NewRelease:
        try:
            named = devpi_rules.named_in(fields)
            devpi_rules.requires_python_in(fields)
        except InvalidFile as error:
            raise ServiceError(ErrorKind.INVALID, sentences("", error.issues)) from error
        return NewRelease(
            format=FORMAT,
            project=named.project,
            display_name=named.display_name,
            version=named.version,
            release_key=release_key(named.version),
            fields=devpi_rules.metadata_in(fields),
            at=self._resources.clock.now(),
        )
