"""What a process says when something it needs is wrong: one line, what to do, and nothing touched."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from deploy.errors import LaunchError
from services.signing.ceremonies.trust_root import ensure_trust
from services.signing.keys.handles import load_handles
from shared.catalogue import schema
from shared.settings import ObjectStoreSettings, Settings, Signing, Starting
from tests.support.alone import NOWHERE, alone, alone_settings
from tests.support.clock import SettableClock
from tests.support.mounts import tmpfs
from tests.support.resources import service_resources
from tests.support.servers import execute

OFF = timedelta(hours=1)
"""How far a clock is off here."""


@pytest.fixture
def settings(database: str, valkey_url: str, tmp_path: Path) -> Settings:
    """Settings with which every service starts."""
    return alone_settings(database, valkey_url, tmp_path)


@pytest.fixture
async def trusted(engine: AsyncEngine, tmp_path: Path) -> None:
    """A deployment whose keys are made."""
    async with service_resources(engine, tmp_path) as resources:
        await ensure_trust(resources)


def elsewhere(settings: Settings, *, password: str | None = None, database: str | None = None) -> Settings:
    """Return settings whose database URL differs."""
    assert settings.database.url is not None
    url = make_url(settings.database.url.get_secret_value()).set(password=password, database=database)
    changed = settings.database.model_copy(update={"url": SecretStr(url.render_as_string(hide_password=False))})
    return settings.model_copy(update={"database": changed})


async def refusal(name: str, settings: Settings, *, clock: SettableClock | None = None) -> str:
    """Return the one line with which a process refuses to start."""
    with pytest.raises(LaunchError) as caught:
        async with alone(name, settings, clock=clock):
            pass
    line = str(caught.value)
    assert "\n" not in line
    return line


async def test_an_older_schema_is_refused(settings: Settings, database: str) -> None:
    """A process does not work on tables that were not migrated yet, and names the command."""
    await execute(database, f"update alembic_version set version_num = '{schema.revisions()[-2]}'")
    assert "run countermark-server init with this version" in await refusal("index", settings)


async def test_a_newer_schema_is_refused(settings: Settings, database: str) -> None:
    """A process of an older version keeps away from what a newer one migrated."""
    await execute(database, "update alembic_version set version_num = '9999'")
    assert "newer than this version" in await refusal("upload", settings)


async def test_postgres_that_nobody_serves(settings: Settings, valkey_url: str, tmp_path: Path) -> None:
    """Connection refused is told with the setting, and without the password."""
    line = await refusal("index", alone_settings(NOWHERE, valkey_url, tmp_path))
    assert line.startswith("Postgres does not answer (")
    assert "correct database.url" in line
    assert "secret" not in line


async def test_a_host_that_does_not_exist(valkey_url: str, tmp_path: Path) -> None:
    """A misspelled host is told as such."""
    nowhere = NOWHERE.replace("127.0.0.1:1", "no-such-host.invalid:5432")
    line = await refusal("index", alone_settings(nowhere, valkey_url, tmp_path))
    assert "host of database.url is not known" in line


async def test_a_wrong_password_is_told_at_once(settings: Settings, postgres_url: str, tmp_path: Path) -> None:
    """Waiting does not mend a password: the start does not wait."""
    patient = elsewhere(settings, password="wrong").model_copy(update={"starting": Starting(patience=60)})
    assert await refusal("index", patient) == "Postgres refuses the user or the password: correct database.url"


async def test_a_database_that_does_not_exist(settings: Settings) -> None:
    """Nor does it make a database."""
    assert "has no such database" in await refusal("index", elsewhere(settings, database="nowhere"))


async def test_a_read_only_database(settings: Settings, database: str) -> None:
    """Who writes refuses a standby; who reads is content with it."""
    name = make_url(database).database
    await execute(database, f"alter database {name} set default_transaction_read_only = on")
    assert "read-only (a standby?)" in await refusal("upload", settings)
    async with alone("index", settings) as index:
        assert await index.ready() == (200, {"status": "ready"})


async def test_redis_that_nobody_serves(settings: Settings, database: str, tmp_path: Path) -> None:
    """Who needs the queue says that it is away; who does not starts."""
    without = alone_settings(database, f"unix://{tmp_path}/nowhere", tmp_path)
    line = await refusal("worker", without)
    assert line.startswith("Redis does not answer (ConnectionError): start it, or correct queue.url")
    assert "Redis does not answer" in await refusal("gateway", without)
    async with alone("download", without) as download:
        assert (await download.ready())[0] == 200


async def test_a_wrong_password_of_redis(settings: Settings, valkey_url: str, database: str, tmp_path: Path) -> None:
    """It is told at once and without the password."""
    socket = valkey_url.removeprefix("unix://").partition("?")[0]
    wrong = alone_settings(database, f"unix://nobody:hunter2@{socket}", tmp_path, starting=Starting(patience=60))
    for name in ("worker", "gateway"):
        assert await refusal(name, wrong) == "Redis refuses the user or the password: correct queue.url"


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Mount a file system that cannot be written to, with a store's folders in it."""
    with tmpfs(folder, "1m") as mounted:
        for side in ("public", "private"):
            (folder / side / ".incoming").mkdir(parents=True)
        mounted.make_read_only()
        yield


async def test_a_read_only_store(settings: Settings, tmp_path: Path) -> None:
    """Who writes refuses a store that takes nothing, and says which."""
    store = tmp_path / "mount"
    with read_only(store):
        line = await refusal("upload", settings.model_copy(update={"objects": ObjectStoreSettings(folder=store)}))
        assert f"object store in folder {store}/public" in line
        assert "read-only" in line


async def test_a_store_that_cannot_be_made(settings: Settings, tmp_path: Path) -> None:
    """A folder below a file is no folder."""
    (tmp_path / "file").write_text("no folder")
    objects = ObjectStoreSettings(folder=tmp_path / "file" / "store")
    line = await refusal("upload", settings.model_copy(update={"objects": objects}))
    assert "cannot make it" in line


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(("ahead", "words"), [(OFF, "3600 seconds ahead of"), (-OFF, "3600 seconds behind")])
async def test_a_clock_that_is_an_hour_off(settings: Settings, ahead: timedelta, words: str) -> None:
    """Nobody starts with such a clock, the signer least of all."""
    clock = SettableClock(datetime.now(UTC) + ahead)
    for name in ("signing", "index"):
        line = await refusal(name, settings, clock=clock)
        assert f"this machine's clock is {words} the database's: set both by NTP" in line


async def test_a_signer_without_keys(settings: Settings, tmp_path: Path) -> None:
    """Without a trust root it names the command; with one and without its keys, the folder."""
    assert "no trust root yet: run countermark-server init" in await refusal("signing", settings)


@pytest.mark.usefixtures("trusted")
async def test_a_signer_whose_keys_are_gone(settings: Settings, tmp_path: Path) -> None:
    """A missing key file is told with the setting that says where it belongs."""
    for key in (tmp_path / "keys").iterdir():
        key.unlink()
    line = await refusal("signing", settings)
    assert "cannot be used" in line
    assert "signing.keys" in line


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("gcpkms:projects/p/cryptoKeyVersions/1", "Install countermark[gcpkms]"),
        ("azurekms://v.vault.azure.net/keys/k/1", "Install countermark[azurekms]"),
        ("awskms:alias/snapshot", "You must specify a region. See that AWS_DEFAULT_REGION and credentials are set"),
        ("hsm:2?label=nowhere", "signs with P-256 and P-384"),
        ("env:COUNTERMARK_TEST_NO_SUCH_VARIABLE", "Set COUNTERMARK_TEST_NO_SUCH_VARIABLE"),
    ],
)
async def test_a_signer_whose_key_service_cannot_be_used(
    settings: Settings, engine: AsyncEngine, tmp_path: Path, uri: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing library or setting of a key ends the start, not the first publication; key and role are named."""
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    async with service_resources(engine, tmp_path) as resources:
        await ensure_trust(resources)
        (keyid,) = [handle.key.keyid for handle in await load_handles(resources) if handle.role == "snapshot"]
    elsewhere = settings.model_copy(update={"signing": Signing(uris={keyid: uri})})
    line = await refusal("signing", elsewhere)
    assert f"key {keyid[:16]} of role snapshot cannot be used" in line
    assert words in line


async def test_a_start_waits_for_a_server_that_comes_up(valkey_url: str, database: str, tmp_path: Path) -> None:
    """A server that comes up in time costs one log line, and the start goes on by itself."""
    socket = Path(valkey_url.removeprefix("unix://").partition("?")[0])
    late = tmp_path / "late"
    given = alone_settings(database, f"unix://{late}", tmp_path, starting=Starting(patience=30))

    with capture_logs() as logs:

        async def come_up() -> None:
            while not any(line["event"] == "start_waits" for line in logs):
                await asyncio.sleep(0.05)
            late.symlink_to(socket)

        coming = asyncio.create_task(come_up())
        async with alone("worker", given) as worker:
            assert (await worker.ready())[0] == 200
        await coming
    assert [line["resource"] for line in logs if line["event"] == "start_waits"] == ["queue"]


async def test_nothing_is_touched(empty_database: str, valkey_url: str, tmp_path: Path) -> None:
    """A process that refuses an empty catalogue makes no table in it and puts nothing into the queue."""
    for name in ("upload", "signing", "index", "download", "worker", "gateway"):
        assert "schema is empty" in await refusal(name, alone_settings(empty_database, valkey_url, tmp_path))
    # It would fail, were the table there.
    await execute(empty_database, "create table alembic_version ()")
    async with Redis.from_url(valkey_url) as redis:
        assert await redis.dbsize() == 0
