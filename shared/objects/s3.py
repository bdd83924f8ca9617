"""The object store in S3 buckets, any S3: one connection per process, one store per bucket.

Source: infrastructure facts, "S3 through aioboto3".
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aioboto3
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from botocore.exceptions import ClientError, SSLError
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
from shared.objects.s3_bucket import Bucket, stored
from shared.objects.s3_buffers import PART, Buffers, made
from shared.objects.s3_descriptions import lean_session
from shared.objects.s3_errors import code_of, is_missing
from shared.objects.s3_multipart import BODY_TIME, Source, put_parts, sweep_parts
from shared.objects.s3_reading import Body

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

SMALL: Final = 256 * 1024
"""Bytes up to which a file is sent without waiting for memory, and without asking first whether it is there."""

ATTEMPTS: Final = 5
"""Times a request is sent that a store refuses for now or does not answer, with pauses of up to 1, 2, 4 and 8 seconds.
The S3 library also bounds the repetitions of all requests together, so an outage does not multiply them."""

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
    authorities to trust at the endpoint, None for the usual ones. `attempts` is as `ATTEMPTS`.
    """

    endpoint_url: str | None
    region: str
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    connections: int = 50
    ca_file: Path | None = None
    attempts: int = ATTEMPTS


class S3Connection:
    """What all buckets of a process share: the client with its pool, and the bound on bodies in flight."""

    def __init__(self, client: S3Client, options: S3Options) -> None:
        self.client = client
        self.endpoint = options.endpoint_url or f"S3 in {options.region}"
        self.buffers = Buffers()

    @classmethod
    @asynccontextmanager
    async def open(cls, options: S3Options) -> AsyncIterator[S3Connection]:
        """Open the client; it connects on first use and is closed with the context.

        Raises:
            ObjectStoreError: `ca_file` cannot be used.
        """
        own = options.endpoint_url is not None
        config = AioConfig(
            connect_timeout=5,
            read_timeout=60,
            max_pool_connections=options.connections,
            retries={"mode": "standard", "total_max_attempts": options.attempts},
            signature_version="s3v4",
            # Names of buckets are no host names at an endpoint of one's own.
            s3={"addressing_style": "path" if own else "auto"},
            # The default adds checksum trailers, which many servers other than AWS refuse.
            request_checksum_calculation="when_required" if own else "when_supported",
            response_checksum_validation="when_required" if own else "when_supported",
            http_session_cls=_Session,
        )
        session = aioboto3.Session(
            aws_access_key_id=_plain(options.access_key),
            aws_secret_access_key=_plain(options.secret_key),
            region_name=options.region,
            botocore_session=lean_session(),
        )
        verify = None if options.ca_file is None else _readable_authorities(options.ca_file)
        async with session.client("s3", endpoint_url=options.endpoint_url, config=config, verify=verify) as client:
            # The library would try a wrong certificate again as if it were a broken line.
            client.meta.events.register_first("needs-retry.s3", _give_up_on_certificates)
            yield cls(client, options)

    def store(self, bucket: str) -> S3Store:
        """Return the store in one bucket; it must exist."""
        return S3Store(Bucket(self.client, bucket, self.endpoint, self.buffers))


class S3Store:
    """Keeps objects in one bucket. Also a `Presigner` and a `PartsSweeper`."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._client = bucket.client

    async def put(
        self, key: Key, body: bytes | LocalFile, condition: Put | IfMatch = Put.ABSENT, *, durable: bool = True
    ) -> ObjectInfo:
        """Store `body` under `key`; see `ObjectStore.put`. A file above `PART` bytes goes in parts.

        All is durable: S3 knows nothing else, whatever `durable` says.

        A request whose answer is lost on the way is sent again, by the HTTP library too, which does not say so. A put
        on a condition may then be refused because of itself: whoever gets `ObjectExists` or `PreconditionFailed` looks
        at what is there.
        """
        check_key(key)
        for again in range(CONFLICT_TRIES):
            with self._bucket.telling(f"store {key}"):
                try:
                    return await self._put(key, body, condition)
                except _Conflict:
                    await asyncio.sleep(0.05 * 2**again)
        raise ObjectStoreError(f"{self._bucket}: {key} is written by others again and again; try later")

    @asynccontextmanager
    async def open(self, key: Key, byte_range: ByteRange | None = None) -> AsyncIterator[OpenObject]:
        """Read an object or a range of it; see `ObjectStore.open`."""
        check_key(key)
        with self._bucket.telling(f"read {key}"):
            try:
                answer = await self._bucket.get(key, byte_range)
            except ClientError as error:
                if is_missing(error):
                    raise ObjectNotFound(f"there is no object {key}") from None
                if code_of(error) in ("InvalidRange", "416"):
                    raise RangeNotSatisfiable(f"{key} has no bytes from {byte_range and byte_range.start} on") from None
                raise
        body = Body(self._bucket, key, answer, byte_range.start if byte_range else 0)
        chunks = body.chunks()
        try:
            yield OpenObject(body.info, chunks)
        finally:
            await chunks.aclose()
            body.close()

    async def head(self, key: Key) -> ObjectInfo | None:
        """Return what is known of the object, or None when there is nothing."""
        check_key(key)
        with self._bucket.telling(f"look for {key}"):
            try:
                return await self._bucket.head(key)
            except ClientError as error:
                if is_missing(error):
                    return None
                raise

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        """Yield every object whose key begins with `prefix`, in key order; 1,000 are held at a time."""
        check_prefix(prefix)
        paginator = self._client.get_paginator("list_objects_v2")
        pages = aiter(paginator.paginate(Bucket=self._bucket.name, Prefix=prefix))
        while True:
            with self._bucket.telling("list objects"):
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
        with self._bucket.telling(f"remove {key}"):
            try:
                await self._client.delete_object(Bucket=self._bucket.name, Key=key)
            except ClientError as error:
                if not is_missing(error):
                    raise

    async def ping(self) -> None:
        """Write and remove a probe."""
        with self._bucket.telling("write a probe"):
            await self._client.put_object(Bucket=self._bucket.name, Key=PROBE, Body=b"")
            await self._client.delete_object(Bucket=self._bucket.name, Key=PROBE)

    async def close(self) -> None:
        """Free nothing: connections belong to the `S3Connection`."""

    async def presign(self, key: Key, lifetime: timedelta) -> str:
        """Return a URL that reads `key` without credentials for `lifetime`, at most `MAX_PRESIGN`."""
        check_key(key)
        if not timedelta(seconds=1) <= lifetime <= MAX_PRESIGN:
            raise ValueError(f"a presigned URL lives 1 second to 7 days, not {lifetime}")
        with self._bucket.telling(f"sign a URL of {key}"):
            return await self._client.generate_presigned_url(
                "get_object",
                Params={"Bucket": self._bucket.name, "Key": key},
                ExpiresIn=int(lifetime.total_seconds()),
            )

    async def sweep_parts(self, prefix: str, before: datetime) -> int:
        """Give up uploads in parts that began before a moment; see `PartsSweeper`."""
        check_prefix(prefix)
        with self._bucket.telling("look for unfinished uploads"):
            return await sweep_parts(self._bucket, prefix, before)

    # --- writing ---

    async def _put(self, key: Key, body: bytes | LocalFile, condition: Put | IfMatch) -> ObjectInfo:
        try:
            if isinstance(body, LocalFile):
                return await self._put_file(key, body.path, condition)
            return await self._put_body(key, body, len(body), condition)
        except ClientError as error:
            code = code_of(error)
            if code == "ConditionalRequestConflict":
                raise _Conflict from error
            if code in ("PreconditionFailed", "412") or (isinstance(condition, IfMatch) and code == "NoSuchKey"):
                raise _refusal(key, condition) from None
            raise

    async def _put_file(self, key: Key, path: Path, condition: Put | IfMatch) -> ObjectInfo:
        with open(path, "rb", buffering=0) as file:  # noqa: ASYNC230 (opens, does not read)
            length = os.fstat(file.fileno()).st_size
            source = Source(key, path, file.fileno(), length, {"ContentType": _content_type(key)})
            if length <= SMALL:
                body = made(length)
                await source.read(body, 0, length)
                return await self._put_body(key, body, length, condition)
            # Asked before many bytes are sent in vain; the condition decides, not this.
            if condition is Put.ABSENT and await self.head(key) is not None:
                raise ObjectExists(f"{key} is already there")
            if length > PART:
                return await put_parts(self._bucket, source, _conditions(condition))
            async with self._bucket.buffers.lend(length) as body:
                await source.read(body, 0, length)
                return await self._put_body(key, body, length, condition)

    async def _put_body(self, key: Key, body: bytes | io.BytesIO, length: int, condition: Put | IfMatch) -> ObjectInfo:
        async with asyncio.timeout(BODY_TIME):
            answer = await self._client.put_object(
                Bucket=self._bucket.name, Key=key, Body=body, ContentType=_content_type(key), **_conditions(condition)
            )
        return stored(key, length, answer)


class _Session(AIOHTTPSession):
    """The library's HTTP session, which asks for a certificate of a known authority but not for one of this host."""

    def _get_ssl_context(self) -> ssl.SSLContext:
        context: ssl.SSLContext = super()._get_ssl_context()  # type: ignore[misc]
        context.check_hostname, context.verify_mode = True, ssl.CERT_REQUIRED
        return context


class _Conflict(Exception):
    """Another conditional put to the same key was under way; nothing was written."""


def _readable_authorities(file: Path) -> str:
    """Return the file's name for the library, which reads it late and tells little of what is wrong."""
    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:
        reason = error.strerror or "it holds no certificate in PEM form"
        raise ObjectStoreError(f"objects.ca_file {file} cannot be used: {reason}") from error
    return str(file)


def _give_up_on_certificates(caught_exception: Exception | None = None, **_: object) -> None:
    if isinstance(caught_exception, SSLError):
        raise caught_exception


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
