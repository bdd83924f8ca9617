"""The S3 store on a line that breaks and a server that is busy: nothing wrong is kept, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from types_aiobotocore_s3 import S3Client

from shared.objects.interface import ByteRange, IfMatch, Key, LocalFile, ObjectExists, ObjectStoreError, Put
from shared.objects.s3 import S3Connection, S3Store
from shared.objects.s3_buffers import PART
from shared.objects.s3_reading import RESUMES
from tests.support.faults import Proxy, faulty
from tests.support.s3_server import S3Server

LENGTH = 3 * PART + 12345
KEY = Key("files/ab/cd/large-1.0.tar.gz")
ATTEMPTS = 3


@dataclass
class Line:
    """A store behind a proxy, the proxy, and the same bucket without it."""

    store: S3Store
    proxy: Proxy
    direct: S3Store
    client: S3Client
    bucket: str

    async def unfinished(self) -> int:
        """Return how many uploads in parts the server knows of."""
        return len((await self.client.list_multipart_uploads(Bucket=self.bucket)).get("Uploads", []))

    async def has_nothing(self) -> bool:
        """Return whether the bucket is empty, of parts too."""
        return [info async for info in self.direct.list("")] == [] and await self.unfinished() == 0


@asynccontextmanager
async def opened(server: S3Server, attempts: int = ATTEMPTS) -> AsyncIterator[Line]:
    """Open a store behind a proxy, on a bucket of its own."""
    bucket = server.make_bucket()
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(faulty(server.port))
        direct = await stack.enter_async_context(server.connect())
        options = replace(server.through(proxy.port), attempts=attempts)
        connection = await stack.enter_async_context(S3Connection.open(options))
        yield Line(connection.store(bucket), proxy, direct.store(bucket), direct.client, bucket)


@pytest.fixture
async def line(plain_s3: S3Server) -> AsyncIterator[Line]:
    """A store behind a proxy; a request is sent three times at the most."""
    async with opened(plain_s3) as line:
        yield line


@pytest.fixture
def large(tmp_path: Path) -> LocalFile:
    """A file of four parts."""
    file = tmp_path / "large"
    file.write_bytes(os.urandom(LENGTH))
    return LocalFile(file)


async def read(store: S3Store, key: Key, byte_range: ByteRange | None = None) -> bytes:
    """Return an object, or a range of it."""
    async with store.open(key, byte_range) as found:
        return b"".join([chunk async for chunk in found.chunks])


class TestBusy:
    """503 SlowDown and 500: asked again with pauses, within a bound."""

    @pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (503, "")])
    async def test_for_a_while(self, line: Line, large: LocalFile, status: int, code: str) -> None:
        """A server that refuses each request of an upload twice is asked a third time, and the upload is whole."""
        faults = [
            line.proxy.fault(words, times=ATTEMPTS - 1, status=status, code=code)
            for words in ("HEAD", "POST ?uploads", "partNumber=2", "POST ?uploadId")
        ]
        await line.store.put(KEY, large)
        assert [fault.met for fault in faults] == [2, 2, 2, 2]
        assert await read(line.direct, KEY) == large.path.read_bytes()
        assert await line.unfinished() == 0

    @pytest.mark.parametrize("words", ["HEAD", "POST ?uploads", "partNumber=2", "POST ?uploadId"])
    async def test_for_ever(self, line: Line, large: LocalFile, words: str) -> None:
        """A server that goes on refusing is given up after the bound, in words, with nothing left behind."""
        fault = line.proxy.fault(words, times=None, status=503, code="SlowDown")
        with pytest.raises(ObjectStoreError, match=f"cannot (store|look for) {KEY}: it asks for fewer requests"):
            await line.store.put(KEY, large)
        assert fault.met == ATTEMPTS
        assert await line.has_nothing()

    @pytest.mark.parametrize(
        ("status", "code", "words"),
        [
            (400, "ExpiredToken", "session's credentials have expired; renew them"),
            (400, "InvalidToken", "does not take the session's token"),
            (403, "QuotaExceeded", "the store is full"),
            (403, "RequestTimeTooSkewed", "clocks of this machine and the store differ"),
            (501, "NotImplemented", "If-None-Match and If-Match"),
        ],
    )
    async def test_refusals_that_no_repetition_mends(self, line: Line, status: int, code: str, words: str) -> None:
        """What asking again cannot mend is not asked again."""
        fault = line.proxy.fault("PUT", times=None, status=status, code=code)
        with pytest.raises(ObjectStoreError, match=words):
            await line.store.put(KEY, b"x")
        assert fault.met == 1


class TestCutWhileStoring:
    """A connection that ends in the midst of a body, or before the answer."""

    async def test_part_cut_once(self, line: Line, large: LocalFile) -> None:
        """A part that was cut is sent again, from its beginning."""
        for number in (1, 3):
            line.proxy.fault(f"partNumber={number}", after_sent=PART // 2)
        await line.store.put(KEY, large)
        assert await read(line.direct, KEY) == large.path.read_bytes()
        assert await line.unfinished() == 0

    @pytest.mark.parametrize("sent", [0, 1_000_000])
    async def test_part_cut_for_ever(self, line: Line, large: LocalFile, sent: int) -> None:
        """A part that never comes through fails the upload in words, and what the server had of it is given up."""
        line.proxy.fault("partNumber=2", times=None, after_sent=sent)
        with pytest.raises(ObjectStoreError, match=f"cannot store {KEY}: the connection broke"):
            await line.store.put(KEY, large)
        assert await line.has_nothing()

    async def test_answer_to_a_part_lost(self, line: Line, large: LocalFile) -> None:
        """A part that arrived and whose answer did not is sent again, and counts once."""
        line.proxy.fault("partNumber=2", after_answered=0)
        stored = await line.store.put(KEY, large)
        assert stored.length == LENGTH
        assert await read(line.direct, KEY) == large.path.read_bytes()

    @pytest.mark.parametrize("again", ["served", "NoSuchUpload", "PreconditionFailed"])
    async def test_answer_to_the_end_lost(self, line: Line, large: LocalFile, again: str) -> None:
        """An upload whose end was carried out unheard is found to be there, whatever a server says when asked again."""
        line.proxy.fault("POST ?uploadId", after_answered=0)
        if again != "served":
            line.proxy.fault("POST ?uploadId", status=412 if again == "PreconditionFailed" else 404, code=again)
        stored = await line.store.put(KEY, large)
        there = await line.direct.head(KEY)
        assert there is not None
        assert (there.key, there.etag, there.length) == (stored.key, stored.etag, stored.length)
        assert await read(line.direct, KEY) == large.path.read_bytes()
        assert await line.unfinished() == 0

    async def test_another_took_the_key_meanwhile(self, line: Line, large: LocalFile) -> None:
        """An upload whose key was taken while its parts were sent is told so, and its parts are given up."""
        line.proxy.fault("POST ?uploadId", status=412, code="PreconditionFailed")
        with pytest.raises(ObjectExists):
            await line.store.put(KEY, large)
        assert await line.has_nothing()

    async def test_answer_to_a_small_put_lost(self, line: Line) -> None:
        """A small put whose answer was lost is there whole; a condition may then be told of itself."""
        line.proxy.fault("PUT", after_answered=0)
        with pytest.raises(ObjectExists):
            await line.store.put(Key("a"), b"body")
        assert await read(line.direct, Key("a")) == b"body"
        line.proxy.fault("PUT", after_answered=0)
        await line.store.put(Key("a"), b"other", Put.REPLACE)
        assert await read(line.direct, Key("a")) == b"other"

    async def test_file_that_gets_shorter(self, line: Line, large: LocalFile) -> None:
        """A file that is cut short while it is stored is not stored, and says so."""

        def shorten(request: str) -> bool:
            if "?uploads" in request:
                os.truncate(large.path, 2 * PART + 1)
            return False

        line.proxy.fault("").matches = shorten
        with pytest.raises(ObjectStoreError, match="was cut short while it was being stored"):
            await line.store.put(KEY, large)
        assert await line.has_nothing()


class TestConditions:
    """What AWS answers and the server of these tests does not."""

    @pytest.mark.parametrize("in_parts", [False, True])
    async def test_conflict(self, line: Line, large: LocalFile, in_parts: bool) -> None:
        """409 ConditionalRequestConflict means that another put was under way: tried again, also with all parts."""
        conflict = {"status": 409, "code": "ConditionalRequestConflict"}
        fault = line.proxy.fault("POST ?uploadId" if in_parts else "PUT", times=2, **conflict)
        await line.store.put(KEY, large if in_parts else b"x")
        assert fault.met == 2
        assert await line.unfinished() == 0
        assert len(await read(line.direct, KEY)) == (LENGTH if in_parts else 1)

    async def test_conflict_that_was_lost(self, line: Line, large: LocalFile) -> None:
        """After a conflict, a key that is taken by then is not sent all parts again."""
        fault = line.proxy.fault("POST ?uploadId", status=409, code="ConditionalRequestConflict")
        putting = asyncio.create_task(line.store.put(KEY, large))
        async with asyncio.timeout(30):
            while not fault.met:
                await asyncio.sleep(0.001)
            await line.direct.put(KEY, b"theirs", Put.REPLACE)
        with pytest.raises(ObjectExists):
            await putting
        assert await read(line.direct, KEY) == b"theirs"
        assert await line.unfinished() == 0

    async def test_conflict_for_ever(self, line: Line) -> None:
        """A key that others write again and again is given up in words."""
        line.proxy.fault("PUT", times=None, status=409, code="ConditionalRequestConflict")
        with pytest.raises(ObjectStoreError, match="written by others again and again"):
            await line.store.put(KEY, b"x")

    async def test_if_match_in_parts(self, line: Line, large: LocalFile) -> None:
        """The condition of an upload in parts is that of its end, and a refusal leaves no parts."""
        first = await line.store.put(KEY, b"first")
        await line.store.put(KEY, b"second", Put.REPLACE)
        with pytest.raises(ObjectStoreError, match="has changed or is gone"):
            await line.store.put(KEY, large, IfMatch(first.etag))
        assert await read(line.direct, KEY) == b"second"
        assert await line.unfinished() == 0


class TestReading:
    """A connection that ends in the midst of an answer."""

    async def test_goes_on_where_it_broke(self, line: Line, large: LocalFile) -> None:
        """A reading that breaks some times goes on at the right byte, and asks for the same object only."""
        await line.direct.put(KEY, large)
        line.proxy.fault("GET", times=RESUMES, after_answered=3_000_000)
        assert await read(line.store, KEY) == large.path.read_bytes()
        assert sum(request.startswith("GET") for request in line.proxy.requests) == RESUMES + 1

    async def test_ranges_go_on_too(self, line: Line, large: LocalFile) -> None:
        """A range goes on within itself."""
        await line.direct.put(KEY, large)
        line.proxy.fault("GET", times=2, after_answered=1_000_000)
        assert await read(line.store, KEY, ByteRange(777, 5_000_000)) == large.path.read_bytes()[777:5_000_000]

    async def test_breaks_for_ever(self, line: Line, large: LocalFile) -> None:
        """A reading that breaks once more than it may is an error after a true beginning, never a clean end."""
        await line.direct.put(KEY, large)
        line.proxy.fault("GET", times=None, after_answered=1_000_000)
        got = bytearray()

        async def reading() -> None:
            async with line.store.open(KEY) as found:
                async for chunk in found.chunks:
                    got.extend(chunk)

        with pytest.raises(ObjectStoreError, match="to its end: the connection broke"):
            await reading()
        assert 0 < len(got) < LENGTH
        assert large.path.read_bytes().startswith(got)

    @pytest.mark.parametrize("change", ["replaced", "removed"])
    async def test_changes_meanwhile(self, line: Line, large: LocalFile, change: str) -> None:
        """Bytes of two objects are never mixed: what changed before the reading goes on ends it."""
        await line.direct.put(KEY, large)
        line.proxy.fault("GET", after_answered=1_000_000)

        async def reading() -> None:
            async with line.store.open(KEY) as found:
                await anext(found.chunks)
                if change == "removed":
                    await line.direct.delete(KEY)
                else:
                    await line.direct.put(KEY, os.urandom(LENGTH), Put.REPLACE)
                async for _ in found.chunks:
                    pass

        with pytest.raises(ObjectStoreError, match="changed while it was being read"):
            await reading()

    async def test_busy_when_it_goes_on(self, line: Line, large: LocalFile) -> None:
        """A server that is busy when the reading goes on is asked again."""
        await line.direct.put(KEY, large)
        line.proxy.fault("GET", after_answered=1_000_000)
        line.proxy.fault("GET", times=2, status=503, code="SlowDown")
        assert await read(line.store, KEY) == large.path.read_bytes()

    async def test_nothing_stays_open(self, line: Line, large: LocalFile) -> None:
        """Whoever leaves half-way, or is cancelled, gives the connection back at once; unread bytes are not fetched."""
        await line.direct.put(KEY, large)

        async def cancelled() -> None:
            async with line.store.open(KEY) as found:
                await anext(found.chunks)
                await asyncio.sleep(3600)

        for _ in range(4):
            async with line.store.open(KEY) as found:
                await anext(found.chunks)
            task = asyncio.create_task(cancelled())
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.wait([task])
        async with asyncio.timeout(10):
            while line.proxy.open_now > 1:
                await asyncio.sleep(0.01)
            assert await read(line.store, KEY, ByteRange(5, 6)) == large.path.read_bytes()[5:6]


class TestCancelled:
    """An upload whose caller goes away."""

    @pytest.mark.parametrize("moment", ["?uploads", "partNumber=1", "partNumber=3", "POST ?uploadId"])
    async def test_leaves_nothing(self, line: Line, large: LocalFile, moment: str) -> None:
        """Wherever an upload is cancelled, its parts are given up at the server too."""
        reached = asyncio.Event()

        def notice(request: str) -> bool:
            if all(word in request for word in moment.split()):
                reached.set()
            return False

        line.proxy.fault("").matches = notice
        putting = asyncio.create_task(line.store.put(KEY, large))
        async with asyncio.timeout(30):
            await reached.wait()
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        await _settled(line)
        # The end of the upload may have been carried out before the cancellation reached it.
        assert await line.has_nothing() or (moment == "POST ?uploadId" and await line.unfinished() == 0)


class TestSweep:
    """What a killed process leaves behind."""

    async def test_by_age(self, line: Line) -> None:
        """Uploads that began before a moment are given up, and none that began later, or of other keys."""
        for key in ("files/old", "files/.hidden", "other/old"):
            upload = await line.client.create_multipart_upload(Bucket=line.bucket, Key=key)
            part: dict[str, Any] = {"Bucket": line.bucket, "Key": key, "UploadId": upload["UploadId"]}
            await line.client.upload_part(**part, PartNumber=1, Body=b"x")
        assert await line.store.sweep_parts("files/", datetime.now(UTC) - timedelta(minutes=1)) == 0
        assert await line.unfinished() == 3
        assert await line.store.sweep_parts("files/", datetime.now(UTC) + timedelta(minutes=1)) == 1
        left = (await line.client.list_multipart_uploads(Bucket=line.bucket))["Uploads"]
        assert {upload["Key"] for upload in left} == {"files/.hidden", "other/old"}

    async def test_more_than_a_page(self, line: Line) -> None:
        """All are found, however many there are."""
        begin = line.client.create_multipart_upload
        for start in range(0, 150, 50):
            await asyncio.gather(
                *(begin(Bucket=line.bucket, Key=f"files/{number}") for number in range(start, start + 50))
            )
        assert await line.store.sweep_parts("files/", datetime.now(UTC) + timedelta(minutes=1)) == 150
        assert await line.unfinished() == 0

    async def test_store_that_is_away(self, line: Line) -> None:
        """A store that cannot be asked says so in words."""
        line.proxy.fault("GET", times=None, status=403, code="AccessDenied")
        with pytest.raises(ObjectStoreError, match="cannot look for unfinished uploads: these credentials may not"):
            await line.store.sweep_parts("files/", datetime.now(UTC))


async def _settled(line: Line) -> None:
    """Wait until the server has done what was asked of it."""
    async with asyncio.timeout(10):
        while await line.unfinished():
            await asyncio.sleep(0.05)
