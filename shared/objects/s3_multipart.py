"""Stores a large file in parts with bounded memory, and gives up what does not come to its end.

Source: S3 user guide, "Uploading and copying objects using multipart upload".
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
from botocore.exceptions import ClientError

from shared.objects.interface import Key, ObjectInfo, ObjectStoreError
from shared.objects.keys import InvalidKey, check_key
from shared.objects.s3_bucket import FAULTS, Bucket, stored
from shared.objects.s3_buffers import PART
from shared.objects.s3_errors import advice, code_of, was_repeated

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import CompletedPartTypeDef, CreateMultipartUploadOutputTypeDef

log = structlog.get_logger()

MAX_PARTS: Final = 10_000
"""Parts of one object. Source: S3 user guide, "Amazon S3 multipart upload limits"."""

PARTS_PER_UPLOAD: Final = 4
"""Parts of one upload in flight, as far as the process has memory for them: what a store takes to answer is spent on
sending others. With two, one upload of 2 GB reached a third of the speed of the `aws` tool on a busy machine."""

BODY_TIME: Final = 120.0
"""Seconds in which a body of at most a part must be stored, with all repetitions: a server that stops reading would
hold it for ever."""

ABORT_TIME: Final = 20.0
"""Seconds in which an upload must be given up; after that the sweep finds it."""

MAX_SWEPT: Final = 10_000
"""Uploads, and a page more, that one sweep gives up at the most; the next goes on."""

_PAGE: Final = 100
"""Unfinished uploads asked for at once."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file being stored: `length` in bytes, `options` of the object as the S3 library names them."""

    key: Key
    path: Path
    descriptor: int
    length: int
    options: Mapping[str, Any]

    async def read(self, buffer: io.BytesIO, offset: int, length: int) -> None:
        """Fill a buffer of `length` bytes from `offset` on, and set it to its beginning.

        Raises:
            ObjectStoreError: the file has become shorter.
        """

        def fill() -> int:
            with buffer.getbuffer() as memory:
                return os.preadv(self.descriptor, [memory], offset)

        if length and await asyncio.to_thread(fill) != length:
            raise ObjectStoreError(f"{self.path} was cut short while it was being stored")
        buffer.seek(0)


async def put_parts(bucket: Bucket, source: Source, conditions: Mapping[str, Any]) -> ObjectInfo:
    """Store a file in parts; an upload that does not come to its end is given up at the store too.

    Raises:
        ClientError: the store refuses; so do the other errors of the S3 library mean.
        ObjectStoreError: the file was cut short.
    """
    upload = await _begin(bucket, source)
    try:
        parts = await _send(bucket, source, upload)
        return await _complete(bucket, source, upload, parts, conditions)
    except BaseException:
        # Also when cancelled: parts of an unfinished upload are paid for and never listed as objects.
        await asyncio.shield(_abort(bucket, upload))
        raise


async def sweep_parts(bucket: Bucket, prefix: str, before: datetime) -> int:
    """Give up uploads in parts to keys below `prefix` that began before a moment; returns how many.

    Only keys of ours are touched: a bucket may hold what others keep there.
    """
    due: list[dict[str, Any]] = []
    asked: dict[str, Any] = {"Bucket": bucket.name, "Prefix": prefix, "MaxUploads": _PAGE}
    # Given up afterwards, and each page begins behind a key, not behind an upload: versitygw refuses its own marker of
    # an upload. What a page leaves out so, further uploads to its last key, is found by a later sweep.
    while len(due) < MAX_SWEPT:
        page = await bucket.client.list_multipart_uploads(**asked)
        for found in page.get("Uploads", ()):
            with suppress(InvalidKey):
                check_key(found["Key"])
                if found["Initiated"] < before:
                    due.append({"Bucket": bucket.name, "Key": found["Key"], "UploadId": found["UploadId"]})
        if not page.get("IsTruncated") or not page.get("NextKeyMarker"):
            break
        asked["KeyMarker"] = page["NextKeyMarker"]
    return sum([await _abort(bucket, upload) for upload in due])


def etag_of_parts(etags: Sequence[str]) -> str | None:
    """Return the ETag that an object made of these parts has, None where the parts' ETags are no digests.

    Source: S3 API reference, "Object" (ETag of objects made by multipart upload): not promised under every encryption,
    so a difference proves nothing.
    """
    try:
        joined = b"".join(bytes.fromhex(etag.strip('"')) for etag in etags)
    except ValueError:
        return None
    return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(etags)}"


async def _begin(bucket: Bucket, source: Source) -> dict[str, Any]:
    target: dict[str, Any] = {"Bucket": bucket.name, "Key": source.key}

    def upload_of(begun: CreateMultipartUploadOutputTypeDef) -> dict[str, Any]:
        return {**target, "UploadId": begun["UploadId"]}

    beginning = asyncio.ensure_future(bucket.client.create_multipart_upload(**target, **source.options))
    try:
        return upload_of(await asyncio.shield(beginning))
    except asyncio.CancelledError:
        # The store may have begun it already: wait to learn its name, and give it up.
        with suppress(*FAULTS):
            await asyncio.shield(_abort(bucket, upload_of(await beginning)))
        raise


async def _send(bucket: Bucket, source: Source, upload: Mapping[str, Any]) -> Sequence[CompletedPartTypeDef]:
    part_length = max(PART, -(-source.length // MAX_PARTS))
    offsets = iter(enumerate(range(0, source.length, part_length), start=1))
    sent: list[CompletedPartTypeDef] = []

    async def send() -> None:
        for number, offset in offsets:
            length = min(part_length, source.length - offset)
            async with bucket.buffers.lend(length) as body, asyncio.timeout(BODY_TIME):
                await source.read(body, offset, length)
                answer = await bucket.client.upload_part(**upload, PartNumber=number, Body=body)
                sent.append({"PartNumber": number, "ETag": answer["ETag"]})

    senders = [asyncio.create_task(send()) for _ in range(PARTS_PER_UPLOAD)]
    try:
        await asyncio.gather(*senders)
    finally:
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
    return sorted(sent, key=lambda part: part["PartNumber"])


async def _complete(
    bucket: Bucket,
    source: Source,
    upload: Mapping[str, Any],
    parts: Sequence[CompletedPartTypeDef],
    conditions: Mapping[str, Any],
) -> ObjectInfo:
    try:
        answer = await bucket.client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, **conditions)
    except ClientError as error:
        if not was_repeated(error) or code_of(error) not in ("NoSuchUpload", "404", "PreconditionFailed", "412"):
            raise
        # The first try may have worked and only its answer been lost: then what is there is ours.
        with suppress(ClientError):
            there = await bucket.head(source.key)
            if there.etag == etag_of_parts([part["ETag"] for part in parts]):
                return there
        raise
    return stored(source.key, source.length, answer)


async def _abort(bucket: Bucket, upload: Mapping[str, Any]) -> bool:
    """Give up an upload; returns whether that worked. What is left is found by the sweep."""
    try:
        async with asyncio.timeout(ABORT_TIME):
            await bucket.client.abort_multipart_upload(**upload)
    except FAULTS as error:
        if isinstance(error, ClientError) and code_of(error) == "NoSuchUpload":
            return False
        log.warning("parts_left_behind", key=upload["Key"], error=advice(error))
        return False
    return True
