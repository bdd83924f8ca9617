"""The migrations and the table classes are two descriptions of one schema: they must agree."""

import asyncio

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from shared.catalogue import migrate
from shared.catalogue.engine import open_engine
from shared.catalogue.tables import Base


def _differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": False})
    return list(compare_metadata(context, Base.metadata))


async def test_migrations_make_exactly_the_tables_of_the_models(empty_database: str) -> None:
    """From an empty database to head, nothing is left for autogenerate to find."""
    await migrate.upgrade(empty_database)
    engine = open_engine(empty_database, pool=1)
    async with engine.connect() as connection:
        assert await connection.run_sync(_differences) == []
    await engine.dispose()


async def test_upgrading_twice_and_at_once_is_harmless(empty_database: str) -> None:
    """Several processes that start together migrate once, and the schema then counts as current."""
    await asyncio.gather(*(migrate.upgrade(empty_database) for _ in range(3)))
    await migrate.check(empty_database)


async def test_an_empty_schema_is_named_with_what_to_do(empty_database: str) -> None:
    """A process on a catalogue without tables says how to make them."""
    with pytest.raises(migrate.SchemaMismatch, match="countermark-server init"):
        await migrate.check(empty_database)


async def test_a_newer_schema_is_refused(database: str) -> None:
    """A catalogue that a newer version migrated is not touched."""
    engine = open_engine(database, pool=1)
    async with engine.begin() as connection:
        await connection.execute(text("update alembic_version set version_num = '9999'"))
    await engine.dispose()
    with pytest.raises(migrate.SchemaMismatch, match="newer"):
        await migrate.upgrade(database)
