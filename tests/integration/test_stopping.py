"""The end of a process: what is under way ends first, what comes then is sent elsewhere, told twice it ends at once."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.catalogue.tables import File
from shared.settings import Settings, Stopping
from tests.support.alone import AloneProcess, alone, alone_settings
from tests.support.archives import make_wheel
from tests.support.factories import make_default, make_index, make_token
from tests.support.processes import Process, program
from tests.support.published import Published
from tests.support.reading import open_stores
from tests.support.uploading import basic, form_body

WHEEL = "widget-1.0-py3-none-any.whl"
PATIENT = Stopping(delay=1, grace=20)


@pytest.fixture
def settings(database: str, valkey_url: str, tmp_path: Path) -> Settings:
    """Settings of a process that says for a second that it is stopping, and lets requests end."""
    return alone_settings(database, valkey_url, tmp_path, stopping=PATIENT)


@pytest.fixture
async def stable(engine: AsyncEngine, tmp_path: Path) -> Published:
    """The default index, empty."""
    index = await make_index(engine)
    await make_default(engine, index)
    return Published(engine, open_stores(tmp_path / "objects"), index)


async def until_stopping(process: AloneProcess) -> None:
    """Return when /readyz says so; requests are still taken then."""
    async with asyncio.timeout(10):
        while (answer := await process.ready())[0] == 200:
            await asyncio.sleep(0.01)
    assert answer == (503, {"status": "unavailable", "failed": {"process": "this process is stopping"}})


async def until_closed(process: AloneProcess) -> None:
    """Return when nothing listens any more."""
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", process.port)
            except ConnectionError:
                return
            writer.close()
            await asyncio.sleep(0.02)


async def test_an_upload_under_way_ends_first(
    settings: Settings, engine: AsyncEngine, stable: Published, tmp_path: Path
) -> None:
    """A slow upload is taken whole and answered though the process no longer listens; then the process ends."""
    token = await make_token(engine)
    body, form = form_body(WHEEL, make_wheel("widget", "1.0"))
    closed = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield body[: len(body) // 2]
        await closed.wait()
        yield body[len(body) // 2 :]

    async with alone("upload", settings) as upload, httpx2.AsyncClient(timeout=30) as client:
        headers = basic(token) | form
        sending = asyncio.create_task(client.post(f"{upload.url}/root/stable/", content=slowly(), headers=headers))
        await asyncio.sleep(0.3)
        upload.terminate()
        await until_stopping(upload)
        await until_closed(upload)
        assert not sending.done()
        closed.set()
        assert (await sending).status_code == 200
        await asyncio.wait_for(upload.task, 10)
    async with engine.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(File)) == 1


async def test_a_download_under_way_ends_first(settings: Settings, stable: Published) -> None:
    """A client that reads slowly gets the file to its last byte, by its digest."""
    content = bytes(range(256)) * 4096 * 32
    file = await stable.upload(WHEEL, content)
    await stable.publish(file)
    async with alone("download", settings) as download:
        reader, writer = await asyncio.open_connection("127.0.0.1", download.port, limit=1 << 16)
        writer.write(f"GET /root/stable/+f/{file.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert f"content-length: {len(content)}".encode() in head.lower()
        download.terminate()
        await until_closed(download)
        assert not download.task.done()
        assert await reader.readexactly(len(content)) == content
        writer.close()
        await asyncio.wait_for(download.task, 10)


async def test_the_grace_is_a_bound(settings: Settings, stable: Published, engine: AsyncEngine) -> None:
    """Whoever never ends its request does not keep the process for ever."""
    token = await make_token(engine)
    hurried = settings.model_copy(update={"stopping": Stopping(delay=0, grace=1)})
    async with alone("upload", hurried) as upload:
        _, writer = await asyncio.open_connection("127.0.0.1", upload.port)
        form = {"content-type": "multipart/form-data; boundary=x"}
        head = {"host": "x", "content-length": "1000", **basic(token), **form}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        writer.write(f"POST /root/stable/ HTTP/1.1\r\n{lines}\r\n--x".encode())
        await asyncio.sleep(0.3)
        upload.terminate()
        began = time.monotonic()
        await asyncio.wait_for(upload.task, 10)
        assert 0.9 < time.monotonic() - began < 8
        writer.close()


@pytest.mark.parametrize(("first", "second"), [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)])
def test_told_twice_it_ends_at_once(
    first: signal.Signals, second: signal.Signals, database: str, valkey_url: str, tmp_path: Path
) -> None:
    """The second signal does not wait for anything."""
    environment = {
        "COUNTERMARK_DATA": str(tmp_path),
        "COUNTERMARK_DATABASE__URL": database,
        "COUNTERMARK_QUEUE__URL": valkey_url,
        "COUNTERMARK_LISTEN__SERVICE_PORT": "0",
        "COUNTERMARK_STOPPING__DELAY": "60",
    }
    process = Process((program("countermark-server"), "worker"), tmp_path / "log", environment)
    process.start()
    try:
        process.until_written("worker: port")
        process.send(first)
        process.until_written("stopping")
        process.send(second)
        assert process.wait(5) == 130, sys.version
    finally:
        process.end()
