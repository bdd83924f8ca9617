"""Lays the published tree again, from the catalogue and the files: signed metadata and targets, then static pages.

Works beside a running server: every name gets the bytes it had. Source: architecture section 5.3.
"""

from __future__ import annotations

from pydantic import SecretStr

from countermark.core.names import InvalidName, parse_index_name
from deploy.data_folder import DataFolder
from deploy.errors import LaunchError, UsageError
from deploy.open_resources import open_resources
from services.index.laying import lay
from services.index.settings import Limits
from services.signing.rebuilding import rebuild as rebuild_signed
from shared.auth.directory import IndexRecord
from shared.clock import SystemClock
from shared.objects.interface import ObjectStoreError
from shared.resources import Resources
from shared.settings import Settings


async def rebuild(settings: Settings, index: str | None) -> list[str]:
    """Lay the trees of all indexes again, or of one; returns a line for each.

    Raises:
        UsageError: `index` is no name of an index.
        LaunchError: there is no such index, the store cannot be used, or a target is no longer what was signed.
    """
    async with open_resources(beside_server(settings), SystemClock()) as resources:
        await resources.directory.refresh()
        lines, differing = [], 0
        for record in _chosen(resources, index):
            try:
                signed = await rebuild_signed(resources, record.id)
                if signed is None:
                    lines.append(f"{record.name}: was never published")
                    continue
                pages = await lay(resources, Limits(), record.id, full=True)
            except ObjectStoreError as error:
                raise LaunchError(f"{record.name}: {error}") from error
            differing += len(signed.differing)
            counts = f"{signed.metadata_files} metadata files, {signed.targets} targets, {pages} pages"
            lines.append(f"{record.name}: {counts}")
    if differing:
        raise LaunchError(
            f"{differing} targets are not what was signed and were not written; the lines above name them: "
            "restore the catalogue that was signed, or publish those projects again"
        )
    return lines


def beside_server(settings: Settings) -> Settings:
    """Return the settings with the addresses of the server that runs on the data folder, where they name none."""
    if settings.database.url is not None and settings.queue.url is not None:
        return settings
    running = DataFolder(settings.data).running()
    database = settings.database.url or SecretStr(running.database)
    queue = settings.queue.url or SecretStr(running.queue)
    update = {
        "database": settings.database.model_copy(update={"url": database}),
        "queue": settings.queue.model_copy(update={"url": queue}),
    }
    return settings.model_copy(update=update)


def _chosen(resources: Resources, index: str | None) -> list[IndexRecord]:
    if index is None:
        return resources.directory.indexes()
    try:
        record = resources.directory.index(parse_index_name(index))
    except InvalidName as error:
        raise UsageError(str(error)) from error
    if record is None:
        raise LaunchError(f"there is no index {index}: see countermark-server index list")
    return [record]
