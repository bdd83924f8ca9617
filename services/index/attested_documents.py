"""What lies in the static tree about a file's attestations: its two documents, made of what is shown and kept.

Whoever lays them and whoever compares what lies there make them here.
Source: architecture sections 6 and 11.8; ADR 0042.
"""

from __future__ import annotations

from collections.abc import Sequence

from countermark.core.attestations.bundle import MAX_BUNDLE_BYTES
from countermark.core.digest import sha256_of
from countermark.core.names import FileName, IndexName, NormalizedName
from shared.catalogue.attestations import Stored
from shared.objects.interface import Key, ObjectNotFound, ObjectStore
from shared.objects.keys import BUNDLE_LIST, PROVENANCE_DOCUMENT, attested_key, bundle_key
from shared.reading.attested import other_bundles, provenance_of
from shared.reading.loading import load
from shared.reading.provenance import bundle_list, provenance_object

EMPTY = (provenance_object(()), bundle_list(()))
"""Both documents of a name of which nothing is shown, or nothing attested."""


class Damaged(Exception):
    """A bundle is not in the store, or is not what was kept; the message names it."""


def document_keys(index: IndexName, project: NormalizedName, name: FileName) -> tuple[Key, Key]:
    """Return where both documents of a file's name lie: the provenance object, then the list of other bundles."""
    return (
        attested_key(index, project, name, PROVENANCE_DOCUMENT),
        attested_key(index, project, name, BUNDLE_LIST),
    )


async def documents_of(store: ObjectStore, name: FileName, rows: Sequence[Stored]) -> tuple[bytes, bytes]:
    """Return both documents of a file's name.

    Args:
        rows: all that is kept of the file that is shown under it, oldest first; none when no file is.

    Raises:
        Damaged: a bundle is missing or damaged, so that the object cannot be made.
        ObjectStoreError: the store failed.
    """

    async def read(row: Stored) -> bytes:
        key: Key = bundle_key(row.sha256, name)
        try:
            body = await load(store, key, MAX_BUNDLE_BYTES)
        except ObjectNotFound as error:
            raise Damaged(f"{key} is missing in the store") from error
        if sha256_of(body) != row.sha256:
            raise Damaged(f"{key} is damaged in the store")
        return body

    try:
        found = await provenance_of(rows, read)
    except ValueError as error:
        raise Damaged(str(error)) from error
    return found or EMPTY[0], other_bundles(rows, name) or EMPTY[1]
