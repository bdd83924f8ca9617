"""Lays the published tree again, from the catalogue and the files: signed metadata and targets, then static pages.

Works beside a running server: every name gets the bytes it had. Source: architecture section 5.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr

from countermark.core.names import IndexName, InvalidName, parse_index_name
from deploy.data_folder import DataFolder
from deploy.errors import LaunchError, UsageError
from deploy.open_resources import open_resources
from services.index.checking_attested import check_attested
from services.index.laying import lay
from services.index.settings import Limits
from services.signing.upkeep.checking import check as check_signed
from services.signing.upkeep.rebuilding import rebuild as rebuild_signed
from shared.catalogue import publications
from shared.clock import SystemClock
from shared.ids import IndexId
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
        lines, differing = [], 0
        for name, index_id in await _chosen(resources, index):
            try:
                signed = await rebuild_signed(resources, index_id)
                if signed is None:
                    lines.append(f"{name}: was never published")
                    continue
                pages = await lay(resources, Limits(), index_id, full=True)
            except ObjectStoreError as error:
                raise LaunchError(f"{name}: {error}") from error
            differing += len(signed.differing)
            counts = f"{signed.metadata_files} metadata files, {signed.targets} targets, {pages} pages"
            again = f"; {signed.again} pages with another address are published again" if signed.again else ""
            lines.append(f"{name}: {counts}{again}")
    if differing:
        raise LaunchError(
            f"{differing} targets are not what was signed and were not written; the lines above name them: "
            "restore the catalogue that was signed, or publish those projects again"
        )
    return lines


@dataclass(frozen=True, slots=True)
class Checked:
    """What a comparison of an index with the catalogue found.

    Attributes:
        targets: how many are signed.
        documents: about attestations, how many there should be.
        faults: a line for each.
        remedy: what to do about documents that differ; None where none does.
    """

    index: str
    targets: int
    documents: int
    faults: Sequence[str]
    remedy: str | None


async def check(settings: Settings, index: str | None) -> list[Checked]:
    """Compare what indexes have signed, and the laid documents about attestations, with what the catalogue says;
    changes nothing.

    Raises:
        UsageError: `index` is no name of an index.
        LaunchError: there is no such index, or the store cannot be used.
    """
    async with open_resources(beside_server(settings), SystemClock()) as resources:
        found = [await _checked(resources, index_id) for _, index_id in await _chosen(resources, index)]
    return [one for one in found if one is not None]


async def _checked(resources: Resources, index_id: IndexId) -> Checked | None:
    """Compare one index; None when it was never published."""
    signed = await check_signed(resources, index_id)
    if signed is None:
        return None
    try:
        laid = await check_attested(resources, index_id)
    except* ObjectStoreError as errors:
        raise LaunchError(f"{signed.index}: {errors.exceptions[0]}") from errors
    assert laid is not None, "it was published"
    lines = [f"{key}: {said}" for key, said in laid.faults.items()]
    remedy = f"documents about attestations are laid again by: countermark-server rebuild {signed.index}"
    faults = [*signed.faults, *lines]
    return Checked(signed.index, signed.targets, laid.documents, faults, remedy if laid.mendable else None)


def beside_server(settings: Settings) -> Settings:
    """Return the settings with the addresses of the server that runs on the data folder, where they name none."""
    if settings.database.url is not None and settings.queue.url is not None:
        return settings
    running = DataFolder(settings.data).running()
    database = settings.database.url or SecretStr(running.database)
    queue = settings.queue.url or SecretStr(running.queue)
    # Pages that are signed name the host they are read from, where no outside address is set: the one it was told.
    port = urlsplit(running.api).port or settings.listen.api_port
    update = {
        "database": settings.database.model_copy(update={"url": database}),
        "queue": settings.queue.model_copy(update={"url": queue}),
        "listen": settings.listen.model_copy(update={"api_port": port}),
    }
    return settings.model_copy(update=update)


async def _chosen(resources: Resources, index: str | None) -> list[tuple[IndexName, IndexId]]:
    """Return the stages meant, the deleted ones as well: their trees say that nothing is there any more."""
    async with resources.engine.connect() as connection:
        names = await publications.index_names(connection)
    if index is None:
        return names
    try:
        wanted = parse_index_name(index)
    except InvalidName as error:
        raise UsageError(str(error)) from error
    found = [(name, index_id) for name, index_id in names if name == wanted]
    if not found:
        raise LaunchError(f"there is no index {index}: see countermark-server index list")
    return found
