"""The upload and download services on a real S3 server, when it works and when it does not."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from types_aiobotocore_s3 import S3Client

from services.upload.staging import PartsSweep
from shared.objects.interface import ObjectStores
from shared.objects.s3 import S3Connection, S3Store
from shared.objects.s3_buffers import PART
from shared.objects.s3_reading import RESUMES
from tests.integration.reading.constants import LARGE
from tests.support.archives import make_wheel
from tests.support.clock import SettableClock
from tests.support.factories import make_index
from tests.support.faults import Proxy, faulty
from tests.support.published import Published
from tests.support.reading import Reading, open_reading, served
from tests.support.s3_server import S3Server
from tests.support.uploader import Uploader, open_uploader

WHEEL = "widget-1.0-py3-none-any.whl"
GROWTH = 64 << 20
"""Bytes by which a process may grow over a large file, either way."""


@dataclass
class Line:
    """A store behind a proxy, and the same bucket without it."""

    store: S3Store
    proxy: Proxy
    direct: S3Store
    client: S3Client
    bucket: str

    async def left_behind(self) -> list[str]:
        """Return the keys of objects and of unfinished uploads."""
        unfinished = (await self.client.list_multipart_uploads(Bucket=self.bucket)).get("Uploads", [])
        return [*[info.key async for info in self.direct.list("")], *[upload["Key"] for upload in unfinished]]


@pytest.fixture
async def line(plain_s3: S3Server) -> AsyncIterator[Line]:
    """A store behind a proxy, on a bucket of its own; a request is sent twice at the most."""
    bucket = plain_s3.make_bucket()
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(faulty(plain_s3.port))
        direct = await stack.enter_async_context(plain_s3.connect())
        options = replace(plain_s3.through(proxy.port), attempts=2)
        connection = await stack.enter_async_context(S3Connection.open(options))
        yield Line(connection.store(bucket), proxy, direct.store(bucket), direct.client, bucket)


@pytest.fixture
async def uploader(engine: AsyncEngine, line: Line, tmp_path: Path) -> AsyncIterator[Uploader]:
    """The upload service with a client; files of public indexes lie in the bucket."""
    async with open_uploader(engine, tmp_path, line.store) as opened:
        yield opened


@pytest.fixture
async def large(engine: AsyncEngine, line: Line) -> tuple[Published, str]:
    """A published file that is streamed, and its address."""
    published = Published(engine, ObjectStores(line.direct, line.direct), await make_index(engine))
    made = await published.upload("thing-5.0.tar.gz", LARGE)
    await published.publish(made)
    return published, f"/root/stable/+f/{made.path}"


async def reading_through(engine: AsyncEngine, line: Line) -> Reading:
    """Return the reading services with the bucket behind the proxy."""
    reading = open_reading(engine, ObjectStores(line.store, line.store))
    await reading.news()
    return reading


class TestUploads:
    """What the person who uploads sees, and what stays."""

    async def test_large_and_again(self, uploader: Uploader, line: Line) -> None:
        """A wheel of several parts is stored once; the same bytes again are fine and are not sent again."""
        wheel = make_wheel("widget", "1.0", payload_bytes=2 * PART)
        assert (await uploader.post(WHEEL, wheel)).status_code == 200
        sent = [request for request in line.proxy.requests if "partNumber" in request]
        assert len(sent) == 3
        assert (await uploader.post(WHEEL, wheel)).status_code == 200
        assert [request for request in line.proxy.requests if "partNumber" in request] == sent
        assert len(await line.left_behind()) == 2, "the wheel and its metadata"
        assert uploader.left_behind() == [], "nothing in staging"

    @pytest.mark.parametrize("payload", [100_000, 2 * PART])
    @pytest.mark.parametrize("fault", ["busy", "broken", "cut"])
    async def test_store_that_fails(self, uploader: Uploader, line: Line, payload: int, fault: str) -> None:
        """What cannot be stored is answered 503 with Retry-After, no bytes or parts are left; then it works."""
        what: dict[str, dict[str, Any]] = {
            "busy": {"status": 503, "code": "SlowDown"},
            "broken": {"status": 500, "code": "InternalError"},
            "cut": {"after_sent": 50_000},
        }
        made = line.proxy.fault("PUT", times=None, **what[fault])
        wheel = make_wheel("widget", "1.0", payload_bytes=payload)
        answer = await uploader.post(WHEEL, wheel)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
        assert answer.text == "The file could not be stored; nothing was kept. Try again.\n"
        # The core metadata are put side by side with the file, small enough to get through; the next try finds them.
        assert [key for key in await line.left_behind() if not key.endswith(".whl.metadata")] == []
        assert uploader.left_behind() == []
        assert await uploader.files() == 0
        made.times = 0
        assert (await uploader.post(WHEEL, wheel)).status_code == 200
        assert await uploader.files() == 1

    async def test_same_file_twenty_times(self, uploader: Uploader, line: Line) -> None:
        """The same bytes twenty times at once make one object of several parts, and all are answered 200."""
        wheel = make_wheel("widget", "1.0", payload_bytes=PART)
        answers = await asyncio.gather(*(uploader.post(WHEEL, wheel) for _ in range(20)))
        assert {answer.status_code for answer in answers} == {200}
        assert len(await line.left_behind()) == 2
        assert await uploader.files() == 1


class TestDownloads:
    """What the person who downloads sees."""

    async def test_broken_connection_is_not_seen(
        self, engine: AsyncEngine, line: Line, large: tuple[Published, str]
    ) -> None:
        """A connection to the store that breaks is replaced, and the client gets every byte, whole and in part."""
        reading = await reading_through(engine, line)
        line.proxy.fault("GET", times=2, after_answered=500_000)
        async with served(reading.app) as url, httpx2.AsyncClient(base_url=url) as client:
            assert (await client.get(large[1])).content == LARGE
            line.proxy.fault("GET", times=2, after_answered=500_000)
            part = await client.get(large[1], headers={"range": "bytes=1000-"})
            assert (part.status_code, part.content) == (206, LARGE[1000:])

    @pytest.mark.parametrize("headers", [{}, {"range": "bytes=1-"}])
    async def test_never_a_clean_end(
        self, engine: AsyncEngine, line: Line, large: tuple[Published, str], headers: dict[str, str]
    ) -> None:
        """When the rest cannot be had, the client's connection is closed before the end."""
        reading = await reading_through(engine, line)
        fault = line.proxy.fault("GET", times=None, after_answered=100_000)
        async with served(reading.app) as url, httpx2.AsyncClient(base_url=url) as client:
            with pytest.raises(httpx2.RemoteProtocolError):
                await client.get(large[1], headers=headers)
            assert fault.met == RESUMES + 1
            fault.times = 0
            assert (await client.get(large[1])).content == LARGE

    async def test_store_that_is_busy(self, engine: AsyncEngine, line: Line, large: tuple[Published, str]) -> None:
        """A store that refuses before the first byte gives 503 with Retry-After, and afterwards the file."""
        reading = await reading_through(engine, line)
        fault = line.proxy.fault("GET", times=None, status=503, code="SlowDown")
        async with reading.client() as client:
            answer = await client.get(large[1])
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            fault.times = 0
            assert (await client.get(large[1])).content == LARGE

    async def test_client_that_goes_away(self, engine: AsyncEngine, line: Line) -> None:
        """A client that leaves half-way ends the reading of the bucket, and its connection is free again."""
        published = Published(engine, ObjectStores(line.direct, line.direct), await make_index(engine))
        made = await published.upload("thing-6.0.tar.gz", LARGE * 32)
        await published.publish(made)
        reading = await reading_through(engine, line)
        async with served(reading.app) as url, httpx2.AsyncClient(base_url=url) as client:
            for _ in range(4):
                async with client.stream("GET", f"/root/stable/+f/{made.path}") as answer:
                    await anext(answer.aiter_raw(4096))
            async with asyncio.timeout(20):
                while line.proxy.open_now:
                    await asyncio.sleep(0.05)


async def test_abandoned_parts_are_swept(line: Line) -> None:
    """Parts that a killed upload left are given up when they are older than the staging age, on both sides."""
    began = datetime.now(UTC)
    for key in ("files/ab/killed.whl", "files/cd/killed.whl"):
        upload = await line.client.create_multipart_upload(Bucket=line.bucket, Key=key)
        part: dict[str, Any] = {"Bucket": line.bucket, "Key": key, "UploadId": upload["UploadId"]}
        await line.client.upload_part(**part, PartNumber=1, Body=b"x" * 100)
    clock = SettableClock(began)
    sweep = PartsSweep(ObjectStores(line.store, line.store), timedelta(hours=24), clock)
    clock.advance(timedelta(hours=23))
    assert await sweep.sweep() == 0
    clock.advance(timedelta(hours=2))
    assert await sweep.sweep() == 2
    assert await line.left_behind() == []


def test_memory_of_a_large_object(s3: S3Server) -> None:
    """A process that stores and reads 300 MB over TLS grows by less than 64 MB each way."""
    bucket = s3.make_bucket()
    program = (sys.executable, "-m", "tests.support.s3_process")
    assert s3.certificates is not None
    given = (s3.url, str(s3.certificates.authority), s3.access_key, s3.secret_key, bucket, "300")
    done = subprocess.run((*program, *given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # The log comes before it.
    stored, read = (int(number) for number in done.stdout.splitlines()[-1].split())
    assert stored < GROWTH
    assert read < GROWTH


async def test_killed_while_storing(s3: S3Server) -> None:
    """A process that is killed amid the parts of an upload leaves no object; its parts are there, and then swept."""
    bucket = s3.make_bucket()
    assert s3.certificates is not None
    given = (s3.url, str(s3.certificates.authority), s3.access_key, s3.secret_key, bucket, "300")
    program = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.support.s3_process", *given)
    try:
        async with s3.connect() as connection:
            store = connection.store(bucket)
            async with asyncio.timeout(60):
                while not (found := (await connection.client.list_multipart_uploads(Bucket=bucket)).get("Uploads")):
                    await asyncio.sleep(0.02)
            program.kill()
            await program.wait()
            assert [info.key async for info in store.list("")] == ["small"]
            assert await store.sweep_parts("", datetime.now(UTC) + timedelta(minutes=1)) == len(found) == 1
            assert not (await connection.client.list_multipart_uploads(Bucket=bucket)).get("Uploads")
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
