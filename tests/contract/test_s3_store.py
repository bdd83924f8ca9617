"""What the S3 store says when it is not let in, and what it hands out, on a real S3 server."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import botocore.auth
import httpx2
import pytest
from pydantic import SecretStr

from deploy.stack.certificates import make_certificates
from shared.objects.interface import ByteRange, Key, LocalFile, ObjectStoreError
from shared.objects.s3 import S3Connection, S3Options, S3Store
from shared.objects.s3_buffers import PART
from tests.support.clock import SettableClock
from tests.support.faults import relayed
from tests.support.s3_server import S3Server


@asynccontextmanager
async def store_with(options: S3Options, bucket: str) -> AsyncIterator[S3Store]:
    """Open a store; a request is sent twice at the most."""
    async with S3Connection.open(replace(options, attempts=2)) as connection:
        yield connection.store(bucket)


async def complaint(options: S3Options, bucket: str) -> str:
    """Return what `ping` complains of; one line that holds no secret."""
    async with store_with(options, bucket) as store:
        with pytest.raises(ObjectStoreError) as caught:
            await store.ping()
    words = str(caught.value)
    assert "\n" not in words
    assert options.secret_key is not None
    assert options.secret_key.get_secret_value() not in words
    return words


class TestNotLetIn:
    """Each fault says what is wrong and how to mend it."""

    async def test_nothing_answers(self, s3: S3Server, unused_tcp_port: int) -> None:
        """An endpoint where nothing listens names the setting to check."""
        words = await complaint(s3.through(unused_tcp_port), "pub")
        assert words.startswith(f"object store in bucket pub at https://127.0.0.1:{unused_tcp_port}: cannot")
        assert "nothing answers there; check objects.endpoint_url" in words

    async def test_wrong_credentials(self, s3: S3Server) -> None:
        """An unknown access key and a wrong secret key are named as such, and HEAD, which has no words, names both."""
        bucket = s3.make_bucket()
        unknown = replace(s3.options, access_key=SecretStr("nobody"))
        wrong = replace(s3.options, secret_key=SecretStr("wrong-secret"))
        assert "does not know the access key; check objects.access_key" in await complaint(unknown, bucket)
        assert "secret key does not match the access key; check objects.access_key" in await complaint(wrong, bucket)
        for options in (unknown, wrong):
            async with store_with(options, bucket) as store:
                with pytest.raises(ObjectStoreError, match=r"objects\.access_key"):
                    await store.head(Key("x"))

    async def test_missing_bucket(self, s3: S3Server) -> None:
        """A bucket that does not exist is named, with the settings."""
        words = await complaint(s3.options, "no-such-bucket")
        assert "no-such-bucket" in words
        assert "does not exist; create it, or name another in objects.public_bucket" in words
        async with store_with(s3.options, "no-such-bucket") as store:
            with pytest.raises(ObjectStoreError, match="does not exist; create it"):
                await anext(aiter(store.list("")))
            with pytest.raises(ObjectStoreError, match="does not exist; create it"):
                async with store.open(Key("x")):
                    pass

    async def test_another_region(self, s3: S3Server) -> None:
        """A wrong region is put right by what the server says; where it says nothing (HEAD), the setting is named."""
        options, bucket = replace(s3.options, region="eu-west-1"), s3.make_bucket()
        async with store_with(options, bucket) as store:
            with pytest.raises(ObjectStoreError, match=r"objects\.region"):
                await store.head(Key("x"))
            await store.ping()
            assert await store.head(Key("x")) is None

    async def test_read_only_bucket(self, plain_s3: S3Server, tmp_path: Path) -> None:
        """Whoever may only read is told which rights are missing; reading works and nothing is written."""
        reader, bucket = plain_s3.make_user(), plain_s3.make_bucket()
        async with plain_s3.connect() as connection:
            await connection.store(bucket).put(Key("x"), b"there")
            allowed = {
                "Effect": "Allow",
                "Principal": {"AWS": [reader.access_key.get_secret_value()]} if reader.access_key else {},
                "Action": ["s3:GetObject", "s3:ListBucket"],
                "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
            }
            policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
            await connection.client.put_bucket_policy(Bucket=bucket, Policy=policy)
        words = await complaint(reader, bucket)
        assert "these credentials may not do this; give them read, write, list and delete on the bucket" in words
        source = tmp_path / "large"
        source.write_bytes(os.urandom(PART + 1))
        async with store_with(reader, bucket) as store:
            async with store.open(Key("x")) as opened:
                assert b"".join([chunk async for chunk in opened.chunks]) == b"there"
            for body in (b"small", LocalFile(source)):
                with pytest.raises(ObjectStoreError, match="may not do this"):
                    await store.put(Key("y"), body)
            assert [info.key async for info in store.list("")] == ["x"]

    async def test_clock_an_hour_off(self, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """A clock that differs from the store's is named, and not taken for wrong keys."""
        now = vars(botocore.auth)["get_current_datetime"]

        def late(*args: object, **options: object) -> datetime:
            moment: datetime = now(*args, **options)
            return moment - timedelta(hours=1)

        monkeypatch.setattr("botocore.auth.get_current_datetime", late)
        words = await complaint(s3.options, s3.make_bucket())
        assert "the clocks of this machine and the store differ; set them right" in words


class TestTls:
    """A certificate is believed only when a known authority gave it to this host."""

    async def test_unknown_authority(self, s3: S3Server) -> None:
        """An authority that nobody named is refused, at the first try."""
        words = await complaint(replace(s3.options, ca_file=None), s3.make_bucket())
        assert "authority that is not known here; set objects.ca_file to the authority's PEM file" in words

    async def test_another_authority(self, s3: S3Server, tmp_path: Path) -> None:
        """Naming an authority trusts it alone, not whoever else signs."""
        other = make_certificates(tmp_path, SettableClock())
        words = await complaint(replace(s3.options, ca_file=other.authority), s3.make_bucket())
        assert "authority that is not known here" in words

    async def test_wrong_host_name(self, s3: S3Server) -> None:
        """A certificate of the right authority for another host is refused: it could be anybody's of that authority."""
        async with relayed(s3.port, "127.0.0.2") as port:
            options = replace(s3.options, endpoint_url=f"https://127.0.0.2:{port}")
            words = await complaint(options, s3.make_bucket())
        assert "its certificate is for another host name; set objects.endpoint_url" in words

    async def test_plain_http_to_a_port_of_tls(self, s3: S3Server) -> None:
        """Where TLS is spoken and was not asked for, https:// is proposed."""
        options = replace(s3.options, endpoint_url=s3.url.replace("https://", "http://"))
        assert "needs https:// in objects.endpoint_url" in await complaint(options, s3.make_bucket())

    async def test_tls_to_a_port_of_plain_http(self, s3: S3Server, plain_s3: S3Server) -> None:
        """Where no TLS is spoken and was asked for, http:// is proposed."""
        options = replace(s3.options, endpoint_url=plain_s3.url.replace("http://", "https://"))
        assert "objects.endpoint_url may have to begin with http://" in await complaint(options, "b")

    @pytest.mark.parametrize("content", [None, "no certificate"])
    async def test_file_of_authorities_that_cannot_be_read(
        self, s3: S3Server, tmp_path: Path, content: str | None
    ) -> None:
        """A file of authorities that is absent or holds none is named when the store is opened."""
        file = tmp_path / "ca.pem"
        if content is not None:
            file.write_text(content)
        with pytest.raises(ObjectStoreError, match=r"objects\.ca_file .*ca\.pem cannot be used: "):
            async with S3Connection.open(replace(s3.options, ca_file=file)):
                pass


class TestUrls:
    """Presigned URLs: what `downloads.redirect` sends clients to."""

    async def test_whole_and_parts(self, s3: S3Server) -> None:
        """A URL reads one object and no other, whole or in part, with its media type and the file's own name."""
        async with s3.connect() as connection, httpx2.AsyncClient(verify=s3.trust()) as client:
            store = connection.store(s3.make_bucket())
            body = os.urandom(300_000)
            await store.put(Key("files/ab/thing-1.0+local~1!x.tar.gz"), body)
            url = await store.presign(Key("files/ab/thing-1.0+local~1!x.tar.gz"), timedelta(minutes=1))
            whole = await client.get(url)
            assert (whole.status_code, whole.content) == (200, body)
            assert whole.headers["content-type"] == "application/octet-stream"
            assert "content-disposition" not in whole.headers, "the name is the URL's last segment"
            part = await client.get(url, headers={"range": "bytes=1000-1999"})
            assert (part.status_code, part.content) == (206, body[1000:2000])
            assert part.headers["content-range"] == f"bytes 1000-1999/{len(body)}"
            assert (await client.get(url, headers={"range": "bytes=300000-"})).status_code == 416
            assert (await client.get(url.replace("files/ab", "files/cd"))).status_code == 403
            assert (await client.head(url)).status_code == 403, "it is signed for GET alone"
            assert (await client.get(urlsplit(url)._replace(query="").geturl())).status_code == 403
            await store.put(Key("simple/index.html"), b"<p>")
            page = await client.get(await store.presign(Key("simple/index.html"), timedelta(minutes=1)))
            assert page.headers["content-type"] == "text/html; charset=utf-8"

    async def test_they_expire(self, s3: S3Server) -> None:
        """A URL works until its end and not after; lives of no sense are refused here."""
        async with s3.connect() as connection, httpx2.AsyncClient(verify=s3.trust()) as client:
            store = connection.store(s3.make_bucket())
            await store.put(Key("x"), b"1")
            url = await store.presign(Key("x"), timedelta(seconds=2))
            assert (await client.get(url)).status_code == 200
            async with asyncio.timeout(30):
                while (await client.get(url)).status_code != 403:
                    await asyncio.sleep(0.2)
            for lifetime in (timedelta(0), timedelta(days=8)):
                with pytest.raises(ValueError, match="7 days"):
                    await store.presign(Key("x"), lifetime)


async def test_many_large_uploads_at_once(s3: S3Server, tmp_path: Path) -> None:
    """More uploads in parts than the process may have bodies in flight, over two connections, all come through."""
    source = tmp_path / "large"
    source.write_bytes(os.urandom(2 * PART + 1))
    async with s3.connect() as connection:
        store = connection.store(s3.make_bucket())
        keys = [Key(f"many/{number}") for number in range(6)]
        stored = await asyncio.gather(*(store.put(key, LocalFile(source)) for key in keys))
        assert {info.length for info in stored} == {2 * PART + 1}
        async with store.open(keys[3], ByteRange(2 * PART)) as opened:
            assert b"".join([chunk async for chunk in opened.chunks]) == source.read_bytes()[-1:]
