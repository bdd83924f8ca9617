"""The migrations and the table classes are two descriptions of one schema: they must agree."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from shared.catalogue import migrate, schema
from shared.catalogue.engine import open_engine
from shared.catalogue.tables import Base
from shared.formats.python.names import release_key
from tests.support.servers import execute


def _differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": False})
    return list(compare_metadata(context, Base.metadata))


async def checked(url: str) -> None:
    """Do what a process does at its start."""
    engine = open_engine(url, pool=1)
    try:
        async with engine.connect() as connection:
            await schema.check(connection)
    finally:
        await engine.dispose()


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
    await checked(empty_database)


async def test_an_empty_schema_is_named_with_what_to_do(empty_database: str) -> None:
    """A process on a catalogue without tables says how to make them."""
    with pytest.raises(schema.SchemaMismatch, match="countermark-server init"):
        await checked(empty_database)


async def test_an_older_schema_is_named_with_what_to_do(database: str) -> None:
    """A process does not work on a catalogue that has yet to be migrated, and says how."""
    older = schema.revisions()[-2]
    await execute(database, f"update alembic_version set version_num = '{older}'")
    with pytest.raises(schema.SchemaMismatch, match=rf"is {older}, this version needs .*countermark-server init"):
        await checked(database)


def test_names_of_files_are_the_revisions() -> None:
    """What the check reads from the files' names is what Alembic reads from their content."""
    script = ScriptDirectory(str(schema.VERSIONS.parent))
    assert schema.revisions() == sorted(revision.revision for revision in script.walk_revisions())
    assert schema.revisions()[-1] == script.get_current_head()


async def test_a_newer_schema_is_refused(database: str) -> None:
    """A catalogue that a newer version migrated is not touched."""
    await execute(database, "update alembic_version set version_num = '9999'")
    for meeting in (migrate.upgrade, checked):
        with pytest.raises(schema.SchemaMismatch, match="newer"):
            await meeting(database)


async def test_releases_of_before_get_the_key_that_code_writes_now(empty_database: str) -> None:
    """Equal versions that are two releases already stay two; the older one has the key."""
    written = ["1.0", "1.0.0", "1.10.0", "1.0.post1", "1!2.0", "2.0a1", "2.0rc1.dev2", "0", "0.0", "3.0+x.0", "3+x.0.0"]
    written += ["10.0.10.0+1.0", "4.0.dev0", "5.0.0b1.post2.dev3+a.b", "100", "6.0.0.1"]
    engine = open_engine(empty_database, pool=1)
    async with engine.begin() as connection:
        await connection.run_sync(_upgrade_to, "0004")
        ids = {"i": uuid4(), "p": uuid4(), "g": uuid4()}
        await connection.execute(text("insert into account (name, created_at) values ('root', now())"))
        for statement in _BEFORE:
            await connection.execute(text(statement), ids)
        for place, version in enumerate(written):
            row = {"id": uuid4(), "version": version, "place": place}
            await connection.execute(text(_RELEASE), ids | row)
        await connection.execute(text(_RELEASE), ids | {"id": uuid4(), "version": "1.0", "place": 0, "p": ids["g"]})
    await engine.dispose()
    await migrate.upgrade(empty_database)
    engine = open_engine(empty_database, pool=1)
    async with engine.connect() as connection:
        rows = await connection.execute(text("select project_id, version, version_key from release"))
        found = {(row.project_id, row.version): row.version_key for row in rows}
    await engine.dispose()
    twins = {"1.0.0", "0.0"}
    assert {version: found[ids["p"], version] for version in written} == {
        version: None if version in twins else release_key(version) for version in written
    }
    assert found[ids["g"], "1.0"] is None, "versions of another format are not Python's"


async def test_attested_files_of_before_are_due_unless_laid_right(empty_database: str) -> None:
    """What the rows of before tell to be laid of just these attestations is not looked at again."""
    ids = {"i": uuid4(), "p": uuid4(), "r": uuid4()}
    files = {name: uuid4() for name in ("laid", "fewer", "announced", "never", "bare")}
    laid = {"laid": (files["laid"], 2), "fewer": (files["fewer"], 1), "announced": (None, -1)}
    engine = open_engine(empty_database, pool=1)
    async with engine.begin() as connection:
        await connection.run_sync(_upgrade_to, "0020")
        await connection.execute(text("insert into account (name, created_at) values ('root', now())"))
        for statement in (_INDEX, _PROJECT.format("p", "python")):
            await connection.execute(text(statement), ids)
        await connection.execute(text(_RELEASE), {"id": ids["r"], "p": ids["p"], "version": "1", "place": 0})
        for name, file_id in files.items():
            await connection.execute(text(_FILE), ids | {"id": file_id, "name": name})
            for _ in range(0 if name == "bare" else 2):
                await connection.execute(text(_ATTESTATION), ids | {"id": uuid4(), "file": file_id})
        for name, (of_file, number) in laid.items():
            values = {"i": ids["i"], "name": name, "file": of_file, "number": number}
            await connection.execute(text(_LAID), values)
    await engine.dispose()
    await migrate.upgrade(empty_database)
    engine = open_engine(empty_database, pool=1)
    async with engine.connect() as connection:
        rows = (await connection.execute(text("select project_id, file_id from provenance_due"))).all()
    await engine.dispose()
    due = sorted((ids["p"], files[name]) for name in ("fewer", "announced", "never"))
    assert sorted(tuple(row) for row in rows) == due


def _upgrade_to(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


_PROJECT = (
    "insert into project (id, index_id, life, format, name, display_name, status, created_at)"
    " values (:{}, :i, 1, '{}', 'widget', 'widget', 'active', now())"
)
_INDEX = (
    "insert into index (id, owner, name, life, type, visibility, volatile, admission, settings, created_at)"
    " values (:i, 'root', 'stable', 1, 'stage', 'public', false, 'strict', '{}', now())"
)
_BEFORE = (_INDEX, _PROJECT.format("p", "python"), _PROJECT.format("g", "generic"))
_RELEASE = (
    "insert into release (id, project_id, version, metadata, created_at)"
    " values (:id, :p, :version, '{}', timestamptz '2026-01-01' + :place * interval '1 second')"
)
_FILE = (
    "insert into file (id, index_id, project_id, release_id, file_name, package_type, sha256, path_key, blake2b_256,"
    " md5, length, uploaded_at, uploader) values (:id, :i, :p, :r, :name, 'sdist', '', '', '', '', 1, now(), 'root')"
)
_ATTESTATION = (
    "insert into attestation (id, index_id, file_id, sha256, length, predicate_type, origin, facts, named, added_at)"
    " values (:id, :i, :file, gen_random_uuid(), 1, '', 'bundle', '{}', false, now())"
)
_LAID = (
    "insert into laid_provenance (index_id, project_name, file_name, serial, file_id, attestations)"
    " values (:i, 'widget', :name, 1, :file, :number)"
)
