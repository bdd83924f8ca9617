"""The object store in S3 buckets, any S3: one connection per process, one store per bucket.

Source: infrastructure facts, "S3 through aioboto3".
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import SecretStr

from shared.objects.interface import (
    ByteRange,
    IfMatch,
    Key,
    LocalFile,
    ObjectExists,
    ObjectInfo,
    ObjectNotFound,
    ObjectStoreError,
    OpenObject,
    PreconditionFailed,
    Put,
    RangeNotSatisfiable,
)
from shared.objects.keys import InvalidKey, check_key, check_prefix
from shared.objects.s3_errors import advice, code_of, is_missing

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import CompletedPartTypeDef, GetObjectOutputTypeDef

CHUNK: Final = 256 * 1024
"""Bytes handed on at a time."""

PART: Final = 8 * 1024 * 1024
"""Bytes of one part of a multipart upload, and the size up to which a body goes in one request."""

MAX_PARTS: Final = 10_000
"""Parts of one object. Source: S3 user guide, "Amazon S3 multipart upload limits"."""

PARTS_PER_UPLOAD: Final = 2
"""Parts of one upload in flight."""

PARTS_PER_PROCESS: Final = 6
"""Parts of all uploads in flight: with `PART` this bounds the memory of uploads to 48 MiB."""

CONFLICT_TRIES: Final = 5
"""Times a put is tried that met another conditional put to the same key."""

MAX_PRESIGN: Final = timedelta(days=7)
"""The longest life of a presigned URL. Source: S3 user guide, "Sharing objects with presigned URLs"."""

PROBE: Final = "staging/ping"
"""Key that `ping` writes and removes."""

_CONTENT_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".pointer": "application/yaml",
    ".metadata": "text/plain; charset=utf-8",
}
"""Ending -> media type that a bucket serves the published tree with; all else is bytes."""


@dataclass(frozen=True, slots=True)
class S3Options:
    """Where the buckets are and who asks.

    `endpoint_url` None means AWS; without keys the S3 library finds credentials in its own ways (environment, instance
    role). `connections` is how many requests of this process may be under way. `ca_file` names a PEM file of the
    authorities to trust at the endpoint, None for the usual ones.
    """

    endpoint_url: str | None
    region: str
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    connections: int = 50
    ca_file: Path | None = None


class S3Connection:
    """What all buckets of a process share: the client with its pool, and the bound on parts in flight."""

    def __init__(self, client: S3Client, options: S3Options) -> None:
        self.client = client
        self.endpoint = options.endpoint_url or f"S3 in {options.region}"
        self.parts = asyncio.Semaphore(PARTS_PER_PROCESS)

    @classmethod
    @asynccontextmanager
    async def open(cls, options: S3Options) -> AsyncIterator[S3Connection]:
        """Open the client; it connects on first use and is closed with the context."""
        own = options.endpoint_url is not None
        config = AioConfig(
            connect_timeout=5,
            read_timeout=60,
            max_pool_connections=options.connections,
            retries={"mode": "standard", "max_attempts": 3},
            signature_version="s3v4",
            # Names of buckets are no host names at an endpoint of one's own.
            s3={"addressing_style": "path" if own else "auto"},
            # The default adds checksum trailers, which many servers other than AWS refuse.
            request_checksum_calculation="when_required" if own else "when_supported",
            response_checksum_validation="when_required" if own else "when_supported",
        )
        session = aioboto3.Session(
            aws_access_key_id=_plain(options.access_key),
            aws_secret_access_key=_plain(options.secret_key),
            region_name=options.region,
        )
        # None leaves the choice to the library, as if it had not been given.
        verify = None if options.ca_file is None else str(options.ca_file)
        async with session.client("s3", endpoint_url=options.endpoint_url, config=config, verify=verify) as client:
            yield cls(client, options)

    def store(self, bucket: str) -> S3Store:
        """Return the store in one bucket; it must exist."""
        return S3Store(self, bucket)


class S3Store:
    """Keeps objects in one bucket. Also a `Presigner`."""

    def __init__(self, connection: S3Connection, bucket: str) -> None:
        self._connection = connection
        self._client = connection.client
        self._bucket = bucket

    async def put(
        self, key: Key, body: bytes | LocalFile, condition: Put | IfMatch = Put.ABSENT, *, durable: bool = True
    ) -> ObjectInfo:
        """Store `body` under `key`; see `ObjectStore.put`, always durable. A file above `PART` bytes goes in parts."""
        check_key(key)
        if condition is Put.ABSENT and isinstance(body, LocalFile) and await self.head(key) is not None:
            raise ObjectExists(f"{key} is already there")
        for again in range(CONFLICT_TRIES):
            try:
                with self._telling(f"store {key}"):
                    return await self._put(key, body, condition)
            except _Conflict:
                await asyncio.sleep(0.05 * 2**again)
        raise ObjectStoreError(f"{self}: {key} is written by others again and again; try later")

    @asynccontextmanager
    async def open(self, key: Key, byte_range: ByteRange | None = None) -> AsyncIterator[OpenObject]:
        """Read an object or a range of it; see `ObjectStore.open`."""
        check_key(key)
        with self._telling(f"read {key}"):
            try:
                answer = await self._get(key, byte_range)
            except ClientError as error:
                if is_missing(error):
                    raise ObjectNotFound(f"there is no object {key}") from None
                if code_of(error) in ("InvalidRange", "416"):
                    raise RangeNotSatisfiable(f"{key} has no bytes from {byte_range and byte_range.start} on") from None
                raise
        body = answer["Body"]
        chunks = self._chunks(key, answer)
        try:
            yield OpenObject(_opened(key, answer), chunks)
        finally:
            await chunks.aclose()
            # Unread bytes keep the connection from being used again: this gives it up instead of reading them.
            body.close()

    async def head(self, key: Key) -> ObjectInfo | None:
        """Return what is known of the object, or None when there is nothing."""
        check_key(key)
        with self._telling(f"look for {key}"):
            try:
                answer = await self._client.head_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if is_missing(error):
                    return None
                raise
        return ObjectInfo(key, answer["ContentLength"], answer["ETag"].strip('"'), answer["LastModified"])

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        """Yield every object whose key begins with `prefix`, in key order; 1,000 are held at a time."""
        check_prefix(prefix)
        paginator = self._client.get_paginator("list_objects_v2")
        pages = aiter(paginator.paginate(Bucket=self._bucket, Prefix=prefix))
        while True:
            with self._telling("list objects"):
                page = await anext(pages, None)
            if page is None:
                return
            for found in page.get("Contents", ()):
                # Whatever others keep in the bucket under names that are no keys of ours is not ours to list.
                with contextlib.suppress(InvalidKey):
                    key = check_key(found["Key"])
                    yield ObjectInfo(key, found["Size"], found["ETag"].strip('"'), found["LastModified"])

    async def delete(self, key: Key) -> None:
        """Remove the object; nothing happens when it is not there."""
        check_key(key)
        with self._telling(f"remove {key}"):
            try:
                await self._client.delete_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if not is_missing(error):
                    raise

    async def ping(self) -> None:
        """Write and remove a probe."""
        with self._telling("write a probe"):
            await self._client.put_object(Bucket=self._bucket, Key=PROBE, Body=b"")
            await self._client.delete_object(Bucket=self._bucket, Key=PROBE)

    async def close(self) -> None:
        """Free nothing: connections belong to the `S3Connection`."""

    async def presign(self, key: Key, lifetime: timedelta) -> str:
        """Return a URL that reads `key` without credentials for `lifetime`, at most `MAX_PRESIGN`."""
        check_key(key)
        if not timedelta(seconds=1) <= lifetime <= MAX_PRESIGN:
            raise ValueError(f"a presigned URL lives 1 second to 7 days, not {lifetime}")
        with self._telling(f"sign a URL of {key}"):
            return await self._client.generate_presigned_url(
                "get_object",
                Params={"Bucket": self._bucket, "Key": key},
                ExpiresIn=int(lifetime.total_seconds()),
            )

    # --- writing ---

    async def _put(self, key: Key, body: bytes | LocalFile, condition: Put | IfMatch) -> ObjectInfo:
        try:
            if isinstance(body, LocalFile):
                with open(body.path, "rb", buffering=0) as file:  # noqa: ASYNC230 (opens, does not read)
                    length = os.fstat(file.fileno()).st_size
                    if length > PART:
                        return await self._put_parts(_Source(key, body.path, file.fileno(), length), condition)
                    body = await asyncio.to_thread(os.pread, file.fileno(), PART, 0)
            answer = await self._client.put_object(
                Bucket=self._bucket, Key=key, Body=body, ContentType=_content_type(key), **_conditions(condition)
            )
            return _stored(key, len(body), answer)
        except ClientError as error:
            code = code_of(error)
            if code == "ConditionalRequestConflict":
                raise _Conflict from error
            refused = code in ("PreconditionFailed", "412") or (isinstance(condition, IfMatch) and is_missing(error))
            if not refused or code == "NoSuchBucket":
                raise
            retried = error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0) > 0
            ours = await self._find(key, body) if retried and isinstance(body, bytes) else None
            if ours is None:
                raise _refusal(key, condition) from None
            return ours

    async def _find(self, key: Key, body: bytes) -> ObjectInfo | None:
        """Return the object if it holds `body`: a put was refused since its own first try had worked, unanswered."""
        try:
            answer = await self._get(key, None)
        except ClientError as error:
            if is_missing(error):
                return None
            raise
        async with answer["Body"] as stream:
            same = answer["ContentLength"] == len(body) and await stream.read() == body
        return _opened(key, answer) if same else None

    async def _put_parts(self, source: _Source, condition: Put | IfMatch) -> ObjectInfo:
        """Store a large file in parts; an upload that does not come to its end is given up at the store too."""
        target: dict[str, Any] = {"Bucket": self._bucket, "Key": source.key}
        begun = await self._client.create_multipart_upload(**target, ContentType=_content_type(source.key))
        upload = {**target, "UploadId": begun["UploadId"]}
        try:
            parts = await self._send_parts(source, upload)
            answer = await self._client.complete_multipart_upload(
                **upload, MultipartUpload={"Parts": parts}, **_conditions(condition)
            )
            return _stored(source.key, source.length, answer)
        except BaseException:
            # Also when cancelled: parts of an unfinished upload are paid for and never listed.
            with contextlib.suppress(ClientError, BotoCoreError, aiohttp.ClientError, OSError):
                await asyncio.shield(self._client.abort_multipart_upload(**upload))
            raise

    async def _send_parts(self, source: _Source, upload: dict[str, Any]) -> Sequence[CompletedPartTypeDef]:
        part_length = max(PART, -(-source.length // MAX_PARTS))
        offsets = iter(enumerate(range(0, source.length, part_length), start=1))
        sent: list[CompletedPartTypeDef] = []

        async def send() -> None:
            for number, offset in offsets:
                async with self._connection.parts:
                    data = await asyncio.to_thread(os.pread, source.descriptor, part_length, offset)
                    if len(data) != min(part_length, source.length - offset):
                        raise ObjectStoreError(f"{source.path} was cut short while it was being stored")
                    answer = await self._client.upload_part(**upload, PartNumber=number, Body=data)
                    sent.append({"PartNumber": number, "ETag": answer["ETag"]})

        senders = [asyncio.create_task(send()) for _ in range(PARTS_PER_UPLOAD)]
        try:
            await asyncio.gather(*senders)
        finally:
            for sender in senders:
                sender.cancel()
            await asyncio.gather(*senders, return_exceptions=True)
        return sorted(sent, key=lambda part: part["PartNumber"])

    # --- reading ---

    async def _get(self, key: Key, byte_range: ByteRange | None) -> GetObjectOutputTypeDef:
        if byte_range is None:
            return await self._client.get_object(Bucket=self._bucket, Key=key)
        stop = "" if byte_range.stop is None else byte_range.stop - 1
        return await self._client.get_object(Bucket=self._bucket, Key=key, Range=f"bytes={byte_range.start}-{stop}")

    async def _chunks(self, key: Key, answer: GetObjectOutputTypeDef) -> AsyncGenerator[bytes, None]:
        missing = answer["ContentLength"]
        while missing > 0:
            with self._telling(f"read {key}"):
                chunk = await answer["Body"].read(CHUNK)
            if not chunk:
                raise ObjectStoreError(f"{self}: {key} ended {missing} bytes early")
            missing -= len(chunk)
            yield chunk

    @contextmanager
    def _telling(self, doing: str) -> Iterator[None]:
        """Turn the S3 library's errors into words."""
        try:
            yield
        except (ClientError, BotoCoreError, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ObjectStoreError(f"{self}: cannot {doing}: {advice(error)}") from error

    def __str__(self) -> str:
        return f"object store in bucket {self._bucket} at {self._connection.endpoint}"


class _Conflict(Exception):
    """Another conditional put to the same key was under way; nothing was written."""


@dataclass(frozen=True, slots=True)
class _Source:
    """A file being stored in parts."""

    key: Key
    path: Path
    descriptor: int
    length: int


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _content_type(key: Key) -> str:
    return _CONTENT_TYPES.get(os.path.splitext(key)[1], "application/octet-stream")


def _conditions(condition: Put | IfMatch) -> dict[str, Any]:
    if isinstance(condition, IfMatch):
        return {"IfMatch": f'"{condition.etag}"'}
    return {"IfNoneMatch": "*"} if condition is Put.ABSENT else {}


def _refusal(key: Key, condition: Put | IfMatch) -> ObjectStoreError:
    if isinstance(condition, IfMatch):
        return PreconditionFailed(f"{key} was to be replaced, but it has changed or is gone")
    return ObjectExists(f"{key} is already there")


def _stored(key: Key, length: int, answer: Mapping[str, Any]) -> ObjectInfo:
    """Return what is known of an object from the answer to its put: a HEAD could already see the next one."""
    date = answer["ResponseMetadata"]["HTTPHeaders"]["date"]
    return ObjectInfo(key, length, answer["ETag"].strip('"'), parsedate_to_datetime(date))


def _opened(key: Key, answer: GetObjectOutputTypeDef) -> ObjectInfo:
    """Return what an answer says of the whole object, also when it holds a range of it."""
    whole = answer.get("ContentRange", "").rpartition("/")[2]
    length = int(whole) if whole.isdecimal() else answer["ContentLength"]
    return ObjectInfo(key, length, answer["ETag"].strip('"'), answer["LastModified"])
