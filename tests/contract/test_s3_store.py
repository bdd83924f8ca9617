"""What the S3 store says and leaves behind when things go wrong; mostly on a real S3 server, when one is given."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.objects.interface import Key, LocalFile, ObjectStoreError
from shared.objects.s3 import PART, S3Connection, S3Options
from tests.contract.test_object_store import PREFIX, s3_options

on_a_server = pytest.mark.skipif(f"{PREFIX}URL" not in os.environ, reason=f"set {PREFIX}URL and its companions")


async def test_nothing_answers(unused_tcp_port: int) -> None:
    """An endpoint where nothing listens is an error that names the setting to check, and no secret."""
    options = S3Options(f"http://127.0.0.1:{unused_tcp_port}", "us-east-1", SecretStr("a-key"), SecretStr("a-secret"))
    async with S3Connection.open(options) as connection:
        with pytest.raises(ObjectStoreError, match=r"bucket pub at http://.*check objects\.endpoint_url") as caught:
            await connection.store("pub").ping()
    assert "a-secret" not in str(caught.value)


@on_a_server
async def test_wrong_credentials() -> None:
    """Wrong keys are named as such: an unknown access key and a wrong secret key."""
    bucket = os.environ[f"{PREFIX}BUCKET"]
    for options in (
        replace(s3_options(), access_key=SecretStr("nobody")),
        replace(s3_options(), secret_key=SecretStr("wrong-secret")),
    ):
        async with S3Connection.open(options) as connection:
            with pytest.raises(ObjectStoreError, match=r"check objects\.access_key and objects\.secret_key") as caught:
                await connection.store(bucket).ping()
            assert "wrong-secret" not in str(caught.value)
            with pytest.raises(ObjectStoreError, match=r"objects\.access_key"):
                await connection.store(bucket).head(Key("x"))


@on_a_server
async def test_missing_bucket() -> None:
    """A bucket that does not exist is named, with the setting."""
    async with S3Connection.open(s3_options()) as connection:
        store = connection.store("no-such-bucket")
        with pytest.raises(ObjectStoreError, match=r"no-such-bucket.*does not exist; create it"):
            await store.ping()
        with pytest.raises(ObjectStoreError, match="does not exist; create it"):
            await anext(aiter(store.list("")))
        with pytest.raises(ObjectStoreError, match="does not exist; create it"):
            async with store.open(Key("x")):
                pass


@on_a_server
async def test_cancelled_upload_leaves_no_parts(tmp_path: Path) -> None:
    """An upload in parts that is cancelled is given up at the server too, and nothing is stored."""
    source = tmp_path / "large"
    source.write_bytes(os.urandom(4 * PART))
    bucket = os.environ[f"{PREFIX}BUCKET"]
    async with S3Connection.open(s3_options()) as connection:
        store = connection.store(bucket)
        putting = asyncio.create_task(store.put(Key("test/cancelled"), LocalFile(source)))
        async with asyncio.timeout(20):
            while not (await connection.client.list_multipart_uploads(Bucket=bucket)).get("Uploads"):
                await asyncio.sleep(0.005)
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        assert not (await connection.client.list_multipart_uploads(Bucket=bucket)).get("Uploads")
        assert await store.head(Key("test/cancelled")) is None


@on_a_server
async def test_many_large_uploads_at_once(tmp_path: Path) -> None:
    """More uploads in parts than the process may have parts in flight, over few connections, all come through."""
    source = tmp_path / "large"
    source.write_bytes(os.urandom(2 * PART + 1))
    async with S3Connection.open(s3_options()) as connection:
        store = connection.store(os.environ[f"{PREFIX}BUCKET"])
        keys = [Key(f"test/many/{number}") for number in range(6)]
        stored = await asyncio.gather(*(store.put(key, LocalFile(source)) for key in keys))
        assert {info.length for info in stored} == {2 * PART + 1}
        for key in keys:
            await store.delete(key)
