"""Brings the catalogue's schema up to this version; `shared.catalogue.schema` says whether it is.

Several processes may try at once: an advisory lock lets one do it. There is no way back: a migration expands, a later
one
contracts (style: expand, deploy, backfill, contract).
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from shared.catalogue.engine import open_engine
from shared.catalogue.schema import SchemaMismatch, mismatch, revisions

_LOCK = 0x636D6B00
"""Advisory lock of the catalogue: one process at a time migrates."""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    return config


def _head() -> str | None:
    return ScriptDirectory.from_config(_config()).get_current_head()


def _upgrade(connection: Connection) -> None:
    connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    current = MigrationContext.configure(connection).get_current_revision()
    if current == _head():
        return
    known = revisions()
    if current is not None and current not in known:
        raise SchemaMismatch(mismatch(current, known))
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def upgrade(url: str) -> None:
    """Apply every revision that is missing; nothing happens when the schema is current.

    Args:
        url: `postgresql+asyncpg://...`.

    Raises:
        SchemaMismatch: the schema was made by a newer version.
    """
    engine = open_engine(url, pool=1)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()
