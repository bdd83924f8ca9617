"""Which schema the catalogue has and which one this version needs, without loading what migrates it.

Every process asks at its start; Alembic would cost each of them eight megabytes for this one question.
"""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

VERSIONS = Path(__file__).with_name("migrations") / "versions"
"""The revisions, one file each; their names begin with the revision's number."""

_NAME = re.compile(r"(\d{4})_\w+\.py\Z")


class SchemaMismatch(Exception):
    """The catalogue's schema is not this version's. The message says what to do."""


def revisions() -> list[str]:
    """Return the revisions that this version knows, oldest first; the last one is what it needs."""
    return sorted(found[1] for path in VERSIONS.iterdir() if (found := _NAME.match(path.name)))


async def check(connection: AsyncConnection) -> None:
    """Return when the schema is exactly this version's.

    Raises:
        SchemaMismatch: it is older, newer, or there is none.
    """
    exists = await connection.scalar(text("select to_regclass('alembic_version')"))
    current = None
    if exists is not None:
        current = await connection.scalar(text("select version_num from alembic_version"))
    fault = mismatch(current, revisions())
    if fault is not None:
        raise SchemaMismatch(fault)


def mismatch(current: str | None, known: list[str]) -> str | None:
    """Return what is wrong with a schema and what to do about it, or None when it is the newest of those known.

    Args:
        current: the revision the catalogue has; None when it has no tables.
        known: the revisions this version has, oldest first.
    """
    if current == known[-1]:
        return None
    if current is None or current in known:
        return (
            f"the catalogue's schema is {current or 'empty'}, this version needs {known[-1]}: "
            "run countermark-server init with this version"
        )
    return (
        f"the catalogue's schema ({current}) is newer than this version ({known[-1]}): "
        "run the version that made it, or a newer one"
    )
