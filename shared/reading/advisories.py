"""Known vulnerabilities of a version, as the imported snapshot of OSV has them.

Nothing is asked of anybody outside: what was not imported is not known here (ADR 0029).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.names import NormalizedName
from shared.catalogue.advisories import Entry, documents, entries
from shared.formats.python.osv import affects, vulnerability
from shared.zstd import unpack

MOST = 1_000
"""Vulnerabilities of one version that are listed; the project with most advisories has some hundreds."""


async def vulnerabilities(connection: AsyncConnection, project: NormalizedName, version: str) -> list[dict[str, Any]]:
    """Return what the JSON API lists as `vulnerabilities` of a version, withdrawn ones with the time of that.

    None when nothing was imported. For hosted and mirrored projects alike: advisories are told by the project's name.

    Source: contract python-index section 1.9.4.
    """
    found = (await entries(connection, [project], withdrawn=True)).get(project, [])
    if not found:
        return []
    matched = (await asyncio.to_thread(_matching, found, version))[:MOST]
    kept = await documents(connection, [entry.id for entry in matched])
    return await asyncio.to_thread(_listed, matched, kept)


def _matching(found: Iterable[Entry], version: str) -> list[Entry]:
    return sorted((one for one in found if affects(one.unpacked(), version)), key=lambda one: one.id)


def _listed(matched: list[Entry], kept: dict[str, bytes]) -> list[dict[str, Any]]:
    # Between the two queries another snapshot may have come.
    return [vulnerability(unpack(kept[entry.id]), entry.unpacked()) for entry in matched if entry.id in kept]
