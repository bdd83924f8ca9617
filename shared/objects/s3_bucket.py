"""One bucket, how to ask it, and what its answers say; shared by the store's reading and writing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError

from shared.objects.interface import ByteRange, Key, ObjectInfo, ObjectStoreError
from shared.objects.s3_buffers import Buffers
from shared.objects.s3_errors import advice

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import GetObjectOutputTypeDef

FAULTS = (ClientError, BotoCoreError, aiohttp.ClientError, OSError, TimeoutError)
"""What the S3 library raises when a request fails, whoever's fault it is."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket as a client sees it; `buffers` are those of the process."""

    client: S3Client
    name: str
    endpoint: str
    buffers: Buffers

    @contextmanager
    def telling(self, doing: str) -> Iterator[None]:
        """Turn the S3 library's errors into one line of words.

        Args:
            doing: what is being tried, to follow "cannot".
        """
        try:
            yield
        except FAULTS as error:
            raise ObjectStoreError(f"{self}: cannot {doing}: {advice(error)}") from error

    async def get(self, key: Key, span: ByteRange | None, etag: str | None = None) -> GetObjectOutputTypeDef:
        """Ask for an object or a range of it; with an `etag`, for these bytes and no others."""
        asked: dict[str, Any] = {"Bucket": self.name, "Key": key}
        if span is not None:
            asked["Range"] = f"bytes={span.start}-{'' if span.stop is None else span.stop - 1}"
        if etag is not None:
            asked["IfMatch"] = f'"{etag}"'
        return await self.client.get_object(**asked)

    async def head(self, key: Key) -> ObjectInfo:
        """Ask what is known of an object.

        Raises:
            ClientError: there is none, or the store refuses.
        """
        answer = await self.client.head_object(Bucket=self.name, Key=key)
        return ObjectInfo(key, answer["ContentLength"], answer["ETag"].strip('"'), answer["LastModified"])

    def __str__(self) -> str:
        return f"object store in bucket {self.name} at {self.endpoint}"


def stored(key: Key, length: int, answer: Mapping[str, Any]) -> ObjectInfo:
    """Return what is known of an object from the answer to its put: a HEAD could already see the next one."""
    date = answer["ResponseMetadata"]["HTTPHeaders"]["date"]
    return ObjectInfo(key, length, answer["ETag"].strip('"'), parsedate_to_datetime(date))


def opened(key: Key, answer: GetObjectOutputTypeDef) -> ObjectInfo:
    """Return what an answer says of the whole object, also when it holds a range of it."""
    whole = answer.get("ContentRange", "").rpartition("/")[2]
    length = int(whole) if whole.isdecimal() else answer["ContentLength"]
    return ObjectInfo(key, length, answer["ETag"].strip('"'), answer["LastModified"])
