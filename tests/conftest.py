"""Servers and databases that tests ask for by name, started on first use; and which tests run, on which deployment."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from deploy.postgres import PostgresServer
from deploy.stack.programs import Programs
from deploy.valkey import ValkeyServer
from shared.catalogue.engine import open_engine
from tests.support.parts import part
from tests.support.real import NEEDING_PROGRAMS, find_programs, programs_or_skip
from tests.support.s3_server import S3Server, running_s3
from tests.support.servers import copy_database, drop_database, make_template, running
from tests.support.softhsm import TokenShelf, install_softhsm, softhsm_or_skip


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of the deployment that the end-to-end suite runs on, and of a part of what is to be run."""
    choices = ("embedded", "stack")
    what = "what the end-to-end suite runs on: one process, or the real profile (make stack)"
    parser.addoption("--deployment", choices=choices, default="embedded", help=what)
    parser.addoption("--part", type=part, metavar="K/N", help="run one of N parts, made of whole files, as 2/3")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is in another part, and what is about another deployment alone: marked so, or starting one of its
    own (`data`, `split`).
    """

    def about(item: pytest.Item) -> str | None:
        if item.get_closest_marker("stack"):
            return "stack"
        own = {"data", "split"} & set(getattr(item, "fixturenames", ())) and item.path.parent.name == "e2e"
        return "embedded" if own or item.get_closest_marker("embedded") else None

    chosen, within = config.getoption("--deployment"), config.getoption("--part")
    right = [item for item in items if about(item) in (None, chosen)]
    if within is not None:
        files = within.of(Counter(_file(item) for item in right))
        right = [item for item in right if _file(item) in files]
    kept = set(right)
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = right


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Install the programs that tests need before the first of them: that may take longer than a test is given."""
    used = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    on_stack = session.config.getoption("--deployment") == "stack" and "deployment" in used
    if (on_stack or used & NEEDING_PROGRAMS) and not session.config.getoption("collectonly"):
        find_programs()
    if "token_shelf" in used and not session.config.getoption("collectonly"):
        install_softhsm()


@pytest.fixture(scope="session")
def real_programs() -> Programs:
    """Postgres 15, Redis 7, nginx and versitygw; installed where that can be done."""
    return programs_or_skip()


@pytest.fixture(scope="session")
def token_shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenShelf]:
    """A place for tokens of the whole run, which this process finds as well."""
    softhsm_or_skip()
    shelf = TokenShelf(tmp_path_factory.mktemp("softhsm"))
    shelf.lay()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in shelf.environment.items():
            patch.setenv(name, value)
        yield shelf


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of the maintenance database of one real Postgres for all tests, as superuser."""
    with running(PostgresServer) as server:
        asyncio.run(make_template(server.superuser_url))
        yield server.superuser_url


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[str]:
    """URL of a fresh database with the catalogue's tables."""
    name = f"test_{secrets.token_hex(6)}"
    yield await copy_database(postgres_url, name)
    await drop_database(postgres_url, name)


@pytest.fixture
async def empty_database(postgres_url: str) -> AsyncIterator[str]:
    """URL of a fresh database without any table."""
    name = f"test_{secrets.token_hex(6)}"
    yield await copy_database(postgres_url, name, "template0")
    await drop_database(postgres_url, name)


@pytest.fixture
async def engine(database: str) -> AsyncIterator[AsyncEngine]:
    """An engine on the fresh database, as the server opens it."""
    engine = open_engine(database, pool=5)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
def valkey_server_url() -> Iterator[str]:
    """URL of one real Valkey for all tests."""
    with running(ValkeyServer) as server:
        yield server.url


@pytest.fixture
async def valkey_url(valkey_server_url: str) -> str:
    """URL of a real Valkey that is empty."""
    async with Redis.from_url(valkey_server_url) as redis:
        await redis.flushall()
    return valkey_server_url


@pytest.fixture(scope="session")
def s3(real_programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One real S3 server for all tests, over TLS of an authority of its own."""
    with running_s3(real_programs.versitygw, tmp_path_factory.mktemp("s3"), tls=True) as server:
        yield server


@pytest.fixture(scope="session")
def plain_s3(real_programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One real S3 server for all tests, without TLS."""
    with running_s3(real_programs.versitygw, tmp_path_factory.mktemp("plain-s3"), tls=False) as server:
        yield server
