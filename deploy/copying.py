"""Copies the published trees of indexes into a folder that any web server can serve: a mirror.

Works beside a running server. Source: trust contract section 2.6.
"""

from __future__ import annotations

from pathlib import Path

from countermark.core.names import InvalidName, parse_index_name
from deploy.errors import LaunchError, UsageError
from deploy.open_resources import open_resources
from deploy.rebuilding import beside_server
from services.signing.upkeep.copying import CopyFailed, copy_tree
from shared.catalogue import publications
from shared.clock import SystemClock
from shared.objects.filesystem import FolderStore
from shared.objects.interface import ObjectStoreError
from shared.settings import Settings


async def copy_to_folder(settings: Settings, index: str, folder: Path, *, pages: bool) -> str:
    """Copy the tree of an index into a folder; returns a line that says what was done.

    Raises:
        UsageError: `index` is no name of an index.
        LaunchError: there is no such index, or the copy failed; the folder still shows what it showed.
    """
    try:
        wanted = parse_index_name(index)
    except InvalidName as error:
        raise UsageError(str(error)) from error
    async with open_resources(beside_server(settings), SystemClock()) as resources:
        async with resources.engine.connect() as connection:
            ids = dict(await publications.index_names(connection))
            facts = None if wanted not in ids else await publications.index_facts(connection, ids[wanted])
        if facts is None:
            raise LaunchError(f"there is no index {index}: see countermark-server index list")
        try:
            # What only some may read stays with who copied it.
            destination = FolderStore(folder, private=not facts.public)
            done = await copy_tree(resources.objects.side(public=facts.public), destination, wanted, pages=pages)
        except (CopyFailed, ObjectStoreError) as error:
            raise LaunchError(f"{wanted}: {error}") from error
    counts = f"{done.files} files, {done.targets} targets, {done.metadata} metadata files, {done.pages} pages, "
    counts += f"{done.attested} documents about attestations"
    state = "" if done.published else " (a newer timestamp lies there and was left)"
    return f"{wanted}: version {done.version}{state}; copied {counts}"
