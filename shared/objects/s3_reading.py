"""Reads an object's body to its end, also when the connection breaks on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Final

import structlog
from botocore.exceptions import ClientError, IncompleteReadError

from shared.objects.interface import ByteRange, Key, ObjectInfo, ObjectStoreError
from shared.objects.s3_bucket import FAULTS, Bucket, opened
from shared.objects.s3_errors import code_of, is_missing

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import GetObjectOutputTypeDef

log = structlog.get_logger()

CHUNK: Final = 256 * 1024
"""Bytes handed on at a time."""

RESUMES: Final = 4
"""Times one reading goes on after its connection broke."""

PAUSE: Final = 0.1
"""Seconds before the first resumption; each further one waits twice as long."""


class Body:
    """The bytes of one answer. A broken connection is replaced by one that goes on where it broke.

    The rest is asked for on condition of the first answer's ETag: bytes of two objects are never mixed.
    """

    def __init__(self, bucket: Bucket, key: Key, answer: GetObjectOutputTypeDef, start: int) -> None:
        """Args: start: where in the object the answer's first byte lies."""
        self._bucket = bucket
        self._key = key
        self._answer = answer
        self._at = start
        self._end = start + answer["ContentLength"]
        self.info: ObjectInfo = opened(key, answer)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes, at most `CHUNK` at a time.

        Raises:
            ObjectStoreError: they cannot be had to their end; what was yielded is a beginning of them.
        """
        resumed = 0
        while self._at < self._end:
            try:
                chunk = await self._answer["Body"].read(CHUNK)
                if not chunk:
                    raise IncompleteReadError(actual_bytes=self._at, expected_bytes=self._end)
            except FAULTS as error:
                if resumed == RESUMES:
                    with self._bucket.telling(f"read {self._key} to its end"):
                        raise
                log.info("read_resumed", key=self._key, offset=self._at, error=type(error).__name__)
                await self._resume(PAUSE * 2**resumed)
                resumed += 1
                continue
            self._at += len(chunk)
            yield chunk

    def close(self) -> None:
        """Give the connection up. Unread bytes keep it from being used again, and reading them could take long."""
        self._answer["Body"].close()

    async def _resume(self, pause: float) -> None:
        self.close()
        await asyncio.sleep(pause)
        rest = ByteRange(self._at, self._end)
        with self._bucket.telling(f"read {self._key} to its end"):
            try:
                self._answer = await self._bucket.get(self._key, rest, self.info.etag)
            except ClientError as error:
                if is_missing(error) or code_of(error) in ("PreconditionFailed", "412", "InvalidRange", "416"):
                    raise ObjectStoreError(f"{self._bucket}: {self._key} changed while it was being read") from error
                raise
        # A server that knows no ranges answers with the whole.
        if (
            self._answer["ContentLength"] != self._end - self._at
            or opened(self._key, self._answer).etag != self.info.etag
        ):
            self.close()
            raise ObjectStoreError(f"{self._bucket}: {self._key} cannot be read on from byte {self._at}")
