"""Reads stored bytes whole and believes nothing: bounded in length, and checked against the digest asked for."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog

from countermark.core.digest import Sha256, sha256_of
from shared.errors import ErrorKind, ServiceError
from shared.objects.interface import Key, ObjectNotFound, ObjectStore, ObjectStoreError

log = structlog.get_logger()

RETRY_AFTER = timedelta(seconds=5)
"""When a client may try again after the store failed."""

LOAD_TIMEOUT = 30.0
"""Seconds a whole object may take; longer ones are streamed and not loaded."""

_HASHED_AT_ONCE = 512 * 1024
"""Bytes that are hashed on the event loop (about 0.4 ms); more goes to a thread."""


async def load_checked(store: ObjectStore, key: Key, sha256: Sha256, most: int) -> bytes:
    """Return the bytes under `key`, which have the digest `sha256`.

    Args:
        most: bytes read at the most.

    Raises:
        ServiceError: UNAVAILABLE; the store failed, holds nothing or other bytes there. The log says which it was.
    """
    try:
        async with asyncio.timeout(LOAD_TIMEOUT):
            body = await load(store, key, most)
    except ObjectNotFound as error:
        raise unavailable("stored_object_missing", key, "a stored object is missing") from error
    except (ObjectStoreError, TimeoutError) as error:
        log.warning("store_failed", key=key, error=str(error)[:500] or "timed out")
        detail = "The object store cannot be read right now; try again in a few seconds."
        raise ServiceError(ErrorKind.UNAVAILABLE, detail, retry_after=RETRY_AFTER) from error
    found = sha256_of(body) if len(body) <= _HASHED_AT_ONCE else await asyncio.to_thread(sha256_of, body)
    if found != sha256:
        raise unavailable("stored_object_corrupt", key, "a stored object is damaged")
    return body


async def load(store: ObjectStore, key: Key, most: int) -> bytes:
    """Return the bytes under `key`, at most `most`.

    Raises:
        ObjectNotFound: there is nothing.
        ObjectStoreError: the store failed, or the object is longer than `most` bytes.
    """
    async with store.open(key) as opened:
        if opened.info.length > most:
            raise ObjectStoreError(f"{key} has {opened.info.length} bytes, at most {most} are read")
        chunks = [chunk async for chunk in opened.chunks]
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def unavailable(alarm: str, key: Key, what: str) -> ServiceError:
    """Log an alarm about a stored object and return what the client is told.

    Args:
        alarm: the event's name in the log: `stored_object_missing` or `stored_object_corrupt`.
        what: the words for the client, as the beginning of a sentence that goes on.
    """
    log.error(alarm, key=key)
    detail = f"This cannot be served: {what}. The operator sees it in the log; nothing wrong was sent."
    return ServiceError(ErrorKind.UNAVAILABLE, detail, retry_after=RETRY_AFTER)
