"""Stores and reads one large object in a process of its own and prints by how many bytes its peak memory grew.

Arguments: endpoint, file of authorities, access key, secret key, bucket, megabytes.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from pathlib import Path

import uvloop
from pydantic import SecretStr

from shared.objects.interface import Key, LocalFile
from shared.objects.s3 import S3Connection, S3Options, S3Store


def peak() -> int:
    """Return the most bytes this process ever held. Source: getrusage(2), `ru_maxrss` in kilobytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def main() -> None:
    """Store and read a small file to load everything, then a large one; print the growth of each way."""
    url, ca_file, access, secret, bucket, megabytes = sys.argv[1:]
    options = S3Options(url, "us-east-1", SecretStr(access), SecretStr(secret), ca_file=Path(ca_file))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "file"
        async with S3Connection.open(options) as connection:
            store = connection.store(bucket)
            grown = []
            for name, length in (("small", 1 << 20), ("large", int(megabytes) << 20)):
                file.touch()
                os.truncate(file, length)
                before = peak()
                await store.put(Key(name), LocalFile(file))
                stored = peak()
                await read(store, Key(name), length)
                grown = [stored - before, peak() - stored]
    print(*grown)


async def read(store: S3Store, key: Key, length: int) -> None:
    """Read an object to its end and keep nothing of it."""
    async with store.open(key) as opened:
        async for chunk in opened.chunks:
            length -= len(chunk)
    assert length == 0


if __name__ == "__main__":
    uvloop.run(main())
