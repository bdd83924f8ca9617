"""Where the registry's own verification summary of a file lies: further evidence to clients, and never to the registry.

Source: ADR 0043 ("Clients").
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.attestations.judgements import JudgedFile
from countermark.core.digest import Sha256
from countermark.core.names import FileName, NormalizedName, parse_index_name, summary_target
from shared.catalogue.tidying import newest_digests
from shared.ids import IndexId
from shared.objects.interface import Key
from shared.objects.keys import target_key


async def own_summary(connection: AsyncConnection, index_id: IndexId, file: JudgedFile) -> tuple[Key, Sha256] | None:
    """Return under which key a file's signed summary lies, and its digest; None where none is signed.

    Nothing is believed of what lies there: it is a bundle, which proves itself or is no evidence.

    Args:
        index_id: of the index that the file is in.
    """
    path = summary_target(NormalizedName(file.project), FileName(file.file_name))
    digest = (await newest_digests(connection, index_id, [path])).get(path)
    return None if digest is None else (target_key(parse_index_name(file.index), path, digest), digest)
